"""--claim and --expect: what is asked of a comparison, on run, demo, render and compare."""

from __future__ import annotations

from dataclasses import replace

import click
from click.core import ParameterSource

from e2e_matrix.assessment import Expectation, expectations
from e2e_matrix.cli.options import Command, with_options
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.question import LONGEST_CLAIM, Asked

NO_BASELINE = Problem(
    "--expect",
    0,
    0,
    "nothing can be expected without a baseline",
    "say --baseline RUN, or leave it out",
)


_NOTHING = "there is nothing to fail on without a baseline"


def question_options(command: Command) -> Command:
    """--claim TEXT and --expect CHANGE:GLOB."""
    return with_options(
        (
            click.option(
                "--claim",
                metavar="TEXT",
                envvar="E2E_MATRIX_CLAIM",
                help="What the change is for: it heads the QA report.",
            ),
            click.option(
                "--expect",
                metavar="CHANGE:GLOB",
                envvar="E2E_MATRIX_EXPECT",
                multiple=True,
                help="What has to become of cells since the baseline, such as fixed:python-*; repeatable.",
            ),
        ),
        command,
    )


def asked_of(ctx: click.Context, *, compared: bool) -> Asked:
    """What was given of ``question_options``. ``compared``: whether there is, or may be, a baseline.

    Raises BadInput with everything that is wrong with it.
    """
    claim = ctx.params.get("claim")
    claim = claim if claim is None else _text(claim).strip()
    given = ctx.params.get("expect") or ()
    texts = [_text(text) for text in given if text]  # an empty one takes back what is kept
    problems: list[Problem] = []
    expected: tuple[Expectation, ...] = ()
    if claim and len(claim) > LONGEST_CLAIM:
        hint = f"{LONGEST_CLAIM:,} characters have to do"
        problems.append(Problem("--claim", 0, 0, f"has {len(claim):,} characters", hint))
    try:
        expected = expectations(texts)
    except BadInput as error:
        problems += error.problems
    if texts and not compared:
        problems.append(NO_BASELINE)
    if not compared and ctx.get_parameter_source("fail_on") is ParameterSource.COMMANDLINE:
        problems.append(
            replace(NO_BASELINE, file="--fail-on", message="there is nothing to fail on without a baseline")
        )
    if problems:
        raise BadInput(problems)
    return Asked(claim, expected if given else None)


def _text(argument: str) -> str:
    """An argument may have bytes in it that are no text; a file of ours has not."""
    return argument.encode("utf-8", "replace").decode()
