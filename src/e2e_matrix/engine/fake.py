"""An engine in memory, for tests of everything above the engine: see ``engine.base.Engine``.

An image is a set of programs, and a program is a Python function that gets a ``FakeProcess`` and returns its
exit code. Published ports are real ports on the loopback. tests/integration/test_engine_conformance.py holds
this engine and Docker to the same behaviour.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

from e2e_matrix.engine.base import (
    ContainerSpec,
    ContainerSummary,
    EngineInfo,
    ExecResult,
    ExitState,
    ImageSummary,
    LogSink,
    Mount,
    PlatformProbe,
    ProgressCallback,
    PulledImage,
    PullProgress,
    Support,
)
from e2e_matrix.engine.fake_log import FakeLog, FakeLogFollow
from e2e_matrix.engine.platforms import normal
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause

_MAX_EXEC_OUTPUT = 1 << 20  # bytes
_KILLED = 128 + 9
_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_JOIN = 5.0  # seconds that a program gets to notice that it was killed


class _Ended(BaseException):
    """Raised inside a program whose container was killed; no program catches it by accident."""


class FakeProcess:
    """What a program can do. Every method ends the program when its container was killed."""

    def __init__(self, container: _Container, arguments: Sequence[str]) -> None:
        self.spec = container.spec
        self.arguments = tuple(arguments)
        self.environment: Mapping[str, str] = {
            **container.image.environment,
            **container.spec.environment,
        }
        self.terminated = threading.Event()  # TERM came
        self._container = container
        self._output = bytearray()
        self._to_log = False

    def print(self, text: str | bytes) -> None:
        """Write to the log (or, in an exec, to its output)."""
        self._check()
        data = text.encode() if isinstance(text, str) else text
        if self._to_log:
            self._container.log.print(data)
        else:
            self._output += data[: _MAX_EXEC_OUTPUT - len(self._output)]

    def wait_for_term(self, seconds: float | None = None) -> bool:
        """Sleep until TERM comes or ``seconds`` are over; whether it came."""
        self.terminated.wait(seconds)
        self._check()
        return self.terminated.is_set()

    def sleep(self, seconds: float | None = None) -> None:
        """Sleep, deaf to TERM."""
        self._container.killed.wait(seconds)
        self._check()

    def use_memory(self, size_bytes: int) -> None:
        """Over the container's limit the kernel's OOM killer ends it."""
        limit = self.spec.resources.memory_bytes
        if limit is not None and size_bytes > limit:
            self._container.end(_KILLED, oom_killed=True)
        self._container.memory = size_bytes
        self._check()

    def read(self, path: str) -> bytes:
        """The content of a file below a mount; the OSErrors are those of a real one."""
        self._check()
        return self._on_host(path)[0].read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """Write a file below a mount; the OSErrors are those of a real one."""
        self._check()
        file, mount = self._on_host(path)
        if mount.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        file.write_bytes(data)

    def _on_host(self, path: str) -> tuple[Path, Mount]:
        wanted = PurePosixPath(path)
        for mount in sorted(self.spec.mounts, key=lambda one: len(one.target), reverse=True):
            if wanted.is_relative_to(mount.target):
                return Path(mount.source, wanted.relative_to(mount.target)), mount
        raise FileNotFoundError(errno.ENOENT, "no mount holds it", path)

    def listen(self, port: int) -> socket.socket:
        """The listening socket behind a published port; it is closed with the container."""
        self._check()
        listening = self._container.sockets[port]
        listening.listen()
        return listening

    def serve_http(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        """Answer HTTP on a published port from now on, in a thread of its own."""
        listening = self.listen(port)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listening
        self._container.serve(server)

    def _check(self) -> None:
        if self._container.killed.is_set():
            raise _Ended


Program = Callable[[FakeProcess], int]


def _uname(process: FakeProcess) -> int:
    process.print(_MACHINES.get(normal(process.spec.platform), "unknown") + "\n")
    return 0


@dataclass(frozen=True)
class FakeImage:
    """An image in the fake's registry. The first word of an entrypoint or an exec names the program."""

    programs: Mapping[str, Program]
    entrypoint: tuple[str, ...]
    platform: str = "linux/amd64"
    size_bytes: int = 1000
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = ""

    def program(self, name: str) -> Program | None:
        return self.programs.get(name, _uname if name == "uname" else None)


