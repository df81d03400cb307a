"""GitHub's own description of its API, and what does not fit it."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.exceptions import OpenAPIError
from openapi_core.templating.responses.exceptions import ResponseNotFound
from werkzeug.datastructures import Headers, ImmutableMultiDict

HOST = "https://api.github.com"
_FORMATS = {"date-time": "2026-03-01T12:00:00Z", "uri": f"{HOST}/x", "email": "octocat@github.com"}


@dataclass(frozen=True)
class Request:
    """What came in; ``path`` begins below the API's address."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Answer:
    status: int
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return b"" if self.json is None else json.dumps(self.json).encode()


class _AsAsked:
    """A request as openapi-core wants to see one."""

    host_url = HOST

    def __init__(self, request: Request) -> None:
        self.path = request.path
        self.method = request.method.lower()
        self.body = request.body or None
        self.content_type = request.headers.get("content-type", "").lower()
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(request.query), header=Headers(dict(request.headers))
        )


class _AsAnswered:
    content_type = "application/json"

    def __init__(self, answer: Answer) -> None:
        self.status_code = answer.status
        self.headers = Headers(dict(answer.headers))
        self.data = answer.body or None


@functools.cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((Path(__file__).parent / "openapi.json").read_text())
    return document


@functools.cache
def _api() -> OpenAPI:
    return OpenAPI.from_dict(copy.deepcopy(_document()))


def template_of(request: Request) -> tuple[str, tuple[str, ...]] | None:
    """The path as the description has it, with the values of its parameters; None for one that it has not."""
    for template, methods in _document()["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(template))
        if request.method.lower() in methods and (found := re.fullmatch(pattern, request.path)):
            return template, found.groups()
    return None


def wrong_with_request(request: Request) -> Iterator[str]:
    """What does not fit: the path, a parameter, a field, a type."""
    found = template_of(request)
    if found is None:
        yield f"GitHub has no {request.method} {request.path}"
        return
    operation = _document()["paths"][found[0]][request.method.lower()]
    if request.body and "requestBody" not in operation:
        yield f"{request.method} {found[0]} takes no body"
    parameters = [_resolved(parameter) for parameter in operation.get("parameters", ())]
    known = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
    for name in request.query.keys() - known:
        yield f"{request.method} {found[0]} has no parameter {name}"
    try:
        _api().validate_request(_AsAsked(request))
    except OpenAPIError as error:
        yield f"{request.method} {request.path}: {error}"


def wrong_with_answer(request: Request, answer: Answer) -> Iterator[str]:
    """What GitHub would not have answered. A refusal that is not described has to look like one."""
    try:
        _api().validate_response(_AsAsked(request), _AsAnswered(answer))
    except ResponseNotFound:
        if answer.status < 400 or not isinstance(answer.json, dict) or "message" not in answer.json:
            yield f"GitHub does not answer {request.method} {request.path} with {answer.status} {answer.json}"
    except OpenAPIError as error:
        yield f"the answer to {request.method} {request.path}: {error}"


def filled(schema: str, /, **values: Any) -> dict[str, Any]:
    """The least that fits the description's ``schema``, with these values in it."""
    made: dict[str, Any] = _least(_document()["components"]["schemas"][schema])
    return made | values


def _least(schema: dict[str, Any]) -> Any:
    schema = _resolved(schema)
    if schema.get("nullable"):
        return None
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return _least(schema[several][0])
    if "allOf" in schema:
        return {key: value for part in schema["allOf"] for key, value in _least(part).items()}
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "string":
            return _FORMATS.get(schema.get("format", ""), "x")
        case "integer" | "number":
            return 1
        case "boolean":
            return False
        case "array":
            return []
    properties = schema.get("properties", {})
    return {name: _least(properties[name]) for name in schema.get("required", ())}


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        _, _, kind, name = schema["$ref"].split("/")
        schema = _document()["components"][kind][name]
    return schema
