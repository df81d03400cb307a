"""The contract server with a layer that no engine has seen, so that a run has something to pull."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx

from e2e_matrix.local import oci
from e2e_matrix.local.contract import ContractImages
from e2e_matrix.local.oci import BlobStore, Document, Entry, Layer


@dataclass(frozen=True)
class FreshImage:
    """``repository`` is without a host; ``layer`` is the digest of the layer that is new."""

    repository: str
    ref: str
    layer: str

    def template(self, host: str) -> str:
        return f"{host}/{self.repository}:{{ref}}"


def push(
    images: ContractImages,
    folder: Path,
    entries: Iterable[Entry] | None = None,
    *,
    name: str = "",
    claimed: int | None = None,
) -> FreshImage:
    """Push it beside the contract server's own, with ``entries`` as the new layer.

    ``name`` is the end of the repository's name, without it a random one. ``claimed`` is what the manifest
    says of the new layer's size, where it lies.
    """
    host = images.template.partition("/")[0]
    source = images.build.repository
    repository = f"fresh/{name or secrets.token_hex(4)}"
    [image] = [image for image in images.build.images if image.arch == "amd64"]
    store = BlobStore(folder / "blobs")
    layer = store.write_layer(entries or [Entry("fresh", content=secrets.token_bytes(2_000_000))])
    content = json.loads(image.config.content)
    content["rootfs"]["diff_ids"].append(layer.diff_id)
    content["history"].append({"created_by": "a test"})
    config = Document(image.config.media_type, json.dumps(content).encode())
    stated = Layer(layer.digest, layer.diff_id, claimed or layer.size, layer.unpacked)
    manifest = oci.manifest(config, [*image.layers, stated])
    with httpx.Client(base_url=f"http://{host}/v2/", trust_env=False, timeout=60) as http:
        for known in image.layers:
            _mount(http, repository, known.digest, source)
        _upload(http, repository, layer.digest, store.path(layer.digest).read_bytes())
        _upload(http, repository, config.digest, config.content)
        headers = {"Content-Type": manifest.media_type}
        http.put(
            f"{repository}/manifests/{images.ref}", content=manifest.content, headers=headers
        ).raise_for_status()
    return FreshImage(repository, images.ref, layer.digest)


def _mount(http: httpx.Client, repository: str, digest: str, source: str) -> None:
    query = {"mount": digest, "from": source}
    answer = http.post(f"{repository}/blobs/uploads/", params=query)
    assert answer.status_code == httpx.codes.CREATED, answer.text


def _upload(http: httpx.Client, repository: str, digest: str, content: bytes) -> None:
    begun = http.post(f"{repository}/blobs/uploads/").raise_for_status()
    place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest})
    http.put(place, content=content).raise_for_status()
