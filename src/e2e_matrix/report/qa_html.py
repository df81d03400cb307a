"""The QA report as one page, with the looks and the manners of report.html."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from e2e_matrix.regression import Judgement
from e2e_matrix.report import files_of
from e2e_matrix.report.html import asset, icon_of, policy_of, template
from e2e_matrix.report.qa import QA, qa_of
from e2e_matrix.report.qa_evidence import COLUMNS, SIDES, Told, medians_of, word_of
from e2e_matrix.results import Results

# So much is in full; what else there is, is counted.
MOST_TOLD = 60
MOST_ROWS = 300
MOST_OPERATIONS = 100


def render(results: Results, folder: Path) -> str:
    """The QA report of the run in ``folder``."""
    return page(qa_of(results, folder), files_of(results))


def page(qa: QA, beside: Sequence[str] = ()) -> str:
    """``beside``: names of the run's other reports, which are linked."""
    style, script = asset("report.css") + asset("qa.css"), asset("report.js")
    runs = (qa.assessed.compared.baseline_run if qa.assessed else None, qa.results.run)
    return template("qa.html.j2").render(
        qa=qa,
        run=qa.results.run,
        sides=SIDES,
        columns=COLUMNS,
        others=Told(runs, "", qa.outcome, qa.others) if qa.others else None,
        word_of=word_of,
        medians_of=medians_of,
        news=qa.measures(Judgement.WORSE, Judgement.BETTER),
        measures=qa.measures(Judgement.NO_DIFFERENCE, Judgement.NOT_ENOUGH, Judgement.NOT_COMPARABLE),
        most_told=MOST_TOLD,
        most_rows=MOST_ROWS,
        most_operations=MOST_OPERATIONS,
        beside=[name for name in beside if name != "qa.html"],
        style=Markup(style),
        script=Markup(script),
        policy=policy_of(style, script),
        icon=icon_of(qa.outcome),
    )
