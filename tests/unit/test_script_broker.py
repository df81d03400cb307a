"""The runner's end of the line, and what a hostile script may say to it."""

from __future__ import annotations

import json
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.script.broker import Booted, BootRequest, Broker, Call

BOOTED = Booted("http://127.0.0.1:32768", None)
BOOT = {"boot": {"port": 8003, "host": "127.0.0.1", "extra_env": {}, "use_session_api_key": False}}
CALL = {
    "method": "GET",
    "path": "/health",
    "status": 200,
    "started": 1.0,
    "ended": 2.5,
    "base_url": BOOTED.base_url,
    "session_key": None,
    "conversation": None,
    "execution_status": None,
}


class Line:
    """What a script's process has: a connection, and lines."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(folder / "broker.sock"))
        self.socket.settimeout(5.0)

    def send(self, *messages: Any) -> None:
        self.socket.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def answer(self) -> Any:
        with self.socket.makefile() as lines:
            return json.loads(lines.readline())

    def is_hung_up(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


class Scene:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[Call] = []
        self.stopped: list[Booted] = []
        self.broker = Broker(folder, self.calls.append)
        self._lines: list[Line] = []

    def line(self) -> Line:
        self._lines.append(Line(self.folder))
        return self._lines[-1]

    def handle(self, timeout: float = 5.0) -> bool:
        return self.broker.handle(timeout, lambda request: BOOTED, self.stopped.append)

    def settle(self) -> None:
        """Return when the broker has heard what was said before, and then its end."""
        for _ in range(3):
            line = self.line()
            line.send({"wait": 1})
            assert line.is_hung_up()

    def ports(self) -> Any:
        return json.loads((self.folder / "ports.json").read_text())

    def close(self) -> None:
        self.broker.close()
        for line in self._lines:
            line.socket.close()


@pytest.fixture
def scene() -> Iterator[Scene]:
    with _folder() as folder:
        made = Scene(folder)
        yield made
        made.close()


@contextmanager
def _folder() -> Iterator[Path]:
    # Short: the address of a Unix socket has 108 bytes.
    with tempfile.TemporaryDirectory(prefix="line-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_nobody_else_can_reach_the_line(scene: Scene) -> None:
    assert stat.S_IMODE(scene.folder.stat().st_mode) == 0o700


def test_a_server_is_booted_found_and_stopped_over_one_line(scene: Scene) -> None:
    line = scene.line()
    line.send(BOOT)
    assert scene.handle()
    assert line.answer() == {"base_url": BOOTED.base_url, "session_api_key": None}
    assert scene.ports() == {"8003": BOOTED.base_url}
    line.send({"stop": True})
    assert scene.handle()
    assert line.answer() == {}
    assert scene.stopped == [BOOTED]
    assert scene.ports() == {}
    line.socket.close()
    assert not scene.handle(0.1)  # it is stopped once


def test_a_script_that_is_gone_before_its_server_is_there_leaves_none(scene: Scene) -> None:
    line = scene.line()
    line.send(BOOT)

    def boot(request: BootRequest) -> Booted:
        line.socket.close()
        scene.settle()
        return BOOTED

    assert scene.broker.handle(5.0, boot, scene.stopped.append)
    assert scene.handle()
    assert scene.stopped == [BOOTED]


def test_a_request_of_a_script_that_is_gone_is_not_booted(scene: Scene) -> None:
    line = scene.line()
    line.send(BOOT)
    line.socket.close()
    scene.settle()
    assert scene.broker.handle(5.0, lambda request: pytest.fail("booted for nobody"), scene.stopped.append)
    assert scene.ports() == {}


def test_nothing_is_booted_and_everything_is_stopped_once_it_is_closed(scene: Scene) -> None:
    first, second = scene.line(), scene.line()
    first.send(BOOT)
    assert scene.handle()
    second.send({"boot": BOOT["boot"] | {"port": 8004}})
    scene.settle()
    scene.broker.close()  # as where a process could not be ended, and still holds its line
    while scene.broker.handle(0, lambda request: pytest.fail("booted for nobody"), scene.stopped.append):
        pass
    assert scene.stopped == [BOOTED]


def test_what_was_told_before_the_end_is_heard(scene: Scene) -> None:
    scene.broker.serve_first(BOOTED)
    line = scene.line()
    line.send(*[{"call": CALL}] * 500)
    scene.broker.close()
    assert scene.calls == [Call(**CALL)] * 500  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "hostile",
    [
        b"not JSON\n",
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b"9" * 100_000 + b"\n",
        b'"no object"\n',
        b'{"eval": "1"}\n',
        b'{"call": 1}\n',
        b"x" * (3 << 20),
        b'{"boot": []}\n',
    ],
    ids=lambda value: value[:12].decode(errors="replace").strip(),
)
def test_a_hostile_line_ends_its_own_connection_alone(scene: Scene, hostile: bytes) -> None:
    line = scene.line()
    with suppress(OSError):  # it may be hung up already
        line.socket.sendall(hostile)
    assert line.is_hung_up()
    test_a_server_is_booted_found_and_stopped_over_one_line(scene)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "200"},
        {"status": 10**6},
        {"started": float("nan")},
        {"ended": float("inf")},
        {"ended": 1e12},  # not yet
        {"started": 3.0},
        {"path": ["/health"]},
        {"base_url": "http://another.example"},
    ],
    ids=str,
)
def test_a_call_that_cannot_be_is_not_told(scene: Scene, change: dict[str, Any]) -> None:
    scene.broker.serve_first(BOOTED)
    line = scene.line()
    line.send({"call": CALL | change}, {"call": CALL})
    scene.broker.close()
    assert scene.calls == [Call(**CALL)]  # type: ignore[arg-type]


def test_a_call_is_cut_to_what_may_be_kept(scene: Scene) -> None:
    scene.broker.serve_first(BOOTED)
    line = scene.line()
    line.send({"call": CALL | {"path": "/" * 5000, "conversation": "../../x", "session_key": 7}})
    scene.broker.close()
    [call] = scene.calls
    assert len(call.path) == 2000
    assert call.conversation is None
    assert call.session_key is None


@pytest.mark.parametrize(
    "change", [{"port": 0}, {"port": 70000}, {"port": None}, {"extra_env": {"A": 1}}], ids=str
)
def test_a_boot_that_cannot_be_is_answered(scene: Scene, change: dict[str, Any]) -> None:
    line = scene.line()
    line.send({"boot": BOOT["boot"] | change})
    assert "needs a port" in line.answer()["error"]
    assert not scene.handle(0)


def test_more_connections_than_a_script_needs_are_refused_and_those_before_stay(scene: Scene) -> None:
    first = scene.line()
    lines = [scene.line() for _ in range(250)]
    assert lines[-1].is_hung_up()
    first.send(BOOT)
    assert scene.handle()
    assert first.answer()["base_url"] == BOOTED.base_url
