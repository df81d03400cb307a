"""What a person sees: everything that matters, nothing that floods, nothing that a server can forge."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from e2e_matrix.engine.base import PullProgress
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.progress import Beside, Progress
from e2e_matrix.results import Phases, Results, SettingValue
from e2e_matrix.terminal import make_progress
from e2e_matrix.terminal.live import LiveProgress
from e2e_matrix.terminal.screen import Screen
from support import script_samples
from support.sample_run import FOLDER, a_cell, a_run, a_step, tell, tell_cell

XTERM = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
HOSTILE = "\x1b[2Jforged \x1b]0;title\x07[red]markup[/red] \u202etxt.exe\x00 \n second"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(autouse=True)
def nothing_fails_silently(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What a watcher keeps from its callers is logged: none of these tests may cause it, but one."""
    yield
    failures = [record for record in caplog.get_records("call") if "harmless" not in str(record.exc_info)]
    assert not failures


def _shown(
    results: Results, environ: Mapping[str, str] | None = None, quiet: bool = False, isatty: bool = False
) -> str:
    stream = io.StringIO()
    progress = make_progress(stream, quiet, environ or {}, isatty)
    tell(progress, results)
    progress.run_finished(results, FOLDER)
    progress.close()
    return stream.getvalue()


def _bad_run() -> Results:
    lost = "GET http://127.0.0.1:5000/v2/ did not answer within 10 s"
    gate = a_step(
        "gate",
        title="While dormant every gated route answers 503",
        outcome=Outcome.FAILED,
        cause=Cause.ASSERTION,
        message="GET /api/conversations answered 200",
        expected="503",
        got="200",
        detail=HOSTILE,
    )
    return a_run(
        a_cell("python-amd64"),
        a_cell("java-amd64", Cause.REGISTRY_UNREACHABLE, message=lost),
        a_cell("python-arm64", Cause.ASSERTION, message="the gate is open", steps=[a_step(), gate]),
        a_cell("java-arm64", Cause.REGISTRY_UNREACHABLE, message=lost),
        a_cell("golang-amd64", Cause.REGISTRY_UNREACHABLE, message=lost),
        a_cell("golang-arm64", Cause.PLATFORM_UNSUPPORTED, message="no emulation"),
        reason="1 of 6 cells failed",
    )


def test_lines_tell_the_start_the_pull_and_the_end_of_each_cell() -> None:
    lines = _shown(a_run(a_cell("python-amd64"), a_cell("java-arm64"))).split("\n\n")[0].splitlines()
    said = [re.sub(r"^\[ *[\d.]+ s\] ", "", line) for line in lines]
    assert said == [
        "run 20260301-120000-abcd: 2 cells, 2 at a time, the stand-in LLM",
        "python-amd64: starts",
        "python-amd64: pulled 450 MB in 2.50 s",
        "python-amd64: passed in 18.2 s, $0.0095525 [1/2]",
        "java-arm64: starts",
        "java-arm64: pulled 450 MB in 2.50 s",
        "java-arm64: passed in 18.2 s, $0.0095525 [2/2]",
    ]


def test_lines_tell_a_step_that_fails_and_a_cell_that_never_started() -> None:
    shown = _shown(_bad_run())
    assert "python-arm64: failed: While dormant every gated route answers 503: GET /api/conv" in shown
    assert "golang-arm64: unsupported, no emulation [6/6]" in shown


def test_an_image_that_is_there_and_a_second_attempt_are_named() -> None:
    stream = io.StringIO()
    progress = make_progress(stream, quiet=False, environ={}, isatty=False)
    progress.cell_started("python-amd64", 2)
    progress.step_finished("python-amd64", a_step("pull", phase="pull", facts={"was_present": True}))
    assert "python-amd64: starts again (attempt 2)" in stream.getvalue()
    assert "python-amd64: image was already here" in stream.getvalue()


def test_quiet_says_the_verdict_and_nothing_else() -> None:
    assert _shown(_bad_run(), quiet=True) == "FAILED: 1 of 6 cells failed\n"
    assert _shown(a_run(a_cell("python-amd64")), quiet=True) == "PASSED: 1 of 1 cells passed\n"


def test_the_end_shows_failures_first_and_what_to_do() -> None:
    shown = _shown(_bad_run())
    table = shown[shown.index("\ncell ") : shown.index("seconds; a dash")].splitlines()[3:]
    assert [line.split()[0] for line in table] == [
        "python-arm64",
        "java-amd64",
        "java-arm64",
        "golang-amd64",
        "golang-arm64",
        "python-amd64",
    ]
    assert table[-1].split()[2:] == [
        "passed",
        *("12.3", "2.50", "0.02", "1.84", "0.91", "18.2"),
        "$0.0095525",
        "native",
    ]
    failure = shown[shown.index("failed: python-arm64") : shown.index("error in 3 cells")]
    for line in (
        "  what     the server did not keep its contract",
        "  step     While dormant every gated route answers 503",
        "  message  GET /api/conversations answered 200",
        "  expected 503",
        "  got      200",
        "  do       Read the failed step",
        f"  files    {FOLDER}/cells/python-arm64/attempt-1",
    ):
        assert line in failure
    assert "no emulation" in shown[shown.index("unsupported: golang-arm64") :]


