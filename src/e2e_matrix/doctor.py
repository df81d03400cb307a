"""What this machine can do for a run, in plain words, and how to mend what it cannot.

Every check is a function of a ``Subject`` that finds any number of ``Check``; printing is the command's part.
"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from e2e_matrix import __version__, clean
from e2e_matrix.engine.base import Engine, EngineInfo, Support
from e2e_matrix.errors import CellFailure, EngineUnavailable
from e2e_matrix.failures import POLICIES
from e2e_matrix.local import emulation
from e2e_matrix.local.machine import Machine
from e2e_matrix.registry.reference import api_url, parse_reference
from e2e_matrix.registry.transport import Transport
from e2e_matrix.scenarios.container import EMULATED_CPU
from e2e_matrix.text import format_bytes, one_line

PLATFORMS = ("linux/amd64", "linux/arm64")  # what the images are published for
DEFAULT_REGISTRY = "ghcr.io"
REGISTRY_SECONDS = 5.0
ROOM_WANTED = 20_000_000_000  # bytes: three variants for two platforms, unpacked, with some to spare
ROOM_NEEDED = 1_000_000_000  # bytes: below it not even one image can be unpacked


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"  # a run is possible, with less
    FAIL = "fail"  # no run is possible


@dataclass(frozen=True)
class Check:
    """One finding; ``fix`` says what to do where there is something to do."""

    name: str
    status: Status
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Subject:
    """What is examined. ``registry_asked``: a person named the registry, so it matters that it answers."""

    machine: Machine
    engine: Engine | None
    trouble: EngineUnavailable | None
    registry: str = DEFAULT_REGISTRY
    registry_asked: bool = False

    def engine_is_here(self, info: EngineInfo) -> bool:
        """Whether its containers run on this machine's kernel, so that /proc and the disk are theirs too."""
        return info.address.startswith("unix://") and info.kernel == self.machine.kernel


Finder = Callable[[Subject], Iterator[Check]]


def examine(
    connect: Callable[[], Engine], machine: Machine | None = None, registry: str | None = None
) -> list[Check]:
    """Everything there is to say. ``registry`` is a host or an image reference; BadInput when it is neither.

    ``connect`` gives an engine or raises EngineUnavailable; the engine is closed at the end.
    """
    host = DEFAULT_REGISTRY
    if registry is not None:
        host = parse_reference(registry if "/" in registry else f"{registry}/any").registry
    machine = machine or Machine()
    try:
        engine = connect()
    except EngineUnavailable as trouble:
        return _run(Subject(machine, None, trouble, host, registry is not None))
    try:
        return _run(Subject(machine, engine, None, host, registry is not None))
    finally:
        engine.close()


def run_is_possible(checks: Sequence[Check]) -> bool:
    return all(check.status is not Status.FAIL for check in checks)


def _run(subject: Subject) -> list[Check]:
    checks: list[Check] = []
    for title, finder in CHECKS.items():
        try:
            checks += finder(subject)
        except CellFailure as failure:
            checks.append(Check(title, Status.FAIL, one_line(failure.message), POLICIES[failure.cause].do))
    return checks


def check_python(subject: Subject) -> Iterator[Check]:
    detail = f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    yield Check("Python", Status.OK, f"{detail}, e2e-matrix {__version__}")


def check_engine(subject: Subject) -> Iterator[Check]:
    if subject.engine is None:
        message, *fix = str(subject.trouble).splitlines()
        yield Check("engine", Status.FAIL, message, "\n".join(line.strip() for line in fix))
        return
    info = subject.engine.info()
    yield Check(
        "engine",
        Status.OK,
        f"{info.name} {info.version}, API {info.api_version}, {info.platform} on {info.operating_system}, "
        f"{info.cpus} CPUs, {format_bytes(info.memory_bytes)} of memory, at {info.address}",
    )
    cgroup = ""
    if subject.engine_is_here(info):
        unified = subject.machine.path("/sys/fs/cgroup/cgroup.controllers").exists()
        cgroup = f", cgroup {'v2' if unified else 'v1'}"
    yield Check("storage", Status.OK, f"{info.storage_driver} in {info.root_dir}{cgroup}")


def check_disk(subject: Subject) -> Iterator[Check]:
    if subject.engine is None:
        return
    info = subject.engine.info()
    if not subject.engine_is_here(info):
        yield Check(
            "disk",
            Status.WARN,
            "unknown: the engine runs on another machine",
            "Look there: `docker system df`.",
        )
        return
    try:
        free = shutil.disk_usage(info.root_dir).free
    except OSError as error:
        yield Check(
            "disk",
            Status.WARN,
            f"unknown: {info.root_dir}: {error.strerror}",
            f"Look with `df -h {Path(info.root_dir).parent}`.",
        )
        return
    detail = f"{format_bytes(free)} free where the engine keeps images, {info.root_dir}"
    if free >= ROOM_WANTED:
        yield Check("disk", Status.OK, detail)
        return
    yield Check(
        "disk",
        Status.WARN if free >= ROOM_NEEDED else Status.FAIL,
        f"{detail}; the published images take up to {format_bytes(ROOM_WANTED)}",
        "Free some: `docker system df` shows what the engine keeps.",
    )


