"""The options that plan, run and demo share, and what they and matrix.yaml come to.

Every option can also be given as a variable, ``--ref`` as E2E_MATRIX_REF. None of them has a default of its
own: what is not given leaves the file's word standing.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.matrix import Matrix
from e2e_matrix.matrix_fields import KEEPING
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.plan import Plan, make_plan
from e2e_matrix.redaction import without_password
from e2e_matrix.regression import FAILS
from e2e_matrix.report import FORMATS, unknown_formats
from e2e_matrix.settings import Overrides, Setting, Settings, Source, resolve
from e2e_matrix.templates import did_you_mean
from e2e_matrix.units import parse_age, parse_duration, parse_money

DEFAULT_FILE = "matrix.yaml"

Command = TypeVar("Command", bound=Callable[..., Any])


def _option(name: str, help: str, **attributes: Any) -> Callable[[Command], Command]:
    variable = "E2E_MATRIX_" + name.split("/")[0].removeprefix("--").replace("-", "_").upper()
    return click.option(name, envvar=variable, default=None, help=help, **attributes)


fail_on = _option("--fail-on", "What of a comparison ends with 1.", metavar="NAME[,NAME]", multiple=True)
_FILE_OPTIONS = (
    _option("--matrix", f"What to test.  [default: {DEFAULT_FILE}]", metavar="FILE"),
    _option("--profile", "A profile of that file, laid over it.", metavar="NAME"),
)
_MATRIX_OPTIONS = (
    *_FILE_OPTIONS,
    _option("--ref", "Release, commit, branch or latest.", metavar="REF"),
    _option("--image", "Image, with {ref} and the axes as fields.", metavar="TEMPLATE"),
    _option("--only", "Cells to keep, such as 'python-*'; repeatable.", metavar="GLOB", multiple=True),
    _option("--skip", "Cells to leave out; repeatable.", metavar="GLOB", multiple=True),
)
_RUN_OPTIONS = (
    _option("--max-parallel", "Cells at a time.", metavar="N", type=click.IntRange(min=1)),
    _option("--fail-fast/--no-fail-fast", "Cancel the rest when a cell fails."),
    _option("--timeout", "Limit of one native cell, such as 10m.", metavar="DURATION"),
    _option("--run-timeout", "Limit of the whole run, such as 2h.", metavar="DURATION"),
    _option("--max-cost", "What the whole run may cost, in US dollars.", metavar="USD"),
    _option("--repeat", "Run each cell so often.", metavar="N", type=click.IntRange(1, 1000)),
    _option("--reuse", "Let passes of the same key stand that are no older, such as 7d.", metavar="AGE"),
    _option("--no-reuse", "Run every cell, whatever the file says.", is_flag=True),
    _option(
        "--images",
        "Keep or remove the images that the run pulls.",
        type=click.Choice(KEEPING),
    ),
    _option("--model", "A real model, as litellm names it.", metavar="NAME"),
    _option("--base-url", "The real model's endpoint.", metavar="URL"),
    fail_on,
    _option("--reports", "Where the run's folder goes.", metavar="FOLDER"),
    _option("--history", "What remembers runs.  [default: history.sqlite beside them]", metavar="FILE"),
    _option("--report", f"What to render: {', '.join(FORMATS)}.", metavar="NAME[,NAME]", multiple=True),
)


def file_options(command: Command) -> Command:
    """--matrix and --profile."""
    return with_options(_FILE_OPTIONS, command)


def matrix_options(command: Command) -> Command:
    """--matrix, --profile, --ref, --image, --only, --skip."""
    return with_options(_MATRIX_OPTIONS, command)


def run_options(command: Command) -> Command:
    """What _RUN_OPTIONS lists."""
    return with_options(_RUN_OPTIONS, command)


def with_options(options: Iterable[Callable[[Command], Command]], command: Command) -> Command:
    for option in reversed(tuple(options)):  # click lists them in the order in which they decorate from below
        command = option(command)
    return command


def command_line() -> list[str]:
    """The command as a person can type it again: by its name where the shell finds it, else by its path."""
    arguments = [_shown(argument) for argument in sys.argv[1:]]
    program = Path(sys.argv[0])
    found = shutil.which(program.name)
    if program.name != "e2e-matrix" or not program.exists() or (found and Path(found).samefile(program)):
        return ["e2e-matrix", *arguments]
    here = Path.cwd()
    shown = program.relative_to(here) if program.is_absolute() and program.is_relative_to(here) else program
    return [str(shown), *arguments]


def _shown(argument: str) -> str:
    """An argument for the record: a URL may hold a password."""
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + without_password(value) if "://" in value else argument


def load(
    ctx: click.Context,
    defaults: Overrides | None = None,
    ours: frozenset[str] = frozenset(),
    instead: Overrides | None = None,
) -> tuple[Settings, Plan]:
    """The effective settings and the plan of a command with ``matrix_options`` and perhaps ``run_options``:
    what ``load_all`` says, without the matrix."""
    _, settings, plan = load_all(ctx, defaults, ours, instead)
    return settings, plan


def load_all(
    ctx: click.Context,
    defaults: Overrides | None = None,
    ours: frozenset[str] = frozenset(),
    instead: Overrides | None = None,
) -> tuple[Matrix, Settings, Plan]:
    """The matrix with its profile, what it and the options come to, and the plan.

    ``defaults`` override the file and the command line overrides them: what `demo` needs; ``instead``
    overrides the command line. No variable sets an option in ``ours``, and with any of them none sets the
    model.
    Raises BadInput with the problems of the options and of the file together.
    """
    given = _Given(ctx, ours)
    environ = {name: value for name, value in os.environ.items() if not (ours and name.startswith("LLM_"))}
    overrides = (instead or Overrides()).over(given.overrides()).over(defaults or Overrides())
    problems = list(given.problems)
    try:
        file = given.text("matrix") or DEFAULT_FILE
        matrix = load_matrix(file, os.environ, profile=overrides.profile)
        settings = resolve(matrix, overrides, environ)
        plan = make_plan(matrix, settings)
    except BadInput as error:
        raise BadInput([*problems, *error.problems]) from None
    if problems:
        raise BadInput(problems)
    return matrix, settings, plan


def comparing(ctx: click.Context) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """What --fail-on and --report of `compare` come to; None where they were not given.

    Raises BadInput for words that are none.
    """
    given = _Given(ctx, frozenset())
    words, formats = given.fail_on(), given.formats()
    if given.problems:
        raise BadInput(given.problems)
    return words.value if words else None, formats.value if formats else None


class _Given:
    """What a person gave, on the command line or in a variable."""

    def __init__(self, ctx: click.Context, ours: frozenset[str]) -> None:
        self.ctx = ctx
        self.ours = ours
        self.problems: list[Problem] = []

    def overrides(self) -> Overrides:
        return Overrides(
            ref=self._filled("ref"),
            image=self._filled("image"),
            max_parallel=self._setting("max_parallel"),
            fail_fast=self._setting("fail_fast"),
            timeout=self._parsed("timeout", parse_duration),
            run_timeout=self._parsed("run_timeout", parse_duration),
            max_cost_run=self._parsed("max_cost", parse_money),
            repeat=self._setting("repeat"),
            reuse=self._reuse(),
            images=self._setting("images"),
            model=self._filled("model"),
            base_url=self._filled("base_url"),
            reports=self._filled("reports"),
            history=self._filled("history"),
            report_formats=self.formats(),
            fail_on=self.fail_on(),
            only=self._listed("only"),
            skip=self._listed("skip"),
            profile=self._filled("profile"),
        )

    def text(self, name: str) -> str | None:
        return self.ctx.params.get(name)

    def _setting(self, name: str) -> Setting[Any] | None:
        value = self.ctx.params.get(name)
        if value is None:
            return None
        option = "--" + name.replace("_", "-")
        if self.ctx.get_parameter_source(name) is ParameterSource.ENVIRONMENT:
            if name in self.ours:
                return None
            return Setting(value, Source.ENVIRONMENT, _variable_of(self.ctx, name))
        return Setting(value, Source.COMMAND_LINE, option)

    def _filled(self, name: str) -> Setting[Any] | None:
        setting = self._setting(name)
        if setting and not setting.value.strip():
            self.problems.append(
                Problem(setting.place, 0, 0, "must not be empty", "give it a value, or leave it out")
            )
            return None
        return setting

    def _parsed(self, name: str, parse: Callable[[str], Any]) -> Setting[Any] | None:
        setting = self._filled(name)
        if setting is None:
            return None
        try:
            return Setting(parse(setting.value), setting.source, setting.place)
        except ValueError as error:
            self.problems.append(Problem(setting.place, 0, 0, f"cannot be {setting.value!r}", str(error)))
            return None

    def _reuse(self) -> Setting[float | None] | None:
        """The age, 0 for --no-reuse: what is nearer to the command line counts, and both there are a slip."""
        age: Setting[float | None] | None = self._parsed("reuse", parse_age)
        none = self._setting("no_reuse")
        if none is None or not none.value:
            return age
        if age and age.source is none.source:
            self.problems.append(
                Problem(none.place, 0, 0, f"contradicts {age.place}", "leave one of them out")
            )
        if age and age.source is Source.COMMAND_LINE:
            return age
        return Setting[float | None](0.0, none.source, none.place)

    def formats(self) -> Setting[tuple[str, ...]] | None:
        given, chosen = self._setting("report"), self._listed("report")
        if given and given.value and not chosen:
            hint = f"name some of {', '.join(FORMATS)}, or leave it out"
            self.problems.append(Problem(given.place, 0, 0, "must not be empty", hint))
        if chosen:
            self.problems += unknown_formats(chosen.value, chosen.place)
        return chosen

    def fail_on(self) -> Setting[tuple[str, ...]] | None:
        chosen = self._listed("fail_on")
        for word in chosen.value if chosen else ():
            if chosen and word not in FAILS:
                hint = did_you_mean(word, FAILS)
                self.problems.append(Problem(chosen.place, 0, 0, f"there is no {word!r} to fail on", hint))
        return chosen

    def _listed(self, name: str) -> Setting[tuple[str, ...]] | None:
        setting = self._setting(name)
        parts = ",".join(setting.value).split(",") if setting else []
        words = tuple(dict.fromkeys(word for part in parts if (word := part.strip())))
        return Setting(words, setting.source, setting.place) if setting and words else None


def hidden_variables(ctx: click.Context) -> dict[str, tuple[str, str]]:
    """By parameter: the variable, and what it holds, in whose place an option was given."""
    return {
        str(param.name): (_variable_of(ctx, str(param.name)), text)
        for param in ctx.command.params
        if ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
        and (text := param.resolve_envvar_value(ctx))
    }


def _variable_of(ctx: click.Context, name: str) -> str:
    """The variable that an option has its value from: that of all commands, or of this one alone."""
    common = f"E2E_MATRIX_{name.upper()}"
    return common if os.environ.get(common) else f"{ctx.auto_envvar_prefix}_{name.upper()}"
