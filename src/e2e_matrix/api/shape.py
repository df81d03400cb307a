"""What a JSON Schema (2020-12, as OpenAPI 3.1 uses it, and 3.0's ``nullable``) allows, told by JSON type.

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

from e2e_matrix.api.document import Json, canonical, items, mapping, too_intricate

NULL, BOOLEAN, INTEGER, NUMBER, STRING, ARRAY, OBJECT = (
    "null",
    "boolean",
    "integer",
    "number",
    "string",
    "array",
    "object",
)
TYPES = (STRING, INTEGER, NUMBER, BOOLEAN, ARRAY, OBJECT, NULL)
ANYTHING: Json = {}
NOTHING: Json = {"not": {}}
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains")
# Keywords of which it is known only whether they are the same.
OPAQUE = (
    "pattern",
    "multipleOf",
    "uniqueItems",
    "contains",
    "propertyNames",
    "patternProperties",
    "dependentRequired",
    "dependentSchemas",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contentEncoding",
    "not",
    "if",
    "then",
    "else",
)
_CONSTRAINTS = frozenset(
    (
        *("type", "nullable", "enum", "const", "format", "required", "properties", "additionalProperties"),
        *("items", "prefixItems", *LOWER, *UPPER, *OPAQUE),
    )
)
# Whoever writes such a keyword without a type means this one.
_IMPLIED = {
    OBJECT: ("properties", "additionalProperties", "required", "minProperties", "maxProperties"),
    ARRAY: ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    STRING: ("minLength", "maxLength", "pattern"),
    NUMBER: ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
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
            if _narrowed_reference(value):
                break
        self._targets.update(dict.fromkeys(passed, value))
        return value

    def schema(self, value: object) -> Json:
        """The schema itself, references followed; what is none allows anything."""
        if not _narrowed_reference(value):
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
        null = False
        for _ in range(_MAX_NESTING):
            here, rest = _without_null(schema)
            null = null or here
            below = self.schema(rest)
            if below is schema:
                return null, schema
            schema = below
        return too_intricate(f"a schema stands for another more than {_MAX_NESTING} times")

    def _shape(self, schema: Json) -> Shape:
        alternatives = self._simple(schema, ())
        types: set[str] = set()
        parts: dict[str, list[Json]] = {}
        closed: dict[str, set[str]] = {}
        open_families: set[str] = set()
        for one in alternatives:
            allowed, values = _types(one), _values(one)
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
        own = {key: held for key, held in schema.items() if key in _CONSTRAINTS}
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


def merged(one: Json, other: Json) -> Json | None:
    """One schema that allows what both allow; None where that is nothing."""
    found = {**one, **other}
    types, other_types = _types(one), _types(other)
    if types is not None and other_types is not None:
        shared = types & other_types
        if {INTEGER, NUMBER} <= types | other_types and INTEGER in types ^ other_types:
            shared |= {INTEGER}
        if not shared:
            return None
        found["type"] = sorted(shared)
    values, other_values = _values(one), _values(other)
    if values is not None and other_values is not None:
        texts = {text for _, text in other_values}
        found.pop("const", None)
        found["enum"] = [held for held in _listed(one) or [] if canonical(held) in texts]
    properties, more = mapping(one.get("properties")), mapping(other.get("properties"))
    if properties and more:
        found["properties"] = properties | {
            name: {"allOf": [properties[name], held]} if name in properties else held
            for name, held in more.items()
        }
    if required := [*items(one.get("required")), *items(other.get("required"))]:
        found["required"] = required
    for keys, tighter in ((LOWER, max), (UPPER, min)):
        for key in keys:
            bounds = [held for each in (one, other) if (held := number(each.get(key))) is not None]
            if bounds:
                found[key] = tighter(bounds)
    for key in ("additionalProperties", "items"):
        if key in one and key in other:
            refused = one[key] is False or other[key] is False
            found[key] = False if refused else {"allOf": [one[key], other[key]]}
    return found


def number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _narrowed_reference(value: object) -> bool:
    """Whether beside a reference stands what narrows it (OpenAPI 3.1; before, it meant nothing)."""
    if not isinstance(value, dict) or not isinstance(value.get("$ref"), str):
        return False
    return any(key in _CONSTRAINTS or key in ("anyOf", "oneOf", "allOf") for key in value)


def _without_null(schema: Json) -> tuple[bool, object]:
    """Whether the schema names null among others, and those others."""
    declared = schema.get("type")
    if schema.get("nullable") is True:
        return True, {key: held for key, held in schema.items() if key != "nullable"}
    if isinstance(declared, list) and NULL in declared and len(declared) > 1:
        rest = [name for name in declared if name != NULL]
        return True, schema | {"type": rest[0] if len(rest) == 1 else rest}
    for key in ("anyOf", "oneOf"):
        members = items(schema.get(key))
        rest = [one for one in members if mapping(one).get("type") != NULL]
        alone = not any(other in _CONSTRAINTS or other in _COMBINED for other in schema if other != key)
        if len(rest) == 1 and alone:
            return len(rest) < len(members), rest[0]
        if rest and len(rest) < len(members):
            return True, schema | {key: rest}
    return False, schema


_COMBINED = frozenset(("anyOf", "oneOf", "allOf", "$ref"))


def _listed(schema: Json) -> list[Any] | None:
    """The values that the schema is limited to; None where it is to none."""
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def _values(schema: Json) -> set[tuple[str, str]] | None:
    """The same, each as its type and its canonical JSON."""
    listed = _listed(schema)
    if listed is None:
        return None
    return {(_type_of(value), canonical(value)) for value in listed}


def _types(schema: Json) -> set[str] | None:
    """The types that the schema allows; None where it allows them all."""
    if schema == NOTHING:
        return set()
    declared = schema.get("type")
    names = {declared} if isinstance(declared, str) else {str(one) for one in items(declared)}
    names &= set(TYPES)
    if names and schema.get("nullable") is True:
        names.add(NULL)
    values = _values(schema)
    if values is not None:
        held = {kind for kind, _ in values}
        if names and NUMBER in names:
            names.add(INTEGER)
        return held & names if names else held
    if names:
        return names
    return next(({name} for name, keys in _IMPLIED.items() if any(key in schema for key in keys)), None)


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, float):
        return INTEGER if value.is_integer() else NUMBER
    names = {type(None): NULL, int: INTEGER, str: STRING, list: ARRAY}
    return names.get(type(value), OBJECT)
