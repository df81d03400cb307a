"""The way to the runner (broker.py): JSON lines over a Unix socket that no other user can reach."""

import json
import os
import socket
import threading
from typing import Any

FOLDER = os.environ["E2E_MATRIX_LINE"]
_PATIENCE = 5.0  # seconds that a script may be held up for the trace, once


class Line:
    """One connection. A server that was booted over it is stopped when it ends, however it does.

    Every method raises ``OSError`` where the runner is gone, or is silent for more than ``limit`` seconds.
    """

    def __init__(self, limit: float | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.path.join(FOLDER, "broker.sock"))
        # Not before: with a limit, connecting does not wait in a queue that is full (connect(2), EAGAIN).
        self._socket.settimeout(limit)

    def tell(self, message: dict[str, Any]) -> None:
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send ``message`` and wait for its answer."""
        self.tell(message)
        with self._socket.makefile("rb") as answers:
            answer = answers.readline()
        if not answer:
            raise ConnectionResetError("it is gone")
        return json.loads(answer)  # type: ignore[no-any-return]

    def wait(self, message: dict[str, Any]) -> None:
        """Send ``message`` and wait until the runner hangs up: that is how it says that something is done."""
        self.tell(message)
        self._socket.recv(1)

    def close(self) -> None:
        self._socket.close()


class Teller:
    """A line that stays open for what needs no answer. Once the runner is gone, nothing more is told."""

    def __init__(self) -> None:
        self._fresh()
        # A fork would share its parent's line, and perhaps a lock that nobody opens again.
        os.register_at_fork(after_in_child=self._fresh)

    def _fresh(self) -> None:
        self._line: Line | None = None
        self._lost = False
        self._lock = threading.Lock()

    def tell(self, message: dict[str, Any]) -> None:
        with self._lock:
            if self._lost:
                return
            try:
                self._line = self._line or Line(_PATIENCE)
                self._line.tell(message)
            except OSError:
                self._lost = True
