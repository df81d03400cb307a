"""Pushing to a real registry under upstream's tags, and pulling what was pushed with a real engine."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.local import oci, published, push
from e2e_matrix.local.images import BuildResult, Image
from e2e_matrix.local.oci import BlobStore, Entry
from e2e_matrix.local.registry_server import LocalRegistry

SHA = "0123456789" * 4
HOST_ARCH = {"x86_64": "amd64"}.get(os.uname().machine, "arm64")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LocalRegistry]:
    with LocalRegistry(tmp_path / "registry", port=0) as running:
        yield running


def _result(folder: Path, content: bytes = b"1") -> BuildResult:
    store = BlobStore(folder)
    shared = store.write_layer([Entry("etc/passwd", content=b"root:x:0:0::/root:/bin/sh\n")])
    images = []
    for variant in ("python", "java"):
        for arch in ("amd64", "arm64"):
            layer = store.write_layer([Entry("content", content=content + variant.encode() + arch.encode())])
            settings = {"Env": ["PATH=/bin", "JAVA_HOME=/java=x"], "Entrypoint": ["/content"]}
            config = oci.config(arch, settings, [(shared, "shared"), (layer, "own")])
            manifest = oci.manifest(config, [shared, layer])
            images.append(Image(variant, arch, config, manifest, (shared, layer)))
    return BuildResult(SHA, "1.58.0", "openhands/agent-server", tuple(images), store, 4, 0.0)


def _manifest(host: str, reference: str) -> httpx.Response:
    accept = {"Accept": f"{oci.INDEX}, {oci.MANIFEST}"}
    url = f"http://{host}/v2/openhands/agent-server/manifests/{reference}"
    return httpx.get(url, headers=accept, trust_env=False)


def test_the_index_and_the_per_arch_tags_name_the_same_manifests(
    tmp_path: Path, registry: LocalRegistry
) -> None:
    result = _result(tmp_path / "blobs")
    done = push.publish(result, registry.host)
    assert done.reference("java") == f"{registry.host}/openhands/agent-server:0123456-java"
    index = _manifest(registry.host, "0123456-java")
    assert index.headers["Content-Type"] == oci.INDEX
    children = {entry["platform"]["architecture"]: entry["digest"] for entry in index.json()["manifests"]}
    assert list(children) == ["amd64", "arm64"]
    for arch, digest in children.items():
        for name in ("0123456", SHA, "1.58.0"):
            answer = _manifest(registry.host, f"{name}-java-{arch}")
            assert answer.headers["Docker-Content-Digest"] == digest
    aliases = [f"{name}-java" for name in (SHA, "1.58.0", "latest")]
    assert {_manifest(registry.host, alias).content for alias in aliases} == {index.content}
    assert _manifest(registry.host, "latest-java-amd64").status_code == 404


def test_a_second_push_pushes_nothing_and_a_change_only_what_changed(
    tmp_path: Path, registry: LocalRegistry
) -> None:
    said: list[str] = []
    result = _result(tmp_path / "blobs")
    first = push.publish(result, registry.host, said.append)
    assert first.tags == len(result.tags)
    again = push.publish(result, registry.host, said.append)
    assert (again.tags, again.uploaded_bytes) == (0, 0)
    assert "nothing pushed" in said[-1]
    changed = push.publish(_result(tmp_path / "blobs", b"2"), registry.host, said.append)
    shared = result.images[0].layers[0].size
    assert 0 < changed.uploaded_bytes <= first.uploaded_bytes - shared


def test_a_tag_that_was_moved_is_set_again(tmp_path: Path, registry: LocalRegistry) -> None:
    result = _result(tmp_path / "blobs")
    push.publish(result, registry.host)
    other = result.indexes["python"]
    url = f"http://{registry.host}/v2/openhands/agent-server/manifests/latest-java"
    headers = {"Content-Type": oci.INDEX}
    httpx.put(url, content=other.content, headers=headers, trust_env=False).raise_for_status()
    assert push.publish(result, registry.host).tags == 1
    assert _manifest(registry.host, "latest-java").content == result.indexes["java"].content


def test_a_registry_that_is_not_there_is_infrastructure(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1:1 did not answer"):
        push.publish(_result(tmp_path), "127.0.0.1:1")


def test_a_refusal_carries_the_registrys_words(tmp_path: Path, registry: LocalRegistry) -> None:
    result = _result(tmp_path / "blobs")
    layer = result.images[0].layers[1]
    result.blobs.path(layer.digest).write_bytes(b"x" * layer.size)
    with pytest.raises(InfrastructureError, match="DIGEST_INVALID"):
        push.publish(result, registry.host)
    assert _manifest(registry.host, "0123456-python").status_code == 404


def test_a_base_is_pulled_with_its_layers_variables_and_accounts(
    tmp_path: Path, registry: LocalRegistry
) -> None:
    result = _result(tmp_path / "blobs")
    reference = push.publish(result, registry.host).reference("java")
    work = tmp_path / "work"
    work.mkdir()
    client = docker.from_env()
    try:
        base = published.pull_base(reference, HOST_ARCH, BlobStore(tmp_path / "pulled"), work)
    finally:
        client.images.remove(reference, force=True)
        client.close()
    [image] = [image for image in result.images if (image.variant, image.arch) == ("java", HOST_ARCH)]
    assert [layer.diff_id for layer in base.layers] == [layer.diff_id for layer in image.layers]
    assert base.env == {"PATH": "/bin", "JAVA_HOME": "/java=x"}
    assert base.accounts == {"etc/passwd": b"root:x:0:0::/root:/bin/sh\n"}


def test_a_base_that_cannot_be_pulled_says_what_to_do_instead(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1:1/base:1.*\n.*--base debian"):
        published.pull_base("127.0.0.1:1/base:1", "amd64", BlobStore(tmp_path), tmp_path)


def test_a_layer_that_was_pushed_is_the_file_that_was_written(
    tmp_path: Path, registry: LocalRegistry
) -> None:
    result = _result(tmp_path / "blobs")
    push.publish(result, registry.host)
    manifest = json.loads(_manifest(registry.host, "1.58.0-python-arm64").content)
    digest = manifest["layers"][1]["digest"]
    url = f"http://{registry.host}/v2/openhands/agent-server/blobs/{digest}"
    with tarfile.open(fileobj=io.BytesIO(httpx.get(url, trust_env=False).content)) as tar:
        content = tar.extractfile("content")
        assert content is not None
        assert content.read() == b"1pythonarm64"
