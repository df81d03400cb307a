"""Builds the local images: every variant for every architecture, out of shared, cached layers.

    layer 1   base    Debian packages, the same for every variant of an architecture
    layer 2   site    the agent-server with its dependencies, the same too: a second variant is a short pull
    layer 3   tools   the variant's own packages, laid over the base

A layer is kept under the hash of what it is made of, in ``$XDG_CACHE_HOME/e2e-matrix/images``:

    blobs/sha256/<digest>   layers
    layers/<key>.json       which layer was made of what; written last, so never of half a one
    locks/                  resolved dependencies of server versions whose lock is not committed
    lock                    held while a build is at work
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from e2e_matrix.cache import cache_folder
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.local import oci, recipe, server_site
from e2e_matrix.local.layers import LayerCache, Stack
from e2e_matrix.local.oci import BlobStore, Document, Layer
from e2e_matrix.local.published import PublishedLayers
from e2e_matrix.local.recipe import ARCHITECTURES, Recipe

Say = Callable[[str], None]

#: What the server is laid on: Debian's packages, or the images that upstream builds on.
BASES: dict[str, type[LayerCache]] = {"debian": LayerCache, "published": PublishedLayers}


@dataclass(frozen=True)
class Image:
    """One variant for one architecture."""

    variant: str
    arch: str
    config: Document
    manifest: Document
    layers: tuple[Layer, ...]

    @property
    def size_bytes(self) -> int:
        """Compressed, as a registry counts it."""
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True)
class BuildResult:
    """What a build made or found. ``built`` images had to be made, the others were in the cache."""

    sha: str  # 40 hex digits: what /server_info gives as build_git_sha
    server_version: str
    repository: str
    images: tuple[Image, ...]
    blobs: BlobStore
    built: int
    seconds: float

    @cached_property
    def indexes(self) -> dict[str, Document]:
        """Per variant, the index over its architectures."""
        return {
            variant: oci.index(
                {image.arch: image.manifest for image in self.images if image.variant == variant}
            )
            for variant in dict.fromkeys(image.variant for image in self.images)
        }

    @cached_property
    def tags(self) -> dict[str, Document]:
        """Upstream's tags: what each names is an index, or one architecture's manifest."""
        names = (self.sha[:7], self.sha, self.server_version)
        tags = {
            f"{name}-{image.variant}-{image.arch}": image.manifest for image in self.images for name in names
        }
        for variant, index in self.indexes.items():
            tags |= {f"{name}-{variant}": index for name in (*names, "latest")}
        return tags


def build(
    variants: Sequence[str] | None = None,
    arches: Sequence[str] | None = None,
    server_version: str | None = None,
    base: str = "debian",
    say: Say = lambda line: None,
    *,
    images: Path | None = None,
    cache: Path | None = None,
) -> BuildResult:
    """Build what is not in the cache; None means all variants, both architectures, the recipe's version.

    The result also has the architectures that earlier builds left in the cache: an index never shrinks.
    ``base`` is one of BASES, ``images`` the recipe's folder, ``cache`` the cache's. Raises ``BadInput`` for a
    variant, architecture or version that does not exist, ``InfrastructureError`` where packages cannot be had
    or the disk is full.
    """
    started = time.monotonic()
    plan = recipe.read_recipe(images or recipe.default_folder())
    variants = list(dict.fromkeys(variants or plan.variants))
    arches = list(dict.fromkeys(arches or ARCHITECTURES))
    recipe.check_selection(plan, variants, arches, base, list(BASES))
    folder = (cache or cache_folder()) / "images"
    version = server_version or plan.server.version
    with locked(folder, say):
        layers = BASES[base](plan, server_site.lock(plan, version, folder), folder, say)
        built = layers.make([(variant, arch) for variant in variants for arch in arches])
        made = _images(plan, layers, version, variants)
    seconds = time.monotonic() - started
    return BuildResult(layers.sha, version, plan.repository, made, layers.blobs, len(built), seconds)


def cached(*, images: Path | None = None, cache: Path | None = None) -> BuildResult:
    """The images of the recipe's server version that are in the cache; builds and waits for nothing."""
    plan = recipe.read_recipe(images or recipe.default_folder())
    version = plan.server.version
    folder = (cache or cache_folder()) / "images"
    layers = LayerCache(plan, server_site.lock(plan, version, folder), folder, lambda line: None)
    made = _images(plan, layers, version, list(plan.variants))
    return BuildResult(layers.sha, version, plan.repository, made, layers.blobs, 0, 0.0)


def _images(plan: Recipe, layers: LayerCache, version: str, variants: Sequence[str]) -> tuple[Image, ...]:
    found = ((variant, arch, layers.of(variant, arch)) for variant in variants for arch in ARCHITECTURES)
    return tuple(
        _image(plan, layers.sha, version, variant, arch, of_image)
        for variant, arch, of_image in found
        if of_image is not None
    )


def _image(plan: Recipe, sha: str, version: str, variant: str, arch: str, stack: Stack) -> Image:
    settings = plan.container.settings(sha, f"local-{version}", stack.env)
    config = oci.config(arch, settings, list(zip(stack.layers, stack.made, strict=True)))
    return Image(variant, arch, config, oci.manifest(config, stack.layers), stack.layers)


@contextmanager
def locked(folder: Path, say: Say) -> Iterator[None]:
    """Hold the cache for one build; the kernel lets go of it however this process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise InfrastructureError(
            f"cannot use the cache {folder}: {error.strerror}",
            "Set XDG_CACHE_HOME to a folder that can be written.",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is at work; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
