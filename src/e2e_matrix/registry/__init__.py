"""The registry: from a tag to the digest of one platform's image, over the OCI distribution API."""

from e2e_matrix.registry.client import Manifest, RegistryClient
from e2e_matrix.registry.logins import Login, Logins
from e2e_matrix.registry.manifest import normal_platform
from e2e_matrix.registry.reference import Reference, parse_reference
from e2e_matrix.registry.resolve import ImageRequest, ResolvedImage, resolve_all

__all__ = [
    "ImageRequest",
    "Login",
    "Logins",
    "Manifest",
    "Reference",
    "RegistryClient",
    "ResolvedImage",
    "normal_platform",
    "parse_reference",
    "resolve_all",
]
