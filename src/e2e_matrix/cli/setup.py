"""``e2e-matrix setup``."""

from __future__ import annotations

import click

from e2e_matrix.local import setup


@click.command()
@click.option("--for-tests", is_flag=True, help="Also what `make test` needs: a browser.")
@click.option(
    "--images/--no-images", default=True, help="What builds and serves the local images.", show_default=True
)
def command(for_tests: bool, images: bool) -> None:
    """Make this machine ready: a container engine, emulation, the tools for the local images.

    On Debian and Ubuntu, as root, it installs what is missing and says so; otherwise it prints the commands
    to run and stops with exit code 3. With nothing missing it does nothing.
    """
    setup.ensure(click.echo, for_tests=for_tests, images=images)
