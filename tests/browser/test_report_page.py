"""The report in a real browser: quiet, whole, and readable wherever it is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from browser.conftest import Reader
from e2e_matrix.results import Results
from e2e_matrix.trend import keep_trend
from support import history_samples as history
from support import report_samples as samples
from support import script_samples

SAMPLES = [samples.six_passed, samples.broken, samples.hostile]
SCRIPTS = [script_samples.with_scripts, script_samples.hostile]
# The names of what can only be read by moving it sideways.
HIDDEN = """[...document.querySelectorAll(".scroll")]
    .filter(part => part.scrollWidth > part.clientWidth).map(part => part.ariaLabel)"""
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_page_asks_for_nothing_and_complains_of_nothing(
    reader: Reader, sample: Callable[[], Results]
) -> None:
    opened = reader.read(sample())
    opened.page.wait_for_load_state("networkidle")
    outside = [url for url in opened.requests if not url.startswith(("data:", "file:"))]
    assert outside == []
    assert len([url for url in opened.requests if url.startswith("file:")]) == 1
    assert opened.complaints == []


def test_a_hostile_log_file_is_as_harmless(reader: Reader) -> None:
    results = samples.hostile()
    log = reader.folder / "cells/python-amd64/attempt-1/server.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(samples.HOSTILE.encode() * 20 + b"\xff\xfe\x00\x1b]0;title\x07" + b"w" * 80_000 + b"\n")
    opened = reader.read(results, width=360)
    page = opened.page
    page.locator("#cell-python-amd64 .log summary").click()
    page.get_by_role("searchbox", name="Search in server.log of python-amd64").fill("<script>")
    page.wait_for_load_state("networkidle")
    assert page.locator("#cell-python-amd64 .log mark").count() == 20
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.locator("script").count() == 1
    assert page.evaluate(OVERFLOW) == 0
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("data:", "file:"))] == []


def test_nothing_that_a_server_wrote_runs(reader: Reader) -> None:
    opened = reader.read(samples.hostile())
    page = opened.page
    page.wait_for_load_state("networkidle")
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.locator("img, iframe, [onload], [onerror]").count() == 0
    assert page.locator("script").count() == 1
    assert page.locator("pre").first.inner_text().startswith("<script>window.pwned=1")
    assert page.locator("h2").all_inner_texts() == [
        "What broke", "The grid", "Where the time went", "Each cell", "What was tested",
    ]  # fmt: skip


@pytest.mark.parametrize("sample", [*SAMPLES, lambda: samples.large(18), *SCRIPTS])
@pytest.mark.parametrize("width", [360, 800])
def test_nothing_is_wider_than_the_window(reader: Reader, sample: Callable[[], Results], width: int) -> None:
    page = reader.read(sample(), width=width).page
    assert page.evaluate(OVERFLOW) == 0
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate(OVERFLOW) == 0


@pytest.mark.parametrize("sample", [*SAMPLES, *SCRIPTS, lambda: samples.large(72)])
def test_axe_finds_nothing_that_keeps_anybody_out(reader: Reader, sample: Callable[[], Results]) -> None:
    page = reader.read(sample()).page
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert barriers(page) == []


def test_axe_finds_nothing_on_a_dark_phone_either(reader: Reader) -> None:
    page = reader.read(samples.broken(), width=360, colors="dark").page
    assert barriers(page) == []
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert barriers(page) == []


def barriers(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core finds, with the elements."""
    found = Axe().run(page).response["violations"]
    return [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found]


def test_dark_and_light_follow_the_system_and_can_be_read(reader: Reader) -> None:
    grounds = {}
    for colors in ("light", "dark"):
        page = reader.read(script_samples.with_scripts(), colors=colors).page
        assert page.evaluate(WEAK_TEXT) == []
        page = reader.read(samples.broken(), colors=colors).page
        grounds[colors] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        weak = page.evaluate(WEAK_TEXT)
        assert weak == []
    assert grounds["light"] != grounds["dark"]