def test_the_same_trouble_is_told_once() -> None:
    shown = _shown(_bad_run())
    end = shown[shown.index("seconds; a dash") :]
    assert "error in 3 cells: java-amd64, java-arm64, golang-amd64\n" in end
    assert end.count("did not answer within 10 s") == 1


def test_the_verdict_and_the_files_come_last() -> None:
    end = _shown(_bad_run())[-400:]
    files = [f"{FOLDER}/{name}" for name in ("report.html", "report.md", "results.json")]
    assert "FAILED: 1 of 6 cells failed\n" in end
    assert re.findall(r"\S+/\S+/\S+\.\w+$", end, re.MULTILINE) == files


def test_the_files_are_those_that_were_written() -> None:
    chosen = SettingValue(value=["junit", "md"], source="command line")
    end = _shown(a_run(a_cell("python-amd64"), settings={"reports.formats": chosen}))[-300:]
    names = ("junit.xml", "report.md", "results.json")
    assert re.findall(r"\S+/\S+/\S+\.\w+$", end, re.MULTILINE) == [f"{FOLDER}/{name}" for name in names]
    assert "  report   " in end


def test_a_conversation_that_did_not_come_to_its_end_has_a_cost_that_is_unknown() -> None:
    shown = _shown(a_run(a_cell("a", cost_usd=None, phases=Phases(), steps=[a_step(phase="conversation")])))
    assert re.search(r"passed .* unknown +native", shown)


def test_an_unknown_cost_is_not_zero() -> None:
    shown = _shown(a_run(a_cell("python-amd64", cost_usd=None)))
    assert re.search(r"passed .* unknown +native", shown)
    assert "  cost     unknown, openai/gpt-4o (stand-in)" in shown


@pytest.mark.parametrize("tty", [True, False], ids=["live", "lines"])
def test_text_from_servers_is_harmless(tty: bool) -> None:
    cell = a_cell(
        "python-amd64", Cause.ASSERTION, message=HOSTILE, steps=[a_step(title=HOSTILE, outcome="failed")]
    )
    shown = _shown(a_run(cell, reason=HOSTILE), environ=XTERM | {"NO_COLOR": "1"}, isatty=tty)
    assert "[red]markup[/red]" in shown
    assert not re.search("\x1b\\[2J|\x1b\\]|\u202e|\x00", shown)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_table_is_whole_on_narrow_terminals(width: int) -> None:
    shown = _shown(_bad_run(), environ=XTERM | {"COLUMNS": str(width), "NO_COLOR": "1"}, isatty=True)
    end = COLOUR.sub("", shown[shown.rindex("cell ") :])
    assert all(len(line) <= width for line in end.splitlines())
    for whole in ("python-amd64", "unsupported", "$0.0095525", "emulated", "18.2"):
        assert whole in end[: end.index("seconds; a dash")]


def test_where_no_table_fits_a_list_loses_nothing() -> None:
    shown = _shown(_bad_run(), environ={"COLUMNS": "50"})
    assert "✓ python-amd64\n  passed, 18.2 s, $0.0095525, native\n  pull 12.3, boot 2.50" in shown
    folded = _shown(a_run(a_cell(f"{'very-' * 12}long-amd64")), environ={"COLUMNS": "80"})
    assert "$0.0095525" in folded


def test_lines_where_the_cursor_cannot_be_moved() -> None:
    for environ in ({"TERM": "dumb"}, {}):
        assert "\x1b" not in _shown(_bad_run(), environ=environ, isatty=True)


def test_no_color_is_honoured_and_colour_used_otherwise() -> None:
    coloured = re.compile(r"\x1b\[(?:\d+;)*3[1-7]m")
    assert coloured.search(_shown(_bad_run(), environ=XTERM, isatty=True))
    assert not coloured.search(_shown(_bad_run(), environ=XTERM | {"NO_COLOR": "1"}, isatty=True))


def test_a_terminal_without_the_letters_gets_plain_ones() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    progress = make_progress(stream, quiet=False, environ=XTERM, isatty=True)
    results = _bad_run()
    tell(progress, results)
    progress.run_finished(results, FOLDER)
    stream.flush()
    assert b"x failed" in COLOUR.sub("", raw.getvalue().decode()).encode()
    stream.close()


