"""ctrf.json, held against the schema of CTRF itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.report.ctrf import render
from e2e_matrix.results import Results
from support import report_samples as samples
from support import script_samples
from support.hostile_text import FLOODS, TEXTS, many_broken, saying

SCHEMA = json.loads((Path(__file__).parents[1] / "support" / "ctrf" / "schema-0.0.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def rendered(results: Results) -> dict[str, Any]:
    """What the document says; it fits the schema and counts right."""
    text = render(results, Path("unused"))
    document: dict[str, Any] = json.loads(text.encode())
    VALIDATOR.validate(document)
    told: dict[str, Any] = document["results"]
    tests, summary = told["tests"], told["summary"]
    statuses = [test["status"] for test in tests]
    assert summary["tests"] == len(tests) == len(results.cells)
    for status in ("passed", "failed", "skipped", "pending", "other"):
        assert summary[status] == statuses.count(status)
    assert len({test["testId"] for test in tests}) == len(tests)
    for test in tests:
        assert len(test.get("retryAttempts", ())) == test["retries"]
        assert not test["flaky"] or {"failed"} <= {one["status"] for one in test["retryAttempts"]}
    return told


def by_name(results: Results) -> dict[str, dict[str, Any]]:
    return {test["name"]: test for test in rendered(results)["tests"]}


def test_the_schema_refuses_what_is_ours_in_the_wrong_place() -> None:
    document = json.loads(render(samples.six_passed(), Path("unused")))
    document["results"]["tests"][0]["emulated"] = True
    assert not VALIDATOR.is_valid(document)


def test_a_run_that_passed() -> None:
    results = samples.six_passed()
    told = rendered(results)
    assert told["tool"] == {"name": "e2e-matrix", "version": "0.1.0"}
    summary = told["summary"]
    assert (summary["passed"], summary["flaky"], summary["suites"]) == (6, 0, 1)
    assert summary["start"] == 1_763_799_187_000
    assert (
        summary["stop"] - summary["start"]
        == summary["duration"]
        == round(results.run.duration_seconds * 1000)
    )
    assert summary["extra"]["totals"]["cost_usd"] == "0.0001008"
    assert told["environment"]["healthy"] is True
    assert told["environment"]["appVersion"] == "1.58.2"
    test = told["tests"][0]
    assert (test["name"], test["suite"], test["parameters"]) == (
        "python-amd64",
        ["deferred-init"],
        {"variant": "python", "arch": "amd64"},
    )
    assert (test["status"], test["duration"], test["stop"] - test["start"]) == ("passed", 10_932, 10_932)
    assert test["steps"][0] == {"name": "pull", "status": "passed", "extra": {"duration": 2310}}
    assert (test["tags"], test["retries"]) == (["native"], 0)
    assert not {"message", "trace", "stdout", "retryAttempts"} & set(test)
    extra = test["extra"]
    assert (extra["cost_usd"], extra["platform"]) == ("0.0000168", "linux/amd64")
    assert extra["image"]["digest"] == samples.digest("python-amd64")


def test_what_an_outcome_is_in_the_words_of_the_format() -> None:
    results = samples.broken()
    waiting = samples.cell("c", "amd64", [], id="waiting", outcome=Outcome.NOT_RUN, cause=Cause.TIME_WAS_OVER)
    told = rendered(samples.run([*results.cells, waiting]))
    assert {test["name"]: (test["status"], test["rawStatus"]) for test in told["tests"]} == {
        "python-amd64": ("passed", "passed"),
        "python-arm64": ("passed", "passed"),
        "java-amd64": ("failed", "failed"),
        "java-arm64": ("failed", "failed"),
        "golang-amd64": ("other", "error"),
        "golang-arm64": ("skipped", "unsupported"),
        "rust-amd64": ("skipped", "cancelled"),
        "waiting": ("pending", "not_run"),
    }
    assert told["environment"]["healthy"] is False


def test_a_failure_has_its_message_its_trace_and_its_log() -> None:
    test = by_name(samples.broken())["java-amd64"]
    assert test["message"].startswith("the conversation ended in error: LLMAuth")
    trace = test["trace"].splitlines()
    assert trace[0] == "at terminal: The conversation reaches a terminal state"
    assert trace[2:4] == ["expected: execution_status finished", "got:      execution_status error"]
    assert trace[-1] == "just this again: e2e-matrix run --ref 1.58.2 --only java-amd64"
    assert (test["stdout"][0], len(test["stdout"])) == ("server.log:", len(samples.LOG.splitlines()) + 1)
    unsupported = by_name(samples.broken())["golang-arm64"]
    assert unsupported["message"] == "this engine cannot run linux/arm64"
    assert (unsupported["duration"], unsupported["tags"]) == (0, [])
    assert not {"trace", "stdout", "start"} & set(unsupported)


def test_a_flaky_test_is_its_last_attempt_and_has_the_ones_before() -> None:
    test = by_name(samples.broken())["python-amd64"]
    [before] = test["retryAttempts"]
    assert (test["flaky"], test["status"], test["retries"], test["duration"]) == (True, "passed", 1, 10_932)
    assert (before["attempt"], before["status"], before["duration"]) == (1, "failed", 9_920)
    assert before["message"] == "1 of 26 gated routes answers while the server is dormant"
    assert before["start"] < test["start"]


def test_the_logs_beside_the_report_are_attached_where_there_are_any() -> None:
    results = samples.with_log(samples.six_passed(), "java-amd64", 1000, 0, complete=True)
    tests = by_name(results)
    assert tests["java-amd64"]["attachments"] == [
        {
            "name": "server.log",
            "contentType": "text/plain",
            "path": "cells/java-amd64/attempt-1/server.log",
        }
    ]
    assert tests["java-arm64"]["attachments"] == []
    [script] = by_name(script_samples.with_scripts())["python-amd64-example-16"]["attachments"]
    assert script["path"] == "cells/python-amd64-example-16/attempt-1/script.log"


def test_the_same_run_is_the_same_text() -> None:
    assert render(samples.broken(), Path("a")) == render(samples.broken(), Path("b"))


@given(TEXTS)
@settings(max_examples=100, deadline=None)
def test_whatever_a_server_says_the_document_fits_the_schema(text: str) -> None:
    said = json.dumps(rendered(saying(text)), ensure_ascii=False)
    assert not set(said) & {"\x00", "\x1b", "\x9b", "\u202e", "\ufeff", "\ud800"}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_bounded(flood: str) -> None:
    assert len(json.dumps(rendered(saying(FLOODS[flood])))) < 500_000


def test_a_thousand_cells_with_huge_logs_are_a_file_that_a_program_takes() -> None:
    assert len(render(many_broken(), Path("unused")).encode()) < 10_000_000
