"""Which cell runs when: workers, repetitions, attempts and the pauses between them, and when to stop.

One thread decides, the workers only run attempts. What an attempt does is in cell.py, what its outcome means
in failures.py.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Protocol

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.failures import BROKEN, POLICIES, Cause, Outcome, Retry, pause_before
from e2e_matrix.record import Prepared
from e2e_matrix.results import Attempt

LOOK_SECONDS = 0.1

# What a run that was stopped says of the cells that had not started, where it is not the same.
_NOT_STARTED = {Cause.RUN_TIMEOUT: Cause.TIME_WAS_OVER}


def why_not_started(cancel: Cancellation) -> Cause:
    """What a run that was cancelled says of a cell that had not started."""
    cause = cancel.failure().cause
    return _NOT_STARTED.get(cause, cause)


@dataclass
class Repetition:
    """One of the times that a cell is run: an attempt, and more where failures.py says so."""

    cell: Prepared
    number: int
    tried: Counter[bool] = field(default_factory=Counter)  # attempts, by: did the product fail?
    ready_at: float = 0.0  # on the monotonic clock
    holds: bool = False  # what it met, the others would meet too: until it is tried again, none starts
    attempts: list[int] = field(default_factory=list)  # their numbers, which a cell counts over repetitions
    side: int = 0  # which of the runs that are interleaved it belongs to


def interleaved(sides: Sequence[Sequence[Repetition]]) -> list[Repetition]:
    """The repetitions of several runs, taking turns: those of the same cell and number one after the other.

    Who is first alternates, for the one that starts while the other boots is the slower one.
    """
    together: dict[tuple[str, int], list[Repetition]] = {}
    for repetition in itertools.chain.from_iterable(sides):
        together.setdefault((repetition.cell.planned.id, repetition.number), []).append(repetition)
    turns = [alike[::-1] if turn % 2 else alike for turn, alike in enumerate(together.values())]
    return list(itertools.chain.from_iterable(turns))


class Stopper(Protocol):
    """Ends what the attempts under way have running, so that their calls return."""

    def stop_all(self) -> None:
        """Stop, and leave the removal to the attempts; called again and again once the run was cancelled."""
        ...

    def remove_all(self) -> None: ...


@dataclass(frozen=True)
class Rules:
    """How a schedule decides. ``retry`` tells how a cause is tried again, ``budget_is_spent`` when it is."""

    workers: int
    fail_fast: bool
    retry: Callable[[Cause], Retry | None]
    budget_is_spent: Callable[[], bool]


class Schedule:
    """Runs repetitions on workers until all are decided or something ends the run."""

    def __init__(self, rules: Rules, cancel: Cancellation) -> None:
        self._rules = rules
        self._cancel = cancel
        self._aborted: Cause | None = None

    def run(
        self,
        repetitions: Sequence[Repetition],
        attempt: Callable[[Repetition, int], Attempt],
        ended: Callable[[Repetition, Attempt, float | None], None],
        stopper: Stopper,
        meanwhile: Callable[[], None],
    ) -> Cause | None:
        """Run them; why some were not started, or not tried again, None where all came to their end.

        ``attempt(repetition, worker)`` runs one, on a worker's thread; it never raises for what a cell meets.
        ``ended`` is told each attempt, and in how many seconds there will be another. ``meanwhile`` runs once
        beside the first attempts.
        """
        waiting = list(repetitions)
        running: dict[Future[Attempt], Repetition] = {}
        idle = list(reversed(range(self._rules.workers)))
        with ThreadPoolExecutor(self._rules.workers + 1, "cell") as pool:
            try:
                pool.submit(meanwhile)
                while running or (waiting and not self._stopped):
                    self._cancel.check_urgent()
                    while idle and not self._stopped and (ready := self._next(waiting)):
                        running[pool.submit(attempt, ready, idle.pop())] = ready
                    if self._cancel.is_set:
                        stopper.stop_all()
                    if running:
                        done, _ = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
                    else:
                        done = set()
                        self._cancel.event.wait(LOOK_SECONDS)
                    for future in done:
                        repetition, result = running.pop(future), future.result()
                        idle.append(result.worker)
                        pause = self._judge(repetition, result)
                        ended(repetition, result, pause)
                        if pause is not None:
                            repetition.ready_at = time.monotonic() + pause
                            waiting.insert(0, repetition)
            except BaseException as error:
                # A second Ctrl-C, or a disk that refuses the results: leave nothing running, by label.
                stopped = isinstance(error, KeyboardInterrupt)
                self._cancel.cancel(Cause.INTERRUPTED if stopped else Cause.RUN_ABORTED)
                stopper.remove_all()
                raise
        return why_not_started(self._cancel) if self._cancel.is_set else self._aborted

    @property
    def _stopped(self) -> bool:
        return self._cancel.is_set or self._aborted is not None

    def _next(self, waiting: list[Repetition]) -> Repetition | None:
        """Take the first that need not wait any longer; None where none is ready, or nothing may be spent."""
        now = time.monotonic()
        if any(one.holds and one.ready_at > now for one in waiting):
            return None
        ready = next((one for one in waiting if one.ready_at <= now), None)
        if ready is None:
            return None
        if self._rules.budget_is_spent():
            self._aborted = Cause.BUDGET_WAS_SPENT
            return None
        waiting.remove(ready)
        return ready

    def _judge(self, repetition: Repetition, attempt: Attempt) -> float | None:
        """In how many seconds to try again; None where this was the last attempt."""
        cause = attempt.cause
        if cause is None:
            return None
        repetition.holds = POLICIES[cause].aborts_run
        # Each kind of failure has tries of its own: a hiccup of the network takes none of the product's.
        of_product = attempt.outcome is Outcome.FAILED
        repetition.tried[of_product] += 1
        tried = repetition.tried[of_product]
        pause = pause_before(self._rules.retry(cause), tried, attempt.retry_after_seconds)
        if pause is not None and not self._stopped:
            return pause
        if POLICIES[cause].aborts_run:
            self._aborted = self._aborted or Cause.RUN_ABORTED
        if self._rules.fail_fast and attempt.outcome in BROKEN:
            self._cancel.cancel(Cause.FAIL_FAST)
        return None


def cancel_after(seconds: float | None, cancel: Cancellation) -> threading.Timer:
    """A timer, started, that stops the run at its time limit; None is no limit. Cancel it at the end."""
    timer = threading.Timer(seconds or 0, cancel.cancel, (Cause.RUN_TIMEOUT,))
    timer.daemon = True
    if seconds is not None:
        timer.start()
    return timer
