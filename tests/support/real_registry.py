"""Debian's docker-registry on a free port, and the few writes that a test needs to fill it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest"}

USER, PASSWORD = "tester", "open sesame"
_HTPASSWD = f"{USER}:$2b$04$2COS/.scw0aZrwXTfdpZZegc30tc1xUw3t74UcmpLKBvAePyZgWAe\n"  # bcrypt, of PASSWORD

PROGRAM = shutil.which("docker-registry")


@dataclass(frozen=True)
class Pushed:
    """A manifest that the registry took: its own ``size``, and the ``content_size`` of what it names."""

    digest: str
    size: int
    media_type: str
    content_size: int = 0


@dataclass
class RealRegistry:
    host: str  # 127.0.0.1:port
    auth: tuple[str, str] | None = None
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=f"http://{self.host}", auth=self.auth, trust_env=False)

    def blob(self, repository: str, content: bytes) -> dict[str, Any]:
        """Push a blob; its descriptor."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        start = self.http.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
        where = httpx.URL(start.headers["location"]).copy_add_param("digest", digest)
        headers = {"Content-Type": "application/octet-stream"}
        self.http.put(where, content=content, headers=headers).raise_for_status()
        return {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}

    def image(
        self,
        repository: str,
        platform: str,
        *,
        tag: str | None = None,
        content: bytes = b"layer",
        media_type: str = OCI_IMAGE,
    ) -> Pushed:
        """Push one platform's image of one layer."""
        system, architecture, *variant = platform.split("/")
        config: dict[str, Any] = {"os": system, "architecture": architecture, "config": {}}
        if variant:
            config["variant"] = variant[0]
        docker = media_type == DOCKER_IMAGE
        config_type = (
            "application/vnd.docker.container.image.v1+json"
            if docker
            else "application/vnd.oci.image.config.v1+json"
        )
        layer_type = (
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
            if docker
            else "application/vnd.oci.image.layer.v1.tar+gzip"
        )
        pushed_config = self.blob(repository, json.dumps(config).encode()) | {"mediaType": config_type}
        layer = self.blob(repository, content) | {"mediaType": layer_type}
        document = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": pushed_config,
            "layers": [layer],
        }
        return self._put(repository, tag, document, media_type, pushed_config["size"] + layer["size"])

    def index(
        self,
        repository: str,
        tag: str,
        entries: Sequence[tuple[str, Pushed] | tuple[str, Pushed, dict[str, str]]],
        *,
        media_type: str = OCI_INDEX,
    ) -> Pushed:
        """Push an index of (platform, image[, annotations])."""
        manifests: list[dict[str, Any]] = []
        for platform, child, *notes in entries:
            system, architecture, *variant = platform.split("/")
            named = {"os": system, "architecture": architecture}
            if variant:
                named["variant"] = variant[0]
            entry = {
                "mediaType": child.media_type,
                "digest": child.digest,
                "size": child.size,
                "platform": named,
            }
            manifests.append(entry | ({"annotations": notes[0]} if notes else {}))
        document = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
        return self._put(repository, tag, document, media_type, 0)

    def _put(
        self, repository: str, tag: str | None, document: dict[str, Any], media_type: str, content_size: int
    ) -> Pushed:
        body = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        answer = self.http.put(
            f"/v2/{repository}/manifests/{tag or digest}",
            content=body,
            headers={"Content-Type": media_type},
        ).raise_for_status()
        assert answer.headers["docker-content-digest"] == digest
        return Pushed(digest, len(body), media_type, content_size)


@contextlib.contextmanager
def real_registry(folder: Path, *, login: bool = False) -> Iterator[RealRegistry]:
    """Run docker-registry with its storage under ``folder``; with ``login`` it wants USER and PASSWORD."""
    assert PROGRAM, "docker-registry is not installed (apt install docker-registry)"
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'storage'}}}}}\n"
        f"http: {{addr: {host}}}\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    environment["OTEL_TRACES_EXPORTER"] = "none"
    if login:
        (folder / "htpasswd").write_text(_HTPASSWD)
        environment |= {
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": "tests",
            "REGISTRY_AUTH_HTPASSWD_PATH": str(folder / "htpasswd"),
        }
    registry = RealRegistry(host, (USER, PASSWORD) if login else None)
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [PROGRAM, "serve", str(folder / "config.yml")], env=environment, stdout=log, stderr=log
        ) as process,
        registry.http,
    ):
        try:
            _wait_for(registry, process, folder / "log")
            yield registry
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(registry: RealRegistry, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + 10
    while True:
        with contextlib.suppress(httpx.ConnectError):
            registry.http.get("/v2/").raise_for_status()
            return
        if process.poll() is not None or time.monotonic() > ends:
            raise AssertionError(f"docker-registry did not start: {log.read_text()[-2000:]}")
        time.sleep(0.02)
