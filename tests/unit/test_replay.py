"""A recording answers in the model's place; what asks something else is told how it differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import POLICIES, Cause, Outcome
from e2e_matrix.limits import Limits
from e2e_matrix.llm.difference import difference, normalised
from e2e_matrix.llm.recorder import Recorder
from e2e_matrix.llm.recording import RecordedCall, Recording, read_recording
from e2e_matrix.llm.replay import Replay
from e2e_matrix.llm.source import ReplaySource
from e2e_matrix.progress import Silent
from e2e_matrix.scenarios.base import Session
from support.engines import OnThisHost
from support.faulty_llm import Fault, FaultyLlm
from support.tasks import a_task


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **more}


def a_call(text: str, **changes: Any) -> RecordedCall:
    values: dict[str, Any] = {
        "cell": "python-amd64", "scenario": "s", "attempt": "a", "order": 1, "model": "openai/m",
        "base_path": "/v1", "received_at": "2026-01-01T00:00:00Z", "method": "POST",
        "path": "/v1/chat/completions", "request": ask(text), "status": 200,
        "headers": {"content-type": "application/json"}, "body": json.dumps({"said": text}),
    }  # fmt: skip
    return RecordedCall(**values | changes)


class Player:
    """A replay, and who asks it as one attempt at a cell."""

    def __init__(self, replay: Replay, cell: str = "python-amd64", scenario: str = "s") -> None:
        self.replay = replay
        self.key = replay.issue_key(cell, scenario)

    def post(self, body: Any, path: str = "/chat/completions") -> httpx.Response:
        url = self.replay.server.base_url("/v1") + path
        return httpx.post(url, json=body, headers={"Authorization": f"Bearer {self.key}"})

    def say(self, text: str, **more: Any) -> Any:
        return self.post(ask(text, **more)).json().get("said")


Play = Callable[..., Replay]


@pytest.fixture
def play() -> Iterator[Play]:
    opened: list[Replay] = []

    def start(*calls: RecordedCall) -> Replay:
        opened.append(Replay("127.0.0.1", Recording(Path("calls.jsonl"), calls)))
        return opened[-1]

    yield start
    for replay in opened:
        replay.close()


def test_what_was_recorded_is_played_again_with_the_providers_bad_minutes(tmp_path: Path) -> None:
    """Refused, broken off in the middle, answered at last; with the same status, header and bytes."""
    path = tmp_path / "calls.jsonl"

    def talk(base_url: str, key: str) -> list[tuple[int, str | None, bytes]]:
        heard = []
        for number in range(4):
            sent = {**ask("hello", stream=number == 2), "id": f"sent with {key}"}
            with httpx.stream(
                "POST", f"{base_url}/chat/completions", json=sent, headers={"Authorization": f"Bearer {key}"}
            ) as answer:
                pieces: list[bytes] = []
                try:
                    pieces.extend(answer.iter_raw())
                except httpx.RemoteProtocolError:
                    pieces.append(b"broken")
                heard.append((answer.status_code, answer.headers.get("retry-after"), b"".join(pieces)))
        return heard

    with FaultyLlm("127.0.0.1", Fault.RATE_LIMITED, Fault.CUT, Fault.HALF, Fault.NONE) as llm:
        recorder = Recorder("127.0.0.1", llm.base_url(), "sk-provider", path)
        with closing(recorder):
            key = recorder.issue_key("python-amd64", "s", "openai/gpt-4o")
            live = talk(recorder.server.base_url("/v1"), key)
            live_calls = recorder.server.log.calls(key)
    assert [status for status, _, _ in live] == [429, 502, 200, 200]
    assert [body.endswith(b"broken") for _, _, body in live] == [False, False, True, False]
    with closing(Replay("127.0.0.1", read_recording(path))) as replay:
        player = Player(replay)
        assert talk(replay.server.base_url("/v1"), player.key) == live
        assert (replay.difference(player.key), replay.unused(player.key)) == (None, 0)
        played = [
            (call.status, call.prompt_tokens, call.streamed) for call in replay.server.log.calls(player.key)
        ]
        assert played == [(call.status, call.prompt_tokens, call.streamed) for call in live_calls]
        assert played[-1][1] > 0


def test_another_question_is_refused_at_once_and_shown(play: Play) -> None:
    replay = play(a_call("one"), a_call("What is two?\nSay it.", order=2))
    player = Player(replay)
    assert player.say("one") == "one"
    refused = player.post(ask("What is 2?\nSay it."))
    assert (refused.status_code, refused.headers["x-should-retry"]) == (400, "false")
    found = replay.difference(player.key)
    assert found is not None
    assert found.message == "call 2 to the model, POST /v1/chat/completions, is not the recorded one"
    assert found.detail.splitlines()[3:] == [
        '         "content": [',
        '-          "What is two?",',
        '+          "What is 2?",',
        '           "Say it."',
    ]
    assert replay.unused(player.key) == 1
    player.say("What is three?")
    assert replay.difference(player.key) == found


def test_more_calls_than_were_recorded(play: Play) -> None:
    replay = play(a_call("one"))
    player = Player(replay)
    player.say("one")
    player.say("one")
    found = replay.difference(player.key)
    assert found is not None
    assert "was not recorded: no more than 1 recorded" in found.message
    assert '+    "messages": [' in found.detail


def test_a_cell_without_a_recording_is_told_which_have_one(play: Play) -> None:
    replay = play(a_call("one"), a_call("one", cell="java-amd64", attempt="b"))
    player = Player(replay, "golang-amd64")
    player.say("one")
    found = replay.difference(player.key)
    assert found is not None
    assert "none recorded for golang-amd64; calls.jsonl has python-amd64, java-amd64" in found.message


def test_each_attempt_hears_the_recording_from_its_start_each_call_once(play: Play) -> None:
    replay = play(*(a_call("again", order=order, body=f'{{"said": {order}}}') for order in (2, 1, 3)))
    for _ in range(2):
        player = Player(replay)
        assert [player.say("again") for _ in range(2)] == [1, 2]
        assert replay.unused(player.key) == 1


def test_calls_made_at_the_same_time_may_come_in_another_order(play: Play) -> None:
    player = Player(play(a_call("title"), a_call("agent", order=2)))
    assert [player.say("agent"), player.say("title")] == ["agent", "title"]


def test_which_recording_a_cell_hears() -> None:
    recording = Recording(
        Path("calls.jsonl"),
        [
            a_call("old"),
            a_call("new", attempt="b"),
            a_call("java", cell="java-amd64", attempt="c"),
            a_call("script", cell="python-amd64-script", scenario="script", attempt="d"),
        ],
    )

    def heard(cell: str, scenario: str) -> list[Any]:
        return [json.loads(call.body)["said"] for call in recording.calls_for(cell, scenario)]

    assert heard("python-amd64", "s") == ["new"]
    assert heard("java-amd64", "s") == ["java"]
    assert heard("golang-amd64", "s") == []  # two cells were recorded: whose?
    assert heard("golang-arm64-script", "script") == ["script"]
    assert heard("python-amd64", "other") == []


def test_a_secret_that_the_recorder_hid_is_no_difference(play: Play) -> None:
    replay = play(a_call("key=[hidden]", path="/v1/chat/completions?key=[hidden]"))
    player = Player(replay)
    replay.hide(player.key, "this-runs-secret")
    player.post(ask("key=this-runs-secret"), f"/chat/completions?key={player.key}")
    assert replay.difference(player.key) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a 86ed6853-a02f-4af8-a79e-965479b9c4da", "a 584AF859-c4f8-464c-967b-6a1d32e7f0a1"),
        ("86ed6853a02f4af8a79e965479b9c4da", "584af859c4f8464c967b6a1d32e7f0a1"),
        ("at 2026-11-25T02:49:33.236095Z.", "at 2027-01-05T12:00:00+01:00."),
        ("2026-11-25 02:49", "2026-12-26 03:50"),
        ("Wednesday, November 25, 2026", "Friday, January 1, 2027"),
        ("Wed Nov 25 02:49:33 UTC 2026", "Fri Jan  1 12:00:00 UTC 2027"),
        ("Wed, 25 Nov 2026 02:49:33 GMT", "Fri, 01 Jan 2027 12:00:00 GMT"),
        ("-rw 1 root 12 Nov 25 02:49 a", "-rw 1 root 12 Jan  3 23:59 a"),
        ("now=1795575000.123", "now=1795999999.9"),
        ("http://127.0.0.1:34567/v1", "http://127.0.0.1:8000/v1"),
        ("host.docker.internal:40001", "host.docker.internal:50002"),
        ("/tmp/e2e-matrix-ab12cd34/tmp/ws_x1y2z3/a.py", "/tmp/e2e-matrix-00112233/tmp/ws_q9/a.py"),
        ("HOME=/tmp/e2e-matrix-ab12cd34/home", "HOME=/tmp/e2e-matrix-00112233/home"),
    ],
)
def test_what_differs_between_any_two_runs_is_no_difference(one: str, other: str) -> None:
    assert normalised({"a": [one]}) == normalised({"a": [other]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 42?", "What is 43?"),
        ("version 1.58.0", "version 1.58.1"),
        ("port 8000", "port 8001"),
        ("example.org:8000", "example.org:8001"),
        ("total 1234567", "total 1234568"),
        ("/tmp/other-ab12cd34/x", "/tmp/other-00112233/x"),
        ("/tmp/e2e-matrix-a/tmp/ws/a.py", "/tmp/e2e-matrix-a/tmp/ws/b.py"),
        ("may 2 of them", "can 2 of them"),
        ("mark 3 files", "mark 5 files"),
        ("decide 2", "separate 2"),
    ],
)
def test_what_means_something_stays_a_difference(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_a_difference_is_bounded_and_shows_where_a_long_line_differs() -> None:
    words = "word " * 5000
    shown = difference({"text": words + "old" + words}, {"text": words + "new" + words})
    assert len(shown) < 700
    [removed, added] = [line for line in shown.splitlines()[2:] if line[0] in "-+"]
    assert (" old" in removed, " new" in added) == (True, True)
    flood = difference([f"a{number}" for number in range(9999)], [f"b{number}" for number in range(9999)])
    assert (len(flood) < 4000, flood.splitlines()[-1]) == (True, "... and more")
    assert difference({"a": 1}, {"a": 1}) == ""


def test_whatever_a_step_meets_after_a_difference_is_its_fault(tmp_path: Path) -> None:
    source = ReplaySource(OnThisHost(), Recording(Path("calls.jsonl"), [a_call("k=[hidden]"), a_call("one")]))
    with closing(source):
        source.open()
        endpoint = source.endpoint("java-arm64", "s", None, tmp_path / "calls.jsonl")
        assert (endpoint.model, source.describe().kind, source.describe().model) == (
            "openai/m",
            "replay",
            "openai/m",
        )
        ledger = source.ledger(endpoint)
        session = Session(
            a_task(endpoint, str(tmp_path)), FakeEngine(), ledger, Silent(), Cancellation(), Limits()
        )
        base_url = str(endpoint.base_url).replace("host.docker.internal", "127.0.0.1")
        session.hide("this-runs-secret")
        for text in ("k=this-runs-secret", "two"):
            headers = {"Authorization": f"Bearer {endpoint.api_key}"}
            httpx.post(f"{base_url}/chat/completions", json=ask(text), headers=headers)
        with pytest.raises(CellFailure), session.step("finished", "t", phase="conversation", limit=5):
            raise CellFailure(Cause.CONVERSATION_ERROR, "LLMBadRequestError")
        calls = ledger.calls()
    failure = session.findings.failure
    assert failure is not None
    assert failure.cause is Cause.LLM_REPLAY_DIFFERS
    assert '+        "content": "two",' in (failure.detail or "")
    assert (POLICIES[failure.cause].outcome, POLICIES[failure.cause].final) == (Outcome.FAILED, True)
    assert [call.status for call in calls or ()] == [200, 400]
