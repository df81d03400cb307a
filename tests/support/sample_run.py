"""Small finished runs for what watches a run, and the calls that a runner would make on the way there."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from e2e_matrix.engine.base import PullProgress
from e2e_matrix.failures import POLICIES, Cause, Outcome
from e2e_matrix.progress import Progress
from e2e_matrix.results import (
    Attempt,
    Cell,
    EngineFacts,
    Image,
    Llm,
    Phases,
    Results,
    Run,
    Step,
    Tokens,
    Totals,
)

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COST = Decimal("0.0095525")
FOLDER = "reports/20260301-120000-abcd"


def a_step(name: str = "dormant", **changed: Any) -> Step:
    values: dict[str, Any] = {
        "name": name,
        "title": "The server boots and says that it is dormant",
        "phase": "boot",
        "outcome": Outcome.PASSED,
        "start_seconds": 1.0,
        "duration_seconds": 2.5,
    }
    return Step(**values | changed)


def a_cell(name: str, cause: Cause | None = None, **changed: Any) -> Cell:
    """A passed cell, or one that met ``cause``."""
    outcome = POLICIES[cause].outcome if cause else Outcome.PASSED
    started = outcome not in (Outcome.NOT_RUN, Outcome.UNSUPPORTED)
    arch = name.rpartition("-")[2]
    step = a_step(outcome=outcome, cause=cause, message=changed.get("message") if cause else None)
    phases = Phases(pull=12.31, boot=2.5, init=0.02, conversation=1.84, removal=0.91)
    values: dict[str, Any] = {
        "id": name,
        "axes": {"variant": name.partition("-")[0], "arch": arch},
        "scenario": "deferred-init",
        "outcome": outcome,
        "cause": cause,
        "emulated": arch == "arm64",
        "platform": f"linux/{arch}",
        "image": Image(reference=f"localhost:5000/agent-server:abc1234-{name}", platform=f"linux/{arch}"),
        "cost_usd": None if cause else COST,
        "tokens": None if cause else Tokens(prompt=3817, completion=1, total=3818),
        "duration_seconds": 18.2 if started else 0,
        "phases": Phases(pull=12.31) if cause and started else phases if not cause else Phases(),
        "steps": [step] if started else [],
    }
    values |= changed
    if started:
        attempt = Attempt(
            number=1,
            outcome=outcome,
            cause=cause,
            message=values.get("message"),
            started_at=START,
            duration_seconds=values["duration_seconds"],
            worker=0,
            run_offset_seconds=0,
            steps=values["steps"],
            folder=f"cells/{name}/attempt-1",
        )
        values.setdefault("attempts", [attempt])
    return Cell(**values)


def a_run(*cells: Cell, **changed: Any) -> Results:
    """A run of these cells, with the verdict that follows from them."""
    counts = {outcome: sum(cell.outcome is outcome for cell in cells) for outcome in Outcome}
    verdict = next((bad for bad in (Outcome.FAILED, Outcome.ERROR) if counts[bad]), Outcome.PASSED)
    known = [cell.cost_usd for cell in cells if cell.cost_usd is not None]
    values: dict[str, Any] = {
        "id": "20260301-120000-abcd",
        "started_at": START,
        "duration_seconds": 61.5,
        "verdict": verdict,
        "reason": f"{counts[Outcome.PASSED]} of {len(cells)} cells passed",
        "exit_code": {Outcome.PASSED: 0, Outcome.FAILED: 1, Outcome.ERROR: 3}[verdict],
        "axes": {"variant": ["python", "java"], "arch": ["amd64", "arm64"]},
        "settings": {},
        "subject": "ghcr.io/openhands/agent-server:1.58.2-{variant}",
        "matrix_file": "matrix.yaml",
        "command": ["e2e-matrix", "run"],
        "engine": EngineFacts(
            name="docker",
            version="20.10",
            api_version="1.41",
            platform="linux/amd64",
            operating_system="Debian",
            kernel="6.1",
            storage_driver="overlay2",
            cpus=2,
            memory_bytes=8_000_000_000,
        ),
        "llm": Llm(kind="stand-in", model="openai/gpt-4o"),
        "program_version": "0.1.0",
        "workers": 2,
        "totals": Totals(
            cells=len(cells),
            cost_usd=sum(known, Decimal(0)) if known else None,
            **{outcome.value: count for outcome, count in counts.items()},
        ),
    }
    return Results(run=Run(**values | changed), cells=list(cells))


def tell(progress: Progress, results: Results) -> None:
    """Say everything about a run, in the order of the runner, one cell after the other; not its end."""
    run = results.run
    progress.run_started(run.id, [cell.id for cell in results.cells], run.workers, "the stand-in LLM")
    for cell in results.cells:
        if cell.attempts:
            tell_cell(progress, cell)
        progress.cell_finished(cell)


def tell_cell(progress: Progress, cell: Cell) -> None:
    progress.cell_started(cell.id, 1)
    progress.step_started(cell.id, "pull", "The image is pulled by its digest")
    for done in range(0, 101, 10):
        progress.pulling(cell.id, PullProgress(done * 4_500_000, 450_000_000, "Downloading"))
    progress.step_finished(cell.id, a_step("pull", phase="pull", facts={"was_present": False}))
    for step in cell.steps:
        progress.step_started(cell.id, step.name, step.title)
        progress.step_finished(cell.id, step)
