"""GitHub as it is: limits, lost answers, renamed repositories, and a token that goes to nobody else."""

from __future__ import annotations

import io
import logging
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from email.utils import formatdate

import pytest

from e2e_matrix.errors import PublishError
from e2e_matrix.publish.client import Client, Item, Patience
from support.github.description import Answer
from support.github.server import PULL, REPO, TOKEN, Fault, GitHub, a_github

COMMENTS = f"/repos/{REPO}/issues/{PULL}/comments"
NOW = 1_772_366_400.0


class Comment(Item):
    id: int
    body: str


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def github() -> Iterator[GitHub]:
    with a_github() as github:
        yield github


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def client(github: GitHub, time: Time) -> Iterator[Client]:
    with a_client(github.url, time) as client:
        yield client


def a_client(url: str, time: Time, patience: Patience | None = None, token: str = TOKEN) -> Client:
    return Client(
        url,
        token,
        patience or Patience(tries=4, exchange=5, total=300),
        clock=time.clock,
        sleep=time.sleep,
        now=lambda: NOW + time.now,
    )


def post(client: Client, github: GitHub) -> Comment:
    def arrived() -> Comment | None:
        return next((one for one in client.pages(COMMENTS, Comment) if one.body == "hello"), None)

    return client.add(COMMENTS, {"body": "hello"}, Comment, arrived)


def test_all_pages_are_read(client: Client, github: GitHub) -> None:
    for number in range(350):
        github.comment(f"number {number}")
    found = [one.body for one in client.pages(COMMENTS, Comment)]
    assert found == [f"number {number}" for number in range(350)]
    assert [one.query.get("page") for one in github.seen] == [None, "2", "3", "4"]
    assert {one.query["per_page"] for one in github.seen} == {"100"}


def test_the_request_is_as_github_wants_it(client: Client, github: GitHub) -> None:
    list(client.pages(COMMENTS, Comment))
    headers = github.seen[0].headers
    assert headers["accept"] == "application/vnd.github+json"
    assert headers["x-github-api-version"] == "2022-11-28"
    assert headers["user-agent"].startswith("e2e-matrix/")


LIMITS = [
    (Answer(429, {"message": "slow down"}, {"Retry-After": "7"}), 7.0),
    (Answer(429, {"message": "slow down"}, {"Retry-After": formatdate(NOW + 9, usegmt=True)}), 9.0),
    (Answer(403, {"message": "You have exceeded a secondary rate limit."}, {"Retry-After": "31"}), 31.0),
    (Answer(403, {"message": "You have exceeded a secondary rate limit."}), 60.0),
    (Answer(403, {"message": "not now"}, {"Retry-After": "5"}), 5.0),
    (
        Answer(
            403,
            {"message": "API rate limit exceeded"},
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW + 42:.0f}"},
        ),
        42.0,
    ),
    (Answer(503, {"message": "Service unavailable"}, {"Retry-After": "3"}), 3.0),
    (Answer(502, {"message": "Bad gateway"}), 1.0),
]


@pytest.mark.parametrize(("answer", "waits"), LIMITS)
def test_it_waits_as_long_as_it_is_told(
    answer: Answer, waits: float, client: Client, github: GitHub, time: Time
) -> None:
    github.faults = [Fault("GET", "comments", answer=answer)]
    assert list(client.pages(COMMENTS, Comment)) == []
    assert time.slept == [waits]


def test_it_does_not_wait_for_longer_than_it_has_time(client: Client, github: GitHub, time: Time) -> None:
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW + 3000:.0f}"}
    github.faults = [
        Fault("GET", "comments", answer=Answer(403, {"message": "API rate limit exceeded"}, headers))
    ]
    with pytest.raises(PublishError, match="asks to be left alone for 3000 s") as refused:
        list(client.pages(COMMENTS, Comment))
    assert (refused.value.retry_after, refused.value.status, time.slept) == (3000, 403, [])


