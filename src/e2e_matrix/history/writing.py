"""Run folders -> rows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from e2e_matrix.history.connection import in_transaction, telling_damage
from e2e_matrix.history.reading import (
    LeftOut,
    Reading,
    Stamp,
    Unfinished,
    Unreadable,
    place_of,
    read,
    stamp_of,
)
from e2e_matrix.history.schema import MIGRATIONS
from e2e_matrix.store import RESULTS

_BATCH = 200  # runs in one transaction: others may write in between, and a killed import has lost no more
READER = len(MIGRATIONS)  # rows of an older one lack what has columns since


@dataclass
class Imported:
    """What became of run folders."""

    new: int = 0  # or changed since
    unchanged: int = 0
    left_out: int = 0  # made for a comparison
    unfinished: list[Path] = field(default_factory=list)
    unreadable: list[tuple[Path, str]] = field(default_factory=list)  # and why


def run_folders(top: Path) -> Iterator[Path]:
    """``top`` itself or the folders below it that hold results.json, in the order of their names.

    Links are not followed: `latest` is a run that has a folder of its own.
    """
    for folder, inside, files in os.walk(top):
        if RESULTS in files:
            inside.clear()
            yield Path(folder)
        inside.sort()


def import_runs(connection: sqlite3.Connection, folders: Iterable[Path]) -> Imported:
    """Take in every run that is not there yet, or has changed.

    What cannot be read is told of and left out. Raises Damaged, and sqlite3.Error.
    """
    done = Imported()
    with telling_damage():
        query = "SELECT folder, size, mtime_ns FROM places JOIN runs ON id = run WHERE read_by >= ?"
        rows = connection.execute(query, (READER,))
        known = {folder: Stamp(size, mtime_ns) for folder, size, mtime_ns in rows}
    readings = _readings(folders, known, done)
    while batch := list(islice(readings, _BATCH)):
        new = write(connection, batch)
        done.new += new
        done.unchanged += len(batch) - new
    return done


def _readings(folders: Iterable[Path], known: dict[str, Stamp], done: Imported) -> Iterator[Reading]:
    for folder in folders:
        try:
            if known.get(str(place_of(folder))) == stamp_of(folder):
                done.unchanged += 1
            else:
                yield read(folder)
        except LeftOut:
            done.left_out += 1
        except Unfinished:
            done.unfinished.append(folder)
        except Unreadable as error:
            done.unreadable.append((folder, str(error)))


def write(connection: sqlite3.Connection, readings: Sequence[Reading]) -> int:
    """In one transaction; how many of them were new or changed. Raises Damaged, and sqlite3.Error."""
    with telling_damage():
        return in_transaction(connection, lambda: sum(_put(connection, reading) for reading in readings))


def _put(connection: sqlite3.Connection, reading: Reading) -> bool:
    """Write one run; False where these results, or later ones of that run, are there already."""
    run, folder = {**reading.run, "read_by": READER}, str(reading.folder)
    connection.execute(
        "INSERT OR REPLACE INTO places (folder, run, size, mtime_ns) VALUES (?, ?, ?, ?)",
        (folder, run["id"], reading.stamp.size, reading.stamp.mtime_ns),
    )
    query = "SELECT finished_at, sha256, read_by FROM runs WHERE id = ?"
    known = connection.execute(query, (run["id"],)).fetchone()
    # Never by an older copy, wherever it lies: it may have come here from elsewhere, and the later one not.
    if known and known >= (run["finished_at"], run["sha256"], READER):
        return False
    connection.execute("DELETE FROM runs WHERE id = ?", (run["id"],))
    for table, rows in (("runs", [run]), ("cells", reading.cells)):
        if rows:
            columns = list(rows[0])
            places = ", ".join(f":{column}" for column in columns)
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)
    return True
