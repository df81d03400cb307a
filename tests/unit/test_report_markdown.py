"""The pull-request comment."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from e2e_matrix.failures import Outcome
from e2e_matrix.report import html
from e2e_matrix.report.markdown import BUDGET_BYTES, MARKS, STAGES, compose, render
from e2e_matrix.report.view import build
from e2e_matrix.results import Llm, Results
from e2e_matrix.terminal.screen import Screen
from e2e_matrix.terminal.summary import show_summary
from support import report_samples as samples
from support import script_samples

FOLDER = Path("unused")
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")


def test_a_good_run_is_short_and_says_what_it_stands_on() -> None:
    text = render(samples.six_passed(), FOLDER)
    head = text.splitlines()[:6]
    assert head[0] == "## ✅ Good to ship"
    assert "6 passed · 3 native, 3 emulated · 1 min 57 s · cost $0.0001008" in head[4]
    assert "stand-in LLM, as `openai/gpt-4o`" in head[4]
    assert "What broke" not in text
    assert (
        "| `java` | ✅ passed<br>10.9 s · $0.0000168 | ✅ passed, *emulated*<br>51.6 s · $0.0000168 |" in text
    )
    for part in (
        "digest",
        samples.digest("java-arm64"),
        "neoverse-n1",
        "ref=1.58.2 (command line)",
        "20.10.24",
    ):
        assert part in text


def test_every_format_says_that_a_replay_was_not_paid() -> None:
    results = samples.six_passed()
    llm = Llm(kind="replay", model="openai/gpt-4o")
    replayed = results.model_copy(update={"run": results.run.model_copy(update={"llm": llm})})
    assert "replay of recorded calls to `openai/gpt-4o`: nothing was paid" in render(replayed, FOLDER)
    page = html.render(replayed, FOLDER)
    assert "Replay <small>of openai/gpt-4o; nothing was paid</small>" in page
    assert "a real one" not in page
    shown = io.StringIO()
    show_summary(Screen(shown, {}, terminal=False), replayed, "folder")
    assert "openai/gpt-4o (a replay: nothing was paid)" in shown.getvalue()
    broken = samples.broken()
    replayed = broken.model_copy(update={"run": broken.run.model_copy(update={"llm": llm})})
    costs = {view.cell.id: view.cost for view in build(replayed).cells}
    assert costs["java-amd64"] == "nothing paid"


def test_failures_come_first_with_what_a_reader_needs_next() -> None:
    text = render(samples.broken(), FOLDER)
    order = [
        "## ❌ Not good to ship",
        "+ unknown for 1",
        "### What broke",
        "#### ❌ `java-amd64` failed at step `terminal`",
        "expected: execution_status finished\ngot:      execution_status error",
        "**What to do:**",
        "<details><summary>The log around it</summary>",
        "Traceback (most recent call last)",
        "e2e-matrix run --ref 1.58.2 --only java-amd64",
        "#### ❌ `java-arm64` failed at step `gate`, emulated",
        "also at refusals: POST /api/init without a key answered 500",
        "#### ⚠️ `golang-amd64` error",
        "is **flaky**: it passed only at attempt 2",
        "**unsupported:** `golang-arm64`",
        "**cancelled:** `rust-amd64`",
        "| variant / arch |",
        "<summary>What was tested</summary>",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_the_same_results_give_the_same_bytes() -> None:
    results = samples.broken()
    again = Results.model_validate_json(results.model_dump_json())
    assert render(results, FOLDER) == render(again, Path("elsewhere"))


@pytest.mark.parametrize("results", [samples.hostile(), script_samples.hostile()], ids=["server", "script"])
def test_what_came_from_outside_is_only_ever_text(results: Results) -> None:
    text = render(results, FOLDER)
    html = [token.content for token in MARKDOWN.parse(text) if token.type == "html_block"]
    assert set("".join(html).split("\n")) <= {
        "", "</details>", *(f"<details><summary>{name}</summary>" for name in
        ("What came with it", "The log around it", "What was tested", "The end of the script's output",
         "The script's API calls", "The scripts")),
    }  # fmt: skip
    inline = [child for token in MARKDOWN.parse(text) for child in token.children or []]
    assert {token.content for token in inline if token.type == "html_inline"} <= {"<br>"}
    assert not [token for token in inline if token.type in {"link_open", "image"}]
    outside_code = "".join(token.content for token in inline if token.type in {"text", "text_special"})
    for bad in ("@everyone", "@openhands", "#1", "https://", "www.", "GH-2", "me@evil"):
        assert bad not in outside_code
    assert not set(text) & {"\x00", "\x1b", "\u202e"}


def test_every_stage_is_shorter_whole_and_says_that_it_is_short() -> None:
    view = build(samples.large(240))
    sizes: list[int] = []
    for stage in range(len(STAGES)):
        longest = compose(view, 10_000_000) if stage == 0 else compose(view, sizes[-1] - 1)
        sizes.append(len(longest.encode()))
        assert longest.count("<details>") == longest.count("</details>")
        assert longest.count("```") % 2 == 0
        for line in longest.splitlines():
            assert not line.startswith("| ") or line.endswith(" |")
        assert ("Shortened to fit" in longest) is (stage > 0)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(STAGES)


@pytest.mark.parametrize("sample", [lambda: samples.large(1200), samples.hostile])
def test_a_comment_always_fits_and_always_has_the_verdict(sample: Callable[[], Results]) -> None:
    text = render(sample(), FOLDER)
    assert len(text.encode()) <= BUDGET_BYTES
    assert text.startswith("## ❌ Not good to ship")


def test_the_smallest_budget_still_gets_the_counts() -> None:
    text = compose(build(samples.broken()), 1)
    assert "2 passed, 2 failed, 1 error" in text
    assert "report.html has everything" in text


def test_every_outcome_has_a_mark_of_its_own() -> None:
    assert len({MARKS[outcome] for outcome in Outcome}) == len(Outcome)


def test_a_run_without_cells_is_written_too() -> None:
    assert "no cells" in render(samples.run([], verdict=Outcome.CANCELLED), FOLDER)


def test_what_a_log_leaves_out_is_said_below_its_end() -> None:
    results = samples.with_log(samples.broken(), "java-amd64", 2_000_000_000, 1_993_700_000, complete=True)
    assert "In server.log, 1.99 GB from the middle of its 2.00 GB are left out." in render(results, FOLDER)
