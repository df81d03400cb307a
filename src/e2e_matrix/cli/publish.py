"""``e2e-matrix publish``: what a run found, told on GitHub."""

from __future__ import annotations

import os
from typing import Any

import click

from e2e_matrix import store
from e2e_matrix.cli import publish_options as options
from e2e_matrix.cli.job import reports_folder
from e2e_matrix.cli.options import Command, with_options
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.publish.check import CheckPlace
from e2e_matrix.publish.client import Client
from e2e_matrix.publish.comment import CommentPlace
from e2e_matrix.publish.issue import IssuePlace
from e2e_matrix.publish.news import finished
from e2e_matrix.publish.rehearsal import Rehearsal
from e2e_matrix.publish.surroundings import Surroundings
from e2e_matrix.publish.survey import key_of, place, survey
from e2e_matrix.results import Results


@click.group("publish")
def command() -> None:
    """Tell GitHub what a run found; docs/publishing.md has workflows to copy.

    In GitHub Actions all the rest is taken from the environment. The token comes from GITHUB_TOKEN, or else
    GH_TOKEN, and from nowhere else.

    Exit codes: 0 posted, or there was nothing to post, 2 bad input, 3 GitHub refused or did not answer.
    """


def _common(command: Command) -> Command:
    """RUN, and the options of every one of the commands."""
    return with_options(
        (
            click.argument("run", default="latest", metavar="[RUN]"),
            options.repo,
            options.sha,
            options.key,
            options.run_url,
            options.api_url,
            click.option(
                "--reports", envvar="E2E_MATRIX_REPORTS", metavar="FOLDER", help="Where the runs lie."
            ),
            click.option(
                "--dry-run", is_flag=True, help="Print what would be sent, and send nothing; needs no token."
            ),
        ),
        command,
    )


@command.command(CommentPlace.name)
@_common
@options.pull
@options.mode
@click.pass_context
def comment(ctx: click.Context, /, **_: Any) -> None:
    """Keep one comment on a pull request up to date with RUN: an id, a folder, or `latest`.

    It is found again by a hidden mark with --key and by its author, made once, and changed after.
    """
    _publish(ctx, CommentPlace.name)


@command.command(CheckPlace.name)
@_common
@click.pass_context
def check(ctx: click.Context, /, **_: Any) -> None:
    """Make a check run of RUN on a commit, with an annotation for each cell that broke.

    Where the token may not (only those of Apps may, as that of Actions), it is a commit status.
    """
    _publish(ctx, CheckPlace.name)


@command.command(IssuePlace.name)
@_common
@click.pass_context
def issue(ctx: click.Context, /, **_: Any) -> None:
    """Keep an issue open while RUN fails: for what runs every night.

    It is opened by a run that failed or met an error, brought up to date by the next one that does, and
    closed with a comment by one that passed. What fails after that gets an issue of its own.
    """
    _publish(ctx, IssuePlace.name)


def _publish(ctx: click.Context, name: str) -> None:
    dry_run: bool = ctx.params["dry_run"]
    results, baseline, found = _prepared(ctx, name, dry_run)
    news = finished(results, baseline)
    chosen = ctx.params.get("key") or key_of(results.run.matrix_file)
    there = place(name, found, chosen, ctx.params.get("mode") or "on-change")
    if not dry_run:
        with Client(found.api_url, found.token or "") as client:
            click.echo(there.tell(client, news))
        return
    with Rehearsal(found.api_url, found.token, click.echo) as rehearsal:
        done = there.tell(rehearsal, news)
    if not rehearsal.requests:
        click.echo(done)
    elif not found.token:
        click.echo(
            "without a token nobody looked what is there already: it would be changed instead", err=True
        )


def _prepared(ctx: click.Context, name: str, dry_run: bool) -> tuple[Results, Results | None, Surroundings]:
    """The run's results, those of its baseline, and where to tell them. Raises BadInput with what is wrong of
    all.
    """
    problems: list[Problem] = []
    results, baseline, found = None, None, Surroundings()
    try:
        folder = store.find(ctx.params["run"], reports_folder(ctx))
        results, baseline = store.load(folder), store.load_baseline(folder)
    except BadInput as error:
        problems += error.problems
    try:
        found = survey((name,), options.given(ctx), ctx.params.get("key"), os.environ, dry_run=dry_run)
    except BadInput as error:
        problems += error.problems
    if problems or results is None:
        raise BadInput(problems)
    return results, baseline, found