def test_the_grid_leads_to_the_cell_without_javascript(reader: Reader) -> None:
    page = reader.read(samples.broken(), scripts=False).page
    page.locator(".grid a.slot", has_text="11.6 s").click()
    assert unquote(urlsplit(page.url).fragment) == "cell-java-amd64"
    cell = page.locator("#cell-java-amd64")
    assert cell.locator("summary h3").first.is_visible()
    box = cell.bounding_box()
    assert box is not None
    assert box["y"] < 900


def test_a_folded_cell_opens_when_it_is_linked_to(reader: Reader) -> None:
    page = reader.read(samples.broken(), scripts=False).page
    steps = page.locator("#cell-python-arm64 .steps")
    assert not steps.is_visible()
    page.locator(".grid a.slot", has_text="51.6 s").click()
    assert steps.is_visible()


def test_the_keyboard_reaches_every_cell_and_shows_where_it_is(reader: Reader) -> None:
    page = reader.read(samples.six_passed(), scripts=False).page
    reached: list[str] = []
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the report"
    for _ in range(20):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if "slot" in (focused.get_attribute("class") or ""):
            reached.append(focused.get_attribute("href") or "")
    assert len(reached) == 6
    page.locator(".grid a.slot").nth(3).focus()
    page.keyboard.press("Enter")
    assert page.url.endswith(reached[3])


def test_a_screen_reader_gets_the_timeline_and_the_grid_in_words(reader: Reader) -> None:
    page = reader.read(samples.six_passed()).page
    assert page.get_by_role("group", name="Worker 1: 3 attempts").count() == 1
    assert (
        page.get_by_role("link", name="java-arm64, emulated: passed, from 23.0 s to 1 min 15 s").count() == 1
    )
    assert page.get_by_role("columnheader", name="arm64").count() == 1
    assert page.get_by_role("rowheader", name="golang", exact=True).count() == 1
    assert page.get_by_role("link", name="passed emulated 51.6 s $0.0000168").count() == 3
    assert page.get_by_role("heading", level=1).inner_text().startswith("Good to ship")


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_on_paper_everything_is_unfolded_and_light(reader: Reader, colors: str) -> None:
    page = reader.read(samples.broken(), colors="dark" if colors == "dark" else "light", width=720).page
    page.emulate_media(media="print")
    assert page.locator("#cell-python-arm64 .steps").is_visible()
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(WEAK_TEXT) == []
    assert page.pdf()[:5] == b"%PDF-"


# WCAG 2.2, 1.4.3: text of normal size needs 4.5 to 1 against what lies behind it.
WEAK_TEXT = """() => {
  const rgba = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length === 3 ? [...n, 1] : n }
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor)
      if (color[3] === 1) return color
    }
    return [255, 255, 255, 1]
  }
  const weak = []
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some(part => part.nodeType === 3 && part.data.trim())
    if (!own || node.closest("svg") || !node.checkVisibility()) continue
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x)
    if ((a + 0.05) / (b + 0.05) < 4.5) weak.push(node.outerHTML.slice(0, 120))
  }
  return weak
}"""


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_a_cell_s_past_can_be_read_and_is_there_without_a_script(
    reader: Reader, colors: Literal["light", "dark"]
) -> None:
    results = samples.broken()
    points = [
        *history.nightly(12, history.noise()),
        *(history.failed(number, "java", "amd64") for number in (12, 13)),
    ]
    keep_trend(reader.folder, history.trend(results, history.like(results, points)))
    page = reader.read(results, width=390, colors=colors, scripts=False).page
    line = page.locator("#cell-java-amd64").get_by_role("img", name="14 runs before: 12 passed, 2 failed")
    box = line.bounding_box()
    assert box is not None
    assert box["width"] == 128
    assert page.evaluate(OVERFLOW) == 0
    assert page.evaluate(WEAK_TEXT) == []
    text = page.locator("#broken").inner_text()
    assert f"Fails since {history.run_id(12)}; it passed last in {history.run_id(11)}." in text
    assert barriers(reader.read(results, colors=colors).page) == []
