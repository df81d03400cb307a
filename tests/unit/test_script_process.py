"""A script's process: what is heard of it, and that it ends as a whole, whoever dies first."""

from __future__ import annotations

import fcntl
import os
import re
import resource
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from e2e_matrix.script import process
from e2e_matrix.script.process import LONGEST_LINE, ScriptExit, ScriptProcess, Stream

ENVIRONMENT = {"PATH": os.defpath}
SOON = 15.0  # seconds: everything below takes a fraction of one on a quiet machine

# Prints its pid and stays, deaf to TERM, for as long as a test may take.
STAY = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("pid", os.getpid(), flush=True)
time.sleep(60)
"""
# Has a child, a daemon that no session or parent connects with it, and a child that is stopped.
FAMILY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def stay():
    print("pid", os.getpid(), flush=True)
    time.sleep(60)
if os.fork() == 0:
    stay()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.environ.clear()
        stay()
    os._exit(0)
if os.fork() == 0:
    print("pid", os.getpid(), flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
"""


class Heard:
    """A sink that keeps what comes."""

    def __init__(self) -> None:
        self.pieces: list[tuple[Stream, bytes]] = []
        self._more = threading.Condition()

    def __call__(self, stream: Stream, piece: bytes) -> None:
        with self._more:
            self.pieces.append((stream, piece))
            self._more.notify_all()

    def all(self, stream: Stream = "stdout") -> bytes:
        return b"".join(piece for of, piece in self.pieces if of == stream)

    def pids(self, number: int) -> list[int]:
        """Wait for so many lines of ``pid N``."""
        with self._more:
            assert self._more.wait_for(lambda: self.all().count(b"pid ") == number, SOON), self.pieces
        return [int(pid) for pid in re.findall(rb"pid (\d+)\n", self.all())]


class Lives:
    """Processes that were there when this was made, by descriptors that outlive a number."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._left = {os.pidfd_open(pid): pid for pid in pids}

    def end(self, within: float) -> bool:
        """Wait for the end of all."""
        poll = select.poll()
        for descriptor in self._left:
            poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + within
        while self._left:
            ended = poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ended:
                return False
            for descriptor, _ in ended:
                poll.unregister(descriptor)
                os.close(descriptor)
                del self._left[descriptor]
        return True

    def kill(self) -> None:
        for descriptor in self._left:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)


Start = Callable[..., tuple[ScriptProcess, Heard]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Gives ``start(code, **environment)``; no thread and no open file may be left."""
    threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    started: list[ScriptProcess] = []

    def begin(code: str, **environment: str) -> tuple[ScriptProcess, Heard]:
        heard = Heard()
        command = [sys.executable, "-I", "-S", "-c", code]
        made = ScriptProcess(command, cwd=tmp_path, environment=ENVIRONMENT | environment, sink=heard)
        started.append(made)
        return made, heard

    yield begin
    for one in started:
        one.close()
        one.close()
    assert threading.active_count() == threads
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


@pytest.fixture(params=["children", "parents"])
def kernel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """With and without /proc/PID/task/TID/children, which a kernel need not have."""
    if request.param == "parents":
        program = process._SUPERVISOR.read_text()
        assert program.count('/children"') == 1
        other = tmp_path / "supervisor.py"
        other.write_text(program.replace('/children"', '/none"'))
        monkeypatch.setattr(process, "_SUPERVISOR", other)
    return str(request.param)


def finish(started: ScriptProcess) -> ScriptExit:
    assert started.exited.wait(SOON)
    assert started.exit is not None
    return started.exit


def test_a_script_prints_reads_nothing_and_ends(start: Start, tmp_path: Path) -> None:
    script, heard = start(
        "import os, sys; print('read', repr(sys.stdin.read()), os.getcwd()); sys.stderr.write('no end');"
        "print(sorted(os.environ.items())); sys.exit(3)",
        NAME="välue=\n",
    )
    assert finish(script) == ScriptExit(code=3, signal=None, left_behind=0)
    first, second = heard.all().decode().splitlines()
    assert first == f"read '' {tmp_path}"
    # LC_CTYPE is Python's own (PEP 538)
    assert second.replace("('LC_CTYPE', 'C.UTF-8'), ", "") == str(
        sorted({**ENVIRONMENT, "NAME": "välue=\n"}.items())
    )
    assert heard.all("stderr") == b"no end"
    assert script.end(5) == script.exit


def test_success_is_zero(start: Start) -> None:
    assert finish(start("pass")[0]) == ScriptExit(code=0, signal=None, left_behind=0)


