"""What the runner asks of a container engine: the seam between it and Docker.

Two things satisfy ``Engine``: ``engine.docker.DockerEngine`` and the in-memory ``engine.fake.FakeEngine``;
tests/integration/test_engine_conformance.py holds both to the same behaviour.

Errors: every method raises ``CellFailure`` with a cause that failures.py knows (ENGINE_LOST when the engine
stops answering, PULL_FAILED, REGISTRY_DENIED, DISK_FULL, NOT_STARTABLE, ...) and nothing of the SDK's.
Times are seconds, sizes are bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

LABEL_RUN = "e2e-matrix.run"
LABEL_CELL = "e2e-matrix.cell"
LABEL_ATTEMPT = "e2e-matrix.attempt"
LABEL_OWNER = "e2e-matrix.owner"  # host:pid:start time of the process that started it
LABEL_DEADLINE = "e2e-matrix.deadline"  # UTC, ISO 8601: past it other machines may remove it

# The name under which a container reaches the engine's host.
HOST_ALIAS = "host.docker.internal"
# What an engine may keep of a container's output, as it writes it down (a line of JSON for each line).
LOG_FILES = 2
LOG_FILE_BYTES = 32 << 20
LOG_BYTES = LOG_FILES * LOG_FILE_BYTES


def is_local(address: str) -> bool:
    """Whether an engine's address is on this machine: a socket in the file system, or the loopback."""
    where = urlsplit(address)
    return where.scheme in ("unix", "http+unix", "npipe") or where.hostname in (
        "localhost",
        "127.0.0.1",
        "::1",
    )


class Support(StrEnum):
    """How an engine runs a platform, found by running something on it."""

    NATIVE = "native"
    EMULATED = "emulated"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class EngineInfo:
    name: str  # "docker"
    version: str
    api_version: str
    platform: str  # the engine's own, "linux/amd64"
    operating_system: str
    kernel: str
    storage_driver: str
    root_dir: str
    cpus: int
    memory_bytes: int
    address: str  # where the client reaches it, "unix:///var/run/docker.sock"


@dataclass(frozen=True)
class PlatformProbe:
    platform: str
    support: Support
    detail: str  # one sentence for a person: what was run and what came


@dataclass(frozen=True)
class PullProgress:
    """Bytes over all layers known so far; a layer that is already there counts for nothing."""

    done_bytes: int
    total_bytes: int
    status: str


@dataclass(frozen=True)
class PulledImage:
    reference: str  # repo@sha256:child
    image_id: str
    size_bytes: int  # unpacked, as the engine counts it
    platform: str
    labels: Mapping[str, str]
    environment: Mapping[str, str]
    user: str
    entrypoint: tuple[str, ...]
    was_present: bool  # nothing had to be downloaded


@dataclass(frozen=True)
class Resources:
    """Limits for one container; None is the engine's default (none)."""

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int | None = None


# The name under which a container reaches the engine's host: see ContainerSpec.host_alias.
HOST_ALIAS = "host.docker.internal"


@dataclass(frozen=True)
class Mount:
    """A folder or file of the engine's host, seen at ``target`` inside. Both paths are absolute.

    ``source`` has to be there: nothing is made for it (ENGINE_REFUSED on create).
    """

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class ContainerSpec:
    image: str
    platform: str
    name: str
    labels: Mapping[str, str]
    command: Sequence[str] = ()  # arguments after the image's own entrypoint
    entrypoint: Sequence[str] | None = None  # None keeps the image's
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: Sequence[int] = ()  # published on 127.0.0.1, host port chosen by the engine
    host_alias: str | None = HOST_ALIAS  # resolves to the engine's host
    resources: Resources = field(default_factory=Resources)
    mounts: Sequence[Mount] = ()


@dataclass(frozen=True)
class ExitState:
    """How a container ended; ``exit_code`` is None before it starts and while it runs."""

    running: bool
    exit_code: int | None
    oom_killed: bool
    error: str = ""
    paused: bool = False
    connected: bool = True  # to a network, as it was created


@dataclass(frozen=True)
class ExecResult:
    exit_code: int
    output: bytes  # stdout and stderr together, bounded


@dataclass(frozen=True)
class ContainerSummary:
    id: str
    name: str
    labels: Mapping[str, str]
    running: bool


