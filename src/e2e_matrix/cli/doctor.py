"""``e2e-matrix doctor``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict

import click

from e2e_matrix import doctor
from e2e_matrix.doctor import Check, Status
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.errors import EXIT_INFRASTRUCTURE, EXIT_PASSED

_COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.FAIL: "red"}


@click.command()
@click.option(
    "--registry", metavar="REF", help="The registry to ask, as a host or an image [default: ghcr.io]."
)
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(registry: str | None, format_: str) -> int:
    """Say what this machine can do, and how to mend what it cannot.

    Exit codes: 0 a run is possible, 3 it is not.
    """
    checks = doctor.examine(DockerEngine.connect, registry=registry)
    possible = doctor.run_is_possible(checks)
    if format_ == "json":
        found = {"run_is_possible": possible, "checks": [asdict(check) for check in checks]}
        click.echo(json.dumps(found, indent=2))
    else:
        _print(checks)
        click.echo()
        click.echo(_conclusion(checks))
    return EXIT_PASSED if possible else EXIT_INFRASTRUCTURE


def _conclusion(checks: Sequence[Check]) -> str:
    if not doctor.run_is_possible(checks):
        return "No run is possible before what failed is mended."
    reached = all(check.status is Status.OK for check in checks if check.name == "registry")
    return (
        "A run is possible." if reached else "`make demo` is possible; testing the published images is not."
    )


def _print(checks: Sequence[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = f"{check.status:<4}"
        if not os.environ.get("NO_COLOR"):
            mark = click.style(mark, fg=_COLOURS[check.status])
        click.echo(f"{mark}  {check.name:<{width}}  {check.detail}")
        for line in check.fix.splitlines():
            click.echo(f"{'':<{width + 8}}{line.strip()}")
