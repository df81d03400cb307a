"""What the integration tests share: a Docker engine, and a registry with a tiny image in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import docker
import pytest

from e2e_matrix.engine.docker import DockerEngine
from support import tiny_image
from support.real_registry import RealRegistry, real_registry


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    engine = DockerEngine.connect()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def tiny_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    """A docker-registry; the images that the engine pulled from it are removed at the end."""
    with real_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry
        with closing(docker.from_env()) as client:
            for image in client.api.images():
                for digest in image.get("RepoDigests") or ():
                    if digest.startswith(f"{registry.host}/"):
                        client.api.remove_image(digest, force=True)


@pytest.fixture(scope="session")
def tiny(docker_engine: DockerEngine, tiny_registry: RealRegistry) -> str:
    """The reference of the tiny amd64 image, pulled."""
    reference = tiny_image.push(tiny_registry, "tiny")
    docker_engine.pull(reference, "linux/amd64")
    return reference
