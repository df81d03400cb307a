"""`e2e-matrix history`: what is said, and with which exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from e2e_matrix.cli.history import command
from e2e_matrix.errors import BadInput
from e2e_matrix.history.database import History
from e2e_matrix.history.writing import run_folders
from e2e_matrix.results import Llm
from support import report_samples as samples
from support.history_runs import cell, content, put


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own without a matrix.yaml, in which `reports` is the default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    for name in ("HISTORY", "REPORTS", "MATRIX", "PROFILE"):
        monkeypatch.delenv(f"E2E_MATRIX_{name}", raising=False)
    return tmp_path


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, standalone_mode=False)


def _refused(*arguments: str) -> str:
    result = _run(*arguments)
    assert isinstance(result.exception, BadInput)
    return str(result.exception)


def _json(*arguments: str) -> Any:
    return json.loads(_run(*arguments, "--format", "json").stdout)


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five nights: java passes twice, fails twice on another image, meets an error; python is flaky once."""
    reports = tmp_path_factory.mktemp("five")
    told = [
        ("passed", "one", "passed"),
        ("passed", "one", "flaky"),
        ("failed", "two", "passed"),
        ("failed", "two", "passed"),
        ("error", "two", "passed"),
    ]
    for number, (java, image, python) in enumerate(told):
        golang = cell(name="golang-amd64", emulated=number < 2)
        put(reports, number, cell(java, "java-arm64", image), cell(python), golang)
    return reports


@pytest.fixture
def nights(here: Path, five: Path) -> list[str]:
    """The ids of these runs, which are in the history."""
    shutil.copytree(five, here / "reports")
    assert _run("import").return_value == 0
    return sorted(path.name for path in five.iterdir())


def test_what_is_imported_is_told(here: Path) -> None:
    reports = here / "reports"
    put(reports, 0)
    put(reports, 1)
    open_end = put(reports, 2, finished_at=None)
    result = _run("import")
    assert result.return_value == 0
    assert result.stdout == "reports/history.sqlite: 2 runs new or changed, 0 known, 1 not ended\n"
    assert f"{open_end.relative_to(here)}: has not ended, and is left for later" in result.stderr
    assert _run("import").stdout == "reports/history.sqlite: 0 runs new or changed, 2 known, 1 not ended\n"
    (put(reports, 3) / "results.json").write_text("{")
    put(reports, 4)
    result = _run("import")
    assert result.return_value == 3
    assert "1 run new or changed, 2 known, 1 not ended, 1 unreadable" in result.stdout
    assert "results.json: the file: Invalid JSON" in result.stderr


def test_folders_are_imported_by_name_from_anywhere(here: Path) -> None:
    one = put(here / "downloaded" / "artifact", 0)
    put(here / "downloaded" / "artifact", 1)
    result = _run("import", str(one), "--history", "ours.sqlite")
    assert result.stdout == "ours.sqlite: 1 run new or changed, 0 known\n"
    result = _run("import", "downloaded", "--history", "ours.sqlite")
    assert result.stdout == "ours.sqlite: 1 run new or changed, 1 known\n"
    told = _refused("import", "downloaded", "nowhere", "--history", "ours.sqlite")
    assert told.startswith("nowhere: holds no results.json")


def test_without_any_run_there_is_nothing_to_do(here: Path) -> None:
    assert _run("import").stdout == "reports/history.sqlite: 0 runs new or changed, 0 known\n"


@pytest.mark.parametrize("arguments", [[], ["cell", "x"], ["flaky"]])
def test_a_question_to_a_history_that_is_not_there_says_how_to_make_it(
    here: Path, arguments: list[str]
) -> None:
    told = _refused(*arguments)
    assert told.startswith("reports/history.sqlite: there is no history yet")
    assert "e2e-matrix history import" in told
    assert not (here / "reports").exists()


