"""The checkout that a script lies in, and what it was at another revision. It is only ever read."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.script.shared import Note, locked
from e2e_matrix.text import one_line

_GIT_SECONDS = 300.0
# Nothing of the checkout's own settings may write to it, or run: not its hooks, not its monitor of changes.
_ONLY_READ = {
    "safe.directory": "*",  # whoever owns it: scripts of it are run, and that is what was asked for
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
}


def root_of(script: Path) -> Path:
    """The nearest folder above ``script`` with a .git, else with a uv workspace, else the script's own."""
    folders = script.resolve().parents
    return next((folder for is_root in _MARKS for folder in folders if is_root(folder)), folders[0])


def is_checkout(root: Path) -> bool:
    """Whether ``root`` is more than the folder that a lone script happens to lie in."""
    return any(is_root(root) for is_root in _MARKS)


@dataclass(frozen=True)
class Origin:
    """The ``commit`` that a script is of, in full; ``changed``: the file is not as that commit has it."""

    commit: str
    changed: bool = False


def origin_of(script: Path, root: Path) -> Origin | None:
    """What the checkout ``root`` is at; None where nobody can tell: no git, no commit, an unreadable file."""
    if not _is_repository(root):
        return None
    script = script.resolve()
    # The file's bytes, without the checkout's own filters: those would run.
    questions = (
        ("rev-parse", "--verify", "HEAD^{commit}"),
        ("hash-object", "--no-filters", "--", str(script)),
        ("rev-parse", "--verify", "--end-of-options", f"HEAD:{script.relative_to(root)}"),
    )
    try:
        told = [_git(root, *question) for question in questions]
    except InfrastructureError:
        return None
    if any(answer.returncode != 0 for answer in told[:2]):
        return None
    commit, now, then = (answer.stdout.strip() for answer in told)
    return Origin(commit, changed=told[2].returncode != 0 or now != then)


def export(
    root: Path,
    revision: str,
    cache: Path,
    cancel: Cancellation | None = None,
    note: Note = lambda line: None,
) -> Path:
    """The files of the checkout ``root`` at ``revision`` (a tag, branch or hash): a folder in ``cache``.

    ``cache`` is the program's; the folder is made once for each commit, and has no .git. Errors:
    ``ValueError`` where there is no such commit, with git's own words; ``InfrastructureError`` where git is
    missing or the disk refuses; ``CellFailure`` when asked to stop.
    """
    commit = commit_of(root, revision)
    folder = cache / "script" / "checkouts"
    place = folder / commit
    if place.is_dir():
        return place
    try:
        lock = folder / f"{commit}.lock"
        with locked(lock, f"{root} at {revision}", cancel or Cancellation(), note) as held:
            if not place.is_dir():
                _write(root, commit, place, held)
    except OSError as error:
        raise InfrastructureError(
            f"cannot write {place}: {error.strerror}", "Set XDG_CACHE_HOME to a folder with space in it."
        ) from error
    return place


def commit_of(root: Path, revision: str) -> str:
    """The full hash of the commit that ``revision`` means in the checkout ``root``; errors of ``export``."""
    if not _is_repository(root):
        raise ValueError(f"{root} is no git checkout, so it has no revision {revision!r}")
    asked = _git(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    if asked.returncode != 0:
        raise ValueError(
            f"{root} has no commit {revision!r} (git: {_words(asked)}); "
            "fetch it first, and write a branch of a remote as origin/BRANCH"
        )
    return asked.stdout.strip()


@dataclass(frozen=True)
class State:
    """The ``commit`` that a checkout is at, and which files are, or may be, not as it has them.

    ``unknown``: those that the commit does not have at all, also what git is told to ignore; of a repository
    in the repository its folder.
    """

    commit: str
    differing: frozenset[Path]
    unknown: frozenset[Path]


def state_of(root: Path) -> State | None:
    """None where nobody can tell: no git, no commit.

    Files differ by their size and time: what they hold is not read, for that would run the checkout's own
    filters.
    """
    if not _is_repository(root):
        return None
    by_size_and_time = ("-c", "core.checkStat=minimal", "-c", "core.trustctime=false")
    try:
        commit = commit_of(root, "HEAD")
        told = [
            _git(root, *by_size_and_time, "diff-index", "--name-only", "-z", commit),
            _git(root, "ls-files", "--others", "-z"),
        ]
    except (InfrastructureError, ValueError):
        return None
    if any(answer.returncode for answer in told):
        return None
    differing, unknown = (
        frozenset(root / name for name in answer.stdout.split("\0") if name) for answer in told
    )
    return State(commit, differing, unknown)


def _is_repository(folder: Path) -> bool:
    return (folder / ".git").exists()


def _has_workspace(folder: Path) -> bool:
    try:
        tool = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("tool")
    except (OSError, ValueError):
        return False
    uv = tool.get("uv") if isinstance(tool, dict) else None
    return isinstance(uv, dict) and "workspace" in uv


_MARKS = (_is_repository, _has_workspace)


def _write(root: Path, commit: str, place: Path, held: int) -> None:
    """Through an index of our own: `git archive` would leave out what is marked export-ignore.

    git has the lock too (``held``): should this process be killed, it keeps it for as long as it writes.
    """
    part = place.with_name(f"{place.name}.part")
    index = place.with_name(f"{place.name}.index")
    for left in (part, index):  # by one who was killed
        _remove(left)
    try:
        for command in (
            ("read-tree", commit),
            ("checkout-index", "--all", "--quiet", f"--prefix={part}/"),
        ):
            done = _git(root, *command, index=index, held=(held,))
            if done.returncode != 0:
                raise InfrastructureError(
                    f"`git {command[0]}` of {root} at {commit[:12]} failed: {_words(done)}",
                    f"Check the checkout with `git fsck`, and the space for {place}.",
                )
        part.mkdir(exist_ok=True)  # an empty tree
        part.rename(place)
    finally:
        for left in (part, index):
            _remove(left)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _git(
    root: Path, *command: str, index: Path | None = None, held: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    # In a hook these would name another repository.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    ours = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    settings = [word for name, value in _ONLY_READ.items() for word in ("-c", f"{name}={value}")]
    try:
        return subprocess.run(
            ["git", *settings, "-C", str(root), *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_SECONDS,
            check=False,
            pass_fds=held,
            env={**inherited, **ours, **({"GIT_INDEX_FILE": str(index)} if index else {})},
        )
    except FileNotFoundError:
        raise InfrastructureError("there is no git on this machine", "Install it: `at:` needs it.") from None
    except subprocess.TimeoutExpired:
        raise InfrastructureError(
            f"`git {command[0]}` of {root} did not end within {_GIT_SECONDS:.0f} s"
        ) from None


def _words(done: subprocess.CompletedProcess[str]) -> str:
    return one_line(done.stderr) or f"exit code {done.returncode}"
