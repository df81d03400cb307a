"""The tables of the Markdown report: the cells on two axes, their counts, the example scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from e2e_matrix.compare import SCENARIO
from e2e_matrix.failures import Outcome
from e2e_matrix.report.cell_view import CellView
from e2e_matrix.report.escape import code, prose
from e2e_matrix.report.grid import Grid
from e2e_matrix.report.markdown_blocks import MARKS, link_to, table, words
from e2e_matrix.report.view import View
from e2e_matrix.results import Cell, ScriptRun
from e2e_matrix.script_words import ended, origin, wasted_words
from e2e_matrix.text import NO_VALUE, format_money, format_seconds

_SCRIPT_COLUMNS = [
    *("cell", "script", "SDK", "ended", "time", "wasted", "API calls"),
    *("printed cost", "server's cost"),
]
# An axis with more values is no summary.
_MOST_VALUES = 20


def cells_on_axes(grid: Grid) -> str:
    """One cell in each slot, with its time and cost."""
    corner = " / ".join(prose(axis, 80) for axis in (grid.row_axis, grid.column_axis) if axis)
    header = [corner, *(code(column) if column else "" for column in grid.columns)]
    rows = [
        [code(row.label) if row.label else "", *("<br>".join(map(_slot, slot)) for slot in row.slots)]
        for row in grid.rows
    ]
    text = table(header, rows)
    if not grid.group:
        return text
    group = ", ".join(f"**{prose(axis, 80)}** {code(value)}" for axis, value in grid.group.items())
    return f"{group}\n\n{text}"


def counts_on_axes(view: View) -> str:
    """How many cells of each value of each axis ended how; empty where no axis is short enough to say it."""
    cells = [one.cell for one in view.cells]
    met = {cell.outcome for cell in cells}
    outcomes = [outcome for outcome in Outcome if outcome in met]
    axes = [SCENARIO] if len(view.scenarios) > 1 else []
    axes += dict.fromkeys(axis for cell in cells for axis in cell.axes)
    rows = [
        [f"{prose(axis, 80)} {code(value, 80)}", *(f"{count[outcome]:,}" for outcome in outcomes)]
        for axis in axes
        for value, count in _counts(axis, cells).items()
    ]
    header = ["", *(f"{MARKS[outcome]} {words(outcome)}" for outcome in outcomes)]
    return table(header, rows) if rows else ""


def _counts(axis: str, cells: Sequence[Cell]) -> dict[str, Counter[Outcome]]:
    """Of each value; nothing where there is one alone, or too many."""
    counts: dict[str, Counter[Outcome]] = {}
    for cell in cells:
        value = cell.scenario if axis == SCENARIO else cell.axes.get(axis)
        if value is not None:
            counts.setdefault(value, Counter())[cell.outcome] += 1
    return counts if 1 < len(counts) <= _MOST_VALUES else {}


def scripts(view: View) -> str:
    """What every example script did."""
    rows = [_script(item, item.script) for item in view.scripts if item.script]
    return table(_SCRIPT_COLUMNS, rows)


def _slot(view: CellView) -> str:
    cell = view.cell
    marks = ["flaky"] * view.flaky + ["*emulated*"] * (
        cell.emulated and cell.outcome is not Outcome.UNSUPPORTED
    )
    said = f"{MARKS[cell.outcome]} {', '.join([words(cell.outcome), *marks])}"
    if cell.reused_from:
        run = code(cell.reused_from.run, 120)
        return f"{said} (reused from {link_to(run, view.evidence) if view.evidence else run})"
    if not cell.attempts:
        return said
    if view.repeated:
        return f"{said}<br>{prose(view.repeated)}"
    wasted = wasted_words(view.cell)
    lost = f"<br>{wasted}" if wasted else ""
    return f"{said}<br>{format_seconds(cell.duration_seconds)} · {view.cost}{lost}"


def _script(view: CellView, script: ScriptRun) -> list[str]:
    commit = f" at {code(told, 60)}" if (told := origin(script)) else ""
    costs = (script.printed_cost_usd, script.server_cost_usd)
    return [
        code(view.cell.id),
        code(script.path) + commit,
        code(script.sdk_version) if script.sdk_version else "unknown",
        ended(script),
        format_seconds(script.duration_seconds),
        format_seconds(script.wasted_seconds),
        f"{script.calls_total:,}",
        *(NO_VALUE if cost is None else format_money(cost) for cost in costs),
    ]
