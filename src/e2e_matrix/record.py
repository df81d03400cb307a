"""What is known of a run so far, kept in its folder: see store.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from e2e_matrix import summary
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import EngineInfo, PlatformProbe, Support
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.plan import Plan, PlannedCell
from e2e_matrix.progress import Progress
from e2e_matrix.registry import ResolvedImage
from e2e_matrix.results import Attempt, Cell, Llm, Results
from e2e_matrix.settings import Settings
from e2e_matrix.store import RunFolder


@dataclass(frozen=True)
class Job:
    """What a run is made from. ``command`` is the command line as typed, for the record."""

    plan: Plan
    settings: Settings
    command: Sequence[str]


@dataclass(frozen=True)
class Prepared:
    """A planned cell with what the registry and the engine said about it."""

    planned: PlannedCell
    image: ResolvedImage | None
    probe: PlatformProbe
    failure: CellFailure | None  # decided before it could start

    @property
    def emulated(self) -> bool:
        return self.probe.support is Support.EMULATED


class Clock:
    """The run's start, on both clocks."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC)
        self._monotonic = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._monotonic


def workers_of(settings: Settings, engine: EngineInfo) -> int:
    """How many cells run at a time."""
    return settings.max_parallel or max(1, engine.cpus)


class Record:
    """What is known of the run so far, written to the folder whenever a cell ends."""

    def __init__(
        self, job: Job, clock: Clock, prepared: Sequence[Prepared], engine: EngineInfo, llm: Llm
    ) -> None:
        self.job = job
        self.clock = clock
        self.llm = llm
        self.workers = workers_of(job.settings, engine)
        self.folder = RunFolder.create(job.settings.reports, clock.started_at)
        self._engine = engine
        self._prepared = prepared
        self._cells: dict[str, Cell] = {}

    def add(self, cell: Prepared, attempt: Attempt, progress: Progress) -> None:
        self._keep(summary.cell_of(cell.planned, cell.image, cell.emulated, [attempt]), progress)

    def decide(self, cell: Prepared, failure: CellFailure, progress: Progress) -> None:
        """Record a cell that never started."""
        self._keep(summary.cell_of(cell.planned, cell.image, cell.emulated, [], failure), progress)

    def _keep(self, cell: Cell, progress: Progress) -> None:
        self._cells[cell.id] = cell
        self.folder.write_results(self.results(None))
        progress.cell_finished(cell)

    def results(self, cancel: Cancellation | None) -> Results:
        """What is known now: the final word with ``cancel``, without it that of a run that goes on."""
        unfinished = CellFailure(Cause.RUN_ABORTED, "the run has not come to its end")
        if cancel and cancel.is_set:
            unfinished = cancel.failure()
        cells = [
            self._cells.get(cell.planned.id)
            or summary.cell_of(cell.planned, cell.image, cell.emulated, [], unfinished)
            for cell in self._prepared
        ]
        return summary.results_of(
            cells=cells,
            run_id=self.folder.run_id,
            started_at=self.clock.started_at,
            seconds=self.clock.seconds(),
            finished=cancel is not None,
            interrupted=bool(cancel and cancel.is_set and cancel.failure().cause is Cause.INTERRUPTED),
            plan=self.job.plan,
            settings=self.job.settings,
            command=self.job.command,
            engine=self._engine,
            llm=self.llm,
            workers=self.workers,
        )
