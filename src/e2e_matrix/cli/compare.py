"""``e2e-matrix compare``: what is different between two runs, or two values of an axis."""

from __future__ import annotations

import os
import sys

import click

from e2e_matrix import store
from e2e_matrix.assessment import Assessment, assess
from e2e_matrix.cli.job import reports_folder
from e2e_matrix.compare import compare_axis, compare_runs
from e2e_matrix.report import comparison
from e2e_matrix.terminal.comparison import show_comparison
from e2e_matrix.terminal.screen import Screen


@click.command("compare")
@click.argument("runs", nargs=-1, metavar="[BASELINE CANDIDATE | RUN --axis NAME]")
@click.option("--axis", metavar="NAME", help="Compare two values of this axis within one run.")
@click.option("--baseline", metavar="VALUE", help="The axis's value before  [default: the first of two].")
@click.option("--candidate", metavar="VALUE", help="The axis's value after  [default: the second].")
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
    **_: str | None,
) -> int:
    """Show what changed from one run to another, cell by cell, or from one value of an axis to another.

    A run is named by its id, its folder, or as `latest`. Times are shown and not judged, but for
    what a script wastes once its conversation has ended.

    Exit codes: 0 nothing is newly failing, 1 something is, 2 bad input, 3 nobody knows: cells of the
    candidate have no verdict, or no cell is in both.
    """
    if axis is None and (baseline is not None or candidate is not None):
        raise click.UsageError("--baseline and --candidate are values of an axis: say --axis.")
    if len(runs) != (2 if axis is None else 1):
        raise click.UsageError("Name two runs, or one run and --axis.")
    found = [store.load(store.find(name, reports_folder(ctx))) for name in runs]
    compared = compare_runs(*found) if axis is None else compare_axis(found[0], axis, baseline, candidate)
    assessed = assess(compared)
    _print(assessed, form)
    return assessed.exit_code


def _print(assessed: Assessment, form: str) -> None:
    if form == "json":
        click.echo(comparison.as_json(assessed))
    elif form == "md":
        click.echo(comparison.as_markdown(assessed), nl=False)
    else:
        show_comparison(Screen(sys.stdout, os.environ, sys.stdout.isatty()), assessed)
