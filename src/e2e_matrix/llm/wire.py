"""How the stand-in says it: OpenAI's chat completions and responses, as plain data in and plain data out.

Everything is a function of the request alone, so that a run can be repeated to the token: ids are hashes of
the request, ``created`` is fixed, tokens are a quarter of the bytes. Shapes: OpenAI's API reference, "Chat"
and "Responses"; tests/integration/test_standin_http.py reads them as a client does. What is said is decided
in replies.py.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from e2e_matrix.llm.replies import Answer, Asked, Replies

CREATED = 1_700_000_000
MODELS = ("gpt-4o", "gpt-5.5")
BUILT_IN = Replies()

Json = dict[str, Any]
Event = tuple[str | None, Json]  # the SSE event's name, where the API names its events, and its data

_PIECE = 12  # characters of arguments in one delta


class BadRequest(Exception):
    """The body is not a request of this API; ``str()`` says why, ``param`` names the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        self.param = param
        super().__init__(message)


class NotOffered(BadRequest):
    """A rule calls a tool that the request does not offer: ``slip`` says which, ``str()`` also what is."""

    def __init__(self, slip: str, offered: tuple[str, ...]) -> None:
        self.slip = slip
        super().__init__(f"{slip}; tools that this request offers: {', '.join(offered)}", "tools")


@dataclass(frozen=True)
class ToolCall:
    """A call as the wire has it: ``arguments`` is JSON, in a string."""

    id: str
    name: str
    arguments: str

    def pieces(self) -> list[str]:
        """The arguments as a stream brings them."""
        return [self.arguments[at : at + _PIECE] for at in range(0, len(self.arguments), _PIECE)]


@dataclass(frozen=True)
class Exchange:
    """One request understood, and what will be answered to it: ``calls``, or else ``answer``."""

    model: str
    answer: str
    calls: tuple[ToolCall, ...]
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
        return re.findall(r"\S+\s*|\s+", self.answer)


