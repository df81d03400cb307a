"""A unix socket that forwards to the real engine's.

It can be cut, as by an engine that dies and comes back, and a request can be held up.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

_LONGEST_HOLD = 60.0  # seconds


class EngineProxy:
    def __init__(self, path: Path, upstream: str = "/var/run/docker.sock") -> None:
        self.address = f"unix://{path}"
        self._path, self._upstream = path, upstream
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listening: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self._held_up: _HeldUp | None = None
        self.listen()

    def listen(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self._path))
        self._listening.listen()
        self._spawn(self._accept, self._listening)

    def cut(self) -> None:
        """Close every connection and listen no more; the socket's file stays, as after a crash."""
        with self._lock:
            ending = [*([self._listening] if self._listening else []), *self._open]
            self._listening = None
        for one in ending:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def hold_up(self, beginning: bytes) -> threading.Event:
        """Keep the next request that begins so from the engine, until another does; set once it is kept."""
        self._held_up = _HeldUp(beginning)
        return self._held_up.kept

    def _accept(self, listening: socket.socket) -> None:
        with listening:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._upstream)
                with self._lock:
                    self._open |= {client, engine}
                self._spawn(self._serve, client, engine)

    def _serve(self, client: socket.socket, engine: socket.socket) -> None:
        with client, engine:
            back = threading.Thread(target=self._pump, args=(engine, client))
            back.start()
            self._pump(client, engine, self._wait_if_held_up)
            back.join()
            with self._lock:
                self._open -= {client, engine}

    def _wait_if_held_up(self, data: bytes) -> None:
        if self._held_up:
            self._held_up.wait(data)

    @staticmethod
    def _pump(
        source: socket.socket, sink: socket.socket, before: Callable[[bytes], None] = lambda data: None
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                before(data)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def _spawn(self, target: object, *arguments: socket.socket) -> None:
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()


class _HeldUp:
    """A request that waits for the next one of its kind."""

    def __init__(self, beginning: bytes) -> None:
        self.kept = threading.Event()
        self._beginning = beginning
        self._let_go = threading.Event()
        self._lock = threading.Lock()

    def wait(self, data: bytes) -> None:
        if not data.startswith(self._beginning):
            return
        with self._lock:
            is_first = not self.kept.is_set()
            self.kept.set()
        if is_first:
            self._let_go.wait(_LONGEST_HOLD)
        else:
            self._let_go.set()


@contextlib.contextmanager
def engine_proxy(path: Path) -> Iterator[EngineProxy]:
    proxy = EngineProxy(path)
    try:
        yield proxy
    finally:
        proxy.cut()
