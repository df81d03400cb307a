"""What `run` and `demo` hand to the runner: a new job, or one that was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import click
from click.core import ParameterSource

from e2e_matrix import resume, store
from e2e_matrix.assessment import Question
from e2e_matrix.cli.options import Command, command_line, load, with_options
from e2e_matrix.cli.places import reports_folder
from e2e_matrix.cli.question import asked_of, check_expected, question_options, without_baseline
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.plan import Plan
from e2e_matrix.question import Asked, load_question
from e2e_matrix.record import Job
from e2e_matrix.settings import Overrides, Setting, Settings, Source

T = TypeVar("T")


def job_options(command: Command) -> Command:
    """--resume [RUN], --force, --baseline RUN and --baseline-ref REF, and what is asked of the comparison."""
    command = question_options(command)
    return with_options(
        (
            click.option(
                "--baseline-ref",
                metavar="REF",
                envvar="E2E_MATRIX_BASELINE_REF",
                help="Run the matrix on this ref as well, cell by cell side by side, and compare.",
            ),
            click.option(
                "--baseline",
                metavar="RUN",
                envvar="E2E_MATRIX_BASELINE",
                help="Say in the report what changed since this run: an id, a folder, or latest.",
            ),
            click.option(
                "--resume",
                metavar="[RUN]",
                is_flag=False,
                flag_value=resume.NEWEST,
                help="Finish an interrupted run: a run's id or folder; alone, the newest.",
            ),
            click.option("--force", is_flag=True, help="Resume though the plan or the images are others."),
        ),
        command,
    )


@dataclass(frozen=True)
class Loaded:
    """What a command that runs the matrix goes by."""

    settings: Settings
    plan: Plan
    resume: Path | None  # the folder of the run to go on with
    baseline: Path | None  # that of the run to compare it with
    beside: tuple[Settings, Plan] | None = None  # the run to make for the comparison
    resume_beside: Path | None = None  # its folder, where it is one to go on with, too
    asked: Asked = field(default_factory=Asked)  # of the comparison

    def job(self, force: bool) -> Job:
        command = command_line()
        job = Job(self.plan, self.settings, command, self.resume, force, self.baseline, asked=self.asked)
        if self.beside is None:
            return job
        settings, plan = self.beside
        beside = Job(plan, settings, command, self.resume_beside, force, for_comparison=True)
        return replace(job, baseline_job=beside)


def load_run(
    ctx: click.Context, defaults: Overrides | None = None, ours: frozenset[str] = frozenset()
) -> Loaded:
    """``load`` for a command with ``job_options``: a resumed run keeps the options it was started with.

    What is given now takes their place; where it changes the plan, ``--force`` has to allow it.
    Raises BadInput, also where there is no such run.
    """
    problems: list[Problem] = []
    asked = Asked()
    try:
        may_compare = any(ctx.params.get(name) is not None for name in ("baseline", "baseline_ref", "resume"))
        asked = asked_of(ctx, compared=may_compare)
    except BadInput as error:
        problems += error.problems
    try:
        loaded = replace(_load_run(ctx, defaults, ours), asked=asked)
        _check_expected(ctx, loaded)
    except BadInput as error:
        raise BadInput([*problems, *error.problems]) from None
    if problems:
        raise BadInput(problems)
    return loaded


def _check_expected(ctx: click.Context, loaded: Loaded) -> None:
    """Raises BadInput where something is expected without a baseline, or of no cell, and where what a resumed
    run keeps for its comparison cannot be read, or is not there."""
    kept = load_question(loaded.resume) if loaded.resume else Question()
    compared = _cells_of_baseline(loaded)
    if compared is None and loaded.asked.over(kept).expected:
        raise BadInput([without_baseline(ctx)])
    check_expected(loaded.asked, [*(cell.id for cell in loaded.plan.cells), *(compared or ())])


def _cells_of_baseline(loaded: Loaded) -> list[str] | None:
    """Their ids; None where there is no baseline. Raises BadInput where it cannot be read."""
    if loaded.beside:
        return [cell.id for cell in loaded.beside[1].cells]
    results = None
    if loaded.baseline:
        results = store.load(loaded.baseline)
    elif loaded.resume:
        results = store.load_baseline(loaded.resume)
    return [cell.id for cell in results.cells] if results else None


def _load_run(ctx: click.Context, defaults: Overrides | None, ours: frozenset[str]) -> Loaded:
    ref = _baseline_ref(ctx, ours)
    baseline = find_baseline(ctx)
    name, force = ctx.params.get("resume"), ctx.params.get("force")
    if name is None:
        if force:
            raise BadInput([Problem("--force", 0, 0, "goes with --resume", "leave it out, or say --resume")])
        loads = [lambda: load(ctx, defaults, ours)]
        if ref is not None:
            loads.append(lambda: _beside(ctx, defaults, ours, ref))
        (settings, plan), *others = _all(loads)
        if any(other.ref == settings.ref for other, _ in others):
            click.echo(f"baseline and candidate are the same ref, {settings.ref}", err=True)
        return Loaded(settings, plan, None, baseline, beside=next(iter(others), None))
    folder, before = _to_resume(resume.find(name, reports_folder(ctx)))
    if not ctx.params.get("matrix"):
        ctx.params["matrix"] = before.matrix_file
    kept = (defaults or Overrides()).over(resume.overrides(before))
    settings, plan = load(ctx, kept, ours)
    loaded = Loaded(settings, plan, folder, baseline)
    beside = folder.parent / before.beside if before.beside else None
    if beside is None or not (beside / resume.PLAN).is_file():
        return loaded
    chosen = Overrides(ref=resume.overrides(resume.read_plan(beside)).ref)
    return replace(loaded, beside=load(ctx, kept, ours, chosen), resume_beside=beside)


def _to_resume(folder: Path) -> tuple[Path, resume.PlanFile]:
    """The run that is meant: of two that take turns the candidate, with which the other goes on as well."""
    before = resume.read_plan(folder)
    if before.for_comparison and before.beside:
        other = folder.parent / before.beside
        if (other / resume.PLAN).is_file():
            return other, resume.read_plan(other)
    return folder, before


def _all(loads: Sequence[Callable[[], T]]) -> list[T]:
    """What each gives. Raises BadInput with the problems of all, each once."""
    given: list[T] = []
    problems: list[Problem] = []
    for load_one in loads:
        try:
            given.append(load_one())
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))
    return given


def _baseline_ref(ctx: click.Context, ours: frozenset[str]) -> str | None:
    """Raises BadInput where what is compared with is said twice, or the ref is not the caller's to choose."""
    ref: str | None = ctx.params.get("baseline_ref")
    if ref is None:
        return None
    if "ref" in ours:
        if _is_from_variable(ctx, "baseline_ref"):
            return None
        hint = "use `run`, on images that are published under both; docs/images.md says how to make such"
        raise BadInput([Problem("--baseline-ref", 0, 0, "the demo builds images of one ref", hint)])
    others = [option for option in ("baseline", "resume") if ctx.params.get(option) is not None]
    typed = [option for option in others if not _is_from_variable(ctx, option)]
    if _is_from_variable(ctx, "baseline_ref") and others:
        return None
    if typed:
        hint = "it goes on with both runs by itself" if "resume" in typed else "leave one out"
        wrong = " and ".join(f"--{option}" for option in typed)
        raise BadInput([Problem("--baseline-ref", 0, 0, f"does not go with {wrong}", hint)])
    ctx.params["baseline"] = None  # a variable's, which the option overrides
    return ref


