"""A client of the agent-server's HTTP and WebSocket API, as far as a scenario needs it.

Source of every path and status: the server's own /openapi.json and behaviour, versions 1.29.0 to 1.58.0.
Whatever a server says is data: a reply is returned as it came, and the scenario decides whether it is right.
Transport errors are ``httpx.TransportError`` and ``websockets`` exceptions;
scenarios/container.py knows what they mean.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

import httpx
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

from e2e_matrix.bounded_http import BoundedTransport

INIT_HEADER = "X-Init-API-Key"
SESSION_HEADER = "X-Session-API-Key"

# ConversationExecutionStatus.is_terminal of the SDK. There is no "stopped": upstream issue 3793.
TERMINAL_STATUSES = frozenset({"finished", "error", "stuck"})
# The others of that enumeration.
LASTING_STATUSES = frozenset({"idle", "running", "paused", "waiting_for_confirmation", "deleting"})

# Answered while dormant, as is /openapi.json: it takes the server 1.5 s to write, and is asked for by itself.
OPEN_ROUTES = ("/", "/alive", "/health", "/ready", "/server_info", "/docs", "/redoc")
OPENAPI = "/openapi.json"

# A reply larger than this is not read: the whole /openapi.json of 1.58.0 is 0.5 MB.
MAX_BODY_BYTES = 8 * 1024 * 1024
# What is kept of a larger one, to be shown.
_BEGINNING = 64 * 1024


@dataclass(frozen=True)
class Reply:
    """One HTTP answer. ``text`` is hostile, and whole unless ``broken`` says what is wrong with the body."""

    method: str
    path: str
    status: int
    text: str
    content_type: str = "application/json"
    broken: str | None = None

    @property
    def request(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def not_json(self) -> str | None:
        """Why this is not what a client takes for JSON; None where it is."""
        if self.broken:
            return self.broken
        try:
            json.loads(self.text)
        except (ValueError, RecursionError) as error:
            return f"not JSON: {error}" if self.text else "nothing"
        named = self.content_type.partition(";")[0].strip().lower()
        return None if named == "application/json" else f"JSON, but called {named or 'nothing'}"

    def json(self) -> Any:
        """The body as JSON with exact decimals, a float for what none can hold; None where it is not JSON."""
        try:
            return json.loads(self.text, parse_float=_decimal)
        except (ValueError, RecursionError):
            return None

    def field(self, *names: str) -> Any:
        """A nested field of a JSON object body, None where there is none."""
        value = self.json()
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value


def _decimal(text: str) -> Decimal | float:
    """1E99999999999999999999 is JSON, and no Decimal: infinity, or 0.0, which nobody takes for money."""
    try:
        return Decimal(text)
    except ArithmeticError:
        return float(text)


# A server tells its model of the provider's refusal in the user's name. Seen on 1.58.0.
_REFUSAL = "blocked by the model's content filter"


@dataclass(frozen=True)
class ServerEvent:
    """One frame of the events WebSocket, reduced to what a scenario reads."""

    kind: str
    status: str | None  # the execution status it tells, if it tells one
    error: str | None  # "code: detail" of a ConversationErrorEvent
    stats: Any = None  # the usage so far, with exact decimals, where it tells that
    refused: bool = False  # the model's provider refused the content, and the server asks once more


def parse_event(frame: str | bytes) -> ServerEvent | None:
    """Read one frame; None for what is no JSON object."""
    try:
        event = json.loads(frame, parse_float=_decimal)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    kind = str(event.get("kind", ""))
    status = error = stats = None
    if kind == "ConversationStateUpdateEvent":
        # A subscriber that comes late is told once, inside the full state.
        key, value = event.get("key"), event.get("value")
        state = value if key == "full_state" and isinstance(value, dict) else {str(key): value}
        told, stats = state.get("execution_status"), state.get("stats")
        status = told if isinstance(told, str) else None
    elif kind == "ConversationErrorEvent":
        error = f"{event.get('code')}: {event.get('detail')}"
    text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
    refused = kind == "MessageEvent" and event.get("source") == "user" and _REFUSAL in text
    return ServerEvent(kind, status, error, stats, refused)


def parse_version(text: str | None) -> tuple[int, ...] | None:
    """``1.58.0`` as (1, 58, 0); None for what is no release, such as "unknown"."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text or "")
    return tuple(int(part or 0) for part in match.groups()) if match else None


class EventStream:
    """The events of one conversation. Iterate with ``receive``; close it when done."""

    def __init__(self, connection: ClientConnection, resources: ExitStack) -> None:
        self._connection = connection
        self._resources = resources

    def receive(self, timeout: float) -> ServerEvent | None:
        """The next event, None after ``timeout`` seconds without one.

        Raises ``websockets.exceptions.ConnectionClosed`` when the server ended the stream.
        """
        try:
            return parse_event(self._connection.recv(timeout=timeout))
        except TimeoutError:
            return None

    def close(self) -> None:
        """Close the socket; idempotent."""
        self._resources.close()


