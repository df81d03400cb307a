"""Learning at once that a container ended, from the engine's own blocking wait.

API: POST /containers/{id}/wait?condition=next-exit. The headers come when the wait is armed, the body at the
exit.
"""

from __future__ import annotations

import http.client
import threading
import time

import requests
import urllib3
from docker.errors import NotFound

from e2e_matrix.engine import docker_streams
from e2e_matrix.engine.docker_connection import Clients
from e2e_matrix.engine.docker_errors import engine_errors

_REARM = 60.0  # seconds of silence after which the connection is doubted and the wait asked again
_GIVE_UP = 10.0  # seconds without an engine after which waiting is pointless
_RETRY = 0.25  # seconds between two tries to reach it


class DockerExitWatch:
    """See ``engine.base.ExitWatch``. Armed when the constructor returns: no exit after that goes unseen.

    ``exited`` is also set when the container was removed, and when the engine stays out of reach for 10 s:
    whoever waits then asks for the state and learns which it was.
    """

    def __init__(self, clients: Clients, container: str) -> None:
        self.exited = threading.Event()
        self.interrupted = False
        self._container = container
        self._clients = clients
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._response: requests.Response | None = None
        self._client = clients.take(timeout=_REARM)
        try:
            with engine_errors(clients.endpoint.address, f"watch container {container[:12]}"):
                first = self._arm()
        except BaseException:
            clients.give_back(self._client)
            raise
        self._thread = threading.Thread(
            target=self._watch, args=(first,), name=f"exit of {container[:12]}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        with self._lock:
            self._closing.set()
            if self._response is not None:
                docker_streams.cut(self._response)
        self._thread.join(timeout=5.0)

    def _watch(self, pending: requests.Response | None) -> None:
        while pending is not None and not self._has_ended(pending):
            pending = self._arm_again()
        if not self._closing.is_set():
            self.exited.set()
        self._clients.give_back(self._client)

    def _arm(self) -> requests.Response | None:
        """The answer that comes at the exit; None when the container has ended already."""
        response = docker_streams.open_stream(
            self._client, "POST", f"/containers/{self._container}/wait", params={"condition": "next-exit"}
        )
        try:
            status = self._client.inspect_container(self._container)["State"]["Status"]
        except BaseException:
            response.close()
            raise
        with self._lock:
            if status in ("exited", "dead") or self._closing.is_set():
                response.close()
                return None
            self._response = response
        return response

    def _arm_again(self) -> requests.Response | None:
        deadline = time.monotonic() + _GIVE_UP
        while not self._closing.is_set():
            try:
                return self._arm()
            except NotFound:
                return None
            except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException):
                self.interrupted = True
                if time.monotonic() > deadline or self._closing.wait(_RETRY):
                    return None
        return None

    def _has_ended(self, pending: requests.Response) -> bool:
        with pending:
            try:
                told = bool(pending.raw.read().strip())
            except urllib3.exceptions.ReadTimeoutError:
                return False  # silence: the next arming tells
            except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException):
                told = False
        # An answer that breaks off without a word is an engine that went away, or close().
        self.interrupted |= not told and not self._closing.is_set()
        return told
