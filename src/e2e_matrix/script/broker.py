"""The runner's end of the line to a script's process; inside/ is the other one.

A script asks for a server where it would have started one, says when it needs it no longer, and tells of each
request that it sent. All this comes over a Unix socket, as one JSON object a line:

    {"boot": {...}}   answered by {"base_url", "session_api_key"} or {"error"}
    {"stop": true}    for what was booted over this connection; answered by {}; its end means the same
    {"wait": port}    answered by hanging up, as soon as no server is being booted for this port
    {"call": {...}}   a ``Call``; not answered

ports.json, beside the socket, is what the script's connections are redirected by.
The script is somebody's program and may say anything: what is not one of these lines ends its connection.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from e2e_matrix.errors import CellFailure

INSIDE = Path(__file__).parent / "inside"

# Where an agent-server listens if nobody says otherwise.
DEFAULT_PORT = 8000

_LONGEST_LINE = 1 << 20  # bytes
_MOST_CONNECTIONS = 200  # a process of the script has one for its requests, and one for each of its servers
_LONGEST_TEXT = 2000  # characters of a path or key
_ID = re.compile(r"[0-9a-fA-F-]{32,36}")
_LAST_WORDS = 2.0  # seconds at the most for reading what was sent before the end


@dataclass(frozen=True)
class BootRequest:
    """What is wanted of a server. ``port``: where the script looks for it, None where it is told."""

    port: int | None
    host: str
    extra_env: Mapping[str, str]
    use_session_api_key: bool


@dataclass(frozen=True)
class Booted:
    """A server that answers. ``session_api_key`` is a secret."""

    base_url: str
    session_api_key: str | None


@dataclass(frozen=True)
class Call:
    """One HTTP request that the script, or a Python process of its, sent to one of the servers.

    ``started`` and ``ended`` are ``time.monotonic()`` in its process: one clock for a whole Linux host.
    Everything but ``base_url`` is the script's word. ``session_key`` is a secret.
    """

    method: str
    path: str  # without its query
    status: int | None  # None: no answer
    started: float
    ended: float
    base_url: str  # of the server that it went to, where it really is
    session_key: str | None
    conversation: str | None  # the id in the path, or in the answer of POST /api/conversations
    execution_status: str | None  # what GET /api/conversations/{id} answered


class Broker:
    """Listens on ``folder``/broker.sock until it is closed. ``on_call`` is called on its own thread."""

    def __init__(self, folder: Path, on_call: Callable[[Call], None]) -> None:
        self.failures: list[CellFailure] = []  # what boots and stops failed with, in their order
        self.environment: Mapping[str, str] = {"PYTHONPATH": str(INSIDE), "E2E_MATRIX_LINE": str(folder)}
        self._on_call = on_call
        self._ports = _Ports(folder / "ports.json")
        self._requests: queue.SimpleQueue[_Connection] = queue.SimpleQueue()
        self._lock = threading.Lock()  # over what has become of a connection
        self._closing = threading.Event()
        folder.chmod(0o700)
        self._file = folder / "broker.sock"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self._file))
        self._listener.listen()
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for end in (self._listener, self._woken):
            end.setblocking(False)
            self._selector.register(end, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._listen, name="broker", daemon=True)
        self._thread.start()

    def handle(
        self, timeout: float, boot: Callable[[BootRequest], Booted], stop: Callable[[Booted], None]
    ) -> bool:
        """Wait up to ``timeout`` s for one boot or stop, and do it on this thread; False if there was none.

        A ``CellFailure`` of either is kept in ``failures``; the script learns of a boot's as a RuntimeError.
        """
        try:
            connection = self._requests.get(timeout=timeout)
        except queue.Empty:
            return False
        if connection.booted:
            self._stop(connection, connection.booted, stop)
        elif connection.request:
            self._boot(connection, connection.request, boot)
        return True

    def serve_first(self, booted: Booted) -> None:
        """Let the script find a server that nobody asked for, where it looks for one by default as well."""
        self._ports.serve_first(booted.base_url)

    def close(self) -> None:
        """Read what is left to read, and hang up. Whoever waits for a server gets none, and what has one
        needs it no longer."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.send(b"x")
        self._thread.join()
        self._ports.close()
        for key in list(self._selector.get_map().values()):
            if key.data:
                self._is_over(key.data)
            cast(socket.socket, key.fileobj).close()
        self._selector.close()
        self._wake.close()
        self._file.unlink(missing_ok=True)

    def _boot(
        self, connection: _Connection, request: BootRequest, boot: Callable[[BootRequest], Booted]
    ) -> None:
        if connection.is_over:
            self._ports.release(connection.port)
            return
        try:
            booted = boot(request)
        except CellFailure as failure:
            self.failures.append(failure)
            self._ports.release(connection.port)
            connection.answer({"error": failure.message})
            return
        self._ports.settle(connection.port, booted.base_url)
        with self._lock:
            connection.booted = booted
            if connection.is_over:  # the script was gone before the server was there
                self._requests.put(connection)
        connection.answer({"base_url": booted.base_url, "session_api_key": booted.session_api_key})

    def _stop(self, connection: _Connection, booted: Booted, stop: Callable[[Booted], None]) -> None:
        try:
            stop(booted)
        except CellFailure as failure:
            self.failures.append(failure)
        finally:
            self._ports.release(connection.port)
        connection.answer({})

    # From here on: on the broker's thread, or when that has ended.

    def _listen(self) -> None:
        while not self._closing.is_set():
            self._turn(None)
        ends_at = time.monotonic() + _LAST_WORDS
        while self._turn(0) and time.monotonic() < ends_at:
            pass

    def _turn(self, timeout: float | None) -> bool:
        """Take what comes within ``timeout`` seconds; whether anything came."""
        ready = self._selector.select(timeout)
        for key, _ in ready:
            if key.data:
                self._read(key.data)
            elif key.fileobj is self._listener:
                self._accept()
            else:
                self._woken.recv(1)
        return bool(ready)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # it did not wait for us
        client.setblocking(False)
        if len(self._selector.get_map()) > _MOST_CONNECTIONS:
            client.close()
        else:
            self._selector.register(client, selectors.EVENT_READ, _Connection(client))

    def _read(self, connection: _Connection) -> None:
        try:
            piece = connection.socket.recv(1 << 16)
        except OSError:
            piece = b""
        *lines, connection.unread = (connection.unread + piece).split(b"\n")
        understood = all(self._hear(connection, line) for line in lines)
        if piece and understood and len(connection.unread) <= _LONGEST_LINE:
            return
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._is_over(connection)

    def _hear(self, connection: _Connection, line: bytes) -> bool:
        """Do what one line says; whether it could be understood."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return False
        match message:
            case {"call": dict(told)}:
                call = _call(told)
                if call and self._ports.has_served(call.base_url):
                    self._on_call(call)
            case {"wait": int(port)}:
                self._ports.wait(port, connection)
            case {"boot": dict(wanted)} if connection.request is None:
                self._ask(connection, wanted)
            case {"stop": True}:
                self._is_over(connection)
            case _:
                return False
        return True

    def _ask(self, connection: _Connection, wanted: dict[str, Any]) -> None:
        request = _boot_request(wanted)
        if request is None or request.port is None:
            connection.answer({"error": "it needs a port from 1 to 65535, and text as its environment"})
            return
        try:
            is_free = self._ports.take(request.port)
        except OSError as error:
            connection.answer({"error": str(error)})
            return
        if is_free:
            connection.request, connection.port = request, request.port
            self._requests.put(connection)
        else:
            connection.answer({"error": f"another server of this script has port {request.port}"})

    def _is_over(self, connection: _Connection) -> None:
        with self._lock:
            if connection.booted and not connection.is_over:
                self._requests.put(connection)
            connection.is_over = True


class _Connection:
    """One line. Only the broker's thread reads and closes it."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self.unread = b""
        self.request: BootRequest | None = None
        self.port = 0  # that of the request
        self.booted: Booted | None = None
        self.is_over = False  # its server is not needed any more

    def answer(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it may be gone
            self.socket.sendall(json.dumps(message).encode() + b"\n")

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class _Ports:
    """Which server answers for which port: ports.json, a base URL by port, null while the server boots."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._urls: dict[int, str | None] = {}
        self._asked: set[int] = set()
        self._served: set[str] = set()
        self._waiting: list[tuple[int, _Connection]] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def take(self, port: int) -> bool:
        """A server will be booted for ``port``; False where it has one."""
        with self._lock:
            if port in self._asked:
                return False
            self._asked.add(port)
            self._set(port, None)
            return True

    def settle(self, port: int, url: str) -> None:
        with self._lock:
            self._set(port, url)

    def serve_first(self, url: str) -> None:
        with self._lock:
            self._set(DEFAULT_PORT, url)

    def release(self, port: int) -> None:
        with self._lock:
            self._asked.discard(port)
            del self._urls[port]
            self._write()

    def wait(self, port: int, connection: _Connection) -> None:
        """Hang up when no server is being booted for ``port``."""
        with self._lock:
            self._waiting.append((port, connection))
            self._answer_waiting()

    def has_served(self, url: str) -> bool:
        with self._lock:
            return url in self._served

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._file.unlink(missing_ok=True)

    def _set(self, port: int, url: str | None) -> None:
        self._urls[port] = url
        if url:
            self._served.add(url)
        self._write()

    def _write(self) -> None:
        if self._is_closed:
            return
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(self._urls))
        new.replace(self._file)
        self._answer_waiting()

    def _answer_waiting(self) -> None:
        settled = [entry for entry in self._waiting if self._urls.get(entry[0], "") is not None]
        for entry in settled:
            self._waiting.remove(entry)
            entry[1].hang_up()


def _boot_request(wanted: dict[str, Any]) -> BootRequest | None:
    match wanted:
        case {
            "port": int(port),
            "host": str(host),
            "extra_env": dict(environment),
            "use_session_api_key": bool(use_key),
        } if 0 < port < 65536 and all(isinstance(value, str) for value in environment.values()):
            return BootRequest(port, host, environment, use_key)
    return None


def _call(told: dict[str, Any]) -> Call | None:
    match told:
        case {
            "method": str(method),
            "path": str(path),
            "status": int() | None as status,
            "started": float(started),
            "ended": float(ended),
            "base_url": str(base_url),
        } if (status is None or 100 <= status <= 999) and 0 <= started <= ended <= time.monotonic():
            conversation = _text(told, "conversation")
            return Call(
                method=method[:_LONGEST_TEXT],
                path=path[:_LONGEST_TEXT],
                status=status,
                started=started,
                ended=ended,
                base_url=base_url,
                session_key=_text(told, "session_key"),
                conversation=conversation if conversation and _ID.fullmatch(conversation) else None,
                execution_status=_text(told, "execution_status"),
            )
    return None


def _text(told: dict[str, Any], name: str) -> str | None:
    value = told.get(name)
    return value[:_LONGEST_TEXT] if isinstance(value, str) else None
