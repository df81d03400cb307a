"""Which member of a union has become which member of another: no name of a component says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from e2e_matrix.api.document import Json, mapping, too_intricate
from e2e_matrix.api.keywords import ANYTHING, ARRAY, LOWER, OBJECT, OPAQUE, UPPER, outline
from e2e_matrix.api.shape import Shapes

_ALIKE = 0.3  # so much do two objects that do not say their kind have in common at the least
_MAX_COMPARED = 5_000_000


@dataclass(frozen=True)
class Member:
    """One alternative. ``tag``: what an object says that it is, such as ``kind=MessageEvent``, or empty."""

    schema: Json
    type: str
    tag: str
    look: frozenset[str]

    @property
    def sign(self) -> str | frozenset[str]:
        """What those have in common of which one would do."""
        return self.tag or self.look

    @property
    def words(self) -> str:
        fields = ", ".join(list(mapping(self.schema.get("properties")))[:5])
        return self.tag or (f"{self.type} of {fields}" if fields else self.type)


def members(shapes: Shapes, schemas: Sequence[Json], name: str, discriminator: str | None) -> list[Member]:
    """The alternatives of the type ``name``."""
    return [
        Member(
            one,
            name,
            _tag(shapes, one, discriminator) if name == OBJECT else "",
            _look(shapes, one, name),
        )
        for one in schemas
    ]


class Pairing:
    def __init__(self) -> None:
        self._compared = 0

    def pairs(self, ones: Sequence[Member], others: Sequence[Member]) -> list[tuple[int, int]]:
        """By what each says it is, else by what they have in common; each has one partner.

        But for what there is twice: all of it goes with the first of the same on the other side, as a union
        says no more by saying it twice. Raises ``BadInput`` where too many do not say what they are.
        """
        if len(ones) == len(others) == 1:
            return [(0, 0)]
        pairs = [*_by_tag(ones, others), *self._by_look(ones, others)]
        first = {one.sign: index for index, one in reversed(list(enumerate(ones)))}
        first_other = {other.sign: index for index, other in reversed(list(enumerate(others)))}
        left = set(range(len(ones))) - {index for index, _ in pairs}
        left_others = set(range(len(others))) - {other for _, other in pairs}
        pairs += [(index, first_other[sign]) for index in left if (sign := ones[index].sign) in first_other]
        pairs += [(first[sign], other) for other in left_others if (sign := others[other].sign) in first]
        return sorted(pairs)

    def _by_look(self, ones: Sequence[Member], others: Sequence[Member]) -> list[tuple[int, int]]:
        """The most alike first."""
        looks = {index: one.look for index, one in enumerate(ones) if not one.tag}
        looks_other = {index: other.look for index, other in enumerate(others) if not other.tag}
        self._compared += len(looks_other) * sum(1 + len(look) for look in looks.values())
        self._compared += len(looks) * sum(len(look) for look in looks_other.values())
        if self._compared > _MAX_COMPARED:
            too_intricate("its unions have too many members that do not say what they are")
        likeness = sorted(
            (-_likeness(look, look_other), index, other)
            for index, look in looks.items()
            for other, look_other in looks_other.items()
        )
        found = []
        for less, index, other in likeness:
            alike = -less >= _ALIKE or ones[index].type != OBJECT
            if alike and index in looks and other in looks_other:
                del looks[index], looks_other[other]
                found.append((index, other))
        return found


def _by_tag(ones: Sequence[Member], others: Sequence[Member]) -> list[tuple[int, int]]:
    named: dict[str, deque[int]] = {}
    for index, other in enumerate(others):
        if other.tag:
            named.setdefault(other.tag, deque()).append(index)
    return [(index, named[one.tag].popleft()) for index, one in enumerate(ones) if named.get(one.tag)]


def _tag(shapes: Shapes, schema: Json, discriminator: str | None) -> str:
    """By the union's discriminator, else by all the fields that can have one value only."""
    properties = mapping(schema.get("properties"))
    asked = {discriminator: properties[discriminator]} if discriminator in properties else properties
    fixed = {key: shapes.shape(shapes.core(held)[1]).values for key, held in asked.items()}
    return ", ".join(
        f"{key}={text.strip(chr(34))}"
        for key, values in sorted(fixed.items())
        if len(values) == 1 and len(only := next(iter(values.values()))) == 1
        for text in only
    )


def _look(shapes: Shapes, schema: Json, name: str) -> frozenset[str]:
    """Without any name of a component, and no deeper than one level."""
    if name == OBJECT:
        properties = mapping(schema.get("properties"))
        return frozenset(f"{key}: {shapes.shape(held).words}" for key, held in properties.items())
    if name == ARRAY:
        return frozenset([shapes.shape(schema.get("items", ANYTHING)).words])
    keys = (*LOWER, *UPPER, *OPAQUE, "format")
    return frozenset(f"{key}: {outline(schema[key])}" for key in keys if key in schema)


def _likeness(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard's index, from 0 to 1; what says nothing is like what says nothing."""
    return len(one & other) / len(one | other) if one | other else 1.0
