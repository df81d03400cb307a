"""Where runs and their history lie, before anything else of the settings is known."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.core import ParameterSource

from e2e_matrix.cli.options import DEFAULT_FILE
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.matrix import ReportsSection
from e2e_matrix.matrix_load import load_reports
from e2e_matrix.settings import Setting, Source, history_file


def reports_folder(ctx: click.Context) -> Path:
    """Where runs lie: as --reports, --matrix and --profile of the command say.

    Raises BadInput where the file does not say it well: elsewhere nobody would find them.
    """
    return Path(ctx.params.get("reports") or _section(ctx).folder)


def history_and_reports(ctx: click.Context) -> tuple[Path, Path]:
    """The history's file, as --history says, too, and the folder in which the runs lie. Raises BadInput."""
    given: str | None = ctx.params.get("history")
    if given is not None and not given.strip():
        raise BadInput([Problem("--history", 0, 0, "must not be empty", "give it a value, or leave it out")])
    reports = reports_folder(ctx)
    return history_file(reports, given or _section(ctx).history), reports


def _section(ctx: click.Context) -> ReportsSection:
    """The defaults where no file is named, and there is none of the name that is looked for."""
    profile = _profile(ctx)
    file = ctx.params.get("matrix")
    if file is None and profile is None and not Path(DEFAULT_FILE).exists():
        return ReportsSection()
    return load_reports(file or DEFAULT_FILE, os.environ, profile)


def _profile(ctx: click.Context) -> Setting[str] | None:
    name = ctx.params.get("profile")
    if name is None:
        return None
    if ctx.get_parameter_source("profile") is ParameterSource.ENVIRONMENT:
        return Setting(name, Source.ENVIRONMENT, "E2E_MATRIX_PROFILE")
    return Setting(name, Source.COMMAND_LINE, "--profile")
