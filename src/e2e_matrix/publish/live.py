"""`run --publish`: a watcher that tells GitHub how the run goes, and at its end how it went.

Nothing waits for GitHub while the run goes on: a thread of its own posts a picture now and then, and one that
could not be posted is passed over for the next. The end is posted whatever happens, and waited for. What was
left by a process that was killed is put right by the next run that is told in the same place.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e_matrix.errors import E2EMatrixError, PublishError
from e2e_matrix.failures import BROKEN, Outcome
from e2e_matrix.progress import Beside, Ending, Silent
from e2e_matrix.publish.client import Client, Patience
from e2e_matrix.publish.news import News, Picture, broke_off, finished, running, trouble_of
from e2e_matrix.publish.place import Place
from e2e_matrix.question import assessed_in
from e2e_matrix.results import Cell, Results

INTERVAL = 20.0  # seconds between two pictures
HASTY = Patience(tries=1, exchange=10, total=15)  # the next picture comes soon
LAST = Patience(tries=5, exchange=15, total=90)
_UNHEEDED = 30.0  # seconds beyond LAST in which one exchange may still hang

Open = Callable[[Patience], Client]


class Board:
    """What is known of the run, and when it may be shown again. Thread-safe only under its owner's lock."""

    def __init__(self, subject: str, clock: Callable[[], float]) -> None:
        self._subject = subject
        self._clock = clock
        self._run_id = ""
        self._cells = 0
        self._running: set[str] = set()
        self._ended: dict[str, Cell] = {}
        self._changed = False
        self._not_before = 0.0

    @property
    def run_id(self) -> str:
        return self._run_id

    def begin(self, run_id: str, cells: int) -> None:
        self._run_id, self._cells, self._changed = run_id, cells, True
        self._not_before = self._clock()

    def start(self, cell: str) -> None:
        self._running.add(cell)
        self._changed = True

    def end(self, cell: Cell) -> None:
        self._running.discard(cell.id)
        self._ended[cell.id] = cell
        self._changed = True

    def due(self) -> float | None:
        """Seconds until there may be another picture; None while there is nothing new to see."""
        return max(0.0, self._not_before - self._clock()) if self._changed and self._run_id else None

    def take(self) -> Picture:
        """The picture of now. The next one is due INTERVAL seconds later, if anything has changed by then."""
        self._changed = False
        self.leave_alone(INTERVAL)
        counts = Counter(cell.outcome for cell in self._ended.values())
        troubles = tuple(trouble_of(cell) for cell in self._ended.values() if cell.outcome in BROKEN)
        return Picture(self._run_id, self._subject, self._cells, counts, len(self._running), troubles)

    def leave_alone(self, seconds: float) -> None:
        self._not_before = max(self._not_before, self._clock() + seconds)


class Live(Silent):
    """Brings ``places`` up to date, from `with` until its end; what ended it is told, too.

    ``note`` hears of a picture that could not be posted, once for each reason; ``failed`` of an end that
    could not be, and ``told`` of one that was. ``redact`` is applied to what an exception says.
    """

    def __init__(
        self,
        places: Sequence[Place],
        open_client: Open,
        subject: str,
        *,
        note: Callable[[str], None],
        told: Callable[[str], None],
        failed: Callable[[str], None],
        redact: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = places
        self._open = open_client
        self._subject = subject
        self._note, self._told, self._failed, self._redact = note, told, failed, redact
        self.board = Board(subject, clock)
        self._ending = Ending()
        self._news: News | None = None  # the last: after it the thread ends
        self._wake = threading.Condition()
        self._noted: set[str] = set()
        self._outcomes: list[tuple[bool, str]] = []
        self._thread = threading.Thread(target=self._work, name="publish", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            self._ending.break_off(error)
        self._end(error)
        try:
            self._thread.join(LAST.total * len(self._places) + _UNHEEDED)
        except KeyboardInterrupt:
            self._failed("interrupted before the end of the run was posted")
            return
        if self._thread.is_alive():
            self._failed("GitHub did not answer in time: the end of the run may not be posted")
        for good, words in self._outcomes:
            (self._told if good else self._failed)(words)

    def run_started(self, run_id: str, cells: Sequence[str], workers: int, llm: str) -> None:
        with self._wake:
            # What a baseline that takes turns comes to is in its own run, and no trouble of this one.
            self.board.begin(run_id, sum(not Beside.is_named(cell) for cell in cells))
            self._wake.notify()

    def cell_started(self, cell: str, attempt: int, repetition: int = 1) -> None:
        if Beside.is_named(cell):
            return
        with self._wake:
            self.board.start(cell)
            self._wake.notify()

    def cell_finished(self, cell: Cell) -> None:
        if Beside.is_named(cell.id):
            return
        with self._wake:
            self.board.end(cell)
            self._wake.notify()

    def run_finished(self, results: Results, folder: str) -> None:
        self._ending.run_finished(results, folder)

    def _end(self, error: BaseException | None) -> None:
        """Have the end posted: the results, unless ``error`` came before there were any."""
        try:
            news = self._results_of() or self._why(error)
        except Exception as fault:  # noqa: BLE001 - a fault of ours must not change how the run ends
            news = self._why(fault)
        with self._wake:
            self._news = news
            self._wake.notify()

    def _results_of(self) -> News | None:
        results = self._ending.results
        if results is None:
            return None
        reason = self._redact(results.run.reason)  # which may say what an exception said
        told = results.model_copy(update={"run": results.run.model_copy(update={"reason": reason})})
        return finished(told, assessed_in(Path(self._ending.folder), told))

    def _why(self, error: BaseException | None) -> News:
        words = f"unexpected {type(error).__name__}"  # it may say anything: the job's log has it
        if isinstance(error, E2EMatrixError):
            words = self._redact(str(error))
        elif isinstance(error, KeyboardInterrupt):
            words = "It was stopped on request."
        outcome = Outcome.CANCELLED if isinstance(error, KeyboardInterrupt) else Outcome.ERROR
        return broke_off(self.board.run_id, self._subject, words, outcome)

    def _work(self) -> None:
        while (picture := self._next()) is not None:
            for place in self._places:
                if place.shows_progress and self._news is None:
                    self._show(place, running(picture))
        assert self._news is not None
        for place in self._places:
            self._outcomes.append(self._post(place, self._news))

    def _next(self) -> Picture | None:
        """Waits until a picture is due; None once the run has ended."""
        with self._wake:
            while self._news is None:
                due = self.board.due()
                if due == 0:
                    return self.board.take()
                self._wake.wait(due)
        return None

    def _show(self, place: Place, news: News) -> None:
        try:
            with self._open(HASTY) as client:
                place.tell(client, news)
        except PublishError as error:
            with self._wake:
                self.board.leave_alone(error.retry_after or 0)
            self._note_once(f"{place.name}: {error}")
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end what it watches
            self._note_once(f"{place.name}: unexpected {type(error).__name__}")

    def _post(self, place: Place, news: News) -> tuple[bool, str]:
        try:
            with self._open(LAST) as client:
                return True, f"{place.name} {place.tell(client, news)}"
        except PublishError as error:
            return False, f"{place.name} was not posted: {error}"
        except Exception as error:  # noqa: BLE001 - nor change its verdict
            return False, f"{place.name} was not posted: unexpected {type(error).__name__}"

    def _note_once(self, words: str) -> None:
        if words not in self._noted:
            self._noted.add(words)
            self._note(words)