def test_tries_and_all_waiting_are_bounded(client: Client, github: GitHub, time: Time) -> None:
    github.faults = [Fault("GET", "comments", times=99, answer=Answer(500, {"message": "no"}))]
    with pytest.raises(PublishError, match=r"answered GET .* with 500: no \(tried 4 times\)"):
        list(client.pages(COMMENTS, Comment))
    assert time.slept == [1, 2, 4]
    github.faults = [Fault("GET", "comments", times=99, answer=Answer(429, {"message": "no"}))]
    with pytest.raises(PublishError):
        list(client.pages(COMMENTS, Comment))
    with pytest.raises(PublishError):
        list(client.pages(COMMENTS, Comment))
    assert time.now <= 300


@pytest.mark.parametrize(
    "answer", [None, Answer(502, {"message": "bad gateway"}), Answer(500, {"message": "no"})]
)
def test_what_arrived_though_its_answer_was_lost_is_not_sent_again(
    answer: Answer | None, client: Client, github: GitHub
) -> None:
    github.faults = [Fault("POST", "comments", lost=True, answer=answer)]
    assert post(client, github).id == github.comments[PULL][0]["id"]
    assert github.writes() == [f"POST /issues/{PULL}/comments"]


def test_what_did_not_arrive_is_sent_again(client: Client, github: GitHub) -> None:
    github.faults = [Fault("POST", "comments", answer=Answer(502, {"message": "bad gateway"}))]
    post(client, github)
    assert [one["body"] for one in github.comments[PULL]] == ["hello"]
    assert github.writes() == [f"POST /issues/{PULL}/comments"] * 2


def test_a_lost_answer_to_the_last_try_is_looked_up_too(github: GitHub, time: Time) -> None:
    github.faults = [Fault("POST", "comments", lost=True)]
    with a_client(github.url, time, Patience(tries=1, exchange=5, total=60)) as client:
        post(client, github)
    assert len(github.comments[PULL]) == 1


def test_a_limit_is_no_lost_answer(client: Client, github: GitHub) -> None:
    github.faults = [Fault("POST", "comments", answer=Answer(429, {"message": "no"}, {"Retry-After": "1"}))]
    post(client, github)
    assert [one.method for one in github.seen] == ["POST", "POST"]


def test_a_server_that_never_answers_is_given_up(github: GitHub, time: Time) -> None:
    github.faults = [Fault("GET", "comments", times=9, stalls=True)]
    with (
        a_client(github.url, time, Patience(tries=2, exchange=0.2, total=60)) as client,
        pytest.raises(PublishError, match=r"did not answer GET .* in time \(tried 2 times\)"),
    ):
        list(client.pages(COMMENTS, Comment))


def test_nobody_there_is_an_error_that_names_the_host(time: Time) -> None:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        with (
            a_client(f"http://{host}", time) as client,
            pytest.raises(PublishError, match=f"{host} cannot be reached"),
        ):
            client.read("/user", Item)
    assert len(time.slept) == 3


@pytest.mark.parametrize(
    ("status", "said", "fix"),
    [
        (401, "Bad credentials", "GITHUB_TOKEN"),
        (403, "Resource not accessible by integration", "workflow_run"),
        (403, "Resource not accessible by personal access token", "workflow_run"),
        (403, "Must have admin rights", "docs/publishing.md"),
        (404, "Not Found", "Check --repo"),
        (410, "Issues are disabled for this repo", "switched off"),
    ],
)
def test_a_refusal_says_what_to_do_and_is_not_repeated(
    status: int, said: str, fix: str, client: Client, github: GitHub
) -> None:
    github.faults = [Fault("POST", "comments", answer=Answer(status, {"message": said}))]
    with pytest.raises(PublishError) as refused:
        post(client, github)
    assert said in str(refused.value)
    assert fix in str(refused.value)
    assert (refused.value.status, refused.value.exit_code, len(github.seen)) == (status, 3, 1)


def test_what_is_wrong_with_a_field_is_told(client: Client, github: GitHub) -> None:
    with pytest.raises(PublishError, match="Validation Failed; body custom body is too long"):
        client.add(COMMENTS, {"body": "x" * 65_537}, Comment, lambda: None)


@pytest.mark.parametrize(
    "raw", [b"<html>a proxy's page</html>", b'[{"id": 1', b"[" * 100_000, b'{"a": 1}', b'[{"id": "no"}]']
)
def test_what_is_not_githubs_answer_is_an_error(raw: bytes, time: Time) -> None:
    head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(raw)
    with (
        answering(head + raw) as url,
        a_client(url, time) as client,
        pytest.raises(PublishError, match=r"Check --api-url|no list"),
    ):
        list(client.pages(COMMENTS, Comment))


