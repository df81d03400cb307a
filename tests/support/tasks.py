"""A cell's task for tests that run one cell, or a part of one."""

from __future__ import annotations

from typing import Any

from e2e_matrix.task import CellTask, LlmEndpoint


def a_task(llm: LlmEndpoint, folder: str, **changed: Any) -> CellTask:
    """A native cell of the deferred-init scenario with a minute; ``changed`` replaces fields."""
    values: dict[str, Any] = {
        "run_id": "r",
        "cell": "python-amd64",
        "attempt": 1,
        "folder": folder,
        "image": "i@sha256:0",
        "platform": "linux/amd64",
        "emulated": False,
        "scenario": "deferred-init",
        "timeout_seconds": 60,
        "slowness": 1,
        "llm": llm,
        "owner": "o",
        "deadline": "d",
    }
    return CellTask(**values | changed)
