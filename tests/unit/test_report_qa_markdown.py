"""The QA report in Markdown, read as GitHub shows it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix.assessment import Question, expectations
from e2e_matrix.report.markdown import SMALLEST_BYTES
from e2e_matrix.report.markdown_blocks import CHECK_BYTES, COMMENT_BYTES
from e2e_matrix.report.qa import QA, Api, ApiLine, build
from e2e_matrix.report.qa_markdown import compose, render
from e2e_matrix.results import Results
from support import report_samples as samples
from support import script_samples as scripts
from support.github_markdown import shown
from support.hostile_results import HOSTILE_TEXT, changed, replaced
from support.qa_samples import keep, qa, with_keys, without_keys

WHOLE = 100_000_000
LINK = "https://github.com/octo/matrix/actions/runs/55"
WORDS = st.lists(HOSTILE_TEXT, min_size=1, max_size=12)


def replacing(report: QA, **values: Any) -> QA:
    return QA(**{**vars(report), **values})


def test_a_fix_is_seen_in_one_glance() -> None:
    question = Question("Enforce the session keys given at init", expectations(["fixed:*-amd64"]))
    text = compose(qa(without_keys(), with_keys(), question), WHOLE)
    assert text.startswith("## ✅ PASS: Enforce the session keys given at init\n")
    for line in (
        "- **PASS**: nothing that the policy fails on in 4 cells, and 1 expectation met",
        "| subject | `ghcr.io/x/server:1.29.0-{variant}` | `ghcr.io/x/server:1.29.2-{variant}` |",
        "| servers | `1.29.0 (3f1c2ab9d04e), 1.58.2 (3f1c2ab9d04e)` | `1.58.2 (3f1c2ab9d04e)` |",
        "| ✅ functional verification | 4 passed |",
        "#### ✅ fixed: `python-amd64`, `java-amd64`, `golang-amd64`",
        "baseline: session-keys: GET /api/conversations/search without a session key",
        "  expected: 401",
        "  got:      200",
    ):
        assert line in text.splitlines()
    assert (
        "| `session-keys` A request without the session key is refused | ❌ **failed** 3.00 s | ✅ 0.03 s |"
        in text
    )
    assert "| `create` A conversation is created | not reached | ✅ 0.31 s |" in text
    order = ["## ", "| phase |", "### Evidence", "### Measures", "### What was not verified"]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    page = shown(text)
    assert page.problems == []
    assert all(len(set(columns)) == 1 for columns in page.tables())


def test_each_side_has_its_command() -> None:
    text = compose(qa(without_keys(), with_keys()), WHOLE)
    commands = text.split("<details><summary>Run it again</summary>")[1].split("</details>")[0]
    assert "# baseline\ne2e-matrix run" in commands
    assert "# candidate\ne2e-matrix run" in commands
    alone = compose(build(without_keys()), WHOLE)
    assert "# candidate" not in alone
    assert "| step | candidate |" in alone


def test_measures_that_are_news_are_in_the_open(tmp_path: Path) -> None:
    before, after = samples.six_passed(), samples.six_passed()
    image = after.cells[0].image.model_copy(update={"size_bytes": 900_000_000})
    cells = [after.cells[0].model_copy(update={"image": image}), *after.cells[1:]]
    report = qa(before, after.model_copy(update={"cells": cells}))
    text = compose(report, WHOLE)
    open_part = text.split("### Measures")[1].split("<details>")[0]
    assert "| `python-amd64` | size | 318 MB | 900 MB | +183% | – | **larger** |" in open_part
    assert "java-amd64" not in open_part
    folded = text.split("without a difference, or not judged</summary>")[1].split("</details>")[0]
    assert "| `java-amd64` | size |" in folded


def test_the_api_has_its_part_where_it_was_compared() -> None:
    report = qa(without_keys(), with_keys())
    assert "### REST API" not in compose(report, WHOLE)
    lines = ("GET /x is gone | `a`", "POST /y is new", "java-arm64 <b> serves another")
    api = Api([ApiLine(lines[0])], [ApiLine(lines[1])], [ApiLine(lines[2])])
    text = compose(replacing(report, api=api), WHOLE)
    page = shown(text)
    assert page.problems == []
    assert "BreakingGET /x is gone | `a`" in page.text.replace("\n", "")
    assert "<details><summary>1 compatible change</summary>" in text
    assert "The same on both sides." in compose(replacing(report, api=Api([], [], [])), WHOLE)


def test_what_was_not_verified_is_never_left_empty() -> None:
    report = replacing(qa(without_keys(), with_keys()), gaps=[])
    for budget in (WHOLE, 1):
        assert "Nothing is known to be left unverified." in compose(report, budget)
    assert "Not verified: 7 points." in compose(replacing(report, gaps=["x"] * 7), 1)


def hostile(words: Sequence[str], before: Results, after: Results) -> QA:
    """Both with other strings; cells that were of one name still are."""
    both = replaced(samples.run([*before.cells, *after.cells]), words).cells
    runs = [replaced(one.model_copy(update={"cells": []}), words).run for one in (before, after)]
    count = len(before.cells)
    before, after = (
        one.model_copy(update={"cells": cells, "run": run})
        for one, cells, run in zip((before, after), (both[:count], both[count:]), runs, strict=True)
    )
    claim = "".join(words) or "x"
    return qa(before, after, Question(claim, expectations(["fixed:" + ("".join(words).strip() or "x")])))


PAIRS = {
    "fixed": (without_keys(), with_keys()),
    "broken": (samples.six_passed(), samples.broken()),
    "mended": (samples.broken(), samples.six_passed()),
    "scripts": (scripts.with_scripts(), scripts.with_scripts()),
}


@given(WORDS, st.sampled_from(sorted(PAIRS)))
@settings(max_examples=100, deadline=None)
def test_nothing_from_outside_changes_what_the_report_is_made_of(words: list[str], name: str) -> None:
    page = shown(compose(hostile(words, *PAIRS[name]), WHOLE))
    assert page.problems == []
    assert page.skeleton == shown(compose(hostile(["x"], *PAIRS[name]), WHOLE)).skeleton


@given(WORDS, st.integers(SMALLEST_BYTES, 12_000))
@settings(max_examples=60, deadline=None)
def test_nor_at_any_length(words: list[str], budget: int) -> None:
    text = compose(hostile(words, *PAIRS["broken"]), budget, LINK)
    assert len(text.encode()) <= budget
    assert shown(text, LINK).problems == []


@pytest.mark.parametrize("sample", [samples.hostile(), scripts.hostile()], ids=["server", "script"])
@pytest.mark.parametrize("budget", [WHOLE, COMMENT_BYTES, 8_000, SMALLEST_BYTES])
def test_what_a_server_wrote_is_only_ever_text(sample: Results, budget: int) -> None:
    for report in (build(sample), qa(sample, sample), qa(samples.six_passed(), sample)):
        text = compose(report, budget)
        assert shown(text).problems == []
        assert len(text.encode()) <= budget


@pytest.mark.parametrize("character", ["$", "@", "&", "`", "|", "<", "0", "\\", "\n", "😀", "\x00"])
def test_the_longest_strings_never_exceed_the_budget(character: str) -> None:
    before, after = (changed(one, lambda text: character * 4096 + text) for one in PAIRS["broken"])
    report = qa(before, after, Question(character * 2000, expectations([f"fixed:{'x' * 4000}"])))
    for budget in (SMALLEST_BYTES, 10_000, CHECK_BYTES, COMMENT_BYTES):
        text = compose(report, budget, LINK + "x" * (500 - len(LINK)))
        assert len(text.encode()) <= budget
        assert text.startswith("## ❌ FAIL: ")


def test_every_stage_is_whole_and_says_that_it_is_short() -> None:
    report = qa(samples.large(240), samples.broken())
    whole = compose(report, WHOLE, LINK)
    texts = {
        compose(report, budget, LINK) for budget in range(SMALLEST_BYTES, len(whole.encode()) + 1, 2_000)
    }
    texts.add(whole)
    assert len(texts) > 3
    for text in texts:
        page = shown(text, LINK)
        assert page.problems == []
        assert ("Shortened to fit" in text) is (text != whole)
        assert page.links == ([LINK] if text != whole else [])
        assert "verified" in text
        assert all(len(set(columns)) == 1 for columns in page.tables())


def test_a_thousand_cells_fit_into_a_comment_with_the_verdict(tmp_path: Path) -> None:
    text = render(samples.large(1002), keep(tmp_path, samples.large(1002), samples.large(1002)))
    assert len(text.encode()) <= COMMENT_BYTES
    assert text.startswith("## ❌ FAIL: QA of ")
    assert "still failing" in text
    assert shown(text).problems == []
