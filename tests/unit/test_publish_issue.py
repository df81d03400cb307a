"""An issue for as long as it fails: opened, kept, closed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e_matrix.failures import Outcome
from e2e_matrix.publish.body import marker
from e2e_matrix.publish.issue import IssuePlace
from e2e_matrix.publish.news import broke_off, finished
from support.github.description import Answer
from support.github.places import RUN_URL, around, failed, passed, tell
from support.github.server import Fault, GitHub, Who, a_github
from support.sample_run import a_cell, a_run

MARK = marker("nightly")


@pytest.fixture
def github() -> Iterator[GitHub]:
    with a_github() as github:
        yield github


def place(github: GitHub) -> IssuePlace:
    return IssuePlace(around(github), "nightly")


def test_it_is_opened_kept_up_to_date_and_closed_with_a_comment(github: GitHub) -> None:
    assert tell(github, place(github), failed("run-1")).startswith("created: https://")
    (issue,) = github.issues
    assert issue["title"] == "e2e-matrix / nightly: Not good to ship: 1 of 2 cells passed"
    assert issue["body"].startswith(MARK)
    assert issue["labels"] == ["e2e-matrix"]
    assert tell(github, place(github), failed("run-2", cells=2)).startswith("updated: https://")
    assert "1 of 3 cells passed" in issue["title"]
    assert "run-2" in issue["body"]
    assert tell(github, place(github), passed("run-3")).startswith("closed: https://")
    assert (issue["state"], issue["state_reason"]) == ("closed", "completed")
    (comment,) = github.comments[100]
    assert f"The [run]({RUN_URL}) `run-3` passed." in comment["body"]


def test_what_fails_after_that_gets_an_issue_of_its_own(github: GitHub) -> None:
    for number, news in enumerate((failed("run-1"), passed("run-2"), failed("run-3"))):
        tell(github, place(github), news)
        assert len(github.issues) == (2 if number == 2 else 1)
    assert [issue["state"] for issue in github.issues] == ["closed", "open"]


def test_a_run_that_passed_opens_nothing(github: GitHub) -> None:
    assert tell(github, place(github), passed()) == "nothing to say: the run passed, and no issue is open"
    assert github.writes() == []


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.NOT_RUN])
def test_a_run_without_a_verdict_neither_opens_nor_closes(outcome: Outcome, github: GitHub) -> None:
    news = finished(a_run(a_cell("python-amd64"), verdict=outcome, exit_code=3))
    assert tell(github, place(github), news) == "nothing to say: the run came to no verdict"
    tell(github, place(github), failed())
    writes = github.writes()
    tell(github, place(github), news)
    assert github.writes() == writes


def test_a_run_that_could_not_be_made_is_a_failing_night(github: GitHub) -> None:
    tell(github, place(github), broke_off("", "repo:1.0", "no engine answers", Outcome.ERROR))
    assert "no engine answers" in github.issues[0]["body"]


def test_the_same_again_is_left_alone(github: GitHub) -> None:
    tell(github, place(github), failed())
    assert tell(github, place(github), failed()).startswith("left as it was")
    assert github.writes() == ["POST /issues"]


def test_issues_of_others_and_pull_requests_are_left_alone(github: GitHub) -> None:
    pull_request = {"url": None, "html_url": None, "diff_url": None, "patch_url": None}
    github.issue(f"{MARK}\nforged", login="mallory")
    github.issue(f"{MARK}\na pull request", pull_request=pull_request)
    github.issue(f"about {MARK}")
    before = [dict(one) for one in github.issues]
    tell(github, place(github), passed())
    assert github.writes() == []
    tell(github, place(github), failed())
    assert github.issues[:3] == before
    assert len(github.issues) == 4


def test_it_is_found_on_a_later_page(github: GitHub) -> None:
    for number in range(230):
        github.issue(f"number {number}")
    own = github.issue(f"{MARK}\nold")
    tell(github, place(github), failed())
    assert github.writes() == [f"PATCH /issues/{own['number']}"]


def test_a_lost_answer_opens_no_second_issue(github: GitHub) -> None:
    github.faults = [Fault("POST", "issues$", lost=True)]
    tell(github, place(github), failed())
    assert len(github.issues) == 1


def test_of_two_opened_at_the_same_moment_the_older_one_stays(github: GitHub) -> None:
    github.faults = [Fault("POST", "issues$", before=lambda: github.issue(f"{MARK}\ntheirs"))]
    tell(github, place(github), failed())
    older, newer = github.issues
    assert (older["state"], newer["state"], newer["state_reason"]) == ("open", "closed", "not_planned")
    assert newer["body"] == "The same as #100."
    assert "1 failed" in older["body"]


def test_an_issue_whose_closing_failed_is_not_told_twice(github: GitHub) -> None:
    tell(github, place(github), failed("run-1"))
    github.faults = [
        Fault("POST", "comments", lost=True),
        Fault("PATCH", "issues", times=4, answer=Answer(503, {"message": "no"})),
    ]
    with pytest.raises(Exception, match="503"):
        tell(github, place(github), passed("run-2"))
    tell(github, place(github), passed("run-2"))
    assert len(github.comments[100]) == 1
    assert github.issues[0]["state"] == "closed"


def test_a_title_is_never_too_long(github: GitHub) -> None:
    tell(github, place(github), failed(reason="why " * 500))
    assert 200 < len(github.issues[0]["title"]) <= 256


def test_the_token_of_actions_finds_its_issue(github: GitHub) -> None:
    github.who = Who("github-actions[bot]", "Bot", has_user=False)
    tell(github, place(github), failed())
    tell(github, place(github), passed())
    assert github.issues[0]["state"] == "closed"
