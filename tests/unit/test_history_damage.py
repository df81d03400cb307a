"""A history's file that cannot be used is set aside and made again; what is not ours is left alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from e2e_matrix.errors import BadInput, InfrastructureError
from e2e_matrix.history import files
from e2e_matrix.history.connection import in_transaction
from e2e_matrix.history.database import History
from e2e_matrix.history.making import make, rebuild
from e2e_matrix.history.schema import MIGRATIONS
from e2e_matrix.history.writing import run_folders
from support.history_runs import cell, content, put

RUNS = 12
NAMES = ["python-amd64", "python-arm64", "java-amd64", "java-arm64", "golang-amd64"]


@pytest.fixture(scope="module")
def dozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reports = tmp_path_factory.mktemp("dozen")
    for number in range(RUNS):
        put(reports, number, *(cell(name=name) for name in NAMES))
    return reports


@pytest.fixture
def file(tmp_path: Path, dozen: Path) -> Path:
    """A whole history of a dozen runs that lie beside it."""
    shutil.copytree(dozen, tmp_path, dirs_exist_ok=True)
    with History.open(tmp_path / "history.sqlite") as history:
        assert history.import_runs(run_folders(tmp_path)).new == RUNS
    return tmp_path / "history.sqlite"


def _aside(file: Path) -> list[Path]:
    return [path for path in file.parent.glob(f"{file.name}.*") if not path.name.endswith(("-wal", "-shm"))]


def _execute(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def _write(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(content)


def _no_database(file: Path) -> None:
    file.write_text("run,cell,outcome\n" * 1000)


def _corrupt_header(file: Path) -> None:
    _write(file, 0, b"\xff" * 100)


def _garbage(file: Path) -> None:
    _write(file, 4096, b"\x5a" * (file.stat().st_size - 4096))


def _zeros(file: Path) -> None:
    _write(file, 4096, bytes(file.stat().st_size - 4096))


def _cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _cut_in_the_header(file: Path) -> None:
    os.truncate(file, 50)


def _emptied(file: Path) -> None:
    os.truncate(file, 0)


def _without_cells(file: Path) -> None:
    _execute(file, "DROP TABLE cells")


def _without_tables(file: Path) -> None:
    _execute(file, "DROP TABLE cells", "DROP TABLE runs", "DROP TABLE places")


def _without_a_column(file: Path) -> None:
    _execute(file, "ALTER TABLE cells DROP COLUMN digest")


def _without_an_index(file: Path) -> None:
    _execute(file, "DROP INDEX verdicts_by_key")


def _without_version(file: Path) -> None:
    _execute(file, "PRAGMA user_version = 0")


def _nonsense_in_a_row(file: Path) -> None:
    _execute(file, "UPDATE cells SET outcome = 'splendid' WHERE cell = 'java-arm64'")


def _no_moment_in_a_row(file: Path) -> None:
    _execute(file, "UPDATE cells SET started_at = 'yesterday'")


def _no_text_in_a_row(file: Path) -> None:
    _execute(file, "UPDATE cells SET message = CAST(x'fffe41' AS TEXT)")


DAMAGES = [
    _no_database,
    _corrupt_header,
    _garbage,
    _zeros,
    _cut,
    _cut_in_the_header,
    _emptied,
    _without_cells,
    _without_tables,
    _without_a_column,
    _without_an_index,
    _without_version,
    _nonsense_in_a_row,
    _no_moment_in_a_row,
    _no_text_in_a_row,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
def test_a_damaged_file_is_set_aside_and_made_again_and_this_is_said(
    file: Path, damage: Callable[[Path], None]
) -> None:
    whole = content(file)
    damage(file)
    damaged, said = file.read_bytes(), list[str]()
    with History.open(file, said.append) as history:
        assert len(history.points()) == RUNS * len(NAMES)
    assert content(file) == whole
    [aside] = _aside(file)
    assert aside.name.startswith("history.sqlite.damaged-2")
    assert len(aside.read_bytes()) == len(damaged)
    assert len(said) == 3
    assert f"the history {file} is damaged (" in said[0]
    assert "runs of other folders and of merged histories that it had are not in it: " in said[2]
    assert f"{RUNS} runs from below {file.parent}; the damaged one is kept as {aside}" in said[1]


FOREIGN = {"README.md": b"# Read me\n" * 500, "notes": b"SQLite is a database", "a.sqlite.gz": b"\x1f\x8b"}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_somebody_elses_is_never_taken_for_a_damaged_history(
    tmp_path: Path, dozen: Path, name: str
) -> None:
    file = tmp_path / name
    file.write_bytes(FOREIGN[name])
    before = file.stat()
    for action in (
        lambda: History.open(file),
        lambda: rebuild(file, run_folders(dozen)),
        lambda: make(file, run_folders(dozen), "damaged"),
    ):
        with pytest.raises(BadInput, match=r"is no history\n    Name another file .*\.sqlite"):
            action()
    assert file.read_bytes() == FOREIGN[name]
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("h.sqlite3", b"text"),
        ("h.DB", b"text"),
        ("remembered", b""),
        ("other", b"SQLite format 3\0" * 9),
    ],
)
def test_a_damaged_history_is_known_by_its_name_or_its_first_bytes(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with History.open(tmp_path / name) as history:
        assert history.runs() == []
    assert [path.read_bytes() for path in _aside(tmp_path / name)] == [content]


@pytest.mark.parametrize("damage", [_garbage, _zeros, _cut], ids=lambda damage: damage.__name__.strip("_"))
def test_damage_that_shows_in_the_middle_of_a_question_is_mended_as_well(
    file: Path, damage: Callable[[Path], None]
) -> None:
    said: list[str] = []
    with History.open(file, said.append) as history:
        damage(file)
        assert len(history.points("java-arm64")) == RUNS
        assert history.passed("none", history.runs()[0].started_at) is None
    assert len(_aside(file)) == 1
    assert len(said) == 3


def test_damage_that_a_writer_meets_loses_nothing(file: Path) -> None:
    with History.open(file) as history:
        _garbage(file)
        assert not history.add(put(file.parent, RUNS))  # the new file has it, from its folder
        assert len(history.runs()) == RUNS + 1
    with History.open(file) as history:
        _zeros(file)
        elsewhere = put(file.parent.parent / f"{file.parent.name}-elsewhere", RUNS + 1)
        assert history.add(elsewhere)
        assert len(history.runs()) == RUNS + 2


def test_runs_that_cannot_be_read_do_not_keep_a_damaged_file_from_being_made_again(file: Path) -> None:
    (file.parent / "broken").mkdir()
    (file.parent / "broken" / "results.json").write_text("{")
    _no_database(file)
    said: list[str] = []
    with History.open(file, said.append) as history:
        assert len(history.runs()) == RUNS
    assert f"{RUNS} runs from below {file.parent}, without 1 that cannot be read" in said[1]


def test_a_log_of_another_database_is_not_applied_to_a_new_one(file: Path) -> None:
    """Somebody removed the file, and not what SQLite keeps beside it."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("UPDATE runs SET subject = 'of the file that is gone'")
        log = file.with_name(f"{file.name}-wal").read_bytes()
    file.unlink()
    file.with_name(f"{file.name}-wal").write_bytes(log)
    with History.open(file) as history:
        assert history.runs() == []
        assert history.import_runs(run_folders(file.parent)).new == RUNS
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_threads_that_meet_damage_at_once_make_one_new_file(file: Path) -> None:
    _no_database(file)
    together, found = threading.Barrier(8), list[int]()

    def ask() -> None:
        together.wait()
        with History.open(file) as history:
            found.append(len(history.runs()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [RUNS] * 8
    assert len(_aside(file)) == 1


_ASK = """
import sys
from pathlib import Path
from e2e_matrix.history.database import History
file = Path(sys.argv[1])
with History.open(file) as history:
    print("open", flush=True)
    sys.stdin.readline()
    print(len(history.points("java-arm64")))
"""


def test_processes_that_meet_damage_at_once_make_one_new_file(file: Path) -> None:
    """Each has opened the file before it was damaged, and meets that in a question of its own."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _ASK, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
    _garbage(file)
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in processes] == [f"{RUNS}\n"] * 3
    assert len(_aside(file)) == 1
    with History.open(file) as history:
        assert len(history.runs()) == RUNS


def test_a_file_that_somebody_has_open_is_not_replaced(file: Path) -> None:
    with History.open(file), pytest.raises(InfrastructureError, match="in use"):
        rebuild(file, run_folders(file.parent), patience=0.05)
    with files.hold(file, 0, alone=True), pytest.raises(InfrastructureError, match="in use"):
        History.open(file, patience=0.05)


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "places.sqlite"
    _execute(file, "CREATE TABLE bookmarks (url)", "INSERT INTO bookmarks VALUES ('x')")
    before = file.read_bytes()
    with pytest.raises(BadInput, match="another program's database"):
        History.open(file)
    with pytest.raises(BadInput, match="another program's database"):
        rebuild(file, [])
    assert file.read_bytes() == before
    assert _aside(file) == []


def test_a_newer_version_is_refused_and_left_alone(file: Path) -> None:
    _execute(file, "PRAGMA journal_mode = DELETE", f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = file.read_bytes()
    with pytest.raises(BadInput, match=f"version {len(MIGRATIONS) + 1}; this program knows up to") as told:
        History.open(file)
    assert "Use the version of e2e-matrix that wrote it" in str(told.value)
    with pytest.raises(BadInput):
        rebuild(file, [])
    assert file.read_bytes() == before
    assert _aside(file) == []


def _of_version_1(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")

        def first_step() -> None:
            for statement in MIGRATIONS[0]:
                connection.execute(statement)
            connection.execute("PRAGMA user_version = 1")
            connection.execute(
                "INSERT INTO runs VALUES ('old', '2026-01-01T00:00:00.000000+00:00',"
                " '2026-01-01T00:03:00.000000+00:00', 180, 'x', 'passed', 'm (stand-in)',"
                " 1, 1, 0, 0, 0, 0, 0, 0, 0, NULL, 'a')"
            )
            connection.execute(
                "INSERT INTO cells (run, position, cell, started_at, finished_at, outcome, flaky, reused,"
                " emulated, platform, scenario, axes, duration) VALUES ('old', 0, 'python-amd64',"
                " '2026-01-01T00:00:00.000000+00:00', '2026-01-01T00:02:00.000000+00:00', 'failed', 0, 0,"
                " 0, 'linux/amd64', 'deferred-init', '{}', 12)"
            )

        in_transaction(connection, first_step)


def test_an_older_version_is_brought_up_to_date_with_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    _of_version_1(file)
    with History.open(file) as history:
        [point] = history.points()
    assert (point.run, point.mixed, point.duration_seconds) == ("old", False, 12)
    assert (point.model, point.key) == ("m (stand-in)", None)  # the run's, where its cells had none
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert _aside(file) == []


def test_several_at_once_bring_it_up_to_date_once(tmp_path: Path) -> None:
    file = tmp_path / "history.sqlite"
    _of_version_1(file)
    together, found = threading.Barrier(6), list[int]()

    def ask() -> None:
        together.wait()
        with History.open(file) as history:
            found.append(len(history.points()))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 6


def test_what_an_older_version_read_is_read_again_for_what_it_did_not_know(tmp_path: Path) -> None:
    folder = put(tmp_path, 0, cell("failed"))
    file = tmp_path / "history.sqlite"
    with History.open(file) as history:
        history.add(folder)
    _execute(file, "UPDATE runs SET read_by = 1", "UPDATE cells SET message = 'as version 1 had it'")
    with History.open(file) as history:
        assert history.add(folder)
        assert history.points()[0].message == "a gated route answered"
        assert not history.add(folder)


def test_a_rebuild_has_the_folders_runs_and_keeps_what_only_the_old_file_knew(file: Path) -> None:
    gone = put(file.parent, RUNS)
    with History.open(file) as history:
        history.add(gone)
    (gone / "results.json").unlink()
    made = rebuild(file, run_folders(file.parent))
    assert (made.imported.new, made.lost) == (RUNS, 1)
    assert made.aside is not None
    assert _aside(file) == [made.aside]
    with History.open(file) as history:
        assert history.merge(made.aside) == [1]
        assert len(history.runs()) == RUNS + 1
    made.aside.unlink()


def test_a_rebuild_that_loses_nothing_leaves_nothing_behind(file: Path) -> None:
    whole = content(file)
    made = rebuild(file, run_folders(file.parent))
    assert (made.imported.new, made.aside, made.lost) == (RUNS, None, 0)
    assert content(file) == whole
    assert _aside(file) == []


def test_what_a_rebuild_that_was_killed_left_is_removed_by_the_next(file: Path) -> None:
    for end in ("", "-wal", "-shm"):
        (file.parent / f".{file.name}.abcd.part{end}").write_text("half")
    rebuild(file, run_folders(file.parent))
    assert [path.name for path in file.parent.iterdir() if ".part" in path.name] == []


def test_a_rebuild_that_the_disk_refuses_leaves_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(file)

    def refuse(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_sync", refuse)
    with pytest.raises(InfrastructureError, match="No space left"):
        rebuild(file, run_folders(file.parent))
    monkeypatch.undo()
    assert content(file) == before
    assert [path.name for path in file.parent.iterdir() if path.name.endswith(".part")] == []
