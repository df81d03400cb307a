"""Names of platforms as engines, images and people write them."""

from __future__ import annotations

_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm/v7",
    "armv8l": "arm/v7",
    "i686": "386",
}
_IMPLIED_VARIANTS = {("amd64", "v1"), ("arm64", "v8"), ("arm", "v7")}


def architecture(machine: str) -> str:
    """``uname -m`` in the OCI's words: "x86_64" is "amd64". What is not known stays as it is."""
    return _ARCHITECTURES.get(machine, machine)


def normal(platform: str) -> str:
    """ "linux/arm64/v8" -> "linux/arm64": without the variant that its architecture implies."""
    system, _, rest = platform.strip().lower().partition("/")
    name, _, variant = rest.partition("/")
    if (name, variant) in _IMPLIED_VARIANTS:
        variant = ""
    return "/".join(part for part in (system, name, variant) if part)
