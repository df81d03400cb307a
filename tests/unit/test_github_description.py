"""The GitHub that the tests speak to is as strict as GitHub's own description of itself, or a little more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.github.description import Answer, Request, filled, wrong_with_answer, wrong_with_request
from support.github.trim import TARGET, USED, trimmed

REPO = "/repos/octo/matrix"
COMMENTS = f"{REPO}/issues/7/comments"
CHECK = {"name": "x", "head_sha": "a" * 40}
ANNOTATION = {"path": "x", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "x"}


def asked(method: str, path: str, body: Any = None, **query: str) -> Request:
    headers = {"content-type": "application/json"} if body is not None else {}
    return Request(method, path, query, headers, b"" if body is None else json.dumps(body).encode())


def with_output(**output: Any) -> dict[str, Any]:
    return CHECK | {"output": {"title": "x", "summary": "x", **output}}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (asked("GET", f"{REPO}/issues/7/commentz"), "GitHub has no GET"),
        (asked("PUT", COMMENTS, {"body": "x"}), "GitHub has no PUT"),
        (asked("GET", f"{REPO}/issues/seven/comments"), "Path parameter error"),
        (asked("GET", COMMENTS, per_page="many"), "Query parameter error: per_page"),
        (asked("GET", COMMENTS, perpage="100"), "has no parameter perpage"),
        (asked("GET", COMMENTS, {"body": "x"}), "takes no body"),
        (asked("POST", COMMENTS, {"body": 1}), "1 is not of type 'string'"),
        (asked("POST", COMMENTS, {"text": "x"}), "'body' is a required property"),
        (asked("POST", COMMENTS, {"body": "x", "key": "x"}), "'key' was unexpected"),
        (asked("POST", f"{REPO}/check-runs", {"name": "x"}), "not valid"),
        (asked("POST", f"{REPO}/check-runs", CHECK | {"status": "done"}), "not valid"),
        (asked("POST", f"{REPO}/check-runs", with_output(body="x")), "not valid"),
        (asked("POST", f"{REPO}/check-runs", with_output(annotations=[ANNOTATION] * 51)), "not valid"),
        (
            asked("POST", f"{REPO}/check-runs", with_output(annotations=[{**ANNOTATION, "line": 1}])),
            "not valid",
        ),
        (asked("PATCH", f"{REPO}/check-runs/1", {"status": "completed"}), "not valid"),
        (asked("PATCH", f"{REPO}/issues/7", {"state": "done"}), "'done' is not one of"),
        (asked("POST", f"{REPO}/statuses/{'a' * 40}", {"state": "passed"}), "'passed' is not one of"),
    ],
)
def test_a_wrong_path_field_or_type_is_found(request_: Request, said: str) -> None:
    assert said in "\n".join(wrong_with_request(request_))


@pytest.mark.parametrize(
    "request_",
    [
        asked("GET", COMMENTS, per_page="100", page="2"),
        asked("POST", COMMENTS, {"body": "x"}),
        asked("POST", f"{REPO}/check-runs", with_output(annotations=[ANNOTATION] * 50)),
        asked("PATCH", f"{REPO}/issues/7", {"state": "closed", "state_reason": None}),
    ],
)
def test_what_is_right_is_not(request_: Request) -> None:
    assert list(wrong_with_request(request_)) == []


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (Answer(201, filled("issue-comment", body="x")), True),
        (Answer(201, {"id": 1, "body": "x"}), False),
        (Answer(201, filled("issue-comment", id="1")), False),
        (Answer(200, filled("issue-comment")), False),
        (Answer(502, {"message": "bad gateway"}), True),
        (Answer(502, {"error": "bad gateway"}), False),
        (Answer(404, {"message": 1}), False),
    ],
)
def test_what_github_would_not_answer_is_found(answer: Answer, fits: bool) -> None:
    assert (list(wrong_with_answer(asked("POST", COMMENTS, {"body": "x"}), answer)) == []) is fits


def test_the_description_is_what_trim_leaves_of_one() -> None:
    kept = json.loads(TARGET.read_text())
    assert {path: sorted(methods) for path, methods in kept["paths"].items()} == {
        path: sorted(methods) for path, methods in USED.items()
    }
    assert trimmed(kept) == kept
