"""OpenAPI descriptions as a server sends them: read, held to bounds, counted, and given one digest.

What a server sends is hostile until ``checked`` has seen it: afterwards it is JSON of a bounded depth and
size. Everything in it may still be of any type, and whoever looks takes a wrong one for nothing: a
description that is half wrong is compared as far as it is right.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.text import format_bytes, one_line

# OpenAPI 3.1, "Path Item Object".
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
MAX_BYTES = 16_000_000  # the real one has 0.7 MB
_MAX_DEPTH = 100  # the real one has 14
_MAX_VALUES = 1_000_000  # the real one has 25,000
_MAX_OPERATIONS = 5000
_MAX_INTEGER_BITS = 1024
_HINT = "Ask the server for /openapi.json by hand to see what it sends."

Json = dict[str, Any]


def read(text: bytes, name: str = "/openapi.json") -> Json:
    """The description in ``text``, checked. Raises ``BadInput`` with ``name`` where it is none."""
    if len(text) > MAX_BYTES:
        _refuse(name, f"is larger than {format_bytes(MAX_BYTES)}")
    try:
        found = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        _refuse(name, f"nests more than {_MAX_DEPTH} levels")
    except ValueError as error:  # no JSON, no UTF-8, a number with too many digits
        _refuse(name, f"is no JSON: {one_line(str(error))}")
    return checked(found, name)


def checked(document: object, name: str) -> Json:
    """The same as a ``dict``. Raises ``BadInput`` where it is no JSON, no OpenAPI 3, or too much of it."""
    if not isinstance(document, Mapping):
        _refuse(name, f"is no object but {_kind(document)}")
    document = dict(document)
    if problem := _not_json(document):
        _refuse(name, problem)
    version = document.get("openapi")
    if not isinstance(version, str) or not version.startswith("3."):
        says = f"says openapi: {one_line(str(version), 40)}" if "openapi" in document else "has no `openapi`"
        _refuse(name, f"is no OpenAPI 3 description: it {says}")
    if not isinstance(document.get("paths", {}), dict):
        _refuse(name, f"is no OpenAPI description: its `paths` is {_kind(document['paths'])}")
    if (number := operations(document)) > _MAX_OPERATIONS:
        _refuse(name, f"describes {number:,} operations; up to {_MAX_OPERATIONS:,} are compared")
    return document


def canonical(value: Any) -> str:
    """JSON in one way only: keys sorted, no white space, ASCII. A whole number has no fraction: 1.0 is 1."""
    return json.dumps(_plain_numbers(value), sort_keys=True, separators=(",", ":"))


def canonical_digest(document: Mapping[str, Any]) -> str:
    """``sha256:...``: the same exactly where two documents hold the same, however they are written down.

    Raises ``BadInput`` where the document is no JSON.
    """
    found = dict(document)
    if problem := _not_json(found):
        _refuse("the API's description", problem)
    return f"sha256:{hashlib.sha256(canonical(found).encode()).hexdigest()}"


def operations(document: Mapping[str, Any]) -> int:
    """How many pairs of a path and a method it describes."""
    return sum(1 for _ in each_operation(document))


def each_operation(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Json, Json]]:
    """Path, method in lower case, the path's item and the operation, in the document's order."""
    for path, item in mapping(document.get("paths")).items():
        for method, operation in mapping(item).items():
            if method.lower() in METHODS and isinstance(operation, dict):
                yield path, method.lower(), item, operation


def mapping(value: object) -> Json:
    """The object, or an empty one where it is something else."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """The list, or an empty one where it is something else."""
    return value if isinstance(value, list) else []


def too_intricate(what: str) -> NoReturn:
    raise BadInput([Problem("the API's description", 0, 0, f"is too intricate to compare: {what}", _HINT)])


def _refuse(name: str, message: str) -> NoReturn:
    raise BadInput([Problem(name, 0, 0, message, _HINT)])


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain_numbers(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_plain_numbers(held) for held in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _not_json(document: Json) -> str | None:
    """What keeps a value from being JSON within our bounds; None where nothing does."""
    level: list[Any] = [document]
    seen = 0
    for _ in range(_MAX_DEPTH):
        seen += len(level)
        if seen > _MAX_VALUES:
            return f"holds more than {_MAX_VALUES:,} values"
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                if wrong := [key for key in value if not isinstance(key, str)]:
                    return f"is no JSON: a key is {_kind(wrong[0])}"
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif problem := _not_a_value(value):
                return f"is no JSON: {problem}"
        if not below:
            return None
        level = below
    return f"nests more than {_MAX_DEPTH} levels"


def _not_a_value(value: object) -> str | None:
    if value is None or isinstance(value, str | bool):
        return None
    if isinstance(value, int):
        return "a number has too many digits" if value.bit_length() > _MAX_INTEGER_BITS else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is no number"
    return f"it holds {_kind(value)}"


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "a list", dict: "an object"}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return names.get(type(value), f"a {type(value).__name__}")
