"""A checkout's own packages: found, told apart by their content, and copied, so that it is only ever read."""

from __future__ import annotations

import hashlib
import os
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

PROJECT = "pyproject.toml"
LOCK = "uv.lock"

# What tools leave beside the sources; a dot covers .venv, .git and the caches of linters.
_LEFT = ("__pycache__", "node_modules")
# Left by builds, at the top of a package: setuptools would take old files from them.
_BUILDS = ("build", "dist")


class _Members(BaseModel):
    members: list[str] = ["*"]
    exclude: list[str] = []


class _Uv(BaseModel):
    workspace: _Members = Field(default_factory=_Members)


class _Tool(BaseModel):
    uv: _Uv = Field(default_factory=_Uv)


class _Project(BaseModel):
    name: str = ""


class _File(BaseModel):
    """The part of a pyproject.toml that says what is a package, and where others are."""

    project: _Project = Field(default_factory=_Project)
    tool: _Tool = Field(default_factory=_Tool)

    @classmethod
    def read(cls, path: Path) -> _File:
        try:
            return cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return cls()
        except ValueError as error:  # no UTF-8, no TOML, or other types than these
            raise ValueError(f"{path} cannot be used: {error}") from error


@dataclass(frozen=True)
class Workspace:
    """The packages of the checkout ``root``: by their names, their folders relative to it."""

    root: Path
    packages: dict[str, Path]

    @classmethod
    def read(cls, root: Path) -> Workspace:
        """What the checkout's uv workspace has as members. Errors: ``ValueError``, ``OSError``."""
        listed = _File.read(root / PROJECT).tool.uv.workspace
        left_out = {path for pattern in listed.exclude for path in root.glob(pattern)}
        found = {
            path.relative_to(root): _File.read(path / PROJECT).project.name
            for pattern in listed.members
            for path in sorted(root.glob(pattern))
            if path not in left_out and (path / PROJECT).is_file()
        }
        return cls(root, {name: path for path, name in found.items() if name})

    def digest(self) -> str:
        """SHA-256, as hex, of everything that an installation of the packages can depend on."""
        digest = hashlib.sha256()
        for file in self._files():
            path = self.root / file
            link = path.is_symlink()
            content = os.fsencode(path.readlink()) if link else path.read_bytes()
            kind = "link" if link else "program" if path.stat().st_mode & 0o100 else "file"
            digest.update(b"%s %s %d\0" % (kind.encode(), os.fsencode(file), len(content)))
            digest.update(content)
        return digest.hexdigest()

    def copy(self, target: Path) -> Workspace:
        """The same packages below the new folder ``target``."""
        for file in self._files():
            to = target / file
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.root / file, to, follow_symlinks=False)
        return Workspace(target, self.packages)

    def _files(self) -> Iterator[Path]:
        """Relative paths, in a fixed order."""
        yield from (Path(name) for name in (PROJECT, LOCK) if (self.root / name).is_file())
        for package in sorted(self.packages.values()):
            for folder, names, files in os.walk(self.root / package):
                here = Path(folder).relative_to(self.root)
                links = [name for name in names if Path(folder, name).is_symlink()]
                names[:] = sorted(
                    name for name in names if name not in links and _is_source(name, here == package)
                )
                yield from (
                    here / name
                    for name in sorted(files + links)
                    if name in links or Path(folder, name).is_file() or Path(folder, name).is_symlink()
                )


def _is_source(folder: str, at_the_top: bool) -> bool:
    left = folder.startswith(".") or folder.endswith(".egg-info") or folder in _LEFT
    return not (left or (at_the_top and folder in _BUILDS))
