"""The options of `publish`, which `run` and `demo` share where they publish."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import click

from e2e_matrix.cli.job import Loaded
from e2e_matrix.cli.options import DEFAULT_FILE, Command, with_options
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.progress import Progress, Several
from e2e_matrix.publish.client import Client
from e2e_matrix.publish.comment import CommentPlace
from e2e_matrix.publish.live import Live
from e2e_matrix.publish.surroundings import Given, Surroundings
from e2e_matrix.publish.survey import NEEDS, key_of, place, survey
from e2e_matrix.redaction import Secrets, secrets_by_name
from e2e_matrix.settings import Settings

# Makes of the terminal's watcher, perhaps a quiet one, the run's: one that publishes, too.
Published = Callable[[Settings, Progress, bool], AbstractContextManager[Progress]]

MODES = ("on-change", "always", "failure")

repo = click.option("--repo", metavar="OWNER/NAME", help="The repository  [default: of this workflow].")
pull = click.option("--pr", metavar="N", help="The pull request  [default: of this workflow's event].")
sha = click.option("--sha", metavar="SHA", help="The commit that was tested  [default: of the event].")
api_url = click.option("--api-url", metavar="URL", help="Of GitHub Enterprise: https://host/api/v3.")
run_url = click.option("--run-url", metavar="URL", help="Linked as the run  [default: of this workflow].")
key = click.option(
    "--key", metavar="NAME", help="Tells several of ours apart  [default: the name of the matrix's file]."
)
mode = click.option(
    "--mode",
    type=click.Choice(MODES),
    help="When a comment that is there is changed: on-change, where the commit, the verdict or a cell's "
    "outcome is another; always, also for times and costs; failure, as on-change, but none is made before "
    "a run has not passed.  [default: on-change]",
)
publish = click.option(
    "--publish",
    "publish",
    multiple=True,
    is_flag=False,
    flag_value=CommentPlace.name,
    type=click.Choice(tuple(NEEDS)),
    help="Tell GitHub how the run goes and ends; repeatable; alone, as a comment.",
)
_SHARED = (repo, pull, sha, key, mode, run_url, api_url)
_NAMES = ("repo", "pr", "sha", "key", "mode", "run_url", "api_url")


def publish_options(command: Command) -> Command:
    """--publish, and what goes with it."""
    return with_options((publish, *_SHARED), command)


def given(ctx: click.Context) -> Given:
    """What of the surroundings was given as options."""
    value = ctx.params.get
    return Given(value("repo"), value("pr"), value("sha"), value("api_url"), value("run_url"))


def load_published(ctx: click.Context, load: Callable[[], Loaded]) -> tuple[Loaded, Published]:
    """What ``load`` gives, and what publishes the run.

    Raises BadInput with the problems of both.
    """
    names = tuple(dict.fromkeys(ctx.params["publish"]))
    problems: list[Problem] = []
    found = Surroundings()
    try:
        found = _survey(ctx, names)
    except BadInput as error:
        problems += error.problems
    try:
        loaded = load()
    except BadInput as error:
        if names and not problems:
            # What a pull request made of its matrix must not leave the last run's verdict standing.
            file = ctx.params.get("matrix") or DEFAULT_FILE
            with _live(ctx, names, found, file, file, lambda words: None, quiet=False):
                raise
        raise BadInput([*problems, *error.problems]) from None
    if problems:
        raise BadInput(problems)
    return loaded, partial(_published, ctx, names, found)


def _survey(ctx: click.Context, names: tuple[str, ...]) -> Surroundings:
    if names:
        return survey(names, given(ctx), ctx.params.get("key"), os.environ)
    if alone := [f"--{name.replace('_', '-')}" for name in _NAMES if ctx.params.get(name) is not None]:
        hint = "leave it out, or say --publish"
        raise BadInput([Problem(option, 0, 0, "goes with --publish", hint) for option in alone])
    return Surroundings()


@contextmanager
def _published(
    ctx: click.Context,
    names: tuple[str, ...],
    found: Surroundings,
    settings: Settings,
    progress: Progress,
    quiet: bool,
) -> Iterator[Progress]:
    if not names:
        yield progress
        return
    with _live(ctx, names, found, settings.matrix_file, settings.subject, progress.note, quiet) as live:
        yield Several(progress, live)


def _live(
    ctx: click.Context,
    names: tuple[str, ...],
    found: Surroundings,
    matrix_file: str,
    subject: str,
    note: Callable[[str], None],
    quiet: bool,
) -> Live:
    token = found.token or ""
    chosen = ctx.params.get("key") or key_of(matrix_file)
    return Live(
        [place(name, found, chosen, ctx.params.get("mode") or "on-change") for name in names],
        lambda patience: Client(found.api_url, token, patience),
        subject,
        note=lambda words: note(f"not published: {words}"),
        told=lambda words: None if quiet else click.echo(words),
        failed=lambda words: click.echo(f"e2e-matrix: {words}", err=True),
        redact=Secrets([token, *secrets_by_name(os.environ)]).redact,
    )
