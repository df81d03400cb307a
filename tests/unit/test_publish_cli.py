"""`publish`, and `run --publish`: what is asked of a person, and what the exit code says."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix import cli
from e2e_matrix.assessment import expectations
from e2e_matrix.cli import demo as demo_command
from e2e_matrix.cli import execute
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.progress import Progress
from e2e_matrix.question import Asked, keep_question
from e2e_matrix.results import Results
from support import qa_samples
from support.github.description import Answer
from support.github.server import PULL, REPO, SHA, TOKEN, Fault, GitHub, Who, a_github
from support.sample_run import FOLDER, a_cell, a_run, tell

PASSED = a_run(a_cell("python-amd64"), a_cell("java-amd64"))
FAILED = a_run(a_cell("python-amd64"), a_cell("java-amd64", Cause.ASSERTION, message="the gate is open"))
UNKNOWN = a_run(a_cell("python-amd64"), a_cell("java-amd64", Cause.REGISTRY_UNREACHABLE))
MATRIX = "matrix:\n  variant: [python]\n  arch: [amd64]\n"


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """Actions' environment of a pull request, in an empty folder."""
    for name in ("GH_TOKEN", "GITHUB_REF", "GITHUB_WORKSPACE", "LLM_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": PULL, "head": {"sha": SHA}}}))
    with a_github() as github:
        for name, value in {
            "GITHUB_REPOSITORY": REPO,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_API_URL": github.url,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_RUN_ID": "55",
            "GITHUB_SHA": "b" * 40,
            "GITHUB_TOKEN": TOKEN,
        }.items():
            monkeypatch.setenv(name, value)
        yield github


