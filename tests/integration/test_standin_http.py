"""The stand-in over real sockets, read the way a client of OpenAI's API reads it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.llm import StandIn, standin, wire
from e2e_matrix.llm.standin import MAX_BODY_BYTES

PROMPT = "Reply with just the number 42."
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}]}
INPUT = {"model": "gpt-5.5", "input": PROMPT}


@pytest.fixture
def llm() -> Iterator[StandIn]:
    with StandIn("127.0.0.1") as running:
        yield running


@pytest.fixture
def client(llm: StandIn) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {llm.issue_key('python-amd64')}"}
    with httpx.Client(base_url=llm.base_url(), headers=headers, timeout=10) as opened:
        yield opened


def _events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in answer.text.split("\n\n") if block]
    data = [line[6:] for block in blocks for line in block.splitlines() if line.startswith("data: ")]
    return [{"done": True} if item == "[DONE]" else json.loads(item) for item in data]


def test_chat_whole(llm: StandIn, client: httpx.Client) -> None:
    answer = client.post("/chat/completions", json=CHAT)
    body = answer.json()
    assert (answer.status_code, body["object"], body["model"]) == (200, "chat.completion", "gpt-4o")
    assert body["choices"][0]["message"]["content"] == "42"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + 1
    [call] = llm.calls("python-amd64")
    assert (call.path, call.status, call.streamed) == ("/v1/chat/completions", 200, False)
    assert call.prompt_tokens == body["usage"]["prompt_tokens"] > 0
    assert call.received_at.utcoffset() is not None
    assert 0 < call.first_byte_seconds <= call.duration_seconds < 5


def test_chat_streamed(llm: StandIn, client: httpx.Client) -> None:
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = _events(client.post("/chat/completions", json=CHAT | streamed))
    assert last == {"done": True}
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == "42"
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    [call] = llm.calls("python-amd64")
    assert call.streamed
    assert chunks[-1]["usage"]["prompt_tokens"] == call.prompt_tokens


def test_responses_whole_and_streamed(llm: StandIn, client: httpx.Client) -> None:
    whole = client.post("/responses", json=INPUT).json()
    events = _events(client.post("/responses", json=INPUT | {"stream": True}))
    assert whole["output"][0]["content"][0]["text"] == "42"
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta") == "42"
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["usage"] == whole["usage"]
    assert [call.streamed for call in llm.calls("python-amd64")] == [False, True]


RUN = "Run `echo 42` in the terminal."
ARGUMENTS = {"command": "echo 42"}
TERMINAL = {"type": "function", "name": "terminal", "parameters": {"type": "object"}}
CHAT_TOOLS = {"model": "gpt-4o", "tools": [{"type": "function", "function": {"name": "terminal"}}]}
INPUT_TOOLS = {"model": "gpt-5.5", "tools": [TERMINAL]}


def test_chat_calls_a_tool_and_then_tells_what_it_said(llm: StandIn, client: httpx.Client) -> None:
    turns: list[dict[str, Any]] = [{"role": "user", "content": RUN}]
    body = client.post("/chat/completions", json=CHAT_TOOLS | {"messages": turns}).json()
    [choice] = body["choices"]
    [call] = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert (call["type"], call["function"]["name"]) == ("function", "terminal")
    assert json.loads(call["function"]["arguments"]) == ARGUMENTS

    turns += [choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "42\n[exit 0]"}]
    [choice] = client.post("/chat/completions", json=CHAT_TOOLS | {"messages": turns}).json()["choices"]
    assert (choice["finish_reason"], "tool_calls" in choice["message"]) == ("stop", False)
    assert choice["message"]["content"] == "The terminal says:\n42\n[exit 0]"
    first, second = llm.calls("python-amd64")
    assert (first.prompt_tokens, first.completion_tokens) == (
        body["usage"]["prompt_tokens"],
        wire.count_tokens("terminal") + wire.count_tokens(json.dumps(ARGUMENTS)),
    )
    assert second.prompt_tokens > first.prompt_tokens


def test_chat_streams_a_call(client: httpx.Client) -> None:
    asked = {"messages": [{"role": "user", "content": RUN}], "stream": True}
    *chunks, last = _events(client.post("/chat/completions", json=CHAT_TOOLS | asked))
    assert last == {"done": True}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": None}
    [first, *rest] = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert first["id"].startswith("call_")
    assert (first["index"], first["type"]) == (0, "function")
    assert first["function"] == {"name": "terminal", "arguments": ""}
    assert len(rest) > 1
    assert all(set(call) == {"index", "function"} and call["index"] == 0 for call in rest)
    assert json.loads("".join(call["function"]["arguments"] for call in rest)) == ARGUMENTS
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-2:] == [None, "tool_calls"]


def test_responses_calls_a_tool_and_then_tells_what_it_said(client: httpx.Client) -> None:
    items: list[dict[str, Any]] = [{"role": "user", "content": RUN}]
    [call] = client.post("/responses", json=INPUT_TOOLS | {"input": items}).json()["output"]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "terminal", "completed")
    assert json.loads(call["arguments"]) == ARGUMENTS
    items += [call, {"type": "function_call_output", "call_id": call["call_id"], "output": "42"}]
    [message] = client.post("/responses", json=INPUT_TOOLS | {"input": items}).json()["output"]
    assert message["content"][0]["text"] == "The terminal says:\n42"


def test_responses_streams_a_call(client: httpx.Client) -> None:
    asked = INPUT_TOOLS | {"input": RUN, "stream": True}
    events = _events(client.post("/responses", json=asked))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    begun, *pieces, done, item = events[2:-1]
    assert [event["type"] for event in (begun, done, item)] == [
        "response.output_item.added",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]
    assert {event["type"] for event in pieces} == {"response.function_call_arguments.delta"}
    assert (begun["item"]["name"], begun["item"]["arguments"]) == ("terminal", "")
    assert len(pieces) > 1
    assert "".join(event["delta"] for event in pieces) == done["arguments"] == item["item"]["arguments"]
    assert json.loads(done["arguments"]) == ARGUMENTS
    assert {event["item_id"] for event in (*pieces, done)} == {item["item"]["id"]}
    assert events[-1]["response"]["output"] == [item["item"]]


def test_models(client: httpx.Client) -> None:
    listed = client.get("/models").json()
    assert "gpt-4o" in [model["id"] for model in listed["data"]]


def test_only_keys_of_this_run_are_served(llm: StandIn) -> None:
    for headers in ({}, {"Authorization": "Bearer sk-guess"}, {"Authorization": "Basic sk-guess"}):
        answer = httpx.post(f"{llm.base_url()}/chat/completions", json=CHAT, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert llm.refused == 3
    assert llm.calls("python-amd64") == []


def test_calls_are_told_apart_by_cell_and_by_key(llm: StandIn, client: httpx.Client) -> None:
    again, other = llm.issue_key("python-amd64"), llm.issue_key("java-amd64")
    for key in (again, other, again):
        client.post("/chat/completions", json=CHAT, headers={"Authorization": f"Bearer {key}"})
    assert [len(llm.calls(name)) for name in (again, other, "python-amd64", "java-amd64")] == [2, 1, 2, 1]
    assert llm.calls("nobody") == []


def test_errors_have_openais_shape(llm: StandIn, client: httpx.Client) -> None:
    large = b"x" * (MAX_BODY_BYTES + 1)
    answers = [
        client.post("/chat/completions", content=b"{"),
        client.post("/completions", json=CHAT),
        client.get("/chat/completions"),
        client.post("/chat/completions", content=large),
        client.post("/chat/completions", content=iter([b"{}"])),
    ]
    assert [answer.status_code for answer in answers] == [400, 404, 405, 413, 400]
    assert all(set(answer.json()["error"]) == {"message", "type", "param", "code"} for answer in answers)
    assert [call.status for call in llm.calls("python-amd64")] == [400, 404, 405, 413, 400]
    assert sum(call.prompt_tokens for call in llm.calls("python-amd64")) == 0
    assert client.post("/chat/completions", json=CHAT).status_code == 200


def test_many_at_once(llm: StandIn) -> None:
    keys = [llm.issue_key(f"cell-{number}") for number in range(8)]

    def ask(number: int) -> str:
        asked = {"model": "m", "input": f"Reply with just the number {number}.", "stream": number % 2 == 0}
        headers = {"Authorization": f"Bearer {keys[number % 8]}"}
        return httpx.post(f"{llm.base_url()}/responses", json=asked, headers=headers, timeout=20).text

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(40)))
    assert all(f'"{number}"' in answer for number, answer in enumerate(answers))
    assert [len(llm.calls(f"cell-{number}")) for number in range(8)] == [5] * 8


def test_a_caller_that_hangs_up_is_logged_and_harms_nobody(llm: StandIn, client: httpx.Client) -> None:
    key = llm.issue_key("rude")
    with socket.create_connection(("127.0.0.1", llm.port)) as rude:
        rude.sendall(
            f"POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        rude.shutdown(socket.SHUT_WR)
        while rude.recv(4096):
            pass
    assert [call.status for call in llm.calls("rude")] == [499]
    assert client.post("/chat/completions", json=CHAT).status_code == 200


def test_tokens_of_an_answer_that_nobody_took_do_not_count(
    llm: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung_up = threading.Event()

    def slowly(exchange: wire.Exchange) -> Iterator[wire.Event]:
        yield None, {"first": True}
        assert hung_up.wait(10)
        for number in range(100_000):  # more than the sockets' buffers take
            yield None, {"number": number}

    route = standin._Route("input", wire.response, slowly, b"")
    monkeypatch.setattr(standin, "_ROUTES", {"/v1/responses": route})
    headers = {"Authorization": f"Bearer {llm.issue_key('rude')}"}
    url = f"{llm.base_url()}/responses"
    with httpx.stream("POST", url, json=INPUT | {"stream": True}, headers=headers) as answer:
        assert "first" in next(answer.iter_lines())
    hung_up.set()
    [call] = llm.calls("rude")
    assert (call.status, call.streamed, call.prompt_tokens, call.completion_tokens) == (499, True, 0, 0)


def test_a_call_that_is_being_answered_is_waited_for(llm: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()

    def slowly(exchange: wire.Exchange) -> wire.Json:
        asked.set()
        time.sleep(0.2)  # the time that an answer takes is what is tested
        return wire.response(exchange)

    route = standin._Route("input", slowly, wire.response_events, b"")
    monkeypatch.setattr(standin, "_ROUTES", {"/v1/responses": route})
    headers = {"Authorization": f"Bearer {llm.issue_key('cell')}"}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{llm.base_url()}/responses", json=INPUT, headers=headers)
        assert asked.wait(10)
        [call] = llm.calls("cell")
        assert call.duration_seconds >= 0.2
        assert answer.result(timeout=10).status_code == 200


def test_stop_hangs_up_and_frees_the_port() -> None:
    before = threading.active_count()
    llm = StandIn("127.0.0.1")
    with socket.create_connection(("127.0.0.1", llm.port), timeout=10) as idle:
        key = llm.issue_key("cell")
        httpx.post(f"{llm.base_url()}/responses", json=INPUT, headers={"Authorization": f"Bearer {key}"})
        assert llm.is_alive()
        llm.stop()
        llm.stop()
        assert idle.recv(1) == b""
    assert not llm.is_alive()
    assert len(llm.calls("cell")) == 1
    assert threading.active_count() == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{llm.base_url()}/models")
    with StandIn("127.0.0.1", llm.port) as again:
        assert again.is_alive()


def test_an_address_that_cannot_be_used_says_what_to_do() -> None:
    with pytest.raises(InfrastructureError, match=r"cannot listen on 192\.0\.2\.1:0: .*\n.*doctor"):
        StandIn("192.0.2.1")  # TEST-NET-1: nobody's address


def test_keys_are_random() -> None:
    with StandIn("127.0.0.1") as one, StandIn("127.0.0.1") as other:
        keys = {one.issue_key("cell"), one.issue_key("cell"), other.issue_key("cell")}
    assert len(keys) == 3
