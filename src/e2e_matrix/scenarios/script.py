"""A script as it was published, run beside the container of its cell."""

from __future__ import annotations

from e2e_matrix.scenarios.base import Session
from e2e_matrix.script.settings import ScriptSettings as Settings

__all__ = ["NAME", "STEPS", "VERSION", "Settings", "run"]

NAME = "script"
VERSION = "1"
STEPS: tuple[str, ...] = ("pull", "script", "log")


def run(session: Session) -> None:
    """Raises NotImplementedError: what runs a script is being written."""
    raise NotImplementedError(f"the script of {session.task.cell} cannot be run yet")
