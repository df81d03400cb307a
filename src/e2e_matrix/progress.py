"""What a run tells whoever watches it.

The runner and the cells call these; terminal.py shows them. Calls come from several threads at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from e2e_matrix.engine.base import PullProgress
from e2e_matrix.results import Attempt, Cell, Results, Step


class Progress(Protocol):
    """A watcher. Nothing it does may raise or block for long."""

    def run_started(self, run_id: str, cells: Sequence[str], workers: int, llm: str) -> None: ...

    def note(self, message: str) -> None:
        """Something a person should know now, such as which model is used."""
        ...

    def cell_started(self, cell: str, attempt: int, repetition: int = 1) -> None:
        """An attempt begins; a cell counts them over its repetitions."""
        ...

    def pulling(self, cell: str, progress: PullProgress) -> None: ...

    def step_started(self, cell: str, step: str, title: str) -> None: ...

    def step_finished(self, cell: str, step: Step) -> None: ...

    def attempt_failed(self, cell: str, attempt: Attempt, pause: float) -> None:
        """There will be another in ``pause`` seconds."""
        ...

    def cell_finished(self, cell: Cell) -> None:
        """Also called, without cell_started, for a cell that was decided before it could start."""
        ...

    def run_finished(self, results: Results, folder: str) -> None: ...

    def close(self) -> None:
        """Leave the terminal as it was found; idempotent."""
        ...


class Silent:
    """Watches nothing: the default of the library, and the base of partial watchers in tests."""

    def run_started(self, run_id: str, cells: Sequence[str], workers: int, llm: str) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    def cell_started(self, cell: str, attempt: int, repetition: int = 1) -> None:
        pass

    def pulling(self, cell: str, progress: PullProgress) -> None:
        pass

    def step_started(self, cell: str, step: str, title: str) -> None:
        pass

    def step_finished(self, cell: str, step: Step) -> None:
        pass

    def attempt_failed(self, cell: str, attempt: Attempt, pause: float) -> None:
        pass

    def cell_finished(self, cell: Cell) -> None:
        pass

    def run_finished(self, results: Results, folder: str) -> None:
        pass

    def close(self) -> None:
        pass
