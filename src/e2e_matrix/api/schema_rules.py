"""How one schema differs from another: the rules, without a word on whether that breaks anybody.

A rule says only whether less is allowed than before (``narrowed``), or more (``widened``). Whether it matters
depends on who writes what the schema describes, and is decided in ``severity`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from e2e_matrix.api.changes import Kind, Severity
from e2e_matrix.api.document import Json, canonical, items, mapping
from e2e_matrix.api.keywords import (
    ANYTHING,
    ARRAY,
    INTEGER,
    LOWER,
    NUMBER,
    OBJECT,
    OPAQUE,
    UPPER,
    number,
    outline,
)
from e2e_matrix.api.pairing import Pairing, members
from e2e_matrix.api.shape import Shape, Shapes

# They say how to show or hold a value, and refuse none. ``binary`` is how OpenAPI 3.0 says that bytes come,
# which 3.1 says otherwise.
_HINTS = frozenset(("password", "path", "file-path", "directory-path", "binary", "float", "double"))
_AT_LEAST_NOTHING = ("minLength", "minItems", "minProperties")


class Side(StrEnum):
    """Who writes what a schema describes."""

    REQUEST = "request"
    RESPONSE = "response"


@dataclass(frozen=True)
class Found:
    """One difference.

    ``soft``: a client has to expect a response that holds more in this way.
    """

    kind: Kind
    segment: str = ""
    before: str | None = None
    after: str | None = None
    narrowed: bool = False
    widened: bool = False
    soft: bool = False


@dataclass(frozen=True)
class Link:
    """Two schemas further down, to be compared with one another."""

    segment: str
    before: object
    after: object


def severity(found: Found, side: Side) -> Severity | None:
    """What it means to a client; None where it is nothing to anybody on this side."""
    if found.kind is Kind.DEFAULT_CHANGED and side is Side.RESPONSE:
        return None
    if side is Side.REQUEST:
        if found.narrowed:
            return Severity.BREAKING
        return Severity.MAY_BREAK if found.kind is Kind.FIELD_REMOVED else Severity.COMPATIBLE
    if not found.widened:
        return Severity.COMPATIBLE
    return Severity.MAY_BREAK if found.soft else Severity.BREAKING


class SchemaRules:
    """Compares a schema of the baseline with one of the candidate, one level deep."""

    def __init__(self, before: Shapes, after: Shapes) -> None:
        self._before = before
        self._after = after
        self._pairing = Pairing()

    def compare(self, before: object, after: object) -> Iterator[Found | Link]:
        """What differs here, and what is left to compare below."""
        yield from _annotations(mapping(before), mapping(after))
        (null, core), (null_after, core_after) = self._before.core(before), self._after.core(after)
        shape, shape_after = self._before.shape(core), self._after.shape(core_after)
        if null is not null_after and not shape.anything and not shape_after.anything:
            kind = Kind.NULLABLE if null_after else Kind.NOT_NULLABLE
            yield Found(kind, narrowed=null, widened=null_after)
        if core is not before or core_after is not after:
            yield Link("", core, core_after)
        elif shape.anything is not shape_after.anything:
            yield _type_changed(shape, shape_after, shape.anything, shape_after.anything)
        else:
            yield from self._shapes(core, core_after, shape, shape_after)

    def _shapes(self, core: Json, core_after: Json, before: Shape, after: Shape) -> Iterator[Found | Link]:
        lost, gained = before.types - _covered(after), after.types - _covered(before)
        if lost or gained:
            yield _type_changed(before, after, bool(lost), bool(gained))
        for name in [*before.parts, *(each for each in before.values if each not in before.parts)]:
            closed, closed_after = before.values.get(name), after.values.get(name)
            if name not in after.parts and closed_after is None:
                continue  # told as a type
            if closed is not None or closed_after is not None:
                yield from _values(closed, closed_after)
            else:
                yield from self._parts(name, (core, before), (core_after, after))

    def _parts(
        self, name: str, before: tuple[Json, Shape], after: tuple[Json, Shape]
    ) -> Iterator[Found | Link]:
        """Every alternative of one type with its like."""
        (core, shape), (core_after, shape_after) = before, after
        by = shape.discriminator if shape.discriminator == shape_after.discriminator else None
        ones = members(self._before, shape.parts[name], name, by)
        others = members(self._after, shape_after.parts[name], name, by)
        pairs, union = self._pairing.pairs(ones, others), len(ones) > 1 or len(others) > 1
        for index, other in pairs:
            one, one_after = ones[index].schema, others[other].schema
            segment = f"({tag})" if union and (tag := ones[index].tag) else ""
            if name == OBJECT and (one is not core or one_after is not core_after):
                yield Link(segment, one, one_after)
            elif name == OBJECT:
                yield from self._fields(one, one_after)
            else:
                yield from _limits(one, one_after, segment)
                yield from self._elements(one, one_after, segment) if name == ARRAY else ()
        paired, paired_after = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
        gone = [one for index, one in enumerate(ones) if index not in paired]
        new = [other for index, other in enumerate(others) if index not in paired_after]
        if gone:
            told = "; ".join(one.words for one in gone)
            yield Found(Kind.ALTERNATIVE_REMOVED, before=told, narrowed=True)
        if new:
            told = "; ".join(one.words for one in new)
            soft = all(one.tag for one in new)
            yield Found(Kind.ALTERNATIVE_ADDED, after=told, widened=True, soft=soft)

    def _elements(self, before: Json, after: Json, segment: str) -> Iterator[Found | Link]:
        firsts, firsts_after = items(before.get("prefixItems")), items(after.get("prefixItems"))
        more, more_after = before.get("items", ANYTHING), after.get("items", ANYTHING)
        for index in range(max(len(firsts), len(firsts_after))):
            one = firsts[index] if index < len(firsts) else more
            other = firsts_after[index] if index < len(firsts_after) else more_after
            yield Link(f"{segment}[{index}]", one, other)
        yield Link(f"{segment}[]", more, more_after)

    def _fields(self, before: Json, after: Json) -> Iterator[Found | Link]:
        yield from _limits(before, after, "")
        fields, fields_after = mapping(before.get("properties")), mapping(after.get("properties"))
        needed = {name for name in items(before.get("required")) if isinstance(name, str)}
        needed_after = {name for name in items(after.get("required")) if isinstance(name, str)}
        more, more_after = (each.get("additionalProperties", ANYTHING) for each in (before, after))
        for name, held in fields.items():
            if name in fields_after:
                yield from _need(name, name in needed, name in needed_after, fields_after[name])
                yield Link(f".{name}", held, fields_after[name])
            else:
                yield Found(Kind.FIELD_REMOVED, f".{name}", narrowed=more_after is False, widened=True)
        for name, held in fields_after.items():
            if name not in fields:
                needs = name in needed_after and mapping(held).get("readOnly") is not True
                yield Found(Kind.FIELD_ADDED, f".{name}", after="required" if needs else None, narrowed=needs)
        if more is False or more_after is False:
            if more is not more_after:
                kind = Kind.CLOSED if more_after is False else Kind.OPENED
                yield Found(kind, narrowed=more_after is False)
        elif more is not ANYTHING or more_after is not ANYTHING:
            yield Link(".*", more, more_after)


def _covered(shape: Shape) -> frozenset[str]:
    return shape.types | {INTEGER} if NUMBER in shape.types else shape.types


def _type_changed(before: Shape, after: Shape, narrowed: bool, widened: bool) -> Found:
    return Found(Kind.TYPE_CHANGED, "", before.words, after.words, narrowed, widened)


def _annotations(before: Json, after: Json) -> Iterator[Found]:
    if after.get("deprecated") is True and before.get("deprecated") is not True:
        yield Found(Kind.DEPRECATED)
    value, value_after = (
        canonical(each["default"]) if "default" in each else "none" for each in (before, after)
    )
    if value != value_after:
        yield Found(Kind.DEFAULT_CHANGED, "", value, value_after)


def _values(before: frozenset[str] | None, after: frozenset[str] | None) -> Iterator[Found]:
    """Of closed lists; None: the type is open."""
    if before is None or after is None:
        narrowed = after is not None
        kind = Kind.VALUE_REMOVED if narrowed else Kind.VALUE_ADDED
        text, text_after = ("any" if held is None else ", ".join(sorted(held)) for held in (before, after))
        yield Found(kind, "", text, text_after, narrowed=narrowed, widened=not narrowed, soft=True)
        return
    if lost := before - after:
        yield Found(Kind.VALUE_REMOVED, before=", ".join(sorted(lost)), narrowed=True)
    if gained := after - before:
        yield Found(Kind.VALUE_ADDED, after=", ".join(sorted(gained)), widened=True, soft=True)


def _need(name: str, before: bool, after: bool, field: object) -> Iterator[Found]:
    """``readOnly`` and ``writeOnly``: OpenAPI holds them as required only on the side that writes them."""
    if after and not before:
        yield Found(Kind.NEWLY_REQUIRED, f".{name}", narrowed=mapping(field).get("readOnly") is not True)
    if before and not after:
        yield Found(Kind.NO_LONGER_REQUIRED, f".{name}", widened=mapping(field).get("writeOnly") is not True)


def _limits(before: Json, after: Json, segment: str) -> Iterator[Found]:
    for keys, sign in ((LOWER, 1), (UPPER, -1)):
        for key in _in_either(keys, before, after):
            value, value_after = (_bound(each, key, sign) for each in (before, after))
            if value != value_after:
                yield Found(
                    Kind.LIMIT_CHANGED,
                    segment,
                    f"{key} {_bound_words(value)}",
                    f"{key} {_bound_words(value_after)}",
                    narrowed=sign * value_after > sign * value,
                    widened=sign * value_after < sign * value,
                    soft=True,
                )
    form, form_after = _format(before), _format(after)
    if form != form_after:
        yield Found(
            Kind.FORMAT_CHANGED,
            segment,
            form or "none",
            form_after or "none",
            narrowed=form_after is not None,
            widened=form is not None,
        )
    for key in _in_either(OPAQUE, before, after):
        value_text, value_text_after = (outline(each.get(key)) for each in (before, after))
        if value_text != value_text_after:
            yield Found(
                Kind.CONSTRAINT_CHANGED,
                segment,
                f"{key} {value_text}" if key in before else "none",
                f"{key} {value_text_after}" if key in after else "none",
                narrowed=key in after,
                widened=key in before,
                soft=True,
            )


def _in_either(keys: Sequence[str], before: Json, after: Json) -> list[str]:
    return [key for key in keys if key in before or key in after]


def _bound(schema: Json, key: str, sign: int) -> int | float:
    value = number(schema.get(key))
    if value is None or (key in _AT_LEAST_NOTHING and value <= 0):
        return -sign * math.inf
    return value


def _bound_words(value: int | float) -> str:
    return "none" if math.isinf(value) else canonical(value)


def _format(schema: Json) -> str | None:
    value = schema.get("format")
    return value if isinstance(value, str) and value not in _HINTS else None
