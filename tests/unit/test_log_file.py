"""What is kept of a log: its two ends, no secret, and every sign also of what is between them."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.log_file import LogFile
from e2e_matrix.log_signs import Scan, Sign
from e2e_matrix.redaction import HIDDEN, Secrets

SIGNS = {
    "crash": Sign("uncaught target", r"qemu: uncaught target signal[^\n]*"),
    "glibc": Sign("GLIBC_", r"version `GLIBC_[\d.]+' not found"),
}


def log_in(folder: Path, *secrets: str, head: int = 100, tail: int = 200) -> LogFile:
    return LogFile(folder, Secrets(secrets), SIGNS, head, tail)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_short_log_is_kept_as_it_came(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    log.write(b"one\ntw")
    assert files(tmp_path) == {"server.log": b"one\ntw"}
    log.write(b"o \x1b[31m\xff\xc3")
    log.close()
    log.close()
    log.write(b"too late")
    assert files(tmp_path) == {"server.log": "one\ntwo \x1b[31m\ufffd\ufffd".encode()}
    assert (log.total_bytes, log.dropped_bytes) == (len("one\ntwo \x1b[31m") + 6, 0)


def test_a_log_of_nothing_is_an_empty_file(tmp_path: Path) -> None:
    log_in(tmp_path).close()
    assert files(tmp_path) == {"server.log": b""}


def test_of_a_long_log_both_ends_are_kept_and_the_middle_is_counted(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    lines = [b"line %05d\n" % n for n in range(1000)]
    for line in lines:
        log.write(line)
        assert sum(map(len, files(tmp_path).values())) <= 100 + 2 * 200
    log.close()
    assert set(files(tmp_path)) == {"server.log"}
    head, _, rest = files(tmp_path)["server.log"].partition(b"\n[")
    note, _, tail = rest.partition(b"]\n")
    assert head == b"".join(lines)[:100]
    assert tail == b"".join(lines[-18:])
    assert log.total_bytes == 11_000
    assert log.dropped_bytes == 11_000 - 100 - len(tail)
    assert note == f"{log.dropped_bytes:,} bytes in 973 lines are left out here".encode()


@given(
    st.lists(st.text("a\né€😀", max_size=60), max_size=40),
    st.integers(20, 60),
    st.integers(20, 60),
)
def test_nothing_is_lost_uncounted_and_no_character_is_cut(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[str], head: int, tail: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = log_in(folder, head=head, tail=tail)
    for piece in pieces:
        log.write(piece.encode())
    log.close()
    whole, kept = "".join(pieces), files(folder)["server.log"].decode()
    assert log.total_bytes == len(whole.encode())
    if log.dropped_bytes == 0:
        assert kept == whole
        return
    first, _, rest = kept.partition("\n[")
    note, _, last = rest.partition("]\n")
    assert whole.startswith(first)
    assert whole.endswith(last)
    assert len(first.encode()) <= head
    assert len(last.encode()) <= tail
    dropped = whole[len(first) : len(whole) - len(last)]
    assert log.dropped_bytes == len(dropped.encode())
    assert note == f"{log.dropped_bytes:,} bytes in {dropped.count(chr(10)):,} lines are left out here"


def test_no_secret_is_on_the_disk_while_it_streams(tmp_path: Path) -> None:
    log = log_in(tmp_path, "a secret value", head=64, tail=64)
    for byte in b"x a secret value y\n" * 50:
        log.write(bytes([byte]))
        assert not any(b"a secret value" in content for content in files(tmp_path).values())
    log.close()
    kept = files(tmp_path)["server.log"].decode()
    assert kept.startswith(f"x {HIDDEN} y\n")
    assert kept.endswith(f"x {HIDDEN} y\n")
    assert "secret" not in kept + log.latest()


def test_signs_are_found_wherever_they_are_and_however_they_are_cut(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    log.write(b"x\n" * 500)
    assert log.signs() == {}
    for byte in b"qemu: uncaught target signal 11 (Segmentation fault) - core dumped\n":
        log.write(bytes([byte]))
    log.write(b"qemu: uncaught target signal 6\n" + b"y" * 20_000 + b"version `GLIBC_2.38' not found")
    log.write(b"z\n" * 500)
    log.close()
    assert log.signs() == {
        "crash": "qemu: uncaught target signal 11 (Segmentation fault) - core dumped",
        "glibc": "version `GLIBC_2.38' not found",
    }
    assert "GLIBC" not in files(tmp_path)["server.log"].decode()


def test_a_sign_in_the_last_line_is_found_without_its_end() -> None:
    scan = Scan(SIGNS)
    scan.feed(b"version `GLIBC_2.38' not found")
    assert scan.seen() == {}
    scan.finish()
    assert set(scan.seen()) == {"glibc"}


def test_the_latest_is_at_hand_and_bounded(tmp_path: Path) -> None:
    log = log_in(tmp_path)
    for n in range(100_000):
        log.write(b"%d\n" % n)
    log.close()
    assert log.latest().endswith("99998\n99999\n")
    assert len(log.latest()) == 65_536


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    log = LogFile(tmp_path, Secrets(["a secret value"]), SIGNS)
    piece = b"2026-01-01 INFO something happened\n" * 1800
    tracemalloc.start()
    for _ in range(400):
        log.write(piece)
    log.close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert log.total_bytes == 400 * len(piece)
    assert peak < 4 << 20
    assert (tmp_path / "server.log").stat().st_size <= (6 << 20) + 100


def test_after_a_kill_both_ends_are_there(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib\n"
        "from e2e_matrix.log_file import LogFile\n"
        "from e2e_matrix.redaction import Secrets\n"
        "log = LogFile(pathlib.Path(sys.argv[1]), Secrets(), {}, 100, 200)\n"
        "for n in range(1000): log.write(b'line %05d\\n' % n)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    left = files(tmp_path)
    assert left["server.log"].startswith(b"line 00000\n")
    assert left["server.log.tail"].endswith(b"line 00999\n")
    assert len(left["server.log.tail"] + left["server.log.tail-before"]) >= 200


@pytest.mark.parametrize("when", ["head", "tail", "end"])
def test_a_disk_that_refuses_is_said_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    log = log_in(tmp_path / "none" if when == "head" else tmp_path)
    log.write(b"line\n" * 10)
    if when == "tail":
        (tmp_path / "server.log.tail").mkdir()
    if when == "end":

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
    log.write(b"line\n" * 50)
    log.write(b"version `GLIBC_2.38' not found\n")
    for _ in range(2):
        with pytest.raises(CellFailure, match="the log could not be kept") as caught:
            log.close()
        assert caught.value.cause is Cause.DISK_FULL
    assert log.total_bytes == 331
    assert log.latest().endswith("not found\n")
    assert set(log.signs()) == {"glibc"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_disk_that_fills_while_the_log_streams(small_disk: Path) -> None:
    log = LogFile(small_disk, Secrets(), SIGNS)
    for _ in range(100):
        log.write(b"x" * 4095 + b"\n")
    with pytest.raises(CellFailure, match="No space left on device"):
        log.close()
    assert log.total_bytes == 409_600
