"""Merging: nothing is lost, nothing doubled, and neither the order nor a repetition makes a difference."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix.errors import BadInput, InfrastructureError
from e2e_matrix.history import files
from e2e_matrix.history.connection import connect
from e2e_matrix.history.database import History
from e2e_matrix.history.reading import Reading, Stamp, read, written
from e2e_matrix.history.schema import MIGRATIONS
from e2e_matrix.history.writing import write
from support.history_runs import START, cell, content, put

with tempfile.TemporaryDirectory() as _name:
    _TEMPLATE = read(put(Path(_name), 0, cell(), cell("failed", "java-arm64")))

#: A run's number, the minute it ended, which results it has, and on which machine they were read.
_RUN = st.tuples(st.integers(0, 4), st.integers(0, 2), st.sampled_from("abc"), st.sampled_from("xy"))


def _reading(number: int, minute: int, results: str, machine: str) -> Reading:
    """The results of a run decide what its cells came to, as they do in a folder."""
    name = f"run{number}"
    ended = written(START + timedelta(minutes=minute))
    sha = f"{number}-{minute}-{results}"
    run = {**_TEMPLATE.run, "id": name, "sha256": sha, "finished_at": ended, "subject": sha}
    cells = [{**one, "run": name, "message": sha} for one in _TEMPLATE.cells[: 1 + minute % 2]]
    return Reading(Path(f"/{machine}/{name}"), Stamp(len(results), 100 * minute + ord(results)), run, cells)


def _made(path: Path, runs: Iterable[tuple[int, int, str, str]]) -> Path:
    with closing(connect(path, 5.0)) as connection:
        for one in runs:
            write(connection, [_reading(*one)])
    return path


def _merged(path: Path, *sources: Path) -> dict[str, list[tuple[Any, ...]]]:
    with History.open(path) as history:
        for source in sources:
            history.merge(source)
    return content(path)


@settings(max_examples=12, deadline=None)
@given(st.lists(_RUN, max_size=6), st.lists(_RUN, max_size=6))
def test_a_merge_is_lossless_commutative_and_idempotent(
    ours: Sequence[tuple[int, int, str, str]], theirs: Sequence[tuple[int, int, str, str]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        a, b = _made(folder / "a", ours), _made(folder / "b", theirs)
        before = content(b)
        one = _merged(folder / "ba", b, a)
        assert one == _merged(a, b)
        assert one == _merged(a, b)
        assert content(b) == before
    latest: dict[str, tuple[str, str]] = {}
    for made in (before, content_of(ours)):
        for run in made["runs"]:
            latest[_id(run)] = max(latest.get(_id(run), ("", "")), _rank(run))
    assert {_id(run): _rank(run) for run in one["runs"]} == latest
    assert {place[0] for place in one["places"]} == {
        f"/{machine}/run{number}" for number, _, _, machine in (*ours, *theirs)
    }
    # Whole runs only: every cell says which results it is from.
    of_run = {_id(run): run[_COLUMNS.index("sha256")] for run in one["runs"]}
    told, run_of = _CELL_COLUMNS.index("message"), _CELL_COLUMNS.index("run")
    assert all(row[told] == of_run[row[run_of]] for row in one["cells"])


_COLUMNS = sorted([*_TEMPLATE.run, "read_by"])
_CELL_COLUMNS = sorted(_TEMPLATE.cells[0])


def content_of(runs: Iterable[tuple[int, int, str, str]]) -> dict[str, list[tuple[Any, ...]]]:
    with tempfile.TemporaryDirectory() as name:
        return content(_made(Path(name) / "x", runs))


def _id(run: Sequence[Any]) -> str:
    return str(run[_COLUMNS.index("id")])


def _rank(run: Sequence[Any]) -> tuple[str, str]:
    return run[_COLUMNS.index("finished_at")], run[_COLUMNS.index("sha256")]


def test_the_later_results_of_a_run_count_whichever_way_they_are_merged(tmp_path: Path) -> None:
    early = put(tmp_path / "early", 0, cell("error"))
    late = put(tmp_path / "late", 0, cell("passed"), finished_at=START + timedelta(hours=1))
    files = []
    for folder in (early, late):
        files.append(folder.parent / "history.sqlite")
        with History.open(files[-1]) as history:
            history.add(folder)
    assert _merged(tmp_path / "one", *files) == _merged(tmp_path / "two", *reversed(files))
    with History.open(tmp_path / "one") as history:
        assert [point.outcome.value for point in history.points()] == ["passed"]


def test_an_older_version_is_merged_and_stays_as_it_is(tmp_path: Path) -> None:
    old = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        run = {**_TEMPLATE.run, "id": "old"}
        columns, places = ", ".join(run), ", ".join("?" * len(run))
        connection.execute(f"INSERT INTO runs ({columns}) VALUES ({places})", list(run.values()))
    before = old.read_bytes()
    assert len(_merged(tmp_path / "new.sqlite", old)["runs"]) == 1
    assert old.read_bytes() == before


def test_what_lies_where_nothing_can_be_written_is_merged(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    source = _made(tmp_path / "theirs" / "b", [(0, 0, "a", "x")])
    source.parent.chmod(0o555)
    assert len(_merged(tmp_path / "a", source)["runs"]) == 1
    assert [path.name for path in source.parent.iterdir()] == ["b"]  # nor is anything by root


def test_what_a_writer_has_not_moved_from_its_log_yet_is_merged(tmp_path: Path) -> None:
    source = _made(tmp_path / "b", [(0, 0, "a", "x")])
    with closing(connect(source, 5.0)) as writer:
        write(writer, [_reading(1, 0, "a", "x")])
        assert len(_merged(tmp_path / "a", source)["runs"]) == 2


def _while_it_is_opened(monkeypatch: pytest.MonkeyPatch, *actions: Callable[[], object]) -> None:
    """Each time a source is opened, the next of these has just been done."""
    left = list(actions)
    connected: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connecting(address: Any, **how: Any) -> sqlite3.Connection:
        if how.get("uri") and left:
            left.pop(0)()
        return connected(address, **how)

    monkeypatch.setattr("e2e_matrix.history.merging.sqlite3.connect", connecting)


def test_what_is_written_while_it_is_copied_is_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _made(tmp_path / "b", [(0, 0, "a", "x")])
    with closing(connect(source, 5.0)) as writer:
        _while_it_is_opened(monkeypatch, lambda: write(writer, [_reading(1, 0, "a", "x")]))
        assert len(_merged(tmp_path / "a", source)["runs"]) == 2


def test_who_writes_to_a_log_all_the_time_does_not_keep_it_from_being_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _made(tmp_path / "b", [(0, 0, "a", "x")])
    with closing(connect(source, 5.0)) as writer:
        write(writer, [_reading(1, 0, "a", "x")])
        more = [partial(write, writer, [_reading(number, 0, "a", "x")]) for number in range(2, 99)]
        _while_it_is_opened(monkeypatch, *more)
        assert len(_merged(tmp_path / "a", source)["runs"]) == 3


def test_what_is_copied_again_may_have_another_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite writes no pages of another size over those of a first copy."""
    source = _made(tmp_path / "b", [(0, 0, "a", "x")])
    new = _made(tmp_path / "c", [(number, 0, "a", "x") for number in range(3)])
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        for statement in ("journal_mode = DELETE", "page_size = 8192"):
            connection.execute(f"PRAGMA {statement}")
        connection.execute("VACUUM")
    _while_it_is_opened(monkeypatch, partial(os.utime, source, ns=(1, 1)), lambda: new.replace(source))
    assert len(_merged(tmp_path / "a", source)["runs"]) == 3


