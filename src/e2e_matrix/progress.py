"""What a run tells whoever watches it.

The runner and the cells call these; terminal.py shows them. Calls come from several threads at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from e2e_matrix.engine.base import PullProgress
from e2e_matrix.errors import EXIT_INFRASTRUCTURE
from e2e_matrix.failures import Outcome
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


class Several:
    """Several watchers as one: each is told everything, in their order."""

    def __init__(self, *watchers: Progress) -> None:
        self._watchers = watchers

    def run_started(self, run_id: str, cells: Sequence[str], workers: int, llm: str) -> None:
        for one in self._watchers:
            one.run_started(run_id, cells, workers, llm)

    def note(self, message: str) -> None:
        for one in self._watchers:
            one.note(message)

    def cell_started(self, cell: str, attempt: int, repetition: int = 1) -> None:
        for one in self._watchers:
            one.cell_started(cell, attempt, repetition)

    def pulling(self, cell: str, progress: PullProgress) -> None:
        for one in self._watchers:
            one.pulling(cell, progress)

    def step_started(self, cell: str, step: str, title: str) -> None:
        for one in self._watchers:
            one.step_started(cell, step, title)

    def step_finished(self, cell: str, step: Step) -> None:
        for one in self._watchers:
            one.step_finished(cell, step)

    def attempt_failed(self, cell: str, attempt: Attempt, pause: float) -> None:
        for one in self._watchers:
            one.attempt_failed(cell, attempt, pause)

    def cell_finished(self, cell: Cell) -> None:
        for one in self._watchers:
            one.cell_finished(cell)

    def run_finished(self, results: Results, folder: str) -> None:
        for one in self._watchers:
            one.run_finished(results, folder)

    def close(self) -> None:
        for one in self._watchers:
            one.close()


class Beside(Silent):
    """Watches a run that goes on beside another, for the same watcher: its cells have names of their own.

    The watcher hears of the run itself from whoever runs both.
    """

    def __init__(self, watcher: Progress, name: str) -> None:
        self._watcher = watcher
        self._name = name

    @staticmethod
    def named(name: str, cell: str) -> str:
        """What a cell is called."""
        return f"{name} {cell}"

    @staticmethod
    def is_named(cell: str) -> bool:
        """Whether it is called so: no cell's own id has a blank."""
        return " " in cell

    def note(self, message: str) -> None:
        self._watcher.note(f"{self._name}: {message}")

    def cell_started(self, cell: str, attempt: int, repetition: int = 1) -> None:
        self._watcher.cell_started(self.named(self._name, cell), attempt, repetition)

    def pulling(self, cell: str, progress: PullProgress) -> None:
        self._watcher.pulling(self.named(self._name, cell), progress)

    def step_started(self, cell: str, step: str, title: str) -> None:
        self._watcher.step_started(self.named(self._name, cell), step, title)

    def step_finished(self, cell: str, step: Step) -> None:
        self._watcher.step_finished(self.named(self._name, cell), step)

    def attempt_failed(self, cell: str, attempt: Attempt, pause: float) -> None:
        self._watcher.attempt_failed(self.named(self._name, cell), attempt, pause)

    def cell_finished(self, cell: Cell) -> None:
        named = self.named(self._name, cell.id)
        self._watcher.cell_finished(cell.model_copy(update={"id": named}))


class Ending(Silent):
    """Keeps what a run told at its end, which it does however it ends."""

    results: Results | None = None
    folder: str = ""

    def run_finished(self, results: Results, folder: str) -> None:
        self.results, self.folder = results, folder

    def break_off(self, error: BaseException) -> None:
        """The run ended in ``error``: what it told before is no pass, whatever the cells came to."""
        if self.results and self.results.run.verdict is Outcome.PASSED:
            run = self.results.run
            why = f"{run.reason} Then the run broke off: {type(error).__name__}: {error}"
            told = {"verdict": Outcome.ERROR, "reason": why, "exit_code": EXIT_INFRASTRUCTURE}
            self.results = self.results.model_copy(update={"run": run.model_copy(update=told)})