class AgentServer:
    """One server at ``base_url`` (http://host:port). ``session_key`` is sent once it is set.

    ``timeout`` bounds each request as a whole, in seconds. ``not_after``, a moment on the monotonic clock,
    bounds whatever is asked before it is changed again.
    """

    def __init__(self, base_url: str, timeout: float = 10.0) -> None:
        self.base_url = base_url
        self.session_key: str | None = None
        self.not_after = math.inf
        self._timeout = timeout
        self._transport = BoundedTransport()
        # No proxy and no other setting of the environment may come between us and the container.
        self._http = httpx.Client(base_url=base_url, transport=self._transport, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        anonymous: bool = False,
        timeout: float | None = None,
    ) -> Reply:
        """Send one request; ``body`` goes as JSON, ``content`` as it is.

        ``anonymous`` leaves the session key out. ``timeout`` is in seconds, like the client's.
        Raises ``httpx.TimeoutException`` where the whole answer did not come in time.
        """
        sent = dict(headers or {})
        if self.session_key and not anonymous:
            sent.setdefault(SESSION_HEADER, self.session_key)
        if content is None and body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        limit = self._within(timeout or self._timeout)
        self._transport.ends_at = time.monotonic() + limit
        received = bytearray()
        with self._http.stream(method, path, content=content, headers=sent, timeout=limit) as response:
            for chunk in response.iter_bytes():
                received += chunk
                if len(received) > MAX_BODY_BYTES:
                    break
        broken = None
        if len(received) > MAX_BODY_BYTES:
            broken = f"more than {MAX_BODY_BYTES >> 20} MB: the rest was not read"
            del received[_BEGINNING:]
        else:
            try:
                received.decode()
            except UnicodeDecodeError as error:
                broken = f"not UTF-8: {error}"
        text = received.decode("utf-8", "replace")
        return Reply(
            method, path, response.status_code, text, response.headers.get("Content-Type", ""), broken
        )

    def _within(self, timeout: float) -> float:
        """``timeout``, or what is left until ``not_after``; a moment where nothing is."""
        return max(0.001, min(timeout, self.not_after - time.monotonic()))

    def get(self, path: str, **options: Any) -> Reply:
        return self.request("GET", path, **options)

    def init_state(self, timeout: float | None = None) -> Reply:
        return self.get("/api/init", timeout=timeout)

    def init(self, key: str | None, body: Any = None, *, content: bytes | None = None) -> Reply:
        """POST /api/init; ``key`` None leaves the header out."""
        headers = {INIT_HEADER: key} if key is not None else {}
        return self.request("POST", "/api/init", body=body, content=content, headers=headers)

    def create_conversation(self, body: Mapping[str, Any]) -> Reply:
        return self.request("POST", "/api/conversations", body=body)

    def send_message(self, conversation: str, text: str) -> Reply:
        """Say more in a conversation, and let its agent run."""
        body = {"role": "user", "content": [{"type": "text", "text": text}], "run": True}
        return self.request("POST", f"/api/conversations/{conversation}/events", body=body)

    def conversation(self, conversation: str, timeout: float | None = None) -> Reply:
        return self.get(f"/api/conversations/{conversation}", timeout=timeout)

    def final_response(self, conversation: str) -> Reply:
        return self.get(f"/api/conversations/{conversation}/agent_final_response")

    def last_error(self, conversation: str) -> str | None:
        """The newest ConversationErrorEvent over REST, for when the WebSocket did not tell."""
        items = self.events_so_far(conversation, limit=50).field("items")
        for item in items if isinstance(items, list) else []:
            event = parse_event(json.dumps(item, default=str))
            if event and event.error:
                return event.error
        return None

    def events_so_far(self, conversation: str, limit: int = 100) -> Reply:
        """The newest events over REST, the newest first; the server gives 100 at the most."""
        query = f"sort_order=TIMESTAMP_DESC&limit={limit}"
        return self.get(f"/api/conversations/{conversation}/events/search?{query}")

    def execute_bash(self, command: str, limit: int, timeout: float) -> Reply:
        """Run a command to its end, by /bin/sh. The server ends it after ``limit`` whole seconds."""
        body = {"command": command, "timeout": limit}
        return self.request("POST", "/api/bash/execute_bash_command", body=body, timeout=timeout)

    def delete_conversation(self, conversation: str) -> Reply:
        return self.request("DELETE", f"/api/conversations/{conversation}")

    def events(self, conversation: str, timeout: float = 10.0) -> EventStream:
        """Open the events WebSocket, past events included.

        Raises one of ``STREAM_ERRORS`` where it cannot be had.
        """
        timeout = self._within(timeout)
        url = self.base_url.replace("http", "ws", 1) + f"/sockets/events/{conversation}?resend_mode=all"
        # No pings: a server that is slow to answer them has not broken the stream, and who listens also asks.
        options: dict[str, Any] = {"ping_interval": None, "proxy": None, "max_size": MAX_BODY_BYTES}
        with ExitStack() as stack:
            connection = stack.enter_context(connect(url, open_timeout=timeout, close_timeout=2, **options))
            if self.session_key:
                connection.send(json.dumps({"type": "auth", "session_api_key": self.session_key}))
            return EventStream(connection, stack.pop_all())

    def events_handshake(self, conversation: str, timeout: float = 10.0) -> int:
        """The HTTP status of the events WebSocket's handshake: 101 where it was accepted."""
        try:
            self.events(conversation, timeout).close()
        except InvalidStatus as refusal:
            return refusal.response.status_code
        return 101


STREAM_ERRORS = (WebSocketException, OSError, TimeoutError)
