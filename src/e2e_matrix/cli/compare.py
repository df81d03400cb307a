"""``e2e-matrix compare``: what is different between two runs, or two values of an axis."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Any

import click

from e2e_matrix import store
from e2e_matrix.assessment import Assessment, Question, assess
from e2e_matrix.cli import options
from e2e_matrix.cli.places import reports_folder
from e2e_matrix.cli.question import asked_of, check_expected, question_options
from e2e_matrix.compare import compare_axis, compare_runs
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.question import QUESTION, Asked, keep_baseline, keep_question, load_question
from e2e_matrix.report import FORMATS, comparison, write_reports
from e2e_matrix.terminal.comparison import show_comparison
from e2e_matrix.terminal.screen import Screen
from e2e_matrix.text import one_line

_LONGEST = 400  # characters


@click.command("compare")
@click.argument("runs", nargs=-1, metavar="[BASELINE CANDIDATE | RUN --axis NAME]")
@click.option("--axis", metavar="NAME", help="Compare two values of this axis within one run.")
@click.option("--baseline", metavar="VALUE", help="The axis's value before  [default: the first of two].")
@click.option("--candidate", metavar="VALUE", help="The axis's value after  [default: the second].")
@options.fail_on
@question_options
@click.option(  # no variable: one that is set for `run` must not make this write
    "--report",
    metavar="NAME[,NAME]",
    multiple=True,
    help=f"Write reports beside CANDIDATE: qa, or another of {', '.join(FORMATS)}.",
)
@click.option("--reports", envvar="E2E_MATRIX_REPORTS", metavar="FOLDER", help="Where the runs lie.")
@click.option(
    "--format", "form", type=click.Choice(["text", "md", "json"]), default="text", show_default=True
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    runs: tuple[str, ...],
    axis: str | None,
    baseline: str | None,
    candidate: str | None,
    form: str,
    **_: Any,
) -> int:
    """Show what changed from one run to another, cell by cell, or from one value of an axis to another.

    A run is named by its id, its folder, or as `latest`. --report, such as --report qa, writes reports into
    the folder of CANDIDATE, which keeps the baseline and what is asked from then on.

    Exit codes: 0 PASS, 1 FAIL, 2 bad input, 3 INCONCLUSIVE: nobody knows, such as where cells of the
    candidate have no verdict, or no cell is in both.
    """
    if axis is None and (baseline is not None or candidate is not None):
        raise click.UsageError("--baseline and --candidate are values of an axis: say --axis.")
    if len(runs) != (2 if axis is None else 1):
        raise click.UsageError("Name two runs, or one run and --axis.")
    asked, formats = _asked(ctx)
    if axis is not None and formats:
        raise click.UsageError("--report is of two runs: leave --axis out.")
    folders = [store.find(name, reports_folder(ctx)) for name in runs]
    if axis is None and folders[0].resolve() == folders[1].resolve():
        hint = "name two, or say --axis to compare two values of an axis in one"
        raise BadInput([Problem("", 0, 0, f"both names are of one run, {folders[0].name}", hint)])
    found = [store.load(folder) for folder in folders]
    compared = compare_runs(*found) if axis is None else compare_axis(found[0], axis, baseline, candidate)
    check_expected(asked, [pair.name for pair in compared.pairs])
    kept = load_question(folders[1]) if axis is None else Question()
    assessed = assess(compared, question=asked.over(kept), folder=folders[-1], baseline_folder=folders[0])
    _print(assessed, form, _asked_earlier(asked, kept))
    if formats:
        keep_baseline(folders[1], folders[0])
        keep_question(folders[1], asked)
        for path in write_reports(folders[1], formats):
            click.echo(str(path), err=form != "text")
    return assessed.exit_code


def _asked(ctx: click.Context) -> tuple[Asked, tuple[str, ...] | None]:
    """What is asked of the comparison, and the reports to write. Raises BadInput with all that is wrong."""
    problems: list[Problem] = []
    asked, fail_on, formats = Asked(), None, None
    try:
        asked = asked_of(ctx, compared=True)
    except BadInput as error:
        problems += error.problems
    try:
        fail_on, formats = options.comparing(ctx)
    except BadInput as error:
        problems += error.problems
    if problems:
        raise BadInput(problems)
    return replace(asked, fail_on=fail_on), formats


def _asked_earlier(asked: Asked, kept: Question) -> str:
    """What the candidate's folder keeps and nothing takes the place of now, in one line; "" for nothing."""
    parts, mend = [], []
    if kept.expected and asked.expected is None:
        parts.append(f"expect {', '.join(map(str, kept.expected))}")
        mend.append("--expect '' takes it back")
    if kept.fail_on is not None and asked.fail_on is None:
        parts.append(f"fail-on {', '.join(kept.fail_on)}")
        mend.append("--fail-on says another")
    told = one_line("; ".join(parts), _LONGEST)
    return f"{told} ({'; '.join([QUESTION, *mend])})" if parts else ""


def _print(assessed: Assessment, form: str, earlier: str) -> None:
    if form == "json":
        click.echo(comparison.as_json(assessed))
    elif form == "md":
        click.echo(comparison.as_markdown(assessed), nl=False)
    else:
        screen = Screen(sys.stdout, os.environ, sys.stdout.isatty())
        if earlier:
            screen.line(("asked earlier: ", "dim"), earlier)
        show_comparison(screen, assessed)