def test_the_file_is_named_by_option_variable_or_matrix(
    here: Path, nights: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "matrix.yaml").write_text(
        "matrix: {variant: [python], arch: [amd64]}\nreports: {history: of-the-file.sqlite}\n"
    )
    assert _refused("list").startswith("of-the-file.sqlite: ")
    monkeypatch.setenv("E2E_MATRIX_HISTORY", "of-the-variable.sqlite")
    assert _refused("list").startswith("of-the-variable.sqlite: ")
    assert len(_json("list", "--history", "reports/history.sqlite")) == len(nights)
    assert _refused("list", "--history", " ").startswith("--history: must not be empty")


def test_the_runs_are_listed_newest_last(nights: list[str]) -> None:
    lines = _run().stdout.splitlines()
    assert lines[0].split() == ["run", "UTC", "verdict", "cells", "cost", "time", "tested"]
    assert [line.split()[0] for line in lines[1:]] == nights
    assert "3 passed (1 flaky)" in lines[2]
    assert "2 passed, 1 failed" in lines[3]
    assert [run["run"] for run in _json("--limit", "2")] == nights[-2:]
    assert _json("list", "--since", "1m") == []
    assert _json()[1]["cells"] == {
        "passed": 3, "failed": 0, "error": 0, "unsupported": 0, "cancelled": 0, "not_run": 0,
    }  # fmt: skip


def test_an_age_is_written_as_ages_are(nights: list[str]) -> None:
    result = _run("list", "--since", "yesterday")
    assert "write an age such as 7d" in str(result.exception)
    assert "the unit is missing: write an age such as 7d" in str(_run("list", "--since", "3").exception)


def test_a_cell_is_shown_over_its_runs_with_what_it_takes_and_since_when_it_fails(nights: list[str]) -> None:
    told = _run("cell", "java-arm64").stdout
    lines = told.splitlines()
    assert [line.split()[-1] for line in lines[1:6]] == nights
    assert "passed   emulated  32.0 s  9.68 s        49.1 s  $0.0000168" in lines[1]
    assert "median of 2 passes  emulated, openai/gpt-4o (stand-in), deferred-init" in told
    assert f"failing since {nights[2]} (2026-11-03 02:00 UTC): 2 runs in a row" in told
    assert f"passed last in {nights[1]}" in told
    one, two = (samples.digest(name).removeprefix("sha256:")[:12] for name in ("one", "two"))
    assert f"between the two: image {one} → {two}" in told
    as_json = _json("cell", "java-arm64")
    assert [point["run"] for point in as_json["points"]] == nights
    assert as_json["failing_since"]["first_bad"]["digest"] == samples.digest("two")
    assert as_json["failing_since"]["last_good"]["run"] == nights[1]
    assert as_json["points"][0]["cost_usd"] == "0.0000168"


def test_native_and_emulated_runs_of_a_cell_have_medians_of_their_own(nights: list[str]) -> None:
    told = _json("cell", "golang-amd64")["medians"]
    assert [(one["emulated"], one["passes"]) for one in told] == [(True, 2), (False, 3)]


def test_a_cell_that_no_run_had_is_refused_with_the_nearest(nights: list[str]) -> None:
    assert _refused("cell", "java-amr64") == "no run had a cell 'java-amr64'\n    did you mean 'java-arm64'?"
    assert _refused("cell", "java-*").startswith("no run had a cell 'java-*'")
    assert "'rust-*'" in _refused("flaky", "java-*", "rust-*")
    assert "\x1b" not in _refused("cell", "\x1b[31mred")


def test_flaky_cells_come_first_with_rate_and_interval(nights: list[str]) -> None:
    lines = _run("flaky").stdout.splitlines()
    assert "95 % (Wilson)" in lines[0]
    assert lines[1].split()[:5] == ["python-amd64", "native", "5", "1", "20%"]
    assert "4% to 62%" in lines[1]
    assert "1 passed when tried again" in lines[1]
    assert "failing since" in "\n".join(lines)
    told = _json("flaky", "java-*")
    assert [one["cell"] for one in told] == ["java-arm64"]
    assert (told[0]["samples"], told[0]["flaky"], told[0]["failing_since"]["failures"]) == (4, 0, 2)


