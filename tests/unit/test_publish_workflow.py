"""What a run tells the GitHub workflow that it is a step of, as the runner reads it."""

from __future__ import annotations

import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.publish import workflow
from e2e_matrix.publish.workflow import ANNOTATIONS, SUMMARY_BYTES, Annotation, outputs, tell
from e2e_matrix.report import write_reports
from e2e_matrix.report.view import build
from e2e_matrix.results import Results, SettingValue, Totals
from support import report_samples as samples
from support import script_samples
from support.actions_runner import Command, commands_in, lines_of, outputs_of
from support.hostile_text import FLOODS, TEXTS, saying

MATRIX = """\
image: "r.test/agent-server:{ref}-{variant}"
matrix:
  variant: [python, java]
  arch:
    - amd64
    - arm64
  include:
    - variant: golang
      arch: amd64
"""


class Step:
    """A step of a workflow: its files, its workspace and what it printed."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.workspace.mkdir(exist_ok=True)
        self.summary, self.output = folder / "summary.md", folder / "output"
        self.environ = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_OUTPUT": str(self.output),
        }
        self.folder = self.workspace / "reports" / "run"
        self.said = self.complained = ""

    def tell(self, results: Results) -> None:
        out, err = io.StringIO(), io.StringIO()
        tell(results, self.folder, self.environ, out, err)
        self.said, self.complained = out.getvalue(), err.getvalue()

    @property
    def commands(self) -> list[Command]:
        """Each line is one."""
        found = commands_in(self.said)
        assert len(found) == len(lines_of(self.said)) - 1
        return found

    @property
    def outputs(self) -> dict[str, str]:
        return outputs_of(self.output.read_bytes().decode("utf-8", "surrogateescape"))


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path)


def asked_by(results: Results, file: Path, text: str = MATRIX) -> Results:
    """The same run, by a matrix in ``file``."""
    file.write_text(text)
    run = results.run.model_copy(update={"matrix_file": str(file)})
    return results.model_copy(update={"run": run})


def many(cells: int) -> Results:
    failed: dict[str, Any] = {"fail_at": "gate", "cause": Cause.ASSERTION, "message": "open"}
    return samples.run(
        [
            samples.cell("a", "amd64", [samples.attempt(f"c{n}", False, 0, 0.2, **failed)], id=f"c{n}")
            for n in range(cells)
        ]
    )


def test_each_cell_that_broke_is_an_error_at_the_line_that_asks_for_it(step: Step) -> None:
    step.tell(asked_by(samples.broken(), step.workspace / "matrix.yaml"))
    errors = [one for one in step.commands if one.name == "error"]
    assert [one.properties for one in errors] == [
        {"file": "matrix.yaml", "line": "3", "title": "java-amd64: terminal"},
        {"file": "matrix.yaml", "line": "3", "title": "java-arm64: gate"},
        {"file": "matrix.yaml", "line": "5", "title": "golang-amd64: pull"},
    ]
    assert errors[1].data == (
        "GET /api/conversations/search answered 200 while the server was dormant\n"
        "expected: 503 Service Unavailable\n"
        "got: 200 OK\n"
        "Run just this again: e2e-matrix run --ref 1.58.2 --only java-arm64"
    )
    assert step.complained == ""


def test_a_cell_that_a_profile_asks_for_is_shown_at_the_profiles_line(step: Step) -> None:
    profiles = "profiles:\n  p:\n    matrix:\n      variant:\n        - golang\n        - java\n"
    results = asked_by(samples.broken(), step.workspace / "matrix.yaml", MATRIX + profiles)
    line = MATRIX.count("\n") + 5
    settings = {**results.run.settings, "profile": SettingValue(value="p", source="command line")}
    run = results.run.model_copy(update={"settings": settings})
    step.tell(results.model_copy(update={"run": run}))
    errors = [one.properties["line"] for one in step.commands if one.name == "error"]
    assert errors == [str(line + 1), str(line + 1), str(line)]


def test_what_else_is_to_be_known_is_a_warning(step: Step) -> None:
    step.tell(samples.broken())
    warnings = {one.properties["title"]: one.data for one in step.commands if one.name == "warning"}
    assert warnings == {
        "python-amd64: flaky": "It passed only at attempt 2. "
        "Before: 1 of 26 gated routes answers while the server is dormant",
        "unsupported": "golang-arm64: this engine cannot run linux/arm64\n"
        "`e2e-matrix doctor` says how to add emulation.",
        "cancelled": "rust-amd64: stopped on request\n"
        "Finish the run with `e2e-matrix run --resume 20251122T081307Z-4be1f0`.",
    }
    step.tell(script_samples.with_scripts())
    [wasted] = [one for one in step.commands if one.properties["title"] == "python-amd64-example-16: passed"]
    assert "the script went on for" in wasted.data


def test_where_several_scenarios_are_the_scenario_is_the_place(step: Step) -> None:
    text = MATRIX + "scenarios:\n  deferred-init:\n  example-16:\n    script: a.py\n"
    step.tell(asked_by(script_samples.with_scripts(), step.workspace / "matrix.yaml", text))
    [failed] = [one for one in step.commands if one.name == "error"]
    assert (failed.properties["title"], failed.properties["line"]) == ("java-amd64-example-16: script", "12")


def test_an_only_scenario_is_no_better_place_than_the_value_of_an_axis(step: Step) -> None:
    text = MATRIX + "scenarios:\n  deferred-init:\n"
    step.tell(asked_by(samples.broken(), step.workspace / "matrix.yaml", text))
    assert [one.properties["line"] for one in step.commands][:3] == ["3", "3", "5"]


@pytest.mark.parametrize("text", ["", "{", "matrix: [a]", "matrix: {variant: java, arch: [x]}", None])
def test_a_matrix_that_is_another_by_now_costs_the_line_and_no_more(text: str | None, step: Step) -> None:
    file = step.workspace / "sub" / "matrix.yaml"
    file.parent.mkdir()
    results = asked_by(samples.broken(), file, text or "")
    if text is None:
        file.unlink()
    step.tell(results)
    assert {one.properties["file"] for one in step.commands} == {"sub/matrix.yaml"}
    assert not any("line" in one.properties for one in step.commands)
    assert step.complained == ""


def test_a_matrix_outside_of_the_workspace_is_no_file_of_the_repository(step: Step, tmp_path: Path) -> None:
    step.tell(asked_by(samples.broken(), tmp_path / "matrix.yaml"))
    assert step.commands
    assert not any({"file", "line"} & set(one.properties) for one in step.commands)


@pytest.mark.parametrize("cells", [ANNOTATIONS, ANNOTATIONS + 1, 1000])
def test_a_step_has_no_more_annotations_than_are_shown_and_the_last_counts_the_rest(
    cells: int, step: Step
) -> None:
    step.tell(many(cells))
    assert len(step.commands) == ANNOTATIONS
    last = step.commands[-1]
    if cells == ANNOTATIONS:
        assert last.properties["title"] == f"c{cells - 1}: gate"
    else:
        assert last.properties["title"] == f"{cells - ANNOTATIONS + 1} more errors"


def test_the_summary_is_the_markdown_report_after_what_is_there(step: Step) -> None:
    step.summary.write_text("before")
    step.tell(samples.broken())
    text = step.summary.read_text()
    assert text.startswith("before\n\n## ❌ Not good to ship\n")
    assert "#### ❌ `java-arm64`" in text


def test_the_summary_takes_what_room_is_left_and_never_more(step: Step) -> None:
    step.summary.write_bytes(b"x" * (SUMMARY_BYTES - 3_000))
    step.tell(samples.broken())
    assert SUMMARY_BYTES - 3_000 < step.summary.stat().st_size <= SUMMARY_BYTES
    assert "Shortened to fit" in step.summary.read_text()
    assert step.complained == ""


def test_a_full_summary_stays_as_it_is_and_that_is_said(step: Step) -> None:
    step.summary.write_bytes(b"x" * (SUMMARY_BYTES - 10))
    step.tell(samples.broken())
    assert step.summary.stat().st_size == SUMMARY_BYTES - 10
    assert "e2e-matrix: the workflow's step summary could not be written: " in step.complained
    assert "has only 8 bytes left" in step.complained
    assert step.commands
    assert step.outputs["verdict"] == "failed"


def test_later_steps_can_ask_for_the_outcome(step: Step) -> None:
    results = samples.six_passed()
    step.folder.mkdir(parents=True)
    (step.folder / "results.json").write_text(results.model_dump_json())
    write_reports(step.folder)
    step.output.write_text("earlier=1")  # by somebody who did not end the line
    step.tell(results)
    assert step.outputs == {
        "earlier": "1",
        "verdict": "passed",
        "reason": "All 6 cells passed.",
        "exit-code": "0",
        "run-id": "20251122T081307Z-4be1f0",
        "cells": "6",
        "passed": "6",
        **dict.fromkeys(("failed", "error", "unsupported", "cancelled", "not-run", "flaky"), "0"),
        "cost": "0.0001008",
        "report": f"{step.folder}/report.html",
        "folder": str(step.folder),
    }
    assert step.said == ""


def test_the_report_is_one_that_was_written(step: Step) -> None:
    chosen = SettingValue(value=["junit", "md"], source="file")
    results = samples.run(samples.six_passed().cells, settings={"reports.formats": chosen})
    step.tell(results)
    assert step.outputs["report"] == ""
    step.folder.mkdir(parents=True)
    for name in ("junit.xml", "report.md"):
        (step.folder / name).touch()
    step.tell(results)
    assert step.outputs["report"] == f"{step.folder}/report.md"


@pytest.mark.parametrize(
    ("cost", "unknown", "told"),
    [
        (Decimal("1E-7"), 0, "0.0000001"),
        (Decimal("1.50"), 0, "1.50"),
        (None, 1, ""),
        (Decimal("1.50"), 1, ""),
    ],
)
def test_a_cost_is_exact_or_it_is_empty(cost: Decimal | None, unknown: int, told: str, step: Step) -> None:
    totals = Totals(cells=6, passed=6, cost_usd=cost, cost_unknown_cells=unknown)
    step.tell(samples.run(samples.six_passed().cells, totals=totals))
    assert step.outputs["cost"] == told


def test_a_folder_cannot_set_another_output(step: Step) -> None:
    step.folder = step.workspace / "a\nverdict=passed\nEOF\nx<<y\r\udcff"
    step.tell(samples.broken())
    assert step.outputs["verdict"] == "failed"
    assert step.outputs["folder"] == str(step.folder)


def test_elsewhere_nothing_is_told(step: Step) -> None:
    step.environ["GITHUB_ACTIONS"] = "false"
    step.tell(samples.broken())
    assert (step.said, step.summary.exists(), step.output.exists()) == ("", False, False)


def test_a_runner_without_the_files_gets_the_annotations(step: Step) -> None:
    del step.environ["GITHUB_STEP_SUMMARY"], step.environ["GITHUB_OUTPUT"], step.environ["GITHUB_WORKSPACE"]
    step.tell(samples.broken())
    assert step.commands
    assert step.complained == ""


def test_what_cannot_be_written_is_said_and_the_rest_is_written(
    step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    step.summary.mkdir()
    step.output.mkdir()

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a fault\n::error::x")

    step.tell(samples.broken())
    assert [line.partition(":")[2].partition(" could")[0] for line in step.complained.splitlines()] == [
        " the workflow's step summary",
        " the workflow's outputs",
    ]
    monkeypatch.setattr(workflow, "annotations_of", broken)
    step.summary.rmdir()
    step.tell(samples.broken())
    assert step.complained.splitlines()[0] == (
        "e2e-matrix: the workflow's annotations could not be written: ZeroDivisionError: a fault ::error::x"
    )
    assert step.summary.read_text().startswith("## ❌")


def test_where_nobody_reads_nothing_is_raised(step: Step) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    tell(samples.broken(), step.folder, step.environ, Gone(), Gone())
    assert step.outputs["verdict"] == "failed"


@given(TEXTS, TEXTS, TEXTS)
@settings(max_examples=200, deadline=None)
def test_the_runner_reads_an_annotation_as_it_was_meant(title: str, message: str, file: str) -> None:
    command = Annotation("warning", f"a {title}.", message, f"{file}.yaml", 7).command
    said = {"title": f"a {title}.", "file": f"{file}.yaml", "line": "7"}
    assert commands_in(command) == [Command("warning", said, message)]


@given(TEXTS)
@settings(max_examples=100, deadline=None)
def test_whatever_a_server_says_each_annotation_is_one_command_of_ours(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    step = Step(tmp_path_factory.mktemp("step"))
    results = saying(text)
    step.tell(results)
    assert {one.name for one in step.commands} == {"error", "warning"}
    assert all(set(one.properties) <= {"file", "line", "title"} for one in step.commands)
    errors = [one for one in step.commands if one.name == "error"]
    assert len(errors) == len(build(results).broken)
    assert set(step.outputs) == set(outputs(results, step.folder))
    assert (step.outputs["verdict"], step.complained) == ("failed", "")


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_bounded(flood: str, step: Step) -> None:
    step.tell(saying(FLOODS[flood]))
    assert step.commands
    assert all(len(line) < 8_000 for line in step.said.splitlines())
    assert step.summary.stat().st_size <= SUMMARY_BYTES


def test_a_run_that_was_stopped_is_told_like_any_other(step: Step) -> None:
    stopped = samples.cell("java", "amd64", [], outcome=Outcome.CANCELLED, cause=Cause.INTERRUPTED)
    step.tell(samples.run([stopped], verdict=Outcome.CANCELLED, exit_code=130))
    assert (step.outputs["verdict"], step.outputs["exit-code"]) == ("cancelled", "130")
    assert [one.name for one in step.commands] == ["warning"]
