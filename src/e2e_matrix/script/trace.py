"""The requests of a script to its servers, as they come, and what they say about where its time went."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable

from e2e_matrix.results import ApiCall
from e2e_matrix.script.broker import Call
from e2e_matrix.text import one_line

_KEPT = 100  # of the first, and of the last
_CONVERSATION = re.compile(r"/api/conversations/[0-9a-fA-F-]{32,36}/?")


class Trace:
    """Takes calls from any thread (``add``); moments are on the monotonic clock."""

    def __init__(self, started: float, redact: Callable[[str], str]) -> None:
        """``started``: the attempt's start, which everything is counted from."""
        self._started = started
        self._redact = redact
        self._lock = threading.Lock()
        self._first: list[Call] = []
        self._last: deque[Call] = deque(maxlen=_KEPT)
        self._questions: deque[float] = deque(maxlen=100_000)  # when a conversation's state was asked for
        self._total = 0
        self.init_seconds: float | None = None  # the POST /api/init that worked
        self.conversation_at: float | None = None  # when the first conversation was asked for

    def add(self, call: Call) -> None:
        with self._lock:
            self._total += 1
            if len(self._first) < _KEPT:
                self._first.append(call)
            else:
                self._last.append(call)
            path = call.path.partition("?")[0]
            if call.method == "GET" and _CONVERSATION.fullmatch(path):
                self._questions.append(call.started)
            elif call.method == "POST" and path == "/api/init" and call.status == 200:
                self.init_seconds = call.ended - call.started
            elif call.method == "POST" and path.rstrip("/") == "/api/conversations":
                self.conversation_at = self.conversation_at or call.started

    @property
    def total(self) -> int:
        return self._total

    @property
    def first_request_seconds(self) -> float | None:
        with self._lock:
            return self._since(self._first[0].started) if self._first else None

    def questions_after(self, moment: float) -> int:
        """How often a conversation's state was asked for after ``moment``."""
        with self._lock:
            return sum(asked > moment for asked in self._questions)

    def calls(self) -> list[ApiCall]:
        """The first and the last, in the order of their beginnings; a path may have had a secret in it."""
        with self._lock:
            kept = sorted([*self._first, *self._last], key=lambda call: call.started)
        return [
            ApiCall(
                method=one_line(self._redact(call.method), 20),
                path=one_line(self._redact(call.path), 200),
                status=call.status,
                start_seconds=self._since(call.started),
                duration_seconds=round(max(0.0, call.ended - call.started), 4),
            )
            for call in kept
        ]

    def _since(self, moment: float) -> float:
        return round(max(0.0, moment - self._started), 4)
