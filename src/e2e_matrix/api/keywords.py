"""What the keywords of one JSON Schema say, as far as they say it without a look at any other schema.

JSON Schema 2020-12, as OpenAPI 3.1 uses it, and 3.0's ``nullable``.
"""

from __future__ import annotations

from typing import Any

from e2e_matrix.api.document import Json, canonical, items, mapping

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
CONSTRAINTS = frozenset(
    (
        *("type", "nullable", "enum", "const", "format", "required", "properties", "additionalProperties"),
        *("items", "prefixItems", *LOWER, *UPPER, *OPAQUE),
    )
)
_DOCUMENTATION = frozenset(
    ("title", "description", "default", "example", "examples", "deprecated", "$comment")
)
# Whoever writes such a keyword without a type means this one.
_IMPLIED = {
    OBJECT: ("properties", "additionalProperties", "required", "minProperties", "maxProperties"),
    ARRAY: ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    STRING: ("minLength", "maxLength", "pattern"),
    NUMBER: ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_COMBINED = frozenset(("anyOf", "oneOf", "allOf", "$ref"))


def merged(one: Json, other: Json) -> Json | None:
    """One schema that allows what both allow; None where that is nothing."""
    found = {**one, **other}
    types, other_types = types_of(one), types_of(other)
    if types is not None and other_types is not None:
        shared = types & other_types
        if {INTEGER, NUMBER} <= types | other_types and INTEGER in types ^ other_types:
            shared |= {INTEGER}
        if not shared:
            return None
        found["type"] = sorted(shared)
    values, other_values = values_of(one), values_of(other)
    if values is not None and other_values is not None:
        texts = {text for _, text in other_values}
        found.pop("const", None)
        found["enum"] = [held for held in listed_by(one) or [] if canonical(held) in texts]
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


def outline(value: object) -> str:
    """A schema in canonical JSON without what documents it, and without the names of components."""
    return canonical(_undocumented(value))


def _undocumented(value: object) -> object:
    if isinstance(value, dict):
        return {
            key: "…" if key == "$ref" else _undocumented(held)
            for key, held in value.items()
            if key not in _DOCUMENTATION
        }
    return [_undocumented(held) for held in value] if isinstance(value, list) else value


def narrowed_reference(value: object) -> bool:
    """Whether beside a reference stands what narrows it (OpenAPI 3.1; before, it meant nothing)."""
    if not isinstance(value, dict) or not isinstance(value.get("$ref"), str):
        return False
    return any(key in CONSTRAINTS or key in ("anyOf", "oneOf", "allOf") for key in value)


def without_null(schema: Json) -> tuple[bool, object]:
    """Whether the schema names null among others, and those others."""
    declared = schema.get("type")
    if schema.get("nullable") is True:
        return True, {key: held for key, held in schema.items() if key != "nullable"}
    if isinstance(declared, list) and NULL in declared and len(declared) > 1:
        rest = [name for name in declared if name != NULL]
        return True, schema | {"type": rest[0] if len(rest) == 1 else rest}
    for key in ("anyOf", "oneOf"):
        members = items(schema.get(key))
        rest = [one for one in members if not isinstance(one, dict) or types_of(one) != {NULL}]
        alone = not any(other in CONSTRAINTS or other in _COMBINED for other in schema if other != key)
        if rest and alone:
            null = len(rest) < len(members)
            return null, rest[0] if len(rest) == 1 else schema | {key: rest} if null else schema
    return False, schema


def listed_by(schema: Json) -> list[Any] | None:
    """The values that the schema is limited to; None where it is to none."""
    if "const" in schema:
        return [schema["const"]]
    return schema["enum"] if isinstance(schema.get("enum"), list) else None


def values_of(schema: Json) -> set[tuple[str, str]] | None:
    """The same, each as its type and its canonical JSON."""
    listed = listed_by(schema)
    if listed is None:
        return None
    return {(_type_of(value), canonical(value)) for value in listed}


def types_of(schema: Json) -> set[str] | None:
    """The types that the schema allows; None where it allows them all."""
    if schema == NOTHING:
        return set()
    declared = schema.get("type")
    names = {declared} if isinstance(declared, str) else {str(one) for one in items(declared)}
    names &= set(TYPES)
    if names and schema.get("nullable") is True:
        names.add(NULL)
    values = values_of(schema)
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