@dataclass(frozen=True)
class ImageSummary:
    id: str
    references: tuple[str, ...]  # every repo:tag and repo@digest that names it
    labels: Mapping[str, str]


class ExitWatch(Protocol):
    """Knows that a container ended as soon as the engine tells it.

    Also set when the container was removed, or the engine has been out of reach for 10 s. ``interrupted``:
    the engine was out of reach meanwhile, so that an end may be its doing. ``close()`` ends the watch; it is
    idempotent.
    """

    exited: threading.Event
    interrupted: bool

    def close(self) -> None: ...


class LogFollow(Protocol):
    """Hands on what a container prints, in a thread of its own.

    It outlives silence, however long, and a lost connection to the engine: it goes on after what it has
    handed on. It ends by itself after the last byte of a container that ended, or that was removed.
    """

    ended: threading.Event

    @property
    def complete(self) -> bool:
        """False once anything may have been lost, such as by a log that rotated while the engine was away."""
        ...

    def close(self, within: float) -> None:
        """Wait up to ``within`` seconds for the end, then take what there is by now and end it.

        The sink is not called after this. Idempotent.
        """
        ...


ProgressCallback = Callable[[PullProgress], None]
LogSink = Callable[[bytes], None]


class Engine(Protocol):
    """See the module's docstring. Every method may be called from any thread."""

    def info(self) -> EngineInfo: ...

    def probe(self, platform: str) -> PlatformProbe:
        """Run something tiny for ``platform``. Asked once per platform; later calls answer from memory."""
        ...

    def pull(self, reference: str, platform: str, on_progress: ProgressCallback | None = None) -> PulledImage:
        """Pull ``repo@sha256:child``; what the engine reports as an error is raised, never skipped.

        ``on_progress`` is called several times a second, also while nothing moves; an exception that it
        raises ends the pull.
        """
        ...

    def list_images(self, labels: Mapping[str, str | None]) -> Sequence[ImageSummary]:
        """Images with all these labels (None: any value)."""
        ...

    def remove_image(self, reference: str) -> None:
        """Remove an image by a reference or its id; gone already is fine.

        Never forced: one that a container uses, running or not, stays, and ENGINE_REFUSED says so. Of an
        image that has other references too only this one goes.
        """
        ...

    def create(self, spec: ContainerSpec) -> str:
        """Create without starting; the container's id. Nothing is removed automatically.

        The engine keeps at the most the last LOG_BYTES of what it prints.
        """
        ...

    def start(self, container: str) -> None: ...

    def address(self, container: str, port: int) -> str:
        """``http://host:port`` of a published port, as reachable from this process."""
        ...

    def watch_exit(self, container: str) -> ExitWatch: ...

    def state(self, container: str) -> ExitState: ...

    def memory(self, container: str) -> int | None:
        """Bytes that a running container's processes hold, without the page cache; None: it is not told."""
        ...

    def exec(self, container: str, command: Sequence[str], timeout: float = 30.0) -> ExecResult:
        """Run a command inside as the image's user; output beyond 1 MiB is dropped."""
        ...

    def logs(self, container: str, max_bytes: int) -> bytes:
        """stdout and stderr so far, at most the last ``max_bytes``; fetched once, never followed."""
        ...

    def follow_logs(self, container: str, sink: LogSink) -> LogFollow:
        """Call ``sink`` with stdout and stderr as they come, from the first byte that the engine still has.

        Asked before the start, nothing is lost, however much is printed: a container that prints faster than
        the sink takes it has to wait. ``sink`` must not raise; it is called from one thread.
        """
        ...

    def stop(self, container: str, timeout: float) -> ExitState:
        """TERM, then KILL after ``timeout`` seconds."""
        ...

    def remove(self, container: str) -> None:
        """Kill and remove with its anonymous volumes, within 30 s; gone already is fine."""
        ...

    def list(self, labels: Mapping[str, str | None]) -> Sequence[ContainerSummary]:
        """Containers, running or not, with all these labels (None: any value)."""
        ...

    def host_gateway(self) -> str:
        """The engine host's address as containers see it, to bind a server to; "" where that is another."""
        ...

    def close(self) -> None: ...
