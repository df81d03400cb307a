"""What the reports say of example scripts."""

from __future__ import annotations

import re
from pathlib import Path

from e2e_matrix.report import html, markdown
from e2e_matrix.report.phases import PHASES
from e2e_matrix.report.view import build
from support import report_samples, script_samples
from unit.test_report_html import Page

FOLDER = Path("unused")
WASTE = (
    "the conversation ended (finished) 2.71 s after the script's first request; "
    "the script went on for 1 min 56 s, and asked 59 times more"
)


def test_scenarios_have_rows_of_their_own_where_there_are_several() -> None:
    view = build(script_samples.with_scripts())
    assert [(grid.row_axis, grid.column_axis, grid.group) for grid in view.grids] == [
        ("scenario", "variant", {"arch": "amd64"}),
        ("scenario", "variant", {"arch": "arm64"}),
    ]
    for grid in view.grids:
        assert [row.label for row in grid.rows] == ["deferred-init", "example-16"]
        assert [len(slot) for row in grid.rows for slot in row.slots] == [1, 1, 1, 1]
    assert len(build(report_samples.six_passed()).grids) == 1


def test_a_run_without_scripts_says_nothing_of_them() -> None:
    view = build(report_samples.broken())
    assert view.phases == [phase for phase in PHASES if phase != "script"]
    page = Page(html.render(report_samples.broken(), FOLDER)).text.split("}")[-1]  # what follows the style
    for text in (page, markdown.render(report_samples.broken(), FOLDER)):
        assert not re.search("script|wasted", text)


def test_a_cell_shows_what_its_script_did() -> None:
    text = html.render(script_samples.with_scripts(), FOLDER)
    inside = text.split('id="cell-python-amd64-example-16"')[1].split("</article>")[0]
    page = Page(f"<div{inside}</div>").text
    for part in (
        "examples/02_remote_agent_server/16_deferred_init.py",
        "4c1f09d20000",
        "exit code 0 after 2 min 06 s",
        "ended (finished) 2.71 s after the script's first request",
        "1 min 56 s, in which it asked 59 times more",
        "64 API calls of the script",
        "the conversation had ended (finished) at 10.9 s",
        "GET /api/conversations/…200×5911.3 s2 min 07 s0.01 s",
    ):
        assert part in page
    assert re.search("printed cost ?[$]0.0000168 ?server.s cost ?[$]0.0000168", page)
    assert 'href="cells/python-amd64-example-16/attempt-1/script.log"' in inside


def test_a_pass_that_wasted_time_is_told_before_the_grid() -> None:
    results = script_samples.with_scripts()
    page = Page(html.render(results, FOLDER)).text
    said = page.index(f"python-amd64-example-16 passed, but {WASTE}.")
    assert said < page.index("The grid", said) < page.index("1 min 56 s wasted", said)
    assert "it left 3 processes running, and they were ended; printed cost $0.01, the server counted" in page
    text = markdown.render(results, FOLDER)
    assert "the script went on for 1 min 56 s, and asked 59 times more." in text
    assert "✅ passed<br>2 min 08 s · $0.0000168<br>1 min 56 s wasted |" in text


def test_a_script_that_failed_comes_with_the_end_of_its_output() -> None:
    results = script_samples.with_scripts()
    [broken] = build(results).broken
    assert (broken.step and broken.step.name, broken.output) == ("script", script_samples.CRASH)
    assert broken.detail is None  # the same once more
    page = Page(html.render(results, FOLDER)).text
    said = (
        "The script: exit code 1 after 9.63 s, 6 API calls, printed no cost, the server counted $0.0000168."
    )
    assert said in page
    for text in (page, markdown.render(results, FOLDER)):
        at = text.index("The end of the script's output")
        assert text.index("RuntimeError: Remote conversation ended with error: the model", at)
    assert "GET /api/conversations/… 200\n          -- the conversation had ended" in markdown.render(
        results, FOLDER
    )


def test_what_a_scripts_log_leaves_out_is_said_where_it_is_linked() -> None:
    results = script_samples.hostile()
    page = Page(html.render(results, FOLDER)).text
    said = "1.90 GB from the middle of its 2.00 GB are left out"
    assert f"script.log ({said})" in page
    assert f"In script.log, {said}." in markdown.render(results, FOLDER)


def test_a_script_that_talked_and_knows_no_cost_is_not_taken_for_one_that_did_not() -> None:
    unknown = script_samples.script_run(printed_cost_usd=None, server_cost_usd=None)
    silent = script_samples.script_run(printed_cost_usd=None, server_cost_usd=None, conversations=0)
    costs = []
    for script in (unknown, silent):
        attempt = script_samples.script_attempt("x", script)
        costs.append(build(report_samples.run([script_samples.script_cell("a", "b", attempt)])).cells[0].cost)
    assert costs == ["cost unknown", "no conversation"]
