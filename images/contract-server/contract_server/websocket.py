"""The frames of a WebSocket, from the server's side (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from io import BufferedIOBase

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_FINAL = 0x80
_MAX_FRAME = 8 * 1024 * 1024


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()


class Gone(Exception):
    """The other side closed, or its connection broke."""


class WebSocket:
    """One accepted connection. Frames may be sent from any thread and are read from one."""

    def __init__(self, connection: socket.socket, stream: BufferedIOBase) -> None:
        self._connection = connection
        self._stream = stream
        self._lock = threading.Lock()

    def receive(self, within: float | None = None) -> str:
        """The next text; answers pings and a close itself.

        Raises ``Gone``, and ``TimeoutError`` where nothing comes ``within`` so many seconds; nothing can be
        read after that.
        """
        self._connection.settimeout(within)
        while True:
            kind, data = self._read()
            if kind in (TEXT, BINARY):
                return data.decode("utf-8", "replace")
            if kind == PING:
                self.send(PONG, data)
            elif kind == CLOSE:
                self.send(CLOSE, data[:2])
                raise Gone

    def _read(self) -> tuple[int, bytes]:
        try:
            head = self._exactly(2)
            kind, length = head[0] & 0x0F, head[1] & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", self._exactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self._exactly(8))
            if length > _MAX_FRAME:
                raise Gone
            mask = self._exactly(4) if head[1] & 0x80 else bytes(4)
            data = self._exactly(length)
        except TimeoutError:
            raise
        except (OSError, ValueError) as error:
            raise Gone from error
        return kind, bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise Gone
        return data

    def send(self, kind: int, data: bytes) -> None:
        """Send one whole frame. Raises ``Gone``."""
        if len(data) < 126:
            length = bytes([len(data)])
        elif len(data) < 1 << 16:
            length = struct.pack("!BH", 126, len(data))
        else:
            length = struct.pack("!BQ", 127, len(data))
        self.send_raw(bytes([_FINAL | kind]) + length + data)

    def send_raw(self, data: bytes) -> None:
        """Send bytes that may be no frame at all. Raises ``Gone``."""
        try:
            with self._lock:
                self._connection.sendall(data)
        except OSError as error:
            raise Gone from error

    def close(self, code: int, reason: str) -> None:
        """Say goodbye, and wait a moment for the other side's."""
        self.send(CLOSE, struct.pack("!H", code) + reason.encode())
        self._connection.settimeout(2)
        while True:
            try:
                if self._read()[0] == CLOSE:
                    return
            except (Gone, TimeoutError):
                return

    def cut(self) -> None:
        """End the connection without a word."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is gone already
