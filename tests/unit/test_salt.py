"""The number that only one user of one machine has."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e_matrix.salt import salt_in


def test_it_is_made_once_for_one_user_alone_and_stays(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "e2e-matrix"
    made = salt_in(folder)
    assert made is not None
    assert len(made) == 32
    assert salt_in(folder) == made
    assert stat.S_IMODE((folder / "salt").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["salt"]
    assert salt_in(tmp_path) != made


def test_several_at_once_make_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(salt_in, [tmp_path] * 64))
    assert len(made) == 1
    assert None not in made
    assert [path.name for path in tmp_path.iterdir()] == ["salt"]


def _readable_by_others(salt: Path) -> None:
    salt.chmod(0o640)


def _cut(salt: Path) -> None:
    salt.write_bytes(salt.read_bytes()[:-1])


def _long(salt: Path) -> None:
    salt.write_bytes(salt.read_bytes() + b"x")


def _a_folder(salt: Path) -> None:
    salt.unlink()
    salt.mkdir()


def _a_pipe(salt: Path) -> None:
    salt.unlink()
    os.mkfifo(salt, 0o600)


def _a_link(salt: Path) -> None:
    salt.rename(salt.with_name("elsewhere"))
    salt.symlink_to("elsewhere")


@pytest.mark.parametrize("spoil", [_readable_by_others, _cut, _long, _a_folder, _a_pipe, _a_link])
def test_one_that_is_not_ours_alone_or_not_whole_is_none(
    spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    assert salt_in(tmp_path) is not None
    spoil(tmp_path / "salt")
    assert salt_in(tmp_path) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_one_of_another_user_is_none(tmp_path: Path) -> None:
    assert salt_in(tmp_path) is not None
    os.chown(tmp_path / "salt", 10001, 10001)
    assert salt_in(tmp_path) is None


def test_where_nothing_can_be_written_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert salt_in(tmp_path / "file") is None
    assert salt_in(tmp_path / "file" / "below") is None
