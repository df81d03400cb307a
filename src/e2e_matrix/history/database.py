"""The history's file: opened or made, added to, asked.

SQLite in WAL mode: one writer at a time, who is waited for, and readers whom nobody holds up. What is in
there comes from run folders alone (reading.py), each run in a transaction of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self, TypeVar

from e2e_matrix.errors import BadInput, InfrastructureError, Problem
from e2e_matrix.history.points import Point
from e2e_matrix.history.reading import Reading, Stamp, Unreadable, read, stamp_of, written
from e2e_matrix.history.rows import POINT_COLUMNS, point_of
from e2e_matrix.history.schema import MIGRATIONS
from e2e_matrix.results import Evidence

PATIENCE = 30.0  # seconds that a writer waits for another
_T = TypeVar("_T")
_POINTS = f"SELECT {POINT_COLUMNS} FROM cells c JOIN runs r ON r.id = c.run"


class History:
    """The history in one file. A context manager; each thread opens its own."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path, note: Callable[[str], None] = lambda message: None) -> History:
        """Open the file, or make it, and bring it up to date.

        ``note`` hears what a person should know. Raises BadInput where a newer version of this program made
        it, InfrastructureError where it cannot be used.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            _migrate(connection, path)
        except (OSError, sqlite3.Error) as error:
            raise InfrastructureError(f"the history {path} cannot be used: {error}") from error
        return cls(path, connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def add(self, folder: Path) -> bool:
        """Take in one run; False where it is there already, unchanged. Raises Unreadable, or Unfinished."""
        stamp, place = stamp_of(folder), str(folder.absolute())
        known = self._rows(
            "SELECT 1 FROM places WHERE (folder, size, mtime_ns) = (?, ?, ?)",
            (place, stamp.size, stamp.mtime_ns),
        )
        return not known and self._write([read(folder)]) > 0

    def _write(self, readings: Iterable[Reading]) -> int:
        """In one transaction; how many were new or changed."""
        changed = 0
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for reading in readings:
                changed += _put(self._connection, reading)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
        return changed

    def points(
        self, cell: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> list[Point]:
        """The newest ``limit`` points, newest last: of one cell, of runs that began at ``since`` or later."""
        conditions, values = ["1"], []
        if cell is not None:
            conditions.append("c.cell = ?")
            values.append(cell)
        if since is not None:
            conditions.append("c.started_at >= ?")
            values.append(written(since))
        order = "ORDER BY c.started_at DESC, c.run DESC, c.position DESC LIMIT ?"
        rows = self._rows(
            f"{_POINTS} WHERE {' AND '.join(conditions)} {order}", (*values, -1 if limit is None else limit)
        )
        return [point_of(row) for row in reversed(rows)]

    def last_points(
        self, cells: Sequence[str], count: int, before: str | None = None
    ) -> dict[str, list[Point]]:
        """Of each cell the last ``count`` points, newest last; with ``before``, of runs older than that one.

        A run that is not in here is newer than all.
        """
        found = self._rows("SELECT started_at, id FROM runs WHERE id = ?", (before,)) if before else []
        older = "AND (c.started_at, c.run) < (?, ?)" if found else ""
        query = f"{_POINTS} WHERE c.cell = ? {older} ORDER BY c.started_at DESC, c.run DESC LIMIT ?"
        end = tuple(found[0]) if found else ()
        return {
            cell: [point_of(row) for row in reversed(self._rows(query, (cell, *end, count)))]
            for cell in cells
        }

    def passed(self, key: str, not_before: datetime) -> Evidence | None:
        """The newest cell of that key that passed, ended at ``not_before`` or later, and is neither flaky nor
        itself reused; with the absolute folder of its run, where that is still there."""
        rows = self._rows(
            "SELECT run, cell, finished_at FROM cells"
            " WHERE key = ? AND outcome = 'passed' AND NOT flaky AND NOT reused AND finished_at >= ?"
            " ORDER BY finished_at DESC, run DESC LIMIT 1",
            (key, written(not_before)),
        )
        if not rows:
            return None
        run, cell, finished_at = rows[0]
        return Evidence(
            run=run, cell=cell, finished_at=datetime.fromisoformat(finished_at), folder=self._folder(run)
        )

    def _folder(self, run: str) -> str | None:
        """Where a run's results lie, as they were read; None where they are out of reach."""
        places = self._rows("SELECT folder, size, mtime_ns FROM places WHERE run = ? ORDER BY folder", (run,))
        for folder, size, mtime_ns in places:
            with suppress(Unreadable):
                if stamp_of(Path(folder)) == Stamp(size, mtime_ns):
                    return str(folder)
        return None

    def typical_seconds(self, cells: Sequence[str], count: int = 5) -> dict[str, float]:
        """The median duration by cell of its last ``count`` passes that compare with the newest of them.

        Seconds, without the pull; a cell that has never passed is left out.
        """
        typical: dict[str, float] = {}
        for cell in cells:
            passes = [
                point_of(row)
                for row in self._rows(
                    f"{_POINTS} WHERE c.cell = ? AND c.outcome = 'passed' AND NOT c.reused"
                    " ORDER BY c.started_at DESC, c.run DESC LIMIT ?",
                    (cell, 4 * count),
                )
            ]
            alike = [one.duration_seconds for one in passes if one.series == passes[0].series]
            if alike:
                typical[cell] = median(alike[:count])
        return typical

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, values).fetchall()


def _put(connection: sqlite3.Connection, reading: Reading) -> bool:
    """Write one run; False where these very results are there already."""
    run = reading.run
    connection.execute(
        "INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)",
        (str(reading.folder), run["id"], reading.stamp.size, reading.stamp.mtime_ns),
    )
    known = connection.execute("SELECT sha256 FROM runs WHERE id = ?", (run["id"],)).fetchone()
    if known and known[0] == run["sha256"]:
        return False
    connection.execute("DELETE FROM runs WHERE id = ?", (run["id"],))
    for table, rows in (("runs", [run]), ("cells", reading.cells)):
        if rows:
            columns = list(rows[0])
            places = ", ".join(f":{column}" for column in columns)
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)
    return True


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables up to date. Raises BadInput where they are of a newer version."""
    version = _version(connection)
    if version > len(MIGRATIONS):
        what = f"is of version {version}; this program knows up to {len(MIGRATIONS)}"
        hint = "Use the version of e2e-matrix that wrote it, or name another file with --history."
        raise BadInput([Problem(str(path), 0, 0, what, hint)])
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection)  # another process may have done it meanwhile
        for step in MIGRATIONS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version
