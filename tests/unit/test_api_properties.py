"""What holds of the difference of any two APIs."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from e2e_matrix.api import ApiDifference, Kind, canonical_digest, difference
from support.openapi_samples import Json, a_document, answering, asking, json_of, ref

# Documents take longer to make up than to compare; a busy machine is no failure.
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ("Cat", "Dog", "Bird", "Fish")
MIRRORED = {
    Kind.PATH_REMOVED: Kind.PATH_ADDED,
    Kind.METHOD_REMOVED: Kind.METHOD_ADDED,
    Kind.PARAMETER_REMOVED: Kind.PARAMETER_ADDED,
    Kind.BODY_REMOVED: Kind.BODY_ADDED,
    Kind.FIELD_REMOVED: Kind.FIELD_ADDED,
    Kind.STATUS_REMOVED: Kind.STATUS_ADDED,
    Kind.MEDIA_TYPE_REMOVED: Kind.MEDIA_TYPE_ADDED,
    Kind.VALUE_REMOVED: Kind.VALUE_ADDED,
    Kind.ALTERNATIVE_REMOVED: Kind.ALTERNATIVE_ADDED,
    Kind.NULLABLE: Kind.NOT_NULLABLE,
    Kind.OPENED: Kind.CLOSED,
    Kind.NO_LONGER_REQUIRED: Kind.NEWLY_REQUIRED,
}
SCALARS = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "format": "uuid"},
        {"type": "string", "enum": ["a", "b"]},
        {"const": "a"},
        {"type": "integer", "minimum": 1, "maximum": 9},
        {"type": "number"},
        {"type": "boolean", "default": True},
        {"type": "null"},
        {},
        True,
        False,
        *(ref(name) for name in NAMES),
    ]
)


def deeper(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(st.sampled_from("abcd"), below, max_size=4)
    objects = st.builds(
        lambda properties, required, more: {
            "type": "object",
            "properties": properties,
            "required": sorted(required & set(properties)),
            "additionalProperties": more,
        },
        fields,
        st.sets(st.sampled_from("abcd")),
        st.one_of(st.booleans(), below),
    )
    members = st.lists(below, min_size=1, max_size=4)
    return st.one_of(
        objects,
        st.builds(
            lambda items, firsts: {"type": "array", "items": items, "prefixItems": firsts}, below, members
        ),
        st.builds(lambda key, held: {key: held}, st.sampled_from(["anyOf", "oneOf", "allOf"]), members),
        st.builds(lambda held: {"anyOf": [held, {"type": "null"}], "title": "Maybe"}, below),
    )


SCHEMAS = st.recursive(SCALARS, deeper, max_leaves=6)
OPERATIONS = st.one_of(
    st.builds(answering, SCHEMAS),
    st.builds(asking, SCHEMAS),
    st.builds(
        lambda schema, name: {
            "parameters": [{"name": name, "in": "query", "schema": schema}],
            "responses": {"200": json_of(schema), "404": {}},
        },
        SCHEMAS,
        st.sampled_from("ab"),
    ),
)
DOCUMENTS = st.builds(
    a_document,
    st.dictionaries(
        st.sampled_from(["/a", "/b/{id}", "/c"]),
        st.dictionaries(st.sampled_from(["get", "post", "put"]), OPERATIONS, max_size=2),
        max_size=3,
    ),
    st.fixed_dictionaries(dict.fromkeys(NAMES, SCHEMAS)),
).map(lambda document: json.loads(json.dumps(document)))  # as read: no object stands in two places
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)


def renamed(document: Json) -> Json:
    """The same under other names for the components, which come in another order."""
    text = json.dumps(document)
    for number, name in enumerate(NAMES):
        text = text.replace(f"/{name}", f"/Model{9 - number}__{name[::-1]}-Output")
    found: Json = json.loads(text)
    schemas = document["components"]["schemas"]
    new = {
        f"Model{9 - number}__{name[::-1]}-Output": schema
        for (number, name), schema in zip(
            enumerate(NAMES), (found["components"]["schemas"][name] for name in NAMES), strict=True
        )
    }
    found["components"]["schemas"] = dict(reversed(new.items()))
    assert len(new) == len(schemas)
    return found


def documented(value: Any) -> Any:
    """The same with other words for a person everywhere that a schema or an operation stands."""
    if isinstance(value, list):
        return [documented(held) for held in value]
    if not isinstance(value, dict):
        return value
    found = {key: documented(held) for key, held in value.items()}
    if "type" in value or "$ref" in value or "responses" in value or "anyOf" in value:
        found |= {
            "title": "Other",
            "description": "Other words",
            "examples": [1],
            "operationId": "x",
            "summary": "x",
        }
    return found


def of_kind(found: ApiDifference, kind: Kind) -> set[str]:
    changes = [*found.breaking, *found.compatible]
    return {place for one in changes if one.kind is kind for place in (one.where, *one.also)}


@FEW
@given(DOCUMENTS)
def test_nothing_is_different_from_itself(document: Json) -> None:
    assert difference(document, json.loads(json.dumps(document))) == ApiDifference()


@FEW
@given(DOCUMENTS)
def test_the_names_of_components_mean_nothing(document: Json) -> None:
    assert difference(document, renamed(document)) == ApiDifference()


@FEW
@given(DOCUMENTS, DOCUMENTS)
def test_the_names_of_components_mean_nothing_to_a_difference(one: Json, other: Json) -> None:
    assert difference(renamed(one), other) == difference(one, renamed(other)) == difference(one, other)


@FEW
@given(DOCUMENTS)
def test_documentation_means_nothing(document: Json) -> None:
    found = documented(document)

    assert difference(document, found) == difference(found, document) == ApiDifference()


@FEW
@given(DOCUMENTS, DOCUMENTS)
def test_what_is_added_one_way_is_removed_the_other_way(one: Json, other: Json) -> None:
    there, back = difference(one, other), difference(other, one)

    for kind, mirror in MIRRORED.items():
        assert of_kind(there, kind) == of_kind(back, mirror), kind
        assert of_kind(there, mirror) == of_kind(back, kind), kind
    assert of_kind(there, Kind.TYPE_CHANGED) == of_kind(back, Kind.TYPE_CHANGED)


@FEW
@given(DOCUMENTS, DOCUMENTS)
def test_every_change_is_in_one_list_and_in_words(one: Json, other: Json) -> None:
    found = difference(one, other)

    assert all(change.breaking and not change.may_break for change in found.breaking)
    assert not any(change.breaking for change in found.compatible)
    changes = [*found.breaking, *found.compatible]
    assert len({change.words for change in changes}) >= len({(c.kind, c.where) for c in changes})
    assert all(change.operations and "\n" not in change.words for change in changes)


@FEW
@given(st.dictionaries(st.text(), ANY_JSON, max_size=5))
def test_the_digest_survives_being_written_and_read(document: Json) -> None:
    assert canonical_digest(json.loads(json.dumps(document))) == canonical_digest(document)


@FEW
@given(ANY_JSON, ANY_JSON)
def test_anything_in_place_of_paths_and_schemas_is_compared_or_refused(paths: Any, schema: Any) -> None:
    found = paths if isinstance(paths, dict) else {"/a": {"get": paths}}
    document = a_document(found, {"Cat": schema})
    document["paths"]["/z"] = {"get": answering(schema), "post": asking(ref("Cat"))}

    assert difference(document, document) == ApiDifference()
    difference(document, a_document({"/z": {"get": answering({"type": "string"}), "post": asking({})}}))
