"""The stand-in LLM: a local endpoint that makes a run free, fast and repeatable.

It listens where containers reach it, so it answers only calls that carry a key it issued: one per cell,
random per run. Every call is logged, which is what the server's own cost and token figures are checked
against. What is wrong with a request is answered in OpenAI's error shape.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from e2e_matrix.llm import wire
from e2e_matrix.llm.local_http import LocalServer, Reply, Request
from e2e_matrix.llm.replies import Replies
from e2e_matrix.llm.usage import Usage
from e2e_matrix.results import LlmCall

MODEL = "openai/gpt-4o"
MAX_BODY_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class _Route:
    turns_field: str
    whole: Callable[[wire.Exchange], wire.Json]
    events: Callable[[wire.Exchange], Iterator[wire.Event]]
    end: bytes


_ROUTES: Mapping[str, _Route] = {
    "/v1/chat/completions": _Route("messages", wire.chat_completion, wire.chat_events, b"data: [DONE]\n\n"),
    "/v1/responses": _Route("input", wire.response, wire.response_events, b""),
}


class StandIn:
    """A running stand-in: ``with StandIn(host) as llm``.

    ``port`` 0 lets the system choose. Raises InfrastructureError when it cannot listen there. ``replies``
    is what it says.
    """

    model = MODEL

    def __init__(self, host: str, port: int = 0, replies: Replies = wire.BUILT_IN) -> None:
        self.host = host
        self._replies = replies
        self._lock = threading.Lock()
        self._cells: dict[str, str] = {}  # by key
        self._slips: dict[str, dict[str, None]] = {}  # by key, in their order
        self._server = LocalServer(
            host, "the stand-in LLM", self._answer, port=port, largest=MAX_BODY_BYTES, prefix="sk-standin-"
        )
        self.port = self._server.port

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def base_url(self, host: str | None = None) -> str:
        """What a client is given as LLM_BASE_URL; ``host`` is how it reaches this machine."""
        return self._server.base_url("/v1", host)

    def issue_key(self, cell: str, journal: Path | None = None) -> str:
        """A new random API key whose calls are logged under ``cell``; earlier keys of the cell stay good.

        Every call of the key is appended to ``journal`` as a line of JSON when it was answered, so that what
        was served is known even if this process is killed.
        """
        key = self._server.log.issue_key(journal)
        with self._lock:
            self._cells[key] = cell
        return key

    def calls(self, key_or_cell: str) -> list[LlmCall]:
        """Every call of one key, or of all keys of a cell, in the order in which they came.

        A call that is being answered is waited for, for at most a second. Tokens are counted where the status
        is 200; 499 is a caller that hung up before it had the whole answer.
        """
        with self._lock:
            keys = [key for key, cell in self._cells.items() if key_or_cell in (key, cell)]
        found = [call for key in keys for call in self._server.log.calls(key)]
        return sorted(found, key=lambda call: call.received_at)

    def slips(self, key: str) -> list[str]:
        """What ``replies`` said that a request of the key had no room for: the rules, by their places."""
        with self._lock:
            return list(self._slips.get(key, ()))

    @property
    def refused(self) -> int:
        """How many calls came without a key that was issued here."""
        return self._server.log.refused

    def is_alive(self) -> bool:
        """Whether it still accepts calls."""
        return self._server.is_alive()

    def stop(self) -> None:
        """Stop listening and hang up; returns when the port is free. Idempotent. The log stays readable."""
        self._server.stop()

    def _answer(self, request: Request, reply: Reply) -> Usage:
        path = request.target.partition("?")[0]
        if path == "/v1/models" and request.method in ("GET", "HEAD"):
            reply.whole(200, json.dumps(wire.models()).encode())
            return Usage()
        route = _ROUTES.get(path)
        if route is None:
            reply.error(404, f"Invalid URL ({request.method} {path[:200]})", "unknown_url")
            return Usage()
        if request.method != "POST":
            reply.error(405, f"Not allowed: {request.method} {path}", "method_not_allowed")
            return Usage()
        try:
            exchange = wire.understand(request.body, route.turns_field, self._replies)
        except wire.BadRequest as problem:
            if isinstance(problem, wire.NotOffered):
                with self._lock:
                    self._slips.setdefault(request.key, {})[problem.slip] = None
            reply.error(400, str(problem), None, problem.param)
            return Usage()
        if exchange.streamed:
            _send_events(reply, route.events(exchange), route.end)
        else:
            reply.whole(200, json.dumps(route.whole(exchange)).encode())
        return Usage(exchange.prompt_tokens, exchange.completion_tokens)


def _send_events(reply: Reply, events: Iterator[wire.Event], end: bytes) -> None:
    reply.start(200, [("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache")])
    for name, data in events:
        event = f"event: {name}\n" if name else ""
        reply.send(f"{event}data: {json.dumps(data)}\n\n".encode())
    reply.send(end)
    reply.finish()
