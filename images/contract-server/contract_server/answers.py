"""HTTP answers as the real server's framework, FastAPI, gives them, and how it reads what it is asked."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; ``body`` goes as JSON unless it is text."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    then: Callable[[], object] = lambda: None  # called when it is out

    @property
    def content_type(self) -> str:
        return "text/html; charset=utf-8" if isinstance(self.body, str) else "application/json"


class NoAnswer(Exception):
    """The request is never answered."""


class Invalid(Exception):
    """A 422; ``problem`` is what pydantic would say of the first wrong thing."""

    def __init__(self, kind: str, message: str, *place: str | int) -> None:
        self.problem = {"type": kind, "loc": list(place), "msg": message}
        super().__init__(message)


def parse(body: bytes) -> Any:
    """The body as JSON, None where there is none. Raises ``Invalid``."""
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        place = getattr(error, "pos", 0)
        raise Invalid("json_invalid", "JSON decode error", "body", place) from error


def the_object(body: Any) -> dict[str, Any]:
    """The body if it is a JSON object. Raises ``Invalid``."""
    if body is None:
        raise Invalid("missing", "Field required", "body")
    if not isinstance(body, dict):
        what = "Input should be a valid dictionary or object to extract fields from"
        raise Invalid("model_attributes_type", what, "body")
    return body


def the_uuid(text: str, *place: str) -> str:
    """The UUID in its usual spelling. Raises ``Invalid``, which says at what ``place`` it was."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise Invalid("uuid_parsing", "Input should be a valid UUID", *place) from error


def page(items: list[dict[str, Any]], options: Mapping[str, list[str]]) -> Answer:
    """One page; the next begins at the item that ``next_page_id`` names."""
    limit_text = options.get("limit", ["100"])[0]
    if not limit_text.lstrip("-").isdecimal():
        raise Invalid("int_parsing", "Input should be a valid integer", "query", "limit")
    limit = int(limit_text)
    if limit > 100:
        raise Invalid("less_than_equal", "Input should be less than or equal to 100", "query", "limit")
    if limit < 1:
        raise Invalid("greater_than", "Input should be greater than 0", "query", "limit")
    if options.get("sort_order", [""])[0] == "TIMESTAMP_DESC":
        items = items[::-1]
    if page := options.get("page_id"):
        items = items[next((at for at, item in enumerate(items) if item["id"] == page[0]), len(items)) :]
    following = items[limit]["id"] if len(items) > limit else None
    return Answer(200, {"items": items[:limit], "next_page_id": following})


def unauthorized() -> Answer:
    return Answer(401, {"detail": "Unauthorized"})


def not_found() -> Answer:
    return Answer(404, {"detail": "Not Found"})


def not_deferred() -> Answer:
    what = "server is not running with deferred_init=True; the /api/init endpoint is not available"
    return Answer(404, {"detail": what})


def not_allowed(methods: set[str]) -> Answer:
    return Answer(405, {"detail": "Method Not Allowed"}, {"Allow": ", ".join(sorted(methods))})


def server_error(status: int, what: str) -> Answer:
    """What the real server says of 500 and above."""
    return Answer(status, {"detail": "Internal Server Error", "exception": f"{status}: {what}"})
