"""Images on the bases that upstream builds on, for where a registry of them can be reached.

From the bottom: the base's own layers, a runtime, the server's layer. The bases have an older C library than
Debian's Python needs, or no Python, so the runtime has the portable build that uv installs; besides tini and
the image's user.
"""

from __future__ import annotations

import gzip
import json
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from e2e_matrix.engine import docker_connection, docker_pull
from e2e_matrix.engine.docker_connection import Clients
from e2e_matrix.errors import CellFailure, InfrastructureError
from e2e_matrix.local import layers, server_site
from e2e_matrix.local.layers import LayerCache, Say, Stack
from e2e_matrix.local.oci import BlobStore, Entry, Layer, directory, symlink
from e2e_matrix.local.recipe import Recipe, content_key
from e2e_matrix.store import write_atomically

_SAVE_SECONDS = 600.0
_HOME = "opt/agent-server"  # where the runtime lies, out of the way of the base's tools
_ACCOUNTS = ("etc/passwd", "etc/group")


class PublishedLayers(LayerCache):
    """Layers above a base that is pulled: once, it is not looked for again under its tag."""

    def __init__(self, plan: Recipe, locked: Path, folder: Path, say: Say) -> None:
        super().__init__(plan, locked, folder, say)
        bases = {name: variant.published_base for name, variant in plan.variants.items()}
        self.sha = content_key({"debian build": self.sha, "bases": bases, "code": self._code()})[:40]

    def of(self, variant: str, arch: str) -> Stack | None:
        base, server = self._base(variant, arch), self._cached(self._server_key(arch))
        if base is None or server is None or not all(map(self.blobs.has, base.layers)):
            return None
        return Stack((*base.layers, server), (*base.made, self._locked.stem), base.env)

    def _make(self, work: Path, missing: Sequence[tuple[str, str]]) -> None:
        wanted = [one for one in missing if self._base(*one) is None]
        # First of all, as this is what may not be possible.
        pulled = {one: self._pull(*one, work) for one in wanted}
        super()._make(work, missing)
        for (variant, arch), base in pulled.items():
            python = work / f"runtime-{arch}"
            if not python.is_dir():
                server_site.install_python(self._plan, arch, python)
            debian = self._cached(self._debian_key("base", arch))
            if debian is None:
                raise InfrastructureError(
                    f"the Debian layer of {arch} vanished from the cache", "Build again."
                )
            tini = _read_file(self.blobs.path(debian.digest), "usr/bin/tini-static")
            runtime = self.blobs.write_layer(runtime_entries(self._plan, python, tini, base.accounts))
            made = [*[base.reference] * len(base.layers), "Python, tini and the user"]
            stack = Stack((*base.layers, runtime), tuple(made), base.env)
            record = {"layers": [layer.as_json() for layer in stack.layers], "made": made, "env": base.env}
            write_atomically(self._record(variant, arch), json.dumps(record, indent=2).encode())

    def _pull(self, variant: str, arch: str, work: Path) -> Base:
        started = time.monotonic()
        reference = self._plan.variants[variant].published_base
        base = pull_base(reference, arch, self.blobs, work)
        self._say(f"{reference} for {arch}: pulled in {time.monotonic() - started:.0f} s")
        return base

    def _base(self, variant: str, arch: str) -> Stack | None:
        try:
            record = json.loads(self._record(variant, arch).read_bytes())
        except FileNotFoundError:
            return None
        found = tuple(Layer(**layer) for layer in record["layers"])
        return Stack(found, tuple(record["made"]), record["env"])

    def _record(self, variant: str, arch: str) -> Path:
        container = self._plan.container
        parts = {
            "base": self._plan.variants[variant].published_base,
            "python": self._plan.debian.python,
            "user": (container.user, container.uid),
            "arch": arch,
            "code": self._code(),
        }
        return self._folder / "layers" / f"{content_key(parts)}.json"

    def _code(self) -> bytes:
        return Path(__file__).read_bytes() + layers.sources(server_site)


@dataclass(frozen=True)
class Base:
    """A pulled base: its layers in our store, its variables, and its account files by path."""

    reference: str
    layers: tuple[Layer, ...]
    env: Mapping[str, str]
    accounts: Mapping[str, bytes]


