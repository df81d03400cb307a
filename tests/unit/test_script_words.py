"""What is said of an example script."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from e2e_matrix.report.timeline import segments
from e2e_matrix.results import ApiCall
from e2e_matrix.script_words import (
    FIRST_ROWS,
    LAST_ROWS,
    call_rows,
    costs,
    described,
    ended,
    much_wasted,
    notes,
    origin,
    own_seconds,
    remarks,
    waste,
)
from support import report_samples
from support import script_samples as samples


def test_a_script_that_polls_on_is_told_with_its_waste() -> None:
    late = samples.script_run(60)
    assert described(late) == (
        "exit code 0 after 2 min 06 s, 64 API calls, cost $0.0000168, printed and counted alike"
    )
    assert waste(late) == (
        "the conversation ended (finished) 2.71 s after the script's first request; "
        "the script went on for 1 min 56 s, and asked 59 times more"
    )
    assert remarks(samples.script_run(2)) == []


@pytest.mark.parametrize(
    ("wasted", "of", "much"),
    [(4.9, 60.0, False), (5.0, 600.0, True), (1.2, 2.4, True), (0.9, 1.0, False), (None, 60.0, False)],
)
def test_a_little_waste_is_not_worth_a_line(wasted: float | None, of: float, much: bool) -> None:
    script = samples.script_run(wasted_seconds=wasted, duration_seconds=of)
    assert (much_wasted(script) is not None) is much
    assert (waste(script) is not None) is much


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"exit_code": 3}, "exit code 3"),
        ({"exit_code": None, "signal": 9}, "ended by SIGKILL"),
        ({"exit_code": None, "signal": 63}, "ended by signal 63"),
        ({"exit_code": None, "duration_seconds": None}, "did not run"),
    ],
)
def test_how_it_ended(changed: dict[str, Any], words: str) -> None:
    assert ended(samples.script_run(**changed)) == words


@pytest.mark.parametrize(
    ("revision", "changed", "words"),
    [
        ("4c1f09d2", False, "4c1f09d2aa31"),
        ("v1.58.2", False, "v1.58.2 (4c1f09d2aa31)"),
        (None, False, "4c1f09d2aa31"),
        (None, True, "4c1f09d2aa31, changed since"),
    ],
)
def test_which_commit_it_is_of(revision: str | None, changed: bool, words: str) -> None:
    commit = "4c1f09d2aa31" + "0" * 28
    assert origin(samples.script_run(revision=revision, commit=commit, changed=changed)) == words
    note = ["its file is not as commit 4c1f09d2aa31 has it"]
    assert remarks(samples.script_run(commit=commit, changed=changed)) == (note if changed else [])
    of_an_earlier_version = samples.script_run(revision=revision, commit=None)
    assert origin(of_an_earlier_version) == revision


def test_a_cost_is_told_beside_the_servers_and_unknown_is_not_nothing() -> None:
    silent = samples.script_run(printed_cost_usd=None)
    assert costs(silent) == "printed no cost, the server counted $0.0000168"
    assert notes(silent) == []  # where one must be printed the cell failed, and says so
    deaf = samples.script_run(server_cost_usd=None)
    assert notes(deaf) == ["printed cost $0.0000168, the server counted unknown"]
    neither: dict[str, Any] = {"printed_cost_usd": None, "server_cost_usd": None}
    assert costs(samples.script_run(**neither)) == "no cost was printed or counted"
    assert costs(samples.script_run(**neither, conversations=0)) is None
    nothing = samples.script_run(printed_cost_usd=Decimal(0), server_cost_usd=None, conversations=0)
    assert (costs(nothing), notes(nothing)) == ("printed cost $0.00, and held no conversation", [])


def test_equal_calls_are_one_row_and_the_conversations_end_parts_them() -> None:
    rows = call_rows(samples.script_run(60))
    assert [(row.words, row.late) for row in rows][-3:] == [
        ("POST /api/conversations/…/events 200", False),
        ("GET /api/conversations/… 200", False),
        ("GET /api/conversations/… 200 ×59", True),
    ]
    assert rows[-1].slowest_seconds == 0.011
    assert rows[-1].ends_seconds - rows[-1].starts_seconds == pytest.approx(58 * 2 + 0.011)


def test_what_was_not_kept_is_counted_where_it_is_missing() -> None:
    same = samples.calls(196, 1.0)
    rows = call_rows(samples.script_run(calls=same, calls_total=5_200, terminal_seconds=None))
    assert [(row.count, row.before) for row in rows[-2:]] == [(96, 0), (100, 5_000)]


def test_a_table_of_calls_is_bounded_and_says_what_it_leaves_out() -> None:
    various = [
        ApiCall(method="GET", path=f"/api/{number}?q=1", start_seconds=number, duration_seconds=0)
        for number in range(200)
    ]
    rows = call_rows(samples.script_run(calls=various, calls_total=200, terminal_seconds=None))
    assert len(rows) == FIRST_ROWS + LAST_ROWS
    assert rows[FIRST_ROWS].before == 200 - FIRST_ROWS - LAST_ROWS
    assert rows[0].words == "GET /api/0?… no answer"


def test_a_script_lies_beneath_its_servers_boot_and_stop() -> None:
    attempt = samples.script_attempt("x", samples.script_run())
    found = segments(attempt, attempt.duration_seconds)
    assert [part.phase for part in found] == ["pull", "script", "boot", "script", "removal"]
    for part, following in pairwise(found):
        assert part.start + part.width <= following.start + 0.01
    steps = {step.name: step.duration_seconds for step in attempt.steps}
    nested = steps["start"] + steps["dormant"] + steps["stop"]
    assert own_seconds(attempt) == pytest.approx(steps["script"] - nested)
    assert own_seconds(report_samples.attempt("x", False, 0, 0)) is None


def test_two_servers_of_one_script_stay_two() -> None:
    attempt = samples.script_attempt("x", samples.script_run(30))
    boot = next(step for step in attempt.steps if step.name == "dormant")
    second = boot.model_copy(update={"start_seconds": 40.0})
    steps = [*attempt.steps[:3], second, *attempt.steps[3:]]
    found = segments(attempt.model_copy(update={"steps": steps}), attempt.duration_seconds)
    assert [part.phase for part in found] == ["pull", "boot", "script", "boot", "script", "removal"]


def test_a_check_that_boots_a_server_of_its_own_lies_beneath_it_too() -> None:
    attempt = samples.script_attempt("x", samples.script_run())
    boots = [
        step.model_copy(update={"start_seconds": step.start_seconds + 20}) for step in attempt.steps[1:3]
    ]
    check = boots[0].model_copy(update={"name": "sdk-version", "phase": "checks", "duration_seconds": 9.0})
    steps = [attempt.steps[0], *boots, check]
    found = segments(attempt.model_copy(update={"steps": steps, "duration_seconds": 32.0}), 32.0)
    assert [part.phase for part in found] == ["pull", "boot", "checks"]
    assert found[2].start == pytest.approx(found[1].start + found[1].width, abs=0.01)
