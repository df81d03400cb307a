"""A registry that can be made to fail on demand, in front of one that works: what it lets through is real."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

_FORWARDED = (
    *("Content-Type", "Content-Length", "Content-Range", "Accept-Ranges"),
    *("Docker-Content-Digest", "Docker-Distribution-Api-Version"),
)


class RegistryGate:
    """Forwards GET and HEAD to ``upstream``. ``fail(kind, path, times)`` makes requests whose path has that
    part go wrong:

    ``cut``: half of the body, then the connection is closed; ``hang``: half of the body, then nothing;
    ``silent``: nothing at all; ``corrupt``: one byte is another; ``busy``: 429 with Retry-After: 1;
    ``refuse``: the connection is closed without an answer.
    """

    def __init__(self, upstream: str) -> None:
        self.opened = threading.Event()  # set: whatever hangs goes on to its end
        self.failed: list[str] = []  # the paths that have gone wrong, a request each
        self._upstream = httpx.Client(base_url=f"http://{upstream}", trust_env=False, timeout=30)
        self._faults: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread.start()

    def fail(self, kind: str, path: str, times: int) -> None:
        with self._lock:
            self._faults += [(kind, path)] * times

    def fault(self, path: str) -> str:
        """The fault for one request, which is used up; "" where it is served."""
        with self._lock:
            for fault in self._faults:
                if fault[1] in path:
                    self._faults.remove(fault)
                    return fault[0]
        return ""

    def get(self, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
        return self._upstream.request(method, path, headers=headers)

    def close(self) -> None:
        self.opened.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._upstream.close()


def _handler(gate: RegistryGate) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def answer(self) -> None:
            fault = gate.fault(self.path)
            self.close_connection = True
            if fault and fault != "hang":
                gate.failed.append(self.path)
            if fault == "refuse":
                return
            if fault == "silent":
                gate.opened.wait(60)
                return
            if fault == "busy":
                self.send_response(429)
                self.send_header("Retry-After", "1")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            asked = {"Accept": ", ".join(self.headers.get_all("Accept") or ["*/*"])}
            if wanted := self.headers.get("Range"):
                asked["Range"] = wanted
            found = gate.get(self.command, self.path, asked)
            self.send_response(found.status_code)
            for name in _FORWARDED:
                if name in found.headers:
                    self.send_header(name, found.headers[name])
            self.end_headers()
            if self.command == "HEAD":
                return
            body, half = found.content, len(found.content) // 2
            if fault == "corrupt":
                body = body[:half] + bytes([body[half] ^ 0xFF]) + body[half + 1 :]
            try:
                self.wfile.write(body if fault not in ("cut", "hang") else body[:half])
                self.wfile.flush()
                if fault == "hang":
                    gate.failed.append(self.path)
                    gate.opened.wait(60)
            except ConnectionError:
                return  # who asked has had enough

        do_GET = do_HEAD = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def registry_gate(upstream: str) -> Iterator[RegistryGate]:
    gate = RegistryGate(upstream)
    try:
        yield gate
    finally:
        gate.close()
