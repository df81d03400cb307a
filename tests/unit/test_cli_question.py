"""--claim, --expect and --report qa, on the commands that take them."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from e2e_matrix.assessment import Question, expectations
from e2e_matrix.cli import compare, demo, render, run
from e2e_matrix.cli.job import load_run
from e2e_matrix.errors import BadInput
from e2e_matrix.question import QUESTION, Asked, keep_question, load_question
from support import report_samples as samples
from support.qa_samples import keep, with_keys, without_keys

MATRIX = "image: r.test/server:{ref}-{variant}\nmatrix:\n  variant: [python]\n  arch: [amd64]\n"


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs, in the current folder's reports."""
    monkeypatch.chdir(tmp_path)
    Path("matrix.yaml").write_text(MATRIX)
    keep(tmp_path / "reports" / "old", without_keys())
    keep(tmp_path / "reports" / "new", with_keys())
    return tmp_path / "reports"


def invoke(command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), standalone_mode=False)


def refused(result: Result) -> str:
    assert isinstance(result.exception, BadInput), result.output
    return str(result.exception)


# compare


def test_compare_writes_the_qa_report_beside_the_candidate_and_keeps_what_it_needs(reports: Path) -> None:
    arguments = ["old", "new", "--report", "qa", "--claim", "Enforce keys", "--expect", "fixed:*-amd64"]
    result = invoke(compare.command, *arguments)
    assert result.return_value == 0
    lines = result.output.splitlines()
    assert lines[-2:] == [f"reports/new/{name}" for name in ("qa.html", "qa.md")]
    assert any(line.startswith("PASS: fixed: 3 cells") for line in lines)
    text = (reports / "new" / "qa.md").read_text()
    assert text.startswith("## ✅ PASS: Enforce keys\n")
    assert invoke(render.command, str(reports / "new"), "--report", "qa").return_value is None
    assert (reports / "new" / "qa.md").read_text() == text
    assert sorted(path.name for path in (reports / "old").iterdir()) == ["results.json"]


