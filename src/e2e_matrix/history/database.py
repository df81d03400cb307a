"""The history's file: opened or made, added to, asked.

SQLite in WAL mode: one writer at a time, who is waited for, and readers whom nobody holds up. What is in
there comes from run folders alone (reading.py), and so a file that is damaged is no loss: it is set aside and
made again, by whoever meets it first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.failures import Outcome
from e2e_matrix.history import files, merging
from e2e_matrix.history.connection import Damaged, connect, telling_damage, trouble
from e2e_matrix.history.making import ELSEWHERE, make
from e2e_matrix.history.points import Point, RunLine
from e2e_matrix.history.reading import Stamp, Unreadable, place_of, read, stamp_of, written
from e2e_matrix.history.rows import POINT_COLUMNS, RUN_COLUMNS, as_written, points_of, run_lines_of
from e2e_matrix.history.since import Since
from e2e_matrix.history.writing import READER, Imported, import_runs, run_folders, write
from e2e_matrix.results import Evidence
from e2e_matrix.script_words import counted

PATIENCE = 30.0  # seconds that another process is waited for
_TRIES = 3
_T = TypeVar("_T")
_Note = Callable[[str], None]
# One cell is found by its own index, all cells by that of the runs: in SQLite, CROSS JOIN keeps the order.
_POINTS = f"SELECT {POINT_COLUMNS} FROM cells c CROSS JOIN runs r ON r.id = c.run"
_POINTS_OF_ALL = f"SELECT {POINT_COLUMNS} FROM runs r CROSS JOIN cells c ON c.run = r.id"
_SAMPLES = "c.cell = ? AND c.outcome IN ('passed', 'failed') AND NOT c.reused"
_NEWEST_FIRST = "ORDER BY c.started_at DESC, c.run DESC"
# The newest verdict on a key, and whether it is a clean pass.
_VERDICT = (
    "SELECT run, cell, finished_at, outcome = 'passed' AND NOT flaky FROM cells"
    " WHERE key = ? AND NOT reused AND outcome IN ('passed', 'failed')"
    " ORDER BY finished_at DESC, run DESC, cell LIMIT 1"
)


def _unheard(message: str) -> None:
    """Nobody is told."""


class _Changed(Exception):
    """A run's folder is there, and is not what was read from it."""


