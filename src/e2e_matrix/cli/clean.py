"""``e2e-matrix clean``."""

from __future__ import annotations

from contextlib import closing

import click

from e2e_matrix import clean
from e2e_matrix.engine.docker import DockerEngine


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also remove the containers of runs that are alive.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def command(everything: bool, dry_run: bool) -> None:
    """Remove the containers that ended runs left behind.

    They are found by their labels: those whose run is gone from this machine, or whose deadline has passed.
    Nothing else is touched.
    """
    with closing(DockerEngine.connect()) as engine:
        names = clean.clean(engine, everything=everything, dry_run=dry_run, say=click.echo)
    if not names:
        click.echo("nothing to remove")
