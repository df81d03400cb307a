"""What holds for every matrix.yaml, however broken: a plan, or problems that a person can find and mend."""

from __future__ import annotations

import os
import time
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from click.testing import CliRunner

from e2e_matrix.cli import program
from e2e_matrix.errors import EXIT_BAD_INPUT, BadInput, Problem
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.matrix_profiles import split
from e2e_matrix.matrix_yaml import read_document
from e2e_matrix.plan import MAX_CELLS, Plan, make_plan
from e2e_matrix.script.settings import ScriptSettings
from e2e_matrix.settings import Overrides, Setting, Source, resolve
from support.matrix_mutations import ENVIRON, Hostile

#: CPU seconds for reading and planning one file; the worst takes about 2.5.
MAX_SECONDS = 10.0
LONGEST_MESSAGE = 400
LONGEST_HINT = 1000
MAX_PROBLEMS = 100
#: What a script scenario may find beside the file.
SCRIPTS = {"1_one.py": "x = 1\n", "2_chat.py": "input()\n", "2_two.py": "def f(:\n"}
# What YAML 1.1 takes for the end of a line, section 5.4.
_BREAKS = ("\r\n", "\r", "\n", "\x85", "\u2028", "\u2029")
_TOO_LARGE = "larger than 256 KiB"


@dataclass(frozen=True)
class Outcome:
    """What a file came to: a plan or problems, and how many seconds of CPU it took."""

    found: Plan | tuple[Problem, ...]
    seconds: float


def outcome(hostile: Hostile, folder: Path) -> Outcome:
    """Read the file and plan it. AssertionError, or whatever else was raised, where the promise is broken."""
    path = folder / "matrix.yaml"
    path.write_bytes(hostile.data)
    for name, text in SCRIPTS.items():
        (folder / "scripts").mkdir(exist_ok=True)
        (folder / "scripts" / name).write_text(text)
    begin = time.thread_time()
    try:
        found: Plan | tuple[Problem, ...] = _planned(path)
    except BadInput as error:
        found = error.problems
    took = time.thread_time() - begin
    assert took < MAX_SECONDS, f"took {took:.1f} s of CPU"
    if isinstance(found, Plan):
        check_plan(found)
        if hostile.level != "size":  # it takes the time of all profiles for each of them
            check_profiles(path)
    else:
        check_problems(found, hostile.data, str(path))
    if hostile.in_sample:
        check_command(path, found)
    return Outcome(found, took)


def _planned(path: Path, profile: Setting[str] | None = None) -> Plan:
    matrix = load_matrix(path, ENVIRON, profile=profile)
    return make_plan(matrix, resolve(matrix, Overrides(), ENVIRON))


def check_plan(plan: Plan) -> None:
    ids = [cell.id.casefold() for cell in plan.cells]
    assert 1 <= len(ids) <= MAX_CELLS, f"{len(ids)} cells"
    assert len(set(ids)) == len(ids), "two cells have the same id"
    for cell in plan.cells:
        assert cell.image
        assert cell.platform
        texts = [*cell.axes.values(), *cell.environment.values(), cell.image, cell.arch_image, cell.model]
        for text in texts:
            assert not text or "\0" not in text, "a NUL, which no process can be given"
            (text or "").encode()  # whatever is planned can be written down
        if cell.script:
            settings = ScriptSettings.model_validate(cell.scenario_settings)
            assert Path(settings.script).is_absolute()
            assert "\0" not in settings.model_dump_json()


def check_profiles(path: Path) -> None:
    """A file that is accepted is right with each of its profiles, which may only want variables to be set."""
    for name in split(read_document(path, ENVIRON)).profiles:
        problems: tuple[Problem, ...] = ()
        try:
            check_plan(_planned(path, Setting(name, Source.COMMAND_LINE)))
        except BadInput as error:
            problems = error.problems
            check_problems(problems, path.read_bytes(), str(path))
        assert [one for one in problems if "is not set" not in one.message] == []


def check_problems(problems: Iterable[Problem], data: bytes, file: str) -> None:
    problems = list(problems)
    assert problems, "refused without a reason"
    assert len(problems) <= MAX_PROBLEMS, f"{len(problems)} problems: nobody reads them all"
    text = data.decode("utf-8-sig", "replace")
    for line_break in _BREAKS:
        text = text.replace(line_break, "\n")
    lines = text.split("\n")
    for problem in problems:
        assert problem.file == file
        shown = f"{problem.line}:{problem.column} {problem.message[:200]}"
        if _TOO_LARGE in problem.message:
            continue  # it was not read: there is no place to show
        assert problem.line >= 1, shown
        assert problem.column >= 1, shown
        assert problem.line <= len(lines), f"beyond the end: {shown}"
        assert problem.column <= len(lines[problem.line - 1]) + 1, f"beyond the line: {shown}"
        assert problem.message.strip(), shown
        check_text(problem.message, LONGEST_MESSAGE)
        check_text(problem.hint, LONGEST_HINT)


def check_text(text: str, limit: int) -> None:
    assert len(text) <= limit, f"{len(text)} characters: {text[:200]}..."
    bad = {char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert not bad, f"{bad!r} in {text!r}"


def check_command(path: Path, found: Plan | tuple[Problem, ...]) -> None:
    """`e2e-matrix plan` says the same, with the exit code and without a traceback."""
    code, output = _plan_command(path)
    assert "Traceback" not in output
    assert not {char for char in output if unicodedata.category(char) in ("Cc", "Cf", "Cs")} - {"\n"}, repr(
        output
    )
    if isinstance(found, Plan):
        assert code == 0, output
        assert all(cell.id in output for cell in found.cells)
    else:
        assert code == EXIT_BAD_INPUT, output
        assert all(problem.message in output for problem in found)


def _plan_command(path: Path) -> tuple[int, str]:
    """Exit code and output of the command, as cli.main() would end; any other exception goes through."""
    with mock.patch.dict(os.environ, ENVIRON):
        arguments = ["--explain"] * (len(path.read_bytes()) % 2)
        result = CliRunner().invoke(program, ["plan", "--matrix", str(path), *arguments])
    error = result.exception
    if isinstance(error, BadInput):
        return error.exit_code, f"e2e-matrix: {error}\n"
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return result.exit_code, result.output
