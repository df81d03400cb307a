"""A script's folders: who may enter them, and that removing them removes nothing else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e_matrix import owner
from e2e_matrix.script.scratch import Scratch, sweep

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="takes several users")
SERVER = 10001  # the user of the published images
NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that another user reaches, which pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def dead_owner() -> str:
    code = "from e2e_matrix import owner; print(owner.current())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def abandoned(parent: Path, label: str) -> Path:
    """A folder as a killed runner leaves it."""
    scratch = Scratch(print, parent)
    (scratch.root / "owner").write_text(label)
    (scratch.tmp / "file").touch()
    return scratch.root


def test_others_may_write_where_the_container_does_and_nowhere_else(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with Scratch(print, tmp_path) as scratch:
            assert scratch.root.parent == tmp_path
            assert scratch.root.name.startswith("e2e-matrix-")
            folders = (scratch.root, scratch.tmp, scratch.home, scratch.line)
            assert [mode(folder) for folder in folders] == [0o700, 0o777, 0o777, 0o700]
            assert owner.is_alive((scratch.root / "owner").read_text()) is True
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_a_socket_s_path_fits() -> None:
    with Scratch(print) as scratch:
        assert scratch.root.parent == Path("/tmp")
        assert len(str(scratch.line / "broker.sock")) < 108


def test_everything_goes_also_what_is_read_only_deep_or_strange(tmp_path: Path) -> None:
    notes: list[str] = []
    with Scratch(notes.append, tmp_path) as scratch:
        deep = os.open(scratch.tmp, os.O_RDONLY)
        for _ in range(1100):  # deeper than Python recurses and than a process may have open files
            os.mkdir("d", dir_fd=deep)
            deeper = os.open("d", os.O_RDONLY, dir_fd=deep)
            os.close(deep)
            deep = deeper
        os.close(deep)
        for permissions in (0o500, 0o000):
            folder = scratch.home / f"outer-{permissions}" / "inner"
            folder.mkdir(parents=True)
            (folder / "file").touch(0o400)
            folder.chmod(permissions)
            folder.parent.chmod(permissions)
        (scratch.home / "removing-0").mkdir()
        os.mkfifo(scratch.home / "pipe")
        os.mknod(scratch.home / os.fsdecode(b"\xff\n"))
    scratch.close()
    assert notes == []
    assert list(tmp_path.iterdir()) == []


def test_what_links_lead_to_stays(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "folder").mkdir(parents=True)
    kept.chmod(0o555)
    notes: list[str] = []
    with Scratch(notes.append, tmp_path) as scratch:
        (scratch.tmp / "link").symlink_to(kept)
        scratch.home.rmdir()
        scratch.home.symlink_to(kept)
    assert notes == []
    assert (mode(kept), list(kept.iterdir())) == (0o555, [kept / "folder"])

    with Scratch(notes.append, tmp_path) as scratch:
        scratch.root.rename(tmp_path / "elsewhere")
        scratch.root.symlink_to(kept)
    assert len(notes) == 1
    assert (mode(kept), list(kept.iterdir())) == (0o555, [kept / "folder"])


@AS_ROOT
def test_root_removes_what_the_container_s_user_made(tmp_path: Path) -> None:
    notes: list[str] = []
    with Scratch(notes.append, tmp_path) as scratch:
        folder = scratch.tmp / "theirs"
        folder.mkdir(0o700)
        (folder / "file").touch(0o600)
        for path in (folder / "file", folder):
            os.chown(path, SERVER, SERVER)
    assert notes == []
    assert list(tmp_path.iterdir()) == []


@AS_ROOT
def test_another_user_s_file_is_told_and_does_not_stop_the_rest(open_folder: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from e2e_matrix.script.scratch import Scratch\n"
        f"os.setuid({NOBODY})\n"
        "with Scratch(print, Path(sys.argv[1])) as scratch:\n"
        "    for mode in (0o500, 0o000):\n"
        "        inner = scratch.tmp / f'ours-{mode}' / 'inner'; inner.mkdir(parents=True)\n"
        "        (inner / 'file').touch(); inner.chmod(mode); inner.parent.chmod(mode)\n"
        "    print(scratch.tmp, flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(open_folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as runner:
        assert runner.stdout is not None
        tmp = Path(runner.stdout.readline().strip())
        (tmp / "theirs").mkdir(0o755)
        (tmp / "theirs" / "file").touch()
        for path in (tmp / "theirs", tmp / "theirs" / "file"):
            os.chown(path, SERVER, SERVER)
        said, _ = runner.communicate("\n")
    assert runner.returncode == 0
    assert said.splitlines() == [
        f"could not remove all of {tmp.parent}: tmp/theirs: Permission denied and 1 more; "
        f"`sudo rm -r {tmp.parent}` does"
    ]
    assert [path.name for path in tmp.iterdir()] == ["theirs"]
    assert (tmp.parent / "owner").exists()  # a sweep can try again


def test_a_sweep_removes_what_the_dead_left_and_says_so(tmp_path: Path) -> None:
    notes: list[str] = []
    left = abandoned(tmp_path, dead_owner())
    with Scratch(notes.append, tmp_path) as living:
        sweep(notes.append, tmp_path)
        assert living.tmp.is_dir()
    assert not left.exists()
    assert notes == [f"removed {left} (the process that made it is gone)"]


@pytest.mark.parametrize("label", ["", "elsewhere:1:1.2.3", "nonsense", "x" * 5000, "\0\xff"])
def test_a_sweep_leaves_what_it_cannot_judge(tmp_path: Path, label: str) -> None:
    left = abandoned(tmp_path, label)
    sweep(print, tmp_path)
    assert (left / "tmp" / "file").exists()


def test_a_sweep_leaves_what_only_looks_like_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead = dead_owner()
    real = abandoned(tmp_path, dead).rename(tmp_path / "kept")
    (tmp_path / "e2e-matrix-link").symlink_to(real)
    open_to_all = abandoned(tmp_path, dead)
    open_to_all.chmod(0o755)
    without, pipe, linked = (abandoned(tmp_path, dead) for _ in range(3))
    for folder in (without, pipe, linked):
        (folder / "owner").unlink()
    os.mkfifo(pipe / "owner")
    (linked / "owner").symlink_to(real / "owner")
    (tmp_path / "e2e-matrix-file").write_text(dead)
    there = sorted(tmp_path.rglob("*"))
    sweep(print, tmp_path)
    assert sorted(tmp_path.rglob("*")) == there
    assert capsys.readouterr().out == ""


@AS_ROOT
def test_a_sweep_leaves_another_user_s_folder(tmp_path: Path) -> None:
    left = abandoned(tmp_path, dead_owner())
    os.chown(left, NOBODY, NOBODY)
    sweep(print, tmp_path)
    assert (left / "tmp" / "file").exists()


def test_a_sweep_of_nowhere_is_told(tmp_path: Path) -> None:
    notes: list[str] = []
    sweep(notes.append, tmp_path / "missing")
    assert notes == [
        f"could not look for what ended runs left in {tmp_path}/missing: No such file or directory"
    ]
