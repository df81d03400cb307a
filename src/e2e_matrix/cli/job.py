"""What `run` and `demo` hand to the runner: a new job, or one that was interrupted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import click

from e2e_matrix import resume, store
from e2e_matrix.cli.options import DEFAULT_FILE, Command, command_line, load, with_options
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.plan import Plan
from e2e_matrix.record import Job
from e2e_matrix.settings import Overrides, Setting, Settings, Source


def job_options(command: Command) -> Command:
    """--resume [RUN], --force and --baseline RUN."""
    return with_options(
        (
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

    def job(self, force: bool) -> Job:
        return Job(self.plan, self.settings, command_line(), self.resume, force, self.baseline)


def load_run(
    ctx: click.Context, defaults: Overrides | None = None, ours: frozenset[str] = frozenset()
) -> Loaded:
    """``load`` for a command with ``job_options``: a resumed run keeps the options it was started with.

    What is given now takes their place; where it changes the plan, ``--force`` has to allow it.
    Raises BadInput, also where there is no such run.
    """
    baseline = find_baseline(ctx)
    name, force = ctx.params.get("resume"), ctx.params.get("force")
    if name is None:
        if force:
            raise BadInput([Problem("--force", 0, 0, "goes with --resume", "leave it out, or say --resume")])
        return Loaded(*load(ctx, defaults, ours), None, baseline)
    folder = resume.find(name, reports_folder(ctx))
    before = resume.read_plan(folder)
    if not ctx.params.get("matrix"):
        ctx.params["matrix"] = before.matrix_file
    settings, plan = load(ctx, (defaults or Overrides()).over(resume.overrides(before)), ours)
    return Loaded(settings, plan, folder, baseline)


def find_baseline(ctx: click.Context) -> Path | None:
    """The folder that --baseline names, with results that can be read; None without the option.

    Raises BadInput where there is none.
    """
    if (name := ctx.params.get("baseline")) is None:
        return None
    folder = store.find(name, reports_folder(ctx))
    store.load(folder)
    return folder


def reports_folder(ctx: click.Context) -> Path:
    """Where runs lie, before anything else of the settings is known."""
    if given := ctx.params.get("reports"):
        return Path(given)
    profile = ctx.params.get("profile")
    chosen = Setting(profile, Source.COMMAND_LINE) if profile else None
    try:
        file = ctx.params.get("matrix") or DEFAULT_FILE
        return Path(load_matrix(file, os.environ, profile=chosen).reports.folder)
    except BadInput:
        return Path("reports")
