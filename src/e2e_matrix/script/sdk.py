"""The environment that scripts run in: a Python and upstream's packages, made once for each version.

One lies in ``$XDG_CACHE_HOME/e2e-matrix/script/environments/KEY``; the key is the version and what its
dependencies are held to, or the content of a checkout's packages. It counts once its ``ready.json`` is there,
which is written last: what a runner that was killed left half-made is made anew. What was resolved once is
kept in ``script/locks``, so that an environment that broke comes back with the same packages.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.cache import cache_folder
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import POLICIES, Cause, Outcome
from e2e_matrix.local import recipe
from e2e_matrix.script import uv
from e2e_matrix.script.settings import VERSION
from e2e_matrix.script.shared import Note, locked
from e2e_matrix.script.workspace import LOCK, Workspace
from e2e_matrix.text import block, format_seconds

SDK = "openhands-sdk"
WORKSPACE = "openhands-workspace"
#: What scripts import; a release of the last one is not there for every version.
PACKAGES = (SDK, "openhands-tools", WORKSPACE)
# Comes in with the last one, which does not say which version.
_SERVER = "openhands-agent-server"

# Upstream's own first; its packages want 3.12 or newer.
_PYTHONS = ("3.13", "3.12", ">=3.14")
_READY = "ready.json"
# A change to how an environment is made is a change of this number: no older one fits then.
_MAKING = 1
_ABSENT = re.compile(r"there is no version of (openhands-[a-z-]+)==")

_QUICK_SECONDS = 60.0
_RESOLVE_SECONDS = 300.0
_DOWNLOAD_SECONDS = 600.0
_INSTALL_SECONDS = 900.0


@dataclass(frozen=True)
class Interpreter:
    """A Python with upstream's packages. ``sdk_version`` is openhands-sdk's own; of a checkout it ends with
    ``+checkout.`` and the first digits of its packages' content."""

    python: Path
    sdk_version: str


@dataclass(frozen=True)
class _Wanted:
    """What an environment is to hold; ``constraints`` is the text of a requirements file."""

    name: str
    key: str
    packages: tuple[str, ...]
    version: str = ""
    constraints: str = ""
    checkout: Workspace | None = None


def prepare(
    sdk: str | Path, cancel: Cancellation, note: Note = lambda line: None, cache: Path | None = None
) -> Interpreter:
    """The environment of a release (``"1.58.0"``), or of a checkout's own packages (its folder, a ``Path``).

    It is made where it is missing or broken, and found in milliseconds where it is not. Threads and processes
    may ask at once: one makes it, the others wait; threads share its failure. ``note`` is told of what takes
    time, ``cache`` is the program's unless told. Errors: ``CellFailure``, also when asked to stop.
    """
    try:
        wanted = _checkout(sdk) if isinstance(sdk, Path) else _release(sdk)
        return _Environment((cache or cache_folder()) / "script", wanted, cancel, note).get()
    except OSError as error:
        raise _not_installed(_what(sdk), str(error), error.errno in (errno.ENOSPC, errno.EDQUOT)) from error


def _what(sdk: str | Path) -> str:
    return f"the checkout {sdk}" if isinstance(sdk, Path) else f"{SDK} {sdk}"


def _failure(message: str, words: str = "") -> CellFailure:
    return CellFailure(Cause.SCRIPT_ENVIRONMENT, message, detail=block(words) or None)


def _not_installed(name: str, why: str, disk_is_full: bool = False, words: str = "") -> CellFailure:
    message = f"{name} could not be installed"
    if disk_is_full:
        fix = "free about 1 GB for the cache, or set XDG_CACHE_HOME to a folder that has it"
        return CellFailure(
            Cause.DISK_FULL, f"{message}: no space is left; {fix}", detail=block(words) or None
        )
    return _failure(f"{message}: {why}", words)


