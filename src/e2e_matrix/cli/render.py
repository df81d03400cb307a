"""`e2e-matrix render`: write a run's reports again, from its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from e2e_matrix import store
from e2e_matrix.cli.places import reports_folder
from e2e_matrix.cli.question import asked_of, check_expected, question_options
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.question import keep_baseline, keep_question
from e2e_matrix.report import FORMATS, write_reports

_NEWEST = "latest"


@click.command("render")
@click.argument("run", required=False, metavar="[RUN]")
@click.option("--reports", envvar="E2E_MATRIX_REPORTS", metavar="FOLDER", help="Where the runs lie.")
@click.option(
    "--report",
    "--format",
    "formats",
    metavar="NAME[,NAME]",
    multiple=True,
    help=f"What to render: {', '.join(FORMATS)}; repeatable.  [default: as the run did]",
)
@click.option(
    "--baseline",
    metavar="RUN",
    help="Say what changed since this run: a folder, or an id or `latest` beside RUN.",
)
@question_options
@click.pass_context
def command(
    ctx: click.Context, /, run: str | None, formats: tuple[str, ...], baseline: str | None, **_: Any
) -> None:
    """Write the reports of RUN, a folder or an id, again, from what lies in it  [default: latest].

    A baseline that was given once is kept there, as baseline.json, and so are a claim and expectations.
    """
    names = [name.strip() for name in ",".join(formats).split(",") if name.strip()] if formats else None
    if names == []:
        hint = f"name some of {', '.join(FORMATS)}, or leave it out"
        raise BadInput([Problem("--report", 0, 0, "must not be empty", hint)])
    folder = _folder_of(ctx, run)
    asked = asked_of(ctx, compared=baseline is not None or (folder / store.BASELINE).is_file())
    found = None if baseline is None else store.find(baseline, folder.parent)
    compared = store.load(found) if found else store.load_baseline(folder)
    check_expected(asked, [cell.id for one in (store.load(folder), compared) if one for cell in one.cells])
    if found:
        keep_baseline(folder, found)
    keep_question(folder, asked)
    for path in write_reports(folder, names):
        click.echo(str(path))


def _folder_of(ctx: click.Context, run: str | None) -> Path:
    """Raises BadInput where there is none. Of a folder that is named as it is, no matrix.yaml is read."""
    if run is not None and Path(run).is_dir():
        return Path(run)
    name, reports = run or _NEWEST, reports_folder(ctx)
    folder = reports / name
    return folder if folder.is_dir() else store.find(name, reports)
