"""Debian's Chromium, driven by playwright, over reports as they lie on the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from e2e_matrix.report import write_reports
from e2e_matrix.results import Results

# A bound and no measure: a busy machine takes seconds for what is done in milliseconds on an idle one.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail("the browser tests need Chromium; on Debian: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield opened
        opened.close()


@dataclass
class Opened:
    """A report in a window, with everything that it asked for and complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@dataclass
class Reader:
    """Opens reports; each in a context of its own, closed after the test."""

    browser: Browser
    folder: Path
    opened: list[Opened] = field(default_factory=list)

    def read(
        self,
        results: Results,
        *,
        width: int = 1280,
        colors: Literal["light", "dark"] = "light",
        scripts: bool = True,
        fragment: str = "",
        form: str = "html",
    ) -> Opened:
        """``scripts``: whether the browser runs any; ``fragment``: what stands behind # in the address.

        ``form``: the format whose first file is opened.
        """
        (self.folder / "results.json").write_text(results.model_dump_json(), encoding="utf-8")
        report, *_ = write_reports(self.folder, [form])
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=colors, java_script_enabled=scripts
        )
        opened = Opened(context.new_page())
        context.on("request", lambda request: opened.requests.append(request.url))
        context.on("console", lambda message: opened.complaints.append(message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        self.opened.append(opened)
        opened.page.goto(report.as_uri() + (f"#{fragment}" if fragment else ""))
        return opened


@pytest.fixture
def reader(browser: Browser, tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(browser, tmp_path)
    yield reader
    for opened in reader.opened:
        opened.page.context.close()
