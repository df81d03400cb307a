"""``e2e-matrix demo``: everything at once, from an empty machine to a report, on images built here."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from e2e_matrix.cli.options import command_line, load, matrix_options, run_options
from e2e_matrix.launch import launch
from e2e_matrix.local import demo, setup
from e2e_matrix.settings import Source
from e2e_matrix.terminal import make_progress

# What the demo decides by itself: variables that are set for `run` must not change what it tests or costs.
OURS = frozenset({"ref", "image", "model", "base_url"})


@click.command("demo")
@matrix_options
@run_options
@click.option("--quiet", "-q", is_flag=True, help="Print the verdict only.")
@click.pass_context
def command(ctx: click.Context, /, quiet: bool, **_: Any) -> int:
    """Build the local images, serve them from a local registry, and run the matrix on them.

    It takes the options of `run`. The stand-in LLM answers unless --model names another.
    """
    load(ctx, ours=OURS)  # bad input is said before anything is installed or built
    say = (lambda line: None) if quiet else click.echo
    setup.ensure(say)
    with demo.served(say) as images:
        settings, plan = load(ctx, images.overrides(), ours=OURS)
        stand_in = settings.origins["llm.model"].source is not Source.COMMAND_LINE
        progress = make_progress(sys.stdout, quiet, os.environ, sys.stdout.isatty())
        results = launch(settings, plan, command_line(), progress, stand_in)
    return results.run.exit_code
