"""What a change of a schema means to who sends it, and to who is sent it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from e2e_matrix.api import ApiDifference, difference
from support.openapi_samples import Json, an_object, received, ref, sent

BREAKING, MAY, COMPATIBLE = "breaking", "may break", "compatible"
TEXT, NUMBER, NULL = {"type": "string"}, {"type": "integer"}, {"type": "null"}
COLOURS = {"type": "string", "enum": ["red", "green"]}
MORE_COLOURS = {"type": "string", "enum": ["red", "green", "blue"]}


def kinds(found: ApiDifference) -> list[str]:
    return [f"{change.severity}: {change.kind}" for change in [*found.breaking, *found.compatible]]


@dataclass(frozen=True)
class Rule:
    """``there``: from the first schema to the second, for who sends and who is sent it; ``back`` from it."""

    name: str
    one: Any
    other: Any
    there: tuple[list[str], list[str]]
    back: tuple[list[str], list[str]]


def cat(kind: str, **properties: Any) -> Json:
    return an_object("kind", kind={"const": kind, "type": "string"}, **properties)


def union(*members: object) -> Json:
    return {"oneOf": [*members], "discriminator": {"propertyName": "kind"}}


BOTH_SAME: tuple[list[str], list[str]] = ([], [])

RULES = [
    Rule(
        "an optional field",
        an_object(),
        an_object(a=TEXT),
        there=(["compatible: field added"], ["compatible: field added"]),
        back=(["may break: field removed"], ["breaking: field removed"]),
    ),
    Rule(
        "an optional field of an object that is closed",
        an_object() | {"additionalProperties": False},
        an_object(a=TEXT) | {"additionalProperties": False},
        there=(["compatible: field added"], ["compatible: field added"]),
        back=(["breaking: field removed"], ["breaking: field removed"]),
    ),
    Rule(
        "a required field",
        an_object(),
        an_object("a", a=TEXT),
        there=(["breaking: field added"], ["compatible: field added"]),
        back=(["may break: field removed"], ["breaking: field removed"]),
    ),
    Rule(
        "a required field that only the server writes",
        an_object(),
        an_object("a", a=TEXT | {"readOnly": True}),
        there=(["compatible: field added"], ["compatible: field added"]),
        back=(["may break: field removed"], ["breaking: field removed"]),
    ),
    Rule(
        "whether a field is required",
        an_object(a=TEXT),
        an_object("a", a=TEXT),
        there=(["breaking: newly required"], ["compatible: newly required"]),
        back=(["compatible: no longer required"], ["breaking: no longer required"]),
    ),
    Rule(
        "whether a field is required that only the server writes",
        an_object(a=TEXT | {"readOnly": True}),
        an_object("a", a=TEXT | {"readOnly": True}),
        there=(["compatible: newly required"], ["compatible: newly required"]),
        back=(["compatible: no longer required"], ["breaking: no longer required"]),
    ),
    Rule(
        "whether a field is required that only the client writes",
        an_object(a=TEXT | {"writeOnly": True}),
        an_object("a", a=TEXT | {"writeOnly": True}),
        there=(["breaking: newly required"], ["compatible: newly required"]),
        back=(["compatible: no longer required"], ["compatible: no longer required"]),
    ),
    Rule(
        "whether other fields may stand there",
        an_object(a=TEXT),
        an_object(a=TEXT) | {"additionalProperties": False},
        there=(
            ["breaking: other fields are refused now"],
            ["compatible: other fields are refused now"],
        ),
        back=(
            ["compatible: other fields may stand there now"],
            ["compatible: other fields may stand there now"],
        ),
    ),
    Rule(
        "what the values of a dictionary are",
        {"type": "object", "additionalProperties": True},
        {"type": "object", "additionalProperties": TEXT},
        there=(["breaking: type changed"], ["compatible: type changed"]),
        back=(["compatible: type changed"], ["breaking: type changed"]),
    ),
    Rule(
        "another type",
        TEXT,
        NUMBER,
        there=(["breaking: type changed"], ["breaking: type changed"]),
        back=(["breaking: type changed"], ["breaking: type changed"]),
    ),
    Rule(
        "one more type",
        TEXT,
        {"anyOf": [TEXT, NUMBER]},
        there=(["compatible: type changed"], ["breaking: type changed"]),
        back=(["breaking: type changed"], ["compatible: type changed"]),
    ),
    Rule(
        "a number that need not be whole",
        NUMBER,
        {"type": "number"},
        there=(["compatible: type changed"], ["breaking: type changed"]),
        back=(["breaking: type changed"], ["compatible: type changed"]),
    ),
    Rule(
        "a whole number beside others",
        {"type": ["integer", "number"]},
        {"type": "number"},
        there=BOTH_SAME,
        back=BOTH_SAME,
    ),
    Rule(
        "anything at all",
        TEXT,
        {},
        there=(["compatible: type changed"], ["breaking: type changed"]),
        back=(["breaking: type changed"], ["compatible: type changed"]),
    ),
    Rule(
        "nothing at all",
        TEXT,
        False,
        there=(["breaking: type changed"], ["compatible: type changed"]),
        back=(["compatible: type changed"], ["breaking: type changed"]),
    ),
    Rule(
        "null",
        TEXT,
        {"anyOf": [TEXT, NULL]},
        there=(["compatible: may be null now"], ["breaking: may be null now"]),
        back=(["breaking: may no longer be null"], ["compatible: may no longer be null"]),
    ),
    Rule(
        "null in a union",
        {"anyOf": [TEXT, NUMBER]},
        {"anyOf": [TEXT, NULL, NUMBER]},
        there=(["compatible: may be null now"], ["breaking: may be null now"]),
        back=(["breaking: may no longer be null"], ["compatible: may no longer be null"]),
    ),
    Rule(
        "anything, null among it",
        {"anyOf": [TEXT, NULL]},
        {},
        there=(["compatible: type changed"], ["breaking: type changed"]),
        back=(["breaking: type changed"], ["compatible: type changed"]),
    ),
    Rule(
        "null where the type says no",
        TEXT,
        {"type": "string", "anyOf": [{"maxLength": 9}, NULL]},
        there=(["breaking: limit changed"], ["compatible: limit changed"]),
        back=(["compatible: limit changed"], ["may break: limit changed"]),
    ),
    Rule(
        "a listed value",
        COLOURS,
        MORE_COLOURS,
        there=(["compatible: value added"], ["may break: value added"]),
        back=(["breaking: value removed"], ["compatible: value removed"]),
    ),
    Rule(
        "a list of values",
        TEXT,
        COLOURS,
        there=(["breaking: value removed"], ["compatible: value removed"]),
        back=(["compatible: value added"], ["may break: value added"]),
    ),
    Rule(
        "a constant",
        {"const": "red"},
        {"const": "blue"},
        there=(
            ["breaking: value removed", "compatible: value added"],
            ["may break: value added", "compatible: value removed"],
        ),
        back=(
            ["breaking: value removed", "compatible: value added"],
            ["may break: value added", "compatible: value removed"],
        ),
    ),
    Rule(
        "a kind of object that says its kind",
        union(cat("a"), cat("b")),
        union(cat("a"), cat("b"), cat("c")),
        there=(["compatible: alternative added"], ["may break: alternative added"]),
        back=(["breaking: alternative removed"], ["compatible: alternative removed"]),
    ),
    Rule(
        "a kind of object that does not say its kind",
        {"anyOf": [an_object(a=TEXT), an_object(b=TEXT)]},
        {"anyOf": [an_object(a=TEXT), an_object(b=TEXT), an_object(c=TEXT)]},
        there=(["compatible: alternative added"], ["breaking: alternative added"]),
        back=(["breaking: alternative removed"], ["compatible: alternative removed"]),
    ),
    Rule(
        "a field of one kind of object",
        union(cat("a"), cat("b")),
        union(cat("b", size=NUMBER), cat("a")),
        there=(["compatible: field added"], ["compatible: field added"]),
        back=(["may break: field removed"], ["breaking: field removed"]),
    ),
    Rule(
        "an upper bound",
        NUMBER,
        NUMBER | {"maximum": 100},
        there=(["breaking: limit changed"], ["compatible: limit changed"]),
        back=(["compatible: limit changed"], ["may break: limit changed"]),
    ),
    Rule(
        "a lower bound",
        NUMBER | {"minimum": 1},
        NUMBER | {"minimum": 2},
        there=(["breaking: limit changed"], ["compatible: limit changed"]),
        back=(["compatible: limit changed"], ["may break: limit changed"]),
    ),
    Rule(
        "a length of none",
        TEXT,
        TEXT | {"minLength": 0},
        there=BOTH_SAME,
        back=BOTH_SAME,
    ),
    Rule(
        "how many fields there are",
        an_object(),
        an_object() | {"maxProperties": 3},
        there=(["breaking: limit changed"], ["compatible: limit changed"]),
        back=(["compatible: limit changed"], ["may break: limit changed"]),
    ),
    Rule(
        "how many elements there are",
        {"type": "array", "items": TEXT},
        {"type": "array", "items": TEXT, "maxItems": 3},
        there=(["breaking: limit changed"], ["compatible: limit changed"]),
        back=(["compatible: limit changed"], ["may break: limit changed"]),
    ),
    Rule(
        "a format",
        TEXT,
        TEXT | {"format": "uuid"},
        there=(["breaking: format changed"], ["compatible: format changed"]),
        back=(["compatible: format changed"], ["breaking: format changed"]),
    ),
    Rule(
        "another format",
        TEXT | {"format": "date"},
        TEXT | {"format": "date-time"},
        there=(["breaking: format changed"], ["breaking: format changed"]),
        back=(["breaking: format changed"], ["breaking: format changed"]),
    ),
    Rule(
        "a format that refuses nothing",
        TEXT,
        TEXT | {"format": "password"},
        there=BOTH_SAME,
        back=BOTH_SAME,
    ),
    Rule(
        "bytes, as OpenAPI 3.0 and 3.1 say it",
        TEXT | {"format": "binary"},
        TEXT | {"contentMediaType": "application/octet-stream"},
        there=BOTH_SAME,
        back=BOTH_SAME,
    ),
    Rule(
        "a pattern",
        TEXT,
        TEXT | {"pattern": "^a"},
        there=(["breaking: constraint changed"], ["compatible: constraint changed"]),
        back=(["compatible: constraint changed"], ["may break: constraint changed"]),
    ),
    Rule(
        "what an element is",
        {"type": "array", "items": TEXT},
        {"type": "array", "items": NUMBER},
        there=(["breaking: type changed"], ["breaking: type changed"]),
        back=(["breaking: type changed"], ["breaking: type changed"]),
    ),
    Rule(
        "what the second element is",
        {"type": "array", "prefixItems": [TEXT, TEXT]},
        {"type": "array", "prefixItems": [TEXT, NUMBER]},
        there=(["breaking: type changed"], ["breaking: type changed"]),
        back=(["breaking: type changed"], ["breaking: type changed"]),
    ),
    Rule(
        "what is used where nothing is sent",
        an_object(a=TEXT | {"default": "x"}),
        an_object(a=TEXT | {"default": "y"}),
        there=(["compatible: default changed"], []),
        back=(["compatible: default changed"], []),
    ),
    Rule(
        "that a field is deprecated",
        an_object(a=TEXT),
        an_object(a=TEXT | {"deprecated": True}),
        there=(["compatible: deprecated"], ["compatible: deprecated"]),
        back=BOTH_SAME,
    ),
    Rule(
        "a field that every part of a conjunction may have",
        {"allOf": [an_object("a", a=TEXT), an_object(b=TEXT)]},
        {"allOf": [an_object("a", a=TEXT), an_object("b", b=TEXT)]},
        there=(["breaking: newly required"], ["compatible: newly required"]),
        back=(["compatible: no longer required"], ["breaking: no longer required"]),
    ),
]

SAME = {
    "documentation": (
        an_object(a=TEXT) | {"title": "A", "description": "x", "examples": [1], "x-more": 1},
        an_object(a=TEXT | {"title": "Field", "example": "y"}),
    ),
    "ways to say that it may be null": (
        {"anyOf": [TEXT, NULL], "title": "A"},
        {"type": ["string", "null"]},
    ),
    "ways to say that it may be null, 3.0": (TEXT | {"nullable": True}, {"oneOf": [NULL, TEXT]}),
    "ways to list values": ({"const": "a"}, {"type": "string", "enum": ["a"]}),
    "ways to say null": ({"anyOf": [TEXT, NULL]}, {"anyOf": [{"const": None}, TEXT]}),
    "ways to say null in a union": (
        {"anyOf": [TEXT, NUMBER, NULL]},
        {"oneOf": [{"enum": [None]}, TEXT, NUMBER]},
    ),
    "what was deprecated already": (TEXT | {"deprecated": True}, TEXT | {"deprecated": True, "title": "A"}),
    "a value that may be null in a union of 3.0": (
        {"anyOf": [TEXT | {"nullable": True}, NUMBER]},
        {"anyOf": [{"type": ["string", "null"]}, NUMBER]},
    ),
    "a closed part of a conjunction": (
        {
            "allOf": [
                an_object() | {"additionalProperties": False},
                an_object() | {"additionalProperties": TEXT},
            ]
        },
        an_object() | {"additionalProperties": False},
    ),
    "a member said twice": (
        {"anyOf": [an_object(a=TEXT), an_object(b=TEXT), an_object(a=TEXT)]},
        {"anyOf": [an_object(a=TEXT), an_object(b=TEXT)]},
    ),
    "a kind said twice": (union(cat("a"), cat("a"), cat("b")), union(cat("a"), cat("b"))),
    "a text said twice": ({"anyOf": [TEXT, NUMBER, TEXT]}, {"anyOf": [TEXT, NUMBER]}),
    "the order of values": ({"enum": ["a", "b"]}, {"anyOf": [{"const": "b"}, {"const": "a"}]}),
    "a union of one": ({"anyOf": [TEXT]}, TEXT),
    "a conjunction of one": ({"allOf": [an_object(a=TEXT)], "description": "x"}, an_object(a=TEXT)),
    "a conjunction": (
        {"allOf": [an_object("a", a=TEXT), {"properties": {"a": {"maxLength": 5}, "b": NUMBER}}]},
        an_object("a", a=TEXT | {"maxLength": 5}, b=NUMBER),
    ),
    "limits in a conjunction": (
        {"allOf": [NUMBER | {"maximum": 9, "minimum": 1}, {"type": "number", "maximum": 5}]},
        NUMBER | {"maximum": 5, "minimum": 1},
    ),
    "values in a conjunction": ({"allOf": [MORE_COLOURS, COLOURS]}, COLOURS),
    "a union in a conjunction": (
        {"allOf": [{"anyOf": [TEXT, NUMBER]}, {"anyOf": [NUMBER, {"type": "array"}]}]},
        NUMBER,
    ),
    "the same number": (NUMBER | {"maximum": 5}, NUMBER | {"maximum": 5.0}),
    "the order of members": (union(cat("a"), cat("b")), union(cat("b"), cat("a"))),
    "the order of members that do not say their kind": (
        {"anyOf": [an_object(a=TEXT, b=TEXT), an_object(c=NUMBER)]},
        {"anyOf": [an_object(c=NUMBER), an_object(a=TEXT, b=TEXT)]},
    ),
    "the order of texts": (
        {"anyOf": [TEXT | {"format": "uuid"}, TEXT | {"maxLength": 5}]},
        {"anyOf": [TEXT | {"maxLength": 5}, TEXT | {"format": "uuid"}]},
    ),
    "a type that its keywords imply": ({"properties": {"a": TEXT}}, an_object(a=TEXT)),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_what_a_change_means_depends_on_who_writes(rule: Rule) -> None:
    told = [
        kinds(difference(place(before), place(after)))
        for before, after in ((rule.one, rule.other), (rule.other, rule.one))
        for place in (sent, received)
    ]

    assert told == [*rule.there, *rule.back]


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
@pytest.mark.parametrize("place", [sent, received])
def test_the_same_written_otherwise_is_no_change(one: object, other: object, place: Any) -> None:
    assert kinds(difference(place(one), place(other))) == []
    assert kinds(difference(place(other), place(one))) == []


def test_a_change_is_told_with_its_place_and_what_it_was() -> None:
    before = received(an_object(shelves={"type": "array", "items": an_object(size=NUMBER)}))
    after = received(an_object(shelves={"type": "array", "items": an_object(size=TEXT)}))

    (change,) = difference(before, after).breaking

    assert change.where == "response 200: shelves[].size"
    assert (change.before, change.after, change.operation) == ("integer", "string", "GET /things")
    assert change.words == "response 200: shelves[].size: type changed: integer → string (GET /things)"


def test_a_place_in_a_union_and_in_a_dictionary_has_a_name() -> None:
    def holding(schema: object) -> Json:
        lamp = cat("lamp", parts={"type": "object", "additionalProperties": schema})
        return received(union(cat("chair"), lamp))

    (change,) = difference(holding(TEXT), holding(NUMBER)).breaking

    assert change.where == "response 200: (kind=lamp).parts.*"


def test_a_union_without_a_discriminator_is_told_apart_by_its_constants() -> None:
    before = received({"anyOf": [cat("a", x=TEXT), cat("b", x=TEXT)]})
    after = received({"anyOf": [cat("b", x=TEXT), cat("a", x=NUMBER)]})

    (change,) = difference(before, after).breaking

    assert change.where == "response 200: (kind=a).x"


def test_two_members_that_say_the_same_kind_are_the_same_in_the_same_document() -> None:
    twice = received(union(cat("a", x=TEXT), cat("a", y=TEXT)))

    assert not difference(twice, twice)


@pytest.mark.parametrize("place", [sent, received])
def test_keywords_beside_a_reference_count(place: Any) -> None:
    schemas = {"Name": TEXT}

    found = difference(place(ref("Name"), schemas), place(ref("Name") | {"maxLength": 5}, schemas))

    assert [change.kind for change in [*found.breaking, *found.compatible]] == ["limit changed"]


def test_what_only_documents_a_reference_means_nothing() -> None:
    schemas = {"Name": TEXT}
    documented = ref("Name") | {"description": "of the thing", "title": "Name"}

    assert not difference(sent(ref("Name"), schemas), sent(documented, schemas))


def test_a_reference_and_what_it_refers_to_are_the_same() -> None:
    tree = an_object(name=TEXT, below={"type": "array", "items": ref("Tree")})
    before, after = received(ref("Tree"), {"Tree": tree}), received(tree, {"Tree": tree})

    assert not difference(before, after)
    assert not difference(after, before)


def test_members_with_nothing_in_common_are_not_the_same_one_changed() -> None:
    before = received({"anyOf": [an_object(a=TEXT), an_object(b=TEXT, c=TEXT)]})
    after = received({"anyOf": [an_object(a=TEXT), an_object(x=TEXT, y=TEXT)]})

    found = difference(before, after)

    assert kinds(found) == ["breaking: alternative added", "compatible: alternative removed"]
    assert found.breaking[0].after == "object of x, y"


def test_what_the_union_tells_its_members_apart_by_is_what_counts() -> None:
    def told(version: int) -> Json:
        member = cat("a") | {"properties": {"kind": {"const": "a"}, "version": {"const": version}}}
        return received(union(member, cat("b")))

    assert kinds(difference(told(1), told(2))) == ["may break: value added", "compatible: value removed"]


def test_a_whole_number_beside_any_number_is_a_number() -> None:
    (change,) = difference(received({"type": ["integer", "number"]}), received(TEXT)).breaking

    assert (change.before, change.after) == ("number", "string")


def test_the_names_of_components_mean_nothing_where_schemas_are_not_looked_into() -> None:
    before = sent(TEXT | {"not": ref("One")}, {"One": TEXT})

    assert not difference(before, sent(TEXT | {"not": ref("Other")}, {"Other": TEXT}))
    assert difference(before, sent(TEXT | {"not": {"anyOf": [ref("One")]}}, {"One": TEXT}))
