"""Following what a container prints, through silence, floods, rotation and a lost engine.

API: POST /containers/{id}/attach before the start gives the output itself, and the container waits for a slow
reader. (GET /containers/{id}/logs?follow=1 reads the engine's file instead: on Docker 20.10 a reader that is
slower than two rotations loses what was between them and is not told.) When that connection ends, the
engine's log tells what is left: what follows as many lines of each stream as were handed on.
"""

from __future__ import annotations

import codecs
import http.client
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import requests
import urllib3
from docker.errors import APIError, NotFound

from e2e_matrix.engine import docker_streams
from e2e_matrix.engine.base import LogSink
from e2e_matrix.engine.docker_connection import CONNECT_TIMEOUT, Clients
from e2e_matrix.engine.docker_errors import engine_errors

_CALL = 30.0  # seconds for an answer that comes at once
_REREAD = 60.0  # seconds of silence after which a followed log is doubted and asked for again
_RETRY = 0.25  # seconds between two tries to reach the engine
_POLL = 0.02
_SETTLE = 0.5  # seconds that the engine may call a container running whose output has ended
_ENDED = ("created", "exited", "dead", "removing")
_LAST_PASS = 20.0  # seconds to read what is left in the engine's log at the end
_TRANSPORT = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException)
_BOTH = {"stdout": 1, "stderr": 1}


class DockerLogFollow:
    """See ``engine.base.LogFollow``. Raises a CellFailure where there is no such container, or no engine."""

    def __init__(self, clients: Clients, container: str, sink: LogSink) -> None:
        self.ended = threading.Event()
        self.complete = True
        self._container = container
        self._sink = sink
        self._clients = clients
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._response: requests.Response | None = None
        self._attached_only = True  # nothing went by way of the engine's file, which may rotate
        self._tries_at_end = 3
        self._seen: defaultdict[int, _Position] = defaultdict(_Position)
        self._oldest: bytes | None = (
            None  # the first line of the engine's file: another means that it rotated
        )
        self._client = clients.take(timeout=_CALL)
        try:
            with engine_errors(clients.endpoint.address, f"follow the log of container {container[:12]}"):
                attached = self._attach() if self._status() == "created" else None
        except BaseException:
            clients.give_back(self._client)
            raise
        self._thread = threading.Thread(
            target=self._follow, args=(attached,), name=f"log of {container[:12]}", daemon=True
        )
        self._thread.start()

    def close(self, within: float) -> None:
        self.ended.wait(within)
        with self._lock:
            self._closing.set()
            if self._response is not None:
                docker_streams.cut(self._response)
        self._thread.join(timeout=_LAST_PASS + _CALL)

    def _follow(self, attached: requests.Response | None) -> None:
        try:
            if attached is not None:
                self._read_attached(attached)
            while not self._read_rest():
                self._closing.wait(_RETRY)
        finally:
            self.ended.set()
            self._clients.give_back(self._client)

    def _read_rest(self) -> bool:
        """Hand on what the engine's log has and the sink has not. True: no more will come."""
        last = self._closing.is_set()
        try:
            status = self._status()
            if status == "created" and not last:
                self._read_attached(self._attach())
                return False
            last = last or status in _ENDED
            self._read_log(last)
        except NotFound:
            # Removed: it can say no more, and an attached stream had it all.
            self.complete = self.complete and self._attached_only
            return True
        except (APIError, docker_streams.Overdue):
            # The engine is there and cannot tell.
            self.complete = self.complete and self._attached_only
            return last
        except _TRANSPORT:
            # Also a connection from before the engine came back: another try finds a new one.
            self._attached_only = False
            self._tries_at_end -= self._closing.is_set()
            if self._tries_at_end == 0:
                self.complete = False
                return True
            return False
        return last

    def _read_attached(self, attached: requests.Response) -> None:
        try:
            self._hand_on(attached, {})
            settled = time.monotonic() + _SETTLE
            while self._status() == "running" and time.monotonic() < settled:
                if self._closing.wait(_POLL):
                    return
        except NotFound:
            return  # removed: seen again, and judged, by _read_rest
        except _TRANSPORT:
            self._attached_only = False

    def _read_log(self, last: bool) -> None:
        """To its end where this is the ``last`` time, else for as long as the container runs."""
        self._attached_only = self._attached_only and last
        rest = {kind: seen.rest() for kind, seen in self._seen.items()}
        rotated = bool(rest) and self._oldest is not None and self._oldest_entry() != self._oldest
        if rotated:
            # How far what is left is from what was handed on, nobody knows; and nothing may come twice.
            self.complete = self.complete and self._attached_only
            rest = {}
        asked = {**_BOTH, "follow": int(not last), "tail": "0" if rotated else "all"}
        if last and not rotated:
            with docker_streams.stream(
                self._client, "GET", self._path("logs"), within=_LAST_PASS, params=asked, timeout=_CALL
            ) as response:
                self._hand_on(response, rest, last=True)
        elif not last:
            self._hand_on(self._open("GET", "logs", asked, timeout=_REREAD), rest)

    def _hand_on(self, response: requests.Response, rest: Mapping[int, _Rest], last: bool = False) -> None:
        """Read to the end, which may be the container's or the connection's."""
        with response:
            with self._lock:
                if self._closing.is_set() and not last:
                    return
                self._response = None if last else response  # the last pass has a limit of its own
            try:
                for kind, payload in docker_streams.streams(response):
                    if self._oldest is None:
                        # Before more is read, so that the engine's log cannot have rotated yet.
                        self._oldest = self._oldest_entry()
                    fresh = rest[kind].drop(payload) if kind in rest else payload
                    if fresh:
                        self._seen[kind].advance(fresh)
                        self._sink(fresh)
            finally:
                with self._lock:
                    self._response = None

    def _attach(self) -> requests.Response:
        # No limit for its silence: where the connection dies unseen, close() does without it.
        return self._open("POST", "attach", {"stream": 1, **_BOTH}, timeout=(CONNECT_TIMEOUT, None))

    def _oldest_entry(self) -> bytes | None:
        """The time of the oldest line that the engine has, in its own words; None where it has none."""
        found = b""
        try:
            response = self._open("GET", "logs", {**_BOTH, "timestamps": 1, "tail": "all"}, timeout=_CALL)
        except APIError:
            return b""  # a log that cannot be read (another driver, or removed) is not asked again
        with response:
            for _, payload in docker_streams.streams(response):
                found += payload
                if b" " in found:
                    docker_streams.cut(response)
                    return found.partition(b" ")[0]
        return None

    def _status(self) -> str:
        return str(self._client.inspect_container(self._container)["State"]["Status"])

    def _open(self, method: str, what: str, params: Mapping[str, Any], timeout: Any) -> requests.Response:
        return docker_streams.open_stream(
            self._client, method, self._path(what), params=params, timeout=timeout
        )

    def _path(self, what: str) -> str:
        return f"/containers/{self._container}/{what}"


