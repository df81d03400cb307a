"""The program between the runner and a script: it starts the script, and lets nothing of it outlive it.

process.py runs this file by its path with the runner's Python; it imports nothing of ours. It is two
processes, for either may be killed:

    runner ── guard ── supervisor ── script ── whatever the script starts

Both are child subreapers (prctl(2)): what loses its parent, by a double fork or otherwise, becomes a child of
the supervisor, and of the guard once there is no supervisor. So there is nothing left when, and only when,
waitpid(2) knows of no child. The supervisor ends everything when the runner's end of the line or the guard is
gone; the guard does when the supervisor is gone.

The line is a stream socket that carries a JSON object per line. The runner sends the order
(``{"command", "cwd", "environment"}``), then ``{"end": grace}`` as often as it likes. The answers are
``{"pid", "supervisor"}`` or ``{"errno", "file"}``, and in the end ``{"status", "left_behind", "survivors"}``,
where ``status`` is that of waitpid(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Seconds that what a script started has to end by itself when the script has, as a pool's workers do.
SETTLE = 0.5
# Seconds after which what a KILL has not ended is given up: another user's, or stuck in the kernel.
KILL_WITHIN = 10.0
_LOOK_AGAIN = 0.01  # seconds; the death of a child is heard of at once

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)

_LISTS_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children").exists()  # CONFIG_PROC_CHILDREN


def main() -> None:
    """``argv[1]`` is the descriptor of the line."""
    line = socket.socket(fileno=int(sys.argv[1]))
    line.set_inheritable(False)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # that of the thread that started us
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    guard_lives, held_by_guard = os.pipe()
    supervisor = os.fork()
    if supervisor == 0:
        os.close(held_by_guard)
        _supervise(line, guard_lives)
    else:
        os.close(guard_lives)
        _stand_guard(line, supervisor)


def _stand_guard(line: socket.socket, supervisor: int) -> None:
    _let_go_of(1, 2)
    _, status = os.waitpid(supervisor, 0)
    if status != 0:  # it did not come to its end, and what it watched over is ours
        _, left_behind, survivors = _kill_everything(_hear_of_deaths(), None)
        _send(line, {"status": int(signal.SIGKILL), "left_behind": left_behind, "survivors": survivors})


def _supervise(line: socket.socket, guard_lives: int) -> None:
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    deaths = _hear_of_deaths()
    runner = _Runner(line)
    orders: list[Any] | None = []
    while not orders:
        if (orders := runner.says()) is None:
            return  # gone already
    try:
        script = _start(orders[0])
    except OSError as error:
        _send(line, {"errno": error.errno, "file": error.filename})
        return
    _let_go_of(1)  # and keep 2, for a traceback of our own
    _send(line, {"pid": script, "supervisor": os.getpid()})

    poll = select.poll()
    for descriptor in (deaths, guard_lives, line.fileno()):
        poll.register(descriptor, select.POLLIN)
    status: int | None = None
    deadline: float | None = None
    left_behind = survivors = 0
    while True:
        ended, alone = _reap(script)
        if ended is not None:
            status = ended
            deadline = time.monotonic() + SETTLE if deadline is None else deadline
        if alone:
            break
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            ended, left_behind, survivors = _kill_everything(deaths, script)
            status = ended if status is None else status
            break
        for descriptor, _ in poll.poll(None if left is None else left * 1000):
            if descriptor == deaths:
                os.read(deaths, 4096)
            elif descriptor == guard_lives or (orders := runner.says()) is None:  # one of them is gone
                deadline = time.monotonic()
            elif orders:
                soonest = time.monotonic() + min(float(order["end"]) for order in orders)
                deadline = soonest if deadline is None else min(deadline, soonest)
                if status is None:  # not reaped: its number is still its own
                    os.killpg(script, signal.SIGTERM)
    _send(line, {"status": status, "left_behind": left_behind, "survivors": survivors})


class _Runner:
    """The runner's end of the line."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._unfinished = b""

    def says(self) -> list[Any] | None:
        """Wait for something; the messages that it completed, None when the runner is gone."""
        try:
            piece = self._line.recv(1 << 16)
        except ConnectionError:
            piece = b""
        if not piece:
            return None
        *lines, self._unfinished = (self._unfinished + piece).split(b"\n")
        return [json.loads(line) for line in lines]


