"""The cells by their axes: rows and columns as the matrix chose them, one grid for each point of the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from e2e_matrix.report.cell_view import CellView
from e2e_matrix.results import Run

# No axis may be called so: it stands for the cell's scenario where a run has several.
SCENARIO = "scenario"


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


def axes_of(run: Run, cells: Sequence[CellView]) -> list[Axis]:
    """Those that a reader may tell cells apart by; the scenario is one, and the first, where there are
    several."""
    several = len({view.cell.scenario for view in cells}) > 1
    names = [*([SCENARIO] if several else []), *run.axes]
    return [Axis(name, _values(run, cells, name)) for name in names]


def value_of(view: CellView, axis: str) -> str:
    """The cell's value of an axis; "" where it has no such axis."""
    return view.cell.scenario if axis == SCENARIO else view.cell.axes.get(axis, "")


def grids(run: Run, cells: Sequence[CellView]) -> list[Grid]:
    """The grids, in the order in which their groups come in the run."""
    row_axis, column_axis, further = _arrangement(run, cells)
    rows, columns = _values(run, cells, row_axis), _values(run, cells, column_axis)
    groups: dict[tuple[str, ...], dict[tuple[str, str], list[CellView]]] = {}
    for view in cells:
        group = groups.setdefault(tuple(value_of(view, axis) for axis in further), defaultdict(list))
        group[value_of(view, row_axis), value_of(view, column_axis)].append(view)
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
    used = dict.fromkeys(value_of(view, axis) for view in cells)
    return [*known, *(value for value in used if value not in known)]
