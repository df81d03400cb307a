"""What ten thousand runs of six cells cost the history: to import, to ask, to merge.

python bench/history.py [--runs N] [--rounds N] [--keep FOLDER]

The runs are those of the tests' samples, each its own: other times, costs, images every third night, servers
that are slower every tenth, failures in streaks, flaky passes, cells that were not decided. What a run
folder holds besides results.json the history does not look at.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from e2e_matrix.cli.history import command
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.history.database import History
from e2e_matrix.history.making import rebuild
from e2e_matrix.history.writing import run_folders
from e2e_matrix.results import Attempt, Cell, Phases, Results
from support import report_samples as samples


@dataclass(frozen=True)
class Taken:
    """By the clock, and of this process: the difference is what other work on the machine took."""

    seconds: float
    cpu_seconds: float


FIRST = datetime(2024, 1, 1, 2, 0, tzinfo=UTC)
CELLS = [(variant, arch) for variant in samples.VARIANTS for arch in samples.ARCHES]


def main() -> None:
    """Print what each thing took: the median over the rounds, the fastest, the slowest, and the CPU time."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--runs", type=int, default=10_000)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--keep", type=Path, help="make the runs here, and leave them")
    chosen = arguments.parse_args()
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="e2e-matrix-bench-"))
    try:
        size = make_runs(folder / "reports", chosen.runs)
        print(f"{chosen.runs} runs of {len(CELLS)} cells, {size / 1e6:.0f} MB of results.json")
        measure(folder, chosen.runs, chosen.rounds)
    finally:
        if not chosen.keep:
            shutil.rmtree(folder)


def make_runs(reports: Path, runs: int) -> int:
    """The bytes that they have; those that are there already stay."""
    dice, size = random.Random(0), 0
    for number in range(runs):
        results = nightly(number, dice)
        folder = reports / results.run.id
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "results.json").exists():
            text = results.model_dump_json(indent=2) + "\n"
            (folder / "results.json").write_text(text, encoding="utf-8")
        size += (folder / "results.json").stat().st_size
    return size


def nightly(number: int, dice: random.Random) -> Results:
    """The run of one night: what fails, fails for some nights in a row, or on one image only now and then."""
    started = FIRST + timedelta(hours=2 * number)
    cells = [_cell(variant, arch, number, started, dice) for variant, arch in CELLS]
    return samples.run(
        cells,
        id=f"{started:%Y%m%dT%H%M%SZ}-{dice.randrange(16**6):06x}",
        started_at=started,
        finished_at=started + timedelta(seconds=dice.uniform(90, 200)),
    )


