"""A model's endpoint that misbehaves: OpenAI's chat completions with the faults that a provider has.

Containers reach it as ``host.docker.internal`` where it listens on ``engine.host_gateway()``.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self

from e2e_matrix.llm import wire

MODEL = "openai/gpt-4o"


class Fault(StrEnum):
    """What one call gets."""

    NONE = "answers"
    UNAUTHORIZED = "401"
    RATE_LIMITED = "429 with Retry-After"
    FILTERED = "400 of a content filter"  # as Azure has it
    POLICY = "400 of a content policy"  # as OpenAI has it
    SERVER_ERROR = "500"
    HANGS = "hangs"
    HALF = "half an answer"  # of the stream where one was asked for, else of the body; then the line is cut
    CUT = "hangs up"
    NO_JSON = "no JSON"


@dataclass(frozen=True)
class Call:
    """One call as it came. Seconds are those since the server started."""

    path: str
    streamed: bool
    fault: Fault
    seconds: float


class FaultyLlm:
    """Listens on ``host`` until it is closed. The n-th call gets the n-th fault, later ones the last."""

    def __init__(self, host: str, *faults: Fault, retry_after: int = 1) -> None:
        self.host = host
        self.retry_after = retry_after  # seconds
        self.released = threading.Event()  # ends the calls that hang
        self._faults = faults or (Fault.NONE,)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._server = _Server(host, self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="faulty-llm", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def base_url(self, host: str | None = None) -> str:
        """What a client is given as LLM_BASE_URL; ``host`` is how it reaches this machine."""
        return f"http://{host or self.host}:{self.port}/v1"

    @property
    def calls(self) -> list[Call]:
        """Every call so far, in the order in which they came."""
        with self._lock:
            return list(self._calls)

    def close(self) -> None:
        """Stop listening and hang up on whoever still waits. Idempotent."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def next_fault(self, path: str, streamed: bool) -> Fault:
        """Note a call; what it gets."""
        with self._lock:
            fault = self._faults[min(len(self._calls), len(self._faults) - 1)]
            self._calls.append(Call(path, streamed, fault, time.monotonic() - self._began))
        return fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, llm: FaultyLlm) -> None:
        self.llm = llm
        super().__init__((host, 0), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's own looks the host's name up

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers that go away are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        exchange = wire.understand(body, "messages")
        llm = self.server.llm
        match llm.next_fault(self.path, exchange.streamed):
            case Fault.NONE:
                self._send(200, self._answer(exchange), exchange.streamed)
            case Fault.UNAUTHORIZED:
                self._refuse(401, "Incorrect API key provided.", "invalid_api_key")
            case Fault.RATE_LIMITED:
                self._refuse(429, "Rate limit reached.", "rate_limit_exceeded", llm.retry_after)
            case Fault.FILTERED:
                words = (
                    "The response was filtered due to the prompt triggering the content management policy."
                )
                self._refuse(400, words, "content_filter")
            case Fault.POLICY:
                words = "Your request was rejected by our safety system."
                self._refuse(400, words, "content_policy_violation", kind="invalid_request_error")
            case Fault.SERVER_ERROR:
                self._refuse(500, "The server had an error.", "server_error")
            case Fault.HANGS:
                llm.released.wait()
                self.close_connection = True
            case Fault.HALF:
                self._send(200, self._answer(exchange), exchange.streamed, half=True)
            case Fault.CUT:
                self.close_connection = True
            case Fault.NO_JSON:
                self._send(200, b"<html>Bad gateway</html>", False)

    def log_message(self, format: str, *args: Any) -> None:
        """The list of calls says it better."""

    def _answer(self, exchange: wire.Exchange) -> bytes:
        if not exchange.streamed:
            return json.dumps(wire.chat_completion(exchange)).encode()
        events = [f"data: {json.dumps(data)}\n\n" for _, data in wire.chat_events(exchange)]
        return "".join([*events, "data: [DONE]\n\n"]).encode()

    def _refuse(
        self, status: int, message: str, code: str, retry_after: int | None = None, kind: str | None = None
    ) -> None:
        error = {"message": message, "type": kind or code, "param": None, "code": code}
        body = json.dumps({"error": error}).encode()
        self._send(status, body, False, retry_after=retry_after)

    def _send(
        self, status: int, body: bytes, streamed: bool, *, half: bool = False, retry_after: int | None = None
    ) -> None:
        """``half``: announce the whole, send a half, and hang up."""
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream" if streamed else "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.close_connection = self.close_connection or half
