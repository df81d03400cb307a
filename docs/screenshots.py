"""Pictures of reports, for the README and the docs, with Debian's Chromium.

python docs/screenshots.py [RUN_FOLDER [OUT_DIR]]

RUN_FOLDER is a real run in which all passed (default: reports/example), with one of two real releases side by
side in its qa/; the run with failures, that of a thousand cells and the history are the tests' samples.
OUT_DIR is docs/screenshots by default.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from e2e_matrix.report import history_page, write_reports
from e2e_matrix.results import Results
from support import history_samples, report_samples

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Picture:
    """``run``: real, qa, failures, thousand or history. ``fragment``: what the page shows."""

    run: str
    fragment: str = ""
    width: int = 1280
    height: int = 1000
    colors: Literal["light", "dark"] = "light"


PICTURES = {
    "report": Picture("real"),
    "report-dark": Picture("real", colors="dark"),
    "report-narrow": Picture("real", width=360, height=780),
    "report-cell": Picture("real", "cell-java-arm64"),
    "report-failures": Picture("failures"),
    "report-failures-narrow": Picture("failures", width=360, height=780),
    "report-thousand": Picture("thousand", "axis.variant=java&sort=time&at=grid"),
    "qa": Picture("qa"),
    "qa-narrow": Picture("qa", width=360, height=780),
    "history": Picture("history"),
}


def main(run_folder: Path, out: Path) -> None:
    """Write one PNG per picture. Exits with a message where there is no report or no Chromium."""
    if not (run_folder / "report.html").is_file():
        sys.exit(f"{run_folder} has no report.html. Run: e2e-matrix render {run_folder}")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, _chromium() as browser:
        pages = {
            "real": run_folder / "report.html",
            "qa": run_folder / "qa" / "qa.html",
            "failures": _rendered(report_samples.broken(), Path(scratch) / "failures"),
            "thousand": _rendered(report_samples.large(1000), Path(scratch) / "thousand"),
            "history": _history(Path(scratch)),
        }
        for name, picture in PICTURES.items():
            _take(browser, pages[picture.run].resolve(), picture, out / f"{name}.png")


def _rendered(results: Results, folder: Path) -> Path:
    folder.mkdir()
    (folder / "results.json").write_text(results.model_dump_json(), encoding="utf-8")
    return write_reports(folder, ["html"])[0]


def _history(folder: Path) -> Path:
    points = history_samples.eventful()
    page = folder / history_page.FILENAME
    page.write_text(history_page.render(history_samples.lines(points), points, folder), encoding="utf-8")
    return page


def _take(browser: Browser, report: Path, picture: Picture, path: Path) -> None:
    page = browser.new_page(
        viewport={"width": picture.width, "height": picture.height},
        color_scheme=picture.colors,
        device_scale_factor=2,
    )
    page.goto(report.as_uri() + (f"#{picture.fragment}" if picture.fragment else ""))
    page.screenshot(path=path)
    page.close()
    print(path)


@contextmanager
def _chromium() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        sys.exit("There is no Chromium here. On Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) > 3:
        sys.exit((__doc__ or "").strip())
    given = [Path(argument) for argument in sys.argv[1:]]
    defaults = [ROOT / "reports/example", ROOT / "docs/screenshots"]
    main(*[*given, *defaults[len(given) :]])