def test_a_signal_is_no_exit_code(start: Start) -> None:
    script, _ = start("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert finish(script) == ScriptExit(code=None, signal=signal.SIGSEGV, left_behind=0)


def test_it_has_a_session_three_descriptors_no_terminal_and_every_signal(start: Start) -> None:
    held = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(held, True)  # as of a make that started the runner
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    hup = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        script, heard = start(
            "import os, signal\n"
            "def at(n):\n"
            "    try: return os.readlink(f'/proc/self/fd/{n}')\n"
            "    except OSError: return None\n"
            "print([n for n in range(1000) if at(n)], at(0))\n"
            "print(os.getsid(0) == os.getpgrp() == os.getpid())\n"
            "print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGHUP).name)\n"
            "try: os.open('/dev/tty', os.O_RDWR)\n"
            "except OSError: print('no terminal')\n"
        )
    finally:
        signal.signal(signal.SIGHUP, hup)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(held)
    finish(script)
    assert heard.all().decode().splitlines() == [
        "[0, 1, 2] /dev/null",
        "True",
        "set() SIG_DFL",
        "no terminal",
    ]


def test_nothing_of_the_runner_s_secrets_is_in_its_ancestors(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_API_KEY", "sk-runner")
    script, heard = start(
        "import os\nfor name in ('environ', 'cmdline'): print(open(f'/proc/{os.getppid()}/{name}').read())\n",
        OWN="sk-own",
    )
    finish(script)
    assert b"supervisor.py" in heard.all()
    assert b"sk-" not in heard.all()


@pytest.mark.parametrize(
    ("command", "cwd", "error"),
    [
        (["/nothing", "x"], "/", FileNotFoundError),
        (["no-such-program"], "/", FileNotFoundError),
        (["/etc"], "/", PermissionError),
        (["true"], "/missing", FileNotFoundError),
        (["true", "\0"], "/", OSError),
    ],
)
def test_what_cannot_be_started_is_an_error(command: list[str], cwd: str, error: type[OSError]) -> None:
    threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(error, match="missing" if cwd == "/missing" else command[0]):
        ScriptProcess(command, cwd=Path(cwd), environment=ENVIRONMENT, sink=Heard())
    assert (threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))) == (threads, descriptors)


def test_a_script_that_listens_to_term_may_say_goodbye(start: Start) -> None:
    script, heard = start(
        "import signal, sys, time\n"
        "def bye(*_): print('bye'); sys.exit(4)\n"
        "signal.signal(signal.SIGTERM, bye)\n"
        "print('pid 0', flush=True); time.sleep(60)\n"
    )
    heard.pids(1)
    begin = time.monotonic()
    assert script.end(30) == ScriptExit(code=4, signal=None, left_behind=0)
    assert time.monotonic() - begin < SOON
    assert heard.all().endswith(b"bye\n")


def test_a_deaf_script_is_killed_after_the_shortest_grace(start: Start) -> None:
    script, heard = start(
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'pid 0\\n'))\n"
        "print('pid 0', flush=True)\n"
        "while True: time.sleep(60)\n"
    )
    heard.pids(1)
    begin = time.monotonic()
    ends = []
    for number, grace in enumerate((60, 1.0, 40)):
        ends.append(threading.Thread(target=script.end, args=(grace,)))
        ends[-1].start()
        heard.pids(2 + number)  # it has had its TERM
    for end in ends:
        end.join(SOON)
    assert 1.0 <= time.monotonic() - begin < SOON
    assert script.exit == ScriptExit(code=None, signal=signal.SIGKILL, left_behind=0)


def test_all_that_a_script_leaves_behind_is_counted_and_killed(start: Start, kernel: str) -> None:
    script, heard = start(FAMILY + "time.sleep(0.3); print('pid', os.getpid()); sys.exit(5)")
    lives = Lives(heard.pids(4)[:-1])
    assert finish(script) == ScriptExit(code=5, signal=None, left_behind=3)
    assert lives.end(0)


def test_what_ends_by_itself_soon_after_the_script_was_not_left_behind(start: Start) -> None:
    script, heard = start(
        "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(0.1); print('I am the last')\n"
    )
    assert finish(script) == ScriptExit(code=0, signal=None, left_behind=0)
    assert heard.all() == b"I am the last\n"


def test_a_family_that_is_ended_is_gone_when_end_returns(start: Start, kernel: str) -> None:
    script, heard = start(FAMILY + "stay()")
    lives = Lives(heard.pids(4))
    assert script.end(0.1) == ScriptExit(code=None, signal=signal.SIGKILL, left_behind=3)
    assert lives.end(0)


