"""A check with its annotations, whole and once; a status where there may be no check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e_matrix.errors import PublishError
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.publish.check import CheckPlace, path_in_repository
from e2e_matrix.publish.news import Picture, broke_off, finished, running
from support import report_samples
from support.github.description import Answer
from support.github.places import RUN_URL, around, failed, passed, tell
from support.github.server import SHA, Fault, GitHub, Who, a_github
from support.sample_run import a_cell, a_run

PICTURE = Picture("run-1", "repo:1.0", 6, {Outcome.PASSED: 1}, 2)
NAME = "e2e-matrix / nightly"


@pytest.fixture
def github() -> Iterator[GitHub]:
    with a_github() as github:
        yield github


def place(github: GitHub, **changed: object) -> CheckPlace:
    """A new one each time, as a new process has it."""
    return CheckPlace(around(github, **changed), "nightly")


def cells_annotated(github: GitHub, check: int) -> list[str]:
    return [one["title"].partition(":")[0] for one in github.annotations[check]]


def test_a_check_says_how_the_run_ended(github: GitHub) -> None:
    assert tell(github, place(github), failed()).startswith("created: https://")
    (check,) = github.checks
    assert (check["name"], check["head_sha"], check["status"]) == (NAME, SHA, "completed")
    assert (check["conclusion"], check["details_url"]) == ("failure", RUN_URL)
    assert check["output"]["title"] == "Not good to ship: 1 of 2 cells passed"
    assert "### What broke" in check["output"]["summary"]


@pytest.mark.parametrize(
    ("outcome", "conclusion", "state"),
    [
        (Outcome.PASSED, "success", "success"),
        (Outcome.FAILED, "failure", "failure"),
        (Outcome.ERROR, "failure", "error"),
        (Outcome.CANCELLED, "cancelled", "error"),
        (Outcome.NOT_RUN, "cancelled", "error"),
    ],
)
def test_what_is_not_good_is_no_success(
    outcome: Outcome, conclusion: str, state: str, github: GitHub
) -> None:
    news = finished(a_run(a_cell("python-amd64"), verdict=outcome, exit_code=1))
    tell(github, place(github), news)
    assert github.checks[0]["conclusion"] == conclusion
    github.who.checks = False
    tell(github, place(github), news)
    assert github.statuses[0]["state"] == state


def test_every_broken_cell_has_an_annotation_and_no_other(github: GitHub) -> None:
    results = a_run(
        a_cell("python-amd64"),
        a_cell("java-amd64", Cause.ASSERTION, message="the gate is open"),
        a_cell("golang-amd64", Cause.REGISTRY_UNREACHABLE, message="nobody there"),
        a_cell("golang-arm64", Cause.PLATFORM_UNSUPPORTED, message="no emulation"),
        matrix_file="ci/matrix.yaml",
    )
    tell(github, place(github), finished(results))
    failure, warning = github.annotations[github.checks[0]["id"]]
    assert failure == {
        "path": "ci/matrix.yaml",
        "start_line": 1,
        "end_line": 1,
        "annotation_level": "failure",
        "title": "java-amd64: failed",
        "message": "at dormant: the gate is open",
    }
    assert (warning["title"], warning["annotation_level"]) == ("golang-amd64: error", "warning")


@pytest.mark.parametrize("message", ["", "\u202e\x1b[2J"])
def test_an_annotation_is_never_empty(message: str, github: GitHub) -> None:
    cell = a_cell("java-amd64", Cause.ASSERTION, message=message, steps=[])
    tell(github, place(github), finished(a_run(cell)))
    (annotation,) = github.annotations[github.checks[0]["id"]]
    assert annotation["message"] == "failed"


def test_annotations_go_fifty_at_a_time(github: GitHub) -> None:
    tell(github, place(github), failed(cells=120))
    (check,) = github.checks
    assert github.writes() == ["POST /check-runs", *[f"PATCH /check-runs/{check['id']}"] * 2]
    assert cells_annotated(github, check["id"]) == [f"v{number}-amd64" for number in range(120)]
    sent = [len(one.json["output"]["annotations"]) for one in github.seen if one.method != "GET"]
    assert sent == [50, 50, 20]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("arrives", [True, False])
def test_a_lost_answer_neither_doubles_nor_loses_annotations(
    method: str, arrives: bool, github: GitHub
) -> None:
    answer = Answer(502, {"message": "bad gateway"})
    github.faults = [Fault(method, "check-runs", lost=arrives, answer=answer)]
    tell(github, place(github), failed(cells=120))
    (check,) = github.checks
    assert cells_annotated(github, check["id"]) == [f"v{number}-amd64" for number in range(120)]


def test_annotations_that_could_not_be_sent_follow_the_next_time(github: GitHub) -> None:
    github.faults = [Fault("PATCH", "check-runs", answer=Answer(422, {"message": "no"}))]
    with pytest.raises(PublishError):
        tell(github, place(github), failed(cells=70))
    assert tell(github, place(github), failed(cells=70)).startswith("updated")
    (check,) = github.checks
    assert cells_annotated(github, check["id"]) == [f"v{number}-amd64" for number in range(70)]


def test_what_says_the_same_is_left_alone(github: GitHub) -> None:
    tell(github, place(github), failed(cells=60))
    writes = github.writes()
    assert tell(github, place(github), failed(cells=60)).startswith("left as it was: https://")
    assert github.writes() == writes


def test_a_picture_becomes_the_end(github: GitHub) -> None:
    there = place(github)
    tell(github, there, running(PICTURE))
    assert github.checks[0]["status"] == "in_progress"
    tell(github, there, failed(cells=3))
    (check,) = github.checks
    assert (check["status"], check["conclusion"]) == ("completed", "failure")
    assert cells_annotated(github, check["id"]) == ["v0-amd64", "v1-amd64", "v2-amd64"]


def test_a_resumed_run_that_ends_otherwise_gets_a_check_without_the_old_annotations(github: GitHub) -> None:
    tell(github, place(github), failed(cells=2))
    tell(github, place(github), passed())
    newest, oldest = github.checks
    assert (newest["conclusion"], oldest["conclusion"]) == ("success", "failure")
    assert github.annotations[newest["id"]] == []


def test_what_a_killed_run_left_in_progress_is_ended_by_the_next(github: GitHub) -> None:
    tell(github, place(github), running(PICTURE))
    tell(github, place(github), passed("run-2"))
    newest, killed = github.checks
    assert newest["conclusion"] == "success"
    assert (killed["status"], killed["conclusion"]) == ("completed", "cancelled")


def test_checks_of_others_by_the_same_name_are_left_alone(github: GitHub) -> None:
    tell(github, place(github), running(PICTURE))
    github.checks[0]["external_id"] = "theirs"
    before = dict(github.checks[0])
    tell(github, place(github), passed())
    assert len(github.checks) == 2
    assert github.checks[1] == before


def test_what_another_app_left_is_no_reason_to_fall_back(github: GitHub) -> None:
    tell(github, place(github), running(PICTURE))
    left = f"check-runs/{github.checks[0]['id']}"
    github.faults = [Fault("PATCH", left, answer=Answer(403, {"message": "Invalid app_id"}))]
    tell(github, place(github), passed("run-2"))
    assert (len(github.checks), github.statuses) == (2, [])


def test_a_token_that_may_make_no_checks_makes_a_status(github: GitHub) -> None:
    github.who = Who(checks=False)
    assert tell(github, place(github), failed()) == "posted (a status: the token may not make check runs)"
    (status,) = github.statuses
    assert (status["context"], status["state"], status["target_url"]) == (NAME, "failure", RUN_URL)
    assert status["description"] == "Not good to ship: 1 of 2 cells passed"


def test_a_limit_is_no_reason_to_fall_back(github: GitHub) -> None:
    limit = Answer(403, {"message": "You have exceeded a secondary rate limit"}, {"Retry-After": "99999"})
    github.faults = [Fault("POST", "check-runs", answer=limit)]
    with pytest.raises(PublishError, match="secondary rate limit"):
        tell(github, place(github), failed())
    assert github.statuses == []


def test_a_status_is_short_and_not_repeated(github: GitHub) -> None:
    github.who = Who(checks=False)
    github.faults = [Fault("POST", "statuses", lost=True)]
    news = failed(reason="why " * 200)
    tell(github, place(github), news)
    assert len(github.statuses) == 1
    assert 100 < len(github.statuses[0]["description"]) <= 140
    tell(github, place(github), news)
    assert len(github.statuses) == 1


def test_pictures_do_not_use_up_the_statuses_of_a_commit(github: GitHub) -> None:
    github.who = Who(checks=False)
    there = place(github)
    for done in range(5):
        tell(github, there, running(Picture("run-1", "repo:1.0", 6, {Outcome.PASSED: done}, 2)))
    assert [status["state"] for status in github.statuses] == ["pending"]
    tell(github, there, passed())
    assert [status["state"] for status in github.statuses] == ["success", "pending"]
    assert sum("check-runs" in one.path for one in github.seen) == 1


def test_a_forks_token_is_refused_with_the_way_out(github: GitHub) -> None:
    github.who = Who("github-actions[bot]", "Bot", has_user=False, writes=False)
    with pytest.raises(PublishError, match="workflow_run"):
        tell(github, place(github), passed())


def test_a_summary_has_its_bytes_counted(github: GitHub) -> None:
    tell(github, place(github), finished(report_samples.large()))
    assert len(github.checks[0]["output"]["summary"].encode()) <= 65_535


def test_a_run_that_could_not_be_made_is_told(github: GitHub) -> None:
    tell(github, place(github), broke_off("", "repo:1.0", "no engine answers", Outcome.ERROR))
    (check,) = github.checks
    assert check["conclusion"] == "failure"
    assert check["output"]["title"] == "No verdict: the run could not be made: no engine answers"


@pytest.mark.parametrize(
    ("matrix_file", "path"),
    [
        ("matrix.yaml", "matrix.yaml"),
        ("./ci/matrix.yaml", "ci/matrix.yaml"),
        ("/home/runner/work/r/ci/matrix.yaml", "ci/matrix.yaml"),
        ("/etc/matrix.yaml", "matrix.yaml"),
        ("../other/matrix.yaml", "matrix.yaml"),
        ("", "matrix.yaml"),
    ],
)
def test_annotations_lie_at_the_matrix_as_the_repository_has_it(matrix_file: str, path: str) -> None:
    assert path_in_repository(matrix_file, Path("/home/runner/work/r")) == path
