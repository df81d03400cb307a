"""A script's process and everything that it starts, from the runner's side; supervisor.py is the other.

Linux only: what keeps a script's processes together is Linux' own (prctl(2), proc(5)).
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from e2e_matrix.script.supervisor import KILL_WITHIN

Stream = Literal["stdout", "stderr"]
Sink = Callable[[Stream, bytes], None]

LONGEST_LINE = 64 * 1024  # bytes; a longer one comes in pieces
_PIECE = 64 * 1024
_CONTINUATIONS = range(0x80, 0xC0)  # bytes of a character after its first
_LONGEST_CHARACTER = 4

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_PATIENCE = 5.0  # seconds beyond what it may take, after which a supervisor is stuck itself


@dataclass(frozen=True)
class ScriptExit:
    """How a script ended: ``code``, or where a signal ended it, ``signal``."""

    code: int | None
    signal: int | None
    left_behind: int  # processes it had started that were still there at its end; they were killed
    survivors: int = 0  # what could not be killed within KILL_WITHIN: another user's, or stuck in the kernel


class ScriptProcess:
    """A running script: its own session, stdin empty; ended as a whole.

    ``environment`` is the whole of it, nothing is inherited; of descriptors it has 0, 1 and 2.

    ``sink`` gets what it prints, each stream from a thread of its own: whole lines, as many as have come, at
    most 128 KiB at once. A line longer than ``LONGEST_LINE`` comes in pieces, none of which ends within a
    character. While the sink takes its time the script waits. It must not raise.

    A script that has ended is given SETTLE seconds (supervisor.py) for what it started to end by itself; then
    that is killed. So is everything when this process ends, however it does.

    Errors: OSError where the command or ``cwd`` cannot be used; the environment's PATH is searched.
    """

    def __init__(
        self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], sink: Sink
    ) -> None:
        self.exited = threading.Event()  # it and all it started are gone, and the sink has had the last byte
        self.exit: ScriptExit | None = None
        self._sink = sink
        self._sending = threading.Lock()
        self._reported = threading.Event()
        self._line, theirs = socket.socketpair()
        with theirs:
            self._guard = _start_supervisor(theirs)
        self._answers = self._line.makefile("rb")
        self._tell({"command": list(command), "cwd": str(cwd), "environment": dict(environment)})
        started = self._hear() or {}
        if "pid" not in started:
            raise self._not_started(command, started)
        self.pid: int = started["pid"]  # also that of its group and session
        self._supervisor: int = started["supervisor"]
        self._over = os.eventfd(0)
        readers = [
            self._thread(f"{stream} of script {self.pid}", self._read, stream, pipe)
            for stream, pipe in (("stdout", self._guard.stdout), ("stderr", self._guard.stderr))
        ]
        self._waiting = self._thread(f"end of script {self.pid}", self._wait, readers)

    def end(self, grace: float) -> ScriptExit:
        """TERM to the group, KILL to every descendant after ``grace`` seconds; returns when all are gone.

        Idempotent, from any thread; the shortest grace counts.
        """
        self._tell({"end": grace})
        if not self._reported.wait(grace + KILL_WITHIN + _PATIENCE):
            os.kill(self._supervisor, signal.SIGKILL)  # its guard takes over
            if not self._reported.wait(KILL_WITHIN + _PATIENCE):
                self._guard.kill()
        self.exited.wait()
        if self.exit is None:
            raise RuntimeError("a script has exited without an exit")
        return self.exit

    def close(self) -> None:
        """End it if it runs, at once, and let go of everything. Idempotent."""
        if not self.exited.is_set():
            self.end(0)
        self._waiting.join()
        with self._sending:
            self._answers.close()
            self._line.close()

    def _thread(self, name: str, target: Callable[..., None], *arguments: object) -> threading.Thread:
        # A daemon: what was not closed does not keep the runner from its end, and ends with it.
        thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
        thread.start()
        return thread

    def _tell(self, message: Mapping[str, Any]) -> None:
        # Not there any more: it has ended, or its guard tells how.
        with self._sending, suppress(OSError):
            self._line.sendall(json.dumps(message).encode() + b"\n")

    def _hear(self) -> dict[str, Any] | None:
        """The next answer; None where there is nobody left to give one."""
        try:
            answer = self._answers.readline()
        except ConnectionError:
            return None
        return dict(json.loads(answer)) if answer.endswith(b"\n") else None

    def _not_started(self, command: Sequence[str], answer: Mapping[str, Any]) -> OSError:
        said = self._guard.communicate()[1].decode(errors="replace").strip()
        self._answers.close()
        self._line.close()
        if "errno" not in answer:
            return ChildProcessError(f"the supervisor of {command[0]} ended before it had started: {said}")
        return OSError(answer["errno"], os.strerror(answer["errno"]), answer["file"] or command[0])

    def _read(self, stream: Stream, pipe: BinaryIO) -> None:
        lines = _Lines(lambda piece: self._sink(stream, piece))
        descriptor = pipe.fileno()
        os.set_blocking(descriptor, False)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(self._over, select.POLLIN)
        left: int | None = None  # once it is over, there is no more to come than what the pipe holds
        while left is None or left > 0:
            if left is None and any(ready == self._over for ready, _ in poll.poll()):
                left = fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ)
            try:
                piece = os.read(descriptor, _PIECE)
            except BlockingIOError:
                if left is None:
                    continue
                break
            if not piece:
                break
            lines.feed(piece)
            left = None if left is None else left - len(piece)
        lines.finish()

    def _wait(self, readers: Sequence[threading.Thread]) -> None:
        report = self._hear()
        self._reported.set()
        if report is None:  # guard and supervisor are both gone; the script died with the supervisor
            report = {"status": int(signal.SIGKILL), "left_behind": 0, "survivors": 0}
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        os.eventfd_write(self._over, 1)
        for reader in readers:
            reader.join()
        os.close(self._over)
        try:
            self._guard.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        for pipe in (self._guard.stdout, self._guard.stderr):
            if pipe is not None:
                pipe.close()
        self.exit = _exit(report)
        self.exited.set()


def _start_supervisor(line: socket.socket) -> subprocess.Popen[bytes]:
    """In a session of its own: a Ctrl-C is for the runner, which then ends the script."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_SUPERVISOR), str(line.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        pass_fds=(line.fileno(),),
        start_new_session=True,
        # the runner's own has keys that are not for the script, which could read it in /proc
        env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
    )


def _exit(report: Mapping[str, Any]) -> ScriptExit:
    status = report["status"]
    code = -int(signal.SIGKILL) if status is None else os.waitstatus_to_exitcode(status)
    return ScriptExit(
        code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        left_behind=report["left_behind"],
        survivors=report["survivors"],
    )


class _Lines:
    """Hands on what it is fed, cut at the ends of lines."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._line = b""  # its beginning

    def feed(self, piece: bytes) -> None:
        end = piece.rfind(b"\n") + 1
        if end:
            self._take(self._line + piece[:end])
            self._line = piece[end:]
        else:
            self._line += piece
        while len(self._line) > LONGEST_LINE:
            cut = _before_character(self._line, LONGEST_LINE)
            self._take(self._line[:cut])
            self._line = self._line[cut:]

    def finish(self) -> None:
        if self._line:
            self._take(self._line)
            self._line = b""


def _before_character(text: bytes, position: int) -> int:
    """``position``, or the begin of the character that it cuts in two; of bytes that are none, any."""
    for begin in range(position, position - _LONGEST_CHARACTER, -1):
        if text[begin] not in _CONTINUATIONS:
            return begin
    return position