def test_processes_that_fork_and_end_all_the_time_are_caught(
    start: Start, kernel: str, tmp_path: Path
) -> None:
    # Twenty at any moment, each in a session of its own and for no longer than a few milliseconds.
    os.mkfifo(tmp_path / "alive")
    alive = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        script, _ = start(
            "import os, time\n"
            "end = time.monotonic() + 60\n"
            "alive = os.open('alive', os.O_WRONLY)\n"
            "for _ in range(20):\n"
            "    if os.fork() == 0:\n"
            "        while time.monotonic() < end:\n"
            "            if os.fork() != 0: os._exit(0)\n"
            "            os.setsid()\n"
            "            os.write(alive, b'.')\n"
            "        os._exit(0)\n"
            "time.sleep(60)\n"
        )
        generations = 0
        while generations < 200:
            assert select.select([alive], [], [], SOON)[0]
            generations += len(os.read(alive, 4096))
        assert script.end(0).survivors == 0
        while os.read(alive, 4096):  # its end is when nobody holds the other one; else this raises
            pass
    finally:
        os.close(alive)


def test_what_cannot_be_killed_is_told_and_does_not_hold_us(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = process._SUPERVISOR.read_text()
    for was, instead in (("KILL_WITHIN = 10.0", "KILL_WITHIN = 0.3"), (", signal.SIGKILL)", ", 0)")):
        assert was in program
        program = program.replace(was, instead)
    (tmp_path / "supervisor.py").write_text(program)
    monkeypatch.setattr(process, "_SUPERVISOR", tmp_path / "supervisor.py")
    script, heard = start(
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.write(1, b'pid %d\\n' % os.getpid())\n"
        "while True: os.write(1, b'and on\\n' * 1000)\n"
    )
    lives = Lives(heard.pids(1))
    try:
        ended = script.end(0)
        assert (ended.signal, ended.survivors) == (signal.SIGKILL, 1)
        assert lives.end(SOON)  # nobody listens to it any more
    finally:
        lives.kill()


def test_a_script_that_closes_its_output_goes_on(start: Start) -> None:
    script, heard = start(
        "import os, time\n"
        "os.close(1); time.sleep(0.3); os.write(2, b'still there\\n'); os.close(2); time.sleep(0.2)"
    )
    assert not script.exited.wait(0.2)
    assert finish(script) == ScriptExit(code=0, signal=None, left_behind=0)
    assert heard.pieces == [("stderr", b"still there\n")]


def test_a_flood_takes_no_memory_and_little_time(start: Start) -> None:
    size = 200 << 20
    count = 0

    def sink(stream: Stream, piece: bytes) -> None:
        nonlocal count
        assert len(piece) <= 2 * LONGEST_LINE
        assert piece.endswith(b"x\n")
        count += len(piece)

    code = (
        f"import os\nlines, left = (b'x' * 79 + b'\\n') * 8192, {size}\n"
        "while left: left -= os.write(1, lines[:left])"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.monotonic()
    flood = ScriptProcess(
        [sys.executable, "-I", "-S", "-c", code], cwd=Path("/"), environment=ENVIRONMENT, sink=sink
    )
    finish(flood)
    seconds = time.monotonic() - begin
    flood.close()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert count == size
    assert grown < 20 << 10, f"{grown} KiB"
    assert size / seconds > 40e6, f"{size / seconds / 1e6:.0f} MB/s"


def test_a_slow_sink_makes_the_script_wait_and_loses_nothing(tmp_path: Path) -> None:
    taking = threading.Event()
    sizes: list[int] = []

    def sink(stream: Stream, piece: bytes) -> None:
        taking.wait(SOON)
        sizes.append(len(piece))

    code = "import os\nfor _ in range(1000): os.write(1, b'x' * 999 + b'\\n')\nopen('done', 'w')"
    script = ScriptProcess(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, environment=ENVIRONMENT, sink=sink
    )
    assert not script.exited.wait(0.3)
    assert not (tmp_path / "done").exists()
    taking.set()
    finish(script)
    script.close()
    assert sum(sizes) == 1_000_000


def test_lines_come_whole_and_long_ones_in_pieces(start: Start) -> None:
    script, heard = start(
        "import os, time\n"
        "for piece in (b'one\\ntw', b'o\\n', 'ä'.encode() * 100_000, b'\\nend'):\n"
        "    time.sleep(0.02)\n"
        "    while piece: piece = piece[os.write(1, piece):]\n"
    )
    finish(script)
    pieces = [piece for _, piece in heard.pieces]
    assert pieces[:2] == [b"one\n", b"two\n"]
    assert pieces[-1] == b"end"
    assert b"".join(pieces) == b"one\ntwo\n" + "ä".encode() * 100_000 + b"\nend"
    assert len(pieces) > 4
    for piece in pieces:
        piece.decode()  # no character is cut in two
        assert len(piece) <= 2 * LONGEST_LINE


def test_a_line_without_an_end_and_bytes_that_are_no_text_come_as_they_are(start: Start) -> None:
    script, heard = start(
        "import os\n"
        "os.write(2, b'\\xff\\xfe\\x80 \\xc3\\n')\n"
        "for _ in range(64): os.write(1, b'\\x80' * 32768)\n"
    )
    finish(script)
    assert heard.all("stderr") == b"\xff\xfe\x80 \xc3\n"
    assert heard.all() == b"\x80" * (2 << 20)
    assert max(len(piece) for _, piece in heard.pieces) <= 2 * LONGEST_LINE


def test_what_is_in_the_pipe_when_all_are_dead_still_comes() -> None:
    pieces: list[bytes] = []
    there = threading.Event()

    def sink(stream: Stream, piece: bytes) -> None:
        pieces.append(piece)
        assert there.wait(SOON)
        script._reported.wait(SOON)

    code = (
        "import fcntl, os, time\n"
        "os.write(1, b'first\\n')\n"
        f"size = fcntl.fcntl(1, {fcntl.F_SETPIPE_SZ}, 1 << 18)\n"
        f"while fcntl.ioctl(1, {termios.FIONREAD}, bytes(4)) != bytes(4): time.sleep(0.01)\n"
        "os.write(1, b'x' * (size - 1) + b'\\n')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    script = ScriptProcess(
        [sys.executable, "-I", "-S", "-c", code], cwd=Path("/"), environment=ENVIRONMENT, sink=sink
    )
    there.set()
    finish(script)
    script.close()
    assert pieces[0] == b"first\n"
    assert len(b"".join(pieces[1:])) == 1 << 18


RUNNER = """
import sys
from pathlib import Path
from e2e_matrix.script.process import ScriptProcess
def sink(stream, piece):
    sys.stdout.buffer.write(piece)
    sys.stdout.flush()
script = ScriptProcess([sys.executable, "-c", sys.argv[1]], cwd=Path("/"), environment={}, sink=sink)
print("supervisor", script._supervisor, flush=True)
print("supervisor", script._guard.pid, flush=True)
script.exited.wait()
"""


def test_a_killed_runner_takes_everything_with_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER, FAMILY + "stay()"], stdout=subprocess.PIPE, text=True
    ) as runner:
        assert runner.stdout is not None
        lives = Lives([int(runner.stdout.readline().split()[1]) for _ in range(6)])
        try:
            assert not lives.end(0)
            runner.kill()
            assert lives.end(SOON)
        finally:
            lives.kill()


