"""The stand-in LLM: a local endpoint that makes a run free, fast and repeatable.

It listens where containers reach it, so it answers only calls that carry a key it issued: one per cell,
random per run. Every call is logged, which is what the server's own cost and token figures are checked
against. What is wrong with a request is answered in OpenAI's error shape.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.llm import wire
from e2e_matrix.llm.replies import Replies
from e2e_matrix.results import LlmCall

_LOGGER = logging.getLogger(__name__)

MODEL = "openai/gpt-4o"
MAX_BODY_BYTES = 8 * 1024 * 1024
# A client that sends too much hears of it only if the rest is read; beyond this it has to do without.
_MAX_DRAINED_BYTES = 8 * MAX_BODY_BYTES
_IDLE_SECONDS = 75.0
_MAX_CONNECTIONS = 256
_STATUS_CLIENT_GONE = 499  # nginx's: the caller hung up before the answer was out


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
        self._log = _CallLog()
        try:
            self._server = _Server(host, port, self._log, replies)
        except OSError as error:
            raise InfrastructureError(
                f"the stand-in LLM cannot listen on {host}:{port}: {error.strerror or error}",
                "Is this address one of this machine's? `e2e-matrix doctor` shows what containers can reach; "
                "or set LLM_MODEL, LLM_API_KEY and LLM_BASE_URL to use a real model.",
            ) from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="stand-in", daemon=True
        )
        self._thread.start()

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
        name = host or self.host
        return f"http://{f'[{name}]' if ':' in name else name}:{self.port}/v1"

    def issue_key(self, cell: str, journal: Path | None = None) -> str:
        """A new random API key whose calls are logged under ``cell``; earlier keys of the cell stay good.

        Every call of the key is appended to ``journal`` as a line of JSON when it was answered, so that what
        was served is known even if this process is killed.
        """
        return self._log.issue_key(cell, journal)

    def calls(self, key_or_cell: str) -> list[LlmCall]:
        """Every call of one key, or of all keys of a cell, in the order in which they came.

        A call that is being answered is waited for, for at most a second. Tokens are counted where the status
        is 200; 499 is a caller that hung up before it had the whole answer.
        """
        return self._log.calls(key_or_cell)

    def slips(self, key: str) -> list[str]:
        """What ``replies`` said that a request of the key had no room for: the rules, by their places."""
        return self._log.slips(key)

    @property
    def refused(self) -> int:
        """How many calls came without a key that was issued here."""
        return self._log.refused

    def is_alive(self) -> bool:
        """Whether it still accepts calls."""
        return self._thread.is_alive() and not self._server.stopping

    def stop(self) -> None:
        """Stop listening and hang up; returns when the port is free. Idempotent. The log stays readable."""
        self._server.stop()
        self._thread.join(5)


class _CallLog:
    """Who called what; shared by the handler threads."""

    def __init__(self) -> None:
        self.refused = 0
        self._changed = threading.Condition()
        self._cells: dict[str, str] = {}  # key -> cell
        self._calls: list[tuple[str, LlmCall]] = []  # (key, call)
        self._open: dict[str, int] = {}  # key -> calls being answered
        self._journals: dict[str, Path] = {}
        self._slips: dict[str, dict[str, None]] = {}  # by key, in their order

    def issue_key(self, cell: str, journal: Path | None = None) -> str:
        key = f"sk-standin-{secrets.token_urlsafe(24)}"
        with self._changed:
            self._cells[key] = cell
            if journal is not None:
                self._journals[key] = journal
        return key

    def begin(self, key: str) -> bool:
        """Whether the key is one of ours; if so, ``add`` has to follow."""
        with self._changed:
            if key not in self._cells:
                self.refused += 1
                return False
            self._open[key] = self._open.get(key, 0) + 1
            return True

    def add(self, key: str, call: LlmCall) -> None:
        with self._changed:
            self._write_down(key, call)
            self._calls.append((key, call))
            self._open[key] -= 1
            self._changed.notify_all()

    def add_slip(self, key: str, slip: str) -> None:
        with self._changed:
            self._slips.setdefault(key, {})[slip] = None

    def slips(self, key: str) -> list[str]:
        with self._changed:
            return list(self._slips.get(key, ()))

    def _write_down(self, key: str, call: LlmCall) -> None:
        journal = self._journals.get(key)
        # A folder that is gone belongs to an attempt that has ended: its record is complete without this.
        if journal is None or not journal.parent.is_dir():
            return
        try:
            with journal.open("a") as file:
                file.write(call.model_dump_json() + "\n")
        except OSError as error:
            _LOGGER.warning("cannot write %s: %s", journal, error.strerror)

    def calls(self, key_or_cell: str) -> list[LlmCall]:
        with self._changed:
            keys = {key for key, cell in self._cells.items() if key_or_cell in (key, cell)}
            self._changed.wait_for(lambda: not any(self._open.get(key) for key in keys), timeout=1)
            found = [call for key, call in self._calls if key in keys]
        return sorted(found, key=lambda call: call.received_at)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, log: _CallLog, replies: Replies) -> None:
        self.log = log
        self.replies = replies
        self.stopping = False
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer's own also looks the host's name up, which takes seconds where DNS does not answer.
        socketserver.TCPServer.server_bind(self)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._lock:
            welcome = not self.stopping and len(self._connections) < _MAX_CONNECTIONS
            if welcome:
                self._connections[request] = threading.current_thread()
        if not welcome:
            self.shutdown_request(request)
            return
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                del self._connections[request]

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A caller that goes away is in the call log; nothing is printed over the progress.
        if not isinstance(sys.exception(), OSError):
            _LOGGER.exception("the stand-in LLM failed at a request from %s", client_address)

    def stop(self) -> None:
        with self._lock:
            if self.stopping:
                return
            self.stopping = True
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = dict(self._connections)
            for connection in connections:
                with contextlib.suppress(OSError):  # already closed by the other side
                    connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + 5
        for thread in connections.values():
            thread.join(max(0.0, deadline - time.monotonic()))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "e2e-matrix-stand-in"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = (
        True  # headers and body are two writes: without this the second waits for an ACK
    )
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """The call log says it better."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class finds wrong with a request line or headers, in OpenAI's shape too."""
        self.close_connection = True
        self._send_json(int(code), wire.error(message or "Bad request.", "invalid_request_error"))

    def _answer(self) -> None:
        self._start_clock()
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else ""
        path = self.path.partition("?")[0]
        if not self.server.log.begin(key):
            self._refuse(
                401,
                "Incorrect API key provided: this stand-in takes only the keys of its own run.",
                "invalid_api_key",
            )
            return
        exchange: wire.Exchange | None = None
        status = _STATUS_CLIENT_GONE
        try:
            exchange, status = self._serve(path, key)
        finally:
            served = exchange if status == 200 else None
            now = time.monotonic()
            self.server.log.add(
                key,
                LlmCall(
                    path=path[:200],
                    status=status,
                    streamed=exchange.streamed if exchange else False,
                    prompt_tokens=served.prompt_tokens if served else 0,
                    completion_tokens=served.completion_tokens if served else 0,
                    received_at=self._received_at,
                    first_byte_seconds=(self._first_byte or now) - self._began,
                    duration_seconds=now - self._began,
                ),
            )

    def _start_clock(self) -> None:
        self._received_at = datetime.now(UTC)
        self._began = time.monotonic()
        self._first_byte: float | None = None

    def _serve(self, path: str, key: str) -> tuple[wire.Exchange | None, int]:
        """Answer a call whose key is good; what was understood of it, and the status it got."""
        if path == "/v1/models" and self.command in ("GET", "HEAD"):
            self._drop_body()
            return None, self._send_json(200, wire.models())
        route = _ROUTES.get(path)
        if route is None:
            return None, self._refuse(404, f"Invalid URL ({self.command} {path[:200]})", "unknown_url")
        if self.command != "POST":
            return None, self._refuse(405, f"Not allowed: {self.command} {path}", "method_not_allowed")
        length = self._body_length()
        if length is None:
            return None, self._refuse(411, "Send a Content-Length.", "length_required")
        if length > MAX_BODY_BYTES:
            return None, self._refuse(413, f"The body is larger than {MAX_BODY_BYTES} bytes.", "too_large")
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return None, _STATUS_CLIENT_GONE
        try:
            exchange = wire.understand(body, route.turns_field, self.server.replies)
        except wire.BadRequest as problem:
            if isinstance(problem, wire.NotOffered):
                self.server.log.add_slip(key, problem.slip)
            refusal = wire.error(str(problem), "invalid_request_error", param=problem.param)
            return None, self._send_json(400, refusal)
        try:
            if exchange.streamed:
                self._send_events(route.events(exchange), route.end)
            else:
                self._send_json(200, route.whole(exchange))
        except OSError:
            self.close_connection = True
            return exchange, _STATUS_CLIENT_GONE
        return exchange, 200

    def _refuse(self, status: int, message: str, code: str) -> int:
        """Answer without reading the body first, then read it away so that the answer arrives."""
        self.close_connection = True
        self._send_json(status, wire.error(message, "invalid_request_error", code))
        with contextlib.suppress(OSError):  # the caller need not wait for us
            self.connection.shutdown(socket.SHUT_WR)
            self._drop_body()
        return status

    def _body_length(self) -> int | None:
        """Bytes that follow the headers; None when nobody knows (chunked, or not a number)."""
        stated = self.headers.get("Content-Length")
        if self.headers.get("Transfer-Encoding") or (stated is not None and not stated.strip().isdecimal()):
            return None
        return int(stated) if stated else 0

    def _drop_body(self) -> None:
        length = self._body_length()
        left = _MAX_DRAINED_BYTES if length is None else min(length, _MAX_DRAINED_BYTES)
        while left > 0 and (read := self.rfile.read1(min(left, 65536))):
            left -= len(read)

    def _send_json(self, status: int, body: wire.Json) -> int:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self._first_byte = time.monotonic()
        if self.command != "HEAD":
            self.wfile.write(data)
        return status

    def _send_events(self, events: Iterator[wire.Event], end: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for name, data in events:
            event = f"event: {name}\n" if name else ""
            self._send_chunk(f"{event}data: {json.dumps(data)}\n\n".encode())
            self._first_byte = self._first_byte or time.monotonic()
        if end:
            self._send_chunk(end)
        self._send_chunk(b"")

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
