"""``e2e-matrix demo``: everything at once, from an empty machine to a report, on images built here."""

from __future__ import annotations

from typing import Any

import click

from e2e_matrix.cli.execute import execute, told_to_the_workflow
from e2e_matrix.cli.job import job_options, load_run
from e2e_matrix.cli.options import matrix_options, run_options
from e2e_matrix.cli.publish_options import load_published, publish_options
from e2e_matrix.local import demo, setup
from e2e_matrix.settings import Source

# What the demo decides by itself: variables that are set for `run` must not change what it tests or costs.
OURS = frozenset({"ref", "image", "model", "base_url"})


@click.command("demo")
@matrix_options
@run_options
@job_options
@publish_options
@click.option("--quiet", "-q", is_flag=True, help="Print the verdict only.")
@click.pass_context
@told_to_the_workflow
def command(ctx: click.Context, /, quiet: bool, force: bool, **_: Any) -> int:
    """Build the local images, serve them from a local registry, and run the matrix on them.

    It takes the options of `run`. The stand-in LLM answers unless --model names another.
    """
    # Bad input is said before anything is installed or built.
    published = load_published(ctx, lambda: load_run(ctx, ours=OURS))[1]
    say = (lambda line: None) if quiet else click.echo
    setup.ensure(say)
    with demo.served(say) as images:
        job = load_run(ctx, images.overrides(), ours=OURS).job(force)
        stand_in = job.settings.origins["llm.model"].source not in (Source.COMMAND_LINE, Source.RESUMED)
        return execute(job, quiet, published, stand_in)