def _release(version: str) -> _Wanted:
    if not re.fullmatch(VERSION, version):
        raise _failure(f"{version!r} is no version of {SDK}: write a release, such as 1.58.0")
    constraints = f"{_SERVER}=={version}\n"
    folder = recipe.default_folder()
    if folder.is_dir():  # an installed e2e-matrix comes without it
        plan = recipe.read_recipe(folder)
        constraints += "".join(
            f"{one.requirement}\n"
            for one in plan.server.constraints
            if _numbers(version) <= _numbers(one.up_to)
        )
        with contextlib.suppress(FileNotFoundError):
            constraints += plan.committed_lock(version).read_text()
    key = hashlib.sha256(f"{_MAKING}\n{constraints}".encode()).hexdigest()
    return _Wanted(f"{SDK} {version}", f"{version}-{key[:12]}", PACKAGES, version, constraints)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _checkout(root: Path) -> _Wanted:
    name = _what(root)
    try:
        workspace = Workspace.read(root)
    except ValueError as error:
        raise _not_installed(name, str(error)) from error
    packages = tuple(package for package in PACKAGES if package in workspace.packages)
    if SDK not in packages:
        raise _failure(
            f"{name} has no package {SDK} for `sdk: checkout`: name a version, as in `sdk: 1.58.0`"
        )
    return _Wanted(name, _key(workspace), packages, checkout=workspace)


def _key(checkout: Workspace) -> str:
    return f"checkout-{checkout.digest()[:24]}-{_MAKING}"


