"""``e2e-matrix clean``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from e2e_matrix import clean, store
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.script import scratch


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also remove what runs that are alive hold.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--reports",
    type=click.Path(path_type=Path),
    default="reports",
    show_default=True,
    help="Where runs have their folders: half-written files go.",
)
def command(everything: bool, dry_run: bool, reports: Path) -> None:
    """Remove what ended runs left behind: containers, the images of probes, and folders of scripts.

    They are found by their labels: those whose owner is dead or, where that cannot be known, whose deadline
    has passed. Nothing else is touched. `run` does the same before it starts.
    """
    with closing(DockerEngine.connect()) as engine:
        names = clean.clean(engine, everything=everything, dry_run=dry_run, say=click.echo)
    halves = store.sweep(reports, dry_run)
    for path in halves:
        click.echo(f"{'would remove' if dry_run else 'removed'} {path} (half written, and abandoned)")
    swept: list[str] = []
    if not dry_run:  # nobody but us can tell whose they are, and they hold nothing that is worth a look
        scratch.sweep(swept.append)
    for line in swept:
        click.echo(line)
    if not names and not halves and not swept:
        click.echo("nothing to remove")
