"""The endpoint that misbehaves, as a client meets it: what the tests of faults build on."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from support.faulty_llm import Fault, FaultyLlm

CHAT: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "Reply with just the number 42."}],
}


def ask(llm: FaultyLlm, **more: Any) -> httpx.Response:
    return httpx.post(f"{llm.base_url()}/chat/completions", json=CHAT | more, timeout=2, trust_env=False)


@pytest.mark.parametrize("streamed", [False, True])
def test_without_a_fault_it_answers(streamed: bool) -> None:
    with FaultyLlm("127.0.0.1") as llm:
        answer = ask(llm, stream=streamed)
    assert answer.status_code == 200
    assert '"content": "42"' in answer.text
    assert ("[DONE]" in answer.text) is streamed


def test_the_faults_come_in_turn_and_the_last_one_stays() -> None:
    with FaultyLlm(
        "127.0.0.1", Fault.RATE_LIMITED, Fault.SERVER_ERROR, Fault.UNAUTHORIZED, retry_after=7
    ) as llm:
        answers = [ask(llm) for _ in range(4)]
        calls = llm.calls
    assert [answer.status_code for answer in answers] == [429, 500, 401, 401]
    assert answers[0].headers["retry-after"] == "7"
    assert answers[2].json()["error"]["code"] == "invalid_api_key"
    assert [call.fault.value for call in calls] == ["429 with Retry-After", "500", "401", "401"]
    assert {call.path for call in calls} == {"/v1/chat/completions"}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.HANGS, httpx.ReadTimeout),
        (Fault.HALF, httpx.RemoteProtocolError),
        (Fault.CUT, httpx.RemoteProtocolError),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_never_comes_whole_is_an_error_of_the_transport(
    fault: Fault, error: type[httpx.HTTPError], streamed: bool
) -> None:
    with FaultyLlm("127.0.0.1", fault, Fault.NONE) as llm:
        with pytest.raises(error):
            ask(llm, stream=streamed)
        assert ask(llm, stream=streamed).status_code == 200
        assert [call.streamed for call in llm.calls] == [streamed, streamed]


def test_no_json_is_a_good_status_with_something_else() -> None:
    with FaultyLlm("127.0.0.1", Fault.NO_JSON) as llm:
        answer = ask(llm)
    assert answer.status_code == 200
    assert answer.text.startswith("<html>")
