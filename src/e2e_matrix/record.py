"""What is known of a run so far, kept in its folder: see store.py."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from e2e_matrix import summary
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import EngineInfo, PlatformProbe, Support
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import POLICIES, Cause
from e2e_matrix.plan import Plan, PlannedCell
from e2e_matrix.progress import Progress
from e2e_matrix.question import Asked
from e2e_matrix.registry import ResolvedImage
from e2e_matrix.results import Attempt, Cell, Evidence, Llm, Results, Server
from e2e_matrix.settings import Settings
from e2e_matrix.store import RunFolder


@dataclass(frozen=True)
class Job:
    """What a run is made from. ``command`` is the command line as typed, for the record.

    ``resume`` is the folder of a run to go on with; ``force``, where it was another plan all the same.
    ``baseline`` is the folder of a run that its report compares it with; ``baseline_job`` makes such a run,
    its cells taking turns with these, and is ``for_comparison``. ``asked`` is what is asked of that.
    """

    plan: Plan
    settings: Settings
    command: Sequence[str]
    resume: Path | None = None
    force: bool = False
    baseline: Path | None = None
    baseline_job: Job | None = None
    for_comparison: bool = False
    asked: Asked = field(default_factory=Asked)


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
    """The run's start, on both clocks. ``seconds`` goes on where an interrupted run had come to."""

    def __init__(self) -> None:
        self.started_at = datetime.now(UTC)
        self.resumed_at: list[datetime] = []
        self._monotonic = time.monotonic()

    def resume(self, started_at: datetime, resumed_at: Sequence[datetime], seconds: float) -> None:
        self.resumed_at = list(resumed_at)
        self.started_at = started_at
        self._monotonic -= seconds

    def seconds(self) -> float:
        return time.monotonic() - self._monotonic


def workers_of(settings: Settings, engine: EngineInfo) -> int:
    """How many cells run at a time."""
    return settings.max_parallel or max(1, engine.cpus)


class Record:
    """What is known of the run so far, written to the folder whenever a cell is decided."""

    def __init__(
        self,
        job: Job,
        clock: Clock,
        prepared: Sequence[Prepared],
        engine: EngineInfo,
        llm: Llm,
        folder: RunFolder,
        digests: Mapping[str, str | None] = MappingProxyType({}),
        key_of: Callable[[str, Sequence[Attempt]], str | None] = lambda cell, attempts: None,
        beside: str | None = None,
    ) -> None:
        """``digests`` are what cells ran on whose image the registry does not tell this time; ``key_of`` is
        asked for the key of a cell with its attempts; ``beside`` is the run that takes turns with this one.
        """
        self.job = job
        self.clock = clock
        self.llm = llm
        self.workers = workers_of(job.settings, engine)
        self.folder = folder
        self._engine = engine
        self._digests = digests
        self._beside = beside
        self._key_of = key_of
        self._prepared = {cell.planned.id: cell for cell in prepared}
        self._attempts: dict[str, list[Attempt]] = {cell: [] for cell in self._prepared}
        self._decided: dict[str, Cell] = {}

    def add(self, cell: Prepared, attempt: Attempt) -> None:
        self._attempts[cell.planned.id].append(attempt)

    def decide(
        self, cell: Prepared, progress: Progress, failure: CellFailure | None = None, *, reused: bool = False
    ) -> None:
        """Record a cell's end. ``failure``: why it never started, or not all of its repetitions did."""
        decided = self._cell(cell, failure, reused=reused)
        self._decided[decided.id] = decided
        self.folder.write_results(self.results(None))
        progress.cell_finished(decided)

    def reuse(self, cell: Prepared, evidence: Evidence, server: Server, progress: Progress) -> None:
        """Note that another run's pass stands for a cell; ``server`` is the one that passed there.

        It is written with the next cell, or the end: a run that is killed before finds it again.
        """
        decided = summary.reused_cell(self._cell(cell, None), evidence, server)
        self._decided[decided.id] = decided
        progress.cell_finished(decided)

    def is_decided(self, cell: Prepared) -> bool:
        return cell.planned.id in self._decided

    def _cell(self, cell: Prepared, failure: CellFailure | None, *, reused: bool = False) -> Cell:
        attempts = sorted(self._attempts[cell.planned.id], key=lambda attempt: attempt.number)
        return summary.cell_of(
            cell.planned,
            cell.image,
            cell.emulated,
            attempts,
            failure,
            repetitions=self.job.settings.repeat,
            reused=reused,
            digest=self._digests.get(cell.planned.id),
            key=self._key_of(cell.planned.id, attempts),
            model=self.llm.model,
        )

    def results(self, cancel: Cancellation | None) -> Results:
        """What is known now: the final word with ``cancel``, without it that of a run that goes on."""
        unfinished = CellFailure(Cause.UNFINISHED, POLICIES[Cause.UNFINISHED].what)
        if cancel and cancel.is_set:
            unfinished = cancel.failure()
        cells = [
            self._decided.get(name) or self._cell(cell, unfinished) for name, cell in self._prepared.items()
        ]
        return summary.results_of(
            cells=cells,
            run_id=self.folder.run_id,
            started_at=self.clock.started_at,
            resumed_at=self.clock.resumed_at,
            seconds=self.clock.seconds(),
            finished=cancel is not None,
            interrupted=bool(cancel and cancel.is_set and cancel.failure().cause is Cause.INTERRUPTED),
            plan=self.job.plan,
            settings=self.job.settings,
            command=self.job.command,
            engine=self._engine,
            llm=self.llm,
            workers=self.workers,
            beside=self._beside,
            for_comparison=self.job.for_comparison,
        )
