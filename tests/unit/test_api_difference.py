"""What differs between two APIs beside the schemas, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest

from e2e_matrix.api import ApiDifference, difference
from e2e_matrix.api.changes import MAX_CHANGES
from support.openapi_samples import (
    Json,
    a_document,
    an_object,
    answering,
    asking,
    json_of,
    received,
    ref,
)

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
KEY = {"type": "apiKey", "in": "header", "name": "X-Key"}
BEARER = {"type": "http", "scheme": "bearer"}


def one_operation(own: Json, path: str = "/things", method: str = "get", **more: Any) -> Json:
    return a_document({path: {method: answering({}) | own}}, **more)


def parameter(name: str = "limit", place: str = "query", schema: object = NUMBER, **more: Any) -> Json:
    return {"name": name, "in": place, "schema": schema} | more


def asked(*parameters: object, path: str = "/things") -> Json:
    return one_operation({"parameters": [*parameters]}, path)


def statuses(*codes: str) -> Json:
    return one_operation({"responses": {code: {} for code in codes}})


def secured(*ways: Json, **schemes: Json) -> Json:
    document = one_operation({"security": [*ways]})
    document["components"]["securitySchemes"] = schemes
    return document


def told(before: Json, after: Json) -> list[str]:
    found = difference(before, after)
    return [f"{change.severity}: {change.words}" for change in [*found.breaking, *found.compatible]]


def test_a_path_that_is_gone_breaks_and_a_new_one_does_not() -> None:
    one = a_document({"/a": {"get": answering(TEXT)}})
    both = a_document({"/a": {"get": answering(TEXT)}, "/b": {"get": answering(TEXT), "put": asking(TEXT)}})

    assert told(both, one) == ["breaking: /b: path removed (GET /b and 1 more)"]
    assert told(one, both) == ["compatible: /b: path added (GET /b and 1 more)"]


def test_so_it_is_with_a_method() -> None:
    one = a_document({"/a": {"get": answering(TEXT)}})
    both = a_document({"/a": {"get": answering(TEXT), "put": asking(TEXT)}})

    assert told(both, one) == ["breaking: /a: method removed (PUT /a)"]
    assert told(one, both) == ["compatible: /a: method added (PUT /a)"]


def test_what_the_fields_of_a_path_are_called_means_nothing() -> None:
    before = asked(parameter("id", "path", TEXT), parameter("part", "path", TEXT), path="/a/{id}/{part}")
    after = asked(parameter("part", "path", TEXT), parameter("a_id", "path", TEXT), path="/a/{a_id}/{part}")

    assert told(before, after) == []


def test_the_fields_of_a_renamed_path_are_compared_in_their_order() -> None:
    before = asked(parameter("id", "path", TEXT), path="/a/{id}")
    after = asked(parameter("number", "path", NUMBER), path="/a/{number}")

    assert told(before, after) == [
        "breaking: path parameter id: type changed: string → integer (GET /a/{id})"
    ]


def test_an_operation_that_is_deprecated_still_works() -> None:
    assert told(one_operation({}), one_operation({"deprecated": True})) == [
        "compatible: deprecated (GET /things)"
    ]


@pytest.mark.parametrize(
    ("before", "after", "there", "back"),
    [
        ([], [parameter()], "compatible: {}: parameter added: optional", "breaking: {}: parameter removed"),
        (
            [],
            [parameter(required=True)],
            "breaking: {}: parameter added: required",
            "breaking: {}: parameter removed",
        ),
        (
            [parameter()],
            [parameter(required=True)],
            "breaking: {}: newly required",
            "compatible: {}: no longer required",
        ),
        (
            [parameter()],
            [parameter(style="spaceDelimited")],
            "breaking: {}: written differently: form, exploded → spaceDelimited, not exploded",
            "breaking: {}: written differently: spaceDelimited, not exploded → form, exploded",
        ),
        (
            [parameter()],
            [parameter(schema=TEXT)],
            "breaking: {}: type changed: integer → string",
            "breaking: {}: type changed: string → integer",
        ),
    ],
)
def test_parameters(before: list[Json], after: list[Json], there: str, back: str) -> None:
    name, end = "query parameter limit", " (GET /things)"

    assert told(asked(*before), asked(*after)) == [there.format(name) + end]
    assert told(asked(*after), asked(*before)) == [back.format(name) + end]


def test_a_parameter_of_the_path_is_one_of_each_operation_unless_the_operation_says_otherwise() -> None:
    before = a_document({"/a": {"parameters": [parameter()], "get": answering({})}})
    after = a_document({"/a": {"parameters": [parameter()], "get": answering({}) | {"parameters": []}}})
    other = a_document(
        {"/a": {"parameters": [parameter()], "get": answering({}) | {"parameters": [parameter(schema=TEXT)]}}}
    )

    assert told(before, after) == []
    assert told(before, other) == ["breaking: query parameter limit: type changed: integer → string (GET /a)"]


def test_a_header_is_the_same_in_capitals_and_a_query_parameter_is_not() -> None:
    assert told(asked(parameter("X-Id", "header")), asked(parameter("x-id", "header"))) == []
    assert len(told(asked(parameter("Id")), asked(parameter("id")))) == 2


def test_headers_that_are_no_parameters_mean_nothing() -> None:
    assert told(asked(), asked(parameter("Authorization", "header", required=True))) == []


def test_a_deprecated_parameter_still_works() -> None:
    assert told(asked(parameter()), asked(parameter(deprecated=True))) == [
        "compatible: query parameter limit: deprecated (GET /things)"
    ]


def test_request_bodies() -> None:
    def posting(**body: Any) -> Json:
        return one_operation(body, method="post")

    none, optional = posting(), posting(requestBody=json_of(TEXT))
    required = posting(requestBody=json_of(TEXT) | {"required": True})
    end = " (POST /things)"

    assert told(none, optional) == [f"compatible: request body: body added: optional{end}"]
    assert told(none, required) == [f"breaking: request body: body added: required{end}"]
    assert told(optional, required) == [f"breaking: request body: newly required{end}"]
    assert told(required, optional) == [f"compatible: request body: no longer required{end}"]
    assert told(optional, none) == [f"breaking: request body: body removed{end}"]


def test_media_types_of_requests_and_responses() -> None:
    def holding(name: str, *types: str) -> Json:
        content = {"content": {one: {"schema": TEXT} for one in types}}
        own = {"requestBody": content} if name == "request body" else {"responses": {"200": content}}
        return one_operation(own, method="post")

    for name in ("request body", "response 200"):
        one, two = holding(name, "application/json"), holding(name, "application/json", "text/plain")
        assert told(one, two) == [f"compatible: {name}: media type added: text/plain (POST /things)"]
        assert told(two, one) == [f"breaking: {name}: media type removed: text/plain (POST /things)"]
        assert told(one, holding(name, "Application/JSON; charset=utf-8")) == []
        assert [line for line in told(two, holding(name, "*/*")) if "removed" in line] == []


def test_the_schema_of_another_media_type_is_named_with_it() -> None:
    def form(schema: object) -> Json:
        body = {"content": {"multipart/form-data": {"schema": schema}}}
        return one_operation({"requestBody": body}, method="post")

    assert told(form(an_object(a=TEXT)), form(an_object(a=NUMBER))) == [
        "breaking: request body (multipart/form-data): a: type changed: string → integer (POST /things)"
    ]


def test_statuses() -> None:
    end = " (GET /things)"

    assert told(statuses("200", "404"), statuses("201", "410")) == [
        f"breaking: response 200: status no longer described{end}",
        f"compatible: response 404: status no longer described{end}",
        f"compatible: response 201: status added{end}",
        f"compatible: response 410: status added{end}",
    ]
    assert told(statuses("200"), statuses("200", "429")) == [f"compatible: response 429: status added{end}"]


def test_a_range_of_statuses_covers_one_of_them() -> None:
    assert told(statuses("200"), statuses("2XX")) == ["compatible: response 2XX: status added (GET /things)"]
    assert told(statuses("200"), statuses("4XX"))[0].startswith("breaking: response 200")


def test_errors_are_compared_too() -> None:
    def failing(schema: object) -> Json:
        return one_operation({"responses": {"200": {}, "422": json_of(schema)}})

    assert told(failing(an_object(detail=TEXT)), failing(an_object(detail={"type": "array"}))) == [
        "breaking: response 422: detail: type changed: string → array (GET /things)"
    ]


def test_credentials_that_were_not_asked_for_break() -> None:
    free, keyed = secured(), secured({"Key": []}, Key=KEY)
    either = secured({"Key": []}, {"Token": []}, Key=KEY, Token=BEARER)
    both = secured({"Key": [], "Token": []}, Key=KEY, Token=BEARER)
    asks, accepts = "asks for credentials that it did not ask for", "accepts other credentials too, or none"
    end = " (GET /things)"

    assert told(free, keyed) == [f"breaking: {asks}: none → header X-Key{end}"]
    assert told(keyed, free) == [f"compatible: {accepts}: header X-Key → none{end}"]
    assert told(keyed, either) == [f"compatible: {accepts}: header X-Key → header X-Key or http bearer{end}"]
    assert told(either, keyed) == [f"breaking: {asks}: header X-Key or http bearer → header X-Key{end}"]
    assert told(keyed, both) == [f"breaking: {asks}: header X-Key → header X-Key with http bearer{end}"]
    assert told(keyed, secured({}, {"Key": []}, Key=KEY))[0].startswith("compatible")


def test_a_scheme_is_the_same_under_another_name_and_under_the_same_name() -> None:
    keyed = secured({"Key": []}, Key=KEY)

    assert told(keyed, secured({"Other": []}, Other=KEY)) == []
    assert told(keyed, secured({"Key": []}, Key=KEY | {"name": "X-Other"})) == []


def test_credentials_that_all_operations_ask_for() -> None:
    free = one_operation({})
    keyed = one_operation({}, security=[{"Key": []}])
    but_one = one_operation({"security": []}, security=[{"Key": []}])

    assert told(free, keyed)[0].startswith("breaking: asks for credentials")
    assert told(free, but_one) == []


def test_a_header_that_has_become_a_credential_is_not_gone() -> None:
    before = asked(parameter("x-key", "header", TEXT))

    assert [line for line in told(before, secured({"Key": []}, Key=KEY)) if "removed" in line] == []


def test_references_outside_schemas_are_followed() -> None:
    parts = {
        "parameters": {"Limit": parameter()},
        "requestBodies": {"Thing": json_of(TEXT)},
        "responses": {"Thing": json_of(TEXT)},
    }
    referring = one_operation(
        {
            "parameters": [{"$ref": "#/components/parameters/Limit"}],
            "requestBody": {"$ref": "#/components/requestBodies/Thing"},
            "responses": {"200": {"$ref": "#/components/responses/Thing"}},
        },
        components=parts,
    )
    plain = one_operation(
        {"parameters": [parameter()], "requestBody": json_of(TEXT), "responses": {"200": json_of(TEXT)}}
    )

    assert told(referring, plain) == []
    assert told(plain, referring) == []


def shop(field: object, operations: int = 50) -> Json:
    paths = {f"/a{number:02}": {"get": answering(ref("Thing"))} for number in range(operations)}
    paths["/list"] = {"get": answering({"type": "array", "items": ref("Thing")})}
    return a_document(paths, {"Thing": an_object(field=field)})


def test_a_change_in_a_shared_schema_is_told_once_with_its_operations() -> None:
    (change,) = difference(shop(TEXT), shop(NUMBER)).breaking

    assert len(change.operations) == 51
    assert (change.operation, change.where, change.places) == ("", "response 200: field", 1)
    assert change.words.endswith("(GET /a00 and 50 more)")


def test_the_same_change_of_many_schemas_is_told_once_with_its_places() -> None:
    def events(*fields: str) -> Json:
        held = dict.fromkeys(fields, TEXT)
        kinds = [an_object("kind", kind={"const": f"event-{number}"}, **held) for number in range(30)]
        return received({"type": "array", "items": {"anyOf": kinds}})

    (change,) = difference(events(), events("source")).compatible

    assert (change.places, len(change.also)) == (30, 20)
    assert change.where == "response 200: [](kind=event-0).source"
    assert change.also[0] == "response 200: [](kind=event-1).source"
    assert "and 29 more places: field added" in change.words


def test_the_first_operation_is_the_one_that_the_place_is_told_of() -> None:
    def listing(schema: object) -> Json:
        page = an_object(items={"type": "array", "items": ref("Thing")})
        paths = {"/a": {"get": answering(page)}, "/b": {"get": answering(ref("Thing"))}}
        return a_document(paths, {"Thing": an_object(size=schema)})

    (change,) = difference(listing(TEXT), listing(NUMBER)).breaking

    assert (change.where, change.operations) == ("response 200: size", ("GET /b", "GET /a"))


def test_what_may_break_comes_before_what_does_not() -> None:
    before = received(an_object(a={"enum": ["x"]}))
    after = received(an_object(a={"enum": ["x", "y"]}, aa=TEXT))

    found = difference(before, after)

    assert [change.kind for change in found.compatible] == ["value added", "field added"]
    assert [change.kind for change in found.may_break] == ["value added"]
    assert found.words == "0 breaking changes, 2 compatible (1 may break an unprepared client)"


def test_a_flood_of_changes_is_counted_and_not_listed() -> None:
    fields = {f"field_{number}": TEXT for number in range(MAX_CHANGES + 7)}

    found = difference(received(an_object(**fields)), received(an_object()))

    assert (len(found.breaking), found.omitted_breaking) == (MAX_CHANGES, 7)
    assert found.breaking_total == MAX_CHANGES + 7


def test_no_difference_says_so() -> None:
    found = difference(shop(TEXT), shop(TEXT))

    assert not found
    assert found == ApiDifference()
    assert found.words == "the same API"


def test_text_from_outside_is_one_safe_line() -> None:
    name = "\x1b[31mred\u202e\n" + "x" * 10_000
    before = a_document({f"/{name}": {"get": answering(TEXT)}})
    after = received(an_object(**{name: {"enum": [name]}}))

    found = difference(before, after)

    for change in [*found.breaking, *found.compatible]:
        assert "\n" not in change.words
        assert "\x1b" not in change.words
        assert "\u202e" not in change.words
        assert len(change.words) < 1000


def test_a_field_of_a_path_is_required_whether_that_is_said_or_not() -> None:
    path = "/a/{id}"

    assert told(asked(path=path), asked(parameter("id", "path", TEXT), path=path)) == [
        "breaking: path parameter id: parameter added: required (GET /a/{id})"
    ]


def test_what_is_sent_and_what_is_received_are_told_apart() -> None:
    def both(schema: object) -> Json:
        return a_document({"/a": {"put": asking(schema) | answering(schema)}})

    assert told(both(an_object()), both(an_object(size=NUMBER))) == [
        "compatible: request body: size: field added (PUT /a)",
        "compatible: response 200: size: field added (PUT /a)",
    ]


def test_of_several_places_the_shortest_is_named_first() -> None:
    def both(schema: Json) -> Json:
        return received(an_object(described_at_length=an_object(x=dict(schema)), a=an_object(x=schema)))

    (change,) = difference(both(TEXT), both(NUMBER)).breaking

    assert (change.where, change.also) == (
        "response 200: a.x",
        ("response 200: described_at_length.x",),
    )
    assert change.words == (
        "response 200: a.x and one more place: type changed: string → integer (GET /things)"
    )
