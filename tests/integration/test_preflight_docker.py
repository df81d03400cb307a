"""Room for a real image of a real registry on a real engine; only what is free is made up."""

from __future__ import annotations

import gzip
import secrets
from pathlib import Path

import pytest

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.preflight import UNPACKED_FACTOR, check_images
from e2e_matrix.registry import ImageRequest, RegistryClient, ResolvedImage, resolve_all
from support import tiny_image
from support.real_registry import RealRegistry


def test_an_image_needs_room_until_the_engine_has_it(
    docker_engine: DockerEngine, tiny_registry: RealRegistry
) -> None:
    root = tiny_image.root_tar({"own": secrets.token_bytes(100)})  # a layer that no engine has
    reference = tiny_image.push(tiny_registry, f"room-{secrets.token_hex(4)}", root=root)
    request = ImageRequest(reference, "linux/amd64")
    with RegistryClient() as client:
        image = resolve_all([request], client)[request]
    assert isinstance(image, ResolvedImage)
    [(_, size)] = image.layers
    assert size == len(gzip.compress(root, 1, mtime=0))
    places: list[Path] = []

    def check(free: int) -> None:
        def at(place: Path) -> int:
            places.append(place)
            return free

        check_images([image], docker_engine, None, at)

    needed = round(size * (1 + UNPACKED_FACTOR))
    check(needed)
    with pytest.raises(InfrastructureError, match="the images need about"):
        check(needed - 1)
    docker_engine.pull(reference, "linux/amd64")
    try:
        check(0)
    finally:
        docker_engine.remove_image(reference)
    assert {str(place) for place in places} == {docker_engine.info().root_dir}
