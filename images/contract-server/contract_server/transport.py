"""HTTP and WebSocket around a ``Server``, and the faults of the transport."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

from contract_server import exact
from contract_server.answers import Answer, NoAnswer
from contract_server.conversation import TERMINAL, Conversation
from contract_server.faults import Ended, Fault
from contract_server.server import Server, socket_key
from contract_server.websocket import TEXT, Gone, WebSocket, accept_key

_SOCKETS = "/sockets/events/"
_AUTH_SECONDS = 10
_TRICKLE_SECONDS = 0.5
_HUGE_BYTES = 100 * 1024 * 1024
_MEDDLES = (Fault.TRICKLES, Fault.HUGE_RESPONSE, Fault.INVALID_JSON, Fault.WRONG_CONTENT_TYPE)
_CONVERSATION = "/api/conversations/"
_UUID_LENGTH = 36


def handler(server: Server, *, keep_alive: bool = True) -> type[BaseHTTPRequestHandler]:
    """The request handler of ``server``; without ``keep_alive`` each connection brings one request."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 600

        def version_string(self) -> str:
            return "uvicorn"

        def handle(self) -> None:
            try:
                super().handle()
            except (OSError, ValueError, Ended):
                return  # the other side, or the container, is gone

        def do_GET(self) -> None:
            if not keep_alive:
                self.close_connection = True
            path, _, query = self.path.partition("?")
            headers = {name.lower(): value for name, value in self.headers.items()}
            if path.startswith(_SOCKETS) and headers.get("upgrade", "").lower() == "websocket":
                self.close_connection = True
                _socket(server, self, path.removeprefix(_SOCKETS), query, headers)
                return
            body = self.rfile.read(int(headers.get("content-length") or 0))
            try:
                answer = server.answer(self.command, path, query, headers, body)
            except NoAnswer:
                server.closed.wait()
                self.close_connection = True
                return
            _log(server, f'"{self.command} {path} HTTP/1.1" {answer.status}')
            _send(server, self, path, answer)
            answer.then()

        do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """The log has the answers, in the real server's form."""

    return Handler


def _log(server: Server, message: str) -> None:
    line = {"asctime": time.strftime("%Y-%m-%d %H:%M:%S"), "levelname": "INFO", "message": message}
    server.log(json.dumps(line).encode() + b"\n")


