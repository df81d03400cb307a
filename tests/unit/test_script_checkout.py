"""Finding the checkout of a script, and writing out what it was at another revision."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e_matrix.script.checkout import Origin, State, export, origin_of, root_of, state_of


def git(root: Path, *command: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "safe.directory=*")
    done = subprocess.run(["git", *identity, *command], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_checkout_has_a_commit_and_what_is_not_as_that_has_it(repository: Path, tmp_path: Path) -> None:
    # A filter of the checkout's own would run, and write.
    (repository / ".git" / "info" / "attributes").write_text("*.py filter=theirs\n")
    git(repository, "config", "filter.theirs.clean", "tee filtered")
    script, commit = repository / "examples" / "é 1.py", git(repository, "rev-parse", "main")
    (repository / ".git" / "info" / "exclude").write_text("*.log\n")
    ignored = repository / "examples" / "one.log"
    ignored.touch()
    before = everything(repository)
    assert state_of(repository) == State(
        commit, frozenset({script}), frozenset({repository / "new", ignored})
    )
    assert everything(repository) == before
    git(repository, "config", "filter.theirs.clean", "cat")
    git(repository, "add", str(script))  # put down for the next commit, or not
    inner = repository / "inner"
    inner.mkdir()
    git(inner, "init", "--quiet")
    (inner / "file").touch()
    assert state_of(repository) == State(
        commit, frozenset({script}), frozenset({repository / "new", ignored, inner})
    )
    assert state_of(tmp_path) is None  # no checkout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; what is not to be seen in an export is there too."""
    root = tmp_path / "repository"
    (root / "examples").mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / ".gitattributes").write_text("examples export-ignore\n")
    script = root / "examples" / "é 1.py"
    script.write_text("one\n")
    script.chmod(0o755)
    (root / "link").symlink_to("examples")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=one")
    git(root, "tag", "--annotate", "v1", "--message=v1")
    script.write_text("two\n")
    git(root, "commit", "--quiet", "--all", "--message=two")
    script.write_text("not committed\n")
    (root / "new").touch()
    return root


def test_a_script_is_of_the_commit_that_its_checkout_is_at_unless_it_was_changed(
    repository: Path, tmp_path: Path
) -> None:
    # A filter of the checkout's own would run, and write.
    (repository / ".git" / "info" / "attributes").write_text("*.py filter=theirs\n")
    git(repository, "config", "filter.theirs.clean", "tee filtered")
    script, new = repository / "examples" / "é 1.py", repository / "new.py"
    new.touch()
    (tmp_path / "link.py").symlink_to(script)
    before = everything(repository)
    commit = git(repository, "rev-parse", "main")
    assert origin_of(script, repository) == Origin(commit, changed=True)
    assert origin_of(new, repository) == Origin(commit, changed=True)  # the commit has no such file
    assert everything(repository) == before
    script.write_text("two\n")
    assert origin_of(script, repository) == Origin(commit, changed=False)
    assert origin_of(tmp_path / "link.py", repository) == Origin(commit, changed=False)


def test_a_script_of_no_commit_has_no_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "a.py"
    script.touch()
    assert origin_of(script, tmp_path) is None
    git(tmp_path, "init", "--quiet")
    assert origin_of(script, tmp_path) is None  # nothing was committed yet
    monkeypatch.setenv("PATH", str(tmp_path))
    assert origin_of(script, tmp_path) is None  # no git here


def everything(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in [root, *root.rglob("*")]}


def test_a_revision_is_written_out_whole_and_the_checkout_is_not_touched(
    repository: Path, tmp_path: Path
) -> None:
    # What the checkout's own settings would run.
    git(repository, "config", "core.fsmonitor", "touch monitored; false")
    hook = repository / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hooked\n")
    hook.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(repository, 10001, 10001)  # git does not trust another's without being told to
    before = everything(repository)
    first, second = git(repository, "rev-list", "--reverse", "main").splitlines()
    for revision, commit, text in (
        ("v1", first, "one\n"),
        (first[:8], first, "one\n"),
        ("main", second, "two\n"),
    ):
        place = export(repository, revision, tmp_path / "cache")
        assert place == tmp_path / "cache" / "script" / "checkouts" / commit
        assert (place / "link" / "é 1.py").read_text() == text
        assert sorted(path.name for path in place.iterdir()) == [".gitattributes", "examples", "link"]
        assert (place / "examples" / "é 1.py").stat().st_mode & 0o100
    assert everything(repository) == before
    left = {path.name for path in (tmp_path / "cache" / "script" / "checkouts").iterdir()}
    assert left == {first, second, f"{first}.lock", f"{second}.lock"}


def test_what_was_left_half_written_is_not_used(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "v1")
    half = tmp_path / "cache" / "script" / "checkouts" / f"{git(repository, 'rev-parse', 'v1^{commit}')}.part"
    half.mkdir(parents=True)
    (half / "half").touch()
    with ThreadPoolExecutor(4) as threads:
        [place] = set(threads.map(lambda _: export(repository, commit, tmp_path / "cache"), range(4)))
    assert not (place / "half").exists()
    assert not half.exists()


def test_a_linked_worktree_and_a_hooks_variables_do_not_mislead(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worktree = tmp_path / "worktree"
    git(repository, "worktree", "add", "--quiet", str(worktree), "v1")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "another"))
    assert (export(worktree, "HEAD", tmp_path / "cache") / "examples" / "é 1.py").read_text() == "one\n"


@pytest.mark.parametrize("revision", ["nope", "--all", "v1:examples", ""])
def test_a_revision_that_there_is_none_of_has_gits_own_words(
    repository: Path, tmp_path: Path, revision: str
) -> None:
    with pytest.raises(ValueError, match=r"has no commit .* \(git: .*\); fetch it first"):
        export(repository, revision, tmp_path / "cache")


def test_a_folder_in_another_checkout_is_no_checkout(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no git checkout"):
        export(repository / "examples", "main", tmp_path / "cache")


def test_the_root_is_the_nearest_repository_else_workspace_else_the_scripts_folder(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "workspace" / "examples"
    inner.mkdir(parents=True)
    script = inner / ".." / "examples" / "script.py"
    assert root_of(script) == inner
    (inner / "pyproject.toml").write_text("[project]\nname = 'examples'\n")
    (inner.parent / "pyproject.toml").write_text("[tool.uv.workspace]\nmembers = []\n")
    assert root_of(script) == inner.parent
    (tmp_path / "outer" / ".git").write_text("gitdir: elsewhere\n")
    assert root_of(script) == tmp_path / "outer"
