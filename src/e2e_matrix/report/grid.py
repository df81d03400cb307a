"""The cells by their axes: rows and columns as the matrix chose them, one grid for each point of the rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from e2e_matrix.compare import SCENARIO
from e2e_matrix.failures import BROKEN, Outcome
from e2e_matrix.report.cell_view import CellView
from e2e_matrix.results import Run


@dataclass(frozen=True)
class Axis:
    """A name with its values, in the order of the matrix; what only `include` has comes last."""

    name: str
    values: list[str]


@dataclass(frozen=True)
class Row:
    label: str
    slots: list[list[CellView]]


@dataclass(frozen=True)
class Grid:
    """Two axes; ``group`` names one point of the further ones. An empty slot was not planned."""

    group: dict[str, str]
    row_axis: str
    column_axis: str
    columns: list[str]
    rows: list[Row]

    @property
    def counts(self) -> dict[str, int]:
        """How many cells came to each outcome, what is worst first."""
        found = Counter(view.cell.outcome for row in self.rows for slot in row.slots for view in slot)
        return {outcome.value: found[outcome] for outcome in (*BROKEN, *Outcome) if found[outcome]}


def axes_of(run: Run, cells: Sequence[CellView]) -> list[Axis]:
    """Those that a reader may tell cells apart by; the scenario is one, and the first, where there are
    several."""
    several = len({view.cell.scenario for view in cells}) > 1
    names = [*([SCENARIO] if several else []), *run.axes]
    return [Axis(name, _values(run, cells, name)) for name in names]


def grids(run: Run, cells: Sequence[CellView]) -> list[Grid]:
    """The grids, in the order in which their groups come in the run."""
    row_axis, column_axis, further = _arrangement(run, cells)
    rows, columns = _values(run, cells, row_axis), _values(run, cells, column_axis)
    groups: dict[tuple[str, ...], dict[tuple[str, str], list[CellView]]] = {}
    for view in cells:
        group = groups.setdefault(tuple(view.value_of(axis) for axis in further), defaultdict(list))
        group[view.value_of(row_axis), view.value_of(column_axis)].append(view)
    return [
        Grid(
            group=dict(zip(further, point, strict=True)),
            row_axis=row_axis,
            column_axis=column_axis,
            columns=columns,
            rows=[Row(row, [slots.get((row, column), []) for column in columns]) for row in rows],
        )
        for point, slots in groups.items()
    ]


def _arrangement(run: Run, cells: Sequence[CellView]) -> tuple[str, str, list[str]]:
    """The axis of the rows, that of the columns, and the rest."""
    names = [axis.name for axis in axes_of(run, cells)]
    chosen = {side: _chosen(run, side) for side in ("rows", "columns")}
    left = [name for name in names if name not in chosen.values()]
    rows, columns = (chosen[side] or (left.pop(0) if left else "") for side in ("rows", "columns"))
    return rows, columns, left


def _chosen(run: Run, side: str) -> str | None:
    """What the matrix's `reports` says, where it names an axis of this run."""
    setting = run.settings.get(f"reports.{side}")
    name = setting.value if setting else None
    return name if isinstance(name, str) and name in (*run.axes, SCENARIO) else None


def _values(run: Run, cells: Sequence[CellView], axis: str) -> list[str]:
    known = run.axes.get(axis, [])
    used = dict.fromkeys(view.value_of(axis) for view in cells)
    return [*known, *(value for value in used if value not in known)]
