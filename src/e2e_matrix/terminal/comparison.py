"""Two runs side by side on a terminal: what changed first, the verdict last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from e2e_matrix.compare import Change, Comparison, Pair, remark
from e2e_matrix.failures import Outcome
from e2e_matrix.report.comparison import Figures, compared_figures
from e2e_matrix.results import Run
from e2e_matrix.terminal.screen import STYLES, Screen
from e2e_matrix.text import NO_VALUE, one_line

_STYLES = {
    Change.NEWLY_FAILING: STYLES[Outcome.FAILED],
    Change.FIXED: STYLES[Outcome.PASSED],
    Change.STILL_FAILING: STYLES[Outcome.ERROR],
    Change.WASTES_MORE: "bold yellow",
    Change.WASTES_LESS: STYLES[Outcome.PASSED],
}
_HEADINGS = {"calls": "API calls"}


def show_comparison(screen: Screen, compared: Comparison) -> None:
    """Everything that changed and everything that did not, each cell in two lines."""
    _show_side(screen, "baseline", compared.baseline, compared.baseline_run)
    _show_side(screen, "candidate", compared.candidate, compared.candidate_run)
    screen.line(
        ("images     ", "dim"),
        (one_line(compared.images, 600), "" if compared.same_images else "bold yellow"),
    )
    for warning in compared.warnings:
        screen.line(("note       ", "dim"), (one_line(warning, 400), "yellow"))
    rows = [(pair, *compared_figures(compared, pair)) for pair in compared.pairs]
    widths = _widths([side for _, before, after in rows for side in (before, after)])
    for pair, before, after in rows:
        screen.line("")
        _show_pair(screen, pair, before, after, widths)
    screen.line("")
    screen.line((compared.verdict, STYLES[compared.outcome]))


def _show_side(screen: Screen, word: str, name: str, run: Run) -> None:
    which = "" if name == run.id else f"run {run.id}, "
    about = f"{which}{run.subject}, {run.started_at:%Y-%m-%d %H:%M} UTC"
    screen.line((f"{word:<11}", "dim"), (one_line(name, 200), "bold"), f"  {one_line(about, 300)}")


def _show_pair(screen: Screen, pair: Pair, before: Figures, after: Figures, widths: dict[str, int]) -> None:
    style = _STYLES.get(pair.change, "")
    another = " (another image)" if pair.same_image is False else ""
    screen.line((f"{pair.change}: ", style), (one_line(pair.name, 200), "bold"), (another, "yellow"))
    _show_row(screen, "", {name: _heading(name) for name in widths}, widths, "dim")
    for word, cell, told in (("baseline", pair.baseline, before), ("candidate", pair.candidate, after)):
        _show_row(screen, word, {name: getattr(told, name) for name in widths}, widths)
        if cell and (message := remark(cell)):
            screen.line(f"  {'':<11}", one_line(message, 300))


def _show_row(
    screen: Screen, word: str, values: dict[str, str], widths: dict[str, int], style: str = ""
) -> None:
    line = "  ".join(f"{values[name]:<{width}}" for name, width in widths.items())
    screen.line((f"  {word:<11}", "dim"), (line.rstrip(), style))


def _widths(sides: Sequence[Figures]) -> dict[str, int]:
    """Of the columns that any cell has something in."""
    columns = {field.name: [getattr(side, field.name) for side in sides] for field in fields(Figures)}
    return {
        name: max(map(len, [_heading(name), *values]))
        for name, values in columns.items()
        if any(value != NO_VALUE for value in values)
    }


def _heading(name: str) -> str:
    return _HEADINGS.get(name, name)
