"""What is known of a run's cells from the runs before it: ``trend.json`` in the run's folder.

A report is rendered from its folder alone, wherever that is carried. So at the end of a run what a report
says of the past is taken out of the history, and laid beside the results.

Times are only kept of runs that may be compared with this one: of the same cell, both native or both
emulated, with the same model, the same scenario and the same version of it; and not of a pass that another
run's stands for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.failures import Outcome
from e2e_matrix.history.points import Point
from e2e_matrix.results import Cell, Model, Results, Run, Seconds
from e2e_matrix.store import other_version, write_atomically

TREND = "trend.json"
TREND_VERSION = 1
# Runs of a cell that a report looks back on.
LOOK_BACK = 20
_MEND = "Remove it: the report does without. `e2e-matrix run` writes one where it keeps a history."


class Sample(Model):
    """A cell in an earlier run, as it is seen from this one."""

    run: str
    outcome: Outcome
    flaky: bool = False
    seconds: Seconds | None = None  # of the attempt that counts, without its pull; None: not comparable
    apart: str | None = None  # why its time cannot be compared, as in "it was emulated"
    same_image: bool | None = None  # None: nobody knows
    other: bool = False  # of another kind: its verdict says nothing of this run's, either


class Trend(Model):
    """The whole of trend.json: by cell the runs before this one, the newest last."""

    schema_version: int
    cells: dict[str, list[Sample]]


def seconds_of(cell: Cell) -> float | None:
    """What the attempt that counts took without its pull; None where the cell has no time of its own."""
    counts = cell.counted_attempt
    if counts is None or cell.reused_from:
        return None
    return max(counts.duration_seconds - (counts.phases.pull or 0.0), 0.0)


def trend_of(results: Results, before: Mapping[str, Sequence[Point]]) -> Trend:
    """``before``: by cell its points in earlier runs, the newest last."""
    return Trend(
        schema_version=TREND_VERSION,
        cells={
            cell.id: [_sample(results.run, cell, point) for point in before[cell.id][-LOOK_BACK:]]
            for cell in results.cells
            if cell.id in before
        },
    )


def keep_trend(folder: Path, trend: Trend) -> None:
    """Lay it into a run's folder. Raises ``InfrastructureError`` where the disk refuses."""
    # What a sample does not say is left out: of a thousand cells there are twenty thousand.
    write_atomically(folder / TREND, (trend.model_dump_json(exclude_defaults=True) + "\n").encode())


def load_trend(folder: Path) -> Trend | None:
    """What lies in a run's folder; None: nothing does. Raises ``BadInput`` where it cannot be read."""
    path = folder / TREND
    if not path.is_file():
        return None
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}", _MEND)]) from error
    if problem := other_version(path, text, (TREND_VERSION,)):
        raise BadInput([problem])
    try:
        return Trend.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BadInput([Problem(str(path), 0, 0, f"{where}: {first['msg']}", _MEND)]) from error


def _sample(run: Run, cell: Cell, point: Point) -> Sample:
    apart = _apart(run, cell, point)
    digest = cell.image.digest
    return Sample(
        run=point.run,
        outcome=point.outcome,
        flaky=point.flaky,
        seconds=None if apart else point.duration_seconds,
        apart=apart,
        same_image=point.digest == digest if point.digest and digest else None,
        other=point.reused or _other(run, cell, point),
    )


def _other(run: Run, cell: Cell, point: Point) -> bool:
    """Another version of the same scenario is none of it: that may be what changed."""
    ours = (cell.emulated, cell.scenario, run.model_of(cell))
    return (point.emulated, point.scenario, point.model) != ours


def _apart(run: Run, cell: Cell, point: Point) -> str | None:
    """Why the times of both cannot be compared; None where they can."""
    if point.reused:
        return "its pass is that of another run"
    if not point.duration_seconds:
        return "it was not run there"
    if point.emulated is not cell.emulated:
        return f"it was {'emulated' if point.emulated else 'native'} there"
    if point.model != run.model_of(cell):
        return "another model answered there"
    if (point.scenario, point.scenario_version) != (cell.scenario, cell.scenario_version):
        return "the scenario was another there"
    return None