def check_platforms(subject: Subject) -> Iterator[Check]:
    if subject.engine is None:
        return
    own = subject.engine.info().platform
    for wanted in PLATFORMS:
        probe = subject.engine.probe(wanted)
        detail = f"{probe.support}: {one_line(probe.detail)}"
        if probe.support is not Support.UNSUPPORTED:
            yield Check(wanted, Status.OK, detail)
        elif wanted == own:
            yield Check(wanted, Status.FAIL, detail, "No container runs here: look at the engine's own log.")
        else:
            yield Check(
                wanted,
                Status.WARN,
                f"{detail}. Its cells will be reported `unsupported`",
                _emulation_fix(subject),
            )


def check_emulator(subject: Subject) -> Iterator[Check]:
    emulator = emulation.foreign(subject.machine)
    if (
        subject.engine is None
        or emulator is None
        or not subject.engine_is_here(subject.engine.info())
        or subject.engine.probe(emulator.platform).support is Support.NATIVE
    ):
        return
    found = emulation.registration(subject.machine, emulator)
    if found is None:
        return  # what there is to say, the platform's own line says
    detail = f"{emulator.entry} is {found.interpreter}, flags {found.flags}"
    if not found.usable:
        why = "it is switched off" if not found.enabled else "without flag F containers cannot reach it"
        yield Check("emulator", Status.WARN, f"{detail}: {why}", _emulation_fix(subject))
        return
    yield Check("emulator", Status.OK, detail)
    if emulator.platform == "linux/arm64":
        yield Check(
            "emulated CPU",
            Status.OK,
            f"QEMU_CPU={EMULATED_CPU} in emulated containers: a core without pointer authentication, "
            "which QEMU computes in software and which makes everything ten times slower",
        )


def check_registry(subject: Subject) -> Iterator[Check]:
    url = f"{api_url(subject.registry)}/v2/"
    unreachable = Status.FAIL if subject.registry_asked else Status.WARN
    fix = "Check the network and the proxy settings. `make demo` builds its own images and does without it."
    transport = Transport(timeout=REGISTRY_SECONDS, retries=0, budget=REGISTRY_SECONDS)
    try:
        status = transport.send("GET", url, {}).status
    except CellFailure as failure:
        yield Check("registry", unreachable, one_line(failure.message), fix)
        return
    finally:
        transport.close()
    if status in (200, 401):
        login = ", asks for a token" if status == 401 else ""
        yield Check("registry", Status.OK, f"{subject.registry} answers{login}")
        return
    yield Check(
        "registry",
        unreachable,
        f"{url} answers {status}, which is not how a registry answers",
        "Check its name, and whether a proxy stands before it.",
    )


def check_stand_in(subject: Subject) -> Iterator[Check]:
    if subject.engine is None:
        return
    gateway = subject.engine.host_gateway()
    if gateway:
        yield Check("stand-in LLM", Status.OK, f"containers reach this machine at {gateway}")
        return
    yield Check(
        "stand-in LLM",
        Status.WARN,
        "containers of this engine cannot reach this machine",
        "Set LLM_MODEL, LLM_API_KEY and LLM_BASE_URL for a real model, or run on the engine's own machine.",
    )


def check_leftovers(subject: Subject) -> Iterator[Check]:
    if subject.engine is None:
        return
    found = clean.find(subject.engine)
    abandoned = sum(leftover.abandoned for leftover in found)
    in_use = f"{len(found) - abandoned} in use" if len(found) > abandoned else ""
    if abandoned:
        detail = f"{abandoned} containers of ended runs" + (f", {in_use}" if in_use else "")
        yield Check("leftovers", Status.WARN, detail, "Remove them: `e2e-matrix clean`.")
    else:
        yield Check("leftovers", Status.OK, f"no containers of ended runs{f', {in_use}' if in_use else ''}")


def _emulation_fix(subject: Subject) -> str:
    emulator = emulation.foreign(subject.machine)
    if emulator is None or (subject.engine and not subject.engine_is_here(subject.engine.info())):
        return "Add emulation on the engine's machine: qemu-user-static, registered with flag F."
    commands = emulation.by_hand(subject.machine, emulator)
    if not commands:
        return "Install QEMU's user mode and register it in binfmt_misc with flag F."
    return "\n".join(["As root: `e2e-matrix setup`. Or:", *commands])


CHECKS: dict[str, Finder] = {
    "Python": check_python,
    "engine": check_engine,
    "disk": check_disk,
    "platforms": check_platforms,
    "emulator": check_emulator,
    "registry": check_registry,
    "stand-in LLM": check_stand_in,
    "leftovers": check_leftovers,
}