def test_a_renamed_repository_is_followed_as_it_was_asked(client: Client, github: GitHub) -> None:
    github.renamed = "octo/before"
    path = COMMENTS.replace(REPO, "octo/before")
    client.add(path, {"body": "hello"}, Comment, lambda: None)
    assert [one.body for one in client.pages(path, Comment)] == ["hello"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_token_does_not_follow_to_another_host(status: int, client: Client, github: GitHub) -> None:
    with GitHub() as other:
        target = f"{other.url}{COMMENTS}"
        moved = Answer(status, {"message": "Moved", "url": target}, {"Location": target})
        github.faults = [Fault("POST", "comments", answer=moved), Fault("GET", "comments", answer=moved)]
        for attempt in (lambda: post(client, github), lambda: list(client.pages(COMMENTS, Comment))):
            with pytest.raises(PublishError, match="the token is not taken there"):
                attempt()
        assert other.seen == []


def test_a_redirect_in_a_circle_ends(client: Client, github: GitHub) -> None:
    target = github.url + COMMENTS
    moved = Answer(302, {"message": "Moved", "url": target}, {"Location": target})
    github.faults = [Fault("GET", "comments", times=99, answer=moved)]
    with pytest.raises(PublishError, match="in a circle"):
        list(client.pages(COMMENTS, Comment))


def test_the_next_page_is_asked_of_the_same_host(client: Client, github: GitHub) -> None:
    with GitHub() as other:
        link = f'<{other.url}{COMMENTS}?page=2>; rel="next"'
        github.faults = [Fault("GET", "comments", answer=Answer(200, [], {"Link": link}))]
        assert list(client.pages(COMMENTS, Comment)) == []
        assert other.seen == []
    assert [one.query.get("page") for one in github.seen] == [None, "2"]


def test_pages_without_an_end_end(client: Client, github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2e_matrix.publish.client._MOST_PAGES", 5)
    link = f'<{github.url}{COMMENTS}?page=1>; rel="next"'
    github.faults = [Fault("GET", "comments", times=99, answer=Answer(200, [], {"Link": link}))]
    with pytest.raises(PublishError, match="more than 5 pages"):
        list(client.pages(COMMENTS, Comment))


@pytest.mark.parametrize(
    ("prefix", "graphql"), [("", "/graphql"), ("/api/v3", "/api/graphql")], ids=["github.com", "enterprise"]
)
def test_the_viewer_is_asked_where_graphql_lies(
    prefix: str, graphql: str, github: GitHub, time: Time
) -> None:
    github.prefix = prefix
    with a_client(github.url, time) as client:
        assert client.viewer() == "octocat"
    assert graphql.endswith(github.seen[0].path)


def test_the_token_is_in_no_message_log_or_repr(
    github: GitHub, time: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = io.StringIO()
    github.faults = [
        Fault("GET", "comments", answer=Answer(403, {"message": f"no: {TOKEN}"})),
        Fault("POST", "comments", answer=Answer(422, {"message": "no", "errors": [TOKEN]})),
        Fault("DELETE", "", answer=Answer(401, {"message": TOKEN})),
    ]
    with a_client(github.url, time) as client:
        attempts: list[Callable[[], object]] = [
            lambda: list(client.pages(COMMENTS, Comment)),
            lambda: post(client, github),
            lambda: client.delete("/repos/octo/matrix/issues/comments/1"),
        ]
        for attempt in attempts:
            with pytest.raises(PublishError) as refused:
                attempt()
            said.write(str(refused.value) + repr(refused.value))
            said.write("".join(traceback.format_exception(refused.value)))
        said.write(repr(client))
    assert TOKEN not in said.getvalue() + caplog.text
    assert "[hidden]" in said.getvalue()


@contextmanager
def answering(raw: bytes) -> Iterator[str]:
    """The address of a server that says ``raw`` to whoever comes."""

    def serve() -> None:
        with suppress(OSError):  # the test is over
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(raw)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
