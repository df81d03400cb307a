"""Layers and documents are reproducible, and nothing half-written is ever found."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.local import oci
from e2e_matrix.local.oci import BlobStore, Entry, directory, symlink


def _entries(source: Path) -> list[Entry]:
    return [
        directory("tmp", 0o1777),
        Entry("tmp/read", mode=0o755, owner=10001, content=source),
        Entry("tmp/given", content=b"bytes"),
        symlink("bin", "usr/bin"),
    ]


def test_a_layer_is_what_was_put_in_and_says_its_digests(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"from a file")
    store = BlobStore(tmp_path / "blobs")
    layer = store.write_layer(_entries(source))
    packed = store.path(layer.digest).read_bytes()
    plain = gzip.decompress(packed)
    assert layer.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert layer.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert (layer.size, layer.unpacked) == (len(packed), len(plain))
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        found = {member.name: member for member in tar}
        read = tar.extractfile("tmp/read")
        assert read is not None
        assert read.read() == b"from a file"
    assert found["tmp"].isdir()
    assert found["tmp"].mode == 0o1777
    assert (found["tmp/read"].uid, found["tmp/read"].gid, found["tmp/read"].mode) == (10001, 10001, 0o755)
    assert found["bin"].linkname == "usr/bin"
    assert {member.mtime for member in found.values()} == {oci.EPOCH}


def test_the_same_content_has_the_same_digest_whenever_it_is_written(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        source = tmp_path / name
        source.write_bytes(b"same")
        source.touch()
        digests.add(BlobStore(tmp_path / f"store-{name}").write_layer(_entries(source)).digest)
    assert len(digests) == 1


def test_a_write_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    def breaks() -> Iterator[Entry]:
        yield Entry("whole", content=b"x" * 100_000)
        raise KeyboardInterrupt

    store = BlobStore(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        store.write_layer(breaks())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_blob_of_another_size_is_not_taken_for_the_layer(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    layer = store.write_layer([Entry("a", content=b"1")])
    assert store.has(layer)
    with store.path(layer.digest).open("ab") as file:
        file.write(b"more")
    assert not store.has(layer)


def test_a_store_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InfrastructureError, match="XDG_CACHE_HOME"):
        BlobStore(tmp_path / "file").write_layer([])


def test_an_index_names_the_manifests_that_are_pushed(tmp_path: Path) -> None:
    layer = BlobStore(tmp_path).write_layer([Entry("a", content=b"1")])
    manifests = {}
    for arch in ("amd64", "arm64"):
        config = oci.config(arch, {"User": "openhands"}, [(layer, "by hand")])
        manifests[arch] = oci.manifest(config, [layer])
    index = oci.index(manifests)
    assert index.media_type == oci.INDEX
    for arch, manifest in manifests.items():
        assert manifest.digest.encode() in index.content
        assert f'"architecture":"{arch}"'.encode() in index.content
    assert manifests["amd64"].digest != manifests["arm64"].digest
