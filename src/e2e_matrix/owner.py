"""Who a container belongs to, and until when: the values of the owner and deadline labels.

An owner is ``host:pid:start``. A pid alone is soon given to another process, so ``start`` says when the
process began, in which boot and in which pid namespace; two machines may share a host name and an engine, so
``host`` also carries a hash of the machine id (systemd's machine-id(5) asks not to publish the id itself).
"""

from __future__ import annotations

import hashlib
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

_NO_START = "-"  # a machine without /proc: only the pid is known


def current() -> str:
    """The owner label of this process, such as ``box.1f2e3d:4711:a58a2b68.4026531836.90125``."""
    return f"{_host()}:{os.getpid()}:{_start(os.getpid()) or _NO_START}"


def is_alive(owner: str) -> bool | None:
    """Whether the process behind an owner label still runs.

    None when this machine cannot know: another host or pid namespace, or text that is no owner label.
    """
    match owner.split(":"):
        case [host, pid, start] if host == _host() and pid.isdecimal():
            pass
        case _:
            return None
    if start == _NO_START:
        return _exists(int(pid))
    match start.split("."):
        case [boot, namespace, _]:
            pass
        case _:
            return None
    if boot != _boot():
        return False
    if namespace != _pid_namespace():
        return None
    return _start(int(pid)) == start


def deadline_label(seconds: float) -> str:
    """The moment ``seconds`` from now, UTC, ISO 8601 to the second."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def is_past(label: str) -> bool:
    """Whether a deadline label lies in the past. Text that is no timestamp never does: it removes nothing."""
    try:
        deadline = datetime.fromisoformat(label)
    except ValueError:
        return False
    return deadline.tzinfo is not None and deadline < datetime.now(UTC)


def _host() -> str:
    try:
        machine = Path("/etc/machine-id").read_text().strip()
    except OSError:
        machine = ""
    name = socket.gethostname()
    return f"{name}.{hashlib.sha256(machine.encode()).hexdigest()[:6]}" if machine else name


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return None


def _pid_namespace() -> str | None:
    try:
        return Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return None


def _start(pid: int) -> str | None:
    """Boot, pid namespace and start time of a process, proc_pid_stat(5) field 22; None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command's name, in parentheses, may itself hold spaces and parentheses, and half a letter.
    fields = stat.rpartition(b")")[2].decode("ascii").split()
    state, ticks = fields[0], fields[22 - 3]
    return None if state in "ZX" else f"{_boot()}.{_pid_namespace()}.{ticks}"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
