"""What lies around a script: all of it is known, or there is no key."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e_matrix import script_files
from e2e_matrix.script_files import ScriptFiles


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "examples" / "one.py"
    path.parent.mkdir()
    path.write_text("print(1)\n")
    return path


def around(script: Path, *, in_root: bool = False) -> str | None:
    return ScriptFiles(script.parents[1] / "reports", script.parents[1] / "history.sqlite").around(
        script, None, in_root=in_root
    )


class TestOfALoneScript:
    def test_a_file_that_changes_comes_goes_or_is_renamed_counts(self, script: Path) -> None:
        lib = script.parent / "lib" / "deep"
        lib.mkdir(parents=True)
        found = [around(script)]
        (lib / "x.py").write_text("1")
        found.append(around(script))
        (lib / "x.py").write_text("2")
        found.append(around(script))
        (lib / "x.py").rename(lib / "y.py")
        found.append(around(script))
        (lib / "y.py").unlink()
        assert around(script) == found[0]
        assert len({*found, None}) == 5

    def test_what_is_made_or_installed_there_counts_for_nothing(self, script: Path) -> None:
        before = around(script)
        for name in ("__pycache__/one.pyc", "lib/__pycache__/x.pyc", ".venv/lib/x.py", ".git/x", "old.pyc"):
            (script.parent / name).parent.mkdir(parents=True, exist_ok=True)
            (script.parent / name).write_text("x")
        # Of .git only what is no repository: else the script were in a checkout.
        (script.parent / ".git" / "x").unlink()
        (script.parent / ".git").rmdir()
        assert around(script) == before is not None

    def test_a_link_to_a_file_counts_by_what_the_file_holds(self, script: Path, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.write_text("1")
        (script.parent / "link").symlink_to(target)
        one = around(script)
        target.write_text("2")
        assert len({one, around(script), None}) == 3

    def test_the_script_is_found_through_a_link(self, script: Path, tmp_path: Path) -> None:
        (tmp_path / "link.py").symlink_to(script)
        assert around(tmp_path / "link.py") == around(script)

    @pytest.mark.parametrize("what", ["link to a folder", "broken link", "pipe"])
    def test_what_cannot_be_taken_in_is_nothing_that_anybody_can_tell(self, what: str, script: Path) -> None:
        place = script.parent / "lib"
        match what:
            case "link to a folder":
                place.symlink_to(script.parents[1])
            case "broken link":
                place.symlink_to("nowhere")
            case "pipe":
                os.mkfifo(place)
        assert around(script) is None

    def test_a_file_that_cannot_be_read_is_the_same(
        self, script: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(script_files, "digest_of", lambda path: None)
        assert around(script) is None

    def test_too_many_files_or_too_much_in_them_is_the_same(
        self, script: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(4):
            (script.parent / f"{number}").write_text("1234567890")
        monkeypatch.setattr(script_files, "_MOST_ENTRIES", 5)
        monkeypatch.setattr(script_files, "_MOST_BYTES", 49)
        assert around(script) is not None  # 5 files, 49 bytes
        (script.parent / "0").write_text("1234567890+")
        assert around(script) is None
        (script.parent / "0").write_text("")
        (script.parent / "folder").mkdir()
        assert around(script) is None

    def test_its_folder_is_read_once_for_all_of_its_cells(
        self, script: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = script.with_name("two.py")
        other.touch()
        files = ScriptFiles(script.parents[1] / "r", script.parents[1] / "h")
        first = files.around(script, None, in_root=True)
        monkeypatch.setattr(os, "walk", lambda *_, **__: pytest.fail("read again"))
        assert files.around(other, None, in_root=True) == first


class TestOfAScriptInACheckout:
    @pytest.fixture
    def root(self, script: Path) -> Path:
        root = script.parents[1]
        (root / ".gitignore").write_text("*.log\n.env\n/reports/\nignored/\n")
        git(root, "init", "--quiet")
        git(root, "add", ".")
        git(root, "commit", "--quiet", "--message=one")
        return root

    def test_it_is_of_the_commit(self, script: Path, root: Path) -> None:
        assert around(script, in_root=True) == git(root, "rev-parse", "HEAD")

    @pytest.mark.parametrize(
        "name", ["examples/prompt.json", "examples/.env", "examples/one.log", "examples/ignored/x", "top.py"]
    )
    @pytest.mark.parametrize("in_root", [False, True])
    def test_what_git_does_not_have_and_the_script_may_read_is_nothing_that_anybody_can_tell(
        self, name: str, in_root: bool, script: Path, root: Path
    ) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("")
        assert around(script, in_root=in_root) is None

    @pytest.mark.parametrize("name", ["notes.txt", ".env", "ignored/x", "other/data.json"])
    def test_elsewhere_it_counts_where_the_script_runs_in_the_root(
        self, name: str, script: Path, root: Path
    ) -> None:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("")
        assert around(script, in_root=False) == git(root, "rev-parse", "HEAD")
        assert around(script, in_root=True) is None

    @pytest.mark.parametrize(
        "name",
        [
            "examples/__pycache__/one.cpython-311.pyc",
            ".venv/lib/site.py",
            "examples/.venv/x",
            "old.pyc",
            "reports/run/results.json",
            "history.sqlite",
            "history.sqlite-wal",
            ".history.sqlite.lock",
        ],
    )
    def test_what_is_made_installed_or_ours_counts_for_nothing(
        self, name: str, script: Path, root: Path
    ) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
        assert around(script, in_root=True) == git(root, "rev-parse", "HEAD")

    def test_a_script_that_git_does_not_have_itself_is_known_from_its_bytes(
        self, script: Path, root: Path
    ) -> None:
        new = script.with_name("new.py")
        new.write_text("")
        assert around(new, in_root=True) == git(root, "rev-parse", "HEAD")
        assert around(script, in_root=True) is None

    @pytest.mark.parametrize("make", [Path.mkdir, lambda place: place.symlink_to("/etc")])
    def test_a_folder_of_elsewhere_in_it_may_be_imported(
        self, make: Callable[[Path], None], script: Path, root: Path
    ) -> None:
        place = root / "vendored"
        make(place)
        if not place.is_symlink():
            git(place, "init", "--quiet")
            (place / "x").touch()
        assert around(script, in_root=False) is None


def git(root: Path, *command: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "safe.directory=*")
    done = subprocess.run(["git", *identity, *command], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()
