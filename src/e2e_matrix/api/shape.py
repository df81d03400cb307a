"""What a JSON Schema allows, told by JSON type.

A schema is looked at by its structure alone: ``$ref`` is followed wherever it leads, so that a component's
name, title, description and examples mean nothing. ``Optional[X]``, however written, is X that may be null.
Unions are laid open (``anyOf``, ``oneOf``), conjunctions merged (``allOf``, keywords beside a ``$ref``).
Of ``not``, ``if`` and the like it is only known whether they are the same.

An object that this module makes is made once and kept: who compares may tell schemas apart by identity.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from e2e_matrix.api.document import Json, items, mapping, too_intricate
from e2e_matrix.api.keywords import (
    ANYTHING,
    CONSTRAINTS,
    INTEGER,
    NOTHING,
    NUMBER,
    TYPES,
    merged,
    narrowed_reference,
    types_of,
    values_of,
    without_null,
)

_MAX_NESTING = 50
_MAX_ALTERNATIVES = 2000
_MAX_STEPS = 300_000  # the real ones take 3,000


@dataclass(frozen=True)
class Shape:
    """``parts``: by family (a type; integers are numbers) the schemas any of which may hold, without unions.

    ``values``: of a family that is a closed list, the values in canonical JSON. Anything at all has no parts.
    """

    anything: bool
    types: frozenset[str]
    parts: Mapping[str, list[Json]]
    values: Mapping[str, frozenset[str]]
    discriminator: str | None

    @property
    def words(self) -> str:
        if self.anything:
            return "anything"
        return " or ".join(name for name in TYPES if name in self.types) or "nothing"


def family(name: str) -> str:
    return NUMBER if name == INTEGER else name


class Shapes:
    """The shapes of one document's schemas. Raises ``BadInput`` where they are too intricate."""

    def __init__(self, document: Json) -> None:
        self._document = document
        # By identity: the schema is kept beside what is known of it, so that no other may get its identity.
        self._shapes: dict[int, tuple[object, Shape]] = {}
        self._alternatives: dict[int, tuple[object, list[Json]]] = {}
        self._cores: dict[int, tuple[object, tuple[bool, Json]]] = {}
        self._merged: dict[tuple[int, int], tuple[Json, Json, Json | None]] = {}
        self._targets: dict[str, Any] = {}
        self._steps = 0

    def resolved(self, value: object) -> object:
        """What ``value`` refers to, through any number of references; None where they lead nowhere."""
        passed: dict[str, None] = {}
        while isinstance(value, dict) and isinstance(reference := value.get("$ref"), str):
            if reference in self._targets:
                value = self._targets[reference]
                break
            if reference in passed:  # in a circle
                value = None
                break
            passed[reference] = None
            value = self._target(reference)
            if narrowed_reference(value):
                break
        self._targets.update(dict.fromkeys(passed, value))
        return value

    def schema(self, value: object) -> Json:
        """The schema itself, references followed; what is none allows anything."""
        if not narrowed_reference(value):
            value = self.resolved(value)
        if value is False:
            return NOTHING
        return value if isinstance(value, dict) else ANYTHING

    def core(self, value: object) -> tuple[bool, Json]:
        """Whether null is allowed beside the rest, and the rest: the schema that a name may stand for."""
        schema = self.schema(value)
        known = self._cores.get(id(schema))
        if known is None:
            known = self._cores[id(schema)] = (schema, self._core(schema))
        return known[1]

    def shape(self, value: object) -> Shape:
        schema = self.schema(value)
        known = self._shapes.get(id(schema))
        if known is None:
            known = self._shapes[id(schema)] = (schema, self._shape(schema))
        return known[1]

    def _target(self, reference: str) -> object:
        """RFC 6901, within the document; None where there is no such place."""
        found: object = self._document if reference.startswith("#") else None
        for part in reference.removeprefix("#").removeprefix("/").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list):
                number = int(name) if name.isascii() and name.isdecimal() and len(name) < 8 else len(found)
                found = found[number] if number < len(found) else None
            else:
                found = mapping(found).get(name)
        return found

    def _core(self, schema: Json) -> tuple[bool, Json]:
        null, passed = False, {id(schema): schema}  # kept: an identity is one's as long as one lives
        while True:
            here, rest = without_null(schema)
            null, below = null or here, self.schema(rest)
            if below is schema or id(below) in passed:  # the second: round in a circle
                return null, below
            schema = passed[id(below)] = below

    def _shape(self, schema: Json) -> Shape:
        alternatives = self._simple(schema, ())
        types: set[str] = set()
        parts: dict[str, list[Json]] = {}
        closed: dict[str, set[str]] = {}
        open_families: set[str] = set()
        for one in alternatives:
            allowed, values = types_of(one), values_of(one)
            if allowed is None:
                return Shape(True, frozenset(TYPES), {}, {}, None)
            types |= allowed
            for name in dict.fromkeys(family(each) for each in TYPES if each in allowed):
                if values is None:
                    open_families.add(name)
                    parts.setdefault(name, []).append(one)
                else:
                    closed.setdefault(name, set()).update(
                        text for kind, text in values if family(kind) == name
                    )
        if NUMBER in types:
            types.discard(INTEGER)
        fixed = {name: frozenset(held) for name, held in closed.items() if name not in open_families}
        named = mapping(schema.get("discriminator")).get("propertyName")
        return Shape(False, frozenset(types), parts, fixed, named if isinstance(named, str) else None)

    def _simple(self, value: object, within: tuple[int, ...]) -> list[Json]:
        """The alternatives of a schema, none of which is a union, a conjunction or a reference."""
        self._steps += 1
        if self._steps > _MAX_STEPS or len(within) > _MAX_NESTING:
            too_intricate("its unions stand within one another")
        schema = self.schema(value)
        if id(schema) in within:  # a union that is one of its own members adds nothing to itself
            return []
        known = self._alternatives.get(id(schema))
        if known is None:
            found = self._laid_open(schema, (*within, id(schema)))
            if within:  # what a circle left out here belongs to another schema
                return found
            known = self._alternatives[id(schema)] = (schema, found)
        return known[1]

    def _laid_open(self, schema: Json, within: tuple[int, ...]) -> list[Json]:
        unions = [members for key in ("anyOf", "oneOf") if (members := items(schema.get(key)))]
        conditions: list[object] = list(items(schema.get("allOf")))
        if isinstance(schema.get("$ref"), str):
            conditions.append({"$ref": schema["$ref"]})
        if not unions and not conditions:
            return [schema]
        own = {key: held for key, held in schema.items() if key in CONSTRAINTS}
        found = [own] if own else [ANYTHING]
        for choices in [*unions, *([one] for one in conditions)]:
            offered = [simple for one in choices for simple in self._simple(one, within)]
            found = self._conjunctions(found, list({id(one): one for one in offered}.values()))
        return found

    def _conjunctions(self, left: list[Json], right: list[Json]) -> list[Json]:
        if len(left) * len(right) > _MAX_ALTERNATIVES:
            too_intricate(f"a schema has more than {_MAX_ALTERNATIVES:,} alternatives")
        both = (self._merge(one, other) for one, other in itertools.product(left, right))
        return list({id(one): one for one in both if one is not None}.values())

    def _merge(self, one: Json, other: Json) -> Json | None:
        """What both allow; None where that is nothing."""
        if other is ANYTHING or one is other:
            return one
        if one is ANYTHING:
            return other
        key = (id(one), id(other))
        if key not in self._merged:
            self._steps += 1
            self._merged[key] = (one, other, merged(one, other))
        return self._merged[key][2]
