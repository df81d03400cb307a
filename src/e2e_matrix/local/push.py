"""Puts built images into a registry, over the OCI distribution API (v1.1, "Push")."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import httpx

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.local import oci
from e2e_matrix.local.images import Image
from e2e_matrix.local.oci import BlobStore, Document
from e2e_matrix.registry.reference import api_url

Say = Callable[[str], None]

_ACCEPT = ", ".join((oci.INDEX, oci.MANIFEST))
_TIMEOUT = httpx.Timeout(30.0, read=300.0)  # a registry hashes a layer of 300 MB before it answers
_CHUNK = 1 << 20


class Built(Protocol):
    """What can be pushed: images, what each tag names, and where the layers lie."""

    @property
    def sha(self) -> str: ...
    @property
    def repository(self) -> str: ...
    @property
    def images(self) -> Sequence[Image]: ...
    @property
    def tags(self) -> Mapping[str, Document]: ...
    @property
    def blobs(self) -> BlobStore: ...


@dataclass(frozen=True)
class Published:
    """What a push did: ``tags`` counts those that had to be set, ``uploaded_bytes`` is what was missing."""

    repository: str  # with the registry's host
    sha: str
    tags: int
    uploaded_bytes: int
    seconds: float

    def reference(self, variant: str) -> str:
        """The index of a variant, by the build's short sha."""
        return f"{self.repository}:{self.sha[:7]}-{variant}"


def publish(
    result: Built, registry: str, say: Say = lambda line: None, *, repository: str | None = None
) -> Published:
    """Push what the registry lacks and set upstream's tags; ``repository`` overrides the recipe's name.

    ``registry`` is a host with its port, spoken to by plain HTTP where it is a loopback address. It must let
    anybody push. Raises ``InfrastructureError`` where it does not answer, refuses, or answers with an error.
    """
    started = time.monotonic()
    name = repository or result.repository
    with httpx.Client(base_url=f"{api_url(registry)}/v2/{name}/", timeout=_TIMEOUT, trust_env=False) as http:
        pusher = _Pusher(http, registry)
        stale = {
            tag: document for tag, document in result.tags.items() if pusher.digest(tag) != document.digest
        }
        if stale:
            for image in result.images:
                pusher.push(image, result)
        # An index is refused while a child is missing, and a tag that is set names something whole.
        for tag, document in sorted(stale.items(), key=lambda item: item[1].media_type == oci.INDEX):
            pusher.put_manifest(tag, document)
    published = Published(
        f"{registry}/{name}", result.sha, len(stale), pusher.uploaded, time.monotonic() - started
    )
    if stale:
        say(
            f"pushed {published.uploaded_bytes / 1e6:.0f} MB and {published.tags} tags "
            f"to {published.repository} in {published.seconds:.0f} s"
        )
    else:
        say(f"{published.repository} has everything: nothing pushed")
    return published


class _Pusher:
    def __init__(self, http: httpx.Client, registry: str) -> None:
        self._http = http
        self._registry = registry
        self._known: set[str] = set()
        self.uploaded = 0

    def digest(self, tag: str) -> str | None:
        """What a tag names, None where there is no such tag."""
        answer = self._send("HEAD", f"manifests/{tag}", headers={"Accept": _ACCEPT})
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        digest: str | None = self._good(answer, httpx.codes.OK).headers.get("Docker-Content-Digest")
        return digest

    def push(self, image: Image, result: Built) -> None:
        for layer in image.layers:
            if not self._has(layer.digest):
                with result.blobs.path(layer.digest).open("rb") as file:
                    self._upload(layer.digest, layer.size, iter(lambda: file.read(_CHUNK), b""))
        config = image.config
        if not self._has(config.digest):
            self._upload(config.digest, len(config.content), iter([config.content]))
        self.put_manifest(image.manifest.digest, image.manifest)

    def put_manifest(self, reference: str, document: Document) -> None:
        headers = {"Content-Type": document.media_type}
        self._good(
            self._send("PUT", f"manifests/{reference}", headers=headers, content=document.content),
            httpx.codes.CREATED,
        )

    def _has(self, digest: str) -> bool:
        if digest in self._known:
            return True
        self._known.add(digest)
        answer = self._send("HEAD", f"blobs/{digest}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        self._good(answer, httpx.codes.OK)
        return True

    def _upload(self, digest: str, size: int, content: object) -> None:
        begun = self._good(self._send("POST", "blobs/uploads/"), httpx.codes.ACCEPTED)
        place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest})
        # Behind a proxy a registry may give an address that only it can reach: the path is what counts.
        target = urlsplit(str(place))
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        address = self._http.base_url.copy_with(raw_path=f"{target.path}?{target.query}".encode())
        self._good(self._send("PUT", address, headers=headers, content=content), httpx.codes.CREATED)
        self.uploaded += size

    def _send(self, method: str, url: httpx.URL | str, **request: object) -> httpx.Response:
        try:
            return self._http.request(method, url, **request)  # type: ignore[arg-type]
        except httpx.TransportError as error:
            raise InfrastructureError(
                f"the registry {self._registry} did not answer: {str(error) or type(error).__name__}",
                "Check its address and that it runs.",
            ) from error

    def _good(self, answer: httpx.Response, status: int) -> httpx.Response:
        if answer.status_code == status:
            return answer
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            fix = "Images are pushed only where no login is needed; copy them on with a tool that logs in."
        else:
            fix = "Its own log may say more; try again."
        raise InfrastructureError(
            f"the registry {self._registry} answered {answer.status_code} to {answer.request.method} "
            f"{answer.request.url.path}: {answer.text[:300].strip()}",
            fix,
        )
