"""An agent-server that can be wrong in one way at a time, as an image for ``engine.fake.FakeEngine``.

It keeps the contract as 1.43.1 does (and, told to be 1.58.0, as that does), as far as the deferred-init
scenario asks. Each ``Fault`` is one way to break it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import threading
from contextlib import suppress
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from typing import Any
from urllib.parse import urlsplit

from e2e_matrix.agent_server import INIT_HEADER, OPEN_ROUTES, OPENAPI, SESSION_HEADER
from e2e_matrix.engine.fake import FakeImage, FakeProcess
from e2e_matrix.scenarios.deferred_init import GATED_ROUTES

PORT = 8000
BUILD_SHA = "0123456789abcdef0123456789abcdef01234567"
PROMPT_TOKENS, COMPLETION_TOKENS = 14, 2
UNLISTED_ROUTE = "/api/only/in/openapi"

_INIT_FIELDS = {"env", "session_api_keys", "secret_key", "conversations_path"}
_WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_TEXT, _CLOSE = 0x81, 0x88  # the first byte of a frame that is final
_LONG = 126  # a length of two more bytes follows

Answer = tuple[int, Any]


class Fault(Enum):
    """One misbehaviour of the server; everything else stays right."""

    NONE = auto()
    OTHER_MACHINE = auto()
    CRASHES_AT_BOOT = auto()
    CRASHES_AT_ONCE = auto()
    EMULATOR_CRASHES_AT_BOOT = auto()
    EMULATOR_CRASHES_AT_ONCE = auto()
    IGNORES_DEFERRED_INIT = auto()
    BOOTS_READY = auto()
    OPEN_ROUTE_SHUT = auto()
    GATED_ROUTE_OPEN = auto()
    UNLISTED_ROUTE_OPEN = auto()
    SOCKET_OPEN_WHILE_DORMANT = auto()
    INIT_WITHOUT_KEY = auto()
    INIT_WITH_UNKNOWN_FIELD = auto()
    REFUSED_INIT_COUNTS = auto()
    INIT_FAILS = auto()
    INIT_SAYS_DORMANT = auto()
    INIT_LIES = auto()
    SECOND_INIT_ACCEPTED = auto()
    SECOND_INIT_NEEDS_NO_KEY = auto()
    SESSION_KEYS_IGNORED = auto()
    SESSION_KEY_REFUSED = auto()
    CONVERSATION_FAILS = auto()
    CONVERSATION_WITHOUT_ID = auto()
    CONVERSATION_ENDS_IN_ERROR = auto()
    MODEL_AWAY = auto()
    CONVERSATION_STUCK = auto()
    NEVER_ENDS = auto()
    DIES_IN_CONVERSATION = auto()
    OUT_OF_MEMORY = auto()
    SOCKET_REFUSED = auto()
    SOCKET_BREAKS = auto()
    SOCKET_SILENT = auto()
    WRONG_ANSWER = auto()
    EMPTY_ANSWER = auto()
    COST_ZERO = auto()
    COST_MISSING = auto()
    COST_TEXT = auto()
    WRONG_TOKENS = auto()
    DELETE_KEEPS = auto()
    DELETES_TWICE = auto()
    IGNORES_TERM = auto()
    ENDS_BADLY = auto()
    LIBRARY_MISSING = auto()


_CRASH = (3, "ImportError: no module named litellm\n")
_EMULATOR_CRASH = (139, "qemu: uncaught target signal 11 (Segmentation fault) - core dumped\n")
_ENDS_AT_BOOT = {
    Fault.CRASHES_AT_BOOT: (*_CRASH, False),
    Fault.CRASHES_AT_ONCE: (*_CRASH, True),
    Fault.EMULATOR_CRASHES_AT_BOOT: (*_EMULATOR_CRASH, False),
    Fault.EMULATOR_CRASHES_AT_ONCE: (*_EMULATOR_CRASH, True),
}
_STATUS = {
    Fault.CONVERSATION_ENDS_IN_ERROR: "error",
    Fault.MODEL_AWAY: "error",
    Fault.CONVERSATION_STUCK: "stuck",
    Fault.NEVER_ENDS: "running",
    Fault.DIES_IN_CONVERSATION: "running",
    Fault.OUT_OF_MEMORY: "running",
}
_ERRORS = {
    Fault.CONVERSATION_ENDS_IN_ERROR: {"code": "ValueError", "detail": "the agent lost its tools"},
    Fault.MODEL_AWAY: {"code": "LLMServiceUnavailableError", "detail": "nobody listens"},
}
_COSTS: dict[Fault, dict[str, object]] = {
    Fault.COST_ZERO: {"accumulated_cost": 0.0},
    Fault.COST_MISSING: {},
    Fault.COST_TEXT: {"accumulated_cost": "a lot"},
}
_ANSWERS = {Fault.WRONG_ANSWER: "41, I believe", Fault.EMPTY_ANSWER: ""}


class FakeAgentServer:
    """One server with one fault, and what it knows. ``image`` is what a FakeEngine runs: once."""

    def __init__(self, fault: Fault = Fault.NONE, version: str = "1.43.1") -> None:
        self.fault = fault
        self.version = version
        self.state = "dormant"
        self.image = FakeImage({"agent-server": self._run, "uname": self._uname}, ("agent-server",))
        self._init_key = ""
        self._session_keys: list[str] = []
        self._conversations: set[str] = set()
        self._machine_asked = threading.Event()
        self._talking = threading.Event()
        self._streams: list[socket.socket] = []

    def _uname(self, process: FakeProcess) -> int:
        process.print("riscv64\n" if self.fault is Fault.OTHER_MACHINE else "x86_64\n")
        self._machine_asked.set()
        return 0

    def _run(self, process: FakeProcess) -> int:
        if self.fault in _ENDS_AT_BOOT:
            code, last_words, at_once = _ENDS_AT_BOOT[self.fault]
            # Not before it was asked for its machine, so that it is always the same step that meets the end.
            self._machine_asked.wait(0 if at_once else 5)
            process.print(last_words)
            return code
        if self.fault is Fault.LIBRARY_MISSING:
            process.print("tmux: error while loading shared libraries: libevent.so.7: cannot open\n")
        self._init_key = process.environment["OH_SECRET_KEY"]
        if self.fault is Fault.BOOTS_READY:
            self.state = "ready"
        process.serve_http(PORT, _handler(self))
        try:
            return self._serve(process)
        finally:
            for stream in self._streams:
                with suppress(OSError):
                    stream.shutdown(socket.SHUT_RDWR)

    def _serve(self, process: FakeProcess) -> int:
        if self.fault is Fault.IGNORES_TERM:
            process.sleep()
        if self.fault is Fault.DIES_IN_CONVERSATION and self._wait_for_talk(process):
            process.print("RuntimeError: the event loop is closed\n")
            return 3
        if self.fault is Fault.OUT_OF_MEMORY and self._wait_for_talk(process):
            process.use_memory(1 << 62)
        process.wait_for_term()
        return 4 if self.fault is Fault.ENDS_BADLY else 143

    def _wait_for_talk(self, process: FakeProcess) -> bool:
        while not self._talking.wait(0.01):
            if process.terminated.is_set():
                return False
        return True

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """One HTTP answer: its status, and its body as JSON."""
        if path == "/api/init":
            return self._init(method, headers, body)
        if path in (*OPEN_ROUTES, OPENAPI):
            return self._open_route(path)
        if self.state != "ready":
            return self._gate(method, path)
        refused = headers.get(SESSION_HEADER.lower()) not in self._session_keys
        if self.fault is Fault.SESSION_KEY_REFUSED:
            refused = True
        if self._session_keys and refused and self.fault is not Fault.SESSION_KEYS_IGNORED:
            return 401, {"detail": "Unauthorized"}
        return self._conversation(method, path.removeprefix("/api/conversations").strip("/"), body)

    def _open_route(self, path: str) -> Answer:
        if path == "/server_info":
            return 200, {"version": self.version, "build_git_sha": BUILD_SHA, "python_version": "3.13.1"}
        if path == OPENAPI:
            paths: dict[str, dict[str, object]] = {UNLISTED_ROUTE: {"get": {}}, "/api/init": {"post": {}}}
            for method, route in GATED_ROUTES:
                paths.setdefault(route, {})[method.lower()] = {}
            return 200, {"paths": paths}
        return (503 if self.fault is Fault.OPEN_ROUTE_SHUT and path == "/ready" else 200), {}

    def _gate(self, method: str, path: str) -> Answer:
        if self.fault is Fault.GATED_ROUTE_OPEN and (method, path) == ("GET", "/api/settings"):
            return 200, {}
        if self.fault is Fault.UNLISTED_ROUTE_OPEN and path == UNLISTED_ROUTE:
            return 200, {}
        return 503, {"detail": "the server waits for init"}

    def _init(self, method: str, headers: dict[str, str], body: bytes) -> Answer:
        if self.fault is Fault.IGNORES_DEFERRED_INIT:
            return 404, {"detail": "Not Found"}
        if method == "GET":
            return 200, {"state": self.state, "error": None}
        if not self._may_init(headers.get(INIT_HEADER.lower())):
            if self.fault is Fault.REFUSED_INIT_COUNTS:
                self.state = "ready"
            return 401, {"detail": "Unauthorized"}
        try:
            settings = json.loads(body)
        except ValueError:
            return 422, {"detail": "not JSON"}
        if settings.keys() - _INIT_FIELDS and self.fault is not Fault.INIT_WITH_UNKNOWN_FIELD:
            return 422, {"detail": "extra fields are not permitted"}
        if self.state == "ready" and self.fault is not Fault.SECOND_INIT_ACCEPTED:
            return 400, {"detail": f"server already in state: {self.state}"}
        return self._become_ready(settings)

    def _may_init(self, key: str | None) -> bool:
        if self.fault is Fault.INIT_WITHOUT_KEY and key is None:
            return True
        if self.fault is Fault.SECOND_INIT_NEEDS_NO_KEY and self.state == "ready":
            return True
        return key == self._init_key

    def _become_ready(self, settings: dict[str, Any]) -> Answer:
        if self.fault is Fault.INIT_FAILS:
            return 500, {"detail": "no space left for conversations"}
        if self.fault is Fault.INIT_SAYS_DORMANT:
            return 200, {"state": "dormant", "error": None}
        self._session_keys = settings.get("session_api_keys", self._session_keys)
        if self.fault is not Fault.INIT_LIES:
            self.state = "ready"
        return 200, {"state": "ready", "error": None}

    def _conversation(self, method: str, rest: str, body: bytes) -> Answer:
        identity, _, part = rest.partition("/")
        if identity == "search":
            return 200, {"items": []}
        if method == "POST" and not identity:
            return self._create(json.loads(body)["conversation_id"])
        if method == "DELETE":
            return self._delete(identity)
        if identity not in self._conversations:
            return 404, {"detail": "no such conversation"}
        if part == "agent_final_response":
            return 200, {"response": _ANSWERS.get(self.fault, "42")}
        if part == "events/search":
            return 200, {"items": self._events()}
        return 200, {"id": identity, "execution_status": self._status, "stats": self._stats()}

    def _create(self, identity: str) -> Answer:
        if self.fault is Fault.CONVERSATION_FAILS:
            return 500, {"detail": "no such agent"}
        self._conversations.add(identity)
        self._talking.set()
        return 201, {} if self.fault is Fault.CONVERSATION_WITHOUT_ID else {"id": identity}

    def _delete(self, identity: str) -> Answer:
        if identity not in self._conversations:
            missing = 404 if self.version == "1.58.0" else 400
            return (200 if self.fault is Fault.DELETES_TWICE else missing), {}
        if self.fault is not Fault.DELETE_KEEPS:
            self._conversations.remove(identity)
        return 200, {}

    @property
    def _status(self) -> str:
        return _STATUS.get(self.fault, "finished")

    def _stats(self) -> dict[str, Any]:
        completion = COMPLETION_TOKENS + (1 if self.fault is Fault.WRONG_TOKENS else 0)
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": completion}
        metrics = {
            **_COSTS.get(self.fault, {"accumulated_cost": 0.0000168}),
            "accumulated_token_usage": usage,
        }
        return {"usage_to_metrics": {"agent": metrics}}

    def _events(self) -> list[dict[str, Any]]:
        error = _ERRORS.get(self.fault)
        told = [{"kind": "ConversationErrorEvent", **error}] if error else []
        state = {"kind": "ConversationStateUpdateEvent", "key": "execution_status", "value": self._status}
        return [*told, state]

    def stream(self, request: BaseHTTPRequestHandler) -> None:
        """Speak WebSocket on the connection of ``request`` until the other side closes it (RFC 6455)."""
        dormant = self.state != "ready" and self.fault is not Fault.SOCKET_OPEN_WHILE_DORMANT
        if dormant or self.fault is Fault.SOCKET_REFUSED:
            request.send_error(403)
            return
        accept = hashlib.sha1((request.headers["Sec-WebSocket-Key"] + _WEBSOCKET_GUID).encode()).digest()
        request.send_response_only(101)
        request.send_header("Upgrade", "websocket")
        request.send_header("Connection", "Upgrade")
        request.send_header("Sec-WebSocket-Accept", base64.b64encode(accept).decode())
        request.end_headers()
        self._streams.append(request.connection)
        kind, frame = _read_frame(request.rfile)
        if kind == _TEXT and json.loads(frame)["session_api_key"] in self._session_keys:
            if self.fault is Fault.SOCKET_BREAKS:
                return
            for event in self._events() if self.fault is not Fault.SOCKET_SILENT else ():
                # The error of a model that is away is told over REST alone: there too it must be found.
                if not (self.fault is Fault.MODEL_AWAY and event["kind"] == "ConversationErrorEvent"):
                    _write_frame(request.wfile, _TEXT, json.dumps(event).encode())
            kind, frame = _read_frame(request.rfile)
        if kind == _CLOSE:
            _write_frame(request.wfile, _CLOSE, frame)


def _read_frame(stream: BufferedIOBase) -> tuple[int, bytes]:
    """One masked frame of a client; (0, b"") at the end of the connection."""
    head = stream.read(2)
    if len(head) < 2:
        return 0, b""
    kind, length = head[0], head[1] & 0x7F
    if length == _LONG:
        (length,) = struct.unpack("!H", stream.read(2))
    mask = stream.read(4)
    return kind, bytes(byte ^ mask[at % 4] for at, byte in enumerate(stream.read(length)))


def _write_frame(stream: BufferedIOBase, kind: int, data: bytes) -> None:
    length = bytes([len(data)]) if len(data) < _LONG else struct.pack("!BH", _LONG, len(data))
    stream.write(bytes([kind]) + length + data)


def _handler(server: FakeAgentServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(ConnectionError):  # the other side, or the container, is gone
                super().handle()

        def do_GET(self) -> None:
            self.close_connection = True  # nobody is answered by a container that has ended
            path = urlsplit(self.path).path
            if path.startswith("/sockets/events/"):
                server.stream(self)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = server.answer(self.command, path, headers, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: the container's log is the program's own."""

    return Handler
