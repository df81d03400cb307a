"""The agent-server as installed files: resolved once, locked with hashes, installed for any architecture.

uv chooses the wheels of another platform on this machine, so nothing is emulated. Where packages come from is
the business of whoever configured uv or pip here: no index is named.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.local.oci import Entry, directory
from e2e_matrix.local.process import run
from e2e_matrix.local.recipe import ARCHITECTURES, Recipe
from e2e_matrix.store import write_atomically

DISTRIBUTION = "openhands-agent-server"
# Its packages name no version of one another, and 1.43.1 does not name the tools that it imports.
_RELEASED_TOGETHER = (DISTRIBUTION, "openhands-sdk", "openhands-tools")
_RESOLVE_SECONDS = 300.0
_INSTALL_SECONDS = 900.0
_VERSION = re.compile(r"\d+(\.\d+)*([a-z]+\d+)?", re.ASCII)


def lock(recipe: Recipe, version: str, cache: Path) -> Path:
    """The file with every dependency of that server version, pinned and hashed.

    The committed one if there is one, else one that was resolved before into ``cache``, else a fresh one.
    Raises ``BadInput`` for what is no version, ``InfrastructureError`` where it cannot be resolved.
    """
    if not _VERSION.fullmatch(version):
        hint = "Write a release as PyPI has it, such as 1.58.0."
        raise BadInput([Problem("--server-version", 0, 0, f"{version!r} is no version", hint)])
    committed = recipe.committed_lock(version)
    if committed.is_file():
        return committed
    cached = cache / "locks" / f"{version}-python{recipe.debian.python}.txt"
    if not cached.is_file():
        write_atomically(cached, resolve(recipe, version, cache).encode())
    return cached


def resolve(recipe: Recipe, version: str, cache: Path) -> str:
    """Resolve a server version now; the text of its lock, which holds for every architecture.

    The wheels of all architectures are hashed; resolving for one platform keeps markers out of the file.
    """
    wanted = cache / "locks" / f"{version}.in"
    requirements = [f"{name}=={version}" for name in _RELEASED_TOGETHER] + [
        constraint.requirement
        for constraint in recipe.server.constraints
        if _numbers(version) <= _numbers(constraint.up_to)
    ]
    write_atomically(wanted, "".join(f"{line}\n" for line in requirements).encode())
    return _uv(
        [
            "pip",
            "compile",
            "--quiet",
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
            f"--python-platform={ARCHITECTURES['amd64'][0]}",
            f"--python-version={recipe.debian.python}",
            str(wanted),
        ],
        what=f"resolving {DISTRIBUTION} {version}",
        timeout=_RESOLVE_SECONDS,
    )


def install(recipe: Recipe, requirements: Path, arch: str, target: Path) -> None:
    """Install what is locked for ``arch`` into the folder ``target``, every file checked against its hash."""
    _uv(
        [
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--link-mode=hardlink",
            f"--python={sys.executable}",
            f"--python-platform={ARCHITECTURES[arch][0]}",
            f"--python-version={recipe.debian.python}",
            f"--target={target}",
            f"--requirements={requirements}",
        ],
        what=f"installing {DISTRIBUTION} for {arch}",
        timeout=_INSTALL_SECONDS,
    )


def install_python(recipe: Recipe, arch: str, target: Path) -> None:
    """Install the portable CPython that uv knows for ``arch`` into ``target`` (python-build-standalone)."""
    machine = ARCHITECTURES[arch][1].partition("-")[0]
    folder = target.with_name(f"{target.name}-download")
    _uv(
        [
            "python",
            "install",
            "--quiet",
            "--no-bin",
            f"--install-dir={folder}",
            f"cpython-{recipe.debian.python}-linux-{machine}-gnu",
        ],
        what=f"installing Python {recipe.debian.python} for {arch}",
        fix="uv must be able to download it; --base debian needs Debian's packages only.",
        timeout=_INSTALL_SECONDS,
        environment={"UV_PYTHON_DOWNLOADS": "automatic"},
    )
    installed = next(path for path in sorted(folder.glob("cpython-*")) if not path.is_symlink())
    installed.rename(target)


def entries(site: Path, recipe: Recipe) -> Iterator[Entry]:
    """The layer: the site folder where the image's Python looks, and the program that starts the server."""
    place = site_folder(recipe)
    for parent in ("usr/local", "usr/local/bin", str(Path(place).parent), place):
        yield directory(parent)
    yield Entry("usr/local/bin/openhands-agent-server", mode=0o755, content=recipe.entry_script())
    for path in sorted(site.rglob("*")):
        relative = path.relative_to(site)
        # Scripts name this machine's Python; the lock is uv's own.
        if relative.parts[0] in ("bin", ".lock"):
            continue
        name = f"{place}/{relative.as_posix()}"
        if path.is_dir():
            yield directory(name)
        elif relative.match("*.dist-info/RECORD"):
            lines = path.read_bytes().splitlines(keepends=True)
            yield Entry(name, content=b"".join(line for line in lines if not line.startswith(b"bin/")))
        else:
            yield Entry(name, mode=0o755 if path.stat().st_mode & 0o100 else 0o644, content=path)


def site_folder(recipe: Recipe) -> str:
    """Where Debian's Python finds what is not Debian's (site.py of python3), without a leading slash."""
    return f"usr/local/lib/python{recipe.debian.python}/dist-packages"


def _uv(
    arguments: list[str],
    *,
    what: str,
    timeout: float,
    fix: str = "Check that PyPI can be reached and has that version; uv is installed by `make demo`.",
    environment: Mapping[str, str] | None = None,
) -> str:
    return run(
        [str(Path(sys.executable).with_name("uv")), *arguments],
        what=what,
        fix=fix,
        timeout=timeout,
        # Debian's own Python runs what is installed here: uv need not fetch one to ask it anything.
        environment={"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", **(environment or {})},
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