def _send(server: Server, request: BaseHTTPRequestHandler, path: str, answer: Answer) -> None:
    content = (answer.body if isinstance(answer.body, str) else exact.dumps(answer.body)).encode()
    content_type = answer.content_type
    fault = server.fault if _is_meddled_with(server, request.command, path) else Fault.NONE
    if fault is Fault.INVALID_JSON:
        content = content[: len(content) // 2]
    elif fault is Fault.WRONG_CONTENT_TYPE:
        content_type = "text/html; charset=utf-8"
    length = len(content) + (_HUGE_BYTES if fault is Fault.HUGE_RESPONSE else 0)
    request.send_response(answer.status)
    for name, value in answer.headers.items():
        request.send_header(name, value)
    request.send_header("Content-Type", content_type)
    request.send_header("Content-Length", str(length))
    if request.close_connection:
        request.send_header("Connection", "close")
    request.end_headers()
    if request.command == "HEAD":
        return
    if fault is Fault.TRICKLES:
        for at in range(len(content)):
            request.wfile.write(content[at : at + 1])
            time.sleep(_TRICKLE_SECONDS)
        return
    if fault is Fault.HUGE_RESPONSE:
        # White space before the value: it stays valid, and whoever reads it all finds it right.
        for _ in range(_HUGE_BYTES >> 20):
            request.wfile.write(b" " * (1 << 20))
    request.wfile.write(content)


def _is_meddled_with(server: Server, method: str, path: str) -> bool:
    if server.fault not in _MEDDLES:
        return False
    if server.told.argument:
        return path.startswith(server.told.argument)
    return method == "GET" and path.removeprefix(_CONVERSATION)[:_UUID_LENGTH] in server.conversations


def _socket(
    server: Server, request: BaseHTTPRequestHandler, identity: str, query: str, headers: dict[str, str]
) -> None:
    if server.refuses_socket(query, headers, identity):
        request.send_response(403)
        request.send_header("Content-Length", "0")
        request.send_header("Connection", "close")
        request.end_headers()
        return
    request.send_response(101)
    request.send_header("Upgrade", "websocket")
    request.send_header("Connection", "Upgrade")
    request.send_header("Sec-WebSocket-Accept", accept_key(headers.get("sec-websocket-key", "")))
    request.end_headers()
    socket = WebSocket(request.connection, cast("Any", request.rfile))
    server.at_close.append(socket.cut)
    try:
        _Stream(server, socket, identity, query, headers).run()
    except Gone:
        return


class _Stream:
    def __init__(
        self, server: Server, socket: WebSocket, identity: str, query: str, headers: dict[str, str]
    ) -> None:
        self._server = server
        self._socket = socket
        self._identity = identity
        self._resend_all = "resend_mode=all" in query
        self._given = socket_key(query, headers)

    def run(self) -> None:
        """Let the other side in, tell it the events, and listen until it goes. Raises ``Gone``."""
        if not self._is_let_in():
            self._socket.close(4001, "Authentication failed")
            return
        conversation = self._server.conversations.get(self._identity)
        if conversation is None:
            self._socket.close(4004, "Conversation not found")
            return
        gone = threading.Event()
        teller = threading.Thread(target=self._tell, args=(conversation, gone), daemon=True)
        teller.start()
        try:
            while True:
                self._hear(self._socket.receive())
        finally:
            gone.set()

    def _is_let_in(self) -> bool:
        if not self._server.session_keys or self._given is not None:
            return True  # a wrong key was refused in the handshake
        try:
            return self._server.knows_frame(self._socket.receive(within=_AUTH_SECONDS))
        except TimeoutError:
            return False

    def _hear(self, text: str) -> None:
        if self._server.knows_frame(text):
            return  # the key once more, of a client that sends it always
        error = {"source": "environment", "code": "ValidationError", "detail": "not a message"}
        self._send({**error, "kind": "ServerErrorEvent"})

    def _tell(self, conversation: Conversation, gone: threading.Event) -> None:
        try:
            misbehave = _MISBEHAVIOURS.get(self._server.fault)
            if misbehave:
                misbehave(self._socket)
                return
            at = 0 if self._resend_all else len(conversation.events)
            self._send(conversation.full_state())
            while not gone.is_set():
                fresh = conversation.wait_for_events(at, gone)
                at += len(fresh)
                for event in fresh:
                    self._send(event)
        except Gone:
            return

    def _send(self, event: dict[str, Any]) -> None:
        fault, kind = self._server.fault, event["kind"]
        if fault is Fault.SOCKET_NEVER_TERMINAL and _tells_end(event):
            return
        if fault is Fault.ERROR_OVER_REST and kind == "ConversationErrorEvent":
            return
        self._socket.send(TEXT, exact.dumps(event).encode())


def _tells_end(event: dict[str, Any]) -> bool:
    value = event.get("value")
    status = value.get("execution_status") if isinstance(value, dict) else value
    return event.get("key") in ("full_state", "execution_status") and status in TERMINAL


def _be_malformed(socket: WebSocket) -> None:
    for text in (b"no JSON", b"[1]", b'{"kind":', b'"ConversationStateUpdateEvent"'):
        socket.send(TEXT, text)
    # An opcode that is reserved (RFC 6455, 5.2), and a text that is no UTF-8.
    socket.send_raw(b"\x8b\x00\x81\x02\xff\xfe")


_MISBEHAVIOURS: dict[Fault, Callable[[WebSocket], None]] = {
    Fault.SOCKET_SILENT: lambda socket: None,
    Fault.SOCKET_CLOSES_ABNORMALLY: WebSocket.cut,
    Fault.SOCKET_MALFORMED: _be_malformed,
}
