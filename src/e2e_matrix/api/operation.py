"""One operation of a description: a path with a method, and what it says of itself, references followed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from e2e_matrix.api.document import Json, each_operation, items, mapping
from e2e_matrix.api.keywords import ANYTHING
from e2e_matrix.api.shape import Shapes

_FIELD = re.compile(r"\{([^{}]*)\}")
_STYLES = {"query": "form", "cookie": "form", "path": "simple", "header": "simple"}
# OpenAPI 3.1, "Parameter Object": a description of these as parameters means nothing.
_NO_PARAMETERS = ("accept", "content-type", "authorization")


@dataclass(frozen=True)
class Parameter:
    name: str
    place: str
    own: Json

    @property
    def label(self) -> str:
        return f"{self.place} parameter {self.name}"

    @property
    def required(self) -> bool:
        return self.own.get("required") is True or self.place == "path"

    @property
    def schema(self) -> object:
        written = next((held for held in mapping(self.own.get("content")).values()), self.own)
        return mapping(written).get("schema", ANYTHING)

    @property
    def style(self) -> str:
        """How a value that is no plain text is written."""
        style = str(self.own.get("style", _STYLES.get(self.place, "")))
        return (
            f"{style}, {'exploded' if self.own.get('explode', style == 'form') is True else 'not exploded'}"
        )


@dataclass(frozen=True)
class Credential:
    """A security scheme that an operation asks for."""

    name: str
    kind: str
    place: str
    key: str

    @property
    def words(self) -> str:
        return f"{self.place} {self.key}".strip() if self.key else self.kind or self.name

    def like(self, other: Credential) -> bool:
        """Whether whoever has one has the other: both are called the same, or both are the same.

        FastAPI calls a scheme after its class: of two API keys the last one says in which header both are.
        """
        return self.name == other.name or (
            (self.kind, self.place, self.key) == (other.kind, other.place, other.key)
        )


@dataclass(frozen=True)
class Operation:
    path: str
    method: str
    item: Json
    own: Json
    shapes: Shapes
    document: Json

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def template(self) -> str:
        """The path without the names of its fields, which no client sends."""
        return _FIELD.sub("{}", self.path)

    @property
    def deprecated(self) -> bool:
        return self.own.get("deprecated") is True

    @cached_property
    def parameters(self) -> dict[tuple[str, str], Parameter]:
        """By place and name: of the path's fields by number, of headers in lower case."""
        fields = _FIELD.findall(self.path)
        found: dict[tuple[str, str], Parameter] = {}
        for value in [*items(self.item.get("parameters")), *items(self.own.get("parameters"))]:
            own = mapping(self.shapes.resolved(value))
            name, place = own.get("name"), own.get("in")
            if not isinstance(name, str) or not isinstance(place, str) or place not in _STYLES:
                continue
            key = name.lower() if place == "header" else name
            if place == "header" and key in _NO_PARAMETERS:
                continue
            if place == "path" and name in fields:
                key = f"{{{fields.index(name)}}}"
            found[place, key] = Parameter(name, place, own)
        return found

    @property
    def body(self) -> Json | None:
        body = self.shapes.resolved(self.own.get("requestBody"))
        return body if isinstance(body, dict) else None

    @property
    def responses(self) -> dict[str, Json]:
        """By status as it is written: ``200``, ``4XX`` or ``default``."""
        found = mapping(self.own.get("responses"))
        return {code.upper(): mapping(self.shapes.resolved(held)) for code, held in found.items()}

    @cached_property
    def credentials(self) -> list[list[Credential]]:
        """The ways to be let in, each with all that it takes; one of nothing where anybody is."""
        asked = self.own.get("security", self.document.get("security"))
        ways = [one for one in items(asked) if isinstance(one, dict)]
        return [[self._credential(name) for name in way] for way in ways] or [[]]

    def _credential(self, name: str) -> Credential:
        schemes = mapping(mapping(self.document.get("components")).get("securitySchemes"))
        scheme = mapping(self.shapes.resolved(schemes.get(name)))
        kind = " ".join(str(scheme[key]) for key in ("type", "scheme") if key in scheme)
        return Credential(name, kind, str(scheme.get("in", "")), str(scheme.get("name", "")))


def operations_of(document: Json, shapes: Shapes) -> list[Operation]:
    """All of them, in the document's order."""
    return [Operation(*one, shapes, document) for one in each_operation(document)]


def paired(before: Sequence[Operation], after: Sequence[Operation]) -> list[tuple[Operation, Operation]]:
    """The operations that both have: under one path, but for the names of the path's fields."""
    exact = {(one.method, one.path): one for one in after}
    found = {one.name: other for one in before if (other := exact.get((one.method, one.path)))}
    taken = {other.name for other in found.values()}
    alike: dict[tuple[str, str], deque[Operation]] = {}
    for other in after:
        if other.name not in taken:
            alike.setdefault((other.method, other.template), deque()).append(other)
    for one in before:
        if one.name not in found and (others := alike.get((one.method, one.template))):
            found[one.name] = others.popleft()
    return [(one, found[one.name]) for one in before if one.name in found]


def content(described: Json) -> dict[str, Json]:
    """What a body or a response holds, by media type in lower case without parameters."""
    held = mapping(described.get("content"))
    return {name.partition(";")[0].strip().lower(): mapping(one) for name, one in held.items()}
