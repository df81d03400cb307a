"""What the local images are made of: the folder images/, read and hashed."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from e2e_matrix.errors import BadInput, Problem

#: The architectures that are published: Debian's name -> the platform of wheels, the GNU triplet.
ARCHITECTURES = {
    "amd64": ("x86_64-manylinux_2_28", "x86_64-linux-gnu"),
    "arm64": ("aarch64-manylinux_2_28", "aarch64-linux-gnu"),
}

_RECIPE = "images.toml"
_ENTRY_SCRIPT = "openhands-agent-server"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Constraint(_Model):
    """A requirement to add where a server of ``up_to`` or older is resolved anew."""

    up_to: str
    requirement: str


class Server(_Model):
    version: str
    constraints: tuple[Constraint, ...] = ()


class Debian(_Model):
    suite: str
    python: str
    packages: tuple[str, ...]
    leave_out: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    links: dict[str, str] = Field(default_factory=dict)


class Variant(_Model):
    packages: tuple[str, ...]
    links: dict[str, str] = Field(default_factory=dict)
    published_base: str


class Container(_Model):
    user: str
    uid: int
    entrypoint: tuple[str, ...]
    ports: tuple[int, ...]
    env: dict[str, str]

    def settings(self, sha: str, ref: str, base_env: Mapping[str, str]) -> dict[str, object]:
        """The ``config`` object of the image built as ``sha`` from ``ref`` (OCI's config.md).

        Of the base's variables those stay that are not ours, and its PATH: its tools are on it.
        """
        path = {name: base_env[name] for name in ("PATH",) if name in base_env}
        env = {**base_env, **self.env, **path, "OPENHANDS_BUILD_GIT_SHA": sha, "OPENHANDS_BUILD_GIT_REF": ref}
        return {
            "User": self.user,
            "WorkingDir": "/",
            "Entrypoint": list(self.entrypoint),
            "ExposedPorts": {f"{port}/tcp": {} for port in self.ports},
            "Env": [f"{name}={value}" for name, value in env.items()],
        }


class Recipe(_Model):
    """images/images.toml. ``folder`` is where it lies."""

    folder: Path
    repository: str
    server: Server
    debian: Debian
    variants: Annotated[dict[str, Variant], Field(min_length=1)]
    container: Container

    def entry_script(self) -> bytes:
        """The program openhands-agent-server of the images."""
        return (self.folder / _ENTRY_SCRIPT).read_bytes()

    def committed_lock(self, version: str) -> Path:
        """Where the lock of a server version's dependencies lies if it is committed."""
        return self.folder / "server" / f"requirements-{version}.txt"


def default_folder() -> Path:
    """images/ of the checkout that this package runs from; local images are made from a checkout only."""
    return Path(__file__).resolve().parents[3] / "images"


def read_recipe(folder: Path) -> Recipe:
    """Read images/. Raises ``BadInput`` with every problem of its file."""
    path = folder / _RECIPE
    try:
        return Recipe.model_validate({**tomllib.loads(path.read_text()), "folder": folder})
    except OSError as error:
        hint = "Local images are built from a checkout of e2e-matrix: run this in one."
        raise BadInput([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}", hint)]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput([Problem(str(path), 0, 0, f"is not TOML: {error}")]) from error
    except ValidationError as error:
        raise BadInput(
            [
                Problem(str(path), 0, 0, f"{'.'.join(map(str, item['loc']))}: {item['msg']}")
                for item in error.errors()
            ]
        ) from error


def check_selection(
    recipe: Recipe, variants: Sequence[str], arches: Sequence[str], base: str, bases: Sequence[str]
) -> None:
    """Raises ``BadInput`` with every variant, architecture and base that there is none of."""
    problems = [
        Problem("", 0, 0, f"there is no {what} {name!r}", f"Known: {', '.join(known)}.")
        for what, names, known in (
            ("variant", variants, list(recipe.variants)),
            ("architecture", arches, list(ARCHITECTURES)),
            ("base", [base], bases),
        )
        for name in names
        if name not in known
    ]
    if problems:
        raise BadInput(problems)


def content_key(parts: Mapping[str, object]) -> str:
    """A hash of named parts: what two builds have in common exactly if they would make the same thing."""
    digest = hashlib.sha256()
    for name in sorted(parts):
        value = parts[name]
        content = value if isinstance(value, bytes) else repr(value).encode()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()