class _Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("tty", [True, False], ids=["live", "lines"])
def test_a_reader_that_left_disturbs_nobody(tty: bool) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, _Gone()):
        progress = make_progress(stream, quiet=False, environ=XTERM, isatty=tty)
        results = _bad_run()
        tell(progress, results)
        progress.run_finished(results, FOLDER)
        progress.close()


def test_a_fault_of_ours_is_logged_and_kept_from_the_run(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = make_progress(io.StringIO(), quiet=False, environ={}, isatty=False)

    def broken(*_: object) -> None:
        raise RuntimeError("harmless")

    monkeypatch.setattr(Screen, "line", broken)
    progress.note("hello")
    assert "the progress display failed in note" in caplog.text


def _live() -> tuple[LiveProgress, io.StringIO]:
    stream = io.StringIO()
    progress = make_progress(stream, quiet=False, environ=XTERM, isatty=True)
    assert isinstance(progress, LiveProgress)
    return progress, stream


def _picture(progress: LiveProgress) -> str:
    console = Console(file=io.StringIO(), width=80, height=24, color_system=None)
    console.print(progress.picture())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_picture_shows_where_each_cell_is() -> None:
    progress, _ = _live()
    progress.run_started("r", ["python-amd64", "java-amd64", "java-arm64", "go-amd64"], 2, "the stand-in")
    progress.cell_started("python-amd64", 1)
    progress.pulling("python-amd64", PullProgress(210_000_000, 450_000_000, "Downloading"))
    progress.cell_started("java-amd64", 2)
    progress.pulling("java-amd64", PullProgress(450_000_000, 450_000_000, "Pull complete"))
    progress.step_finished("java-amd64", a_step("pull", phase="pull"))
    progress.step_started("java-amd64", "talk", "The conversation ends")
    progress.step_finished("java-amd64", a_step("cost", facts={"cost_usd": "0.0000168"}))
    progress.cell_finished(a_cell("java-arm64", Cause.STEP_TIMEOUT, message="no answer in 30 s"))
    python, java, arm, go, footer = _picture(progress).splitlines()
    progress.close()
    assert re.search(r"python-amd64 +pull ━{6}─{8} 210 MB / 450 MB +\S+ s", python)
    assert re.search(r"java-amd64 +attempt 2: The conversation ends +\S+ s +\$0\.0000168", java)
    assert re.search(r"✗ java-arm64 +failed: no answer in 30 s +18\.2 s", arm)
    assert re.search(r"go-amd64 +waiting", go)
    assert re.search(r"1/4 done, 1 failed, .* s, \$0\.0000168 so far", footer)


def test_two_runs_in_turns_are_one_picture_in_which_each_cell_has_its_line() -> None:
    progress, _ = _live()
    beside = Beside(progress, "baseline")
    cells = ["python-amd64", "java-amd64"]
    progress.run_started(
        "r", [*cells, *(Beside.named("baseline", cell) for cell in cells)], 2, "the stand-in"
    )
    beside.cell_started("python-amd64", 1)
    beside.step_started("python-amd64", "boot", "The server boots")
    progress.cell_started("python-amd64", 1, 2)
    progress.step_started("python-amd64", "talk", "The conversation ends")
    beside.cell_finished(
        a_cell("java-amd64", Cause.STEP_TIMEOUT, message="no answer", cost_usd=Decimal("0.1"))
    )
    progress.cell_finished(a_cell("java-amd64", cost_usd=Decimal("0.2")))
    python, java, old_python, old_java, footer = _picture(progress).splitlines()
    progress.close()
    assert re.search(r"python-amd64 +The conversation ends", python)
    assert re.search(r"java-amd64 +passed", java)
    assert re.search(r"baseline python-amd64 +The server boots", old_python)
    assert re.search(r"baseline java-amd64 +failed: no answer", old_java)
    assert re.search(r"2/4 done, 1 failed, .* s, \$0\.30 so far", footer)


def test_the_picture_fits_the_screen_and_keeps_what_runs() -> None:
    progress, _ = _live()
    cells = [f"cell-{number:02}" for number in range(60)]
    progress.run_started("r", cells, 2, "the stand-in")
    progress.cell_started("cell-57", 1)
    progress.cell_finished(a_cell("cell-58", Cause.ASSERTION, message="wrong"))
    lines = _picture(progress).splitlines()
    progress.close()
    assert len(lines) <= 24 - 2
    assert {"cell-57", "cell-58"} <= {line.split()[1] for line in lines[:-2]}
    assert "and 40 more" in lines[-2]
    assert "1/60 done" in lines[-1]


@pytest.mark.parametrize("facts", [{"cost_usd": None}, {"cost_usd": "NaN"}, {"cost_usd": "[bold]"}])
def test_a_cost_that_is_no_number_is_not_shown(facts: dict[str, Any]) -> None:
    progress, _ = _live()
    progress.run_started("r", ["python-amd64"], 1, "the stand-in")
    progress.step_finished("python-amd64", a_step("cost", facts=facts))
    assert "so far" not in _picture(progress)
    progress.close()


def test_the_terminal_is_left_as_it_was_found() -> None:
    before = threading.active_count()
    progress, stream = _live()
    progress.run_started("r", ["python-amd64"], 1, "the stand-in")
    progress.close()
    progress.close()
    assert stream.getvalue().rindex("\x1b[?25h") > stream.getvalue().rindex("\x1b[?25l")
    for thread in threading.enumerate():
        if thread.name.startswith("Thread-") and thread is not threading.main_thread():
            thread.join(2)
    assert threading.active_count() <= before


def _hammer(progress: Progress, number: int) -> None:
    cell = a_cell(f"cell-{number}", cost_usd=Decimal("0.1"))
    for _ in range(50):
        tell_cell(progress, cell)
        progress.note(f"a note from {number}")
    progress.cell_finished(cell)


@pytest.mark.parametrize("tty", [True, False], ids=["live", "lines"])
def test_many_threads_at_once(tty: bool) -> None:
    stream = io.StringIO()
    progress = make_progress(stream, quiet=False, environ=XTERM, isatty=tty)
    results = a_run(*(a_cell(f"cell-{number}", cost_usd=Decimal("0.1")) for number in range(8)))
    began = time.monotonic()
    progress.run_started("r", [cell.id for cell in results.cells], 8, "the stand-in")
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(_hammer, progress, number) for number in range(8)]:
            done.result(timeout=30)
    progress.run_finished(results, FOLDER)
    shown = COLOUR.sub("", stream.getvalue())
    assert shown.count("a note from 3") == 50
    assert "PASSED: 8 of 8 cells passed" in shown
    assert time.monotonic() - began < 20