class FakeExitWatch:
    """See ``engine.base.ExitWatch``."""

    def __init__(self, container: _Container) -> None:
        self.exited = threading.Event()
        self.interrupted = False
        self._container = container
        container.watch(self)

    def close(self) -> None:
        self._container.unwatch(self)


class _Container:
    def __init__(self, identity: str, spec: ContainerSpec, image: FakeImage) -> None:
        self.id, self.spec, self.image = identity, spec, image
        self.log = FakeLog(spec.name)
        self.killed = threading.Event()
        self.sockets: dict[int, socket.socket] = {}
        self.state = ExitState(running=False, exit_code=None, oom_killed=False)
        self.process: FakeProcess | None = None
        self.memory = 1 << 20  # what any process has at the least
        self._ended = threading.Event()
        self._lock = threading.RLock()
        self._watches: list[FakeExitWatch] = []
        self._servers: list[tuple[HTTPServer, threading.Thread]] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        first, *rest = self.spec.entrypoint if self.spec.entrypoint is not None else self.image.entrypoint
        program = self.image.program(first)
        if program is None:
            raise CellFailure(
                Cause.NOT_STARTABLE,
                f"{self.spec.image} cannot be started: {first} is not in it. "
                "The program is missing from the image.",
            )
        for port in self.spec.ports:
            self.sockets[port] = socket.socket()
            self.sockets[port].bind(("127.0.0.1", 0))
        self.process = FakeProcess(self, [*rest, *self.spec.command])
        self.process._to_log = True
        self.state = ExitState(running=True, exit_code=None, oom_killed=False)
        self._thread = threading.Thread(target=self._run, args=(program, self.process), name=self.spec.name)
        self._thread.start()

    def _run(self, program: Program, process: FakeProcess) -> None:
        try:
            code = program(process)
        except _Ended:
            code = _KILLED
        self.end(code)

    def exec(self, command: Sequence[str], timeout: float) -> ExecResult:
        program = self.image.program(command[0])
        if program is None:
            return ExecResult(127, f"{command[0]}: not found\n".encode())
        process = FakeProcess(self, command[1:])
        code: list[int] = []

        def run() -> None:
            try:
                code.append(program(process))
            except _Ended:
                return

        thread = threading.Thread(target=run, name=f"exec in {self.spec.name}", daemon=True)
        thread.start()
        thread.join(timeout)
        shown = " ".join(command)
        if thread.is_alive():
            raise CellFailure(Cause.STEP_TIMEOUT, f"{shown!r} did not end within {timeout:g} s")
        if not code:
            raise CellFailure(Cause.CONTAINER_EXITED, f"the container ended while {shown!r} ran in it")
        return ExecResult(code[0], bytes(process._output))

    def serve(self, server: HTTPServer) -> None:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name=f"http of {self.spec.name}")
        with self._lock:
            self._servers.append((server, thread))
            thread.start()

    def end(self, code: int, *, oom_killed: bool = False) -> None:
        """The container ends; the first end counts."""
        with self._lock:
            if not self.state.running:
                return
            self.killed.set()
            if self.process is not None:
                self.process.terminated.set()
            for server, thread in self._servers:
                server.shutdown()
                thread.join()
                server.server_close()
            for open_socket in self.sockets.values():
                open_socket.close()
            self.state = ExitState(running=False, exit_code=code, oom_killed=oom_killed)
            self.log.finish()
            self._ended.set()
            for watch in self._watches:
                watch.exited.set()

    def lose(self) -> None:
        """The engine goes away: its watches notice."""
        with self._lock:
            for watch in self._watches:
                watch.interrupted = True

    def stop(self, timeout: float) -> ExitState:
        if self.process is not None and self.state.running:
            self.process.terminated.set()
            if not self._ended.wait(timeout):
                self.end(_KILLED)
            self.join()
        return self.state

    def join(self) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(_JOIN)

    def watch(self, watch: FakeExitWatch) -> None:
        with self._lock:
            self._watches.append(watch)
            if self._ended.is_set():
                watch.exited.set()

    def unwatch(self, watch: FakeExitWatch) -> None:
        with self._lock:
            if watch in self._watches:
                self._watches.remove(watch)


