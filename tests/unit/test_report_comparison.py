"""A comparison in Markdown, read as GitHub shows it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix.assessment import assess
from e2e_matrix.compare import Comparison, compare_axis, compare_runs
from e2e_matrix.failures import Outcome
from e2e_matrix.report.comparison import as_markdown
from e2e_matrix.report.markdown import SMALLEST_BYTES
from e2e_matrix.report.markdown_blocks import COMMENT_BYTES
from e2e_matrix.results import Results
from support import report_samples as samples
from support import script_samples as scripts
from support.github_markdown import shown
from support.hostile_results import HOSTILE_TEXT, changed, replaced

WHOLE = 100_000_000
BUDGETS = (SMALLEST_BYTES, 4_000, COMMENT_BYTES)


def newly_failing(results: Results) -> Comparison:
    """Of cells that had all passed."""
    passed = [cell.model_copy(update={"outcome": Outcome.PASSED}) for cell in results.cells]
    return compare_runs(results.model_copy(update={"cells": passed}), results)


def test_columns_that_have_nothing_to_say_are_left_out() -> None:
    text = as_markdown(assess(compare_runs(samples.six_passed(), samples.broken())))
    assert "| cell | change | outcome | time | cost | image |" in text
    assert shown(text).tables()[0] == [6] * 8
    with_scripts = as_markdown(assess(compare_axis(scripts.commits(), "commit")))
    assert "| cell | change | outcome | ended | time | wasted | API calls | cost | image |" in with_scripts


@given(st.lists(HOSTILE_TEXT, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_nothing_from_outside_changes_what_a_comparison_is_made_of(words: list[str]) -> None:
    # The cells of both get their names together, so that the same ones are compared.
    plain = samples.six_passed(), samples.broken()
    both = samples.run([*plain[0].cells, *plain[1].cells])
    cells = replaced(both, words).cells
    hostile = [
        one.model_copy(update={"cells": some})
        for one, some in zip(plain, (cells[:6], cells[6:]), strict=True)
    ]
    page = shown(as_markdown(assess(compare_runs(hostile[0], hostile[1])), WHOLE))
    assert page.problems == []
    assert page.skeleton == shown(as_markdown(assess(compare_runs(*plain)), WHOLE)).skeleton


@given(st.lists(HOSTILE_TEXT, min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_nor_what_a_script_wrote_nor_the_names_of_runs(words: list[str]) -> None:
    plain = scripts.with_scripts()
    page = shown(as_markdown(assess(newly_failing(replaced(plain, words))), WHOLE))
    assert page.problems == []
    assert page.skeleton == shown(as_markdown(assess(newly_failing(plain)), WHOLE)).skeleton


def test_a_comment_always_fits() -> None:
    compared = newly_failing(samples.large(600))
    for budget in BUDGETS:
        text = as_markdown(assess(compared), budget)
        assert len(text.encode()) <= budget
        assert text.startswith("## ❌ FAIL: fixed: none; newly failing: 86 cells")
        assert shown(text).problems == []


@pytest.mark.parametrize("character", ["$", "@", "`", "0", "\U0001f600"])
def test_the_longest_strings_never_exceed_the_budget(character: str) -> None:
    before, after = (
        changed(results, lambda text: character * 4096 + text)
        for results in (samples.six_passed(), samples.broken())
    )
    compared = compare_runs(before, after)
    assert compared.warnings
    for budget in BUDGETS:
        text = as_markdown(assess(compared), budget)
        assert len(text.encode()) <= budget
        assert shown(text).problems == []
        assert "newly failing: 2 cells" in text
    assert "1 warning\n" in as_markdown(assess(compared), SMALLEST_BYTES)
