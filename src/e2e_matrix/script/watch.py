"""What becomes of the conversations of a script, learned from the server beside it.

The script's own requests say which conversations there are, and with which key they can be asked for. Each is
then watched as any client may: over its events WebSocket, which tells the end at once, or by asking where
that is broken (1.29.0, upstream 3857). Nothing that is asked here is counted as the script's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from e2e_matrix.agent_server import STREAM_ERRORS, TERMINAL_STATUSES, AgentServer
from e2e_matrix.prices import Price
from e2e_matrix.script.broker import Call
from e2e_matrix.usage import Bill, read_bill

_REQUEST_LIMIT = 10.0  # seconds, natively
_LAST_LOOK = 3.0
_POLL_SECONDS = 0.5
_RECEIVE_SECONDS = 0.2
# Each takes a connection and two threads: a script that makes more of them has its first ones watched.
MOST_WATCHED = 100
# What a title and the like add; a server that makes up costs without end has its last ones remembered.
_MOST_COUNTS = 20


@dataclass
class Watched:
    """One conversation. Moments are on the monotonic clock."""

    conversation: str
    base_url: str
    seen_at: float  # when the script began to ask for it
    price: Price | None = None
    status: str | None = None
    ended_at: float | None = None  # when its last terminal state was known
    error: str | None = None  # "code: detail"; hostile
    stats: Any = None
    refusals: int = 0  # of the model's provider, after which the server asked again
    counts: list[Decimal] = field(default_factory=list)  # what the server counted since its end, each once

    def learn(self, status: str | None, stats: Any, error: str | None = None) -> None:
        """Take over what the server told; a conversation that runs again has not ended."""
        self.stats = stats if stats is not None else self.stats
        self.error = error or self.error
        if status is not None:
            if status not in TERMINAL_STATUSES:
                self.ended_at = None
                self.counts.clear()
            elif self.ended_at is None:
                self.ended_at = time.monotonic()
            self.status = status
        # A server goes on counting: its request for a title may be answered after the conversation's end.
        counted = self.bill.counted_by_server if self.ended_at is not None else None
        if counted is not None and counted not in self.counts:
            self.counts = [*self.counts, counted][-_MOST_COUNTS:]

    @property
    def bill(self) -> Bill:
        metrics = self.stats.get("usage_to_metrics") if isinstance(self.stats, dict) else None
        return read_bill(metrics, self.price)


class Watch:
    """Watches every conversation that ``see`` hears of. Thread-safe."""

    def __init__(self, slowness: float, price: Price | None = None) -> None:
        """``price``: the matrix's own for the model, in the place of what the server counts."""
        self._slowness = slowness
        self._price = price
        self._lock = threading.Lock()
        self._watchers: dict[tuple[str, str], _Watcher] = {}

    def see(self, call: Call) -> None:
        """Hear of a request of the script's; begin to watch the conversation that it is about.

        Of a request that worked: then there is such a conversation, and its key is the right one.
        """
        if call.conversation is None or call.status is None or call.status >= 400:
            return
        name = call.base_url, call.conversation
        with self._lock:
            if name not in self._watchers and len(self._watchers) < MOST_WATCHED:
                watched = Watched(call.conversation, call.base_url, call.started, self._price)
                self._watchers[name] = _Watcher(watched, call.session_key, self._slowness)

    def last_look(self, base_url: str) -> None:
        """Ask once more before that server is stopped, and let go of it."""
        watchers = [watcher for watcher in self._all() if watcher.watched.base_url == base_url]
        for watcher in watchers:
            watcher.begin_to_end()
        for watcher in watchers:
            watcher.last_look()

    def close(self) -> None:
        watchers = self._all()
        for watcher in watchers:
            watcher.begin_to_end()
        for watcher in watchers:
            watcher.close()

    @property
    def conversations(self) -> list[Watched]:
        """In the order in which the script asked for them."""
        return sorted((watcher.watched for watcher in self._all()), key=lambda watched: watched.seen_at)

    @property
    def cost(self) -> Decimal | None:
        """Of all conversations together, by the servers' count or the price; None where none is known."""
        costs = [cost for watched in self.conversations if (cost := watched.bill.known_cost) is not None]
        return sum(costs, Decimal(0)) if costs else None

    @property
    def error(self) -> str | None:
        """The last conversation's, of those that did not finish."""
        errors = [one.error for one in self.conversations if one.error and one.status != "finished"]
        return errors[-1] if errors else None

    @property
    def refusals(self) -> int:
        return sum(one.refusals for one in self.conversations)

    def _all(self) -> list[_Watcher]:
        with self._lock:
            return list(self._watchers.values())


class _Watcher:
    """One conversation, on a thread of its own."""

    def __init__(self, watched: Watched, session_key: str | None, slowness: float) -> None:
        self.watched = watched
        self._server = AgentServer(watched.base_url, _REQUEST_LIMIT * slowness)
        self._server.session_key = session_key
        self._patience = _REQUEST_LIMIT * slowness
        self._enough = threading.Event()
        self._is_over = False  # it was looked at for the last time
        self._thread = threading.Thread(target=self._watch, name="conversation", daemon=True)
        self._thread.start()

    def begin_to_end(self) -> None:
        """Returns at once, so that all may end together."""
        self._enough.set()

    def last_look(self) -> None:
        if self._is_over:
            return
        self._end()
        self._ask(_LAST_LOOK)
        self._server.close()

    def close(self) -> None:
        self._end()
        self._server.close()

    def _end(self) -> None:
        self._is_over = True
        self.begin_to_end()
        self._thread.join(self._patience)

    def _watch(self) -> None:
        """Until there is enough: events while the socket holds, questions where it does not."""
        for _ in self._sockets():
            if not self._ask(self._patience):
                return

    def _sockets(self) -> Iterator[None]:
        """Listen to the events, again and again; yields whenever a socket broke or was refused."""
        while not self._enough.is_set():
            with suppress(*STREAM_ERRORS), closing(self._open()) as stream:
                while not self._enough.is_set():
                    if event := stream.receive(_RECEIVE_SECONDS):
                        self.watched.learn(event.status, event.stats, event.error)
                        self.watched.refusals += event.refused
            yield
            self._enough.wait(_POLL_SECONDS)

    def _open(self) -> Any:
        return self._server.events(self.watched.conversation, self._patience)

    def _ask(self, timeout: float) -> bool:
        """Ask for the conversation over REST; False where it will not be told any more."""
        try:
            reply = self._server.conversation(self.watched.conversation, timeout)
        except (httpx.HTTPError, OSError):
            return True
        if reply.status == 200:
            status = reply.field("execution_status")
            self.watched.learn(status if isinstance(status, str) else None, reply.field("stats"))
        return reply.status not in (401, 403, 404)
