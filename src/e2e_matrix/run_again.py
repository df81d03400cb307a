"""Why cells that passed lately are run again: what has changed since, as far as that run's folder tells.

A cell's key (cell_key.py) is one hash and tells only that something did. plan.json keeps the facts that it
was made of, and results.json the settings; what neither has is told in general.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Protocol

from e2e_matrix import resume, store
from e2e_matrix.cell_key import LEFT_OUT, KeyParts
from e2e_matrix.compare import some
from e2e_matrix.errors import BadInput
from e2e_matrix.facts import PlannedFacts
from e2e_matrix.failures import Outcome
from e2e_matrix.history.points import Point
from e2e_matrix.results import Cell, Results
from e2e_matrix.settings import Settings
from e2e_matrix.text import one_line

_MOST_CELLS = 100  # that are asked about
_MOST_NOTES = 3
_MOST_POINTS = 10  # of a cell, in which a pass is looked for
_LIMITS = ("timeout", "step-timeouts", "max-cost.cell")  # settings in a key that are no facts of a cell
_UNTOLD = "a variable's value, what lies around a script, or e2e-matrix itself"

_Before = tuple[resume.PlanFile, Results]


class Remembers(Protocol):
    """What is asked of the history; see there."""

    def last_points(self, cells: Sequence[str], count: int) -> Mapping[str, Sequence[Point]]: ...


def reasons(
    parts: Mapping[str, KeyParts], settings: Settings, history: Remembers, not_before: datetime
) -> Iterator[str]:
    """A line for each change that runs cells again which passed since ``not_before``, with their names.

    ``parts`` are what the keys of the cells that run are made of. A few lines at most; none for a cell whose
    newest pass has the same key, or is not in the reports' folder any more.
    """
    before = cache(_read)
    cells: dict[tuple[str, str], list[str]] = {}
    for cell, points in history.last_points(list(parts)[:_MOST_CELLS], _MOST_POINTS).items():
        run = next((one.run for one in reversed(points) if one.outcome is Outcome.PASSED), None)
        found = before(settings.reports / Path(run).name) if run else None
        if run and found and (told := _changed(parts[cell], settings, *found, not_before)):
            cells.setdefault((run, told), []).append(cell)
    told_of = list(cells.items())
    for (run, told), names in told_of[:_MOST_NOTES]:
        yield one_line(f"not reused, for since {run} {told} changed: {some(names)}", 400)
    if len(told_of) > _MOST_NOTES:
        left = [name for _, names in told_of[_MOST_NOTES:] for name in names]
        yield one_line(f"not reused either, for other changes: {some(left)}", 400)


def _read(folder: Path) -> _Before | None:
    try:
        return resume.read_plan(folder), store.load(folder)
    except BadInput:
        return None


def _changed(
    now: KeyParts, settings: Settings, plan: resume.PlanFile, results: Results, not_before: datetime
) -> str | None:
    """What is another than in that run, such as ``image, timeout``; None where its key is the same, or it is
    too old."""
    facts, key = plan.cells.get(now.cell), plan.keys.get(now.cell)
    cell = next((one for one in results.cells if one.id == now.cell), None)
    if facts is None or cell is None or key in (None, now.digest()) or _ended(cell) < not_before:
        return None
    names = list(_other_facts(facts, now.facts))
    before, current = results.run.settings, settings.sources()
    limits = [*_LIMITS, *(["emulated-timeout-factor"] if now.emulated_cpu else [])]
    names += [name for name in limits if name in before and before[name].value != current[name].value]
    if f"{results.run.engine.name} {results.run.engine.platform}" != now.engine:
        names.append("engine")
    if cell.emulated != bool(now.emulated_cpu):
        names.append("emulation")
    return ", ".join(names) or _UNTOLD


def _ended(cell: Cell) -> datetime:
    """When the attempt began that counts, or the one ended that it was reused from; else long ago."""
    if cell.reused_from:
        return cell.reused_from.finished_at
    return cell.counted_attempt.started_at if cell.counted_attempt else datetime.min.replace(tzinfo=UTC)


def _other_facts(before: PlannedFacts, now: PlannedFacts) -> Iterator[str]:
    for name in PlannedFacts.model_fields:
        was, is_now = getattr(before, name), getattr(now, name)
        if name == "scenario_settings":  # where a script lies on this machine is no part of a key
            was, is_now = ({**one, "script": None} for one in (was, is_now))
        if name not in LEFT_OUT and was != is_now:
            yield "image" if name == "digest" else name.replace("_", " ")
