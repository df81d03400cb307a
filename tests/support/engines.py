"""The two engines as the conformance suite sees them: one image, one set of verbs, one way to start them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from e2e_matrix import owner
from e2e_matrix.engine.base import LABEL_DEADLINE, LABEL_OWNER, LABEL_RUN, ContainerSpec, Engine
from e2e_matrix.engine.fake import FakeEngine, FakeImage, FakeProcess, Program
from e2e_matrix.errors import CellFailure
from support.tiny_image import PORT


class OnThisHost(FakeEngine):
    """One whose containers reach this host, as a model's endpoint of ours needs it."""

    def host_gateway(self) -> str:
        return "127.0.0.1"


@dataclass
class World:
    """An engine, an image that its registry serves, and the containers that a test made."""

    engine: Engine
    image: str
    run: str = field(default_factory=lambda: f"test-{secrets.token_hex(4)}")
    _made: list[str] = field(default_factory=list)

    def spec(self, *command: str, **changes: Any) -> ContainerSpec:
        wanted: dict[str, Any] = {
            "image": self.image,
            "platform": "linux/amd64",
            "name": f"{self.run}-{len(self._made)}",
            "labels": {
                LABEL_RUN: self.run,
                LABEL_OWNER: owner.current(),
                LABEL_DEADLINE: owner.deadline_label(600),
            },
            "command": command,
            **changes,
        }
        return ContainerSpec(**wanted)

    def create(self, *command: str, **changes: Any) -> str:
        container = self.engine.create(self.spec(*command, **changes))
        self._made.append(container)
        return container

    def start(self, *command: str, **changes: Any) -> str:
        container = self.create(*command, **changes)
        self.engine.start(container)
        return container

    @contextmanager
    def watched(self, container: str) -> Iterator[Callable[[float], bool]]:
        """Gives ``ended(seconds)``."""
        watch = self.engine.watch_exit(container)
        try:
            yield watch.exited.wait
        finally:
            watch.close()

    def finish(self, *command: str, **changes: Any) -> str:
        """Start and wait for the end."""
        container = self.start(*command, **changes)
        with self.watched(container) as ended:
            assert ended(20), f"{command} did not end"
        return container

    def clean(self) -> None:
        for container in self._made:
            with suppress(CellFailure):
                self.engine.remove(container)


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _program(process: FakeProcess) -> int:
    match process.arguments:
        case ["exit", code]:
            return int(code)
        case ["exit-after", seconds, code]:
            process.sleep(float(seconds))
            return int(code)
        case ["print", out, err]:
            process.print(f"{out}\n")
            process.print(f"{err}\n")
            return 0
        case ["print-and-stay", text]:
            process.print(f"{text}\n")
            process.sleep()
        case ["flood", size]:
            process.print(b"x" * int(size) + b"\nend\n")
            return 0
        case ["count", number, pause]:
            for n in range(int(number)):
                process.print(f"line {n}\nerror {n}\n")
                process.sleep(float(pause))
            return 0
        case ["environment"]:
            process.print(process.environment["GREETING"])
            return 0
        case ["read", path]:
            process.print(process.read(path))
            return 0
        case ["write", path, text]:
            try:
                process.write(path, text.encode())
            except OSError as error:
                process.print(f"{error.strerror}\n")
                return 1
            return 0
        case ["stay"]:
            process.wait_for_term()
            return 0
        case ["deaf"]:
            process.sleep()
        case ["serve"]:
            process.serve_http(PORT, _Hello)
            process.sleep()
        case ["eat"]:
            process.use_memory(1 << 40)
        case ["sleep", seconds]:
            process.sleep(float(seconds))
            return 0
    return 64


PROGRAMS: dict[str, Program] = {"/program": _program}

FAKE_IMAGE = FakeImage(
    PROGRAMS,
    ("/program",),
    labels={"tiny": "yes"},
    environment={"PATH": "/bin", "GREETING": "hello"},
    user="1234",
)