def test_even_with_all_of_ours_killed_at_once_the_script_does_not_go_on() -> None:
    with subprocess.Popen([sys.executable, "-c", RUNNER, STAY], stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout is not None
        ours = [runner.pid, *(int(runner.stdout.readline().split()[1]) for _ in range(2))]
        script = Lives([int(runner.stdout.readline().split()[1])])
        try:
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in ours:
                    os.kill(pid, number)
            assert script.end(SOON)
        finally:
            script.kill()


@pytest.mark.parametrize("killed", ["supervisor", "guard", "both", "stopped supervisor"])
def test_a_killed_supervisor_takes_everything_with_it(
    start: Start, killed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, heard = start(FAMILY + "stay()")
    lives = Lives(heard.pids(4))
    try:
        if killed == "stopped supervisor":  # it hears of nothing: somebody has to notice
            monkeypatch.setattr(process, "_PATIENCE", 0.5)
            monkeypatch.setattr(process, "KILL_WITHIN", 0.0)
            os.kill(script._supervisor, signal.SIGSTOP)
            script.end(0)
        if killed in ("guard", "both"):
            os.kill(script._guard.pid, signal.SIGSTOP if killed == "both" else signal.SIGKILL)
        if killed in ("supervisor", "both"):
            os.kill(script._supervisor, signal.SIGKILL)
        if killed == "both":
            os.kill(script._guard.pid, signal.SIGKILL)
        ended = finish(script)
        assert ended.signal == signal.SIGKILL
        if killed == "both":  # the script and its group; who left that is out of reach then
            assert script.pid in heard.pids(4)
        else:
            assert 0 < ended.left_behind <= 4  # counted while the script is dying
            assert lives.end(0)
    finally:
        lives.kill()
