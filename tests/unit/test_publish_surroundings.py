"""Where a run is told, from the environment of Actions or from options; what is wrong, all at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.errors import BadInput
from e2e_matrix.publish.surroundings import GITHUB, Given, Surroundings, look_around
from e2e_matrix.publish.survey import key_of, survey

HEAD, MERGE, OTHER = "a" * 40, "b" * 40, "c" * 40
ACTIONS = {
    "GITHUB_REPOSITORY": "octo/matrix",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_API_URL": "https://api.github.com",
    "GITHUB_RUN_ID": "55",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_WORKSPACE": "/home/runner/work/matrix/matrix",
    "GITHUB_SHA": MERGE,
    "GITHUB_TOKEN": "ghs_secret0123456789",
}
PULL_REQUEST = {"number": 7, "pull_request": {"number": 7, "head": {"sha": HEAD}}}
RUN = {
    "event": "pull_request",
    "head_sha": HEAD,
    "head_branch": "patch",
    "head_repository": {"owner": {"login": "mallory"}},
    "html_url": "https://github.com/octo/matrix/actions/runs/41",
    "pull_requests": [],
}


@pytest.fixture
def event(tmp_path: Path) -> Path:
    return tmp_path / "event.json"


def found(event: Path, content: Any, given: Given | None = None, **environ: str) -> Surroundings:
    event.write_text(json.dumps(content))
    surroundings, problems = look_around(
        given or Given(), {**ACTIONS, "GITHUB_EVENT_PATH": str(event), **environ}
    )
    assert problems == []
    return surroundings


@pytest.mark.parametrize("name", ["pull_request", "pull_request_target", "pull_request_review"])
def test_a_pull_request_is_about_its_head_not_its_merge(name: str, event: Path) -> None:
    around = found(event, PULL_REQUEST, GITHUB_EVENT_NAME=name, GITHUB_REF="refs/pull/7/merge")
    assert around == Surroundings(
        repo="octo/matrix",
        pull=7,
        sha=HEAD,
        run_url="https://github.com/octo/matrix/actions/runs/55/attempts/2",
        api_url="https://api.github.com",
        workspace=Path("/home/runner/work/matrix/matrix"),
        token="ghs_secret0123456789",
    )


def test_a_comment_on_a_pull_request_names_it_and_no_commit(event: Path) -> None:
    issue = {"number": 9, "pull_request": {"url": "x"}}
    around = found(event, {"issue": issue, "comment": {}}, GITHUB_REF="refs/heads/main")
    assert (around.pull, around.sha) == (9, None)


def test_a_comment_on_an_issue_names_no_pull_request(event: Path) -> None:
    assert found(event, {"issue": {"number": 9}, "comment": {}}).pull is None


def test_a_workflow_run_is_about_what_was_tested(event: Path) -> None:
    around = found(event, {"workflow_run": {**RUN, "pull_requests": [{"number": 3}]}})
    assert (around.pull, around.head, around.sha) == (3, None, HEAD)
    assert around.run_url == RUN["html_url"]


def test_a_workflow_run_of_a_fork_names_its_branch(event: Path) -> None:
    around = found(event, {"workflow_run": RUN})
    assert (around.pull, around.head, around.sha) == (None, "mallory:patch", HEAD)


@pytest.mark.parametrize("branch", [None, "", "a b", "\ud800", "a:b"])
def test_what_is_no_branch_is_not_asked_for(branch: str | None, event: Path) -> None:
    assert found(event, {"workflow_run": {**RUN, "head_branch": branch}}).head is None
    assert found(event, {"workflow_run": {**RUN, "head_repository": None}}).head is None


def test_a_workflow_run_of_a_push_is_about_no_pull_request(event: Path) -> None:
    around = found(event, {"workflow_run": {**RUN, "event": "push", "pull_requests": [{"number": 3}]}})
    assert (around.pull, around.head, around.sha) == (None, None, HEAD)


def test_a_push_is_about_its_commit(event: Path) -> None:
    around = found(event, {"ref": "refs/heads/main"}, GITHUB_REF="refs/heads/main")
    assert (around.pull, around.sha) == (None, MERGE)


def test_the_ref_names_the_pull_request_where_the_event_does_not(event: Path) -> None:
    """Then the commit is not known: what is checked out is a merge."""
    around = found(event, {}, GITHUB_REF="refs/pull/12/merge")
    assert (around.pull, around.sha) == (12, None)


def test_options_go_before_the_environment(event: Path) -> None:
    given = Given(
        "octo/matrix", "8", OTHER.upper(), "https://git.example.com/api/v3", "https://ci.example.com/1"
    )
    around = found(event, PULL_REQUEST, given)
    assert (around.pull, around.sha, around.api_url) == (8, OTHER, "https://git.example.com/api/v3")
    assert around.run_url == "https://ci.example.com/1"


def test_another_repository_has_none_of_the_events_numbers(event: Path) -> None:
    around = found(event, PULL_REQUEST, Given(repo="octo/other"))
    assert (around.repo, around.pull, around.sha) == ("octo/other", None, None)
    assert found(event, PULL_REQUEST, Given(repo="Octo/Matrix")).pull == 7


def test_another_pull_request_has_not_the_events_commit(event: Path) -> None:
    assert found(event, PULL_REQUEST, Given(pull="8")).sha is None
    assert found(event, PULL_REQUEST, Given(pull="7")).sha == HEAD


def test_the_token_is_githubs_or_else_ghs() -> None:
    def token(**environ: str) -> str | None:
        return look_around(Given(), environ)[0].token

    assert token(GITHUB_TOKEN="one", GH_TOKEN="two") == "one"
    assert token(GITHUB_TOKEN=" ", GH_TOKEN="two\n") == "two"
    assert token(TOKEN="three") is None


def test_the_token_is_in_no_repr_and_a_broken_one_in_no_message() -> None:
    around, problems = look_around(Given(), {"GITHUB_TOKEN": "ghs_secret0123456789"})
    assert "ghs_secret" not in repr(around)
    around, problems = look_around(
        Given(), {"GITHUB_TOKEN": "ghs_secret\nX-Evil: 1", "GH_TOKEN": "schlüssel"}
    )
    assert around.token is None
    assert "GITHUB_TOKEN: is no token" in str(problems[0])
    assert not any(part in str(problems) for part in ("ghs_secret", "Evil", "schl"))


def test_without_anything_it_is_github_com() -> None:
    assert look_around(Given(), {}) == (Surroundings(api_url=GITHUB), [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("[1]", "is not what GitHub writes there"),
        ('{"pull_request": {"number": "7"}}', "is not what GitHub writes there"),
        ('{"pull_request": {"number": 7, "head": {"sha": "nonsense"}}}', "is not what GitHub writes there"),
        ('{"issue": 5}', "is not what GitHub writes there"),
        ('{"workflow_run": {"head_sha": null}}', "is not what GitHub writes there"),
        ("\udcff\udcfe", "is no JSON"),
        ("[" * 200_000, "is no JSON"),
    ],
)
def test_a_broken_event_is_a_problem(content: str, said: str, event: Path) -> None:
    event.write_bytes(content.encode(errors="surrogateescape"))
    _, problems = look_around(Given(), {**ACTIONS, "GITHUB_EVENT_PATH": str(event)})
    (problem,) = map(str, problems)
    assert f"GITHUB_EVENT_PATH={event}: {said}" in problem
    assert "--pr" in problem


def test_an_event_that_is_not_there_is_a_problem(event: Path) -> None:
    _, problems = look_around(Given(), {**ACTIONS, "GITHUB_EVENT_PATH": str(event)})
    assert "cannot be read: No such file or directory" in str(problems[0])


def problems_of(names: tuple[str, ...], given: Given, environ: dict[str, str], **more: Any) -> list[str]:
    with pytest.raises(BadInput) as refused:
        survey(names, given, more.pop("key", None), environ, **more)
    return [str(problem).split("\n")[0] for problem in refused.value.problems]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    given = Given("nonsense", "zero", "abc", "ftp://x", "javascript:alert(1)")
    names = ("github-comment", "github-check", "github-issue")
    assert problems_of(names, given, {"GITHUB_TOKEN": "a b"}, key="a--b") == [
        "--api-url: cannot be 'ftp://x'",
        "--key: cannot be 'a--b'",
        "--pr: cannot be 'zero'",
        "--repo: cannot be 'nonsense'",
        "--run-url: cannot be 'javascript:alert(1)'",
        "--sha: cannot be 'abc'",
        "GITHUB_TOKEN: is no token: it has spaces or other signs inside",
    ]


def test_each_place_needs_what_it_is_told_at() -> None:
    token, repo = {"GITHUB_TOKEN": "t"}, Given(repo="octo/matrix")
    assert problems_of(("github-comment",), repo, token) == [
        "--pr: not known: this is no event of a pull request"
    ]
    assert problems_of(("github-check",), repo, token) == ["--sha: not known: which commit is it about?"]
    assert problems_of(("github-issue",), Given(), token) == ["--repo: not known: which repository?"]
    assert survey(("github-issue",), repo, None, token).repo == "octo/matrix"


def test_no_token_is_a_problem() -> None:
    (problem,) = problems_of(("github-issue",), Given(repo="octo/matrix"), {"GITHUB_TOKEN": ""})
    assert problem == "GITHUB_TOKEN or GH_TOKEN: not set: there is no token to publish with"


def test_a_dry_run_needs_no_token_but_the_number() -> None:
    assert survey(("github-comment",), Given("octo/matrix", "7"), None, {}, dry_run=True).pull == 7


def test_a_dry_run_without_a_token_looks_up_no_fork(event: Path) -> None:
    event.write_text(json.dumps({"workflow_run": RUN}))
    environ = {**ACTIONS, "GITHUB_EVENT_PATH": str(event)}
    assert survey(("github-comment",), Given(), None, environ, dry_run=True).head == "mallory:patch"
    del environ["GITHUB_TOKEN"]
    (problem,) = problems_of(("github-comment",), Given(), environ, dry_run=True)
    assert "--pr: not known: a dry run does not look up the pull request of mallory:patch" in problem


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://git.example.com/api/v3", "would send the token unencrypted"),
        ("https://user:pw@git.example.com", "without login and query"),
        ("https://git.example.com?x=1", "without login and query"),
        ("https://git.example.com:port", "without login and query"),
        ("git.example.com", "cannot be 'git.example.com'"),
        ("", "must not be empty"),
    ],
)
def test_an_address_that_cannot_be_used_is_a_problem(url: str, said: str) -> None:
    _, problems = look_around(Given(api_url=url), {})
    assert said in str(problems[0])


@pytest.mark.parametrize(
    "url",
    ["https://", "https://x y", "https://x)", "https://x\udcff", "https://x>", "file:///x", "https://é"],
)
def test_a_link_that_cannot_stand_in_markdown_is_a_problem(url: str) -> None:
    assert "--run-url: cannot be" in str(look_around(Given(run_url=url), {})[1][0])


@pytest.mark.parametrize("repo", ["a/..", "a/.", "a/b/c", "-a/b", "a b/c", "a/b?x", "a", "a/b\n"])
def test_what_is_no_repository_is_a_problem(repo: str) -> None:
    assert "--repo: cannot be" in str(look_around(Given(repo=repo), {})[1][0])


@pytest.mark.parametrize(
    ("matrix_file", "key"),
    [
        ("matrix.yaml", "matrix"),
        ("/x/nightly-arm.yml", "nightly-arm"),
        ("--><b>.yaml", "b"),
        ("日本.yaml", "default"),
        (f"{'a' * 100}.yaml", "a" * 60),
    ],
)
def test_the_key_is_the_name_of_the_matrix(matrix_file: str, key: str) -> None:
    assert key_of(matrix_file) == key
    survey(("github-issue",), Given("octo/matrix"), key, {"GH_TOKEN": "t"})