class _Environment:
    """One environment, there or to be made, in ``root``/environments."""

    def __init__(self, root: Path, wanted: _Wanted, cancel: Cancellation, note: Note) -> None:
        self._root, self._wanted, self._cancel, self._note = root, wanted, cancel, note
        self._folder = root / "environments" / wanted.key
        self._python = self._folder / "bin" / "python"
        self._held = -1

    def get(self) -> Interpreter:
        if found := self._found():
            return found
        came = time.monotonic()
        lock = self._root / "environments" / f"{self._wanted.key}.lock"
        with locked(lock, self._wanted.name, self._cancel, self._note) as self._held:
            if found := self._found():
                return found
            with _sharing_failure(self._folder, came):
                return self._make()

    def _found(self) -> Interpreter | None:
        """The environment if it was finished, and its Python and packages are still there."""
        try:
            ready = json.loads((self._folder / _READY).read_text())
            metadata, version = self._folder / ready["metadata"], str(ready["sdk-version"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        whole = os.access(self._python, os.X_OK) and metadata.is_dir()
        return Interpreter(self._python, version) if whole else None

    def _make(self) -> Interpreter:
        began = time.monotonic()
        self._note(f"installing {self._wanted.name} for scripts")
        (self._folder / _READY).unlink(missing_ok=True)  # first: what comes now may be cut short
        if self._folder.exists():
            shutil.rmtree(self._folder)
        try:
            self._make_python()
            if self._wanted.checkout:
                self._copy(self._wanted.checkout)
            self._install(self._lock())
            made = self._finish()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._note(f"installed {self._wanted.name} in {format_seconds(time.monotonic() - began)}")
        return made

    def _make_python(self) -> None:
        """A virtual environment of a Python of this machine, else of one that uv downloads."""
        asked = (
            self._uv("python", "find", "--no-python-downloads", "--system", request, longest=_QUICK_SECONDS)
            for request in _PYTHONS
        )
        found = next((ended.output.strip() for ended in asked if ended.code == 0), None)
        if found is None:
            self._note("there is no Python 3.12 or newer here; uv downloads one")
        python = f"--python={found or _PYTHONS[0]}"
        made = self._uv("venv", "--quiet", python, self._folder, longest=_DOWNLOAD_SECONDS)
        if made.code != 0 and found is None and not made.disk_is_full:
            raise _failure(
                "scripts need Python 3.12 or newer: none is on PATH or in pyenv, and uv could not download "
                f"one; install Python {_PYTHONS[0]}. uv says: {made.gist}",
                words=made.words,
            )
        self._checked(made)

    def _copy(self, checkout: Workspace) -> None:
        """Copy what is built: building writes beside the sources."""
        if _key(checkout.copy(self._sources)) != self._wanted.key:
            raise _failure(f"{self._wanted.name} was changed while it was being copied")

    def _lock(self) -> Path:
        """The requirements file with everything pinned and hashed: resolved now unless it was before."""
        lock = self._root / "locks" / f"{self._wanted.key}-{self._site.parent.name}.txt"
        if not lock.is_file():
            constraints = self._folder / "constraints.txt"
            constraints.write_text(self._wanted.constraints or self._pins_of_checkout())
            resolved = self._resolve(self._wanted.packages, constraints)
            absent = _ABSENT.search(resolved.words)
            if absent and absent[1] == WORKSPACE:
                others = [name for name in self._wanted.packages if name != WORKSPACE]
                resolved = self._resolve(others, constraints)
            # uv would install a member of a workspace as a link to its sources.
            text = re.sub(r"^-e ", "", self._checked(resolved), flags=re.MULTILINE)
            lock.parent.mkdir(parents=True, exist_ok=True)
            _write(lock, text)
        return lock

    def _pins_of_checkout(self) -> str:
        """The versions in the checkout's uv.lock; not the index that it was made with, ours may differ."""
        if not (self._sources / LOCK).is_file():
            return ""
        return self._checked(
            self._uv(
                *("export", "--quiet", "--frozen", "--all-packages", "--no-dev", "--no-emit-workspace"),
                *("--no-hashes", "--no-header", "--no-annotate"),
                *(f"--python={self._python}", f"--project={self._sources}"),
                longest=_QUICK_SECONDS,
            )
        )

    def _resolve(self, packages: Iterable[str], constraints: Path) -> uv.Ended:
        checkout = self._wanted.checkout
        wanted = self._folder / "requirements.in"
        lines = (
            str(self._sources / checkout.packages[name]) if checkout else f"{name}=={self._wanted.version}"
            for name in packages
        )
        wanted.write_text("".join(f"{line}\n" for line in lines))
        return self._uv(
            *("pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
            *(f"--python={self._python}", f"--constraints={constraints}", wanted),
            longest=_RESOLVE_SECONDS,
        )

    def _install(self, lock: Path) -> None:
        installed = self._uv(
            *("pip", "install", "--quiet", "--no-deps", "--compile-bytecode"),
            *(f"--python={self._python}", f"--requirements={lock}"),
            longest=_INSTALL_SECONDS,
        )
        self._checked(installed)

    def _finish(self) -> Interpreter:
        if self._wanted.checkout:
            shutil.rmtree(self._sources)
        metadata = next(self._site.glob("openhands_sdk-*.dist-info"), None)
        if metadata is None:
            raise _not_installed(self._wanted.name, f"uv left {SDK} out")
        version = metadata.name.removesuffix(".dist-info").partition("-")[2]
        if self._wanted.checkout:
            version += f"+checkout.{self._wanted.key.partition('-')[2][:8]}"
        ready = {"metadata": str(metadata.relative_to(self._folder)), "sdk-version": version}
        _write(self._folder / _READY, json.dumps(ready))
        return Interpreter(self._python, version)

    @property
    def _site(self) -> Path:
        return next(self._folder.glob("lib/python3.*/site-packages"))

    @property
    def _sources(self) -> Path:
        return self._folder / "source"

    def _uv(self, *arguments: str | Path, longest: float) -> uv.Ended:
        return uv.run([*map(str, arguments)], self._root, self._held, self._cancel, longest)

    def _checked(self, ended: uv.Ended) -> str:
        if ended.code == 0:
            return ended.output
        absent = _ABSENT.search(ended.words)
        why = f"there is no {absent[1]} {self._wanted.version}" if absent else f"uv says: {ended.gist}"
        raise _not_installed(self._wanted.name, why, ended.disk_is_full, ended.words)


_failed: dict[Path, tuple[float, CellFailure]] = {}


@contextmanager
def _sharing_failure(folder: Path, came: float) -> Iterator[None]:
    """Fail as that one failed who was at it when this thread ``came`` (``time.monotonic()``).

    Without a network a try takes uv some ten seconds, and the threads of a run would try one after the other.
    """
    when, failure = _failed.get(folder, (0.0, None))
    if failure and when > came:
        raise CellFailure(failure.cause, failure.message, detail=failure.detail)
    try:
        yield
    except CellFailure as error:
        if POLICIES[error.cause].outcome is Outcome.ERROR:  # not one who was asked to stop
            _failed[folder] = time.monotonic(), error
        raise


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.replace(path)
