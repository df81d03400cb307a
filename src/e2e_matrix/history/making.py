"""A history's file, made anew from run folders."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.history import files
from e2e_matrix.history.connection import Damaged, connect, telling_damage, trouble
from e2e_matrix.history.writing import Imported, import_runs

_PATIENCE = 30.0  # seconds
#: What is told where a file is made again that nobody can ask what it had.
ELSEWHERE = (
    "runs of other folders and of merged histories that it had are not in it: take them in again with"
    " `e2e-matrix history import FOLDER` and `e2e-matrix history merge FILE OTHER`"
)


@dataclass(frozen=True)
class Rebuilt:
    """A history that was made anew. ``aside``: what it was before, where something is in that alone; None
    where nothing is. ``lost``: so many runs; None where nobody can tell."""

    imported: Imported
    aside: Path | None
    lost: int | None


def make(path: Path, folders: Iterable[Path], why: str) -> tuple[Imported, Path | None]:
    """Make a file of these runs, in the place of what is there; the caller holds it alone.

    What was there is kept as a file that says ``why`` in its name: its path, None where nothing was. Raises
    BadInput where that is no history, OSError, or sqlite3.Error.
    """
    files.refuse_foreign(path)
    with files.place_beside(path) as place:
        with closing(connect(place, _PATIENCE)) as connection:
            imported = import_runs(connection, folders)
        return imported, files.replace(path, place, why)


def rebuild(path: Path, folders: Iterable[Path], patience: float = _PATIENCE) -> Rebuilt:
    """Make the file at ``path`` anew; what knew of runs that have no folder any more is kept beside it.

    Raises BadInput where the file is none of ours or of a newer version, InfrastructureError where the
    disk refuses, or somebody has it open for longer than ``patience`` seconds.
    """
    files.refuse_foreign(path)
    with files.hold(path, patience, alone=True):
        try:
            before = _run_ids(path, patience)
            imported, aside = make(path, folders, "damaged" if before is None else "before")
            now = _run_ids(path, patience) or frozenset()
        except OSError as error:
            raise InfrastructureError(f"cannot make the history {path}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise trouble(path, error) from error
    lost = None if before is None else len(before - now)
    if aside and lost == 0:
        aside.unlink()
        aside = None
    return Rebuilt(imported, aside, lost)


def _run_ids(path: Path, patience: float) -> frozenset[str] | None:
    """The runs that the file knows of; none where there is no file, None where it cannot be read."""
    if not path.exists():
        return frozenset()
    try:
        with closing(connect(path, patience)) as connection, telling_damage():
            return frozenset(name for (name,) in connection.execute("SELECT id FROM runs"))
    except Damaged:
        return None
