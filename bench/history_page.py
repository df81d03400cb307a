"""How long the history's page of ten thousand runs of six cells takes, and when it can be read.

python bench/history_page.py [--runs N] [--rounds N] [--keep FOLDER]

The runs are those of bench/history.py. The page is made by `e2e-matrix history page`, a process of its own;
it can be read when Chromium has laid it out.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from history import Taken, make_runs
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
    page = reports / history_page.FILENAME
    command = [sys.executable, "-m", "e2e_matrix", "history", "page"]
    _say("to start and to say --help, s", [_timed(lambda: _run(*command, "--help")) for _ in range(rounds)])
    made = [_timed(lambda: _run(*command, "--reports", str(reports))) for _ in range(rounds)]
    _say("the command, s", made)
    print(f"  history.html, MB                 {page.stat().st_size / 1e6:.2f}")
    _say("asked and written in a process, s", [_timed(lambda: _write(reports, page)) for _ in range(rounds)])
    with chromium() as browser:
        times = []
        for _ in range(rounds):
            opened = browser.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            opened.goto(page.as_uri())
            opened.evaluate(SEEN)
            times.append(time.perf_counter() - start)
            opened.close()
    print(f"  {'opened and on the screen, s':<34} {_spread(times)}")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _write(reports: Path, page: Path) -> None:
    with History.open(reports / "history.sqlite", reports=reports) as history:
        history_page.write(history, page)


def _timed(action: Callable[[], object]) -> Taken:
    """With the CPU time of the processes that ended meanwhile."""
    start, before = time.perf_counter(), os.times()
    action()
    used = sum(os.times()[:4]) - sum(before[:4])
    return Taken(time.perf_counter() - start, used)


def _say(name: str, rounds: list[Taken]) -> None:
    used = median(one.cpu_seconds for one in rounds)
    print(f"  {name:<34} {_spread([one.seconds for one in rounds])}  CPU {used:.2f}", flush=True)


def _spread(seconds: list[float]) -> str:
    return f"{median(seconds):.2f}  ({min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
