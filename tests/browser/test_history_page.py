"""The history's page in a real browser: quiet, whole, and readable wherever it is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page

from browser.test_report_page import HIDDEN, OVERFLOW, WEAK_TEXT, barriers
from e2e_matrix.history.points import Point
from e2e_matrix.report import history_page
from support import history_samples as history
from support import report_samples as samples

Open = Callable[..., Page]


def hostile() -> list[Point]:
    """In the place of every text what a server would write that means harm."""
    text = samples.HOSTILE * 3 + "w" * 300
    changed: dict[str, Any] = dict.fromkeys(
        ("subject", "scenario", "model", "server_version", "message", "platform"), text
    )
    return [
        replace(point, axes={text: text}, cell=f"{text}{point.cell}", run=f"{point.run}{text}", **changed)
        for point in history.eventful()
    ]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    pages: list[Page] = []

    def open_page(
        points: list[Point],
        width: int = 1280,
        colors: Literal["light", "dark"] = "light",
        scripts: bool = True,
    ) -> Page:
        path = tmp_path / history_page.FILENAME
        path.write_text(history_page.render(history.lines(points), points, tmp_path), encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=colors, java_script_enabled=scripts
        )
        page = context.new_page()
        pages.append(page)
        page.goto(path.as_uri())
        return page

    yield open_page
    for page in pages:
        page.context.close()


def test_it_asks_for_nothing_and_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    points = hostile()
    path = tmp_path / history_page.FILENAME
    path.write_text(history_page.render(history.lines(points), points, tmp_path), encoding="utf-8")
    page = browser.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert complaints == []
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.locator("script, img, iframe, [onload], [onerror]").count() == 0
    page.close()


@pytest.mark.parametrize("points", [history.eventful, hostile], ids=["eventful", "hostile"])
@pytest.mark.parametrize("width", [390, 800])
def test_nothing_is_wider_than_the_window(
    opened: Open, points: Callable[[], list[Point]], width: int
) -> None:
    assert opened(points(), width).evaluate(OVERFLOW) == 0


@pytest.mark.parametrize(("width", "colors"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_that_keeps_anybody_out(opened: Open, width: int, colors: str) -> None:
    page = opened(history.eventful(), width, colors)
    assert barriers(page) == []
    assert page.evaluate(WEAK_TEXT) == []


def test_it_is_whole_without_a_script(opened: Open) -> None:
    page = opened(history.eventful(), scripts=False)
    assert page.locator("h1").inner_text() == "1 of 6 cells fails"
    assert page.locator("h2").all_inner_texts() == [
        "Each cell, run by run", "Slower and faster", "Trends", "Newly failing and fixed", "Flaky",
        "The last 50 runs",
    ]  # fmt: skip
    assert page.locator("svg.trend").count() == 30
    for chart in page.locator("svg.trend").all()[:5]:
        box = chart.bounding_box()
        assert box is not None
        assert box["width"] > 100
        assert box["height"] > 40


def test_charts_and_strips_have_words(opened: Open) -> None:
    page = opened(history.eventful())
    boot = page.get_by_role("img", name="boot of java, native: from ")
    assert boot.count() == 1
    assert "; +" in (boot.get_attribute("aria-label") or "")
    strip = page.get_by_role("row", name="java-arm64").get_by_role(
        "img", name=f"47 of 50 passed; newly failing in {history.run_id(77)}"
    )
    assert strip.count() == 1
    assert page.get_by_role("columnheader", name="conversation").count() == 2
    assert page.get_by_role("rowheader", name="java linux/arm64").count() == 1


@pytest.mark.parametrize("points", [history.eventful, hostile], ids=["eventful", "hostile"])
def test_on_a_phone_no_table_has_columns_that_one_has_to_find(
    opened: Open, points: Callable[[], list[Point]]
) -> None:
    page = opened(points(), 390)
    assert page.evaluate(HIDDEN) == []
    row = page.locator("#runs").get_by_role("row").nth(1)
    for cell in row.get_by_role("cell").all():
        box = cell.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390


def test_newly_failing_and_fixed_are_told_apart_by_shape_and_can_be_seen(opened: Open) -> None:
    page = opened(history.eventful())
    strip = page.get_by_role("row", name="golang-amd64").locator("svg.strip")
    for name, shape in (("began", "l"), ("ended", "a")):
        mark = strip.locator(f".{name}")
        box = mark.evaluate("path => { const box = path.getBBox(); return [box.width, box.height]; }")
        assert min(box) >= 6
        assert shape in (mark.get_attribute("d") or "")
        assert page.locator(f".legend .{name}").is_visible()
