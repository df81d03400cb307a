"""The layers of the local images, each made once and kept under the hash of what it is made of."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

from e2e_matrix.local import bytecode, oci, recipe, rootfs, server_site
from e2e_matrix.local.oci import BlobStore, Entry, Layer
from e2e_matrix.local.recipe import Recipe, content_key
from e2e_matrix.store import write_atomically

Say = Callable[[str], None]
Task = Callable[[], None]


@dataclass(frozen=True)
class Stack:
    """An image's layers, lowest first, how each was made, and what a published base adds to ``Env``."""

    layers: tuple[Layer, ...]
    made: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


class LayerCache:
    """The layers of one recipe with one lock, in ``folder``. Who makes some holds the folder's lock."""

    def __init__(self, plan: Recipe, locked: Path, folder: Path, say: Say) -> None:
        self.blobs = BlobStore(folder / "blobs")
        self._plan, self._locked, self._folder, self._say = plan, locked, folder, say
        # The code is part of what a layer is made of: after a change to it no older layer fits.
        self._debian = {
            "debian": plan.debian,
            # One archive state for all variants: their layers are made together or not at all.
            "variants": {name: (variant.packages, variant.links) for name, variant in plan.variants.items()},
            "user": (plan.container.user, plan.container.uid),
            "debian code": sources(oci, rootfs, bytecode),
        }
        self._server = {
            "lock": locked.read_bytes(),
            "entry script": plan.entry_script(),
            "python": plan.debian.python,
            "server code": sources(oci, server_site, bytecode),
        }
        settings = {"container": plan.container, "code": sources(recipe)}
        self.sha = content_key({**self._debian, **self._server, **settings})[:40]

    def of(self, variant: str, arch: str) -> Stack | None:
        """The image's layers if all of them are in the cache."""
        keys = (self._debian_key("base", arch), self._server_key(arch), self._debian_key(variant, arch))
        layers = tuple(layer for layer in map(self._cached, keys) if layer)
        if len(layers) < len(keys):
            return None
        debian = f"Debian {self._plan.debian.suite}:"
        made = (
            f"{debian} {' '.join(self._plan.debian.packages)}",
            self._locked.stem,
            f"{debian} {' '.join(self._plan.variants[variant].packages)}",
        )
        return Stack(layers, made)

    def make(self, wanted: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Make the layers that the wanted images lack; the images that lacked one."""
        missing = [one for one in wanted if self.of(*one) is None]
        if not missing:
            return missing
        # What a build that was killed left behind; the lock says that none is at work.
        for left in self._folder.glob("work-*"):
            shutil.rmtree(left)
        self.blobs.remove_partial()
        with tempfile.TemporaryDirectory(dir=self._folder, prefix="work-") as name:
            self._make(Path(name), missing)
        return missing

    def _make(self, work: Path, missing: Sequence[tuple[str, str]]) -> None:
        arches = list(dict.fromkeys(arch for _, arch in missing))
        names = ("base", *self._plan.variants)
        debians = [
            arch for arch in arches if not all(self._cached(self._debian_key(name, arch)) for name in names)
        ]
        servers = [arch for arch in arches if self._cached(self._server_key(arch)) is None]
        if not debians and not servers:
            return
        what = ["Debian's packages"] * bool(debians) + ["the agent-server"] * bool(servers)
        self._say(f"fetching and unpacking {' and '.join(what)} for {' and '.join(arches)}")
        _together(
            [
                partial(server_site.install, self._plan, self._locked, arch, work / f"server-{arch}")
                for arch in servers
            ]
            + [partial(rootfs.unpack, self._plan, arch, work / f"debian-{arch}") for arch in debians]
        )
        python = self._interpreter(work)
        _together(
            [partial(self._make_server, work / f"server-{arch}", arch, python) for arch in servers]
            + [partial(self._make_debian, work / f"debian-{arch}", arch, python) for arch in debians]
        )

    def _interpreter(self, work: Path) -> bytecode.Interpreter:
        host = bytecode.host_arch()
        unpacked = work / f"debian-{host}"
        if unpacked.is_dir():
            return bytecode.Interpreter(unpacked / "base", self._plan)
        base = self._cached(self._debian_key("base", host))
        if base is not None:
            return bytecode.unpack_interpreter(self.blobs.path(base.digest), self._plan, work / "python")
        rootfs.unpack(self._plan, host, unpacked)
        return bytecode.Interpreter(unpacked / "base", self._plan)

    def _make_debian(self, folder: Path, arch: str, python: bytecode.Interpreter) -> None:
        started = time.monotonic()
        root = folder / "base"
        for library in sorted((root / "usr/lib").glob("python3*")):
            python.compile(library, library.relative_to(root).as_posix())
        base = rootfs.read_tree(root, self._plan)
        rootfs.finish_base(base, self._plan)
        self._write(f"base-{arch}", self._debian_key("base", arch), _sorted(base), started)
        for name, variant in self._plan.variants.items():
            started = time.monotonic()
            tree = rootfs.read_tree(folder / name, self._plan)
            rootfs.finish_variant(tree, base, variant, arch)
            self._write(f"{name}-{arch}", self._debian_key(name, arch), _sorted(tree), started)

    def _make_server(self, site: Path, arch: str, python: bytecode.Interpreter) -> None:
        started = time.monotonic()
        python.compile(site, server_site.site_folder(self._plan))
        entries = server_site.entries(site, self._plan)
        self._write(f"server-{arch}", self._server_key(arch), entries, started)

    def _debian_key(self, name: str, arch: str) -> str:
        return content_key({"layer": name, "arch": arch, **self._debian})

    def _server_key(self, arch: str) -> str:
        return content_key({"layer": "server", "arch": arch, **self._server})

    def _cached(self, key: str) -> Layer | None:
        try:
            layer = Layer(**json.loads((self._folder / "layers" / f"{key}.json").read_bytes()))
        except FileNotFoundError:
            return None
        return layer if self.blobs.has(layer) else None

    def _write(self, name: str, key: str, entries: Iterable[Entry], started: float) -> None:
        layer = self.blobs.write_layer(entries)
        record = json.dumps(layer.as_json(), indent=2).encode() + b"\n"
        write_atomically(self._folder / "layers" / f"{key}.json", record)
        self._say(f"{name}: {layer.size / 1e6:.0f} MB, made in {time.monotonic() - started:.0f} s")


def _sorted(tree: rootfs.Tree) -> list[Entry]:
    return [tree[path] for path in sorted(tree)]


def sources(*modules: ModuleType) -> bytes:
    """The code of modules, as a part of what they make."""
    return b"".join(Path(str(module.__file__)).read_bytes() for module in modules)


def _together(tasks: Sequence[Task]) -> None:
    """Run the tasks, one per processor at a time. Raises the first error, once what had begun has ended."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
