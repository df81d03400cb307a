"""Descriptions that are made to be hard to compare: each comes to a difference, or to one clear error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from e2e_matrix.api import difference
from e2e_matrix.errors import BadInput
from support.openapi_samples import Json, a_document, an_object, answering, received, ref

TEXT = {"type": "string"}


def components(count: int, of: Callable[[int], object]) -> Json:
    return {f"A{number}": of(number) for number in range(count)}


CIRCLES: dict[str, Json] = {
    "of one reference": {"A": ref("A")},
    "of two references": {"A": ref("B"), "B": ref("A")},
    "of unions": {"A": {"anyOf": [ref("B"), TEXT]}, "B": {"anyOf": [ref("A"), {"type": "integer"}]}},
    "of conjunctions": {
        "A": {"allOf": [ref("B"), an_object(x=ref("A"))]},
        "B": {"allOf": [ref("A"), an_object(x=ref("B"))]},
    },
    "of conjunctions of what refers to the next": {
        "A": {"allOf": [ref("B"), ref("C"), ref("D")]},
        "B": an_object(x=ref("C")),
        "C": an_object(x=ref("D")),
        "D": an_object(x=ref("B")),
    },
    "of what narrows itself": {"A": ref("A") | {"maxLength": 3}},
    "of an element": {"A": {"type": "array", "items": ref("A")}},
    "of an optional one": {"A": {"anyOf": [ref("A"), {"type": "null"}]}},
    "of a union of an optional one": {"A": {"anyOf": [{"anyOf": [ref("A")]}, {"type": "null"}]}},
}
REFERENCES = [
    "#/components/schemas/None",
    "http://other/x",
    "#",
    "#/",
    "",
    "#/paths/0/-1/~2",
    "#/\x00",
    7,
    None,
]


@pytest.mark.parametrize("schemas", CIRCLES.values(), ids=CIRCLES)
def test_circles(schemas: Json) -> None:
    circle, plain = received(ref("A"), schemas), received(an_object("x", x=TEXT))

    assert not difference(circle, circle)
    assert difference(circle, plain)
    assert difference(plain, circle)


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_to_nowhere_allows_anything(reference: object) -> None:
    lost = received({"$ref": reference})

    assert not difference(lost, received({}))
    assert [change.kind for change in difference(received(TEXT), lost).breaking] == ["type changed"]


def test_a_reference_may_lead_through_a_list_and_escaped_names() -> None:
    document = received({"$ref": "#/components/x/1/a~1b~0"})
    document["components"]["x"] = [{}, {"a/b~": TEXT}]

    assert not difference(document, received(TEXT))


def test_a_long_chain_of_references() -> None:
    chain = received(ref("A0"), components(5000, lambda number: ref(f"A{number + 1}")) | {"A5000": TEXT})

    assert not difference(chain, received(TEXT))


def test_a_long_way_down_is_told_by_its_end() -> None:
    def linked(schema: object) -> Json:
        def link(number: int) -> Json:
            return an_object(next=ref(f"A{number + 1}") if number < 1999 else schema)

        return received(ref("A0"), components(2000, link))

    (change,) = difference(linked(TEXT), linked({"type": "integer"})).breaking

    assert change.where.startswith("response 200: …")
    assert change.where.endswith(".next.next")
    assert len(change.where) < 400


TOO_INTRICATE: dict[str, Json] = {
    "a union that doubles 45 times": received(
        ref("A0"),
        components(45, lambda number: {"anyOf": [ref(f"A{number + 1}"), ref(f"A{number + 1}"), TEXT]}),
    ),
    "unions within one another": received(
        ref("A0"), components(1000, lambda number: {"anyOf": [ref(f"A{number + 1}"), {"const": number}]})
    ),
    "references beside one another": received(
        ref("A0"), components(1000, lambda number: ref(f"A{number + 1}") | {"maxLength": number})
    ),
    "a conjunction of many unions": received(
        {"allOf": [{"anyOf": [an_object(**{f"a{n}_{m}": {}}) for m in range(10)]} for n in range(10)]}
    ),
    "a union with very many members": received(
        {"anyOf": [an_object(**{f"a{number}": {}}) for number in range(5000)]}
    ),
    "members that do not say what they are": received(
        {"anyOf": [an_object(**{f"a{number}_{n}": {} for n in range(5)}) for number in range(1500)]}
    ),
    "more pairs than there are": a_document(
        {"/a": {"get": answering(ref("A0"))}},
        components(300, lambda number: an_object(**{f"a{n}": {"items": ref(f"A{n}")} for n in range(300)})),
    ),
}


@pytest.mark.parametrize("document", TOO_INTRICATE.values(), ids=TOO_INTRICATE)
def test_what_is_too_intricate_is_said_to_be(document: Json) -> None:
    with pytest.raises(BadInput, match="is too intricate to compare"):
        difference(document, document)


def test_operations_that_all_lead_to_everything() -> None:
    """What an operation reaches is handed on along the graph: no walk of its own for each."""

    def document(schema: object) -> Json:
        each = components(
            40, lambda number: an_object(**{f"a{n}": ref(f"A{n * number % 40}") for n in range(40)})
        )
        paths = {f"/{number}": {"get": answering(ref(f"A{number % 40}"))} for number in range(2000)}
        return a_document(paths, each | {"A7": an_object(leaf=schema)})

    (change,) = difference(document(TEXT), document({"type": "integer"})).breaking

    assert len(change.operations) == 800
    assert change.places == 1


@pytest.mark.parametrize(
    "value", ["x" * 200_000, "\x1b]0;x\x07", "\ud800", "a\u202eb", ["x"] * 5000, 10**300]
)
def test_values_are_shown_bounded_and_safe(value: Any) -> None:
    before, after = received({"enum": [1, value]}), received({"enum": [1, 2]})

    found = difference(before, after)

    for change in [*found.breaking, *found.compatible]:
        assert len(change.words) < 600
        change.words.encode()
        assert "\x1b" not in change.words
