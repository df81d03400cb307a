"""What a registry serves, read strictly: OCI image spec 1.1 and Docker image manifest version 2, schema 2."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from e2e_matrix.registry.reference import DIGEST

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
IMAGE_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
ACCEPT = ", ".join(INDEX_TYPES + IMAGE_TYPES)

_ATTESTATION = "vnd.docker.reference.type"  # set by BuildKit on what describes an image and is none
_ARCHITECTURES = {"aarch64": "arm64", "x86_64": "amd64", "x86-64": "amd64"}
_DEFAULT_VARIANTS = {"arm64": "v8", "amd64": "v1"}  # saying them adds nothing (containerd/platforms)

_Digest = Annotated[str, Field(pattern=f"^(?:{DIGEST.pattern})$")]


class _Document(BaseModel):
    # Names as on the wire; what we do not read may be anything.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class PlatformEntry(_Document):
    os: str
    architecture: str
    variant: str | None = None

    def __str__(self) -> str:
        return normal_platform("/".join(part for part in (self.os, self.architecture, self.variant) if part))


class Descriptor(_Document):
    digest: _Digest
    size: int = Field(ge=0)
    mediaType: str = ""
    platform: PlatformEntry | None = None
    annotations: dict[str, str] | None = None

    @property
    def is_attestation(self) -> bool:
        return str(self.platform) == "unknown/unknown" or _ATTESTATION in (self.annotations or {})


class Index(_Document):
    """One tag, several platforms."""

    schemaVersion: int = Field(ge=2, le=2)
    mediaType: str | None = None
    manifests: list[Descriptor]

    def platforms(self) -> dict[str, Descriptor]:
        """Platform -> child, in the index's order, attestations left out; of two alike the first counts."""
        found: dict[str, Descriptor] = {}
        for entry in self.manifests:
            if entry.platform is not None and not entry.is_attestation:
                found.setdefault(str(entry.platform), entry)
        return found


class Image(_Document):
    """One platform's manifest."""

    schemaVersion: int = Field(ge=2, le=2)
    mediaType: str | None = None
    config: Descriptor
    layers: list[Descriptor]

    @property
    def size_bytes(self) -> int:
        """Compressed: what a pull transfers at the most."""
        return self.config.size + sum(layer.size for layer in self.layers)


def normal_platform(text: str) -> str:
    """``linux/arm64/v8`` and ``linux/aarch64`` are ``linux/arm64``; other variants stay."""
    system, _, rest = text.lower().partition("/")
    architecture, _, variant = rest.partition("/")
    architecture = _ARCHITECTURES.get(architecture, architecture)
    if variant == _DEFAULT_VARIANTS.get(architecture):
        variant = ""
    return "/".join(part for part in (system, architecture, variant) if part)


def read_manifest(content_type: str, body: bytes) -> Index | Image:
    """The document that ``content_type`` promises; ValueError says in one line why it is not one."""
    media_type = content_type.split(";", 1)[0].strip().lower()
    if media_type not in INDEX_TYPES + IMAGE_TYPES:
        raise ValueError(f"the content type is {media_type[:100] or 'missing'}, not an image's or an index's")
    model: type[Index] | type[Image] = Index if media_type in INDEX_TYPES else Image
    document = _read(model, body)
    # Two readers that trust different ones of the two would see different images (OCI 1.1, image-manifest).
    if document.mediaType not in (None, "", media_type):
        raise ValueError(f"it is sent as {media_type} and calls itself {document.mediaType[:100]}")
    return document


def read_config_platform(body: bytes) -> str:
    """The platform that an image's config blob names; ValueError when there is none."""
    return str(_read(PlatformEntry, body))


_Read = TypeVar("_Read", bound=_Document)


def _read(model: type[_Read], body: bytes) -> _Read:
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{place}: {first['msg']}" if place else str(first["msg"])) from None
