"""Reading what a server says its API is, however hostile, and giving it one digest."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e_matrix.api import canonical_digest, difference, operations, read
from e2e_matrix.api.document import MAX_BYTES
from e2e_matrix.errors import BadInput
from support.openapi_samples import Json, a_document, an_object, answering, asking, received, ref, sent

NESTED = b'{"openapi":"3.1.0","x":' + b"[" * 120 + b"]" * 120 + b"}"


def test_a_description_is_read() -> None:
    document = received({"type": "string"})

    assert read(json.dumps(document).encode()) == document


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is no JSON"),
        (b"<html>", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b'{"openapi": "3.1.0"', "is no JSON"),
        (b'{"openapi": "3.1.0", "x": NaN}', "is no JSON: NaN is no number"),
        (b'{"openapi": "3.1.0", "x": 1e999}', "is no JSON: inf is no number"),
        (b'{"openapi": "3.1.0", "x": ' + b"9" * 5000 + b"}", "is no JSON"),
        (b'{"openapi": "3.1.0", "x": ' + b"9" * 400 + b"}", "a number has too many digits"),
        (b"[]", "is no object but a list"),
        (b"null", "is no object but null"),
        (b"{}", "it has no `openapi`"),
        (b'{"swagger": "2.0"}', "it has no `openapi`"),
        (b'{"openapi": "2.0"}', "it says openapi: 2.0"),
        (b'{"openapi": 3.1}', "it says openapi: 3.1"),
        (b'{"openapi": "3.1.0", "paths": []}', "its `paths` is a list"),
        (NESTED, "nests more than 100 levels"),
        (b"[" * 200_000, "nests more than 100 levels"),
        (b" " * (MAX_BYTES + 1), "is larger than 16.0 MB"),
        (b'{"openapi": "3.1.0", "x": [' + b"1," * 1_000_000 + b"1]}", "holds more than 1,000,000 values"),
    ],
    ids=lambda value: str(value[:30]),
)
def test_what_is_no_description_is_refused_with_the_reason(text: bytes, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(text, "the file")

    (problem,) = caught.value.problems
    assert problem.file == "the file"
    assert says in problem.message
    assert len(str(caught.value)) < 500


def test_too_many_operations_are_refused() -> None:
    with pytest.raises(BadInput, match="describes 5,001 operations"):
        read(json.dumps(a_document({f"/{number}": {"get": {}} for number in range(5001)})).encode())


def holding_itself() -> Json:
    document = a_document()
    document["paths"]["/a"] = document
    return document


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"openapi": "3.1.0", "paths": {7: {}}}, "a key is a number"),
        ({"openapi": "3.1.0", "paths": {"/": {None: {}}}}, "a key is null"),
        ({"openapi": "3.1.0", "x": {1, 2}}, "it holds a set"),
        ({"openapi": "3.1.0", "x": b"x"}, "it holds a bytes"),
        ({"openapi": "3.1.0", "x": float("nan")}, "nan is no number"),
        (holding_itself(), "nests more than 100 levels"),
    ],
)
def test_what_is_no_json_is_refused_on_either_side(document: Any, says: str) -> None:
    with pytest.raises(BadInput, match=f"baseline: .*{says}"):
        difference(document, a_document())
    with pytest.raises(BadInput, match=f"candidate: .*{says}"):
        difference(a_document(), document)
    with pytest.raises(BadInput, match=says):
        canonical_digest(document)


def test_a_document_that_was_read_is_not_changed_by_comparing_it() -> None:
    one = received({"allOf": [an_object(a={"type": "string"}), an_object(b={"type": ["null", "string"]})]})
    before = json.dumps(one)

    difference(one, sent({}))

    assert json.dumps(one) == before


def test_the_digest_is_of_what_is_said_and_not_of_how_it_is_written() -> None:
    digest = canonical_digest({"openapi": "3.1.0", "paths": {}, "x": [1, "ä", {"b": 1.5, "a": None}]})

    assert digest == canonical_digest(
        {"x": [1.0, "\u00e4", {"a": None, "b": 1.5}], "paths": {}, "openapi": "3.1.0"}
    )
    assert digest.startswith("sha256:")
    assert len(digest) == len("sha256:") + 64


@pytest.mark.parametrize("other", [[1, 3], [2, 1], [1, 2, 3], ["1", 2], [True, 2], {"1": 2}])
def test_the_digest_of_something_else_is_another(other: object) -> None:
    assert canonical_digest({"x": [1, 2]}) != canonical_digest({"x": other})


def test_half_a_surrogate_has_a_digest() -> None:
    assert canonical_digest(json.loads('{"x": "\\ud800"}')).startswith("sha256:")


def test_operations_are_pairs_of_a_path_and_a_method() -> None:
    document = a_document(
        {
            "/a": {"get": answering({}), "post": asking({}), "parameters": [], "summary": "x"},
            "/b": {"delete": {}, "x-get": {}, "put": None},
            "/c": None,
        }
    )

    assert operations(document) == 3


def test_operations_of_what_is_none_are_none() -> None:
    assert operations({"paths": 7}) == 0
    assert operations({}) == 0


@pytest.mark.parametrize(
    "wrong", [None, True, 7, 1.5, "x", [], {}, [7, None, "x", {}], {"x": 7}, {"$ref": 7}]
)
def test_wrong_types_are_nothing_to_compare_and_nothing_to_fall_over(wrong: Any) -> None:
    """Wherever a value is expected to be of a type: there with anything else, against what is right."""
    right = rich()
    places: list[list[Any]] = [[]]
    while places:
        place = places.pop()
        held = at(right, place)
        keys = held if isinstance(held, dict) else range(len(held)) if isinstance(held, list) else ()
        places += [[*place, key] for key in keys]
        if (place and place[0] not in ("openapi", "paths")) or len(place) > 1:
            broken = json.loads(json.dumps(right))
            at(broken, place[:-1])[place[-1]] = wrong
            difference(right, broken)
            difference(broken, right)
            assert not difference(broken, broken)


def at(document: Any, place: list[Any]) -> Any:
    for key in place:
        document = document[key]
    return document


def rich() -> Json:
    """A description with one of everything that is looked at."""
    text = {"type": ["string", "null"], "enum": ["a"], "maxLength": 3, "format": "uuid", "pattern": "a"}
    pair = {"type": "array", "prefixItems": [text], "items": text, "minItems": 1}
    kinds = [an_object("kind", kind={"const": name}, text=text) for name in ("a", "b")]
    either = {"oneOf": kinds, "discriminator": {"propertyName": "kind"}}
    thing = an_object("a", a=text, b=pair, c=either, d={"allOf": [ref("Other")]}, e={"anyOf": [text]})
    thing |= {"additionalProperties": text, "maxProperties": 9, "deprecated": True, "default": {}}
    parameter = {"name": "q", "in": "query", "required": True, "schema": text, "style": "form"}
    operation = answering(ref("Thing"), parameters=[parameter], security=[{"Key": []}], deprecated=True)
    operation |= {
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref("Thing")}}}
    }
    document = a_document(
        {"/a/{q}": {"post": operation, "parameters": [parameter]}}, {"Thing": thing, "Other": {}}
    )
    document["components"]["securitySchemes"] = {"Key": {"type": "apiKey", "in": "header", "name": "X-Key"}}
    return document
