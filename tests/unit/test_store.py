import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from e2e_matrix import store
from e2e_matrix.errors import BadInput, InfrastructureError
from e2e_matrix.results import Api
from support.sample_run import a_cell

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def test_a_run_id_sorts_by_time_and_is_not_repeated(tmp_path: Path) -> None:
    first, second = (store.RunFolder.create(tmp_path, NOW) for _ in range(2))
    assert first.run_id.startswith("20261122T080000Z-")
    assert first.run_id != second.run_id


def test_latest_names_the_newest_run(tmp_path: Path) -> None:
    for _ in range(2):
        folder = store.RunFolder.create(tmp_path, NOW)
        folder.point_latest_here()
        assert (tmp_path / "latest").resolve() == folder.path
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_folder_of_somebody_elses_called_latest_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    with pytest.raises(InfrastructureError, match="not our link"):
        store.RunFolder.create(tmp_path, NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["latest"]


def test_a_write_that_cannot_succeed_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    store.write_atomically(target, b"old")
    with pytest.raises(TypeError):
        store.write_atomically(target, "not bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_where_the_disk_refuses_the_message_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InfrastructureError, match=r"file/results\.json"):
        store.write_atomically(tmp_path / "file" / "results.json", b"")


def test_what_a_killed_writer_left_is_swept_once_it_is_old_and_nothing_else(tmp_path: Path) -> None:
    run = store.RunFolder.create(tmp_path, NOW)
    attempt = run.attempt_folder("python-amd64", 1)
    halves = [folder / ".results.json.abc.part" for folder in (run.path, attempt)]
    whole = [run.path / "results.json", attempt / ".gitignore", attempt / "server.part", run.path / ".env"]
    fresh = run.path / ".results.json.def.part"
    link = tmp_path / ".latest.0123.part"
    link.symlink_to(run.run_id)
    for path in (*halves, *whole, fresh):
        path.touch()
    for path in (*halves, *whole, link):
        os.utime(path, (0, 0), follow_symlinks=False)
    assert sorted(store.sweep(tmp_path, dry_run=True)) == sorted([link, *halves])
    assert link.is_symlink()
    assert sorted(store.sweep(tmp_path)) == sorted([link, *halves])
    assert not any(path.exists() for path in halves)
    assert not link.is_symlink()
    assert all(path.exists() for path in (*whole, fresh))
    assert store.sweep(tmp_path) == []


def test_a_writer_that_is_killed_leaves_what_the_sweep_knows(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from e2e_matrix import store\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "store.write_atomically(Path(sys.argv[1]) / 'run' / 'results.json', b'half')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    [half] = (tmp_path / "run").iterdir()
    os.utime(half, (0, 0))
    assert store.sweep(tmp_path) == [half]


def test_a_sweep_where_there_is_no_folder_finds_nothing(tmp_path: Path) -> None:
    assert store.sweep(tmp_path / "reports") == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read"),
        (b"", "Invalid JSON"),
        (b'{"schema_version": 1, "run": {', "Invalid JSON"),
        (b'{"schema_version": 1, "run": {}, "cells": []}', "run.verdict: Field required"),
        (
            b'{"schema_version": 99, "run": 1, "cells": []}',
            "schema_version is 99; this program reads up to",
        ),
    ],
)
def test_results_that_cannot_be_used_are_bad_input(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(BadInput) as raised:
        store.load(tmp_path)
    assert complaint in str(raised.value)
    assert "results.json" in str(raised.value)


def test_what_a_server_says_of_its_api_is_kept_once(tmp_path: Path) -> None:
    folder = store.RunFolder.create(tmp_path, NOW)
    kept = []
    for cell in ("python", "java"):
        of_attempt = folder.attempt_folder(cell, 1)
        (of_attempt / "openapi.json").write_text('{"paths": {}}')
        api = Api(digest="sha256:" + "ab" * 32, file=f"cells/{cell}/attempt-1/openapi.json", operations=0)
        [attempt] = a_cell(f"{cell}-amd64").attempts
        attempt = attempt.model_copy(update={"api": api, "folder": f"cells/{cell}/attempt-1"})
        kept.append(folder.write_attempt(attempt).api)
        assert (
            json.loads((of_attempt / "attempt.json").read_text())["api"]["file"]
            == "api/abababababababab.json"
        )
    assert kept[0] == kept[1]
    assert [path.read_text() for path in folder.path.glob("api/*")] == ['{"paths": {}}']
    assert list(folder.path.glob("cells/*/*/openapi.json")) == []
