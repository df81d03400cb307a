"""Answers of the Docker API that arrive in pieces, read with a limit in time and in size.

The SDK's own readers switch the socket's timeout off, so a silent engine would hold a thread for ever.
API: https://docs.docker.com/reference/api/engine/ (attach describes the frames).
"""

from __future__ import annotations

import http.client
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import requests
import urllib3
from docker import APIClient
from docker.errors import create_api_error_from_http_exception

_FRAME_HEADER = struct.Struct(">BxxxL")
_CHUNK = 64 * 1024


class Overdue(Exception):
    """The answer did not end within its time."""


def open_stream(client: APIClient, method: str, path: str, **request: Any) -> requests.Response:
    """Send a request and return when its headers came; the caller closes the answer.

    ``request`` is for requests.Session.request. Raises docker.errors.APIError for an error status.
    """
    request.setdefault("timeout", client.timeout)
    url = f"{client.base_url}/v{client.api_version}{path}"
    response: requests.Response = client.request(method, url, stream=True, **request)
    try:
        response.raise_for_status()
    except requests.HTTPError as error:
        with response:
            create_api_error_from_http_exception(error)  # raises
    return response


@contextmanager
def stream(
    client: APIClient, method: str, path: str, *, within: float, **request: Any
) -> Iterator[requests.Response]:
    """``open_stream`` for a block: closed at its end, and cut off ``within`` seconds, however busy it is.

    Raises Overdue when it was cut off.
    """
    with open_stream(client, method, path, **request) as response:
        overdue = threading.Event()
        timer = threading.Timer(within, _cut_overdue, (response, overdue))
        timer.start()
        try:
            yield response
        except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException):
            if overdue.is_set():
                raise Overdue from None
            raise
        finally:
            timer.cancel()
            timer.join()
        if overdue.is_set():
            raise Overdue


def cut(response: requests.Response) -> None:
    """Make a read that blocks in another thread return."""
    try:
        response.raw.shutdown()
    except (OSError, ValueError, RuntimeError):
        return  # it has ended already


def chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as it comes."""
    while chunk := response.raw.read1(_CHUNK):
        yield cast(bytes, chunk)


def frames(response: requests.Response) -> Iterator[bytes]:
    """The payloads of stdout and stderr, in the order of the stream."""
    return (payload for _, payload in streams(response))


def streams(response: requests.Response) -> Iterator[tuple[int, bytes]]:
    """The payloads as they come, a frame perhaps in parts, each with its stream: 1 is stdout, 2 is stderr."""
    pending = b""
    kind = wanted = 0  # of the payload that has begun
    for chunk in chunks(response):
        pending += chunk
        at = 0
        while at < len(pending):
            if not wanted:
                if len(pending) - at < _FRAME_HEADER.size:
                    break
                kind, wanted = _FRAME_HEADER.unpack_from(pending, at)
                at += _FRAME_HEADER.size
                continue
            payload = pending[at : at + wanted]
            at += len(payload)
            wanted -= len(payload)
            yield kind, payload
        pending = pending[at:]


def head(pieces: Iterator[bytes], limit: int) -> bytes:
    """The first ``limit`` bytes; the rest is read and dropped."""
    kept = bytearray()
    for piece in pieces:
        kept += piece[: limit - len(kept)]
    return bytes(kept)


def tail(pieces: Iterator[bytes], limit: int) -> bytes:
    """The last ``limit`` bytes, never holding more than that and one piece."""
    kept: deque[bytes] = deque()
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        while size - len(kept[0]) >= limit:
            size -= len(kept.popleft())
            if not kept:
                break
    joined = b"".join(kept)
    return joined[-limit:] if limit > 0 else b""


def _cut_overdue(response: requests.Response, overdue: threading.Event) -> None:
    overdue.set()
    cut(response)
