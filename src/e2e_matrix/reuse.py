"""Results that need not be run again: what earlier runs say of the cells of this one.

A cell whose key (cell_key.py) passed no longer ago than the settings allow is not run. The history knows
which did; the run that it names is asked, where its folder is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Protocol

from e2e_matrix import store
from e2e_matrix.api.kept import Described, described_by
from e2e_matrix.cell_key import KeyParts, parts_by_cell
from e2e_matrix.engine.base import EngineInfo
from e2e_matrix.errors import BadInput
from e2e_matrix.failures import Outcome
from e2e_matrix.history.database import History
from e2e_matrix.history.writing import run_folders
from e2e_matrix.order import longest_first
from e2e_matrix.record import Job, Prepared
from e2e_matrix.results import Api, Attempt, Cell, Evidence, Llm, Server
from e2e_matrix.run_again import reasons
from e2e_matrix.settings import Settings

_PATIENCE = 5.0  # seconds: what a run waits for others at the history
# How far the clocks of two machines are let be apart. What ended later than that is of no known age.
_SKEW = timedelta(minutes=5)

Note = Callable[[str], None]


class Finder(Protocol):
    """What is asked of the history; see there."""

    def passed(self, key: str, not_before: datetime) -> Evidence | None: ...


@dataclass(frozen=True)
class Reused:
    """The pass of another run that stands for a cell; the rest is empty where that run is out of reach."""

    evidence: Evidence
    server: Server = field(default_factory=Server)
    described: Described | None = None  # in that run's folder


@dataclass(frozen=True)
class Past:
    """What is known of a run's cells before it runs them, each by the cell's id."""

    keys: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, KeyParts] = field(default_factory=dict)  # that these were made of
    reused: Mapping[str, Reused] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)  # that they took before

    def key_of(self, cell: str, attempts: Sequence[Attempt]) -> str | None:
        """The cell's key, if its attempts are what it was made of."""
        return self.keys.get(cell) if cell in self.parts and self.parts[cell].fits(attempts) else None

    def limited_to(self, cells: Iterable[str]) -> Past:
        """The same, with the keys of these cells only."""
        return replace(self, keys={cell: self.keys[cell] for cell in cells if cell in self.keys})

    def to_run(self, cells: Sequence[Prepared]) -> list[Prepared]:
        """The cells that nothing stands for, the longest first."""
        return longest_first([cell for cell in cells if cell.planned.id not in self.reused], self.seconds)


def look_back(job: Job, cells: Sequence[Prepared], llm: Llm, engine: EngineInfo, note: Note) -> Past:
    """What earlier runs say of the cells. Trouble with the history is a note, and every cell runs."""
    settings = job.settings
    parts = parts_by_cell(cells, settings, llm, engine)
    past = Past({cell: one.digest() for cell, one in parts.items()}, parts)
    reuses = _reuses(settings, note)
    if not reuses and not settings.history.exists():
        return past
    try:
        with History.open(settings.history, note, settings.reports, _PATIENCE) as history:
            seconds = history.typical_seconds([cell.planned.id for cell in cells])
            if reuses:
                history.import_runs(run_folders(settings.reports))
                now = datetime.now(UTC)
                past = replace(past, reused=dict(passes(job, past.keys, history, now)))
                again = {cell: one for cell, one in parts.items() if cell not in past.reused}
                not_before = now - timedelta(seconds=settings.reuse or 0)
                for reason in reasons(again, settings, history, not_before):
                    note(reason)
    except Exception as error:  # noqa: BLE001 - what remembers runs keeps none from running
        effect = ", and every cell runs" if reuses else ""
        note(f"nothing is known of earlier runs{effect}: {error}")
        return past
    return replace(past, seconds=seconds)


def passes(job: Job, keys: Mapping[str, str], finder: Finder, now: datetime) -> Iterator[tuple[str, Reused]]:
    """The cells that need not run, by their keys: each with the pass that stands for it."""
    not_before = now - timedelta(seconds=job.settings.reuse or 0)
    reports = job.resume.absolute().parent if job.resume else job.settings.reports
    cells_in = cache(_cells_in)
    for cell, key in keys.items():
        # What this run has done for the cell already counts, whatever another one came to.
        if job.resume and store.RunFolder(job.resume).attempts(cell):
            continue
        found = finder.passed(key, not_before)
        if found is None or not not_before <= found.finished_at <= now + _SKEW:
            continue
        if confirmed := _confirmed(found, key, reports, cells_in):
            yield cell, confirmed


def with_apis(reused: Mapping[str, Reused], folder: Path) -> Iterator[tuple[str, Evidence]]:
    """The evidence for each cell, with what its server described, where that is to be had.

    The document is put into ``folder``, the run's own, for the other run may be removed. Raises
    ``InfrastructureError`` where the disk refuses.
    """
    kept: dict[tuple[Path | None, str, str], Api | None] = {}
    for cell, one in reused.items():
        api = None
        if source := one.described:
            which = (source.folder, source.api.file, source.api.digest)
            if which not in kept:
                kept[which] = source.kept_in(folder)
            api = kept[which]
        yield cell, one.evidence.model_copy(update={"api": api})


def _reuses(settings: Settings, note: Note) -> bool:
    """Whether passes may stand for cells at all; says why not where that was asked for."""
    if not settings.reuse:
        return False
    if settings.repeat > 1:
        note(f"nothing is reused: each cell is to run {settings.repeat} times")
    elif settings.record:
        note("nothing is reused: the calls of each cell are to be recorded")
    else:
        return True
    return False


def _cells_in(folder: str) -> dict[str, Cell] | None:
    """The cells of the run in a folder by their ids; None where its results cannot be read."""
    try:
        return {cell.id: cell for cell in store.load(Path(folder)).cells}
    except BadInput:
        return None


def _confirmed(
    found: Evidence, key: str, reports: Path, cells_in: Callable[[str], dict[str, Cell] | None]
) -> Reused | None:
    """The evidence as a report beside that run's can name it; None where that run itself says otherwise.

    What the history knows counts alone where the run's folder is gone.
    """
    if not found.folder:
        return Reused(found)
    cell = (cells_in(found.folder) or {}).get(found.cell)
    if cell is None or not _stands(cell, key):
        return None
    beside = (reports / found.run).resolve() == Path(found.folder).resolve()
    evidence = found.model_copy(update={"folder": f"../{found.run}" if beside else None})
    described = described_by({cell.id: cell}, Path(found.folder)).get(cell.id)
    return Reused(evidence, cell.server, described)


def _stands(cell: Cell, key: str) -> bool:
    return cell.outcome is Outcome.PASSED and not cell.flaky and not cell.reused_from and cell.key == key
