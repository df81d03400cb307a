"""A registry that misbehaves on demand: each path has replies, given out in turn, the last one for ever."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Reply:
    """``declared_length`` lies about the body's length; ``stall`` sends nothing until the server closes;
    ``trickle`` sends the status line byte by byte, a byte every so many seconds."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    declared_length: int | None = None
    stall: bool = False
    trickle: float = 0.0


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: Message
    body: bytes


def json_reply(document: Any, media_type: str, **headers: str) -> Reply:
    return Reply(body=json.dumps(document).encode(), headers={"Content-Type": media_type, **headers})


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


class FaultServer:
    """Listens on ``address`` and a free port; records every request. TLS with a ``certificate``."""

    def __init__(self, address: str = "127.0.0.1", certificate: Path | None = None) -> None:
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        self._replies: dict[str, list[Reply]] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer((address, 0), _handler(self))
        self._server.daemon_threads = False  # joined when it closes: nothing may outlive the test
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.host = f"{address}:{self._server.server_address[1]}"
        self.url = f"{'https' if certificate else 'http'}://{self.host}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> FaultServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def on(self, path: str, *replies: Reply) -> None:
        self._replies[path] = list(replies)

    def next_reply(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            replies = self._replies.get(seen.path.partition("?")[0], [Reply(404)])
            return replies.pop(0) if len(replies) > 1 else replies[0]

    def asked(self, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.path.partition("?")[0] == path]


def _handler(owner: FaultServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # an idle client does not hold the server open

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = owner.next_reply(Seen(self.command, self.path, self.headers, body))
            if reply.stall:
                owner.closing.wait(30)
                return
            if reply.trickle:
                for byte in b"HTTP/1.0 200 " + b"x" * 10_000:
                    if owner.closing.wait(reply.trickle):
                        return
                    self._write(bytes([byte]))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            length = len(reply.body) if reply.declared_length is None else reply.declared_length
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self._write(reply.body)

        def _write(self, data: bytes) -> None:
            try:
                self.wfile.write(data)
                self.wfile.flush()
            except ConnectionError:
                self.close_connection = True  # the client has had enough, which is what some tests want

        do_GET = do_HEAD = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
