"""Tells the runner of each HTTP request that the script sent to one of its servers, when it is over.

What is told: method, path, status, when it began and ended, the session key, and from the answers of the two
routes that start and show a conversation its id and its status. Nothing else of a body or header is read.
"""

import functools
import io
import json
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from e2e_matrix_inside import servers
from e2e_matrix_inside.line import Teller

_SESSION_HEADER = "X-Session-API-Key"
_CONVERSATIONS = ["", "api", "conversations"]
_LONGEST_BODY = 1 << 20  # bytes

_teller = Teller()


class _Request:
    """A request on its way; ``over`` tells of it, if it went to one of our servers."""

    def __init__(self, method: str, host: str, port: int, path: str) -> None:
        self.session_key: str | None = None
        self._method = method
        self._place = (host, port)
        self._path = path.partition("?")[0]
        self._started = time.monotonic()
        parts = self._path.split("/")
        is_conversation = parts[:3] == _CONVERSATIONS
        self._id = parts[3] if is_conversation and len(parts) > 3 else None
        self.body_counts = is_conversation and (method, len(parts)) in (("POST", 3), ("GET", 4))

    def over(self, status: int | None, body: bytes | None = None) -> None:
        """``status`` None: no answer came. ``body`` matters where ``body_counts``."""
        ended = time.monotonic()
        url = servers.known(*self._place)
        if url is None:
            return
        answer = _fields(body)
        call = {
            "method": self._method,
            "path": self._path,
            "status": status,
            "started": self._started,
            "ended": ended,
            "base_url": url,
            "session_key": self.session_key,
            "conversation": self._id or answer.get("id"),
            "execution_status": answer.get("execution_status") if self._id else None,
        }
        _teller.tell({"call": call})


def _fields(body: bytes | None) -> dict[str, Any]:
    try:
        answer = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _harmless(part: Callable[..., Any]) -> Callable[..., Any]:
    """A fault of the trace must not become the script's: it is said, and the script goes on."""

    @functools.wraps(part)
    def guarded(*arguments: Any) -> Any:
        try:
            return part(*arguments)
        except Exception as error:  # noqa: BLE001  # another version of what is watched may differ in anything
            print(f"e2e-matrix: a request is missing in the trace: {error!r}", file=sys.stderr)
            return None

    return guarded


def watch_httpx(httpx: ModuleType) -> None:
    """Everything that httpx sends passes through these two methods."""
    send, send_async = httpx.Client.send, httpx.AsyncClient.send

    @functools.wraps(send)
    def watched(self: Any, request: Any, **options: Any) -> Any:
        seen, response = _httpx_begins(request), None
        try:
            response = send(self, request, **options)
        finally:
            _httpx_is_over(seen, response)
        return response

    @functools.wraps(send_async)
    async def watched_async(self: Any, request: Any, **options: Any) -> Any:
        seen, response = _httpx_begins(request), None
        try:
            response = await send_async(self, request, **options)
        finally:
            _httpx_is_over(seen, response)
        return response

    httpx.Client.send, httpx.AsyncClient.send = watched, watched_async


@_harmless
def _httpx_begins(request: Any) -> _Request:
    url = request.url
    seen = _Request(request.method, url.host, url.port or 80, url.path)
    seen.session_key = request.headers.get(_SESSION_HEADER)
    return seen


@_harmless
def _httpx_is_over(seen: _Request | None, response: Any) -> None:
    if seen is None:
        return
    if response is None:
        seen.over(None)
        return
    # A streamed body is not here yet, and is the script's to read.
    seen.over(response.status_code, response.content if seen.body_counts and response.is_closed else None)


def watch_http_client(client: ModuleType) -> None:
    """The standard library's, with which urllib and requests send too."""
    connection = client.HTTPConnection
    putrequest, putheader = connection.putrequest, connection.putheader
    send, getresponse = connection.send, connection.getresponse

    @functools.wraps(putrequest)
    def begin(self: Any, method: str, url: str, *rest: Any, **options: Any) -> None:
        _client_begins(self, method, url)
        putrequest(self, method, url, *rest, **options)

    @functools.wraps(putheader)
    def add(self: Any, header: Any, *values: Any) -> None:
        _client_has_header(self, header, *values)
        putheader(self, header, *values)

    @functools.wraps(send)
    def watched_send(self: Any, data: Any) -> None:
        try:
            send(self, data)
        except BaseException:
            _client_is_over(self, None)
            raise

    @functools.wraps(getresponse)
    def answer(self: Any) -> Any:
        response = None
        try:
            response = getresponse(self)
        finally:
            _client_is_over(self, response)
        return response

    connection.putrequest, connection.putheader = begin, add
    connection.send, connection.getresponse = watched_send, answer


_SEEN = "e2e_matrix_request"  # where a connection keeps the request that is on its way


@_harmless
def _client_begins(connection: Any, method: str, url: str) -> None:
    vars(connection)[_SEEN] = _Request(method, connection.host, connection.port, url)


@_harmless
def _client_has_header(connection: Any, header: Any, *values: Any) -> None:
    if _text(header).lower() == _SESSION_HEADER.lower():
        vars(connection)[_SEEN].session_key = _text(values[0])


@_harmless
def _client_is_over(connection: Any, response: Any) -> None:
    seen = vars(connection).pop(_SEEN, None)
    if seen is None:
        return
    if response is None:
        seen.over(None)
    else:
        seen.over(response.status, _read_ahead(response) if seen.body_counts else None)


def _read_ahead(response: Any) -> bytes | None:
    """The body of an ``HTTPResponse``, which the script can still read; None where its length is unknown."""
    if response.chunked or not response.length or response.length > _LONGEST_BODY:
        return None
    body: bytes = response.fp.read(response.length)
    response.fp.close()
    response.fp = io.BufferedReader(io.BytesIO(body))
    return body


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