class History:
    """The history in one file. A context manager; each thread opens its own.

    Every method makes the file again where it turns out to be damaged, and raises InfrastructureError where
    it cannot be used at all.
    """

    def __init__(self, path: Path, note: _Note, reports: Path, patience: float) -> None:
        self.path = path
        self._note = note
        self._reports = reports
        self._patience = patience
        self._lock: IO[bytes] | None = None
        self._connection: sqlite3.Connection | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        note: _Note = _unheard,
        reports: Path | None = None,
        patience: float = PATIENCE,
    ) -> History:
        """Open the file, or make it, and bring it up to date.

        ``note`` hears what a person should know. A damaged file is made again from the runs below ``reports``
        (None: the file's folder). ``patience``: seconds that other processes are waited for. Raises BadInput
        where a newer version of this program or another one made the file, or it is no database by its name
        either, InfrastructureError where it cannot be used.
        """
        history = cls(path, note, reports or path.parent, patience)
        history._open()
        return history

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):  # what cannot be closed cleanly is damaged: the next one meets it
                self._connection.close()
        if self._lock is not None:
            self._lock.close()
        self._connection = self._lock = None

    def _open(self) -> None:
        files.refuse_foreign(self.path)
        for _ in range(_TRIES):
            self._lock = files.hold(self.path, self._patience)
            seen, damage = files.identity(self.path), None
            try:
                if seen:
                    self._connection = connect(self.path, self._patience)
                    return
            except Damaged as error:
                damage = str(error)
            except sqlite3.Error as error:
                raise trouble(self.path, error) from error
            finally:
                if self._connection is None:
                    self.close()
            self._make(seen, damage)
        raise InfrastructureError(f"the history {self.path} is damaged as often as it is made")

    def _make(self, seen: tuple[int, int] | None, damage: str | None) -> None:
        """Make the file, unless another process has done so since it was ``seen``.

        One that has ``damage`` is set aside first, and the new one has every run that still has a folder.
        """
        with files.hold(self.path, self._patience, alone=True):
            if files.identity(self.path) != seen:
                return
            if damage:
                self._note(f"the history {self.path} is damaged ({damage}): it is made again")
            try:
                done, aside = make(self.path, run_folders(self._reports) if damage else [], "damaged")
            except OSError as error:
                raise InfrastructureError(f"cannot make the history {self.path}: {error.strerror}") from error
            except sqlite3.Error as error:
                raise trouble(self.path, error) from error
        if damage:
            runs, bad = counted(done.new, "run"), len(done.unreadable)
            left_out = f", without {bad:,} that cannot be read" if bad else ""
            kept = f"; the damaged one is kept as {aside}" if aside else ""
            self._note(f"the history has {runs} from below {self._reports}{left_out}{kept}")
            self._note(ELSEWHERE)

    def _safely(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        """What ``action`` returns; a file that it finds damaged is made again, and asked again."""
        for _ in range(_TRIES):
            if self._connection is None:
                self._open()
            assert self._connection is not None
            seen = files.identity(self.path)
            try:
                with telling_damage():
                    return action(self._connection)
            except Damaged as error:
                self.close()
                self._make(seen, str(error))
            except sqlite3.Error as error:
                raise trouble(self.path, error) from error
        raise InfrastructureError(f"the history {self.path} is damaged as often as it is made")

    def add(self, folder: Path) -> bool:
        """Take in one run; False where it is there already, unchanged. Raises Unreadable, Unfinished
        or LeftOut."""
        stamp = stamp_of(folder)
        query = "SELECT size, mtime_ns FROM places JOIN runs ON id = run WHERE folder = ? AND read_by >= ?"
        if (stamp.size, stamp.mtime_ns) in self._rows(query, (str(place_of(folder)), READER)):
            return False
        reading = read(folder)
        return self._safely(lambda connection: write(connection, [reading])) > 0

    def import_runs(self, folders: Iterable[Path]) -> Imported:
        """Take in every run that is not there yet, or has changed; what cannot be read is told of."""
        found = list(folders)
        return self._safely(lambda connection: import_runs(connection, found))

    def merge(self, *sources: Path) -> list[int]:
        """Take in everything of other histories' files, which stay as they are; of each, how many runs were
        new or newer.

        Raises BadInput, before anything is taken in, where one is none or damaged.
        """
        with merging.copied(sources) as copies:
            return [self._safely(partial(merging.merge, copy=copy)) for copy in copies]

    def runs(self, since: datetime | None = None, limit: int | None = None) -> list[RunLine]:
        """The newest ``limit`` runs, newest last, that began at ``since`` or later."""
        condition, values = _where({"started_at >= ?": since and written(since)})
        query = f"SELECT {RUN_COLUMNS} FROM runs {condition} ORDER BY started_at DESC, id DESC LIMIT ?"
        found = (*values, _count(limit))
        return self._safely(lambda connection: run_lines_of(_fetch(connection, query, found))[::-1])

    def cells(self) -> list[str]:
        """The ids of all cells that were ever seen."""
        return [name for (name,) in self._rows("SELECT DISTINCT cell FROM cells ORDER BY cell")]

    def points(
        self, cell: str | None = None, since: datetime | None = None, limit: int | None = None
    ) -> list[Point]:
        """The newest ``limit`` points, newest last: of one cell, of runs that began at ``since`` or later."""
        begun = since and written(since)
        if cell is not None:
            condition, values = _where({"c.cell = ?": cell, "c.started_at >= ?": begun})
            return self._points(f"{condition} {_NEWEST_FIRST} LIMIT ?", (*values, _count(limit)))
        condition, values = _where({"r.started_at >= ?": begun})
        order = "ORDER BY r.started_at DESC, r.id DESC, c.position DESC LIMIT ?"
        return self._points(f"{condition} {order}", (*values, _count(limit)), _POINTS_OF_ALL)

    def last_points(
        self, cells: Sequence[str], count: int, before: str | None = None
    ) -> dict[str, list[Point]]:
        """Of each cell the last ``count`` points, newest last; with ``before``, of runs older than that one.

        A run that is not in here is newer than all.
        """
        found = self._rows("SELECT started_at, id FROM runs WHERE id = ?", (before,)) if before else []
        older, end = ("AND (c.started_at, c.run) < (?, ?)", found[0]) if found else ("", ())
        query = f"WHERE c.cell = ? {older} {_NEWEST_FIRST} LIMIT ?"
        return {cell: self._points(query, (cell, *end, count)) for cell in cells}

    def samples(self, cell: str, count: int) -> list[Point]:
        """The last ``count`` points of a cell, newest last, that passed or failed by themselves and compare
        with the newest such one."""
        newest = self._points(f"WHERE {_SAMPLES} {_NEWEST_FIRST} LIMIT 1", (cell,))
        if not newest:
            return []
        name, *alike = newest[0].series
        query = (
            f"WHERE {_SAMPLES} AND c.emulated = ? AND c.scenario = ? AND c.scenario_version IS ?"
            f" AND c.model = ? {_NEWEST_FIRST} LIMIT ?"
        )
        return self._points(query, (name, *alike, count))

    def failing_since(self, cell: str) -> Since | None:
        """Since when a cell fails; None where the newest that is known of it is no failure."""
        newest = self._points(f"WHERE {_SAMPLES} {_NEWEST_FIRST} LIMIT 1", (cell,))
        if not newest:
            return None
        one = newest[0]
        if one.outcome is not Outcome.FAILED:
            return None
        alike = f"WHERE {_SAMPLES} AND c.emulated = ? AND c.scenario = ? AND c.model = ?"
        which = (cell, one.emulated, one.scenario, one.model)
        good = self._points(f"{alike} AND c.outcome = 'passed' {_NEWEST_FIRST} LIMIT 1", which)
        # A streak may be as long as the history: its first is looked for, and the others are counted.
        streak = f"{alike} AND (c.started_at, c.run) > (?, ?) AND (c.started_at, c.run) <= (?, ?)"
        after = (written(good[0].started_at), good[0].run) if good else ("", "")
        within = (*which, *after, written(one.started_at), one.run)
        first = self._points(f"{streak} ORDER BY c.started_at, c.run LIMIT 1", within)
        [(failures,)] = self._rows(f"SELECT count(*) FROM cells c {streak}", within)
        return Since(first[0], good[0] if good else None, failures, one) if first else None

    def passed(self, key: str, not_before: datetime) -> Evidence | None:
        """The newest cell of that key that passed or failed by itself, where that is a pass that ended at
        ``not_before`` or later and is not flaky.

        With the absolute folder of its run where that is still there as it was read, without one where it is
        gone. None where the run's folder holds something else by now.
        """
        found = self._safely(lambda connection: _evidence(connection, key))
        if found is None or found.finished_at < not_before:
            return None
        with suppress(_Changed):
            return found.model_copy(update={"folder": self._folder(found.run)})
        return None

    def _folder(self, run: str) -> str | None:
        """Where the run lies as it was read; None: nowhere. Raises _Changed where it lies otherwise."""
        query = "SELECT folder, size, mtime_ns FROM places WHERE run = ? ORDER BY mtime_ns DESC, folder"
        changed = False
        for folder, size, mtime_ns in self._rows(query, (run,)):
            try:
                if stamp_of(Path(folder)) == Stamp(size, mtime_ns):
                    return str(folder)
            except Unreadable as error:
                if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                    continue
            changed = True
        if changed:
            raise _Changed
        return None

    def typical_seconds(self, cells: Sequence[str], count: int = 5) -> dict[str, float]:
        """The median duration by cell of its last ``count`` passes that compare with the newest of them.

        Seconds, without the pull; a cell that has never passed is left out.
        """
        query = f"WHERE {_SAMPLES} AND c.outcome = 'passed' {_NEWEST_FIRST} LIMIT ?"
        typical: dict[str, float] = {}
        for cell in cells:
            passes = self._points(query, (cell, 4 * count))[::-1]
            if alike := [one.duration_seconds for one in passes if one.series == passes[0].series]:
                typical[cell] = median(alike[:count])
        return typical

    def _points(self, rest: str, values: Sequence[Any], query: str = _POINTS) -> list[Point]:
        """Newest last; ``rest`` of the query has them newest first."""
        asked = f"{query} {rest}"
        return self._safely(lambda connection: points_of(_fetch(connection, asked, values))[::-1])

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._safely(lambda connection: _fetch(connection, query, values))


def _evidence(connection: sqlite3.Connection, key: str) -> Evidence | None:
    with as_written():
        for run, cell, finished_at, is_clean in _fetch(connection, _VERDICT, (key,)):
            if is_clean:
                return Evidence(run=run, cell=cell, finished_at=datetime.fromisoformat(finished_at))
    return None


def _fetch(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    # What a person typed may be bytes that are no text, which nothing in here is called.
    known = [one.encode("utf-8", "replace").decode() if isinstance(one, str) else one for one in values]
    return connection.execute(query, known).fetchall()


def _where(conditions: dict[str, Any]) -> tuple[str, list[Any]]:
    """The conditions whose values are given, and these values."""
    given = {condition: value for condition, value in conditions.items() if value is not None}
    return f"WHERE {' AND '.join(given)}" if given else "", list(given.values())


def _count(limit: int | None) -> int:
    return -1 if limit is None else limit