def test_everything_else_that_is_wrong_with_a_cell_is_told_after_the_first() -> None:
    wrong: dict[str, Any] = {"outcome": Outcome.FAILED, "cause": Cause.ASSERTION}
    steps = [
        a_step("gate", message="first", title="The gate is shut", **wrong),
        a_step("events", message="second", title="Events come", **wrong),
    ]
    results = a_run(a_cell("python-amd64", Cause.ASSERTION, steps=steps))
    stream = io.StringIO()
    make_progress(stream, False, {}, False).run_finished(results, FOLDER)
    told = stream.getvalue()
    assert "message  first" in told
    assert "also     Events come: second" in told


def test_scripts_have_a_column_and_a_line_of_their_own() -> None:
    stream = io.StringIO()
    make_progress(stream, False, {}, False).run_finished(script_samples.with_scripts(), FOLDER)
    told = stream.getvalue()
    row = next(line.split() for line in told.splitlines() if line.startswith("python-amd64-example-16"))
    assert row[1:] == [
        "✓", "passed", "2.30", "5.20", "0.58", "1.10", "119.5", "0.90", "128.3", "$0.0000168", "native"
    ]  # fmt: skip
    assert re.search(r"python-amd64-deferred-init +✓ passed +2.31 +5.29 +0.58 +1.48 +– ", told)
    assert "✓ python-amd64-example-16: exit code 0 after 2 min 06 s, 64 API calls, cost $0.0000168" in told
    assert "\n  the conversation ended (finished) 2.71 s after" in told
    assert "  output   Traceback (most recent call last):" in told
    assert told.count("Traceback") == 1
    assert "script" not in _shown(_bad_run())


def test_a_passed_cell_that_wasted_time_says_so_in_its_line() -> None:
    stream = io.StringIO()
    progress = make_progress(stream, False, {}, False)
    late = next(cell for cell in script_samples.with_scripts().cells if cell.id == "python-amd64-example-16")
    progress.cell_finished(late)
    assert "passed in 2 min 08 s, $0.0000168, 1 min 56 s wasted [1/0]" in stream.getvalue()


def test_the_picture_goes_back_to_the_script_when_its_server_has_booted() -> None:
    progress, _ = _live()
    progress.run_started("r", ["python-amd64"], 1, "the stand-in")
    progress.cell_started("python-amd64", 1)
    progress.step_started("python-amd64", "script", "The script runs")
    progress.step_started("python-amd64", "dormant", "The server boots")
    assert "The server boots" in _picture(progress)
    progress.step_finished("python-amd64", a_step("dormant"))
    assert "The script runs" in _picture(progress)
    progress.close()


@pytest.mark.parametrize("tty", [True, False], ids=["live", "lines"])
def test_text_from_scripts_is_harmless(tty: bool) -> None:
    shown = _shown(script_samples.hostile(), environ=XTERM | {"NO_COLOR": "1"}, isatty=tty)
    assert "window.pwned" in shown
    assert not re.search("\x1b\\[31m|\u202e|\x00", shown)
