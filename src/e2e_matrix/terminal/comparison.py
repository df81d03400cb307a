"""Two runs side by side on a terminal: what changed first, the verdict last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from decimal import Decimal

from e2e_matrix.assessment import Assessment, Standing
from e2e_matrix.compare import Change, Pair, remark
from e2e_matrix.failures import Outcome
from e2e_matrix.regression import Judgement
from e2e_matrix.report.comparison import Figures, compared_figures, measured
from e2e_matrix.results import Run
from e2e_matrix.terminal.screen import STYLES, Screen
from e2e_matrix.text import NO_VALUE, format_money, one_line

_STYLES = {
    Change.NEWLY_FAILING: STYLES[Outcome.FAILED],
    Change.FIXED: STYLES[Outcome.PASSED],
    Change.STILL_FAILING: STYLES[Outcome.ERROR],
    Change.WASTES_MORE: "bold yellow",
    Change.WASTES_LESS: STYLES[Outcome.PASSED],
}
_MOST_REASONS = 20
_HEADINGS = {"calls": "API calls"}


def show_comparison(screen: Screen, assessed: Assessment) -> None:
    """Everything that changed and everything that did not, each cell in two lines."""
    compared = assessed.compared
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
    _show_measures(screen, assessed)
    screen.line("")
    show_standing(screen, assessed)


def show_standing(screen: Screen, assessed: Assessment, *, brief: bool = False) -> None:
    """The verdict over the comparison, and why; ``brief``: in one line."""
    style = STYLES[assessed.outcome]
    if brief:
        screen.line((f"{assessed.standing}: ", f"{style} bold"), (one_line(assessed.why, 1000), style))
        return
    screen.line((f"{assessed.standing}: ", f"{style} bold"), (one_line(assessed.headline, 1000), style))
    if assessed.standing is not Standing.PASS:
        for reason in assessed.reasons[:_MOST_REASONS]:
            screen.line((f"  {reason.standing}: ", "bold"), one_line(reason.words, 600))


def _show_measures(screen: Screen, assessed: Assessment) -> None:
    news = [*assessed.of(Judgement.WORSE), *assessed.of(Judgement.BETTER)]
    if news or assessed.not_judged:
        screen.line("")
    for one in news:
        before, after = measured(one)
        style = STYLES[Outcome.FAILED if one.judgement is Judgement.WORSE else Outcome.PASSED]
        words = f"{one.measure.name} {before} to {after}, {one.change}"
        screen.line((f"{one.word}: ", style), (one_line(one.pair.name, 200), "bold"), f"  {words}")
    _show_not_judged(screen, assessed)


def _show_not_judged(screen: Screen, assessed: Assessment) -> None:
    for words in assessed.not_judged[:_MOST_REASONS]:
        screen.line(("not judged: ", "dim"), (one_line(words, 400), "dim"))


def show_after_run(screen: Screen, assessed: Assessment) -> None:
    """Below the summary of the candidate's run: with what it is compared, what that cost, and the verdict."""
    compared = assessed.compared
    _show_side(screen, "against", compared.baseline, compared.baseline_run)
    if compared.side_by_side:
        costs = [run.totals.cost_usd for run in (compared.baseline_run, compared.candidate_run)]
        known = [cost for cost in costs if cost is not None]
        both = format_money(sum(known, Decimal(0)) if len(known) == len(costs) else None)
        screen.line(("cost       ", "dim"), f"{both} with that of the baseline")
    _show_not_judged(screen, assessed)
    show_standing(screen, assessed)


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
