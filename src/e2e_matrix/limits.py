"""What the cells of one run share: gates that let so many through, the budget, and what is found out once.

All are for threads of one process; a worker on another machine brings its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.text import format_money

_LOOK_SECONDS = 0.1


class Gate:
    """Lets ``width`` through at a time."""

    def __init__(self, width: int) -> None:
        self._free = threading.Semaphore(width)

    @contextmanager
    def passed(self, cancel: Cancellation) -> Iterator[float]:
        """Hold a place for a block; the seconds that it was waited for. Raises why the run was stopped."""
        begin = time.monotonic()
        while not self._free.acquire(timeout=_LOOK_SECONDS):
            cancel.check()
        try:
            yield time.monotonic() - begin
        finally:
            self._free.release()


class Budget:
    """What was spent, by cell, and what may be: exact US dollars, None for no limit.

    An attempt tells what it has cost so far, as often as it knows; only what the server counts is known.
    """

    def __init__(self, per_cell: Decimal | None = None, per_run: Decimal | None = None) -> None:
        self._per_cell = per_cell
        self._per_run = per_run
        self._lock = threading.Lock()
        self._spent: dict[tuple[str, str, int], Decimal] = {}  # by run, cell and attempt
        self._name = ""

    @property
    def is_limited(self) -> bool:
        return self._per_cell is not None or self._per_run is not None

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left for another cell."""
        with self._lock:
            return self._per_run is not None and self._by_run() >= self._per_run

    def beside(self, name: str) -> Budget:
        """That of another run, called ``name``, which spends out of the same purse."""
        other = Budget(self._per_cell, self._per_run)
        other._lock, other._spent, other._name = self._lock, self._spent, name
        return other

    def __str__(self) -> str:
        """What the run has spent, of what it may."""
        with self._lock:
            spent = format_money(self._by_run())
        return f"{spent} spent, of {format_money(self._per_run)} that the run may cost"

    def note(self, cell: str, attempt: int, cost: Decimal) -> None:
        """Count what an attempt has cost so far; a figure that went down again does not unspend anything."""
        with self._lock:
            known = self._spent.get((self._name, cell, attempt), Decimal(0))
            self._spent[self._name, cell, attempt] = max(known, cost)

    def check_before(self, cell: str) -> None:
        """Raise, before a cell spends anything, where nothing is left for it."""
        self._check(cell, lambda spent, limit: spent >= limit)

    def check(self, cell: str, *, ended: bool = False) -> None:
        """Raise CELL_BUDGET or RUN_BUDGET when more than that was spent.

        ``ended``: the cell will spend no more, so that stopping it would save nothing of the run's budget.
        """
        self._check(cell, lambda spent, limit: spent > limit, but=Cause.RUN_BUDGET if ended else None)

    def _by_run(self) -> Decimal:
        """For who holds the lock."""
        return sum(self._spent.values(), Decimal(0))

    def _check(
        self, cell: str, is_too_much: Callable[[Decimal, Decimal], bool], but: Cause | None = None
    ) -> None:
        with self._lock:
            mine = [cost for (run, name, _), cost in self._spent.items() if (run, name) == (self._name, cell)]
            by_cell = sum(mine, Decimal(0))
            by_run = self._by_run()
        for cause, spent, limit, whose in (
            (Cause.CELL_BUDGET, by_cell, self._per_cell, "one cell"),
            (Cause.RUN_BUDGET, by_run, self._per_run, "the run"),
        ):
            if limit is not None and cause is not but and is_too_much(spent, limit):
                message = f"{format_money(spent)} spent, of {format_money(limit)} that {whose} may cost"
                raise CellFailure(cause, message)


class Once:
    """Finds a text for each key once, for all cells; who comes meanwhile waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._finding: dict[str, threading.Lock] = {}
        self._found: dict[str, str] = {}

    def get(self, key: str, find: Callable[[], str], cancel: Cancellation) -> str:
        """What ``find`` gave for the key; where it raised, the next one tries. Raises where the run stops."""
        with self._lock:
            finding = self._finding.setdefault(key, threading.Lock())
        while not finding.acquire(timeout=_LOOK_SECONDS):
            cancel.check()
        try:
            if key not in self._found:
                self._found[key] = find()
            return self._found[key]
        finally:
            finding.release()


class Limits:
    """The gates and the budget of one run, and what its cells find out for one another."""

    def __init__(self, pulls: int = 1, starts: int = 1, budget: Budget | None = None) -> None:
        self.pulls = Gate(pulls)
        self.starts = Gate(starts)
        self.budget = budget or Budget()
        self.sdk_versions = Once()

    def beside(self, run: str) -> Limits:
        """The same, for one of several runs that share them: each has cells of the same names."""
        other = Limits(budget=self.budget.beside(run))
        other.pulls, other.starts, other.sdk_versions = self.pulls, self.starts, self.sdk_versions
        return other
