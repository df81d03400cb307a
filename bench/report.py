"""How long a report of many cells takes, how large it is, and when a reader can use it.

python bench/report.py [--cells N] [--past N] [--rounds N]

The cells are those of the tests' samples, each with a log of 37 kB beside it, as a real one has, and what it
did in earlier runs. A page is usable when Chromium has laid it out and run its script.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from e2e_matrix.report import html, write_reports
from e2e_matrix.results import Results
from e2e_matrix.trend import LOOK_BACK, keep_trend
from support import history_samples, report_samples

LOG = "2026-11-25 02:20:50 INFO  uvicorn.access  GET /api/conversations 200\n" * 550
# Two frames: what was changed before the first is on the screen after the second.
SEEN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def main() -> None:
    """Print the medians over the rounds."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--cells", type=int, default=1000)
    arguments.add_argument("--past", type=int, default=LOOK_BACK, help="earlier runs of each cell")
    arguments.add_argument("--rounds", type=int, default=5)
    chosen = arguments.parse_args()
    results = report_samples.large(chosen.cells)
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        _lay_out(results, folder)
        _look_back(results, folder, chosen.past)
        html.preload()
        rendered = [_rendered(folder) for _ in range(chosen.rounds)]
        size = (folder / "report.html").stat().st_size
        opened = [_opened(browser, folder) for _ in range(chosen.rounds)]
    print(f"{chosen.cells} cells, {chosen.rounds} rounds, median (min to max)")
    _say("results.json to report.html, s", rendered)
    print(f"  report.html, MB                  {size / 1e6:.2f}")
    for name, index in (
        ("opened and usable, s", 0),
        ("filtered by one word, s", 1),
        ("a cell unpacked, s", 2),
    ):
        _say(name, [times[index] for times in opened])


def _lay_out(results: Results, folder: Path) -> None:
    (folder / "results.json").write_text(results.model_dump_json(), encoding="utf-8")
    for cell in results.cells:
        for attempt in cell.attempts:
            (folder / attempt.folder).mkdir(parents=True)
            (folder / attempt.folder / "server.log").write_text(LOG, encoding="utf-8")


def _look_back(results: Results, folder: Path, runs: int) -> None:
    noise = history_samples.noise()
    points = [
        history_samples.point(number, cell.axes["variant"], cell.axes["arch"], noise, cell=cell.id)
        for cell in results.cells
        for number in range(runs)
    ]
    keep_trend(folder, history_samples.trend(results, points))


def _rendered(folder: Path) -> float:
    start = time.perf_counter()
    write_reports(folder, ["html"])
    return time.perf_counter() - start


def _opened(browser: Browser, folder: Path) -> tuple[float, float, float]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    start = time.perf_counter()
    page.goto((folder / "report.html").as_uri())
    page.evaluate(SEEN)
    usable = time.perf_counter()
    page.evaluate(
        "() => { const field = document.querySelector('.filter [name=q]'); field.value = 'java';"
        " field.dispatchEvent(new Event('input', { bubbles: true })) }"
    )
    page.evaluate(SEEN)
    filtered = time.perf_counter()
    page.evaluate("document.querySelector('article.cell:not([hidden]) details').open = true")
    page.wait_for_selector(".packed > *, .steps", state="attached")
    unpacked = time.perf_counter()
    page.close()
    return usable - start, filtered - usable, unpacked - filtered


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, until the block ends."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        sys.exit("There is no Chromium here. On Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


def _say(name: str, seconds: list[float]) -> None:
    print(f"  {name:<32} {median(seconds):.2f}  ({min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    main()
