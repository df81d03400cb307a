"""A run is remembered at its end, and nothing that goes wrong with that changes what it came to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from e2e_matrix.failures import Cause
from e2e_matrix.history import files
from e2e_matrix.history.database import History
from e2e_matrix.history.remember import remember
from e2e_matrix.history.schema import MIGRATIONS
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.progress import Silent
from e2e_matrix.settings import Overrides, resolve
from e2e_matrix.store import RESULTS
from support.history_runs import put
from support.runner_bench import Bench, outcomes

SIX = [f"{variant}-{arch}" for variant in ("python", "java", "golang") for arch in ("amd64", "arm64")]


class Notes(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, message: str) -> None:
        self.told.append(message)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def _file(bench: Bench) -> Path:
    return bench.tmp_path / "reports" / "history.sqlite"


def test_a_run_is_in_the_history_when_it_has_ended(bench: Bench) -> None:
    results = bench.run()
    with History.open(_file(bench)) as history:
        assert sorted(point.cell for point in history.points()) == sorted(SIX)
        [run] = history.runs()
        assert (run.id, run.verdict) == (results.run.id, results.run.verdict)
        assert not history.add(_file(bench).parent / run.id)


def test_the_file_lies_where_the_matrix_says(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = bench.tmp_path / "elsewhere" / "nightly.sqlite"
    reports = bench.tmp_path / "reports"
    bench.run(f"reports: {{folder: {reports}, history: {elsewhere}}}\n")
    assert not _file(bench).exists()
    with History.open(elsewhere) as history:
        assert len(history.runs()) == 1


def test_a_run_that_was_interrupted_is_remembered_as_one(bench: Bench) -> None:
    bench.behave = lambda task, cancel: cancel.cancel(Cause.INTERRUPTED)
    results = bench.run("max-parallel: 1\n")
    assert results.run.interrupted
    with History.open(_file(bench)) as history:
        assert {point.cell: point.outcome for point in history.points()} == outcomes(results)


def _newer(file: Path) -> None:
    with History.open(file):
        pass
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")


def _folder(file: Path) -> None:
    file.mkdir()


def _no_lock(file: Path) -> None:
    (file.parent / f".{file.name}.lock").mkdir()


@pytest.mark.parametrize("spoil", [_newer, _folder, _no_lock])
def test_a_history_that_cannot_be_written_is_a_note(bench: Bench, spoil: object) -> None:
    _file(bench).parent.mkdir()
    assert callable(spoil)
    spoil(_file(bench))
    notes = Notes()
    results = bench.run(progress=notes)
    assert (results.run.exit_code, set(outcomes(results).values())) == (0, {"passed"})
    [told] = [note for note in notes.told if note.startswith("not in the history: ")]
    folder = _file(bench).parent / results.run.id
    assert told.endswith(f"`e2e-matrix history import {folder}` adds it")
    assert (folder / RESULTS).exists()
    assert (folder / "report.html").exists()


def test_a_full_disk_is_a_note(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_sync", full)
    notes = Notes()
    assert bench.run(progress=notes).run.exit_code == 0
    assert any("No space left on device" in note for note in notes.told)


def test_a_writer_that_does_not_end_is_waited_for_no_longer_than_that(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("e2e_matrix.history.remember._PATIENCE", 0.01)
    _file(bench).parent.mkdir()
    with History.open(_file(bench)):
        pass
    notes = Notes()
    with closing(sqlite3.connect(_file(bench), isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert bench.run(progress=notes).run.exit_code == 0
    assert any("database is locked" in note for note in notes.told)


def test_a_damaged_history_is_mended_by_the_run_that_meets_it(bench: Bench) -> None:
    first = bench.run()
    _file(bench).write_text("no database\n" * 100)
    notes = Notes()
    second = bench.run(progress=notes)
    assert any("is damaged (file is not a database)" in note for note in notes.told)
    with History.open(_file(bench)) as history:
        assert {run.id for run in history.runs()} == {first.run.id, second.run.id}


def test_what_answers_in_a_cell_is_kept_with_it(bench: Bench) -> None:
    results = bench.run("llm: {model: 'openai/{variant}'}\n")
    assert {cell.model for cell in results.cells} == {"openai/python", "openai/java", "openai/golang"}
    with History.open(_file(bench)) as history:
        assert {point.model for point in history.points("java-arm64")} == {"openai/java (provider)"}


def test_what_answers_is_kept_also_where_all_cells_have_the_same(bench: Bench) -> None:
    results = bench.run()
    assert {cell.model for cell in results.cells} == {results.run.llm.model}


def test_a_run_that_was_made_for_a_comparison_is_not_remembered_and_no_trouble(tmp_path: Path) -> None:
    folder = put(tmp_path / "reports", 0, for_comparison=True)
    notes: list[str] = []
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(f"matrix: {{variant: [python], arch: [amd64]}}\nreports: {folder.parent}\n")
    settings = resolve(load_matrix(matrix, {}), Overrides(), {})
    remember(folder, settings, notes.append)
    assert notes == []
    with History.open(settings.history) as history:
        assert history.runs() == []
