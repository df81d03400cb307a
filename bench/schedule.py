"""How long a run takes by the order in which its cells start.

    .venv/bin/python bench/schedule.py [--matrices 500]

The program's own Schedule runs attempts that last as long as a clock of the bench says: it goes on when every
worker waits, so that a matrix of minutes takes milliseconds, and comes out the same on every machine. The
first table is the demo's six cells; the second, random matrices: two to eight variants on two platforms, of
which one is emulated and takes five to seven times as long; each time differs from the history by a tenth.
What no order can be faster than: all of the work spread evenly, or the longest cell alone.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import PlatformProbe, Support
from e2e_matrix.failures import Outcome
from e2e_matrix.order import longest_first
from e2e_matrix.plan import PlannedCell
from e2e_matrix.record import Prepared
from e2e_matrix.results import Attempt
from e2e_matrix.schedule import Repetition, Rules, Schedule

# Seconds on the machine of README.md: boot, conversation and removal of the demo's images.
DEMO = {
    "python-amd64": 9.8,
    "python-arm64": 60.4,
    "java-amd64": 10.2,
    "java-arm64": 61.6,
    "golang-amd64": 10.4,
    "golang-arm64": 61.1,
}
WORKERS = (2, 3)
UNKNOWN = 1 / 3  # of the cells, where the history does not know all
NEVER = float("inf")


class Clock:
    """Seconds that pass when as many attempts wait as can run at a time."""

    def __init__(self, workers: int, attempts: int) -> None:
        self.now = 0.0
        self._workers, self._left = workers, attempts
        self._changed = threading.Condition()
        self._ends: list[float] = []

    def pass_by(self, seconds: float) -> None:
        """Return when so many seconds have passed."""
        with self._changed:
            end = self.now + seconds
            heapq.heappush(self._ends, end)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ends[0] == end and self._all_wait)
            self.now = heapq.heappop(self._ends)
            self._left -= 1
            self._changed.notify_all()

    @property
    def _all_wait(self) -> bool:
        return len(self._ends) == min(self._workers, self._left)


class NothingRuns:
    """There is nothing to stop here."""

    def stop_all(self) -> None: ...

    def remove_all(self) -> None: ...


def seconds_of(cells: Sequence[Prepared], seconds: Mapping[str, float], workers: int) -> float:
    """How long the program's schedule takes for cells in this order, each of so many seconds."""
    clock = Clock(workers, len(cells))

    def attempt(repetition: Repetition, worker: int) -> Attempt:
        cell = repetition.cell.planned.id
        clock.pass_by(seconds[cell])
        return Attempt(
            number=1,
            outcome=Outcome.PASSED,
            started_at=datetime.now(UTC),
            duration_seconds=seconds[cell],
            worker=worker,
            run_offset_seconds=0.0,
            folder=cell,
        )

    rules = Rules(workers, fail_fast=False, retry=lambda cause: None, budget_is_spent=lambda: False)
    repetitions = [Repetition(cell, 1) for cell in cells]
    schedule = Schedule(rules, Cancellation())
    schedule.run(repetitions, attempt, lambda *ended: None, NothingRuns(), lambda: None)
    return clock.now


def bound(seconds: Mapping[str, float], workers: int) -> float:
    return max(sum(seconds.values()) / workers, max(seconds.values()))


def prepared(names: Sequence[str]) -> list[Prepared]:
    cells = []
    for name in names:
        support = Support.EMULATED if name.endswith("arm64") else Support.NATIVE
        planned = PlannedCell(name, {}, "", None, "", "deferred-init", {})
        cells.append(Prepared(planned, None, PlatformProbe("", support, ""), None))
    return cells


@dataclass(frozen=True)
class Matrix:
    """A matrix in the order of its file: what its cells took before, and what they take this time."""

    cells: list[Prepared]
    before: dict[str, float]
    now: dict[str, float]
    known: dict[str, float]  # of `before`, what a history knows that has not seen all cells

    def ratios(self, workers: int) -> dict[str, float]:
        """The seconds of each order over those of the bound."""
        strangers_first = {name: self.known.get(name, NEVER) for name in self.before}
        strangers_last = {name: self.known.get(name, 0.0) for name in self.before}
        orders = {
            "file order": {},
            "longest first": self.before,
            "a third unknown: as those like them": self.known,
            "a third unknown: first": strangers_first,
            "a third unknown: last": strangers_last,
        }
        least = bound(self.now, workers)
        return {
            name: seconds_of(longest_first(self.cells, told), self.now, workers) / least
            for name, told in orders.items()
        }


def random_matrix(chance: random.Random) -> Matrix:
    names, before = [], {}
    for number in range(chance.randint(2, 8)):
        native = chance.uniform(8, 20)
        for arch, factor in (("amd64", 1.0), ("arm64", chance.uniform(5, 7))):
            names.append(f"v{number}-{arch}")
            before[names[-1]] = native * factor
    now = {name: seconds * max(chance.gauss(1, 0.1), 0.5) for name, seconds in before.items()}
    known = {name: seconds for name, seconds in before.items() if chance.random() > UNKNOWN}
    return Matrix(prepared(names), before, now, known)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--matrices", type=int, default=500)
    wanted = parser.parse_args()
    print("the demo's six cells, seconds:")
    demo = prepared(list(DEMO))
    for workers in WORKERS:
        file = seconds_of(demo, DEMO, workers)
        longest = seconds_of(longest_first(demo, DEMO), DEMO, workers)
        saved = 1 - longest / file
        print(
            f"  {workers} workers: file order {file:.1f}, longest first {longest:.1f} ({saved:.0%} less), "
            f"no order below {bound(DEMO, workers):.1f}"
        )
    chance = random.Random(1)
    matrices = [random_matrix(chance) for _ in range(wanted.matrices)]
    for workers in WORKERS:
        print(
            f"{len(matrices)} random matrices, {workers} workers, over the bound: median (90% below, worst)"
        )
        ratios = [matrix.ratios(workers) for matrix in matrices]
        for name in ratios[0]:
            found = sorted(one[name] for one in ratios)
            high = found[int(len(found) * 0.9)]
            print(f"  {name:<36} {statistics.median(found):.3f}  ({high:.3f}, {found[-1]:.3f})")


if __name__ == "__main__":
    main()
