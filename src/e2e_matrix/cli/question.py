"""--claim and --expect: what is asked of a comparison, on run, demo, render and compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import click
from click.core import ParameterSource

from e2e_matrix.assessment import Expectation, expectations, idle_expectations
from e2e_matrix.cli.options import Command, with_options
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.question import LONGEST_CLAIM, Asked

_NOTHING_EXPECTED = "nothing can be expected without a baseline"
_NOTHING_FAILS = "there is nothing to fail on without a baseline"


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
        problems.append(without_baseline(ctx))
    if not compared and ctx.get_parameter_source("fail_on") is ParameterSource.COMMANDLINE:
        problems.append(replace(without_baseline(ctx), file="--fail-on", message=_NOTHING_FAILS))
    if problems:
        raise BadInput(problems)
    return Asked(claim, expected if given else None)


def without_baseline(ctx: click.Context) -> Problem:
    """What is wrong with an expectation where nothing is compared."""
    # The demo has the option only to say why it cannot take it: it builds images of one ref.
    takes_ref = "baseline_ref" in ctx.params and ctx.command.name != "demo"
    either = " or --baseline-ref REF" if takes_ref else ""
    return Problem("--expect", 0, 0, _NOTHING_EXPECTED, f"say --baseline RUN{either}, or leave it out")


def check_expected(asked: Asked, cells: Iterable[str]) -> None:
    """Raises BadInput where something is expected of no cell. ``cells``: the names in either run."""
    if problems := list(idle_expectations(asked.expected or (), list(dict.fromkeys(cells)))):
        raise BadInput(problems)


def _text(argument: str) -> str:
    """An argument may have bytes in it that are no text; a file of ours has not."""
    return argument.encode("utf-8", "replace").decode()
