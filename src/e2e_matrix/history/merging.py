"""Everything of one history into another.

A run that both have is kept as the later of its two results have it, so that neither the order nor how often
two are merged makes a difference.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.history import files
from e2e_matrix.history.connection import Damaged, connect, in_transaction, telling_damage
from e2e_matrix.history.rows import POINT_COLUMNS, RUN_COLUMNS, points_of, run_lines_of

_PATIENCE = 30.0  # seconds
_TRIES = 5
_RANK = "({0}.finished_at, {0}.sha256, {0}.read_by)"


@contextmanager
def copied(sources: Sequence[Path]) -> Iterator[list[Path]]:
    """Copies of histories, checked and brought up to date; the sources are only read.

    Raises BadInput for all that are none, or that this program cannot read, and InfrastructureError where one
    is made again all the time.
    """
    with tempfile.TemporaryDirectory(prefix="e2e-matrix-") as folder:
        copies = [Path(folder) / f"{number}.sqlite" for number in range(len(sources))]
        problems: list[Problem] = []
        for source, copy in zip(sources, copies, strict=True):
            try:
                _copy_whole(source, copy)
            except BadInput as error:
                problems += error.problems
        if problems:
            raise BadInput(problems)
        yield copies


def _copy_whole(source: Path, copy: Path) -> None:
    try:
        with telling_damage():
            _copy(source, copy)
        with closing(connect(copy, _PATIENCE, shown=source)) as connection:
            _check(connection)
    except Damaged as error:
        hint = "Take in the folders of its runs instead: `e2e-matrix history import FOLDER`."
        raise _refused(source, f"is no whole history: {error}", hint) from error
    except sqlite3.Error as error:
        raise _refused(source, f"cannot be read: {error}") from error


def _copy(source: Path, copy: Path) -> None:
    """A copy as the source was at one moment, though others write to it or replace it meanwhile."""
    if not source.is_file():
        raise _refused(source, "is no file", "Name the file of a history, such as reports/history.sqlite.")
    if not source.stat().st_size:
        raise Damaged("it is empty")
    for _ in range(_TRIES):
        copy.unlink(missing_ok=True)
        with files.hold_to_read(source, _PATIENCE) or nullcontext():
            before = _state(source)
            try:
                _back_up(source, copy, before)
            except sqlite3.Error:
                if before == _state(source):
                    raise
            else:
                if before.is_as_good_as(_state(source)):
                    return
    raise _refused(source, "is written to all the time", "Try again, or merge a copy of it.")


@dataclass(frozen=True)
class _State:
    """A database's files, as far as they tell whether somebody wrote to it, or replaced it."""

    file: tuple[int, int] | None
    stamp: tuple[int, int]  # size and time of the last change
    log: tuple[int, int]
    locked: bool  # everyone who replaces it is kept off, once it has a lock

    @property
    def has_log(self) -> bool:
        return self.log[0] > 0

    def is_as_good_as(self, later: _State) -> bool:
        """Whether a copy made in between is one: SQLite minds who writes to a log, and nobody else does."""
        if self.has_log:
            return (self.file, self.locked) == (later.file, later.locked)
        return self == later


def _state(source: Path) -> _State:
    log = source.with_name(f"{source.name}-wal")
    return _State(files.identity(source), _stamp(source), _stamp(log), files.lock_of(source).exists())


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _back_up(source: Path, copy: Path, state: _State) -> None:
    # Without a log nobody writes to it, and so it can be read where nothing can be written beside it.
    how = "mode=ro" if state.has_log else "immutable=1"
    address = f"{source.absolute().as_uri()}?{how}"
    with (
        closing(sqlite3.connect(address, uri=True, timeout=_PATIENCE)) as original,
        closing(sqlite3.connect(copy)) as target,
    ):
        original.backup(target)


def _check(connection: sqlite3.Connection) -> None:
    """Raises Damaged where the file is not whole, or a row cannot be read."""
    with telling_damage():
        said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok":
            raise Damaged(said)
        run_lines_of(connection.execute(f"SELECT {RUN_COLUMNS} FROM runs"))
        points_of(connection.execute(f"SELECT {POINT_COLUMNS} FROM cells c JOIN runs r ON r.id = c.run"))


def _refused(source: Path, what: str, hint: str = "") -> BadInput:
    return BadInput([Problem(str(source), 0, 0, what, hint)])


def merge(connection: sqlite3.Connection, copy: Path) -> int:
    """Take in all of ``copy``, or nothing; how many runs that changed. Raises Damaged and sqlite3.Error."""
    connection.execute("ATTACH ? AS other", (str(copy),))
    try:
        return in_transaction(connection, lambda: _take(connection))
    finally:
        connection.execute("DETACH other")


def _take(connection: sqlite3.Connection) -> int:
    connection.execute(
        "CREATE TEMP TABLE taken AS SELECT b.id FROM other.runs b LEFT JOIN main.runs a ON a.id = b.id"
        f" WHERE a.id IS NULL OR {_RANK.format('b')} > {_RANK.format('a')}"
    )
    connection.execute("DELETE FROM main.runs WHERE id IN (SELECT id FROM taken)")
    for table, name in (("runs", "id"), ("cells", "run")):
        columns = ", ".join(
            row[1] for row in connection.execute(f"PRAGMA main.table_info({table})").fetchall()
        )
        connection.execute(
            f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM other.{table}"
            f" WHERE {name} IN (SELECT id FROM taken)"
        )
    connection.execute(
        "INSERT INTO main.places (folder, run, size, mtime_ns) SELECT folder, run, size, mtime_ns"
        " FROM other.places WHERE true ON CONFLICT (folder) DO UPDATE"
        " SET run = excluded.run, size = excluded.size, mtime_ns = excluded.mtime_ns"
        " WHERE (excluded.mtime_ns, excluded.size, excluded.run) > (mtime_ns, size, run)"
    )
    taken: int = connection.execute("SELECT count(*) FROM taken").fetchone()[0]
    connection.execute("DROP TABLE taken")
    return taken
