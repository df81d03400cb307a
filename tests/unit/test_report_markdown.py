"""The Markdown report, read as GitHub shows it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix.assessment import assess
from e2e_matrix.compare import compare_runs
from e2e_matrix.failures import POLICIES, Cause, Outcome
from e2e_matrix.report import html
from e2e_matrix.report.markdown import SMALLEST_BYTES, compose, render
from e2e_matrix.report.markdown_blocks import CHECK_BYTES, COMMENT_BYTES, MARKS, SUMMARY_BYTES, link_to
from e2e_matrix.report.view import build
from e2e_matrix.results import Llm, Results, SettingValue
from e2e_matrix.terminal.screen import Screen
from e2e_matrix.terminal.summary import show_summary
from support import report_samples as samples
from support import script_samples
from support.github_markdown import shown
from support.hostile_results import BASE_LABEL, HOSTILE_TEXT, changed, replaced

FOLDER = Path("unused")
WHOLE = 100_000_000
LINK = "https://github.example/openhands/agent-sdk/actions/runs/1"
FOLDED_END = ["Images", "Environment", "How to reproduce"]


def folded(text: str) -> list[str]:
    return re.findall("<summary>(.*)</summary>", text)


def part(text: str, title: str) -> str:
    """What is folded under the title."""
    return text.split(f"<details><summary>{title}</summary>")[1].split("</details>")[0]


def with_run(results: Results, **values: Any) -> Results:
    return results.model_copy(update={"run": results.run.model_copy(update=values)})


def with_image(results: Results, **values: Any) -> Results:
    cells = [
        cell.model_copy(update={"image": cell.image.model_copy(update=values)}) for cell in results.cells
    ]
    return results.model_copy(update={"cells": cells})


def all_alike() -> Results:
    """Six cells that fail with the same words, but for one that says something else."""
    cells = [
        samples.cell(
            variant,
            arch,
            [
                samples.attempt(
                    f"{variant}-{arch}",
                    arch == "arm64",
                    0,
                    0.0,
                    fail_at="gate",
                    cause=Cause.ASSERTION,
                    message="a gated route answered 200" if variant != "golang" else f"no route in {arch}",
                    log=samples.LOG,
                )
            ],
        )
        for variant in samples.VARIANTS
        for arch in samples.ARCHES
    ]
    return samples.run(cells)


def all_different(cells: int = 240) -> Results:
    """Many cells, every seventh of which failed with words of its own, and two that are flaky."""
    large = samples.large(cells)
    made = [
        changed_message(cell, f"a gated route answered 200 in {cell.id}")
        if cell.outcome is Outcome.FAILED
        else cell
        for cell in large.cells
    ]
    made[1:3] = [cell.model_copy(update={"flaky": True}) for cell in made[1:3]]
    return large.model_copy(update={"cells": made})


def changed_message(cell: Any, message: str) -> Any:
    steps = [
        step.model_copy(update={"message": message}) if step.outcome is Outcome.FAILED else step
        for step in cell.steps
    ]
    return cell.model_copy(update={"steps": steps})


def test_a_good_run_is_short_and_says_what_it_stands_on() -> None:
    text = render(samples.six_passed(), FOLDER)
    head = text.splitlines()[:6]
    assert head[0] == "## ✅ Good to ship"
    assert "6 passed · 3 native, 3 emulated · 1 min 57 s · cost $0.0001008" in head[4]
    assert "stand-in LLM, as `openai/gpt-4o`" in head[4]
    assert re.findall("^#+ ", text, re.MULTILINE) == ["## "]
    assert (
        "| `java` | ✅ passed<br>10.9 s · $0.0000168 | ✅ passed, *emulated*<br>51.6 s · $0.0000168 |" in text
    )
    assert folded(text) == FOLDED_END
    assert shown(text).problems == []


def test_every_format_says_that_a_replay_was_not_paid() -> None:
    llm = Llm(kind="replay", model="openai/gpt-4o")
    replayed = with_run(samples.six_passed(), llm=llm)
    assert "replay of recorded calls to `openai/gpt-4o`: nothing was paid" in render(replayed, FOLDER)
    page = html.render(replayed, FOLDER)
    assert "Replay <small>of openai/<wbr>gpt-4o; nothing was paid</small>" in page
    assert "a real one" not in page
    printed = io.StringIO()
    show_summary(Screen(printed, {}, terminal=False), replayed, "folder")
    assert "openai/gpt-4o (a replay: nothing was paid)" in printed.getvalue()
    costs = {view.cell.id: view.cost for view in build(with_run(samples.broken(), llm=llm)).cells}
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
        "### What else to know",
        "is **flaky**: it passed only at attempt 2",
        "**unsupported:** `golang-arm64`",
        "**cancelled:** `rust-amd64`",
        "### All cells",
        "| variant / arch |",
        *(f"<summary>{title}</summary>" for title in FOLDED_END),
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert shown(text).problems == []


def test_what_broke_alike_is_told_once() -> None:
    text = render(all_alike(), FOLDER)
    told = re.findall("^#### ❌ `(.*?)`", text, re.MULTILINE)
    assert told == ["python-amd64", "golang-amd64", "golang-arm64"]
    assert text.count("**The same in** 3 cells: `python-arm64`, `java-amd64`, `java-arm64`.") == 1
    assert folded(text).count("The log around it") == 3


def test_cells_of_which_something_else_would_be_said_are_told_apart() -> None:
    alike = all_alike().cells[:2]
    later = alike[1].steps[-1].model_copy(update={"outcome": Outcome.FAILED, "message": "it did not stop"})
    more = alike[1].model_copy(update={"steps": [*alike[1].steps[:-1], later]})
    text = render(samples.run([alike[0], more]), FOLDER)
    assert "The same in" not in text
    assert "also at removal: it did not stop" in text
    long = [changed_message(cell, f"{'x' * 2000} {cell.id}") for cell in alike]
    assert "The same in" not in render(samples.run(long), FOLDER)


def test_the_same_results_give_the_same_bytes() -> None:
    results = samples.broken()
    again = Results.model_validate_json(results.model_dump_json())
    assert render(results, FOLDER) == render(again, Path("elsewhere"))


def test_images_come_with_bases_commands_tags_and_digests() -> None:
    text = part(render(with_image(samples.six_passed(), labels={BASE_LABEL: "debian:12"}), FOLDER), "Images")
    repository = "ghcr.io/openhands/agent-server"
    java = f"{repository}:3f1c2ab-java"
    assert "| image | platforms | base image | server |" in text
    platforms = "`linux/amd64` 359 MB<br>`linux/arm64` 359 MB, *emulated*"
    assert f"| `{java}` | {platforms} | `debian:12` | `1.58.2` |" in text
    assert f"docker pull {java}\n" in text
    assert f"docker pull {repository}@{samples.digest('java')}\n" in text
    assert f"{java}\n  {samples.digest('java')}\n" in text
    assert f"3f1c2ab-java-arm64\n  {samples.digest('java-arm64')}\n" in text
    assert text.count("docker pull") == 6


def test_what_is_not_known_of_an_image_is_not_written() -> None:
    unknown = with_image(samples.six_passed(), digest=None, index_digest=None, pinned=None, arch_tag=None)
    text = part(render(unknown, FOLDER), "Images")
    assert "| image | platforms | server |" in text
    assert "sha256" not in text
    assert "exactly" not in text
    assert text.count("docker pull") == 3
    without_index = with_image(samples.six_passed(), index_digest=None, arch_tag=None)
    text = part(render(without_index, FOLDER), "Images")
    assert f"docker pull ghcr.io/openhands/agent-server@{samples.digest('java-arm64')}\n" in text
    assert f"3f1c2ab-java (linux/arm64)\n  {samples.digest('java-arm64')}\n" in text


def test_what_is_no_reference_does_not_become_a_command() -> None:
    evil = with_image(samples.six_passed(), reference="x; rm -rf ~\nrm -rf /", pinned=None)
    assert "docker pull 'x; rm -rf ~ rm -rf /'\n" in part(render(evil, FOLDER), "Images")


def test_the_images_of_a_demo_cannot_be_pulled_later() -> None:
    demo = with_run(samples.six_passed(), command=[".venv/bin/e2e-matrix", "demo", "--only", "java-*"])
    text = render(demo, FOLDER)
    assert "docker pull" not in text
    assert "Served only while the demo ran" in part(text, "Images")
    assert ".venv/bin/e2e-matrix demo --only 'java-*'\n" in part(text, "How to reproduce")


def test_the_environment_has_the_settings_that_somebody_made() -> None:
    text = part(render(samples.six_passed(), FOLDER), "Environment")
    for fact in (
        "- scenario: `deferred-init`",
        "- model: `openai/gpt-4o` (stand-in)",
        "20.10.24+dfsg1, linux/amd64, Debian GNU/Linux 12 (bookworm)",
        "- machine: 2 CPUs, 8.33 GB; 2 workers",
        "- emulated CPU: `neoverse-n1`",
        "| `ref` | `1.58.2` | command line |",
        "| `timeout` | `10m` | file |",
        "At its default: 2 other settings.",
    ):
        assert fact in text
    assert "fail_fast" not in text
    untouched = {"timeout": SettingValue(value="10m", source="default")}
    text = part(render(with_run(samples.six_passed(), settings=untouched), FOLDER), "Environment")
    assert "| setting |" not in text
    assert "At its default: 1 other setting." in text


def test_how_to_reproduce_has_the_command_of_the_run_and_of_its_cells() -> None:
    text = part(render(samples.six_passed(), FOLDER), "How to reproduce")
    assert "\ne2e-matrix run --ref 1.58.2\n" in text
    assert text.count("e2e-matrix run --ref 1.58.2 --only ") == 6
    many = part(compose(build(samples.large(240)), WHOLE), "How to reproduce")
    assert many.count(" --only ") == 50
    assert "… and 190 more" in many


def test_a_link_to_the_run_is_ours_alone() -> None:
    view = build(samples.hostile())
    for budget in (WHOLE, COMMENT_BYTES, SMALLEST_BYTES):
        text = compose(view, budget, LINK)
        page = shown(text, LINK)
        assert page.problems == []
        assert page.links == ([LINK] if "Shortened to fit" in text else [])
    odd = shown(link_to("x", "https://e.example/a (b)<c> [d]\\\n"))
    assert odd.links == ["https://e.example/a%20%28b%29%3Cc%3E%20%5Bd%5D%5C%0A"]


def test_an_only_axis_and_an_empty_slot_keep_the_table_whole() -> None:
    cells = [samples.cell("python", arch, []) for arch in samples.ARCHES]
    results = samples.run(cells, axes={"arch": samples.ARCHES})
    assert shown(render(results, FOLDER)).tables()[0] == [2, 2, 2]


def test_calls_stay_in_line_however_late_they_came() -> None:
    script = script_samples.script_run(output_excerpt="x", exit_code=1)
    late = [
        call.model_copy(update={"start_seconds": seconds, "path": f"/{number}"})
        for number, (call, seconds) in enumerate(
            zip(script.calls, (0.001, 5.0, 59.0, 65.0, 700.0, 9_000.0), strict=True)
        )
    ]
    attempt = script_samples.script_attempt(
        "x",
        script.model_copy(update={"calls": late, "terminal_seconds": 60.0}),
        outcome=Outcome.FAILED,
        cause=Cause.SCRIPT_FAILED,
        message="it failed",
    )
    results = samples.run([script_samples.script_cell("python", "amd64", attempt)])
    lines = part(render(results, FOLDER), "The script's API calls").strip().splitlines()[1:-1]
    starts = [found.start() for line in lines if (found := re.search("GET|POST|--", line))]
    assert starts == [len("11 min 40 s  ")] * 7


def test_several_lines_of_what_came_stay_beside_their_label() -> None:
    results = samples.broken()
    step = next(step for step in results.cells[2].steps if step.outcome is Outcome.FAILED)
    steps = [step.model_copy(update={"got": "one\ntwo"})]
    cell = results.cells[2].model_copy(update={"steps": steps})
    text = render(samples.run([cell]), FOLDER)
    assert "got:      one\n          two\n" in text


# Hostile text


@pytest.mark.parametrize("results", [samples.hostile(), script_samples.hostile()], ids=["server", "script"])
@pytest.mark.parametrize("budget", [WHOLE, COMMENT_BYTES, 20_000, 8_000, SMALLEST_BYTES])
def test_what_came_from_outside_is_only_ever_text(results: Results, budget: int) -> None:
    text = compose(build(results), budget)
    assert shown(text).problems == []
    assert len(text.encode()) <= budget


WORDS = st.lists(HOSTILE_TEXT, min_size=1, max_size=12)
PLAIN = {
    "broken": with_image(samples.broken(), labels={BASE_LABEL: "debian:12", "other": "label"}),
    "scripts": script_samples.with_scripts(),
    "alike": all_alike(),
}


@given(WORDS, st.sampled_from(sorted(PLAIN)))
@settings(max_examples=150, deadline=None)
def test_nothing_from_outside_changes_what_the_report_is_made_of(words: list[str], plain: str) -> None:
    page = shown(compose(build(replaced(PLAIN[plain], words)), WHOLE))
    assert page.problems == []
    assert page.skeleton == shown(compose(build(PLAIN[plain]), WHOLE)).skeleton


@given(WORDS, st.integers(SMALLEST_BYTES, 12_000))
@settings(max_examples=60, deadline=None)
def test_nor_at_any_length(words: list[str], budget: int) -> None:
    text = compose(build(replaced(PLAIN["broken"], words)), budget, LINK)
    page = shown(text, LINK)
    assert page.problems == []
    assert all(len(set(columns)) == 1 for columns in page.tables())
    assert len(text.encode()) <= budget


@pytest.mark.parametrize("cause", Cause)
def test_advice_holds_a_hostile_folder(cause: Cause) -> None:
    def advised(folder: str) -> list[str]:
        reports = {"reports.folder": SettingValue(value=folder, source="file")}
        cell = samples.cell("python", "amd64", [], outcome=POLICIES[cause].outcome, cause=cause)
        page = shown(render(samples.run([cell], settings=reports), FOLDER))
        assert page.problems == []
        return page.skeleton

    assert advised("a` <b> @x ``\n\n# y") == advised("reports")


# Sizes


def test_the_budgets_are_what_github_takes() -> None:
    assert COMMENT_BYTES < 65_536
    assert CHECK_BYTES < 65_535
    assert SUMMARY_BYTES < 1024 * 1024


def test_every_stage_is_whole_and_says_that_it_is_short() -> None:
    view = build(all_different())
    whole = compose(view, WHOLE, LINK)
    texts = set()
    for budget in range(len(whole.encode()), SMALLEST_BYTES, -500):
        text = compose(view, budget, LINK)
        assert len(text.encode()) <= budget
        assert ("Shortened to fit" in text) is (text != whole)
        texts.add(text)
    for text in texts:
        page = shown(text, LINK)
        assert page.problems == []
        assert page.links == ([LINK] if text != whole else [])
        assert all(len(set(columns)) == 1 for columns in page.tables())
    assert len(texts) > 5


def test_a_table_too_large_is_left_out_as_a_whole_and_counted() -> None:
    view = build(samples.large(1002))
    comment, summary = compose(view, COMMENT_BYTES), compose(view, SUMMARY_BYTES)
    assert shown(summary).text.count("passed") > 858
    assert "| variant `java` | 286 | 48 |" in comment
    assert "| `java` |" not in comment
    assert "Shortened" not in summary
    assert "**The same in** 143 cells: " in comment


def test_counts_are_of_every_axis_that_is_short_enough() -> None:
    text = compose(build(samples.large(240)), 3_000)
    assert "| arch `arm64` | 103 | 17 |" in text
    assert "tag `" not in text  # of those there are 40
    text = compose(build(script_samples.with_scripts()), 1_000)
    assert "| scenario `example-16` | 3 | 1 |" in text


@pytest.mark.parametrize(
    "character", ["$", "@", "&", "`", "|", "<", "0", ":", "\\", "\n", "😀", "\u0301", "\x00"]
)
def test_the_longest_strings_never_exceed_the_budget(character: str) -> None:
    results = changed(samples.broken(), lambda text: character * 4096 + text)
    view = build(results)
    for budget in (SMALLEST_BYTES, 10_000, CHECK_BYTES, COMMENT_BYTES):
        text = compose(view, budget, LINK + "x" * (500 - len(LINK)))
        assert len(text.encode()) <= budget
        assert text.startswith("## ❌ Not good to ship")


def test_a_thousand_cells_with_the_longest_strings_fit_too() -> None:
    view = build(changed(samples.large(1002), lambda text: f"{text}{'$@' * 2048}"))
    for budget in (SMALLEST_BYTES, COMMENT_BYTES, SUMMARY_BYTES):
        text = compose(view, budget)
        assert len(text.encode()) <= budget
        assert "858 passed, 144 failed" in text
        assert shown(text).problems == []


@pytest.mark.parametrize("sample", [lambda: samples.large(1200), samples.hostile])
def test_a_comment_always_fits_and_always_has_the_verdict(sample: Callable[[], Results]) -> None:
    text = render(sample(), FOLDER)
    assert len(text.encode()) <= COMMENT_BYTES
    assert text.startswith("## ❌ Not good to ship")


def test_a_budget_that_is_too_small_still_gets_the_counts() -> None:
    text = compose(build(samples.broken()), 1)
    assert "2 passed, 2 failed, 1 error" in text
    assert "more" not in text
    assert "report.html has everything" in text


def test_every_outcome_has_a_mark_of_its_own() -> None:
    assert len({MARKS[outcome] for outcome in Outcome}) == len(Outcome)


def test_a_run_without_cells_is_written_too() -> None:
    for budget in (WHOLE, 1):
        text = compose(build(samples.run([], verdict=Outcome.CANCELLED)), budget)
        assert "no cells" in text
        assert shown(text).problems == []


def test_what_a_log_leaves_out_is_said_below_its_end() -> None:
    results = samples.with_log(samples.broken(), "java-amd64", 2_000_000_000, 1_993_700_000, complete=True)
    assert "In server.log, 1.99 GB from the middle of its 2.00 GB are left out." in render(results, FOLDER)


def test_what_changed_since_a_baseline_comes_after_what_broke(tmp_path: Path) -> None:
    (tmp_path / "baseline.json").write_text(samples.six_passed().model_dump_json(), encoding="utf-8")
    text = render(samples.broken(), tmp_path)
    assert text.index("### What broke") < text.index("### What changed") < text.index("### All cells")
    assert "**FAIL: fixed: none; newly failing: 2 cells; " in text
    assert "| `java-amd64` | **newly failing** | passed → failed | " in text
    assert "`python-amd64` | same" not in text
    shown(text)


def test_a_baseline_of_hostile_words_is_as_harmless_and_fits() -> None:
    view = build(samples.large(1002), assess(compare_runs(samples.hostile(), samples.large(1002))))
    for budget in (SMALLEST_BYTES, COMMENT_BYTES, SUMMARY_BYTES):
        text = compose(view, budget)
        assert len(text.encode()) <= budget
        shown(text)


def test_without_a_baseline_nothing_is_said_of_changes() -> None:
    assert "What changed" not in render(samples.broken(), FOLDER)