def e2e_matrix(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["e2e-matrix", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def keep(results: Results, folder: str = "reports/run-1") -> None:
    path = Path(folder)
    path.mkdir(parents=True)
    (path / "results.json").write_text(results.model_dump_json())


def test_in_actions_a_command_needs_no_option(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    keep(FAILED)
    for place in ("github-comment", "github-check", "github-issue"):
        assert e2e_matrix(monkeypatch, "publish", place, "run-1") == 0
        assert capfd.readouterr().out.startswith("created: https://github.com/octo/matrix/")
    assert "[the run](https://github.com/octo/matrix/actions/runs/55)" in github.comments[PULL][0]["body"]
    assert github.checks[0]["head_sha"] == SHA
    assert github.issues[0]["title"].startswith("e2e-matrix / matrix: ")


def test_the_newest_run_is_told_by_default(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(PASSED)
    Path("reports/latest").symlink_to("run-1")
    assert e2e_matrix(monkeypatch, "publish", "github-comment") == 0
    assert len(github.comments[PULL]) == 1


def test_a_refusal_is_exit_code_3_with_what_to_do(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    keep(FAILED)
    github.who = Who(writes=False)
    assert e2e_matrix(monkeypatch, "publish", "github-comment", "run-1") == 3
    error = capfd.readouterr().err
    assert "Resource not accessible by integration" in error
    assert "workflow_run" in error
    assert TOKEN not in error
    assert "Traceback" not in error


def test_everything_that_is_wrong_is_said_at_once(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("GITHUB_TOKEN", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name)
    arguments = ["publish", "github-comment", "nowhere", "--sha", "x", "--key", "a b"]
    assert e2e_matrix(monkeypatch, *arguments) == 2
    error = capfd.readouterr().err
    for said in (
        "no run 'nowhere'",
        "--sha: cannot",
        "--key: cannot",
        "--pr: not known",
        "--repo: not",
        "no token",
    ):
        assert said in error


def requests(shown: str) -> list[tuple[str, Any]]:
    """What a dry run printed: the line of each request, and its JSON."""
    found: list[tuple[str, Any]] = []
    decoder = json.JSONDecoder()
    while shown.strip():
        line, _, shown = shown.lstrip().partition("\n")
        body, end = decoder.raw_decode(shown)
        found.append((line, body))
        shown = shown[end:]
    return found


def test_a_dry_run_prints_what_would_be_sent_and_sends_nothing(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it prints is what a real one then sends."""
    keep(FAILED)
    monkeypatch.delenv("GITHUB_TOKEN")
    for place in ("github-comment", "github-check", "github-issue"):
        assert e2e_matrix(monkeypatch, "publish", place, "run-1", "--dry-run") == 0
    printed = requests(capfd.readouterr().out)
    assert github.seen == []
    monkeypatch.setenv("GITHUB_TOKEN", TOKEN)
    for place in ("github-comment", "github-check", "github-issue"):
        e2e_matrix(monkeypatch, "publish", place, "run-1")
    sent = [(f"{one.method} {github.url}{one.path}", one.json) for one in github.seen if one.method != "GET"]
    assert printed == sent


def test_a_dry_run_with_a_token_knows_what_is_there(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    keep(FAILED, "reports/run-1")
    keep(PASSED, "reports/run-2")
    e2e_matrix(monkeypatch, "publish", "github-comment", "run-1")
    capfd.readouterr()
    assert e2e_matrix(monkeypatch, "publish", "github-comment", "run-2", "--dry-run") == 0
    ((line, _),) = requests(capfd.readouterr().out)
    assert line == f"PATCH {github.url}/repos/{REPO}/issues/comments/1001"
    e2e_matrix(monkeypatch, "publish", "github-comment", "run-1", "--dry-run")
    assert capfd.readouterr().out.startswith("left as it was: https://")
    assert github.writes() == [f"POST /issues/{PULL}/comments"]


def test_a_dry_run_shows_every_request_of_a_long_list(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    keep(a_run(*(a_cell(f"v{number}-amd64", Cause.ASSERTION, message="x") for number in range(120))))
    assert e2e_matrix(monkeypatch, "publish", "github-check", "run-1", "--dry-run") == 0
    printed = requests(capfd.readouterr().out)
    assert [line.rpartition("/repos")[2] for line, _ in printed] == [
        f"/{REPO}/check-runs",
        *[f"/{REPO}/check-runs/0"] * 2,
    ]
    assert [len(body["output"]["annotations"]) for _, body in printed] == [50, 50, 20]


def test_a_dry_run_shows_no_token(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    keep(FAILED)
    e2e_matrix(monkeypatch, "publish", "github-comment", "run-1", "--dry-run")
    shown = capfd.readouterr()
    assert TOKEN not in shown.out + shown.err


def test_enterprise_has_its_own_address(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(PASSED)
    github.prefix = "/api/v3"
    github.who = Who("our-app[bot]", "Bot", has_user=False)
    for _ in range(2):
        arguments = ["publish", "github-comment", "run-1", "--api-url", f"{github.root}/api/v3"]
        assert e2e_matrix(monkeypatch, *arguments) == 0
    assert github.writes() == [f"POST /issues/{PULL}/comments"]
    assert any(one.path == "/graphql" for one in github.seen)


class Launched:
    """Stands for `launch`: says everything about ``results``, and how often it was called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, results: Results | Exception) -> None:
        self._results = results
        self.times = 0
        monkeypatch.setattr(execute, "launch", self)

    def __call__(self, job: object, progress: Progress, stand_in: bool = False) -> Results:
        self.times += 1
        if isinstance(self._results, Exception):
            raise self._results
        tell(progress, self._results)
        progress.run_finished(self._results, FOLDER)
        progress.close()
        return self._results


@pytest.fixture
def matrix(github: GitHub) -> None:
    Path("matrix.yaml").write_text(MATRIX)


@pytest.mark.parametrize(("results", "code"), [(PASSED, 0), (FAILED, 1)], ids=["passed", "failed"])
@pytest.mark.usefixtures("matrix")
def test_a_run_tells_how_it_ended(
    results: Results,
    code: int,
    github: GitHub,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    Launched(monkeypatch, results)
    assert e2e_matrix(monkeypatch, "run", "--publish") == code
    (comment,) = github.comments[PULL]
    assert results.run.reason in comment["body"]
    assert "In progress" not in comment["body"]
    # Created, where the run was over before its first picture.
    assert re.search(rf"github-comment (created|updated): {comment['html_url']}\n", capfd.readouterr().out)


@pytest.mark.usefixtures("matrix")
def test_a_run_is_told_in_several_places(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    Launched(monkeypatch, FAILED)
    arguments = [
        "run",
        "--publish",
        "github-check",
        "--publish=github-issue",
        "--publish",
        "--key",
        "nightly",
    ]
    assert e2e_matrix(monkeypatch, *arguments) == 1
    assert github.checks[0]["name"] == "e2e-matrix / nightly"
    assert github.issues[0]["state"] == "open"
    assert github.comments[PULL][0]["body"].startswith("<!-- e2e-matrix:nightly -->")


@pytest.mark.parametrize("fault", [Answer(403, {"message": "no"}), Answer(401, {"message": "no"})])
@pytest.mark.usefixtures("matrix")
def test_what_cannot_be_posted_does_not_change_the_exit_code(
    fault: Answer, github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    github.faults = [Fault("GET", "comments", times=99, answer=fault)]
    Launched(monkeypatch, PASSED)
    assert e2e_matrix(monkeypatch, "run", "--quiet", "--publish") == 0
    error = capfd.readouterr().err
    assert "e2e-matrix: github-comment was not posted: 127.0.0.1" in error
    assert TOKEN not in error


@pytest.mark.usefixtures("matrix")
def test_a_run_that_cannot_be_made_is_told(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Launched(monkeypatch, InfrastructureError(f"no engine answers, and {TOKEN} is shown"))
    assert e2e_matrix(monkeypatch, "run", "--publish") == 3
    body = github.comments[PULL][0]["body"]
    assert "no engine answers, and [hidden] is shown" in body


@pytest.mark.usefixtures("matrix")
def test_what_publishing_lacks_is_said_before_the_run(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    launched = Launched(monkeypatch, PASSED)
    monkeypatch.delenv("GITHUB_TOKEN")
    Path("matrix.yaml").write_text("nonsense: 1\n")
    assert e2e_matrix(monkeypatch, "run", "--publish", "--repo", "nonsense") == 2
    error = capfd.readouterr().err
    for said in ("matrix.yaml:1", "there is no token", "--repo: cannot be 'nonsense'"):
        assert said in error
    assert launched.times == 0


@pytest.mark.usefixtures("matrix")
def test_options_of_publishing_go_with_it(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    launched = Launched(monkeypatch, PASSED)
    assert e2e_matrix(monkeypatch, "run", "--pr", "7", "--run-url", "https://x") == 2
    error = capfd.readouterr().err
    assert "--pr: goes with --publish" in error
    assert "--run-url: goes with --publish" in error
    assert launched.times == 0


@pytest.mark.usefixtures("matrix")
def test_the_demo_publishes_too(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")
    assert "--publish" in {name for option in demo_command.command.params for name in option.opts}
    assert e2e_matrix(monkeypatch, "demo", "--publish") == 2
    assert "there is no token" in capfd.readouterr().err


@pytest.mark.usefixtures("matrix")
def test_a_run_without_publish_tells_nobody(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    Launched(monkeypatch, PASSED)
    assert e2e_matrix(monkeypatch, "run") == 0
    assert github.seen == []


def test_an_unfinished_run_is_told_as_what_it_is(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "The run has not finished. 1 of 2 cells passed."
    keep(a_run(a_cell("python-amd64"), verdict=Outcome.NOT_RUN, exit_code=3, reason=reason))
    assert e2e_matrix(monkeypatch, "publish", "github-comment", "run-1") == 0
    assert "No verdict: the run has not finished" in github.comments[PULL][0]["body"]


def killed(name: str) -> None:
    """The folder of a run whose process is gone, before any of its cells had ended."""
    folder = Path("reports") / name
    folder.mkdir(parents=True)
    facts: dict[str, Any] = {
        "image": "repo:killed",
        "platform": "linux/amd64",
        "digest": None,
        "scenario": "deferred-init",
        "scenario_version": "1",
        "scenario_settings": {},
        "model": "m",
        "environment": [],
        "resources": {},
    }
    plan = {
        "schema_version": 1,
        "started_at": "2099-01-01T00:00:00Z",
        "matrix_file": "matrix.yaml",
        "options": {},
        "repeat": 1,
        "cells": {"python-amd64": facts},
    }
    (folder / "plan.json").write_text(json.dumps(plan))


@pytest.mark.parametrize("named", [[], ["latest"], ["20990101T000000Z-abcdef"]])
@pytest.mark.usefixtures("matrix")
def test_a_run_that_was_killed_is_never_told_as_the_pass_before_it(
    named: list[str], github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = Path("reports/20260101T000000Z-abcdef")
    passing.mkdir(parents=True)
    (passing / "results.json").write_text(PASSED.model_dump_json())
    (passing.parent / "latest").symlink_to(passing.name)
    killed("20990101T000000Z-abcdef")
    assert e2e_matrix(monkeypatch, "publish", "github-comment", *named) == 0
    body = github.comments[PULL][0]["body"]
    assert "No verdict: the run has not finished" in body
    assert "Run 20990101T000000Z-abcdef was killed, or still goes on" in body
    assert "Good to ship" not in body


@pytest.mark.usefixtures("matrix")
def test_a_matrix_that_is_broken_does_not_leave_the_last_verdict_standing(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Launched(monkeypatch, PASSED)
    assert e2e_matrix(monkeypatch, "run", "--publish") == 0
    Path("matrix.yaml").write_text("nonsense: 1\n")
    assert e2e_matrix(monkeypatch, "run", "--publish") == 2
    (comment,) = github.comments[PULL]
    assert "No verdict: the run could not be made" in comment["body"]
    assert "matrix.yaml:1:1: unknown key 'nonsense'" in comment["body"]
    assert "unknown key 'nonsense'" in capfd.readouterr().err


@pytest.mark.usefixtures("matrix")
def test_a_run_that_could_not_be_made_tells_its_workflow(
    tmp_path: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs"
    for name, value in (("ACTIONS", "true"), ("OUTPUT", str(outputs)), ("WORKSPACE", str(Path.cwd()))):
        monkeypatch.setenv(f"GITHUB_{name}", value)
    Path("matrix.yaml").write_text("matrix: {variant: [a], arch: [amd64]}\nnonsense: 1\n")
    assert e2e_matrix(monkeypatch, "run") == 2
    assert (
        "::error file=matrix.yaml,line=2,title=e2e-matrix::unknown key 'nonsense'" in capfd.readouterr().out
    )
    said = outputs.read_text()
    assert "verdict=error\n" in said
    assert "exit-code=2\n" in said


@pytest.mark.parametrize(
    ("baseline", "candidate", "conclusion", "mark"),
    [
        (PASSED, PASSED, "success", "\u2705 PASS"),
        (PASSED, FAILED, "failure", "\u274c FAIL"),
        (FAILED, FAILED, "failure", "\u274c FAIL"),
        (PASSED, UNKNOWN, "failure", "\u26a0\ufe0f INCONCLUSIVE"),
    ],
)
def test_the_qa_report_is_told_in_the_place_of_the_run(
    baseline: Results,
    candidate: Results,
    conclusion: str,
    mark: str,
    github: GitHub,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = qa_samples.keep(Path("reports/run-1"), candidate, baseline)
    keep_question(folder, Asked("It boots"))
    for place in ("github-comment", "github-check"):
        assert e2e_matrix(monkeypatch, "publish", place, "run-1", "--report", "qa") == 0
    body = github.comments[PULL][0]["body"]
    assert body.startswith("<!-- e2e-matrix:matrix -->\n<!-- e2e-matrix-run ")
    assert f"\n\n## {mark}: It boots\n" in body
    assert "### What was not verified" in body
    [check] = github.checks
    assert check["conclusion"] == conclusion
    assert check["output"]["title"].startswith(f"{mark.split()[-1]}: It boots: fixed: none; ")
    # Said again it stays; as the run it is other news, in the same place.
    capfd.readouterr()
    assert e2e_matrix(monkeypatch, "publish", "github-comment", "run-1", "--report", "qa") == 0
    assert capfd.readouterr().out.startswith("left as it was: ")
    assert e2e_matrix(monkeypatch, "publish", "github-comment", "run-1") == 0
    assert capfd.readouterr().out.startswith("updated: ")
    assert len(github.comments[PULL]) == 1


def test_a_dry_run_shows_the_qa_report(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    qa_samples.keep(Path("reports/run-1"), FAILED, PASSED)
    assert e2e_matrix(monkeypatch, "publish", "github-check", "run-1", "--report", "qa", "--dry-run") == 0
    [(_, body)] = [one for one in requests(capfd.readouterr().out) if one[1]]
    assert body["output"]["summary"].startswith("## \u274c FAIL: QA of ")
    assert github.checks == []


def test_a_run_that_is_worse_than_its_baseline_is_no_success(
    github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = qa_samples.keep(Path("reports/run-1"), PASSED, PASSED)
    assert e2e_matrix(monkeypatch, "publish", "github-check", "run-1") == 0
    keep_question(folder, Asked(expected=expectations(["fixed:*"])))
    assert e2e_matrix(monkeypatch, "publish", "github-check", "run-1") == 0
    worse, good = github.checks
    assert (good["conclusion"], worse["conclusion"]) == ("success", "failure")
    assert worse["output"]["title"].startswith("Not good to ship: worse than the baseline: ")


def test_the_end_of_a_killed_run_is_told_in_a_qa_report_too(
    github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(a_run(a_cell("python-amd64"), verdict=Outcome.NOT_RUN))
    assert e2e_matrix(monkeypatch, "publish", "github-comment", "run-1", "--report", "qa") == 0
    body = github.comments[PULL][0]["body"]
    assert "INCONCLUSIVE: QA of " in body
    assert "To finish it:" in body