def _cell(variant: str, arch: str, number: int, started: datetime, dice: random.Random) -> Cell:
    name, slow = f"{variant}-{arch}", arch == "arm64"
    failing: dict[str, Any] = {
        "fail_at": "gate",
        "cause": Cause.ASSERTION,
        "message": "a gated route answered 200",
    }
    luck = dice.random()
    if (number // 7 + len(name)) % 13 == 0:
        attempts = [samples.attempt(name, slow, 0, 0.2, **failing)]
    elif luck < 0.02:
        attempts = [samples.attempt(name, slow, 0, 0.2, **failing), samples.attempt(name, slow, 0, 9.0, 2)]
    elif luck < 0.03:
        lost: dict[str, Any] = {
            "fail_at": "pull",
            "outcome": Outcome.ERROR,
            "cause": Cause.REGISTRY_UNREACHABLE,
        }
        attempts = [samples.attempt(name, slow, 0, 0.2, **lost)]
    else:
        attempts = [samples.attempt(name, slow, 0, 0.2)]
    attempts = [_varied(attempt, started, dice) for attempt in attempts]
    image = samples.image(variant, arch)
    image = image.model_copy(update={"digest": samples.digest(f"{name}-{number // 3}")})
    key = samples.digest(f"key-{name}-{number // 3}")
    return samples.cell(variant, arch, attempts, image=image, key=key, scenario_version="2")


def _varied(attempt: Attempt, started: datetime, dice: random.Random) -> Attempt:
    factor = dice.uniform(0.8, 1.4)
    phases = {name: seconds and round(seconds * factor, 3) for name, seconds in attempt.phases}
    cost = attempt.cost_usd and attempt.cost_usd * Decimal(dice.randrange(90, 110)) / 100
    told = {"phases": Phases(**phases), "cost_usd": cost, "started_at": started + timedelta(seconds=1)}
    return attempt.model_copy(
        update={
            **told,
            "duration_seconds": round(attempt.duration_seconds * factor, 3),
            "dormant_memory_bytes": dice.randrange(200_000_000, 300_000_000),
        }
    )


def measure(folder: Path, runs: int, rounds: int) -> None:
    """Everything that the history does."""
    reports, file = folder / "reports", folder / "history.sqlite"
    file.unlink(missing_ok=True)
    with History.open(file, reports=reports) as history:
        _say("import of all, s", [_timed(lambda: history.import_runs(run_folders(reports)))])
        _say(
            "import where nothing changed, s",
            [_timed(lambda: history.import_runs(run_folders(reports))) for _ in range(3)],
        )
        ids = [run.id for run in history.runs()]
    print(f"  {'the file, MB':<44} {file.stat().st_size / 1e6:.1f}")
    _queries(file, ids, rounds)
    _commands(file, reports, rounds)
    _where_all_fails(file, folder / "failing.sqlite", reports, rounds)
    _say("a run's end: opened, added, closed, ms", [_added(folder, number) for number in range(rounds)])
    _say("rebuild, s", [_timed(lambda: rebuild(file, run_folders(reports)))])
    _say("merge into nothing, s", [_merged(folder / f"merged-{number}.sqlite", file) for number in range(3)])
    merged = folder / "merged-0.sqlite"
    _say("merge of what is there, s", [_merged(merged, file) for _ in range(3)])


def _added(folder: Path, number: int) -> Taken:
    results = nightly(100_000 + number, random.Random(number))
    run = folder / "more" / results.run.id
    run.mkdir(parents=True, exist_ok=True)
    (run / "results.json").write_text(results.model_dump_json(indent=2), encoding="utf-8")

    def remember() -> None:
        with History.open(folder / "history.sqlite") as history:
            assert history.add(run)

    return _timed(remember)


def _queries(file: Path, ids: list[str], rounds: int) -> None:
    names = [f"{variant}-{arch}" for variant, arch in CELLS]
    with History.open(file) as history:
        newest = history.points("java-arm64")[-1]
        old = newest.started_at - timedelta(days=30)
        queries: dict[str, Callable[[], object]] = {
            "runs(limit=20)": lambda: history.runs(limit=20),
            "runs(), all of them": history.runs,
            "cells()": history.cells,
            "points(cell, limit=20)": lambda: history.points("java-arm64", limit=20),
            "points(since=30 days), every cell": lambda: history.points(since=old),
            "points(cell), all of them": lambda: history.points("java-arm64"),
            "last_points(six cells, 30)": lambda: history.last_points(names, 30),
            "last_points(six cells, 30, before)": lambda: history.last_points(names, 30, ids[len(ids) // 2]),
            "samples(cell, 50)": lambda: history.samples("java-arm64", 50),
            "failing_since(each of six cells)": lambda: [history.failing_since(name) for name in names],
            "passed(key)": lambda: history.passed(samples.digest("key-java-arm64-1"), FIRST),
            "passed(key that is not there)": lambda: history.passed("none", FIRST),
            "typical_seconds(six cells)": lambda: history.typical_seconds(names),
        }
        for name, query in queries.items():
            _say(f"{name}, ms", [_timed(query) for _ in range(rounds)])


def _commands(file: Path, reports: Path, rounds: int) -> None:
    for line in ("list", "cell java-arm64", "cell java-arm64 --limit 10000", "flaky"):
        arguments = [*line.split(), "--history", str(file), "--reports", str(reports)]
        _say(f"history {line}, ms", [_timed(partial(_typed, arguments)) for _ in range(rounds)])


def _where_all_fails(file: Path, failing: Path, reports: Path, rounds: int) -> None:
    """The worst case of "since when": six streaks that are as long as the history."""
    shutil.copy(file, failing)
    with closing(sqlite3.connect(failing)) as connection, connection:
        connection.execute("UPDATE cells SET outcome = 'failed', flaky = 0")
    names = [f"{variant}-{arch}" for variant, arch in CELLS]
    with History.open(failing) as history:
        _say("failing_since(a cell that always fails), ms",
             [_timed(lambda: history.failing_since(names[0])) for _ in range(rounds)])  # fmt: skip
    for line in ("cell java-arm64", "flaky"):
        arguments = [*line.split(), "--history", str(failing), "--reports", str(reports)]
        _say(f"history {line}, all fail, ms", [_timed(partial(_typed, arguments)) for _ in range(rounds)])
    failing.unlink()


def _typed(arguments: list[str]) -> None:
    """A command within this process: what starting Python costs is not the history's."""
    with contextlib.redirect_stdout(io.StringIO()):
        command.main(arguments, standalone_mode=False)


def _merged(target: Path, source: Path) -> Taken:
    def merge() -> None:
        with History.open(target) as history:
            history.merge(source)

    return _timed(merge)


def _timed(action: Callable[[], object]) -> Taken:
    start, used = time.perf_counter(), time.process_time()
    action()
    return Taken(time.perf_counter() - start, time.process_time() - used)


def _say(name: str, rounds: list[Taken]) -> None:
    scale = 1000 if name.endswith(" ms") else 1
    taken = [scale * one.seconds for one in rounds]
    used = median(scale * one.cpu_seconds for one in rounds)
    spread = f"({min(taken):.2f} to {max(taken):.2f})"
    print(f"  {name:<44} {median(taken):8.2f}  {spread:<20} CPU {used:.2f}", flush=True)


if __name__ == "__main__":
    os.environ.pop("E2E_MATRIX_HISTORY", None)
    main()
