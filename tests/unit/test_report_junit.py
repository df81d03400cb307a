"""junit.xml, read back with what consumers read it with, and held against the schema that Jenkins checks."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from junitparser import Error, Failure, Skipped
from junitparser.xunit2 import FlakyError, FlakyFailure, JUnitXml, RerunError, RerunFailure

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.report.junit import render
from e2e_matrix.results import Repeat, Results
from support import report_samples as samples
from support import script_samples
from support.hostile_text import FLOODS, TEXTS, many_broken, saying

RERUN = ({"message", "type"}, {"stackTrace", "system-out"})
RESULT: tuple[set[str], set[str]] = ({"message", "type"}, set())
# junit-10.xsd of Jenkins' xunit plugin: the attributes and the children that an element may have. A case's
# properties are not in it.
SCHEMA: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "time", "skipped", "timestamp", "file"},
        {"properties", "testcase"},
    ),
    "testcase": (
        {"name", "time", "classname"},
        {"properties", "skipped", "error", "failure", "system-out"}
        | {"rerunFailure", "rerunError", "flakyFailure", "flakyError"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    **dict.fromkeys(("failure", "error", "skipped"), RESULT),
    **dict.fromkeys(("rerunFailure", "rerunError", "flakyFailure", "flakyError"), RERUN),
    **dict.fromkeys(("stackTrace", "system-out"), (set[str](), set[str]())),
}


def rendered(results: Results) -> str:
    """The document, which fits the schema, counts right and names no case twice."""
    text = render(results, Path("unused"))
    root = ElementTree.fromstring(text.encode())
    for element in root.iter():
        attributes, children = SCHEMA[element.tag]
        assert set(element.attrib) <= attributes, element.tag
        assert {child.tag for child in element} <= children, element.tag
        assert not (len(element) and (element.text or "").strip()), "text beside elements"
    assert [case for case in root.iter("testcase") if not case.get("name")] == []
    names = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert len(set(names)) == len(names) == len(results.cells)
    for holder in [root, *root.iter("testsuite")]:
        _counts_right(holder)
    return text


def _counts_right(holder: ElementTree.Element) -> None:
    cases = list(holder.iter("testcase"))
    found = {
        "tests": len(cases),
        "failures": sum(case.find("failure") is not None for case in cases),
        "errors": sum(case.find("error") is not None for case in cases),
        "skipped": sum(case.find("skipped") is not None for case in cases),
    }
    said = {name: int(holder.attrib[name]) for name in found if name in holder.attrib}
    assert said == {name: found[name] for name in said}
    assert Decimal(holder.attrib["time"]) == sum((Decimal(case.attrib["time"]) for case in cases), Decimal(0))


def suites_of(results: Results) -> list[Any]:
    """The suites as junitparser reads them, whose types are those of another dialect."""
    return list(JUnitXml.fromstring(rendered(results)))


def cases_of(results: Results) -> dict[str, Any]:
    return {case.name: case for suite in suites_of(results) for case in suite}


def properties(holder: Any) -> dict[str, str]:
    return {one.name: one.value for one in holder.properties()}


def test_a_run_that_passed_is_a_suite_of_cases_without_results() -> None:
    results = samples.six_passed()
    [suite] = suites_of(results)
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.skipped) == (
        "deferred-init",
        6,
        0,
        0,
        0,
    )
    assert suite.timestamp == "2025-11-22T08:13:07"
    cases = list(suite)
    assert [case.name for case in cases] == [cell.id for cell in results.cells]
    assert {case.classname for case in cases} == {"e2e-matrix.deferred-init"}
    assert [case.time for case in cases] == [round(cell.duration_seconds, 3) for cell in results.cells]
    assert all(case.result == [] for case in cases)
    said = properties(suite)
    assert (said["verdict"], said["cost-usd"], said["model-kind"]) == ("passed", "0.0001008", "stand-in")


def test_a_failure_is_the_products_and_an_error_the_infrastructures() -> None:
    results = samples.broken()
    unsaid = samples.cell("c", "amd64", [], id="not-run", outcome=Outcome.NOT_RUN, cause=Cause.RUN_ABORTED)
    cases = cases_of(samples.run([*results.cells, unsaid]))
    kinds = {name: [type(one) for one in case.result] for name, case in cases.items()}
    assert kinds == {
        "python-amd64": [],
        "python-arm64": [],
        "java-amd64": [Failure],
        "java-arm64": [Failure],
        "golang-amd64": [Error],
        "golang-arm64": [Skipped],
        "rust-amd64": [Skipped],
        "not-run": [Skipped],
    }
    [lost] = cases["golang-amd64"].result
    assert (lost.type, lost.message) == (
        "registry-unreachable",
        "ghcr.io did not answer within 30 s (3 tries)",
    )
    [skipped] = cases["golang-arm64"].result
    assert skipped.message == "unsupported: this engine cannot run linux/arm64"
    [skipped] = cases["not-run"].result
    assert skipped.message == "not run: an earlier failure made the rest pointless"


def test_a_failure_says_every_step_that_broke_and_what_to_do() -> None:
    [failure] = cases_of(samples.broken())["java-arm64"].result
    assert failure.message == "GET /api/conversations/search answered 200 while the server was dormant"
    assert failure.text == (
        "at gate: Every gated route answers 503, every open one 200\n"
        "GET /api/conversations/search answered 200 while the server was dormant\n"
        "expected: 503 Service Unavailable\n"
        "got:      200 OK\n"
        '{"items": [], "next_page_id": null}\n'
        "at refusals: Init without a key, with a wrong one or a bad field is refused\n"
        "POST /api/init without a key answered 500\n"
        "expected: 401\n"
        "got:      500\n"
        "what to do: Read the failed step: it names the request, what was expected and what came.\n"
        "just this again: e2e-matrix run --ref 1.58.2 --only java-arm64"
    )


def test_the_logs_of_what_broke_are_its_output() -> None:
    printed = cases_of(samples.broken())["java-amd64"].system_out
    assert printed is not None
    assert printed.startswith("server.log:\n2025-11-22 08:13:31 INFO  uvicorn.error")
    assert printed.endswith("conversation 5f0c ended: error")
    script = cases_of(script_samples.with_scripts())["java-amd64-example-16"].system_out
    assert script is not None
    assert "\n\nscript.log:\nTraceback (most recent call last):" in script


def test_each_scenario_is_a_suite_and_a_class() -> None:
    suites = suites_of(script_samples.with_scripts())
    assert [(suite.name, suite.tests, suite.failures) for suite in suites] == [
        ("deferred-init", 4, 0),
        ("example-16", 4, 1),
    ]
    cell = samples.six_passed().cells[0].model_copy(update={"scenario": "16.deferred"})
    [case] = cases_of(samples.run([cell])).values()
    assert case.classname == "e2e-matrix.16_deferred"  # a dot would end the package


def test_what_is_known_of_a_cell_is_in_its_properties_and_nothing_else() -> None:
    cases = cases_of(samples.broken())
    assert properties(cases["python-amd64"]) == {
        "outcome": "passed",
        "axis.variant": "python",
        "axis.arch": "amd64",
        "image": f"ghcr.io/openhands/agent-server:{samples.SHA[:7]}-python",
        "digest": samples.digest("python-amd64"),
        "platform": "linux/amd64",
        "emulated": "false",
        "flaky": "true",
        "attempts": "2",
        "cost-usd": "0.0000168",
        "model": "anthropic/claude-sonnet-4-5",
        "server-version": "1.58.2",
        "server-commit": samples.SHA,
        "files": "cells/python-amd64/attempt-2",
    }
    unknown = properties(cases["golang-amd64"])
    assert (unknown["emulated"], unknown["cause"]) == ("false", "registry-unreachable")
    assert not {"cost-usd", "server-version", "flaky", "reused", "repetitions"} & set(unknown)


def test_attempts_before_a_pass_are_flaky_and_before_a_failure_reruns() -> None:
    assert [type(one) for one in cases_of(samples.broken())["python-amd64"].interim_result] == [FlakyFailure]
    failed = {"fail_at": "gate", "cause": Cause.ASSERTION, "message": "open", "log": "the log"}
    lost = {"fail_at": "pull", "cause": Cause.PULL_FAILED, "outcome": Outcome.ERROR, "message": "lost"}
    first = samples.attempt("a", False, 0, 0.2, 1, **failed)
    second = samples.attempt("a", False, 0, 9.2, 2, **lost)
    end = samples.attempt("a", False, 0, 19.2, 3)
    cases = cases_of(
        samples.run(
            [
                samples.cell("a", "amd64", [second, end], id="lost-then-passed"),
                samples.cell("a", "amd64", [second, first], id="lost-then-failed"),
                samples.cell("a", "amd64", [first, second], id="failed-then-lost"),
            ]
        )
    )
    kinds = {name: [type(one) for one in case.interim_result] for name, case in cases.items()}
    assert kinds == {
        "lost-then-passed": [FlakyError],
        "lost-then-failed": [RerunError],
        "failed-then-lost": [RerunFailure],
    }
    [before] = cases["failed-then-lost"].interim_result
    assert (before.type, before.message, before.system_out) == ("assertion", "open", "server.log:\nthe log")
    assert before.stack_trace.splitlines()[:2] == [
        "attempt 1",
        "at gate: Every gated route answers 503, every open one 200",
    ]


def test_other_repetitions_are_told_and_attempts_of_another_plan_are_not() -> None:
    failed = {"fail_at": "gate", "cause": Cause.ASSERTION, "message": "open"}
    old = samples.attempt("a", False, 0, 0.2, 1, **failed).model_copy(update={"superseded": True})
    tries = [
        samples.attempt("a", False, 0, 9.0 * number, number, **(failed if number != 3 else {})).model_copy(
            update={"repetition": number - 1}
        )
        for number in (2, 3, 4)
    ]
    repeat = Repeat(planned=3, runs=3, passed=1)
    cell = samples.cell("a", "amd64", [old, *tries], attempt=2, outcome=Outcome.FAILED, repeat=repeat)
    [case] = cases_of(samples.run([cell])).values()
    assert [(type(one), one.stack_trace.splitlines()[0]) for one in case.interim_result] == [
        (RerunFailure, "attempt 4")
    ]
    assert properties(case)["repetitions"] == "1 of 3 passed"


def test_the_same_run_is_the_same_text() -> None:
    assert render(samples.broken(), Path("a")) == render(samples.broken(), Path("b"))


def test_ids_that_read_the_same_are_told_apart() -> None:
    cells = [
        samples.six_passed().cells[0].model_copy(update={"id": name})
        for name in ("a", "a\x1b[0m", "a (2)", "\u202e", "")
    ]
    assert list(cases_of(samples.run(cells))) == ["a", "a (2)", "a (2) (2)", "cell", "cell (2)"]


@given(TEXTS)
@settings(max_examples=100, deadline=None)
def test_whatever_a_server_says_the_document_is_whole(text: str) -> None:
    results = saying(text)
    document = rendered(results)
    texts = [element.text or "" for element in ElementTree.fromstring(document.encode()).iter()]
    assert [text for text in texts if "[[ATTACHMENT|" in text.upper()] == []
    assert len([case for suite in JUnitXml.fromstring(document) for case in suite]) == len(results.cells)


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_bounded(flood: str) -> None:
    assert len(rendered(saying(FLOODS[flood]))) < 500_000


def test_a_thousand_cells_with_huge_logs_are_a_file_that_a_server_takes() -> None:
    assert len(rendered(many_broken()).encode()) < 10_000_000
