"""What the stand-in says, without a socket: the same to the same, and nothing to what it cannot read."""

from __future__ import annotations

import json

import pytest

from e2e_matrix.llm import wire
from e2e_matrix.llm.replies import OTHER_ANSWER, plain_answer


def _chat(**changed: object) -> bytes:
    request = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Reply with just the number 42."}]}
    return json.dumps(request | changed).encode()


def test_a_number_that_is_asked_for_is_answered() -> None:
    assert plain_answer("Reply with just the number 42.") == "42"
    assert plain_answer("Be quick: reply with only the number -7.5, nothing else") == "-7.5"
    assert plain_answer("Reply with just the number 1. No: reply with just the number 2.") == "2"
    assert plain_answer("What is 42?") == OTHER_ANSWER


def test_the_last_user_turn_decides() -> None:
    turns = [
        {"role": "system", "content": "Reply with just the number 1."},
        {"role": "user", "content": "Reply with just the number 2."},
        {"role": "user", "content": [{"type": "text", "text": "Reply with just the number 3."}]},
        {"role": "assistant", "content": "Reply with just the number 4."},
    ]
    assert wire.understand(_chat(messages=turns), "messages").answer == "3"


def test_input_may_be_a_string_or_items() -> None:
    prompt = "Reply with just the number 42."
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}]
    for turns in (prompt, items):
        body = json.dumps({"model": "gpt-5.5", "input": turns, "instructions": "Be exact."}).encode()
        exchange = wire.understand(body, "input")
        assert exchange.answer == "42"
        assert exchange.prompt_tokens == wire.count_tokens("Be exact.") + wire.count_tokens(prompt)


def test_tokens_are_a_quarter_of_the_bytes_rounded_up() -> None:
    assert [wire.count_tokens(text) for text in ("", "a", "abcd", "abcde", "€€")] == [0, 1, 1, 2, 2]


def test_what_tools_gave_and_got_counts() -> None:
    alone = wire.understand(_chat(), "messages").prompt_tokens
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "x" * 400}}
    turns = [
        {"role": "user", "content": "Reply with just the number 42."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    assert wire.understand(_chat(messages=turns), "messages").prompt_tokens == alone + 100


def test_the_same_request_is_answered_the_same_to_the_byte() -> None:
    first, again = (wire.understand(_chat(), "messages") for _ in range(2))
    assert wire.chat_completion(first) == wire.chat_completion(again)
    assert list(wire.response_events(first)) == list(wire.response_events(again))
    other = wire.understand(_chat(temperature=0), "messages")
    assert wire.chat_completion(other)["id"] != wire.chat_completion(first)["id"]


def test_the_stream_says_what_the_whole_answer_says() -> None:
    exchange = wire.understand(
        _chat(messages=[{"role": "user", "content": "hello"}], stream_options={"include_usage": True}),
        "messages",
    )
    chunks = [data for _, data in wire.chat_events(exchange)]
    texts = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(texts) == OTHER_ANSWER
    assert chunks[-1]["usage"] == wire.chat_completion(exchange)["usage"]
    events = dict(wire.response_events(exchange))
    assert events["response.completed"]["response"] == wire.response(exchange)


def test_no_usage_chunk_unless_it_is_asked_for() -> None:
    chunks = [data for _, data in wire.chat_events(wire.understand(_chat(), "messages"))]
    assert all(chunk["choices"] and "usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"messages": [{"role": "user"}]}',
        b'{"model": "gpt-4o"}',
        b'{"model": "gpt-4o", "messages": []}',
        b'{"model": "gpt-4o", "messages": ["hello"]}',
        b'{"model": "gpt-4o", "messages": "hello"}',
        b'{"model": 4, "messages": [{"role": "user"}]}',
    ],
    ids=lambda body: body[:44].decode("ascii", "replace"),
)
def test_what_cannot_be_read_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(wire.BadRequest):
        wire.understand(body, "messages")


def test_odd_shapes_within_a_turn_are_not_fatal() -> None:
    turns = [
        {"role": "user", "content": [None, 3, {"type": "image_url"}, {"text": 5}], "tool_calls": [None, {}]},
        {"role": "tool", "content": {"a": 1}},
    ]
    assert wire.understand(_chat(messages=turns), "messages").prompt_tokens == 0