def _has(labels: Mapping[str, str], wanted: Mapping[str, str | None]) -> bool:
    return all(name in labels and value in (None, labels[name]) for name, value in wanted.items())


class FakeEngine:
    """``images`` is what its registry holds, by reference; ``present`` are the ones that need no pull.

    ``calls`` records what was asked, as (method, subject), for tests to look at.
    """

    def __init__(
        self,
        images: Mapping[str, FakeImage] | None = None,
        *,
        present: Sequence[str] = (),
        support: Mapping[str, Support] | None = None,
        gateway: str = "127.0.0.1",
    ) -> None:
        self.images = dict(images or {})
        self.calls: deque[tuple[str, str]] = deque(maxlen=10_000)
        self._present = set(present)
        self._support = {"linux/amd64": Support.NATIVE, "linux/arm64": Support.EMULATED, **(support or {})}
        self._gateway = gateway
        self._containers: dict[str, _Container] = {}
        self._failures: dict[str, deque[CellFailure]] = {}
        self._lost = False
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def fail_next(self, method: str, failure: CellFailure) -> None:
        """The next call of ``method`` raises ``failure``; several queue up."""
        with self._lock:
            self._failures.setdefault(method, deque()).append(failure)

    def lose(self) -> None:
        """The engine dies, and every container with it: all further calls raise ENGINE_LOST."""
        self._lost = True
        with self._lock:
            containers = list(self._containers.values())
        for container in containers:
            container.lose()
        self._kill_all()

    def info(self) -> EngineInfo:
        self._called("info", "")
        return EngineInfo(
            "fake", "1", "0", "linux/amd64", "none", "none", "memory", "", 1, 1 << 30, "fake://"
        )

    def probe(self, platform: str) -> PlatformProbe:
        self._called("probe", platform)
        support = self._support.get(normal(platform), Support.UNSUPPORTED)
        return PlatformProbe(platform, support, f"the fake engine was told so: {support}")

    def pull(self, reference: str, platform: str, on_progress: ProgressCallback | None = None) -> PulledImage:
        self._called("pull", reference)
        image = self.images.get(reference)
        if image is None:
            raise CellFailure(Cause.PULL_FAILED, f"cannot pull {reference} for {platform}: manifest unknown")
        if normal(image.platform) != normal(platform):
            raise CellFailure(Cause.PLATFORM_MISSING, f"{reference} is for {image.platform}, not {platform}")
        was_present = reference in self._present
        if on_progress is not None and not was_present:
            for done in (0, image.size_bytes // 2, image.size_bytes):
                on_progress(PullProgress(done, image.size_bytes, "Downloading"))
        self._present.add(reference)
        return PulledImage(
            reference=reference,
            image_id=f"fake:{reference}",
            size_bytes=image.size_bytes,
            platform=platform,
            labels=image.labels,
            environment=image.environment,
            user=image.user,
            entrypoint=image.entrypoint,
            was_present=was_present,
        )

    def list_images(self, labels: Mapping[str, str | None]) -> Sequence[ImageSummary]:
        self._called("list_images", "")
        return [
            ImageSummary(f"fake:{reference}", (reference,), self.images[reference].labels)
            for reference in sorted(self._present)
            if _has(self.images[reference].labels, labels)
        ]

    def remove_image(self, reference: str) -> None:
        self._called("remove_image", reference)
        reference = reference.removeprefix("fake:")
        with self._lock:
            if any(one.spec.image == reference for one in self._containers.values()):
                raise CellFailure(Cause.ENGINE_REFUSED, f"cannot remove {reference}: a container is using it")
            self._present.discard(reference)

    def create(self, spec: ContainerSpec) -> str:
        self._called("create", spec.name)
        image = self.images.get(spec.image)
        if image is None or spec.image not in self._present:
            raise CellFailure(Cause.PULL_FAILED, f"No such image: {spec.image}")
        if normal(image.platform) != normal(spec.platform):
            raise CellFailure(
                Cause.PLATFORM_MISSING, f"{spec.image} is for {image.platform}, not {spec.platform}"
            )
        for mount in spec.mounts:
            if not Path(mount.source).exists():
                raise CellFailure(Cause.ENGINE_REFUSED, f"bind source path does not exist: {mount.source}")
        with self._lock:
            if any(other.spec.name == spec.name for other in self._containers.values()):
                raise CellFailure(Cause.ENGINE_REFUSED, f"the name {spec.name} is in use")
            identity = f"{next(self._numbers):064x}"
            self._containers[identity] = _Container(identity, spec, image)
        return identity

    def start(self, container: str) -> None:
        self._called("start", container)
        self._find(container).start()

    def address(self, container: str, port: int) -> str:
        self._called("address", container)
        found = self._find(container)
        if not found.state.running:
            raise CellFailure(
                Cause.CONTAINER_EXITED, f"the container does not run: its port {port} leads nowhere"
            )
        if port not in found.sockets:
            raise CellFailure(Cause.ENGINE_REFUSED, f"port {port} is not published")
        return f"http://127.0.0.1:{found.sockets[port].getsockname()[1]}"

    def watch_exit(self, container: str) -> FakeExitWatch:
        self._called("watch_exit", container)
        return FakeExitWatch(self._find(container))

    def state(self, container: str) -> ExitState:
        self._called("state", container)
        return self._find(container).state

    def memory(self, container: str) -> int | None:
        self._called("memory", container)
        found = self._find(container)
        return found.memory if found.state.running else None

    def exec(self, container: str, command: Sequence[str], timeout: float = 30.0) -> ExecResult:
        self._called("exec", container)
        found = self._find(container)
        if not found.state.running:
            raise CellFailure(Cause.CONTAINER_EXITED, f"container {container[-12:]} is not running")
        return found.exec(command, timeout)

    def logs(self, container: str, max_bytes: int) -> bytes:
        self._called("logs", container)
        log = self._find(container).log.read()
        return log[-max_bytes:] if max_bytes > 0 else b""

    def follow_logs(self, container: str, sink: LogSink) -> FakeLogFollow:
        self._called("follow_logs", container)
        return self._find(container).log.follow(sink)

    def stop(self, container: str, timeout: float) -> ExitState:
        self._called("stop", container)
        return self._find(container).stop(timeout)

    def remove(self, container: str) -> None:
        self._called("remove", container)
        with self._lock:
            found = self._containers.pop(container, None)
        if found is not None:
            found.end(_KILLED)
            found.log.finish()  # also where it was never started
            found.join()

    def list(self, labels: Mapping[str, str | None]) -> Sequence[ContainerSummary]:
        self._called("list", "")
        with self._lock:
            containers = list(self._containers.values())
        return [
            ContainerSummary(one.id, one.spec.name, dict(one.spec.labels), one.state.running)
            for one in containers
            if _has(one.spec.labels, labels)
        ]

    def host_gateway(self) -> str:
        self._called("host_gateway", "")
        return self._gateway

    def close(self) -> None:
        """Ends whatever still runs, so that a test leaves no thread behind."""
        self._kill_all()

    def _kill_all(self) -> None:
        with self._lock:
            containers = list(self._containers.values())
        for container in containers:
            container.end(_KILLED)
            container.join()

    def _find(self, container: str) -> _Container:
        with self._lock:
            found = self._containers.get(container)
        if found is None:
            raise CellFailure(Cause.CONTAINER_GONE, f"No such container: {container}")
        return found

    def _called(self, method: str, subject: str) -> None:
        self.calls.append((method, subject))
        if self._lost:
            raise CellFailure(Cause.ENGINE_LOST, "the fake engine was told to be lost")
        with self._lock:
            queued = self._failures.get(method)
            failure = queued.popleft() if queued else None
        if failure is not None:
            raise failure
