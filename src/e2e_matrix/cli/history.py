"""``e2e-matrix history``: what earlier runs came to."""

from __future__ import annotations

import fnmatch
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from e2e_matrix.cli.options import Command, file_options, with_options
from e2e_matrix.cli.places import history_and_reports, reports_folder
from e2e_matrix.errors import EXIT_INFRASTRUCTURE, EXIT_PASSED, BadInput, Problem
from e2e_matrix.history import as_json
from e2e_matrix.history.database import History
from e2e_matrix.history.flakiness import flakiness
from e2e_matrix.history.making import ELSEWHERE, rebuild
from e2e_matrix.history.medians import medians
from e2e_matrix.history.writing import Imported, run_folders
from e2e_matrix.script_words import counted
from e2e_matrix.store import RESULTS
from e2e_matrix.templates import did_you_mean
from e2e_matrix.terminal import history as terminal
from e2e_matrix.terminal.screen import Screen
from e2e_matrix.text import one_line
from e2e_matrix.units import parse_age


class _Commands(click.Group):
    """`history` alone, or with options only, is `history list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("history", cls=_Commands)
def command() -> None:
    """What earlier runs came to. Alone: `history list`.

    Every run is remembered at its end, in history.sqlite in the reports' folder. The file is made from
    the run folders, and can be made from them again.
    """


def _reports(command: Command) -> Command:
    """--reports, and what says it otherwise."""
    option = click.option(
        "--reports", envvar="E2E_MATRIX_REPORTS", metavar="FOLDER", help="Where the runs lie."
    )
    return with_options((option, file_options), command)


def _files(command: Command) -> Command:
    option = click.option(
        "--history",
        envvar="E2E_MATRIX_HISTORY",
        metavar="FILE",
        help="The file  [default: history.sqlite beside the runs, or what matrix.yaml says].",
    )
    return with_options((option, _reports), command)


def _format(command: Command) -> Command:
    choice = click.Choice(["text", "json"])
    return click.option("--format", "form", type=choice, default="text", show_default=True)(command)


def _since(ctx: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    try:
        return None if value is None else datetime.now(UTC) - timedelta(seconds=parse_age(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_SINCE = click.option("--since", callback=_since, metavar="AGE", help="Only runs no older, such as 30d.")


_LIMIT = click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="The newest so many runs."
)


@command.command("list")
@_files
@_LIMIT
@_SINCE
@_format
@click.pass_context
def list_runs(ctx: click.Context, /, limit: int, since: datetime | None, form: str, **_: Any) -> None:
    """The runs, the newest last."""
    with _open(ctx) as history:
        runs = history.runs(since, limit)
    if form == "json":
        _print_json([as_json.of_run(run) for run in runs])
    else:
        terminal.show_runs(_screen(), runs)


@command.command("cell")
@_files
@click.argument("cell")
@_LIMIT
@_SINCE
@_format
@click.pass_context
def show_cell(
    ctx: click.Context, /, cell: str, limit: int, since: datetime | None, form: str, **_: Any
) -> None:
    """One cell over its runs, such as python-arm64, with medians.

    Native and emulated times, and those of different models, have medians of their own.
    """
    with _open(ctx) as history:
        _check_cells(history.cells(), [cell], exactly=True)
        points = history.points(cell, since, limit)
        failing = history.failing_since(cell)
    if form == "json":
        _print_json(
            {
                "cell": cell,
                "points": [as_json.of_point(point) for point in points],
                "medians": [as_json.of_medians(found) for found in medians(points)],
                "failing_since": failing and as_json.of_since(failing),
            }
        )
    else:
        terminal.show_cell(_screen(), points, failing)


@command.command("flaky")
@_files
@click.argument("cells", nargs=-1)
@click.option(
    "--last",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Of each cell its newest so many runs that compare with one another.",
)
@_format
@click.pass_context
def show_flaky(ctx: click.Context, /, cells: tuple[str, ...], last: int, form: str, **_: Any) -> None:
    """How often each cell fails for no reason of its image's, and since when it fails.

    CELLS are ids or globs, such as 'python-*'. Flaky is a run in which the product failed and then
    passed: when it was tried again, in another repetition, or in a later run on the same image under the
    same settings. The interval is Wilson's, at 95 %.
    """
    with _open(ctx) as history:
        names = _check_cells(history.cells(), cells)
        rates = [found for name in names if (found := flakiness(history.samples(name, last)))]
        rates.sort(key=lambda one: (-one.interval[0], -one.rate, one.newest.cell))
        told = [(one, history.failing_since(one.newest.cell)) for one in rates]
    if form == "json":
        _print_json([as_json.of_flakiness(one, since) for one, since in told])
    else:
        terminal.show_flaky(_screen(), told)


@command.command("page")
@_files
@_SINCE
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write it  [default: history.html in the reports' folder].",
)
@click.pass_context
def write_page(ctx: click.Context, /, since: datetime | None, out: Path | None, **_: Any) -> None:
    """Write a page: since when what fails, what became slower, the trend of each phase.

    It links to the reports of the runs that lie beside it.
    """
    from e2e_matrix.report import history_page  # loads the templates' engine

    path = out or history_and_reports(ctx)[1] / history_page.FILENAME
    if path.is_dir():
        raise BadInput([Problem("--out", 0, 0, f"{path} is a folder", "name a file in it")])
    with _open(ctx) as history:
        history_page.write(history, path, since)
    click.echo(str(path))


@command.command("import")
@_files
@click.argument("folders", nargs=-1, metavar="[FOLDER]...")
@click.option("--rebuild", "anew", is_flag=True, help="As `history rebuild`.")
@click.pass_context
def import_folders(ctx: click.Context, /, folders: tuple[str, ...], anew: bool, **_: Any) -> int:
    """Take in runs: folders of runs, or folders with such below  [default: the reports' folder].

    What is there already and has not changed is passed over. A run that has not ended is left for later.

    Exit codes: 0 all that has ended is in, 2 bad input, 3 a results.json could not be read, or the
    history not written.
    """
    if anew:
        return _rebuild(ctx, folders)
    path, reports = history_and_reports(ctx)
    found = _run_folders(folders, reports)
    with History.open(path, _note, reports) as history:
        return _tell(path, history.import_runs(found))


@command.command("rebuild")
@_files
@click.argument("folders", nargs=-1, metavar="[FOLDER]...")
@click.pass_context
def rebuild_history(ctx: click.Context, /, folders: tuple[str, ...], **_: Any) -> int:
    """Make the file anew from run folders  [default: all below the reports' folder].

    Where the file knew of runs that have no folder any more, it is kept beside the new one.

    Exit codes: as of `history import`.
    """
    return _rebuild(ctx, folders)


@command.command("merge")
@_reports
@click.argument("files", nargs=-1, required=True, metavar="FILE [OTHER]...", type=click.Path(path_type=Path))
@click.option(
    "--into", type=click.Path(path_type=Path), metavar="FILE", help="Take all of them in here instead."
)
@click.pass_context
def merge_files(ctx: click.Context, /, files: tuple[Path, ...], into: Path | None, **_: Any) -> None:
    """Take everything of the OTHER histories into the first one, which is made where there is none.

    Nothing is lost and nothing doubled: of a run that several have, the results that ended last count.
    The others are only read, and where one of them cannot be, none is taken in.
    """
    target, sources = (into, files) if into else (files[0], files[1:])
    if not sources:
        raise click.UsageError("Name the history to add, too: `history merge INTO OTHER`.")
    reports = reports_folder(ctx)
    with History.open(target, _note, reports) as history:
        for source, changed in zip(sources, history.merge(*sources), strict=True):
            click.echo(f"{counted(changed, 'run')} of {source} taken into {target}")


def _open(ctx: click.Context) -> History:
    """The history to be asked. Raises BadInput where there is none yet."""
    path, reports = history_and_reports(ctx)
    if not path.exists():
        hint = f"A run makes it at its end, and `e2e-matrix history import` from the runs below {reports}."
        raise BadInput([Problem(str(path), 0, 0, "there is no history yet", hint)])
    return History.open(path, _note, reports)


def _run_folders(given: Sequence[str], reports: Path) -> list[Path]:
    """Raises BadInput for what holds no run."""
    if not given:
        return list(run_folders(reports))
    found = {name: list(run_folders(Path(name))) for name in given}
    problems = [
        Problem(name, 0, 0, f"holds no {RESULTS}", "Name the folder of a run, or one with such below it.")
        for name, folders in found.items()
        if not folders
    ]
    if problems:
        raise BadInput(problems)
    return [folder for folders in found.values() for folder in folders]


def _rebuild(ctx: click.Context, folders: Sequence[str]) -> int:
    path, reports = history_and_reports(ctx)
    made = rebuild(path, _run_folders(folders, reports))
    if made.aside:
        lost = "it cannot be read" if made.lost is None else f"it alone has {counted(made.lost, 'run')}"
        _note(f"what was there is kept as {made.aside}: {lost}")
    if made.aside and made.lost is None:
        _note(ELSEWHERE)
    if made.lost:
        _note(f"`e2e-matrix history merge {path} {made.aside}` brings them back")
    return _tell(path, made.imported)


def _tell(path: Path, done: Imported) -> int:
    for folder in done.unfinished:
        _note(f"{folder}: has not ended, and is left for later")
    for folder, why in done.unreadable:
        _note(f"{folder / RESULTS}: {why}; left out")
    parts = [f"{counted(done.new, 'run')} new or changed", f"{done.unchanged:,} known"]
    parts += [f"{done.left_out:,} made for a comparison left out"] if done.left_out else []
    parts += [f"{len(done.unfinished):,} not ended"] if done.unfinished else []
    parts += [f"{len(done.unreadable):,} unreadable"] if done.unreadable else []
    click.echo(f"{path}: {', '.join(parts)}")
    return EXIT_INFRASTRUCTURE if done.unreadable else EXIT_PASSED


def _check_cells(known: Sequence[str], wanted: Sequence[str], *, exactly: bool = False) -> Sequence[str]:
    """The cells that ids or globs name, all where there are none. Raises BadInput for what names no cell."""
    found = {
        word: [name for name in known if name == word or (not exactly and fnmatch.fnmatchcase(name, word))]
        for word in wanted
    }
    problems = [
        Problem(
            "", 0, 0, f"no run had a cell {one_line(word, 100)!r}", one_line(did_you_mean(word, known), 300)
        )
        for word, names in found.items()
        if not names
    ]
    if problems:
        raise BadInput(problems)
    return list(dict.fromkeys(name for names in found.values() for name in names)) if wanted else known


def _note(message: str) -> None:
    click.echo(one_line(message, 1000), err=True)


def _print_json(told: Any) -> None:
    click.echo(json.dumps(told, indent=2))  # all in ASCII: some of it is hostile, and this a terminal


def _screen() -> Screen:
    return Screen(sys.stdout, os.environ, sys.stdout.isatty())
