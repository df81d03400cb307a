"""`run --baseline-ref` on the command line: the two jobs, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from e2e_matrix.cli import demo, execute
from e2e_matrix.cli import run as run_command
from e2e_matrix.errors import BadInput
from e2e_matrix.local import setup
from e2e_matrix.progress import Progress
from e2e_matrix.record import Job
from e2e_matrix.results import Results

MATRIX = "image: r.test/server:{ref}-{variant}\nmatrix:\n  variant: [python, java]\n  arch: [amd64]\n"


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """What would be run, instead of running it."""
    seen: list[Job] = []

    def launch(job: Job, progress: Progress, stand_in: bool = False) -> Results:
        seen.append(job)
        raise BadInput([])

    monkeypatch.setattr(execute, "launch", launch)
    monkeypatch.chdir(tmp_path)
    Path("matrix.yaml").write_text(MATRIX)
    return seen


def refused(*arguments: str, **variables: str) -> str:
    """What the command said; it ends with BadInput and exit code 2 in any case."""
    ended = CliRunner().invoke(run_command.command, list(arguments), env=variables)
    assert isinstance(ended.exception, BadInput), ended.output
    assert ended.exception.exit_code == 2
    return str(ended.exception)


@pytest.mark.parametrize("by_variable", [False, True])
def test_the_baseline_is_the_same_matrix_on_its_ref(jobs: list[Job], by_variable: bool) -> None:
    given = () if by_variable else ("--baseline-ref", "v1.58.1")
    variables = {"E2E_MATRIX_BASELINE_REF": "v1.58.1"} if by_variable else {}
    refused("--ref", "1.58.2", "--repeat", "5", "--only", "python-*", *given, **variables)
    [job] = jobs
    beside = job.baseline_job
    assert beside
    assert [cell.image for cell in job.plan.cells] == ["r.test/server:1.58.2-python"]
    assert [cell.image for cell in beside.plan.cells] == ["r.test/server:1.58.1-python"]
    assert (job.settings.repeat, beside.settings.repeat, beside.command) == (5, 5, job.command)
    assert beside.settings.sources()["ref"].value == "1.58.1"
    assert (beside.resume, beside.baseline, beside.baseline_job, beside.force) == (None, None, None, False)
    assert (job.for_comparison, beside.for_comparison) == (False, True)


def test_without_it_there_is_one_run(jobs: list[Job]) -> None:
    refused("--ref", "1.58.2", E2E_MATRIX_BASELINE_REF="")
    assert [job.baseline_job for job in jobs] == [None]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--baseline-ref", ""], "--baseline-ref: must not be empty"),
        (["--baseline-ref", "  "], "--baseline-ref: must not be empty"),
        (["--baseline-ref", "é"], "--baseline-ref: 'é' is no release, commit or branch"),
        (
            ["--baseline-ref", "1", "--resume"],
            "--baseline-ref: does not go with --resume\n    it goes on with both",
        ),
        (["--baseline-ref", "1", "--baseline", "x"], "does not go with --baseline\n    leave one out"),
        (
            ["--baseline-ref", "1", "--baseline", "x", "--resume", "y"],
            "--baseline-ref: does not go with --baseline and --resume",
        ),
        (
            ["--baseline-ref", "1", "--image", "r.test/server:{variant}"],
            "--baseline-ref: no image of the matrix depends on the ref\n    its image needs the field {ref}",
        ),
    ],
)
def test_what_cannot_be_is_said_by_its_name(jobs: list[Job], arguments: list[str], words: str) -> None:
    assert words in refused(*arguments)
    assert jobs == []


def test_all_that_is_wrong_with_both_runs_is_said_at_once(jobs: list[Job]) -> None:
    told = refused("--ref", "é", "--baseline-ref", "ü", "--timeout", "3", "--fail-on", "costs")
    for words in ("--ref: 'é'", "--baseline-ref: 'ü'", "--timeout: ", "--fail-on: there is no 'costs'"):
        assert told.count(words) == 1
    assert jobs == []


def test_a_matrix_whose_cells_have_their_own_refs_has_no_baseline(jobs: list[Job]) -> None:
    Path("matrix.yaml").write_text(MATRIX + "  ref: ['1', '2']\n")
    assert "--baseline-ref: the matrix gives the cell" in refused("--baseline-ref", "3")


def test_the_demo_has_images_of_one_ref(jobs: list[Job], monkeypatch: pytest.MonkeyPatch) -> None:
    class SetUp(Exception):
        pass

    def ensure(say: object) -> None:
        raise SetUp

    monkeypatch.setattr(setup, "ensure", ensure)
    ended = CliRunner().invoke(demo.command, ["--baseline-ref", "1"])
    assert "--baseline-ref: the demo builds images of one ref" in str(ended.exception)
    assert "docs/images.md" in str(ended.exception)
    variable = CliRunner().invoke(demo.command, [], env={"E2E_MATRIX_BASELINE_REF": "1"})
    assert isinstance(variable.exception, SetUp)  # it is for `run`


@pytest.mark.parametrize("word", ["boot", "size"])
def test_what_is_not_judged_can_be_no_option_to_fail_on(jobs: list[Job], word: str) -> None:
    Path("matrix.yaml").write_text(f"{MATRIX}regression: {{{word}: null}}\n")
    words = f"--fail-on: {word} is not judged: regression.{word} is null\n    give it a threshold there"
    beside = ("--baseline-ref", "1.58.1")
    assert refused("--fail-on", f"newly-failing,{word}", *beside) == words
    assert "nothing to fail on without a baseline" in refused("--fail-on", "cost")
    refused("--fail-on", "cost", *beside)
    assert [job.settings.fail_on for job in jobs] == [("cost",)]


def planned(folder: Path, **told: object) -> None:
    """A run that was begun, of another command."""
    folder.mkdir(parents=True)
    plan = {
        "started_at": "2026-03-01T12:00:00Z",
        "matrix_file": "matrix.yaml",
        "repeat": 2,
        "cells": {},
        **told,
    }
    (folder / "plan.json").write_text(json.dumps({"schema_version": 1, "options": {}, **plan}))


@pytest.mark.parametrize("named", ["new", "old"])
def test_resume_goes_on_with_both_whichever_is_named(jobs: list[Job], named: str) -> None:
    planned(Path("reports/new"), beside="old", options={"ref": "1.58.2", "repeat": 2})
    planned(Path("reports/old"), beside="new", for_comparison=True, options={"ref": "1.58.1", "repeat": 2})
    refused("--resume", named)
    [job] = jobs
    beside = job.baseline_job
    assert beside
    assert [one.resume and one.resume.name for one in (job, beside)] == ["new", "old"]
    assert [one.settings.ref for one in (job, beside)] == ["1.58.2", "1.58.1"]
    assert [one.settings.repeat for one in (job, beside)] == [2, 2]
    assert [one.for_comparison for one in (job, beside)] == [False, True]


def test_a_variable_gives_way_to_what_was_typed(jobs: list[Job]) -> None:
    planned(Path("reports/new"))
    refused("--resume", "new", E2E_MATRIX_BASELINE_REF="1.58.1")
    refused("--baseline-ref", "1.58.1", E2E_MATRIX_BASELINE="new")
    assert [job.baseline_job is not None for job in jobs] == [False, True]
    assert [job.baseline for job in jobs] == [None, None]


def test_two_runs_are_not_recorded_as_one(jobs: list[Job]) -> None:
    model = "llm: {model: m, base-url: 'http://x/v1', record: calls.jsonl}\n"
    Path("matrix.yaml").write_text(f"{MATRIX}{model}")
    told = refused("--baseline-ref", "1.58.1")
    assert "--baseline-ref: does not go with llm.record\n    leave llm.record out" in told
    assert jobs == []
