"""``e2e-matrix run``: the matrix, on the images that matrix.yaml names."""

from __future__ import annotations

from typing import Any

import click

from e2e_matrix.cli.execute import execute, told_to_the_workflow
from e2e_matrix.cli.job import job_options, load_run
from e2e_matrix.cli.options import matrix_options, run_options
from e2e_matrix.cli.publish_options import load_published, publish_options


@click.command("run")
@matrix_options
@run_options
@job_options
@publish_options
@click.option("--quiet", "-q", is_flag=True, help="Print the verdict only.")
@click.pass_context
@told_to_the_workflow
def command(ctx: click.Context, /, quiet: bool, force: bool, **_: Any) -> int:
    """Run the matrix and render its report.

    Without a model (LLM_MODEL, --model) the stand-in LLM answers, which costs nothing.
    """
    loaded, published = load_published(ctx, lambda: load_run(ctx))
    return execute(loaded.job(force), quiet, published)