def _start(order: Mapping[str, Any]) -> int:
    """The script's process, in a session of its own. Raises OSError where it cannot be."""
    says, said = os.pipe()
    supervisor = os.getpid()
    script = os.fork()
    if script == 0:
        try:
            os.setsid()
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == supervisor:  # else it died before it could be asked about
                signal.set_wakeup_fd(-1)
                for number in signal.valid_signals():
                    with contextlib.suppress(OSError, ValueError):  # KILL, STOP and those of libc
                        signal.signal(number, signal.SIG_DFL)
                os.chdir(order["cwd"])
                os.execvpe(order["command"][0], order["command"], order["environment"])
        except OSError as error:
            file = os.fsdecode(error.filename or "")  # bytes, after a search of the PATH
            os.write(said, json.dumps([error.errno, file]).encode())
        except ValueError:  # a NUL somewhere, or a name with a "="
            os.write(said, json.dumps([errno.EINVAL, ""]).encode())
        finally:
            os._exit(127)
    os.close(said)
    with os.fdopen(says, "rb") as answer:
        failed = answer.read()
    if failed:
        os.waitpid(script, 0)
        number, file = json.loads(failed)
        raise OSError(number, os.strerror(number), file)
    return script


def _reap(script: int | None) -> tuple[int | None, bool]:
    """The script's status if it ended since, and whether we have no child any more."""
    status = None
    while True:
        try:
            child, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, True
        if child == 0:
            return status, False
        if child == script:
            status = ended


def _kill_everything(deaths: int, script: int | None) -> tuple[int | None, int, int]:
    """Kill every descendant until there is none, within ``KILL_WITHIN``.

    The script's status if it ended by this, the number of the others, and of those that are still there.
    """
    status = None
    living = [pid for pid in _descendants() if _runs(pid)]
    left_behind = len([pid for pid in living if pid != script])
    give_up = time.monotonic() + KILL_WITHIN
    poll = select.poll()
    poll.register(deaths, select.POLLIN)
    while True:
        for pid in _descendants():
            _kill(pid)
        ended, alone = _reap(script)
        status = ended if status is None else status
        if alone:
            return status, left_behind, 0
        if time.monotonic() > give_up:
            return status, left_behind, len([pid for pid in _descendants() if _runs(pid)])
        if poll.poll(_LOOK_AGAIN * 1000):
            os.read(deaths, 4096)


def _kill(pid: int) -> None:
    """Kill a descendant with its group, in which all are descendants: nobody can fork out of that."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(pid)
        if group == os.getpgrp():  # ours: it is about to get its own
            os.kill(pid, signal.SIGKILL)
        else:
            os.killpg(group, signal.SIGKILL)


def _descendants() -> Iterator[int]:
    """Each as soon as it is found, for one that forks and ends all the time is not there for long."""
    if _LISTS_CHILDREN:
        found = [os.getpid()]
        for parent in found:
            for child in _children(parent):
                found.append(child)
                yield child
    else:
        yield from _descendants_by_parent()


def _children(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):  # it is gone, or one of its threads
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, (task / "children").read_bytes().split())


def _descendants_by_parent() -> Iterator[int]:
    """For a kernel without lists of children: everybody is asked for his parent, the youngest first."""
    us = os.getpid()
    children: dict[int, list[int]] = {}
    pids = (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal())
    for pid in sorted(pids, reverse=True):
        if (stat := _stat(pid)) is not None:
            children.setdefault(int(stat[1]), []).append(pid)
            if int(stat[1]) == us:
                yield pid
    found = children.get(us, [])
    for parent in found:
        for child in children.get(parent, ()):
            found.append(child)
            yield child


def _runs(pid: int) -> bool:
    stat = _stat(pid)
    return stat is not None and stat[0] not in (b"Z", b"X")


def _stat(pid: int) -> list[bytes] | None:
    """proc_pid_stat(5) from the state on, which follows the command's name in parentheses; None if gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None


def _hear_of_deaths() -> int:
    """A descriptor that becomes readable when a child ends."""
    heard, hears = os.pipe()
    os.set_blocking(heard, False)
    os.set_blocking(hears, False)
    signal.set_wakeup_fd(hears, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return heard


def _let_go_of(*outputs: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    for output in outputs:
        os.dup2(nothing, output)
    os.close(nothing)


def _send(line: socket.socket, message: Mapping[str, Any]) -> None:
    with contextlib.suppress(ConnectionError):  # the runner is gone, and so is everything else
        line.sendall(json.dumps(message).encode() + b"\n")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
