"""Whose a container is: a living process, a dead one, a recycled pid, another machine."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2e_matrix import owner


def test_this_process_is_alive() -> None:
    assert owner.is_alive(owner.current()) is True


def test_the_label_reads_host_pid_start() -> None:
    host, pid, start = owner.current().split(":")
    assert host
    assert int(pid) > 0
    assert start


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="start times are read from /proc")
@pytest.mark.parametrize("name", [b"a b) Z 1 2", "eleven byt\u0113s".encode()[:11], b"\xff\x80"])
def test_a_process_may_be_called_anything(name: bytes) -> None:
    code = (
        "import pathlib, sys; from e2e_matrix import owner\n"
        f"pathlib.Path('/proc/self/comm').write_bytes({name!r})\n"
        "print(owner.current(), flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert owner.is_alive(child.stdout.readline().strip()) is True
        child.communicate()


def test_an_ended_process_is_dead() -> None:
    code = "from e2e_matrix import owner; print(owner.current())"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert owner.is_alive(ended.stdout.strip()) is False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times are read from /proc")
def test_a_zombie_is_dead() -> None:
    code = "from e2e_matrix import owner; print(owner.current(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        label = child.stdout.readline().strip()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has reaped it
        assert owner.is_alive(label) is False


def test_a_recycled_pid_is_not_taken_for_the_owner() -> None:
    host, pid, start = owner.current().split(":")
    boot, namespace, ticks = start.split(".")
    assert owner.is_alive(f"{host}:{pid}:{boot}.{namespace}.{int(ticks) - 1}") is False


def test_an_earlier_boot_of_this_host_is_dead() -> None:
    host, pid, start = owner.current().split(":")
    assert owner.is_alive(f"{host}:{pid}:{start.replace(start[:8], '00000000')}") is False


def test_another_host_cannot_be_known() -> None:
    _, pid, start = owner.current().split(":")
    assert owner.is_alive(f"elsewhere:{pid}:{start}") is None


def test_another_pid_namespace_cannot_be_known() -> None:
    host, pid, start = owner.current().split(":")
    boot, _, ticks = start.split(".")
    assert owner.is_alive(f"{host}:{pid}:{boot}.1.{ticks}") is None


@pytest.mark.parametrize("text", ["", "x", "a:b", "a:b:c:d", "host:pid:start", "::"])
def test_text_that_is_no_owner_cannot_be_known(text: str) -> None:
    assert owner.is_alive(text) is None


def test_without_proc_the_pid_decides() -> None:
    host, pid, _ = owner.current().split(":")
    assert owner.is_alive(f"{host}:{pid}:-") is True
    assert owner.is_alive(f"{host}:99999999999999:-") is False


def test_a_deadline_lies_ahead_and_then_behind() -> None:
    assert not owner.is_past(owner.deadline_label(60))
    assert owner.is_past(owner.deadline_label(-60))


def test_a_deadline_is_utc_iso_8601() -> None:
    moment = datetime.fromisoformat(owner.deadline_label(3600))
    assert moment.utcoffset() == timedelta(0)
    assert abs((moment - datetime.now(UTC)).total_seconds() - 3600) < 5


@pytest.mark.parametrize(
    "text", ["", "soon", "2001-01-01T00:00:00"]
)  # the last has no offset: whose midnight?
def test_an_unreadable_deadline_is_never_past(text: str) -> None:
    assert not owner.is_past(text)
