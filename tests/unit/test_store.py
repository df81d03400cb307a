from datetime import UTC, datetime
from pathlib import Path

import pytest

from e2e_matrix import store
from e2e_matrix.errors import BadInput, InfrastructureError

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