def count_tokens(text: str) -> int:
    """A quarter of the UTF-8 bytes, rounded up: near what tokenizers give, and exactly repeatable."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def understand(body: bytes, turns_field: str, replies: Replies = BUILT_IN) -> Exchange:
    """Read a request whose turns are in ``turns_field``: "messages" (chat) or "input" (responses).

    Raises BadRequest, and NotOffered where ``replies`` call a tool that the request does not offer.
    """
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
    texts = ["\n".join(_texts(turn)) for turn in turns]
    instructions = request.get("instructions")
    if isinstance(instructions, str):
        texts.append(instructions)
    digest = hashlib.sha256(body).hexdigest()
    asked = _asked(turns, _offered(request))
    answer = replies.answer(asked)
    calls = _calls(answer, asked, digest)
    said = [answer.text, *(text for call in calls for text in (call.name, call.arguments))]
    counted = sum(map(count_tokens, texts)), sum(map(count_tokens, said))
    stated = answer.usage.prompt, answer.usage.completion
    options = request.get("stream_options")
    return Exchange(
        model=model,
        answer=answer.text,
        calls=calls,
        digest=digest,
        prompt_tokens=counted[0] if stated[0] is None else stated[0],
        completion_tokens=counted[1] if stated[1] is None else stated[1],
        streamed=request.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _asked(turns: list[Json], tools: tuple[str, ...]) -> Asked:
    """What the last user message asks, and how far the answer to it has come."""
    text = ""
    count = 0
    outputs: list[str] = []
    before = ""
    for turn in turns:
        who = _who(turn)
        if who == "user":
            text, count, outputs = "\n".join(_texts(turn)), 0, []
        elif who == "tool":
            outputs.append("\n".join(_texts(turn)))
        elif who == "model":
            # One turn of the responses API is several items; one of chat is one message.
            count += before != "model" or "type" not in turn
            outputs = []
        before = who
    return Asked(text, count, "\n".join(outputs), tools)


def _who(turn: Json) -> str:
    kind, role = turn.get("type"), turn.get("role")
    if role == "tool" or kind == "function_call_output":
        return "tool"
    if role == "assistant" or kind in ("function_call", "reasoning"):
        return "model"
    return "user" if role == "user" else ""


def _offered(request: Json) -> tuple[str, ...]:
    """The names of the functions that may be called."""
    tools = request.get("tools")
    if not isinstance(tools, list) or request.get("tool_choice") == "none":
        return ()
    functions = [tool.get("function", tool) for tool in tools if isinstance(tool, dict)]
    names = [function.get("name") for function in functions if isinstance(function, dict)]
    return tuple(name for name in names if isinstance(name, str))


def _calls(answer: Answer, asked: Asked, digest: str) -> tuple[ToolCall, ...]:
    for call in answer.calls:
        if call.tool not in asked.tools:
            raise NotOffered(f"{answer.source} calls the tool {call.tool!r}", asked.tools)
    return tuple(
        ToolCall(
            f"call_{hashlib.sha256(f'{digest} {number}'.encode()).hexdigest()[:24]}",
            call.tool,
            json.dumps(call.arguments, ensure_ascii=False),
        )
        for number, call in enumerate(answer.calls)
    )


def _texts(turn: Mapping[str, Any]) -> Iterator[str]:
    """The texts of one turn: of its content, a plain string or parts, and of what tools gave and got."""
    for name in (
        "content",
        "arguments",
        "output",
    ):  # the last two: of the calls in "input", and their results
        value = turn.get(name)
        for part in value if isinstance(value, list) else [value]:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                yield text
    calls = turn.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), str):
            yield function["arguments"]


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


def _chat_call(call: ToolCall, arguments: str) -> Json:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _finish_reason(exchange: Exchange) -> str:
    return "tool_calls" if exchange.calls else "stop"


def chat_completion(exchange: Exchange) -> Json:
    """The body of an answer that is not streamed."""
    message: Json = {"role": "assistant", "content": exchange.answer, "refusal": None}
    if exchange.calls:
        calls = [_chat_call(call, call.arguments) for call in exchange.calls]
        message |= {"content": None, "tool_calls": calls}
    return {
        "id": f"chatcmpl-{exchange.digest[:24]}",
        "object": "chat.completion",
        "created": CREATED,
        "model": exchange.model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": _finish_reason(exchange),
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
    yield chunk({"role": "assistant", "content": None if exchange.calls else ""})
    for index, call in enumerate(exchange.calls):
        yield chunk({"tool_calls": [{"index": index, **_chat_call(call, "")}]})
        for piece in call.pieces():
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    if not exchange.calls:
        for piece in exchange.pieces():
            yield chunk({"content": piece})
    yield chunk({}, _finish_reason(exchange))
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


def _call_item(call: ToolCall, status: str, arguments: str) -> Json:
    return {
        "type": "function_call",
        "id": call.id.replace("call_", "fc_", 1),
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
        "status": status,
    }


def _output(exchange: Exchange) -> list[Json]:
    if exchange.calls:
        return [_call_item(call, "completed", call.arguments) for call in exchange.calls]
    return [_message_item(exchange, "completed", [_text_part(exchange.answer)])]


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
        _output(exchange),
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
    begun = {"response": _response(exchange, "in_progress", [], None)}
    events: list[tuple[str, Json]] = [("response.created", begun), ("response.in_progress", begun)]
    for index, call in enumerate(exchange.calls):
        events += _call_events(call, index)
    if not exchange.calls:
        events += _message_events(exchange)
    events.append(("response.completed", {"response": response(exchange)}))
    for number, (name, data) in enumerate(events):
        yield name, {"type": name, "sequence_number": number} | data


def _message_events(exchange: Exchange) -> Iterator[tuple[str, Json]]:
    begun, done = _message_item(exchange, "in_progress", []), _output(exchange)[0]
    at: Json = {"item_id": done["id"], "output_index": 0, "content_index": 0}
    yield "response.output_item.added", {"output_index": 0, "item": begun}
    yield "response.content_part.added", at | {"part": _text_part("")}
    for piece in exchange.pieces():
        yield "response.output_text.delta", at | {"delta": piece, "logprobs": []}
    yield "response.output_text.done", at | {"text": exchange.answer, "logprobs": []}
    yield "response.content_part.done", at | {"part": _text_part(exchange.answer)}
    yield "response.output_item.done", {"output_index": 0, "item": done}


def _call_events(call: ToolCall, index: int) -> Iterator[tuple[str, Json]]:
    begun, done = _call_item(call, "in_progress", ""), _call_item(call, "completed", call.arguments)
    at: Json = {"item_id": done["id"], "output_index": index}
    yield "response.output_item.added", {"output_index": index, "item": begun}
    for piece in call.pieces():
        yield "response.function_call_arguments.delta", at | {"delta": piece}
    yield "response.function_call_arguments.done", at | {"name": call.name, "arguments": call.arguments}
    yield "response.output_item.done", {"output_index": index, "item": done}
