"""Make openapi.json: of GitHub's own description of its API, what `e2e-matrix publish` uses.

    python tests/support/github/trim.py package/generated/api.github.com.json

The argument is a file of the npm package @octokit/openapi, unpacked. Nothing is loosened: what is dropped is
text for people (descriptions, examples) and what is not about the paths used. One thing is tightened: a body
that we send may have no field that the description does not know, where it would let any pass. One is said as
OpenAPI wants it said: what may be null and is one of a list has null in that list.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TARGET = HERE / "openapi.json"
_REPOSITORY = "/repos/{owner}/{repo}"
USED = {
    "/user": ["get"],
    f"{_REPOSITORY}/issues": ["get", "post"],
    f"{_REPOSITORY}/issues/{{issue_number}}": ["patch"],
    f"{_REPOSITORY}/issues/{{issue_number}}/comments": ["get", "post"],
    f"{_REPOSITORY}/issues/comments/{{comment_id}}": ["patch", "delete"],
    f"{_REPOSITORY}/pulls": ["get"],
    f"{_REPOSITORY}/check-runs": ["post"],
    f"{_REPOSITORY}/check-runs/{{check_run_id}}": ["get", "patch"],
    f"{_REPOSITORY}/commits/{{ref}}/check-runs": ["get"],
    f"{_REPOSITORY}/commits/{{ref}}/statuses": ["get"],
    f"{_REPOSITORY}/statuses/{{sha}}": ["post"],
}
_FOR_PEOPLE = {"description", "summary", "example", "examples", "externalDocs", "tags", "operationId"}
# Under these, names are a schema's own fields or components: one of them may be called `description`.
_NAMED = {"properties", "parameters", "headers", "responses", "content"}


def trimmed(whole: dict[str, Any]) -> dict[str, Any]:
    """The description of the paths in USED, complete in itself."""
    paths = {path: _operations(whole["paths"][path], methods) for path, methods in USED.items()}
    kept: dict[str, Any] = {
        "openapi": whole["openapi"],
        "info": {
            "title": "GitHub's REST API, trimmed to what e2e-matrix publish uses",
            "version": whole["info"]["version"],
            "license": whole["info"]["license"],
        },
        "servers": [{"url": "https://api.github.com"}],
        "paths": paths,
    }
    waiting = list(_references(paths))
    while waiting:
        reference = waiting.pop()
        _, _, kind, name = reference.split("/")
        components = kept.setdefault("components", {}).setdefault(kind, {})
        if name not in components:
            components[name] = _plain(whole["components"][kind][name])
            if kind == "responses":
                components[name]["description"] = ""
            waiting += _references(components[name])
    return kept


def _operations(path: dict[str, Any], methods: list[str]) -> dict[str, Any]:
    kept = {}
    for method in methods:
        operation = _plain(path[method])
        for response in operation["responses"].values():
            if "$ref" not in response:
                response["description"] = ""  # it has to have one
        for content in operation.get("requestBody", {}).get("content", {}).values():
            _allow_no_other(content["schema"])
        kept[method] = operation
    return kept


def _plain(value: Any, named: bool = False) -> Any:
    """The same without text for people; ``named``: the keys are names, not the language's words."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {
        key: _plain(item, named=not named and key in _NAMED)
        for key, item in value.items()
        if named or not (key in _FOR_PEOPLE or key.startswith("x-"))
    }
    if not named and plain.get("nullable") and None not in plain.get("enum", [None]):
        plain["enum"].append(None)
    return plain


def _allow_no_other(schema: Any) -> None:
    """Close every object of a request that is described by its properties alone."""
    if isinstance(schema, list):
        for item in schema:
            _allow_no_other(item)
    elif isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for item in schema.values():
            _allow_no_other(item)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


if __name__ == "__main__":
    description = json.loads(Path(sys.argv[1]).read_text())
    TARGET.write_text(json.dumps(trimmed(description), indent=1, sort_keys=True) + "\n")
