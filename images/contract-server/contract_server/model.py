"""Calls to the model, with the waits, the prices and the error names of the real server.

What each answer of an endpoint becomes was read off server 1.58.0, whose names come from litellm.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

# US dollars a token of gpt-4o, as litellm's price list has them.
PRICE_PROMPT, PRICE_CACHED, PRICE_COMPLETION = Decimal("0.0000025"), Decimal("0.00000125"), Decimal("0.00001")

_MAX_ANSWER = 8 * 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """What the model said, and what it counted."""

    text: str
    response_id: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    seconds: float
    at: float  # when it came, in seconds since 1970
    tool_calls: tuple[dict[str, Any], ...] = ()  # as the API has them

    @property
    def cost(self) -> Decimal:
        """In US dollars, exactly."""
        fresh = self.prompt_tokens - self.cached_tokens
        return (
            fresh * PRICE_PROMPT
            + self.cached_tokens * PRICE_CACHED
            + self.completion_tokens * PRICE_COMPLETION
        )


class ModelError(Exception):
    """What the conversation's error event will say."""

    def __init__(self, code: str, detail: str, *, passing: bool = False) -> None:
        self.code = code
        self.passing = passing  # worth another try
        super().__init__(detail)


class ContentRefused(Exception):
    """The provider's content filter: the conversation goes on, and asks again."""


def ask(
    llm: Mapping[str, Any],
    messages: list[dict[str, Any]],
    sleep: Callable[[float], object],
    tools: list[dict[str, Any]],
) -> Answer:
    """Ask the model, which may call ``tools``, as often as ``llm`` says.

    Raises ``ModelError`` or ``ContentRefused``.

    ``llm`` is the request's: base_url, api_key, model. ``num_retries`` is how often it is asked at all; the
    waits between are retry_multiplier * 2^n seconds, within retry_min_wait and retry_max_wait (tenacity's).
    """
    tries = max(1, int(_number(llm, "num_retries", 5)))
    for number in range(tries):
        try:
            return _ask_once(llm, messages, tools)
        except ModelError as error:
            if not error.passing or number + 1 == tries:
                raise
        wait = _number(llm, "retry_multiplier", 8) * 2.0**number
        least, most = _number(llm, "retry_min_wait", 8), _number(llm, "retry_max_wait", 64)
        sleep(max(least, min(wait, most)))
    raise AssertionError("the last try ends the loop")


def _number(llm: Mapping[str, Any], name: str, default: float) -> float:
    value = llm.get(name)
    return float(value) if isinstance(value, int | float) else default


def _ask_once(llm: Mapping[str, Any], messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> Answer:
    seconds = _number(llm, "timeout", 300)
    started = time.monotonic()
    asked = {"model": str(llm.get("model")).removeprefix("openai/"), "messages": messages}
    try:
        request = urllib.request.Request(
            str(llm.get("base_url") or "").rstrip("/") + "/chat/completions",
            json.dumps({**asked, **({"tools": tools} if tools else {})}).encode(),
            {
                "Authorization": f"Bearer {llm.get('api_key')}",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=seconds) as response:
            body = _body(response, started + seconds)
    except urllib.error.HTTPError as error:
        raise _refusal(error) from error
    except TimeoutError as error:
        raise _timeout(seconds) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise _timeout(seconds) from error
        raise _unavailable("Connection error.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unavailable("Connection error.") from error
    return _read(body, time.monotonic() - started)


def _body(response: http.client.HTTPResponse, deadline: float) -> bytes:
    body = bytearray()
    while chunk := response.read1(65536):
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
        if len(body) > _MAX_ANSWER:
            raise _unavailable("the answer is too long")
    # read1 does not mind an answer that ends before its Content-Length.
    if len(body) < int(response.headers.get("Content-Length") or 0):
        raise http.client.IncompleteRead(bytes(body))
    return bytes(body)


def _timeout(seconds: float) -> ModelError:
    return ModelError(
        "LLMTimeoutError", f"litellm.Timeout: LLM hard timeout after {seconds:g} seconds", passing=True
    )


def _unavailable(what: str) -> ModelError:
    detail = f"litellm.InternalServerError: InternalServerError: OpenAIException - {what}"
    return ModelError("LLMServiceUnavailableError", detail, passing=True)


def _refusal(error: urllib.error.HTTPError) -> Exception:
    told: Any = {}
    try:
        told = json.loads(error.read(65536))["error"]
        message = str(told["message"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        message = f"Error code: {error.code}"
    status = error.code
    if status == 401:
        return ModelError("LLMAuthenticationError", "Your LLM API key appears to be invalid or has expired.")
    if (told.get("type"), told.get("code")) == ("invalid_request_error", "content_policy_violation"):
        return ContentRefused(message)
    if status == 404 and told.get("type") == "invalid_request_error":
        status = 400
    code, name, passing = {
        400: ("LLMBadRequestError", "BadRequestError", False),
        403: ("APIError", "APIError: APIError", False),
        404: ("NotFoundError", "NotFoundError: NotFoundError", False),
        422: ("LLMBadRequestError", "BadRequestError", False),
        429: ("LLMRateLimitError", "RateLimitError: RateLimitError", True),
        502: ("BadGatewayError", "BadGatewayError: BadGatewayError", True),
        503: ("LLMServiceUnavailableError", "ServiceUnavailableError: ServiceUnavailableError", True),
        504: ("LLMTimeoutError", "Timeout: Timeout Error", True),
    }.get(status, ("LLMServiceUnavailableError", "InternalServerError: InternalServerError", True))
    return ModelError(code, f"litellm.{name}: OpenAIException - {message}", passing=passing)


def _read(body: bytes, seconds: float) -> Answer:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise _unavailable(str(error)) from error
    try:
        message = answer["choices"][0]["message"]
        text = message["content"] or ""
    except (KeyError, IndexError, TypeError) as error:
        detail = f"Response choices is less than 1. Response: {str(answer)[:200]}"
        raise ModelError("LLMNoResponseError", detail, passing=True) from error
    usage = answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return Answer(
        text=str(text),
        response_id=str(answer.get("id", "")),
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(details, "cached_tokens"),
        seconds=seconds,
        at=time.time(),
        tool_calls=tuple(message.get("tool_calls") or ()),
    )


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) else 0
