"""The QA report in a real browser: quiet, whole, and readable wherever it is opened."""

from __future__ import annotations

from typing import Any

import pytest

from browser.conftest import Opened, Reader
from browser.test_report_page import HIDDEN, OVERFLOW, WEAK_TEXT, barriers
from e2e_matrix.assessment import expectations
from e2e_matrix.question import Asked, keep_question
from e2e_matrix.results import Results
from support import report_samples as samples
from support import script_samples
from support.qa_samples import keep, with_keys, without_keys

PAIRS: dict[str, tuple[Results | None, Results]] = {
    "fixed": (without_keys(), with_keys()),
    "broken": (samples.six_passed(), samples.broken()),
    "alone": (None, samples.broken()),
    "hostile": (samples.hostile(), samples.hostile()),
    "scripts": (samples.six_passed(), script_samples.with_scripts()),
}
# What must not fall apart, each with the number of lines that it is on.
PIECES = r"""() => {
    const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode())
        for (const {0: piece, index} of walk.currentNode.data.matchAll(/\d+[:.]\d+[:.]\d+|\d{8}T\w+/g)) {
            const range = document.createRange();
            range.setStart(walk.currentNode, index);
            range.setEnd(walk.currentNode, index + piece.length);
            found.push([piece, new Set([...range.getClientRects()].map(box => box.top)).size]);
        }
    return found;
}"""
UNFOLD = "document.querySelectorAll('details').forEach(part => part.open = true)"


def open_qa(reader: Reader, name: str, **how: Any) -> Opened:
    baseline, candidate = PAIRS[name]
    keep(reader.folder, candidate, baseline)
    claim = samples.HOSTILE if name == "hostile" else "Enforce the session keys given at init"
    expected = expectations(["fixed:*-amd64"]) if baseline else None
    keep_question(reader.folder, Asked(claim, expected))
    return reader.read(candidate, form="qa", **how)


@pytest.mark.parametrize("name", list(PAIRS))
def test_the_page_asks_for_nothing_and_nothing_from_outside_runs(reader: Reader, name: str) -> None:
    opened = open_qa(reader, name)
    opened.page.wait_for_load_state("networkidle")
    assert [url for url in opened.requests if not url.startswith(("data:", "file:"))] == []
    assert opened.complaints == []
    assert opened.page.evaluate("typeof window.pwned") == "undefined"
    assert opened.page.locator("img, iframe, [onload], [onerror]").count() == 0
    assert opened.page.locator("script").count() == 1


@pytest.mark.parametrize("name", list(PAIRS))
@pytest.mark.parametrize("width", [360, 390, 800])
def test_nothing_is_wider_than_the_window(reader: Reader, name: str, width: int) -> None:
    page = open_qa(reader, name, width=width).page
    assert page.evaluate(OVERFLOW) == 0
    page.evaluate(UNFOLD)
    assert page.evaluate(OVERFLOW) == 0


@pytest.mark.parametrize("name", list(PAIRS))
@pytest.mark.parametrize("how", [{}, {"width": 390, "colors": "dark"}], ids=["desk", "dark phone"])
def test_axe_finds_nothing_that_keeps_anybody_out(reader: Reader, name: str, how: dict[str, Any]) -> None:
    page = open_qa(reader, name, **how).page
    page.evaluate(UNFOLD)
    assert barriers(page) == []
    assert page.evaluate(WEAK_TEXT) == []


def test_it_is_whole_without_javascript_and_a_command_can_be_copied_with_it(reader: Reader) -> None:
    page = open_qa(reader, "fixed", scripts=False).page
    assert page.get_by_role("heading", level=1).inner_text() == "PASS"
    assert page.locator("#evidence .steps-beside").first.is_visible()
    page.get_by_text("The other 13 steps").click()
    assert page.get_by_text("A conversation is created").is_visible()
    page = open_qa(reader, "fixed").page
    assert page.get_by_role("button", name="Copy: e2e-matrix run").count() == 2


def test_on_paper_everything_is_unfolded_and_light(reader: Reader) -> None:
    page = open_qa(reader, "broken", colors="dark", width=720).page
    page.emulate_media(media="print")
    assert page.get_by_text("The container starts").first.is_visible()
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(WEAK_TEXT) == []
    assert page.pdf()[:5] == b"%PDF-"


@pytest.mark.parametrize("name", list(PAIRS))
@pytest.mark.parametrize("width", [360, 390])
def test_on_a_phone_no_table_has_columns_that_one_has_to_find(reader: Reader, name: str, width: int) -> None:
    page = open_qa(reader, name, width=width).page
    page.evaluate(UNFOLD)
    assert page.evaluate(HIDDEN) == []


def test_a_stacked_table_is_still_a_table_whose_values_say_what_they_are(reader: Reader) -> None:
    page = open_qa(reader, "fixed", width=390).page
    row = page.locator("#evidence .stacks").first.get_by_role("row", name="python-amd64")
    cells = row.get_by_role("cell")
    assert cells.count() == 5
    assert row.get_by_role("rowheader").inner_text() == "python-amd64"
    names = cells.evaluate_all("cells => cells.map(cell => getComputedStyle(cell, '::before').content)")
    assert names == [f'"{name}"' for name in ("Outcome", "Time", "Ended", "Cost", "Runs")]
    facts = page.locator(".facts-beside")
    started = facts.get_by_role("row", name="started").get_by_role("cell")
    assert [one.bounding_box() is not None for one in started.all()] == [True, True]
    assert facts.get_by_role("columnheader", name="Candidate").is_visible()


def test_on_a_phone_times_and_versions_are_read_in_one_piece(reader: Reader) -> None:
    page = open_qa(reader, "fixed", width=390).page
    found = dict(page.evaluate(PIECES))
    assert {"08:13:07", "1.29.0", "20251122T081307Z"} <= set(found)
    assert [piece for piece, lines in found.items() if lines > 1] == []
