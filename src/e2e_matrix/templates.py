"""Text with ``{fields}``: what matrix.yaml calls image, arch-image, platform, model and environment values.

A field is a bare name. Of Python's format language only ``{name}``, ``{{`` and ``}}`` are left, so a template
can reach nothing but the values it is given.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from string import Formatter
from urllib.parse import urlsplit

FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)

# [host[:port]/]path[:tag][@digest], the grammar of distribution/reference. The registry package reads
# references for good; it also loads Docker's credential code, which a plan must do without.
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
)
_LONGEST_REFERENCE = 512
# Comparing words is slow, and a file may have thousands of each.
_MOST_KNOWN = 100
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9]+)?")
_RELEASE = re.compile(r"v([0-9]+(?:\.[0-9]+){0,2}|[0-9]+\.[0-9]+\.[0-9]+[-.a-z][A-Za-z0-9.-]*)")


@dataclass(frozen=True)
class Template:
    """A parsed template; ``fields`` in the order in which they appear."""

    text: str
    fields: tuple[str, ...]
    _parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Raises ValueError with a message for a person."""
        try:
            pieces = list(Formatter().parse(text))
        except ValueError:
            raise ValueError("braces do not pair: write {name} for a field, {{ for a literal brace") from None
        for _, field, spec, conversion in pieces:
            if field is not None and (spec or conversion or not FIELD_NAME.fullmatch(field)):
                raise ValueError(f"{{{field}}} is no field: write {{name}}, and {{{{ for a literal brace")
        fields = dict.fromkeys(field for _, field, _, _ in pieces if field is not None)
        return cls(text, tuple(fields), tuple((literal, field) for literal, field, _, _ in pieces))

    @property
    def literals(self) -> tuple[str, ...]:
        """The text between the fields."""
        return tuple(literal for literal, _ in self._parts)

    def length(self, values: Mapping[str, str]) -> int:
        """How many characters ``render`` would return."""
        return sum(
            len(literal) + (len(values[field]) if field is not None else 0) for literal, field in self._parts
        )

    def render(self, values: Mapping[str, str]) -> str:
        """The text with every field replaced; ``values`` must hold all of ``fields``."""
        return "".join(
            literal + (values[field] if field is not None else "") for literal, field in self._parts
        )


def is_image_reference(text: str) -> bool:
    """Whether a registry can be asked for it."""
    return len(text) <= _LONGEST_REFERENCE and _REFERENCE.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether a registry takes it for a tag (OCI distribution spec, "Pulling manifests")."""
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", text) is not None


def is_platform(text: str) -> bool:
    """Whether it reads os/arch or os/arch/variant (OCI image spec, image index)."""
    return _PLATFORM.fullmatch(text) is not None


def is_revision(text: str) -> bool:
    """Whether git can be asked for it as a commit, and takes it neither for an option nor for a range."""
    return re.fullmatch(r"(?!-)(?!.*\.\.)[^\s\x00-\x20:?*\[\\]{1,250}", text) is not None


def is_http_url(text: str) -> bool:
    """Whether it is an absolute http or https URL with a host."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def tag_of_ref(ref: str) -> str:
    """What upstream's tags begin with for a git ref: a release loses its v, a branch is slugged."""
    release = _RELEASE.fullmatch(ref)
    return release[1] if release else re.sub(r"[^A-Za-z0-9_.-]", "-", ref)


def expected_sha(ref: str) -> str | None:
    """The commit that a ref names, where it names one: 7 to 40 hexadecimal digits."""
    return ref if re.fullmatch(r"[0-9a-f]{7,40}", ref) else None


def expected_version(ref: str) -> str | None:
    """The release that a ref names, where it names one: 1.58.2, or the newest of 1.58 or 1."""
    return ref if re.fullmatch(r"\d{1,6}(\.\d+){0,2}", ref) else None


def did_you_mean(word: str, known: Collection[str]) -> str:
    """A hint that names the nearest of ``known``, or all of them."""
    known = list(itertools.islice(known, _MOST_KNOWN))
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
