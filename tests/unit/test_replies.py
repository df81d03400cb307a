"""What the stand-in answers: the rules of a file before its own, each turn when it is due."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import HOST_ALIAS
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.limits import Limits
from e2e_matrix.llm import wire
from e2e_matrix.llm.replies import OTHER_ANSWER, Answer, Asked, Call, Replies, Rule, Turn
from e2e_matrix.llm.source import StandInSource
from e2e_matrix.progress import Silent
from e2e_matrix.scenarios.base import Session
from support.engines import OnThisHost
from support.tasks import a_task

BUILT_IN = Replies()


def asked(text: str, turns: int = 0, output: str = "", tools: tuple[str, ...] = ("terminal",)) -> Asked:
    return Asked(text, turns, output, tools)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("Run `ls -la /` in the terminal.", "ls -la /"),
        ("Please run the command `id -u`, and tell me.", "id -u"),
        ("RUN `a\nb`", "a\nb"),
        ("Run `one`, then run `two`.", "one"),
    ],
)
def test_a_command_in_backticks_is_run_once(text: str, command: str) -> None:
    [call] = BUILT_IN.answer(asked(text)).calls
    assert call == Call("terminal", {"command": command})
    assert BUILT_IN.answer(asked(text, turns=1, output="what it said")).text == (
        "The terminal says:\nwhat it said"
    )


@pytest.mark.parametrize("text", ["Run ls in the terminal.", "Run ``", "Rerun `ls`", "Do not look at `ls`."])
def test_what_only_speaks_of_commands_runs_none(text: str) -> None:
    assert BUILT_IN.answer(asked(text)) == Answer(OTHER_ANSWER)


def test_the_terminal_is_the_one_that_is_offered() -> None:
    text = "Run `ls`. Reply with just the number 42."
    [call] = BUILT_IN.answer(asked(text, tools=("finish", "execute_bash"))).calls
    assert call.tool == "execute_bash"
    assert BUILT_IN.answer(asked(text, tools=("finish",))) == Answer("42")


def test_of_a_long_output_the_end_is_told() -> None:
    lines = [f"line {number}" for number in range(1000)]
    told = BUILT_IN.answer(asked("Run `seq`", 1, "\n".join(lines))).text.splitlines()
    assert told[1:] == lines[-40:]
    assert len(BUILT_IN.answer(asked("Run `x`", 1, "x" * 100_000)).text) < 5000


def exchange(turns: list[dict[str, Any]], field: str, **more: Any) -> wire.Exchange:
    tools = [{"type": "function", "name": "terminal"}]
    body = {"model": "m", field: turns, "tools": tools} | more
    return wire.understand(json.dumps(body).encode(), field)


USER = {"role": "user", "content": "Run `ls`."}
CHAT_TURN = [
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "terminal"}}]},
    {"role": "tool", "content": [{"type": "text", "text": "here"}]},
]
ITEMS_TURN = [
    {"type": "reasoning", "summary": []},
    {"type": "function_call", "name": "terminal", "arguments": "{}"},
    {"type": "function_call", "name": "terminal", "arguments": "{}"},
    {"type": "function_call_output", "output": "he"},
    {"type": "function_call_output", "output": [{"type": "input_text", "text": "re"}]},
]


@pytest.mark.parametrize(("field", "turn"), [("messages", CHAT_TURN), ("input", ITEMS_TURN)])
def test_turns_are_counted_from_the_last_user_message(field: str, turn: list[dict[str, Any]]) -> None:
    assert len(exchange([USER], field).calls) == 1
    told = exchange([USER, *turn], field)
    assert told.calls == ()
    assert told.answer.replace("\n", "").endswith("says:here")
    assert len(exchange([USER, *turn, USER], field).calls) == 1
    assert len(exchange([USER, *turn, {"role": "assistant", "content": "x"}, USER], field).calls) == 1


@pytest.mark.parametrize(("field", "turn"), [("messages", CHAT_TURN), ("input", ITEMS_TURN)])
def test_a_turn_of_several_items_is_one_turn(field: str, turn: list[dict[str, Any]]) -> None:
    turns = tuple(Turn(reply=text) for text in ("first", "second", "third"))
    replies = Replies((Rule(re.compile("ls"), turns, "here"),))
    body = [json.dumps({"model": "m", field: [USER, *turn * times]}).encode() for times in range(5)]
    told = [wire.understand(each, field, replies).answer for each in body]
    assert told == ["first", "second", "third", "third", "third"]


def test_no_tool_is_called_where_none_may_be() -> None:
    assert exchange([USER], "messages", tool_choice="none").answer == OTHER_ANSWER
    assert exchange([USER], "messages", tools=[None, {"function": 3}, {"name": 4}]).answer == OTHER_ANSWER


def test_a_call_has_the_same_id_in_the_stream_and_whole() -> None:
    one, other = exchange([USER], "input"), exchange([USER, USER], "input")
    assert one.calls[0].id != other.calls[0].id
    events = dict(wire.response_events(one))
    assert events["response.completed"]["response"] == wire.response(one)
    chunks = [data["choices"][0]["delta"] for _, data in wire.chat_events(one)]
    [whole] = wire.chat_completion(one)["choices"][0]["message"]["tool_calls"]
    assert (
        chunks[1]["tool_calls"][0]["id"]
        == whole["id"]
        == events["response.output_item.done"]["item"]["call_id"]
    )


def test_a_request_for_a_title_quotes_the_user_and_is_no_turn_of_the_agent() -> None:
    calls = Rule(re.compile("look"), (Turn(calls=(Call("peek", {}),)), Turn(reply="done")), "replies.yaml:3")
    replies = Replies((calls, Rule(re.compile("title"), (Turn(reply="A title"),), "replies.yaml:6")))
    assert replies.answer(asked("A title for: look", tools=())).text == "A title"
    assert replies.answer(asked("A name for: look", tools=())).text == OTHER_ANSWER
    assert replies.answer(asked("A title for: look")).calls == (Call("peek", {}),)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("LLMBadRequestError: OpenAIException - {refusal}", Cause.LLM_REPLIES_WRONG),
        ("LLMBadRequestError: something else", Cause.CONVERSATION_ERROR),  # the server got over ours
    ],
)
def test_a_slip_of_the_file_is_not_blamed_on_the_server(tmp_path: Path, reason: str, cause: Cause) -> None:
    replies = Replies((Rule(re.compile("look"), (Turn(calls=(Call("peek", {}),)),), "replies.yaml:3"),))
    source = StandInSource(OnThisHost(), replies=replies)
    with closing(source):
        source.open()
        endpoint = source.endpoint("c", "s", None, tmp_path / "calls.jsonl")
        base_url = str(endpoint.base_url).replace(HOST_ALIAS, "127.0.0.1")
        refused = httpx.post(
            f"{base_url}/chat/completions",
            json={
                "model": "m",
                "messages": [{"role": "user", "content": "look"}],
                "tools": [{"type": "function", "function": {"name": "finish", "parameters": {}}}],
            },
            headers={"Authorization": f"Bearer {endpoint.api_key}"},
        )
        refusal = refused.json()["error"]["message"]
        assert (refused.status_code, refusal) == (
            400,
            "replies.yaml:3 calls the tool 'peek'; tools that this request offers: finish",
        )
        task, ledger = a_task(endpoint, str(tmp_path)), source.ledger(endpoint)
        session = Session(task, FakeEngine(), ledger, Silent(), Cancellation(), Limits())
        with pytest.raises(CellFailure), session.step("finished", "t", phase="conversation", limit=5):
            raise CellFailure(Cause.CONVERSATION_ERROR, reason.format(refusal=refusal))
    failure = session.findings.failure
    assert failure is not None
    assert failure.cause is cause
