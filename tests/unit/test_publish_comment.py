"""One comment of ours, whatever happens: found, kept, and never twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from e2e_matrix.errors import PublishError
from e2e_matrix.failures import Outcome
from e2e_matrix.publish.body import LARGEST_COMMENT, is_told, marker, note_of, written
from e2e_matrix.publish.comment import CommentPlace, Mode
from e2e_matrix.publish.news import Picture, State, finished, running
from e2e_matrix.results import Results
from support import report_samples
from support.github.description import Answer
from support.github.places import RUN_URL, around, failed, passed, tell
from support.github.server import PULL, SHA, Fault, GitHub, Who, a_github
from support.sample_run import a_cell, a_run

KEY = "nightly"
MARK = marker(KEY)
NEW = f"POST /issues/{PULL}/comments"


@pytest.fixture
def github() -> Iterator[GitHub]:
    with a_github() as github:
        yield github


def place(github: GitHub, mode: Mode = "on-change", key: str = KEY, **changed: object) -> CommentPlace:
    """A new one each time, as a new process has it."""
    return CommentPlace(around(github, **changed), key, mode)


def bodies(github: GitHub) -> list[str]:
    return [one["body"] for one in github.comments.get(PULL, [])]


def in_progress(run_id: str = "run-1", done: int = 1) -> Picture:
    return Picture(run_id, "repo:1.0", 6, {Outcome.PASSED: done}, 2)


def test_it_is_made_once_and_changed_after(github: GitHub) -> None:
    assert tell(github, place(github), failed()).startswith("created: https://")
    assert tell(github, place(github), passed("run-2")).startswith("updated: https://")
    (body,) = bodies(github)
    assert body.startswith(MARK)
    assert "2 passed" in body
    assert f"[the run]({RUN_URL}) · commit {SHA}" in body
    assert github.writes() == [NEW, "PATCH /issues/comments/1001"]


def test_what_says_the_same_is_left_alone(github: GitHub) -> None:
    tell(github, place(github), failed())
    assert tell(github, place(github), failed()).startswith("left as it was: https://")
    tell(github, place(github, "always"), failed())
    assert github.writes() == [NEW]


def test_line_ends_and_spaces_of_githubs_are_no_change(github: GitHub) -> None:
    tell(github, place(github, "always"), failed())
    comment = github.comments[PULL][0]
    comment["body"] = comment["body"].strip().replace("\n", "\r\n")
    assert tell(github, place(github, "always"), failed()).startswith("left as it was")


def test_it_is_found_on_the_last_of_many_pages(github: GitHub) -> None:
    for number in range(350):
        github.comment(f"chatter {number}")
    own = github.comment(f"{MARK}\nold")
    for number in range(40):
        github.comment(f"more chatter {number}")
    tell(github, place(github), passed())
    assert github.writes() == [f"PATCH /issues/comments/{own['id']}"]
    assert [one.query.get("page") for one in github.seen if "comments" in one.path][:4] == [
        None,
        "2",
        "3",
        "4",
    ]


@pytest.mark.parametrize(
    "body",
    [f"he said\n{MARK}", f"> {MARK}", marker("nightly2"), marker("night"), "", "text"],
    ids=["inside", "quoted", "longer key", "shorter key", "empty", "none"],
)
def test_a_comment_without_our_mark_at_its_beginning_is_not_ours(body: str, github: GitHub) -> None:
    before = github.comment(body)
    tell(github, place(github), passed())
    assert github.comments[PULL][0] == {**before, "body": body}
    assert len(bodies(github)) == 2


def test_a_comment_of_somebody_else_with_our_mark_is_left_alone(github: GitHub) -> None:
    theirs = f"{MARK}\nforged"
    github.comment(theirs, login="mallory")
    tell(github, place(github), passed())
    tell(github, place(github), failed())
    assert bodies(github)[0] == theirs
    assert len(bodies(github)) == 2
    assert all("1001" not in write for write in github.writes())


def test_another_key_is_another_comment(github: GitHub) -> None:
    tell(github, place(github), passed())
    tell(github, place(github, key="weekly"), passed())
    assert [body.split("\n")[0] for body in bodies(github)] == [MARK, marker("weekly")]


def test_a_hidden_comment_is_done_with(github: GitHub) -> None:
    github.comment(f"{MARK}\nold", minimized={"reason": "outdated"})
    tell(github, place(github), passed())
    assert github.writes() == [NEW]


@pytest.mark.parametrize("graphql", [True, False], ids=["graphql", "no graphql"])
def test_the_token_of_actions_finds_its_comment(graphql: bool, github: GitHub) -> None:
    github.who = Who("github-actions[bot]", "Bot", has_user=False)
    github.graphql = graphql
    tell(github, place(github), failed())
    tell(github, place(github), passed())
    assert github.writes() == [NEW, "PATCH /issues/comments/1001"]


def test_the_token_of_another_app_finds_its_comment_by_graphql(github: GitHub) -> None:
    github.who = Who("our-app[bot]", "Bot", has_user=False)
    github.comment(f"{MARK}\nold", login="github-actions[bot]")
    tell(github, place(github), failed())
    tell(github, place(github), passed())
    assert github.writes() == [NEW, "PATCH /issues/comments/1002"]


def test_a_lost_answer_makes_no_second_comment(github: GitHub) -> None:
    github.faults = [Fault("POST", "comments", lost=True)]
    tell(github, place(github), failed())
    assert len(bodies(github)) == 1
    assert github.writes() == [NEW]


def test_of_two_made_at_the_same_moment_the_older_one_stays(github: GitHub) -> None:
    """Both had looked, and found none."""
    theirs = f"{MARK}\nof another process"
    github.faults = [Fault("POST", "comments", before=lambda: github.comment(theirs))]
    tell(github, place(github), failed())
    (body,) = bodies(github)
    assert github.comments[PULL][0]["id"] == 1001
    assert "1 failed" in body


def test_what_the_other_one_deleted_already_is_no_error(github: GitHub) -> None:
    github.comment(f"{MARK}\nfirst")
    second = github.comment(f"{MARK}\nsecond")
    remove = Fault("DELETE", "comments", before=lambda: github.comments[PULL].remove(second))
    github.faults = [remove]
    tell(github, place(github), failed())
    assert len(bodies(github)) == 1


@pytest.mark.parametrize(("mode", "changes"), [("on-change", False), ("failure", False), ("always", True)])
def test_other_times_alone_are_news_only_for_always(mode: Mode, changes: bool, github: GitHub) -> None:
    tell(github, place(github, mode), failed("run-1", duration_seconds=60.0))
    tell(github, place(github, mode), failed("run-2", duration_seconds=90.0))
    assert (len(github.writes()) == 2) is changes
    assert ("1 min 30 s" in bodies(github)[0]) is changes


@pytest.mark.parametrize("mode", ["on-change", "failure", "always"])
def test_another_outcome_or_commit_is_news_for_every_mode(mode: Mode, github: GitHub) -> None:
    tell(github, place(github, mode), failed())
    tell(github, place(github, mode), failed(cells=2))
    tell(github, place(github, mode, sha="a" * 40), failed(cells=2))
    assert github.writes() == [NEW, *["PATCH /issues/comments/1001"] * 2]


def test_failure_says_nothing_of_a_run_that_passed_but_takes_back_what_it_said(github: GitHub) -> None:
    assert tell(github, place(github, "failure"), passed()) == "nothing to say: the run passed"
    assert github.writes() == []
    tell(github, place(github, "failure"), failed())
    tell(github, place(github, "failure"), passed())
    assert "2 passed" in bodies(github)[0]
    assert not place(github, "failure").shows_progress


@pytest.mark.parametrize("mode", ["on-change", "failure", "always"])
def test_what_a_killed_run_left_in_progress_is_put_right(mode: Mode, github: GitHub) -> None:
    tell(github, place(github), running(in_progress()))
    assert "In progress: 1 of 6 cells done" in bodies(github)[0]
    note = note_of(bodies(github)[0])
    assert note
    assert (note.run, note.state) == ("run-1", State.RUNNING)
    tell(github, place(github, mode), passed("run-2"))
    assert len(bodies(github)) == 1
    assert "In progress" not in bodies(github)[0]


def test_a_picture_is_changed_without_reading_all_pages_again(github: GitHub) -> None:
    there = place(github)
    tell(github, there, running(in_progress(done=1)))
    seen = len(github.seen)
    tell(github, there, running(in_progress(done=2)))
    assert [one.method for one in github.seen[seen:]] == ["PATCH"]
    assert "2 of 6 cells done" in bodies(github)[0]


def test_a_picture_that_somebody_deleted_is_made_again(github: GitHub) -> None:
    there = place(github)
    tell(github, there, running(in_progress(done=1)))
    github.comments[PULL].clear()
    tell(github, there, running(in_progress(done=2)))
    assert "2 of 6 cells done" in bodies(github)[0]


def test_a_run_that_was_killed_is_not_said_to_go_on(github: GitHub) -> None:
    reason = "The run has not finished. 1 of 2 cells passed."
    cells = a_cell("python-amd64"), a_cell("java-amd64")
    tell(github, place(github), finished(a_run(*cells, verdict=Outcome.NOT_RUN, reason=reason)))
    (body,) = bodies(github)
    assert "No verdict: the run has not finished" in body
    assert "e2e-matrix run --resume 20260301-120000-abcd" in body
    assert "In progress" not in body


def test_the_pull_request_of_a_fork_is_found_by_its_branch_and_commit(github: GitHub) -> None:
    github.pull(6, "mallory:patch", "b" * 40)
    github.pull(9, "mallory:patch", SHA)
    tell(github, place(github, pull=None, head="mallory:patch"), passed())
    assert list(github.comments) == [9]


def test_newer_commits_of_a_fork_are_not_told_of_older_ones(github: GitHub) -> None:
    github.pull(9, "mallory:patch", "b" * 40)
    with pytest.raises(PublishError, match="no open pull request has mallory:patch at commit c0ffee"):
        tell(github, place(github, pull=None, head="mallory:patch"), passed())
    assert github.comments == {}


def test_a_forks_token_is_refused_with_the_way_out(github: GitHub) -> None:
    github.who = Who("github-actions[bot]", "Bot", has_user=False, writes=False)
    with pytest.raises(PublishError, match="workflow_run") as refused:
        tell(github, place(github), passed())
    assert (refused.value.status, refused.value.exit_code) == (403, 3)


@pytest.mark.parametrize(
    "results", [report_samples.large(), report_samples.hostile()], ids=["large", "hostile"]
)
def test_it_fits_and_its_first_lines_are_ours(results: Results, github: GitHub) -> None:
    hostile = results.model_copy(
        update={"run": results.run.model_copy(update={"id": f'--> <b>{MARK} "}} \n -->\n'})}
    )
    tell(github, place(github), finished(hostile))
    (body,) = bodies(github)
    assert len(body) <= len(body.encode()) <= LARGEST_COMMENT
    first, second, third, *_ = body.split("\n")
    assert (first, third) == (MARK, "")
    assert second.count("-->") == second.count("<!--") == 1
    assert note_of(body)


def test_the_news_has_all_the_room_that_is_left() -> None:
    news = replace(passed(), markdown=lambda budget, link: "é" * (budget // 2))
    assert LARGEST_COMMENT - 1 <= len(written(news, KEY, SHA, RUN_URL).encode()) <= LARGEST_COMMENT


def test_what_goes_on_is_never_what_has_ended() -> None:
    ended = passed()
    goes_on = replace(ended, state=State.RUNNING)
    first, second = (written(news, KEY, SHA, None) for news in (goes_on, ended))
    assert is_told(second, second)
    assert not is_told(first, second)


def test_a_note_that_somebody_edited_is_news(github: GitHub) -> None:
    tell(github, place(github), failed())
    for note in ("", "<!-- e2e-matrix-run {} -->", "<!-- e2e-matrix-run {nonsense} -->"):
        github.comments[PULL][0]["body"] = f"{MARK}\n{note}"
        tell(github, place(github), failed())
        assert "1 failed" in bodies(github)[0]


@pytest.mark.parametrize("path", ["/user", "/graphql"])
def test_who_we_are_is_not_guessed_because_of_a_limit(path: str, github: GitHub) -> None:
    """Taken for somebody else, it would not find its comment, and make a second one."""
    github.who = Who("our-app[bot]", "Bot", has_user=False)
    github.comment(f"{MARK}\nold", login="our-app[bot]")
    limit = Answer(403, {"message": "API rate limit exceeded"}, {"Retry-After": "99999"})
    github.faults = [Fault(method, path, answer=limit) for method in ("GET", "POST")]
    with pytest.raises(PublishError, match="rate limit"):
        tell(github, place(github), passed())
    assert github.writes() == []


def test_a_refusal_changes_nothing(github: GitHub) -> None:
    github.comment(f"{MARK}\nold")
    github.faults = [Fault("GET", "/user", answer=Answer(401, {"message": "Bad credentials"}))]
    with pytest.raises(PublishError, match="Bad credentials"):
        tell(github, place(github), passed())
    assert github.writes() == []