class _Position:
    """How much of one stream was handed on, as it can be found again in the engine's log.

    The log has every line; a byte that is not UTF-8 is there as three, those of U+FFFD (encoding/json in Go).
    """

    def __init__(self) -> None:
        self._lines = 0
        self._beyond = 0  # bytes after the last line, as the log has them
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def advance(self, data: bytes) -> None:
        if lines := data.count(b"\n"):
            self._lines += lines
            self._beyond = 0
            self._decoder.reset()
            data = data[data.rindex(b"\n") + 1 :]
        self._beyond += len(self._decoder.decode(data).encode("utf-8", "surrogatepass"))

    def rest(self) -> _Rest:
        return _Rest(self._lines, self._beyond)


class _Rest:
    """What to leave out of a stream that is read again from its beginning."""

    def __init__(self, lines: int, beyond: int) -> None:
        self._lines = lines
        self._beyond = beyond

    def drop(self, payload: bytes) -> bytes:
        """The payload without what was handed on before."""
        if self._lines:
            found = payload.count(b"\n")
            if found < self._lines:
                self._lines -= found
                return b""
            at = -1
            for _ in range(self._lines):
                at = payload.index(b"\n", at + 1)
            self._lines = 0
            payload = payload[at + 1 :]
        fresh = payload[self._beyond :]
        self._beyond -= len(payload) - len(fresh)
        return fresh
