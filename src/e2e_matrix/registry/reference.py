"""Image references, as a person writes them and as the registry's API wants them.

The grammar is the one of the distribution project (reference/regexp.go), with Docker's habits: a first part
without a dot, a port or ``localhost`` belongs to Docker Hub, and a name without a tag means ``latest``.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace

from e2e_matrix.errors import BadInput, Problem

DOCKER_HUB = "docker.io"
_DOCKER_HUB_API = "registry-1.docker.io"
_HINT = (
    "An image is written registry/repository:tag, for example ghcr.io/openhands/agent-server:latest-python."
)

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Reference:
    """One image in one registry. ``tag`` is None only when a digest was given without one."""

    registry: str  # host or host:port; Docker Hub is "docker.io"
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def name(self) -> str:
        """``registry/repository``, without tag or digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """What the API is asked for: the digest where there is one, as Docker does, else the tag."""
        return self.digest or self.tag or "latest"

    @property
    def api(self) -> str:
        """The registry's base URL, without ``/v2/``."""
        return api_url(self.registry)

    def at(self, digest: str) -> Reference:
        """The manifest with this digest in the same repository."""
        return replace(self, tag=None, digest=digest)


def api_url(registry: str) -> str:
    """``https://host``; plain http for loopback addresses only, which Docker too trusts without TLS."""
    if registry == DOCKER_HUB:
        return f"https://{_DOCKER_HUB_API}"
    return f"{'http' if is_loopback(_without_port(registry)) else 'https'}://{registry}"


def is_loopback(host: str) -> bool:
    """localhost, 127.0.0.0/8 or ::1; ``host`` without a port, IPv6 with or without brackets."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def parse_reference(text: str) -> Reference:
    """Read ``[registry/]repository[:tag][@digest]``; BadInput says which part is wrong."""
    if not text.strip():
        raise _bad(text, "it is empty")
    if "://" in text:
        raise _bad(text, f"it has a scheme ({text.split('://', 1)[0]}://)", "Leave the scheme out.")
    if re.search(r"\s|[^\x21-\x7e]", text):
        raise _bad(text, "it has a space or a character that is not plain ASCII")

    rest, at, digest = text.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise _bad(text, f"{digest!r} is not a digest", "A digest is sha256: and 64 hexadecimal digits.")

    registry, slash, path = rest.partition("/")
    if not slash or not ("." in registry or ":" in registry or registry == "localhost"):
        registry, path = DOCKER_HUB, rest
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _bad(
            text, f"{tag!r} is not a tag", "A tag is up to 128 letters, digits, '_', '.' and '-', not first."
        )
    _check_host(text, registry)
    if registry in (DOCKER_HUB, f"index.{DOCKER_HUB}"):
        registry = DOCKER_HUB
        path = path if "/" in path else f"library/{path}"
    _check_path(text, registry, path)
    return Reference(registry, path, tag or (None if digest else "latest"), digest or None)


def _check_host(text: str, registry: str) -> None:
    host = _HOST.fullmatch(registry)
    if not host or (host["port"] and not 0 < int(host["port"]) < 65536):
        raise _bad(text, f"{registry!r} is not a host with an optional port")
    if registry.startswith("["):
        try:
            ipaddress.IPv6Address(_without_port(registry).strip("[]"))
        except ValueError:
            raise _bad(text, f"{registry!r} is not an IPv6 address with an optional port") from None


def _check_path(text: str, registry: str, path: str) -> None:
    for part in path.split("/"):
        if not part:
            raise _bad(text, "a part between two slashes is empty")
        if not _PATH.fullmatch(part):
            lower = "Repository names are lower case." if part != part.lower() else ""
            raise _bad(text, f"{part!r} cannot be part of a repository's name", lower)
    if len(registry) + 1 + len(path) > _LONGEST_NAME:
        raise _bad(text[:60] + "...", f"its name is longer than {_LONGEST_NAME} characters")


def _without_port(registry: str) -> str:
    return registry.split("]", 1)[0] + "]" if registry.startswith("[") else registry.split(":", 1)[0]


def _bad(text: str, why: str, hint: str = "") -> BadInput:
    return BadInput([Problem("", 0, 0, f"{text!r} is not an image reference: {why}", hint or _HINT)])
