"""`e2e-matrix render`: write a run's reports again, from its folder alone."""

from __future__ import annotations

from pathlib import Path

import click

from e2e_matrix.report import FORMATS, write_reports


@click.command("render")
@click.argument(
    "folder", type=click.Path(path_type=Path), default=Path("reports/latest"), metavar="[RUN_FOLDER]"
)
@click.option(
    "--report",
    "--format",
    "formats",
    metavar="NAME[,NAME]",
    help=f"What to render: {', '.join(FORMATS)}.  [default: as the run did]",
)
def command(folder: Path, formats: str | None) -> None:
    """Write the reports of RUN_FOLDER (default: reports/latest) again from its results.json."""
    names = None if formats is None else [name.strip() for name in formats.split(",") if name.strip()]
    for path in write_reports(folder, names):
        click.echo(str(path))
