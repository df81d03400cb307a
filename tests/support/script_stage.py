"""A script in a process of its own, a broker, and servers that are there at once or fail as they are told."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from e2e_matrix.script.broker import Booted, BootRequest, Broker, Call

CONVERSATION = "0f8fad5b-d9cb-469f-a165-70867728950e"
_LONGEST = 30.0  # seconds that a script may take here


def _newest_python() -> str:
    """A Python that is new enough for scripts, where this machine has one besides that of the tests."""
    found = sorted(Path.home().glob(".pyenv/versions/3.1[2-9]*/bin/python"))
    return str(found[-1]) if found else shutil.which("python3.13") or sys.executable


PYTHON = _newest_python()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # with connections that are kept

    def do_GET(self) -> None:
        if self.path == "/hang-up":
            self.close_connection = True
            return
        paths = {
            "/health": {"status": "ok"},
            f"/api/conversations/{CONVERSATION}": {"execution_status": "finished", "secret": "of the body"},
        }
        body = paths.get(self.path.partition("?")[0])
        self._answer(404 if body is None else 200, body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, {"id": CONVERSATION, "execution_status": "running"})

    def _answer(self, status: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def http_server() -> Iterator[str]:
    """Yields the base URL of a server that answers a little as an agent-server does."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Ended:
    """What came of a script; calls and servers in the order in which the runner learned of them."""

    code: int
    output: str
    errors: str


@dataclass
class Stage:
    """``boot`` may be replaced. The script lies in ``folder``, which holds nothing else at first."""

    folder: Path
    broker: Broker
    boot: Callable[[BootRequest], Booted]
    calls: list[Call] = field(default_factory=list)
    booted: list[BootRequest] = field(default_factory=list)
    stopped: list[Booted] = field(default_factory=list)
    beside: Callable[[], None] = lambda: None  # called again and again while the script runs

    def run(self, script: str, *, environment: Mapping[str, str] | None = None) -> Ended:
        """Run the script to its end, and do for it what the runner does."""
        file = self.folder / "script.py"
        file.write_text(textwrap.dedent(script))
        path = f"{Path(PYTHON).parent}:{os.environ['PATH']}"
        # httpx and requests need nothing that is compiled: those of this Python do for the other.
        packages = [self.broker.environment["PYTHONPATH"], str(Path(httpx.__file__).parents[1])]
        known = {**self.broker.environment, "PYTHONPATH": ":".join(packages), "PATH": path}
        known |= {"PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
        with (
            tempfile.TemporaryFile("w+") as output,
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(
                [PYTHON, str(file)], cwd=self.folder, env=known, stdout=output, stderr=errors
            ) as child,
        ):
            ends_at = time.monotonic() + _LONGEST
            try:
                while child.poll() is None:
                    assert time.monotonic() < ends_at, "the script does not end"
                    self.beside()
                    self.handle(0.02)
            finally:
                child.kill()
            texts = []
            for stream in (output, errors):
                stream.seek(0)
                texts.append(stream.read())
        self.broker.close()
        while self.handle(0):
            pass
        return Ended(child.returncode, *texts)

    def handle(self, timeout: float) -> bool:
        return self.broker.handle(timeout, self._boot, self.stopped.append)

    def _boot(self, request: BootRequest) -> Booted:
        self.booted.append(request)
        return self.boot(request)

    def seen(self) -> list[tuple[str, str, int | None]]:
        return [(call.method, call.path, call.status) for call in self.calls]


@contextmanager
def stage() -> Iterator[Stage]:
    with (
        # Short: the address of a Unix socket has 108 bytes.
        tempfile.TemporaryDirectory(prefix="stage-") as name,
        http_server() as url,
    ):
        folder = Path(name)
        for part in ("line", "script"):
            (folder / part).mkdir()
        calls: list[Call] = []
        broker = Broker(folder / "line", calls.append)
        try:
            key = "a-session-key"
            made = Stage(
                folder / "script",
                broker,
                lambda request: Booted(url, key if request.use_session_api_key else None),
                calls,
            )
            yield made
        finally:
            broker.close()
