"""The image ``contract-server``: the base of the local images, and a server that can be told to be wrong.

It is for tests of the runner: it boots at once, and an axis of matrix.yaml can name its fault, with
``environment: {CONTRACT_FAULT: "{fault}"}``. The server is images/contract-server, the faults are in
docs/images.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.cache import cache_folder
from e2e_matrix.local import images, oci, push, recipe
from e2e_matrix.local.images import Image
from e2e_matrix.local.oci import BlobStore, Document, Entry, Layer, directory
from e2e_matrix.local.recipe import Recipe, content_key

Say = Callable[[str], None]

REPOSITORY = "e2e-matrix/contract-server"

_FOLDER = "contract-server"
_PACKAGE = "contract_server"
_PLACE = "usr/local/lib/contract-server"  # where the program adds it to Python's path
_PROGRAM = "contract-server"


@dataclass(frozen=True)
class ContractBuild:
    """The image for both architectures. ``sha``, 40 hex digits, is a hash of what it is made of."""

    sha: str
    images: tuple[Image, ...]
    blobs: BlobStore
    repository: str = REPOSITORY

    @property
    def ref(self) -> str:
        return self.sha[:7]

    @property
    def index(self) -> Document:
        return oci.index({image.arch: image.manifest for image in self.images})

    @property
    def tags(self) -> dict[str, Document]:
        """``{ref}`` and ``latest`` name the index, ``{ref}-amd64`` and ``{ref}-arm64`` one architecture's."""
        arches = {f"{self.ref}-{image.arch}": image.manifest for image in self.images}
        return {**arches, self.ref: self.index, "latest": self.index}


@dataclass(frozen=True)
class ContractImages:
    """The image in a registry. ``template`` and ``ref`` are what matrix.yaml calls image and ref."""

    template: str
    ref: str
    build: ContractBuild


def build(
    say: Say = lambda line: None, *, folder: Path | None = None, cache: Path | None = None
) -> ContractBuild:
    """Build it, on the base layer of the local images, which are built first where they are not.

    ``folder`` is the recipe's, ``cache`` the cache's. Raises ``BadInput`` and ``InfrastructureError`` as
    ``images.build`` does.
    """
    local = images.build(say=say, images=folder, cache=cache)
    plan = recipe.read_recipe(folder or recipe.default_folder())
    container = plan.container.model_copy(update={"entrypoint": ("tini", "--", _PROGRAM)})
    bases = {image.arch: image.layers[0] for image in local.images}
    entries = list(_entries(plan))
    sha = content_key(
        {
            "bases": {arch: base.digest for arch, base in bases.items()},
            "files": [(entry.path, entry.mode, entry.content) for entry in entries],
            "container": container,
        }
    )[:40]
    with images.locked((cache or cache_folder()) / "images", say):
        layer = local.blobs.write_layer(entries)
    settings = container.settings(sha, f"contract-{plan.server.version}", {})
    made = tuple(_image(arch, settings, base, layer) for arch, base in bases.items())
    return ContractBuild(sha, made, local.blobs)


def publish(registry: str, say: Say = lambda line: None) -> ContractImages:
    """Build it and push what ``registry``, a host with its port, lacks. Raises as ``push.publish`` too."""
    made = build(say)
    published = push.publish(made, registry, say)
    return ContractImages(f"{published.repository}:{{ref}}", made.ref, made)


def _image(arch: str, settings: dict[str, object], base: Layer, layer: Layer) -> Image:
    layers = (base, layer)
    config = oci.config(arch, settings, [(base, "Debian"), (layer, "the contract server")])
    return Image(_PROGRAM, arch, config, oci.manifest(config, layers), layers)


def _entries(plan: Recipe) -> Iterator[Entry]:
    """The layer: the package, and the program that starts it."""
    folder = plan.folder / _FOLDER
    for parent in ("usr/local", "usr/local/bin", "usr/local/lib", _PLACE, f"{_PLACE}/{_PACKAGE}"):
        yield directory(parent)
    yield Entry(f"usr/local/bin/{_PROGRAM}", mode=0o755, content=(folder / _PROGRAM).read_bytes())
    for module in sorted((folder / _PACKAGE).glob("*.py")):
        yield Entry(f"{_PLACE}/{_PACKAGE}/{module.name}", content=module.read_bytes())