def _is_from_variable(ctx: click.Context, option: str) -> bool:
    return ctx.get_parameter_source(option) is ParameterSource.ENVIRONMENT


def _beside(
    ctx: click.Context, defaults: Overrides | None, ours: frozenset[str], ref: str
) -> tuple[Settings, Plan]:
    """The same matrix on another ref. Raises BadInput, also where the images do not depend on it."""
    place = "--baseline-ref"
    if not ref.strip():
        raise BadInput([Problem(place, 0, 0, "must not be empty", "give it a value, or leave it out")])
    chosen = Overrides(ref=Setting(ref, Source.COMMAND_LINE, place))
    settings, plan = load(ctx, defaults, ours, chosen)
    if settings.record:
        hint = "leave llm.record out: the calls of both would be kept as those of the same cells"
        raise BadInput([Problem(place, 0, 0, "does not go with llm.record", hint)])
    if not any(cell.ref for cell in plan.cells):
        hint = "its image needs the field {ref}"
        raise BadInput([Problem(place, 0, 0, "no image of the matrix depends on the ref", hint)])
    return settings, plan


def find_baseline(ctx: click.Context) -> Path | None:
    """The folder that --baseline names, with results that can be read; None without the option.

    Raises BadInput where there is none.
    """
    if (name := ctx.params.get("baseline")) is None:
        return None
    folder = store.find(name, reports_folder(ctx))
    store.load(folder)
    return folder
