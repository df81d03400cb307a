"""How long the history's page of ten thousand runs of six cells takes, and when it can be read.

python bench/history_page.py [--runs N] [--rounds N] [--keep FOLDER]

The runs are those of bench/history.py. The page is made by `e2e-matrix history page`, a process of its own;
it can be read when Chromium has laid it out.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from history import make_runs
from report import SEEN, chromium

from e2e_matrix.history.database import History
from e2e_matrix.history.writing import run_folders
from e2e_matrix.report import history_page


def main() -> None:
    """Print the medians over the rounds."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--runs", type=int, default=10_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--keep", type=Path, help="make the runs here, and leave them")
    chosen = arguments.parse_args()
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="e2e-matrix-bench-"))
    try:
        reports = folder / "reports"
        make_runs(reports, chosen.runs)
        with History.open(reports / "history.sqlite", reports=reports) as history:
            history.import_runs(run_folders(reports))
        print(f"{chosen.runs} runs, {chosen.rounds} rounds, median (min to max)")
        _measure(reports, chosen.rounds)
    finally:
        if not chosen.keep:
            shutil.rmtree(folder)


def _measure(reports: Path, rounds: int) -> None:
    command = [sys.executable, "-m", "e2e_matrix", "history", "page", "--reports", str(reports)]
    page = reports / history_page.FILENAME
    _say("the command, s", [_timed(command) for _ in range(rounds)])
    print(f"  history.html, MB                 {page.stat().st_size / 1e6:.2f}")
    _say("asked and written in a process, s", [_written(reports, page) for _ in range(rounds)])
    with chromium() as browser:
        times = []
        for _ in range(rounds):
            opened = browser.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            opened.goto(page.as_uri())
            opened.evaluate(SEEN)
            times.append(time.perf_counter() - start)
            opened.close()
    _say("opened and on the screen, s", times)


def _timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _written(reports: Path, page: Path) -> float:
    start = time.perf_counter()
    with History.open(reports / "history.sqlite", reports=reports) as history:
        history_page.write(history, page)
    return time.perf_counter() - start


def _say(name: str, seconds: list[float]) -> None:
    print(f"  {name:<34} {median(seconds):.2f}  ({min(seconds):.2f} to {max(seconds):.2f})")


if __name__ == "__main__":
    main()
