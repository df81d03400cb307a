"""What the page's script adds: filter, sort, search, copy, and the inside of packed cells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from browser.conftest import Reader
from e2e_matrix.results import Results
from support import report_samples as samples

ROWS = "article.cell:not([hidden])"


def shown(page: Page) -> list[str]:
    return page.locator(f"{ROWS} .id").all_inner_texts()


def fragment(page: Page) -> str:
    return urlsplit(page.url).fragment


def test_text_outcome_and_axes_filter_the_list_and_the_grid(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    page.get_by_label("Filter cells by text").fill("ARM64 java")
    assert shown(page) == ["java-arm64"]
    assert page.locator(".filter output").inner_text() == "1 of 7 cells"
    assert page.locator("a.slot:not(.out)").count() == 1
    assert page.locator(".grid tbody tr:not([hidden])").count() == 1
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(ROWS)).to_have_count(7)
    page.get_by_label("Outcome", exact=True).select_option("failed")
    assert shown(page) == ["java-amd64", "java-arm64"]
    page.get_by_label("arch", exact=True).select_option("arm64")
    assert shown(page) == ["java-arm64"]
    page.get_by_label("Filter cells by text").fill("nothing is called so")
    assert page.get_by_text("No cell is like that.").is_visible()


def test_flaky_is_an_outcome_to_filter_by(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    page.get_by_label("Outcome", exact=True).select_option("flaky")
    assert shown(page) == ["python-amd64"]


def test_a_link_shows_what_was_seen(reader: Reader) -> None:
    results = samples.broken()
    page = reader.read(results).page
    page.get_by_label("Filter cells by text").fill("java")
    page.get_by_label("arch", exact=True).select_option("arm64")
    page.get_by_label("Order of the cells").select_option("time")
    page.locator("a.slot:not(.out)").click()
    assert fragment(page) == "q=java&axis.arch=arm64&sort=time&at=cell-java-arm64"
    again = reader.read(results, fragment=fragment(page)).page
    assert shown(again) == ["java-arm64"]
    assert again.get_by_label("arch", exact=True).input_value() == "arm64"
    assert again.locator("#cell-java-arm64 .steps").is_visible()
    assert again.locator("#cell-java-arm64 summary").first.evaluate("node => node === document.activeElement")


def test_going_back_goes_back(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    page.get_by_label("Outcome", exact=True).select_option("failed")
    page.locator("a.slot:not(.out)").first.click()
    assert "at=" in fragment(page)
    page.go_back()
    assert fragment(page) == "outcome=failed"
    assert shown(page) == ["java-amd64", "java-arm64"]


def test_without_a_filter_a_link_is_an_ordinary_one(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    page.locator("a.slot", has_text="51.6 s").click()
    assert fragment(page) == "cell-python-arm64"
    page.get_by_role("link", name="Time", exact=True).click()
    assert fragment(page) == "time"


@pytest.mark.parametrize(
    "nonsense", ["axis.arch=mips&outcome=none&sort=up&q=", "=", "at=nowhere", "%", "cell-x"]
)
def test_a_fragment_that_means_nothing_shows_everything(reader: Reader, nonsense: str) -> None:
    opened = reader.read(samples.broken(), fragment=nonsense)
    assert len(shown(opened.page)) == 7
    assert opened.complaints == []


def test_the_list_begins_with_what_broke_and_can_be_sorted(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    plan = [cell.id for cell in samples.broken().cells]
    assert shown(page)[:4] == ["java-amd64", "java-arm64", "golang-amd64", "python-amd64"]
    page.get_by_label("Order of the cells").select_option("plan")
    assert shown(page) == plan
    page.get_by_label("Order of the cells").select_option("time")
    assert shown(page)[0] == "python-arm64"
    assert set(shown(page)[-2:]) == {"golang-arm64", "rust-amd64"}  # these did not run
    page.get_by_label("Order of the cells").select_option("cost")
    assert set(shown(page)[:2]) == {"python-amd64", "python-arm64"}


def test_of_many_cells_one_is_unpacked_when_it_is_opened(reader: Reader) -> None:
    opened = reader.read(samples.large(1000))
    page = opened.page
    assert page.locator(".steps").count() == 0
    page.locator("a.slot[href='#cell-java-arm64-1.161.0']").click()
    inside = page.locator("[id='cell-java-arm64-1.161.0'] .steps")
    expect(inside).to_be_visible()
    assert "The server boots and says that it is dormant" in inside.inner_text()
    page.locator("[id='cell-golang-amd64-1.3.0'] summary").first.click()
    expect(page.locator(".steps")).to_have_count(2)
    assert "--only golang-amd64-1.3.0" in page.locator("[id='cell-golang-amd64-1.3.0']").inner_text()
    assert opened.complaints == []


def test_a_thousand_cells_are_filtered_and_groups_without_any_are_gone(reader: Reader) -> None:
    page = reader.read(samples.large(1000)).page
    page.get_by_label("tag", exact=True).select_option("1.42.0")
    assert len(shown(page)) == 6
    assert page.locator("details.grid-group:not([hidden])").count() == 1
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("details.grid-group:not([hidden])")).to_have_count(167)


def test_many_cells_can_be_read_without_a_script(reader: Reader) -> None:
    page = reader.read(samples.large(100), scripts=False).page
    assert not page.locator(".filter").is_visible()
    page.locator("a.slot[href='#cell-java-arm64-1.4.0']").click()
    cell = page.locator("[id='cell-java-arm64-1.4.0']")
    cell.locator("summary").click()
    assert cell.get_by_role("link", name="server.log").is_visible()
    assert page.get_by_text("a gated route answered 200").first.is_visible()


def test_what_a_server_wrote_does_not_run_when_it_is_unpacked(reader: Reader) -> None:
    hostile = samples.hostile().cells[0]
    cells = [hostile.model_copy(update={"id": f"python-{number}"}) for number in range(61)]
    opened = reader.read(samples.run(cells))
    page = opened.page
    page.locator("#cell-python-7 summary").first.click()
    expect(page.locator("#cell-python-7 .steps")).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert page.locator("img, iframe").count() == 0
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("data:", "file:"))] == []


def with_log(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "cells/java-amd64/attempt-1/server.log"
        path.parent.mkdir(parents=True)
        path.write_text(text)

    return write


def test_a_log_can_be_searched(reader: Reader) -> None:
    with_log("\n".join(f"line {number} <b>{'Needle' if number % 10 == 0 else ''}" for number in range(200)))(
        reader.folder
    )
    page = reader.read(samples.broken()).page
    log = page.locator("#cell-java-amd64 .log")
    log.locator("summary").click()
    whole = log.locator("pre").inner_text()
    field = log.get_by_role("searchbox")
    field.fill("needle")
    assert log.locator("mark").count() == 20
    assert log.locator("output").inner_text() == "1 of 20"
    field.press("Enter")
    field.press("Enter")
    assert log.locator("output").inner_text() == "3 of 20"
    field.press("Shift+Enter")
    assert log.locator("output").inner_text() == "2 of 20"
    log.get_by_role("button", name="Previous").click()
    log.get_by_role("button", name="Previous").click()
    assert log.locator("output").inner_text() == "20 of 20"
    current = log.locator("mark.current")
    box, frame = current.bounding_box(), log.locator("pre").bounding_box()
    assert box is not None
    assert frame is not None
    assert frame["y"] <= box["y"] <= frame["y"] + frame["height"]
    assert log.locator("pre").inner_text() == whole
    field.fill("<i>")
    assert log.locator("output").inner_text() == "not found"
    field.fill("<b>")
    assert log.locator("mark").count() == 200
    field.fill("")
    assert log.locator("mark").count() == 0
    assert log.locator("pre").inner_text() == whole


def test_the_command_for_one_cell_can_be_copied(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="Copy: e2e-matrix run --ref 1.58.2 --only java-amd64").first
    button.click()
    expect(button).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "e2e-matrix run --ref 1.58.2 --only java-amd64"


def test_where_the_clipboard_is_out_of_reach_the_command_is_selected(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')) }")
    button = page.get_by_role("button", name="Copy: e2e-matrix run --ref 1.58.2 --only java-amd64").first
    button.click()
    expect(button).to_have_text("Selected")
    assert page.evaluate("String(getSelection())") == "e2e-matrix run --ref 1.58.2 --only java-amd64"


@pytest.mark.parametrize("sample", [samples.six_passed, samples.broken, samples.hostile])
def test_the_filter_reaches_every_cell_by_the_keyboard(reader: Reader, sample: Callable[[], Results]) -> None:
    page = reader.read(sample()).page
    page.get_by_label("Filter cells by text").focus()
    page.keyboard.type("python")
    assert set(shown(page)) == {name for name in shown(page) if "python" in name}
    page.locator("a.slot:not(.out)").first.focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('article.cell') !== null")


def test_on_a_phone_the_filter_hides_the_rows_of_the_grid_too(reader: Reader) -> None:
    page = reader.read(samples.broken(), width=390).page
    page.get_by_label("Outcome", exact=True).select_option("failed")
    rows = page.locator(".grid tbody tr")
    assert [row.is_visible() for row in rows.all()] == [False, True, False, False]


def test_going_back_to_where_nothing_was_filtered_shows_everything(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    page.locator("a.slot", has_text="51.6 s").click()
    page.get_by_role("link", name="Cells", exact=True).click()
    page.get_by_label("Outcome", exact=True).select_option("failed")
    page.go_back()
    assert fragment(page) == "cell-python-arm64"
    assert len(shown(page)) == 7
    assert page.get_by_label("Outcome", exact=True).input_value() == ""


def test_a_cell_that_a_link_opened_can_be_closed(reader: Reader) -> None:
    page = reader.read(samples.broken(), fragment="cell-python-arm64").page
    cell = page.locator("#cell-python-arm64")
    expect(cell.locator(".steps")).to_be_visible()
    cell.locator("summary").first.click()
    expect(cell.locator(".steps")).to_be_hidden()


def test_a_link_takes_the_keyboard_along(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_cell_that_the_filter_hides_is_shown_where_a_link_leads_to_it(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    page.get_by_label("Filter cells by text").fill("nothing is called so")
    page.locator(".break h3 a").first.click()
    assert shown(page) == ["java-amd64"]
    assert not page.get_by_text("No cell is like that.").is_visible()
    assert page.locator(".filter output").inner_text() == "1 of 7 cells"


def test_what_is_filtered_out_can_still_be_read(reader: Reader) -> None:
    page = reader.read(samples.broken()).page
    page.get_by_label("arch", exact=True).select_option("arm64")
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found] == []