def test_a_log_that_is_gone_when_it_is_looked_for_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _made(tmp_path / "b", [(0, 0, "a", "x")])
    writer = connect(source, 5.0)
    write(writer, [_reading(1, 0, "a", "x")])
    _while_it_is_opened(monkeypatch, writer.close)
    assert len(_merged(tmp_path / "a", source)["runs"]) == 2


def test_what_is_replaced_while_it_is_copied_is_merged_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _made(tmp_path / "b", [(0, 0, "a", "x")])
    new = _made(tmp_path / "c", [(number, 0, "a", "x") for number in range(3)])
    half = tmp_path / "half"
    shutil.copy(new, half)
    os.truncate(half, half.stat().st_size // 2)
    _while_it_is_opened(monkeypatch, lambda: half.replace(source), lambda: new.replace(source))
    assert len(_merged(tmp_path / "a", source)["runs"]) == 3


def test_what_is_written_all_the_time_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _made(tmp_path / "b", [(0, 0, "a", "x")])
    touches = [partial(os.utime, source, ns=(moment, moment)) for moment in range(99)]
    _while_it_is_opened(monkeypatch, *touches)
    with pytest.raises(BadInput, match="is written to all the time"):
        _merged(tmp_path / "a", source)


def test_who_replaces_a_source_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _made(tmp_path / "b", [(0, 0, "a", "x")])
    monkeypatch.setattr("e2e_matrix.history.merging._PATIENCE", 0.01)
    with files.hold(source, 1.0, alone=True), pytest.raises(InfrastructureError, match="is in use"):
        _merged(tmp_path / "a", source)
    assert len(_merged(tmp_path / "a", source)["runs"]) == 1


def _text(path: Path) -> None:
    path.write_text("no database\n" * 500)


def _empty(path: Path) -> None:
    path.touch()


def _folder(path: Path) -> None:
    path.mkdir()


def _nothing(path: Path) -> None:
    """There is no such file."""


def _another_programs(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")


def _newer(path: Path) -> None:
    _made(path, [(0, 0, "a", "x")])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 99")


def _cut(path: Path) -> None:
    _made(path, [(number, 0, "a", "x") for number in range(5)])
    os.truncate(path, path.stat().st_size // 2)


def _garbage(path: Path) -> None:
    _made(path, [(number, 0, "a", "x") for number in range(5)])
    with path.open("r+b") as opened:
        opened.seek(4096)
        opened.write(b"\x5a" * (path.stat().st_size - 4096))


def _garbage_that_no_row_is_in(path: Path) -> None:
    _made(path, [(0, 0, "a", "x")])
    with closing(sqlite3.connect(path)) as connection:
        [page] = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'places_by_run'"
        ).fetchone()
    with path.open("r+b") as opened:
        opened.seek((page - 1) * 4096)
        opened.write(b"\x5a" * 4096)


def _nonsense(path: Path) -> None:
    _made(path, [(0, 0, "a", "x")])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE cells SET started_at = 'once upon a time'")


def _views(path: Path) -> None:
    _made(path, [(0, 0, "a", "x")])
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE cells RENAME TO kept")
        connection.execute("CREATE VIEW cells AS SELECT * FROM kept")


UNUSABLE = [
    _text,
    _empty,
    _folder,
    _nothing,
    _another_programs,
    _newer,
    _cut,
    _garbage,
    _garbage_that_no_row_is_in,
    _nonsense,
    _views,
]


@pytest.mark.parametrize("make", UNUSABLE, ids=lambda make: make.__name__.strip("_"))
def test_what_is_no_whole_history_is_refused_and_both_stay_as_they_are(tmp_path: Path, make: Any) -> None:
    ours, theirs = _made(tmp_path / "a", [(7, 0, "a", "x")]), tmp_path / "b"
    make(theirs)
    before, mine = theirs.read_bytes() if theirs.is_file() else None, content(ours)
    with History.open(ours) as history, pytest.raises(BadInput) as told:
        history.merge(theirs)
    assert str(told.value).startswith(f"{theirs}: ")
    assert (theirs.read_bytes() if theirs.is_file() else None) == before
    assert content(ours) == mine
    assert [path.name for path in tmp_path.iterdir() if "damaged" in path.name] == []


_HANG = """
import sys
from pathlib import Path
from e2e_matrix.history import merging
from e2e_matrix.history.database import History

take = merging._take

def hang(connection):
    take(connection)
    print("taken", flush=True)
    sys.stdin.read()

merging._take = hang
with History.open(Path(sys.argv[1])) as history:
    history.merge(Path(sys.argv[2]))
"""


def test_a_merge_that_is_killed_leaves_things_as_they_were(tmp_path: Path) -> None:
    ours = _made(tmp_path / "a", [(number, 0, "a", "x") for number in range(3)])
    theirs = _made(tmp_path / "b", [(number, 1, "b", "y") for number in range(5)])
    before = content(ours)
    process = subprocess.Popen(
        [sys.executable, "-c", _HANG, str(ours), str(theirs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with History.open(ours):
        assert content(ours) == before
    assert len(_merged(ours, theirs)["runs"]) == 5
