"""What an answer of GitHub's means: it is what was asked for, a refusal, or a setback that may pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Self

import httpx

# GitHub: "wait for at least one minute before retrying" where a secondary limit does not say how long.
_SECONDARY_PAUSE = 60.0
_LIMITS = ("secondary rate limit", "rate limit exceeded", "abuse detection")
_READ_ONLY = "resource not accessible by"
_FIXES: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "The token in GITHUB_TOKEN (or GH_TOKEN) is not valid there, or not any more.",
    HTTPStatus.FORBIDDEN: "Give the token the permission: docs/publishing.md lists which.",
    HTTPStatus.NOT_FOUND: "Check --repo, --pr and --sha, and that the token may see the repository.",
    HTTPStatus.GONE: "Issues are switched off in that repository, or it was deleted.",
}
_FORK = (
    "The token may only read here. Give the job the permission (docs/publishing.md lists which). A pull "
    "request from a fork never gets it: upload the run's folder as an artifact, and publish it from a second "
    "workflow that is triggered by workflow_run; docs/publishing.md has both."
)


@dataclass(frozen=True)
class Answer:
    """A good answer: its JSON, and the address of the next page where there is one."""

    what: str
    value: Any = None
    next_page: str | None = None

    @classmethod
    def nothing(cls) -> Self:
        return cls("")

    def holding(self, value: Any) -> Answer:
        """The same answer, of which ``value`` is one item."""
        return replace(self, value=value)


class Setback(Exception):
    """Why a try brought nothing. ``passes``: another may; ``uncertain``: what was sent may have been done.

    ``wait``: the seconds that GitHub asks for.
    """

    def __init__(
        self,
        message: str,
        *,
        passes: bool = True,
        uncertain: bool = False,
        wait: float | None = None,
        status: int | None = None,
        fix: str = "",
    ) -> None:
        self.passes, self.uncertain, self.wait = passes, uncertain, wait
        self.status, self.fix = status, fix
        super().__init__(message)


def judged(
    response: httpx.Response, what: str, host: str, safe: Callable[[str], str], now: float
) -> httpx.Response:
    """The response, if it is a good one. ``safe`` makes GitHub's words fit to be shown; ``now`` is Unix time.

    Raises Setback.
    """
    status = response.status_code
    if response.is_success:
        return response
    said = _words(response)
    message = f"{host} answered {what} with {status}" + (f": {shown}" if (shown := safe(said)) else "")
    if _is_limited(response, said):
        raise Setback(message, wait=_wait(response, now), status=status)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise Setback(message, uncertain=True, wait=_retry_after(response, now), status=status)
    read_only = status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND) and _READ_ONLY in said.lower()
    fix = _FORK if read_only else _FIXES.get(status, "")
    raise Setback(message, passes=False, status=status, fix=fix)


def decoded(response: httpx.Response, what: str, host: str) -> Answer:
    """The JSON of a good response. Raises Setback where it is none."""
    if response.status_code == HTTPStatus.NO_CONTENT:
        return Answer(what)
    try:
        value = json.loads(response.content)
    except (ValueError, RecursionError):
        # Something in between answered in GitHub's place, or half of the answer was lost.
        raise Setback(
            f"{host} answered {what} with something that is no JSON", uncertain=True, fix="Check --api-url."
        ) from None
    return Answer(what, value, response.links.get("next", {}).get("url"))


def _words(response: httpx.Response) -> str:
    """GitHub's reason: its message, and what it says of single fields."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(body, dict):
        return ""
    words = [str(body["message"])] if body.get("message") else []
    errors = body.get("errors")
    for error in errors[:5] if isinstance(errors, list) else ():
        fields = ("field", "code", "message") if isinstance(error, dict) else ()
        words.append(" ".join(str(error[name]) for name in fields if error.get(name)) or str(error))
    return "; ".join(words)


def _is_limited(response: httpx.Response, said: str) -> bool:
    if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        return True
    if response.status_code != HTTPStatus.FORBIDDEN:
        return False
    spent = response.headers.get("x-ratelimit-remaining") == "0"
    return spent or "retry-after" in response.headers or any(sign in said.lower() for sign in _LIMITS)


def _wait(response: httpx.Response, now: float) -> float:
    """Seconds to leave GitHub alone for, by what it says."""
    if (asked := _retry_after(response, now)) is not None:
        return asked
    reset = response.headers.get("x-ratelimit-reset", "")
    if response.headers.get("x-ratelimit-remaining") == "0" and _is_number(reset):
        return max(1.0, int(reset) - now)
    return _SECONDARY_PAUSE


def _retry_after(response: httpx.Response, now: float) -> float | None:
    """Seconds, from either form of the header (RFC 9110 section 10.2.3); None where it makes no sense."""
    text = response.headers.get("retry-after", "").strip()
    if _is_number(text):
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12
