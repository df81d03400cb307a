"""A connection to a database that is known to be ours, whole in its form, and current."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

from e2e_matrix.errors import BadInput, InfrastructureError, Problem
from e2e_matrix.history.schema import APPLICATION, MIGRATIONS

_T = TypeVar("_T")
# https://sqlite.org/rescode.html; the primary code is in the low byte.
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_TOOBIG)
_FIXES = {
    sqlite3.SQLITE_BUSY: "Another process writes to it all the time; try again.",
    sqlite3.SQLITE_FULL: "Free space there.",
    sqlite3.SQLITE_READONLY: "Make it writable, with its folder, or name a copy with --history.",
    sqlite3.SQLITE_CANTOPEN: "Is it a folder, or is its folder not writable? Name another with --history.",
}


class Damaged(Exception):
    """The file is ours, or may have been, and cannot be used; the message says why."""


def connect(path: Path, patience: float, shown: Path | None = None) -> sqlite3.Connection:
    """Open the database, or make one where there is no file, and bring it up to date.

    ``patience``: seconds that other writers are waited for; ``shown``: what a person calls the file. Raises
    Damaged, BadInput where it is of a newer version or another program's, and sqlite3.Error.
    """
    size = path.stat().st_size if path.exists() else None
    if size == 0:
        raise Damaged("it is empty")
    connection = sqlite3.connect(path, timeout=patience, isolation_level=None)
    try:
        with telling_damage():
            _check_owner(connection, shown or path, new=size is None)
            connection.execute("PRAGMA journal_mode = WAL")
            # What a power cut takes with it is made again from the run folders.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            _migrate(connection)
            _check_form(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def telling_damage() -> Iterator[None]:
    """What SQLite says of a damaged file becomes Damaged."""
    try:
        yield
    except sqlite3.Error as error:
        if _is_damage(error):
            raise Damaged(str(error)) from error
        raise


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return "Could not decode to UTF-8" in str(error)  # raised by Python's module itself
    return code & 0xFF in _DAMAGE or str(error).startswith(("no such table", "no such column"))


def trouble(path: Path, error: sqlite3.Error) -> InfrastructureError:
    """What keeps a whole database from being used, for a person."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return InfrastructureError(f"the history {path} cannot be used: {error}", _FIXES.get(code, ""))


def in_transaction(connection: sqlite3.Connection, action: Callable[[], _T]) -> _T:
    """All of what ``action`` writes, or nothing; nobody else writes meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = action()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself ends it where the disk is full
            connection.execute("ROLLBACK")
        raise
    return done


def version_of(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _check_owner(connection: sqlite3.Connection, path: Path, new: bool) -> None:
    """Raises BadInput where the file is another program's or a newer one's: then it is not written to."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    ours = application == APPLICATION or {"runs", "cells"} <= tables
    if tables and not ours:
        hint = "Name another file with --history."
        raise BadInput([Problem(str(path), 0, 0, "is another program's database", hint)])
    version = version_of(connection)
    if version > len(MIGRATIONS):
        what = f"is of version {version}; this program knows up to {len(MIGRATIONS)}"
        hint = "Use the version of e2e-matrix that wrote it, or name another file with --history."
        raise BadInput([Problem(str(path), 0, 0, what, hint)])
    if not new and (version < 1 or not tables):
        raise Damaged("its tables are missing" if not tables else f"its version is {version}")


def _migrate(connection: sqlite3.Connection) -> None:
    if version_of(connection) == len(MIGRATIONS):
        return

    def step_by_step() -> None:
        for step in MIGRATIONS[version_of(connection) :]:  # another process may have done some meanwhile
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    in_transaction(connection, step_by_step)


def _check_form(connection: sqlite3.Connection) -> None:
    if missing := _current_form() - _form(connection):
        raise Damaged(f"it has no {', '.join(sorted(missing))}")


@cache
def _current_form() -> frozenset[str]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        _migrate(connection)
        return _form(connection)
    finally:
        connection.close()


def _form(connection: sqlite3.Connection) -> frozenset[str]:
    """The names of the tables with their columns, and of the indexes."""
    query = (
        "SELECT m.type || ' ' || m.name || coalesce('.' || p.name, '') FROM sqlite_master m"
        " LEFT JOIN pragma_table_info(m.name) p WHERE m.name NOT LIKE 'sqlite_%'"
    )
    return frozenset(name for (name,) in connection.execute(query))