def test_compare_without_a_report_leaves_no_trace_and_goes_by_what_is_kept(
    reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("E2E_MATRIX_REPORT", "qa")
    result = invoke(compare.command, "old", "new", "--expect", "fixed:*")
    assert result.return_value == 1
    assert "FAIL: expected fixed:*, but python-arm64 is same" in result.output
    assert [path.name for path in (reports / "new").iterdir()] == ["results.json"]
    keep_question(reports / "new", Asked(expected=expectations(["same:java-amd64"])))
    assert invoke(compare.command, "old", "new").return_value == 1
    assert invoke(compare.command, "old", "new", "--expect", "fixed:java-amd64").return_value == 0


def test_the_policy_of_a_comparison_is_that_of_its_report(reports: Path) -> None:
    keep(reports / "bad", samples.broken())
    keep(reports / "worse", samples.broken())
    assert invoke(compare.command, "bad", "worse", "--fail-on", "newly-failing").return_value == 3
    result = invoke(compare.command, "bad", "worse", "--fail-on", "still-failing, cost", "--report", "qa")
    assert result.return_value == 1
    assert "FAIL: still failing: java-amd64, java-arm64" in result.output
    assert load_question(reports / "worse").fail_on == ("still-failing", "cost")
    text = (reports / "worse" / "qa.md").read_text()
    assert text.startswith("## ❌ FAIL")
    assert "- **FAIL**: still failing: java-amd64, java-arm64" in text


def test_one_run_has_no_report_of_itself_against_itself(reports: Path) -> None:
    (reports / "latest").symlink_to("new")
    for names in (["new", "new"], ["latest", "new"], ["latest", str(reports / "new")]):
        assert "both names are of one run, new" in refused(invoke(compare.command, *names))
    assert "both names are of one run" in refused(invoke(compare.command, "new", "new", "--report", "qa"))


def test_what_is_expected_of_no_cell_is_refused_at_once(reports: Path) -> None:
    said = refused(invoke(compare.command, "old", "new", "--expect", "fixed:pyton-*", "--expect", "same:zz"))
    assert "--expect: no cell is called 'pyton-*'\n    did you mean 'python-a" in said
    assert "--expect: no cell is called 'zz'\n    known here: " in said
    assert "no cell is called '*-amd64'" in refused(
        invoke(compare.command, "new", "--axis", "arch", "--expect", "same:*-amd64")
    )
    arguments = [str(reports / "new"), "--baseline", "old", "--expect", "fixed:pyton-*"]
    assert "no cell is called 'pyton-*'" in refused(invoke(render.command, *arguments))
    assert [path.name for path in (reports / "new").iterdir()] == ["results.json"]


def test_a_comparison_says_what_was_asked_of_the_candidate_earlier(reports: Path) -> None:
    keep_question(reports / "new", Asked("Keys", expectations(["fixed:*-amd64"]), ("newly-failing", "cost")))
    told = "asked earlier: expect fixed:*-amd64; fail-on newly-failing, cost (question.json; "
    assert invoke(compare.command, "old", "new").output.startswith(
        f"{told}--expect '' takes it back; --fail-on says another)\n"
    )
    given = ["--expect", "", "--fail-on", "newly-failing"]
    assert "asked earlier" not in invoke(compare.command, "old", "new", *given).output
    assert json.loads(invoke(compare.command, "old", "new", "--format", "json").output)["standing"]


@pytest.mark.parametrize("word", ["fixed", "fixd"])
def test_an_expectation_without_a_colon_is_told_the_words(reports: Path, word: str) -> None:
    said = refused(invoke(compare.command, "old", "new", "--expect", word))
    assert "write CHANGE:GLOB, such as fixed:python-*; " in said
    assert "the changes are newly-failing, fixed, " in said or "did you mean 'fixed'?" in said


@pytest.mark.parametrize("given", [[""], [" , "], ["", ""]])
def test_no_report_is_none_to_choose(reports: Path, given: list[str]) -> None:
    options = [word for one in given for word in ("--report", one)]
    words = "--report: must not be empty\n    name some of html, md, junit, ctrf, qa, or leave it out"
    assert words in refused(invoke(compare.command, "old", "new", *options))
    with pytest.raises(BadInput, match="--report: must not be empty"):
        loaded(*options)


def test_what_is_no_text_is_kept_as_text(reports: Path) -> None:
    invoke(render.command, str(reports / "new"), "--report", "qa", "--claim", "a\udcffb")
    assert load_question(reports / "new").claim == "a?b"
    many = ["--expect", "same:*"] * 1500
    invoke(render.command, str(reports / "new"), "--report", "qa", "--baseline", "old", *many)
    assert len(load_question(reports / "new").expected) == 1500


def test_programs_get_json_alone(reports: Path) -> None:
    result = CliRunner().invoke(
        compare.command, ["old", "new", "--report", "qa,md", "--format", "json"], standalone_mode=False
    )
    assert json.loads(result.stdout)["standing"] == "PASS"
    assert [Path(line).name for line in result.stderr.split()] == ["qa.html", "qa.md", "report.md"]


def test_all_that_is_wrong_with_a_comparison_is_said_at_once(reports: Path) -> None:
    said = refused(
        invoke(
            compare.command,
            *("old", "nowhere", "--expect", "fixd:*", "--expect", "same", "--claim", "x" * 2001),
            *("--fail-on", "csot", "--report", "pdf"),
        )
    )
    for words in ("'fixd:*'", "'same'", "--claim: has 2,001", "no 'csot' to", "format 'pdf'"):
        assert words in said
    assert not (reports / "new" / QUESTION).exists()


def test_an_axis_has_no_folder_for_a_report(reports: Path) -> None:
    result = invoke(compare.command, "new", "--axis", "arch", "--report", "qa")
    assert isinstance(result.exception, click.UsageError)
    assert invoke(compare.command, "new", "--axis", "arch", "--expect", "same:python").return_value == 0


# render


def test_render_keeps_a_claim_also_without_a_baseline(reports: Path) -> None:
    invoke(render.command, str(reports / "new"), "--report", "qa", "--claim", " It boots ")
    assert load_question(reports / "new") == Question("It boots")
    assert (reports / "new" / "qa.md").read_text().startswith("## ✅ PASS: It boots\n")
    assert "not compared: there is no baseline" in (reports / "new" / "qa.md").read_text()
    invoke(render.command, str(reports / "new"), "--report", "qa", "--claim", "")
    assert (reports / "new" / "qa.md").read_text().startswith("## ✅ PASS: QA of ")


def test_render_finds_a_run_where_runs_lie(
    reports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = reports.rename(tmp_path / "others")
    (others / "latest").symlink_to("new")
    made = ["--report", "qa", "--claim", "It boots"]
    for arguments, shown in (
        (["new", "--reports", "others"], "others/new"),
        (["--reports", "others"], "others/latest"),
        (["others/new"], "others/new"),
    ):
        assert invoke(render.command, *arguments, *made).output.splitlines() == [
            f"{shown}/qa.html",
            f"{shown}/qa.md",
        ]
    assert "there is no run 'new'" in refused(invoke(render.command, "new"))
    monkeypatch.setenv("E2E_MATRIX_REPORTS", "others")
    assert invoke(render.command, "new", *made).exception is None
    monkeypatch.delenv("E2E_MATRIX_REPORTS")
    Path("matrix.yaml").write_text(f"{MATRIX}reports: others\n")
    assert invoke(render.command, *made).output.startswith("others/latest/qa.html")
    Path("matrix.yaml").write_text("reports: [others]\n")
    assert invoke(render.command, "others/new", *made).exception is None  # nobody asks that file


def test_render_expects_nothing_without_a_baseline(reports: Path) -> None:
    said = refused(invoke(render.command, str(reports / "new"), "--expect", "fixed:*", "--expect", "x:y"))
    assert "--expect: nothing can be expected without a baseline\n    say --baseline RUN, or leave" in said
    assert "cannot be 'x:y'" in said
    assert [path.name for path in (reports / "new").iterdir()] == ["results.json"]
    arguments = [str(reports / "new"), "--report", "qa", "--expect", "fixed:*-amd64"]
    assert invoke(render.command, *arguments, "--baseline", "old").exception is None
    # Now there is one, in the folder.
    assert invoke(render.command, *arguments).exception is None


def test_a_broken_question_says_what_to_do(reports: Path) -> None:
    (reports / "new" / QUESTION).write_text("{")
    said = refused(invoke(render.command, str(reports / "new"), "--report", "qa"))
    assert f"{QUESTION}: the file: Invalid JSON" in said
    assert "Remove it; --claim and --expect write it again." in said


# run and demo


def loaded(*arguments: str, command: click.Command = run.command) -> Asked:
    """What would be asked of the run."""
    return load_run(command.make_context("run", list(arguments))).job(force=False).asked


@pytest.mark.parametrize("command", [run.command, demo.command])
def test_a_run_takes_a_claim_and_with_a_baseline_expectations(reports: Path, command: click.Command) -> None:
    assert loaded(command=command) == Asked()
    assert loaded("--claim", "It boots", command=command) == Asked("It boots")
    expected = expectations(["fixed:python-*", "removed:java-amd64"])  # the other is in the baseline alone
    arguments = ["--expect", "fixed:python-*", "--expect", "removed:java-amd64"]
    assert loaded(*arguments, "--baseline", "old", command=command) == Asked(None, expected)
    if command is run.command:
        assert loaded(*arguments[:2], "--ref", "2", "--baseline-ref", "1") == Asked(None, expected[:1])


def test_a_run_refuses_what_is_expected_of_no_cell_before_it_begins(reports: Path) -> None:
    with pytest.raises(BadInput, match=r"no cell is called 'pyton-\*'\n    did you mean 'python-amd64'"):
        loaded("--expect", "fixed:pyton-*", "--ref", "2", "--baseline-ref", "1")
    with pytest.raises(BadInput, match="no cell is called 'jva-amd64'\n    did you mean 'java-amd64'"):
        loaded("--expect", "removed:jva-amd64", "--baseline", "old")
    folder = resumed(reports / "new")
    keep(folder, with_keys(), without_keys())
    with pytest.raises(BadInput, match="no cell is called 'jva-amd64'"):
        loaded("--resume", str(folder), "--expect", "same:jva-amd64")


def test_two_runs_of_one_ref_are_told_of(reports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded("--ref", "v1.2.3", "--baseline-ref", "1.2.3")
    assert capsys.readouterr().err == "baseline and candidate are the same ref, 1.2.3\n"
    loaded("--ref", "2", "--baseline-ref", "1")
    assert capsys.readouterr().err == ""


def test_variables_ask_as_well(reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2E_MATRIX_CLAIM", "It boots")
    monkeypatch.setenv("E2E_MATRIX_EXPECT", "fixed:python-* same:java-*")
    assert loaded("--baseline", "old") == Asked("It boots", expectations(["fixed:python-*", "same:java-*"]))


def test_all_that_is_wrong_with_a_run_is_said_at_once(reports: Path) -> None:
    with pytest.raises(BadInput) as caught:
        loaded("--expect", "fixd:*", "--expect", "nothing", "--fail-on", "csot", "--repeat", "2")
    said = str(caught.value)
    without = "without a baseline\n    say --baseline RUN or --baseline-ref REF, or leave it out"
    for words in ("'fixd:*'", "'nothing'", without, "no 'csot' to fail on"):
        assert words in said


def test_the_demo_is_not_told_of_an_option_that_it_refuses(reports: Path) -> None:
    ended = CliRunner().invoke(demo.command, ["--expect", "fixed:*"])
    assert isinstance(ended.exception, BadInput)
    assert "say --baseline RUN, or leave it out" in str(ended.exception)


def resumed(folder: Path) -> Path:
    plan = {
        "schema_version": 1,
        "started_at": "2026-11-22T10:00:00Z",
        "matrix_file": "matrix.yaml",
        "options": {},
        "repeat": 1,
        "cells": {},
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def test_a_resumed_run_goes_by_the_baseline_that_it_keeps(reports: Path) -> None:
    folder = resumed(reports / "new")
    with pytest.raises(BadInput, match="nothing can be expected without a baseline"):
        loaded("--resume", str(folder), "--expect", "fixed:*")
    keep(folder, with_keys(), without_keys())
    assert loaded("--resume", str(folder), "--expect", "fixed:*").expected == expectations(["fixed:*"])


@pytest.mark.parametrize("name", ["baseline.json", QUESTION])
def test_what_a_resumed_run_cannot_read_is_said_before_it_runs(name: str, reports: Path) -> None:
    folder = resumed(reports / "new")
    (folder / name).write_text("{")
    with pytest.raises(BadInput, match=name):
        loaded("--resume", str(folder))


def test_what_was_expected_can_be_taken_back(reports: Path) -> None:
    keep_question(reports / "new", Asked(expected=expectations(["same:*"])))
    assert invoke(compare.command, "old", "new").return_value == 1
    assert invoke(compare.command, "old", "new", "--expect", "", "--report", "qa").return_value == 0
    assert load_question(reports / "new") == Question()
