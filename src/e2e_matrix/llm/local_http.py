"""An HTTP server of ours that containers reach as their model: of the stand-in, the recorder and the replay.

It listens where containers reach this host, so it answers only calls that carry a key it issued, wherever in
the headers or the query that is; every call is counted.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import secrets
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.llm.usage import Usage
from e2e_matrix.results import LlmCall

_LOGGER = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 << 20
STATUS_CALLER_GONE = 499  # nginx's: the caller hung up before the answer was out
_IDLE_SECONDS = 75.0
_MAX_CONNECTIONS = 256
_KEY = re.compile(r"sk-(?:e2e|standin)-[A-Za-z0-9_-]{32}")
_LONGEST_LINE = 65536  # of a chunk's size, and of a trailer


class CallerGone(Exception):
    """The caller hung up in the middle."""


@dataclass(frozen=True)
class Request:
    """One call as it came, with a key of ours. ``target`` is the path with the query."""

    key: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    received_at: datetime


class Reply:
    """The way back: ``start``, then ``send`` for each piece, then ``finish`` or ``hang_up``.

    All raise ``CallerGone`` when nobody listens any more.
    """

    def __init__(self, handler: _Handler) -> None:
        self._handler = handler
        self._chunked = False
        self.status: int | None = None
        self.first_byte: float | None = None
        self.streamed = False

    @property
    def connection(self) -> socket.socket:
        connection: socket.socket = self._handler.connection
        return connection

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        self.status = status
        bodiless = self._handler.command == "HEAD" or status < 200 or status in (204, 304)
        self._chunked = not bodiless and self._handler.request_version != "HTTP/1.0"
        self._handler.close_connection |= not bodiless and not self._chunked
        self._handler.send_response(status)
        for name, value in headers:
            self._handler.send_header(name, value)
            self.streamed |= name.lower() == "content-type" and value.startswith("text/event-stream")
        if self._chunked:
            self._handler.send_header("Transfer-Encoding", "chunked")
        if self._handler.close_connection:
            self._handler.send_header("Connection", "close")
        with _listening():
            self._handler.end_headers()

    def send(self, piece: bytes) -> None:
        if not piece or self._handler.command == "HEAD":
            return
        with _listening():
            self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self._chunked else piece)
        self.first_byte = self.first_byte or time.monotonic()

    def finish(self) -> None:
        if self._chunked:
            with _listening():
                self._handler.wfile.write(b"0\r\n\r\n")

    def hang_up(self) -> None:
        """End without a proper end, as a line that is cut."""
        self._handler.close_connection = True

    def error(
        self, status: int, message: str, code: str | None, param: str | None = None, **headers: str
    ) -> None:
        """A whole answer in OpenAI's error shape."""
        self.whole(status, error_body(message, code, param), **headers)

    def whole(self, status: int, data: bytes, **headers: str) -> None:
        """A whole answer that is JSON."""
        named = [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.start(status, [("Content-Type", "application/json"), *named])
        self.send(data)
        self.finish()


def error_body(message: str, code: str | None, param: str | None = None) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return json.dumps({"error": error}).encode()


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CallerGone from error


class CallLog:
    """Who called what, by key; shared by the handler threads."""

    def __init__(self, prefix: str) -> None:
        self.refused = 0  # calls that came without a key that was issued here
        self._prefix = prefix
        self._changed = threading.Condition()
        self._calls: dict[str, list[LlmCall]] = {}
        self._open: dict[str, int] = {}
        self._journals: dict[str, Path] = {}

    def issue_key(self, journal: Path | None) -> str:
        key = f"{self._prefix}{secrets.token_urlsafe(24)}"
        with self._changed:
            self._calls[key], self._open[key] = [], 0
            if journal is not None:
                self._journals[key] = journal
        return key

    def begin(self, key: str) -> bool:
        """Whether the key is one of ours; if so, ``end`` has to follow."""
        with self._changed:
            if key not in self._calls:
                self.refused += 1
                return False
            self._open[key] += 1
            return True

    def end(self, key: str, call: LlmCall) -> None:
        with self._changed:
            self._write_down(key, call)
            self._calls[key].append(call)
            self._open[key] -= 1
            self._changed.notify_all()

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

    def calls(self, key: str) -> list[LlmCall]:
        """In the order in which they came; one that is being answered is waited for, for a second."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open.get(key), timeout=1)
            return sorted(self._calls.get(key, ()), key=lambda call: call.received_at)


Answer = Callable[[Request, Reply], Usage]


class LocalServer:
    """Listens on ``host`` and hands every call that has a key to ``answer``, each on a thread of its own.

    ``port`` 0 lets the system choose; a body may have ``largest`` bytes; keys begin with ``prefix``, one of
    those in _KEY. Raises InfrastructureError when it cannot listen there.
    """

    def __init__(
        self,
        host: str,
        what: str,
        answer: Answer,
        *,
        port: int = 0,
        largest: int = MAX_BODY_BYTES,
        prefix: str = "sk-e2e-",
    ) -> None:
        self.host = host
        self.log = CallLog(prefix)
        try:
            self._server = _Server((host, port), what, self.log, answer, largest)
        except OSError as error:
            raise InfrastructureError(
                f"{what} cannot listen on {host}:{port}: {error.strerror or error}",
                "Is this address one of this machine's? `e2e-matrix doctor` shows what containers can reach.",
            ) from error
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name=what, daemon=True
        )
        self._thread.start()

    def base_url(self, path: str, host: str | None = None) -> str:
        """What a client is given as LLM_BASE_URL; ``host`` is how it reaches this machine."""
        name = host or self.host
        return f"http://{f'[{name}]' if ':' in name else name}:{self.port}{path}"

    def is_alive(self) -> bool:
        return self._thread.is_alive() and not self._server.stopping

    def stop(self) -> None:
        """Stop listening and hang up; returns when the port is free. Idempotent."""
        self._server.stop()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], what: str, log: CallLog, answer: Answer, largest: int
    ) -> None:
        self.what = what
        self.log = log
        self.answer = answer
        self.largest = largest
        self.stopping = False
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

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
        if not isinstance(sys.exception(), OSError | CallerGone):
            _LOGGER.exception("%s failed at a request from %s", self.what, client_address)

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
    server_version = "e2e-matrix"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """The call log says it better."""

    def version_string(self) -> str:
        return self.server_version

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class finds wrong with a request line or headers, in OpenAI's shape too."""
        self.close_connection = True
        with contextlib.suppress(CallerGone):
            Reply(self).error(int(code), message or "Bad request.", None)

    def _answer(self) -> None:
        received_at, began = datetime.now(UTC), time.monotonic()
        headers = tuple(self.headers.items())
        found = (_KEY.search(text) for text in (*(value for _, value in headers), self.path))
        key = next((match[0] for match in found if match), "")
        reply = Reply(self)
        if not self.server.log.begin(key):
            self.close_connection = True
            reply.error(401, "Incorrect API key provided: only this run's own are taken.", "invalid_api_key")
            self._drain()
            return
        usage, status = Usage(), STATUS_CALLER_GONE
        try:
            body = self._body()
            if body is None:
                self.close_connection = True
                reply.error(413, f"The body is larger than {self.server.largest} bytes.", "too_large")
                self._drain()
            else:
                request = Request(key, self.command, self.path, headers, body, received_at)
                usage = self.server.answer(request, reply)
            status = reply.status or STATUS_CALLER_GONE
        except CallerGone:
            self.close_connection = True
        finally:
            now = time.monotonic()
            self.server.log.end(
                key,
                LlmCall(
                    path=_KEY.sub("", self.path)[:200],
                    status=status,
                    streamed=reply.streamed,
                    prompt_tokens=usage.prompt,
                    completion_tokens=usage.completion,
                    received_at=received_at,
                    first_byte_seconds=(reply.first_byte or now) - began,
                    duration_seconds=now - began,
                ),
            )

    def _drain(self) -> None:
        """Read away what was sent, without keeping it: else the answer may not arrive."""
        with contextlib.suppress(OSError):  # the caller need not wait for us
            self.connection.shutdown(socket.SHUT_WR)
            left = MAX_BODY_BYTES
            while left > 0 and (read := self.rfile.read1(65536)):
                left -= len(read)

    def _body(self) -> bytes | None:
        """The whole body; None for one that is too long. Raises CallerGone for one that is cut."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunks()
        stated = self.headers.get("Content-Length", "0").strip()
        if not stated.isdecimal() or int(stated) > self.server.largest:
            return None
        body = self.rfile.read(int(stated))
        if len(body) < int(stated):
            raise CallerGone
        return body

    def _chunks(self) -> bytes | None:
        """RFC 9112, section 7.1; extensions and trailers mean nothing here."""
        body = b""
        while True:
            try:
                size = int(self.rfile.readline(_LONGEST_LINE).partition(b";")[0], 16)
            except ValueError:
                return None
            if not 0 <= size <= self.server.largest - len(body):
                return None
            if size == 0:
                while self.rfile.readline(_LONGEST_LINE).strip():
                    pass
                return body
            piece = self.rfile.read(size)
            if len(piece) < size or self.rfile.readline(3) != b"\r\n":
                return None
            body += piece
