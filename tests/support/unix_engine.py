"""Something that answers GET /version on a Unix socket as a Docker engine would; also a stand-in for dockerd.

As a program: ``python unix_engine.py SOCKET`` serves until it is killed.
"""

from __future__ import annotations

import json
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any


class _Version(BaseHTTPRequestHandler):
    answer: dict[str, str]

    def do_GET(self) -> None:
        body = json.dumps(self.answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass


def server(path: Path, api: str = "1.41", kernel: str = platform.release()) -> ThreadingUnixStreamServer:
    """Bound and listening; ``api`` is the newest version that it speaks."""
    answer = {"Version": "test", "ApiVersion": api, "MinAPIVersion": "1.12", "KernelVersion": kernel}
    handler = type("Version", (_Version,), {"answer": answer})
    bound = ThreadingUnixStreamServer(str(path), handler)
    bound.daemon_threads = True
    return bound


@contextmanager
def serving(path: Path, api: str = "1.41", kernel: str = platform.release()) -> Iterator[str]:
    """Answers while the block runs; gives the address for DOCKER_HOST."""
    with server(path, api, kernel) as bound:
        thread = threading.Thread(target=bound.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            bound.shutdown()
            thread.join()


if __name__ == "__main__":
    server(Path(sys.argv[1])).serve_forever()
