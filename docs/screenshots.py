"""Pictures of a run's report, for the README: wide and narrow, light and dark, with Debian's Chromium.

python docs/screenshots.py RUN_FOLDER OUT_DIR
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, sync_playwright

# name -> width and height of the window, the system's colours, whether to take the whole page
PICTURES: dict[str, tuple[int, int, Literal["light", "dark"], bool]] = {
    "report": (1280, 1000, "light", False),
    "report-full": (1280, 1000, "light", True),
    "report-dark": (1280, 1000, "dark", False),
    "report-narrow": (360, 780, "light", False),
    "report-narrow-dark": (360, 780, "dark", False),
    "report-narrow-full": (360, 780, "light", True),
}


def main(run_folder: Path, out: Path) -> None:
    """Write one PNG per picture. Exits with a message where there is no report or no Chromium."""
    report = (run_folder / "report.html").resolve()
    if not report.is_file():
        sys.exit(f"{report} does not exist. Run: e2e-matrix render {run_folder}")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("There is no Chromium here. On Debian: apt-get install chromium")
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        for name in PICTURES:
            _picture(browser, report, name, out / f"{name}.png")
        browser.close()


def _picture(browser: Browser, report: Path, name: str, path: Path) -> None:
    width, height, colors, whole = PICTURES[name]
    page = browser.new_page(
        viewport={"width": width, "height": height},
        color_scheme=colors,
        device_scale_factor=2,
        java_script_enabled=False,
    )
    page.goto(report.as_uri())
    page.screenshot(path=path, full_page=whole)
    page.close()
    print(path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit((__doc__ or "").strip())
    main(Path(sys.argv[1]), Path(sys.argv[2]))
