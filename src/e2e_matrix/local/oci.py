"""Images as files: deterministic layers, configs, manifests and indexes, without a container engine.

The formats are the OCI image specification's (v1.1: layer.md, config.md, manifest.md, image-index.md).
Writing them directly needs no engine, no BuildKit and no emulation, and the same content always gets the same
digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from e2e_matrix.errors import InfrastructureError

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

#: Every file and image gets this time (2025-01-01, UTC): a real one would change the digests.
EPOCH = 1735689600
_EPOCH_TEXT = "2025-01-01T00:00:00Z"

_GZIP = 31  # zlib's wbits for a gzip stream whose header carries no name and no time
_FAST = 1  # level: 3 times as fast as the default, for 10 % more bytes that never leave this machine
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file of a layer. ``content`` is bytes or a file to read; directories and links have none."""

    path: str  # without a leading slash
    type: bytes = tarfile.REGTYPE
    mode: int = 0o644
    owner: int = 0  # uid and gid alike
    link: str = ""
    content: bytes | Path = b""

    def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()

    def size(self) -> int:
        if self.type != tarfile.REGTYPE:
            return 0
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def directory(path: str, mode: int = 0o755, owner: int = 0) -> Entry:
    return Entry(path, tarfile.DIRTYPE, mode, owner)


def symlink(path: str, target: str) -> Entry:
    return Entry(path, tarfile.SYMTYPE, 0o777, link=target)


@dataclass(frozen=True)
class Layer:
    """A compressed layer in the store. Sizes are bytes; ``diff_id`` is the digest of the uncompressed tar."""

    digest: str
    diff_id: str
    size: int
    unpacked: int

    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": LAYER, "digest": self.digest, "size": self.size}

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Document:
    """A config, manifest or index: its exact bytes, which are what its digest is of."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}


def _document(media_type: str, content: Mapping[str, Any]) -> Document:
    return Document(media_type, json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def config(arch: str, settings: Mapping[str, Any], layers: Sequence[tuple[Layer, str]]) -> Document:
    """The image config. ``settings`` is its ``config`` object; beside each layer stands how it was made."""
    return _document(
        CONFIG,
        {
            "architecture": arch,
            "os": "linux",
            "created": _EPOCH_TEXT,
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer, _ in layers]},
            "history": [{"created": _EPOCH_TEXT, "created_by": made} for _, made in layers],
        },
    )


def manifest(config: Document, layers: Sequence[Layer]) -> Document:
    return _document(
        MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor() for layer in layers],
        },
    )


def index(children: Mapping[str, Document]) -> Document:
    """The index over one manifest per architecture, in the mapping's order."""
    return _document(
        INDEX,
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {**child.descriptor(), "platform": {"architecture": arch, "os": "linux"}}
                for arch, child in children.items()
            ],
        },
    )


class BlobStore:
    """Blobs as files named by their digest. A blob appears by a rename, so it is whole or not there."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: str) -> Path:
        return self._root / digest.replace(":", "/")

    def has(self, layer: Layer) -> bool:
        try:
            return self.path(layer.digest).stat().st_size == layer.size
        except OSError:
            return False

    def write_layer(self, entries: Iterable[Entry]) -> Layer:
        """Write a layer; the entries' order, owners and modes are kept, their times are EPOCH.

        Raises ``InfrastructureError`` where the disk refuses.
        """

        def write(sink: _LayerSink) -> None:
            with tarfile.open(mode="w|", fileobj=sink, format=tarfile.PAX_FORMAT, bufsize=_CHUNK) as tar:
                for entry in entries:
                    _add(tar, entry)

        return self._write(write)

    def copy_layer(self, tar: IO[bytes]) -> Layer:
        """Keep a layer that is an uncompressed tar already. Raises as ``write_layer`` does."""
        return self._write(lambda sink: shutil.copyfileobj(tar, sink, _CHUNK))

    def _write(self, write: Callable[[_LayerSink], None]) -> Layer:
        try:
            (self._root / "sha256").mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._root, prefix="partial-", delete=False) as file:
                try:
                    sink = _LayerSink(file)
                    write(sink)
                    layer = sink.finish()
                    Path(file.name).replace(self.path(layer.digest))
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise InfrastructureError(
                f"cannot write an image layer in {self._root}: {error.strerror or error}",
                "The local images need about 4 GB; set XDG_CACHE_HOME to a place that has it.",
            ) from error
        return layer

    def remove_partial(self) -> None:
        """Remove what writers that were killed left behind; only for whoever knows that none is at work."""
        for left in self._root.glob("partial-*"):
            left.unlink()


class _LayerSink(io.RawIOBase):
    """Compresses and hashes what the tar writer hands over, in one pass."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._gzip = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._size = self._unpacked = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._plain.update(data)
        self._unpacked += len(data)
        self._emit(self._gzip.compress(data))
        return len(data)

    def _emit(self, packed: bytes) -> None:
        self._packed.update(packed)
        self._size += len(packed)
        self._file.write(packed)

    def finish(self) -> Layer:
        self._emit(self._gzip.flush())
        self._file.flush()
        return Layer(
            f"sha256:{self._packed.hexdigest()}",
            f"sha256:{self._plain.hexdigest()}",
            self._size,
            self._unpacked,
        )


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.path)
    info.type, info.mode, info.linkname = entry.type, entry.mode, entry.link
    info.uid = info.gid = entry.owner
    info.mtime, info.size = EPOCH, entry.size()
    if entry.type != tarfile.REGTYPE:
        tar.addfile(info)
    elif isinstance(entry.content, bytes):
        tar.addfile(info, io.BytesIO(entry.content))
    else:
        with entry.content.open("rb") as content:
            tar.addfile(info, content)