def test_a_rebuild_says_what_it_kept(here: Path, nights: list[str]) -> None:
    gone = put(here / "elsewhere", 9)
    assert _run("import", "elsewhere").return_value == 0
    (gone / "results.json").unlink()
    result = _run("rebuild")
    assert result.return_value == 0
    assert f"{len(nights)} runs new or changed" in result.stdout
    [kept] = (here / "reports").glob("history.sqlite.before-*")
    assert f"what was there is kept as reports/{kept.name}: it alone has 1 run" in result.stderr
    assert f"`e2e-matrix history merge reports/history.sqlite reports/{kept.name}`" in result.stderr
    assert _run("import", "--rebuild").stderr == ""


def test_two_histories_become_one(here: Path, nights: list[str]) -> None:
    other = put(here / "elsewhere", 9)
    _run("import", "elsewhere", "--history", "other.sqlite")
    ours = content(here / "reports" / "history.sqlite")
    result = _run("merge", "reports/history.sqlite", "other.sqlite", "--into", "both.sqlite")
    assert result.stdout.splitlines() == [
        "5 runs of reports/history.sqlite taken into both.sqlite",
        "1 run of other.sqlite taken into both.sqlite",
    ]
    assert content(here / "reports" / "history.sqlite") == ours
    assert _run("merge", "reports/history.sqlite", "other.sqlite").exit_code == 0
    assert content(here / "reports" / "history.sqlite") == content(here / "both.sqlite")
    assert [run["run"] for run in _json()] == [*nights, other.name]
    (here / "text").write_text("x")
    assert _refused("merge", "both.sqlite", "text").startswith("text: is no whole history")
    (here / "empty").touch()
    told = _refused("merge", "new.sqlite", "both.sqlite", "text", "empty")
    assert [line.split(":")[0] for line in told.splitlines()[::2]] == ["empty", "text"]
    with History.open(here / "new.sqlite") as history:
        assert history.runs() == []
    assert "Name the history to add" in str(_run("merge", "both.sqlite").exception)


def test_a_damaged_file_is_mended_by_whichever_command_meets_it(here: Path, nights: list[str]) -> None:
    (here / "reports" / "history.sqlite").write_text("no database\n" * 100)
    result = _run()
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == nights
    assert "reports/history.sqlite is damaged (file is not a database): it is made again" in result.stderr
    assert (
        "5 runs from below reports; the damaged one is kept as reports/history.sqlite.damaged-"
        in result.stderr
    )
    assert "take them in again with `e2e-matrix history import FOLDER`" in result.stderr


def test_a_rebuild_of_a_damaged_file_says_what_may_be_missing(here: Path, nights: list[str]) -> None:
    (here / "reports" / "history.sqlite").write_text("no database\n" * 100)
    result = _run("rebuild")
    assert "it cannot be read\nruns of other folders and of merged histories that it had " in result.stderr


def test_what_is_only_read_is_never_advised_to_be_made_again(here: Path, nights: list[str]) -> None:
    (here / "README.md").write_text("# Read me\n" * 50)
    told = _refused("merge", "reports/history.sqlite", "README.md")
    assert told.startswith("README.md: is no whole history: ")
    assert "rebuild" not in told
    assert "`e2e-matrix history import FOLDER`" in told
    for arguments in (["rebuild"], ["import"], ["list"]):
        assert "README.md: is no history" in _refused(*arguments, "--history", "README.md")
    assert "README.md: is no history" in _refused("merge", "README.md", "reports/history.sqlite")
    assert (here / "README.md").read_text() == "# Read me\n" * 50


def test_hostile_text_does_not_reach_the_terminal(here: Path) -> None:
    hostile = samples.HOSTILE
    told = cell(
        "failed", message=hostile, server=samples.server(hostile), scenario=hostile[:200].replace("\0", "")
    )
    put(here / "reports", 0, told, subject=hostile, llm=Llm(kind="provider", model=hostile))
    assert _run("import").return_value == 0
    for arguments in ([], ["cell", "python-amd64"], ["flaky"]):
        shown = _run(*arguments).stdout
        assert shown.replace("\n", "").isprintable(), arguments
        as_json = _run(*arguments, "--format", "json").stdout
        assert as_json.replace("\n", "").isprintable()
        assert json.loads(as_json)


