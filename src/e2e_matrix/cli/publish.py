"""``e2e-matrix publish``: what a run found, told on GitHub."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from e2e_matrix import resume, store
from e2e_matrix.cli import publish_options as options
from e2e_matrix.cli.options import Command, with_options
from e2e_matrix.cli.places import reports_folder
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.failures import Outcome
from e2e_matrix.publish.check import CheckPlace
from e2e_matrix.publish.client import Client
from e2e_matrix.publish.comment import CommentPlace
from e2e_matrix.publish.issue import IssuePlace
from e2e_matrix.publish.news import News, broke_off, finished, verified
from e2e_matrix.publish.rehearsal import Rehearsal
from e2e_matrix.publish.surroundings import Surroundings
from e2e_matrix.publish.survey import key_of, place, survey
from e2e_matrix.question import assessed_in
from e2e_matrix.report.qa import qa_of


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


_report = click.option(
    "--report",
    type=click.Choice(["md", "qa"]),
    default="md",
    show_default=True,
    help="What is told: the run, or the QA report of it against its baseline.",
)


@command.command(CommentPlace.name)
@_common
@_report
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
@_report
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
    news, found = _prepared(ctx, name, dry_run)
    chosen = ctx.params.get("key") or key_of(news.matrix_file)
    there = place(name, found, chosen, ctx.params.get("mode") or "on-change")
    if not dry_run:
        with Client(found.api_url, found.token or "") as client:
            click.echo(there.tell(client, news))
        return
    with Rehearsal(found.api_url, found.token, click.echo) as rehearsal:
        done = there.tell(rehearsal, news)
    if not rehearsal.requests:
        click.echo(done)
    if not found.token:
        click.echo("(no token: what is on GitHub already was not looked up)", err=True)


def _prepared(ctx: click.Context, name: str, dry_run: bool) -> tuple[News, Surroundings]:
    """What to tell, and where. Raises BadInput with what is wrong of both."""
    problems: list[Problem] = []
    news, found = None, Surroundings()
    try:
        news = _news(ctx.params["run"], reports_folder(ctx), ctx.params.get("report") == "qa")
    except BadInput as error:
        problems += error.problems
    try:
        found = survey((name,), options.given(ctx), ctx.params.get("key"), os.environ, dry_run=dry_run)
    except BadInput as error:
        problems += error.problems
    if problems or news is None:
        raise BadInput(problems)
    return news, found


def _news(name: str, reports: Path, qa: bool) -> News:
    """Of the run that ``name`` is, also where it was killed; ``qa``: as its QA report tells it.

    Raises BadInput where there is none.

    `latest` names the newest that came to its end: where another began after it, that one is meant, or an
    older pass would be told of what nobody has tested.
    """
    folder = store.look_for(name, reports, store.RESULTS) or store.look_for(name, reports, resume.PLAN)
    if name == "latest" and folder:
        folder = max(folder, resume.newest_begun(reports) or folder, key=lambda one: store.age(one.name))
    if folder is None or (folder / store.RESULTS).is_file():
        folder = folder or store.find(name, reports)
        results = store.load(folder)
        return verified(qa_of(results, folder)) if qa else finished(results, assessed_in(folder, results))
    plan = resume.read_plan(folder)
    images = list(dict.fromkeys(cell.image for cell in plan.cells.values()))
    why = f"Run {folder.name} was killed, or still goes on: none of its cells has ended."
    news = broke_off(folder.name, images[0] if images else "no image", why, Outcome.NOT_RUN)
    return replace(news, matrix_file=plan.matrix_file)