def pull_base(reference: str, arch: str, blobs: BlobStore, work: Path) -> Base:
    """Pull an image with the engine and keep its layers in ``blobs``.

    Raises ``InfrastructureError`` where it cannot be pulled, ``EngineUnavailable`` where no engine answers.
    """
    endpoint = docker_connection.find()
    archive = work / "base.tar"
    with closing(Clients(endpoint, docker_connection.negotiate(endpoint))) as clients:
        try:
            image = docker_pull.pull(clients, reference, f"linux/{arch}", None)
            with clients.borrow(f"save {reference}", _SAVE_SECONDS) as client, archive.open("wb") as file:
                file.writelines(client.get_image(image.image_id))
        except CellFailure as error:
            raise InfrastructureError(
                f"the base image {reference} cannot be had: {error}",
                "Build with --base debian, which needs Debian's packages only.",
            ) from error
    with tarfile.open(archive) as saved:
        described = json.load(_member(saved, "manifest.json"))[0]
        settings = json.load(_member(saved, described["Config"]))["config"]
        accounts: dict[str, bytes] = {}
        found = []
        for name in described["Layers"]:
            accounts |= _accounts(_layer(saved, name))
            found.append(blobs.copy_layer(_layer(saved, name)))
    archive.unlink()
    env = dict(variable.split("=", 1) for variable in settings.get("Env") or ())
    return Base(reference, tuple(found), env, accounts)


def runtime_entries(
    recipe: Recipe, python: Path, tini: bytes, accounts: Mapping[str, bytes]
) -> Iterator[Entry]:
    """The runtime layer: a portable Python, found as the server's script expects it, tini and the user."""
    user, uid, version = recipe.container.user, recipe.container.uid, recipe.debian.python
    passwd, group = (accounts.get(name, b"").decode() for name in _ACCOUNTS)
    yield Entry("etc/passwd", content=f"{passwd}{user}:x:{uid}:{uid}::/home/{user}:/bin/bash\n".encode())
    yield Entry("etc/group", content=f"{group}{user}:x:{uid}:\n".encode())
    yield directory(f"home/{user}", owner=uid)
    yield directory("workspace", owner=uid)
    yield Entry("usr/bin/tini", mode=0o755, content=tini)
    yield symlink(f"usr/bin/python{version}", f"/{_HOME}/bin/python{version}")
    yield directory(_HOME)
    for path in sorted(python.rglob("*")):
        name = f"{_HOME}/{path.relative_to(python).as_posix()}"
        if path.is_symlink():
            yield symlink(name, str(path.readlink()))
        elif path.is_dir():
            yield directory(name)
        else:
            yield Entry(name, mode=0o755 if path.stat().st_mode & 0o100 else 0o644, content=path)
    place = f"/{server_site.site_folder(recipe)}\n".encode()
    yield Entry(f"{_HOME}/lib/python{version}/site-packages/agent-server.pth", content=place)


def _member(saved: tarfile.TarFile, name: str) -> IO[bytes]:
    member = saved.extractfile(name)
    if member is None:
        raise InfrastructureError(f"the engine saved an image without {name}", "Try again.")
    return member


def _layer(saved: tarfile.TarFile, name: str) -> IO[bytes]:
    """A layer's tar; newer engines save it compressed as it was pulled."""
    layer = _member(saved, name)
    compressed = layer.read(2) == b"\x1f\x8b"
    layer.seek(0)
    return cast("IO[bytes]", gzip.open(layer)) if compressed else layer


def _accounts(layer: IO[bytes]) -> dict[str, bytes]:
    with tarfile.open(fileobj=layer, mode="r|") as tar:
        return dict(_contents(tar, _ACCOUNTS))


def _read_file(layer: Path, path: str) -> bytes:
    with tarfile.open(layer, "r:gz") as tar:
        for _, content in _contents(tar, (path,)):
            return content
    raise InfrastructureError(f"the Debian layer has no /{path}", "tini must be among the packages.")


def _contents(tar: tarfile.TarFile, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        name = member.name.removeprefix("./")
        if name in names and (file := tar.extractfile(member)):
            yield name, file.read()