def test_every_command_has_help() -> None:
    assert "import" in _run("--help").stdout
    for name in ("list", "cell", "flaky", "import", "rebuild", "merge"):
        assert "Usage" in _run(name, "--help").stdout


def test_the_library_is_asked_as_the_commands_ask_it(here: Path, nights: list[str]) -> None:
    with History.open(here / "other.sqlite", reports=here / "reports") as history:
        assert history.import_runs(run_folders(here / "reports")).new == len(nights)


def _matrix(text: str) -> str:
    return f"matrix: {{variant: [python], arch: [amd64]}}\n{text}"


def test_a_file_that_wants_what_the_history_does_not_says_where_it_is_all_the_same(here: Path) -> None:
    (here / "matrix.yaml").write_text(_matrix("ref: ${REF}\nretries: 7\nreports: {history: theirs.sqlite}\n"))
    assert _refused("list").startswith("theirs.sqlite: there is no history yet")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("reports: {history: '${FILE}'}\n", "matrix.yaml:2:20: the variable FILE is not set"),
        ("reports: {histroy: x.sqlite}\n", "matrix.yaml:2:11: unknown key 'histroy'"),
        ("reports: {history: x.sqlite\n", "matrix.yaml:"),
        ("reports: [x]\n", "matrix.yaml:2:10: reports: must be a mapping"),
        ("reports: {history: !!set x}\n", "matrix.yaml:2:20: the tag !!set means nothing here"),
        ("reports: {history: x, history: y}\n", "matrix.yaml:2:23: "),
        ("reports: x\nreports: y\n", "matrix.yaml:3:1: "),
    ],
)
@pytest.mark.parametrize("command", [["list"], ["import"], ["page"], ["merge", "a", "b"]])
def test_a_file_that_does_not_say_it_well_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str, command: list[str]
) -> None:
    """Silence would be another history."""
    monkeypatch.delenv("FILE", raising=False)
    (here / "matrix.yaml").write_text(_matrix(text))
    assert _refused(*command).startswith(told)
    assert not (here / "reports").exists()


def test_the_file_and_its_profile_are_named_by_option_or_variable(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "ours.yaml").write_text(
        _matrix("reports: file.sqlite\nprofiles: {nightly: {reports: {history: nightly.sqlite}}}\n")
    )
    assert _refused("list", "--matrix", "ours.yaml").startswith("file.sqlite/history.sqlite: ")
    assert _refused("list", "--matrix", "ours.yaml", "--profile", "nightly").startswith("nightly.sqlite: ")
    monkeypatch.setenv("E2E_MATRIX_MATRIX", "ours.yaml")
    monkeypatch.setenv("E2E_MATRIX_PROFILE", "nightly")
    assert _refused().startswith("nightly.sqlite: ")
    monkeypatch.setenv("E2E_MATRIX_PROFILE", "nihgtly")
    told = _refused()
    assert told.startswith("E2E_MATRIX_PROFILE: there is no profile 'nihgtly' in ours.yaml")
    assert "nightly" in told
    monkeypatch.delenv("E2E_MATRIX_MATRIX")
    assert _refused("--profile", "nightly").startswith("matrix.yaml: no such file")
    (here / "matrix.yaml").write_text(_matrix("profiles: {nightly: 7}\n"))
    assert _refused("--profile", "nightly").startswith("matrix.yaml:2:21: nightly: must be a mapping")
    monkeypatch.setenv("E2E_MATRIX_MATRIX", "theirs.yaml")
    assert _refused().startswith("theirs.yaml: no such file")


def test_to_ask_loads_nothing_that_runs_a_matrix() -> None:
    loads = "import sys, e2e_matrix.cli.history, e2e_matrix.report.history_page; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", loads], capture_output=True, text=True, check=True)
    assert {"docker", "requests", "httpx", "e2e_matrix.summary"}.isdisjoint(done.stdout.split())


def test_what_was_made_for_a_comparison_is_told_to_be_left_out(here: Path) -> None:
    put(here / "reports", 0)
    put(here / "reports", 1, for_comparison=True)
    told = "reports/history.sqlite: 1 run new or changed, 0 known, 1 made for a comparison left out\n"
    assert (_run("import").stdout, _run("rebuild").stdout) == (told, told)
