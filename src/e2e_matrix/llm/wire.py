"""What the stand-in says: OpenAI's chat completions and responses, as plain data in and plain data out.

Everything is a function of the request alone, so that a run can be repeated to the token: ids are hashes of
the request, ``created`` is fixed, tokens are a quarter of the bytes. Shapes: OpenAI's API reference, "Chat"
and "Responses"; tests/integration/test_standin_http.py reads them as a client does.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CREATED = 1_700_000_000
OTHER_ANSWER = "This is the stand-in model of e2e-matrix."
MODELS = ("gpt-4o", "gpt-5.5")

Json = dict[str, Any]
Event = tuple[str | None, Json]  # the SSE event's name, where the API names its events, and its data

_NUMBER_ASKED = re.compile(
    r"\breply with (?:just|only) the number (-?\d{1,40}(?:\.\d{1,40})?)", re.IGNORECASE
)


class BadRequest(Exception):
    """The body is not a request of this API; ``str()`` says why, ``param`` names the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        self.param = param
        super().__init__(message)


@dataclass(frozen=True)
class Exchange:
    """One request understood, and what will be answered to it."""

    model: str
    answer: str
    digest: str  # of the whole request: what ids are made of
    prompt_tokens: int
    completion_tokens: int
    streamed: bool
    include_usage: bool

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def pieces(self) -> list[str]:
        """The answer as a stream brings it: word by word."""
        return re.findall(r"\S+\s*", self.answer)


def count_tokens(text: str) -> int:
    """A quarter of the UTF-8 bytes, rounded up: near what tokenizers give, and exactly repeatable."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def answer_to(prompt: str) -> str:
    """N for a prompt that says "Reply with just the number N."; one fixed sentence for everything else."""
    asked = _NUMBER_ASKED.findall(prompt)
    return str(asked[-1]) if asked else OTHER_ANSWER


def understand(body: bytes, turns_field: str) -> Exchange:
    """Read a request whose turns are in ``turns_field``: "messages" (chat) or "input" (responses)."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("We could not parse the JSON body of your request.") from error
    if not isinstance(request, dict):
        raise BadRequest("The body must be a JSON object.")
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("you must provide a model parameter", "model")
    turns = request.get(turns_field)
    if isinstance(turns, str) and turns_field == "input":
        turns = [{"role": "user", "content": turns}]
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        raise BadRequest(f"'{turns_field}' must be a list of at least one object.", turns_field)
    texts = [(turn.get("role"), "\n".join(_texts(turn))) for turn in turns]
    instructions = request.get("instructions")
    if isinstance(instructions, str):
        texts.insert(0, ("system", instructions))
    asked = [text for role, text in texts if role == "user"]
    answer = answer_to(asked[-1] if asked else "")
    options = request.get("stream_options")
    return Exchange(
        model=model,
        answer=answer,
        digest=hashlib.sha256(body).hexdigest(),
        prompt_tokens=sum(count_tokens(text) for _, text in texts),
        completion_tokens=count_tokens(answer),
        streamed=request.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _texts(turn: Mapping[str, Any]) -> Iterator[str]:
    """The texts of one turn: of its content, a plain string or parts, and of what tools gave and got."""
    content = turn.get("content")
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text
    for name in ("arguments", "output"):  # function_call and function_call_output items of "input"
        if isinstance(turn.get(name), str):
            yield turn[name]
    calls = turn.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            yield function["arguments"]


def error(message: str, kind: str, code: str | None = None, param: str | None = None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def models() -> Json:
    return {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": CREATED, "owned_by": "e2e-matrix"} for name in MODELS
        ],
    }


def _chat_usage(exchange: Exchange) -> Json:
    return {
        "prompt_tokens": exchange.prompt_tokens,
        "completion_tokens": exchange.completion_tokens,
        "total_tokens": exchange.total_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def chat_completion(exchange: Exchange) -> Json:
    """The body of an answer that is not streamed."""
    return {
        "id": f"chatcmpl-{exchange.digest[:24]}",
        "object": "chat.completion",
        "created": CREATED,
        "model": exchange.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": exchange.answer, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _chat_usage(exchange),
    }


def chat_events(exchange: Exchange) -> Iterator[Event]:
    """The chunks of a streamed answer; the usage comes last, in a chunk of its own, if it was asked for."""

    def chunk(delta: Json, finish_reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return None, frame | {"choices": [choice]}

    frame: Json = {
        "id": f"chatcmpl-{exchange.digest[:24]}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": exchange.model,
    }
    if exchange.include_usage:
        frame["usage"] = None
    yield chunk({"role": "assistant", "content": ""})
    for piece in exchange.pieces():
        yield chunk({"content": piece})
    yield chunk({}, "stop")
    if exchange.include_usage:
        yield None, frame | {"choices": [], "usage": _chat_usage(exchange)}


def _message_item(exchange: Exchange, status: str, content: list[Json]) -> Json:
    return {
        "type": "message",
        "id": f"msg_{exchange.digest[:32]}",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _response(exchange: Exchange, status: str, output: list[Json], usage: Json | None) -> Json:
    return {
        "id": f"resp_{exchange.digest[:32]}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": exchange.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage,
        "user": None,
        "metadata": {},
    }


def response(exchange: Exchange) -> Json:
    """The finished response: the body when it is not streamed, the end of the stream when it is."""
    return _response(
        exchange,
        "completed",
        [_message_item(exchange, "completed", [_text_part(exchange.answer)])],
        {
            "input_tokens": exchange.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": exchange.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": exchange.total_tokens,
        },
    )


def response_events(exchange: Exchange) -> Iterator[Event]:
    """The events of a streamed response, numbered from 0."""
    begun = _response(exchange, "in_progress", [], None)
    item = _message_item(exchange, "completed", [_text_part(exchange.answer)])
    at: Json = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    events: list[tuple[str, Json]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
        (
            "response.output_item.added",
            {"output_index": 0, "item": _message_item(exchange, "in_progress", [])},
        ),
        ("response.content_part.added", at | {"part": _text_part("")}),
        *(
            ("response.output_text.delta", at | {"delta": piece, "logprobs": []})
            for piece in exchange.pieces()
        ),
        ("response.output_text.done", at | {"text": exchange.answer, "logprobs": []}),
        ("response.content_part.done", at | {"part": _text_part(exchange.answer)}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": response(exchange)}),
    ]
    for number, (name, data) in enumerate(events):
        yield name, {"type": name, "sequence_number": number} | data
