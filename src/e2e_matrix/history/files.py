"""The history's files on the disk, and who may use or replace them.

SQLite finds the write-ahead log by its name beside the database: where one process replaces the two while
another has them open, the log of the one may be applied to the other. So everyone who opens the database
holds a lock file, shared, for as long as it is open; whoever replaces it holds the lock alone.
"""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from e2e_matrix.errors import BadInput, InfrastructureError, Problem
from e2e_matrix.store import PART

_POLL = 0.02  # seconds
# What SQLite keeps beside a database; -shm is made again from -wal.
_BESIDE = ("-wal", "-shm")
_START = b"SQLite format 3\0"  # https://sqlite.org/fileformat.html, "The Database Header"
# A history whose first bytes are damaged has its name still.
_ENDINGS = (".sqlite", ".sqlite3", ".db")


def refuse_foreign(path: Path) -> None:
    """Raises BadInput where a file is no database by its first bytes, and none by its name either.

    What is damaged is set aside and made again; a file of somebody else's must never be.
    """
    if path.suffix.lower() in _ENDINGS or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            start = file.read(len(_START))
    except OSError:
        return  # whoever opens it says so
    if not _START.startswith(start):
        hint = f"Name another file with --history; that of a history ends in {', '.join(_ENDINGS)}."
        raise BadInput([Problem(str(path), 0, 0, "is no history", hint)])


def hold(path: Path, patience: float, *, alone: bool = False) -> IO[bytes]:
    """The right to use the database at ``path``, or to replace it; until it is closed, or this process ends.

    Raises InfrastructureError where that cannot be had within ``patience`` seconds.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_of(path).open("ab")
    except OSError as error:
        fix = "Mend that, or name another file with --history."
        raise InfrastructureError(f"cannot hold the history {path}: {error.strerror}", fix) from error
    return _held(lock, path, patience, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)


def hold_to_read(path: Path, patience: float) -> IO[bytes] | None:
    """As ``hold``, for what is only read: nothing is made beside it.

    None where nobody has used it there, or where the lock is another user's: then it may be replaced.
    """
    try:
        lock = lock_of(path).open("rb")
    except OSError:
        return None
    return _held(lock, path, patience, fcntl.LOCK_SH)


def lock_of(path: Path) -> Path:
    """The file by which everyone who uses the database at ``path`` is known to the others."""
    return path.with_name(f".{path.name}.lock")


def _held(lock: IO[bytes], path: Path, patience: float, how: int) -> IO[bytes]:
    try:
        _wait(lock, path, time.monotonic() + patience, how)
    except BaseException:
        lock.close()
        raise
    return lock


def _wait(lock: IO[bytes], path: Path, deadline: float, how: int) -> None:
    while True:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                fix = "Wait for the other e2e-matrix, which is making it again or has it open."
                raise InfrastructureError(f"the history {path} is in use", fix) from None
            time.sleep(_POLL)
        else:
            return


def identity(path: Path) -> tuple[int, int] | None:
    """Which file lies there, whatever it is called and whatever is in it; None where none does."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def place_beside(path: Path) -> Iterator[Path]:
    """Where a database may be made that is to take the place of ``path``; what is left there is removed.

    The caller holds ``path`` alone: what lies there already is of one who was killed.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{PART}*"):
        left.unlink(missing_ok=True)
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        yield made
    finally:
        for end in ("", *_BESIDE):
            made.with_name(made.name + end).unlink(missing_ok=True)


def replace(path: Path, made: Path, why: str) -> Path | None:
    """Put the closed database ``made`` in the place of ``path``, whose file is kept as
    ``<name>.<why>-<UTC time>``; that path, None where there was no file. At no moment is there none.

    The caller holds ``path`` alone. Raises OSError.
    """
    _sync(made)
    name = f"{path.name}.{why}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    aside = path.with_name(name)
    while aside.exists():
        aside = path.with_name(f"{name}-{secrets.token_hex(2)}")
    for end in _BESIDE:  # also those of a file that somebody removed: they would be applied to the new one
        with suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    there = path.exists()
    if there:
        try:
            aside.hardlink_to(path)
        except OSError:  # not every file system has hard links
            path.rename(aside)
    made.replace(path)
    return aside if there else None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
