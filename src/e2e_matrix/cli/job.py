"""What `run` and `demo` hand to the runner: a new job, or one that was interrupted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import click

from e2e_matrix import resume
from e2e_matrix.cli.options import DEFAULT_FILE, Command, command_line, load, with_options
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.plan import Plan
from e2e_matrix.record import Job
from e2e_matrix.settings import Overrides, Settings


def resume_options(command: Command) -> Command:
    """--resume [RUN] and --force."""
    return with_options(
        (
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

    def job(self, force: bool) -> Job:
        return Job(self.plan, self.settings, command_line(), self.resume, force)


def load_run(
    ctx: click.Context, defaults: Overrides | None = None, ours: frozenset[str] = frozenset()
) -> Loaded:
    """``load`` for a command with ``resume_options``: a resumed run keeps the options it was started with.

    What is given now takes their place; where it changes the plan, ``--force`` has to allow it.
    Raises BadInput, also where there is no such run.
    """
    name, force = ctx.params.get("resume"), ctx.params.get("force")
    if name is None:
        if force:
            raise BadInput([Problem("--force", 0, 0, "goes with --resume", "leave it out, or say --resume")])
        return Loaded(*load(ctx, defaults, ours), None)
    folder = resume.find(name, reports_folder(ctx))
    before = resume.read_plan(folder)
    if not ctx.params.get("matrix"):
        ctx.params["matrix"] = before.matrix_file
    settings, plan = load(ctx, (defaults or Overrides()).over(resume.overrides(before)), ours)
    return Loaded(settings, plan, folder)


def reports_folder(ctx: click.Context) -> Path:
    """Where runs lie, before anything else of the settings is known."""
    if given := ctx.params.get("reports"):
        return Path(given)
    try:
        return Path(load_matrix(ctx.params.get("matrix") or DEFAULT_FILE, os.environ).reports.folder)
    except BadInput:
        return Path("reports")
