"""Where the Docker engine is, and clients of it that threads may share.

``find`` follows the docker command: DOCKER_HOST, else the current context, else the default socket. The API's
version is negotiated once, as the command does: the newest that both sides speak.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import docker.utils
import requests
import urllib3
from docker import APIClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.context import ContextAPI
from docker.errors import DockerException
from docker.utils import version_lt

from e2e_matrix.engine.docker_errors import engine_errors, find_os_error, innermost
from e2e_matrix.engine.docker_unix import UnixAdapter
from e2e_matrix.errors import CellFailure, EngineUnavailable
from e2e_matrix.failures import Cause

OLDEST_API = "1.40"  # Docker 19.03
CONNECT_TIMEOUT = 10.0  # seconds
CALL_TIMEOUT = 60.0  # seconds without a byte from the engine, unless a call says otherwise


@dataclass(frozen=True)
class Endpoint:
    """One engine as the SDK wants it told; ``tls`` is a docker.tls.TLSConfig or False."""

    address: str
    tls: Any = field(default=False, repr=False)

    def client(self, api_version: str, timeout: float) -> APIClient:
        client = APIClient(base_url=self.address, tls=self.tls, version=api_version, timeout=timeout)
        where = docker.utils.parse_host(self.address)
        if where.startswith("http+unix://"):
            client.mount("http+docker://", UnixAdapter(where, timeout))
        return client


def find(address: str | None = None, environment: Mapping[str, str] = os.environ) -> Endpoint:
    """The engine at ``address``, else the one that the docker command would talk to.

    Raises EngineUnavailable where the environment or the context cannot be used.
    """
    try:
        named = address or environment.get("DOCKER_HOST")
        if named:
            tls = docker.utils.kwargs_from_env(environment=dict(environment)).get("tls", False)
            return Endpoint(named, tls if named.startswith(("tcp://", "https://")) else False)
        name = environment.get("DOCKER_CONTEXT")
        context = ContextAPI.get_context(name)
    except DockerException as error:
        raise EngineUnavailable(
            f"the Docker client's configuration cannot be used: {error}",
            "Check DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, or unset them.",
        ) from error
    if context is None or not context.Host:
        raise EngineUnavailable(
            f"the docker context {name or 'that is current'!r} does not exist or names no engine",
            "`docker context ls` shows them; choose one with `docker context use NAME`.",
        )
    return Endpoint(context.Host, context.TLSConfig or False)


def negotiate(endpoint: Endpoint) -> str:
    """The version of the API to speak, such as "1.41". Raises EngineUnavailable: why, and what to do."""
    try:
        client = endpoint.client(DEFAULT_DOCKER_API_VERSION, CONNECT_TIMEOUT)
    except DockerException as error:
        raise _bad_address(endpoint.address, error) from error
    try:
        answer = client.version(api_version=False)
        newest, oldest = answer["ApiVersion"], answer.get("MinAPIVersion") or answer["ApiVersion"]
    except (KeyError, TypeError, ValueError) as error:
        raise EngineUnavailable(
            f"what answers at {endpoint.address} is not a container engine", "Check DOCKER_HOST."
        ) from error
    except (OSError, urllib3.exceptions.HTTPError, DockerException) as error:
        raise _unavailable(endpoint.address, error) from error
    finally:
        client.close()
    if version_lt(newest, OLDEST_API):
        raise EngineUnavailable(
            f"the engine at {endpoint.address} is too old: it speaks API {newest}, {OLDEST_API} is needed",
            "Upgrade it to Docker 19.03 or newer.",
        )
    if version_lt(newest, DEFAULT_DOCKER_API_VERSION):
        return str(newest)
    return str(oldest) if version_lt(DEFAULT_DOCKER_API_VERSION, oldest) else DEFAULT_DOCKER_API_VERSION


class Clients:
    """Lends API clients to threads, one borrower at a time each: requests' sessions promise no thread safety.

    There are never more of them than there were calls at the same time.
    """

    def __init__(self, endpoint: Endpoint, api_version: str) -> None:
        self.endpoint = endpoint
        self.api_version = api_version
        self._lock = threading.Lock()
        self._idle: list[APIClient] = []
        self._closed = False

    @contextmanager
    def borrow(self, doing: str, timeout: float = CALL_TIMEOUT) -> Iterator[APIClient]:
        """A client whose calls end after ``timeout`` seconds of silence; errors come out as ``CellFailure``.

        ``doing`` completes "the engine could not ...".
        """
        client = self.take(timeout)
        try:
            with engine_errors(self.endpoint.address, doing):
                yield client
        finally:
            self.give_back(client)

    def take(self, timeout: float) -> APIClient:
        """A client to keep until ``give_back``."""
        with self._lock:
            if self._closed:
                raise CellFailure(
                    Cause.ENGINE_LOST, "the connection to the engine was closed by this process"
                )
            client = self._idle.pop() if self._idle else None
        if client is None:
            client = self.endpoint.client(self.api_version, timeout)
        client.timeout = timeout
        return client

    def give_back(self, client: APIClient) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(client)
                return
        client.close()

    def close(self) -> None:
        """Close them all, the lent ones when they come back. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for client in idle:
            client.close()


def _bad_address(address: str, error: DockerException) -> EngineUnavailable:
    if "paramiko" in str(error):
        return EngineUnavailable(
            f"{address} needs SSH support, which is not installed",
            "Forward the socket (`ssh -NL /tmp/engine.sock:/var/run/docker.sock HOST`) and set "
            "DOCKER_HOST=unix:///tmp/engine.sock, or install docker[ssh].",
        )
    return EngineUnavailable(
        f"{address!r} is no address of an engine: {error}",
        "Write unix:///path/to/docker.sock or tcp://HOST:PORT in DOCKER_HOST.",
    )


def _unavailable(address: str, error: Exception) -> EngineUnavailable:
    number = getattr(find_os_error(error), "errno", None)
    if number == errno.ENOENT:
        return EngineUnavailable(
            f"no container engine: the socket of {address} does not exist",
            "Install Docker and start it (Debian, Ubuntu: `sudo apt install docker.io`), "
            "or set DOCKER_HOST to an engine elsewhere.",
        )
    if number in (errno.EACCES, errno.EPERM):
        return EngineUnavailable(
            f"permission denied at the engine's socket, {address}",
            "Add yourself to its group (`sudo usermod -aG docker $USER`) and log in again, or run as root.",
        )
    if number == errno.ECONNREFUSED:
        start = "Start the engine: `sudo systemctl start docker`."
        if address.startswith("unix"):
            return EngineUnavailable(f"nothing listens at {address}, though the socket exists", start)
        return EngineUnavailable(f"nothing listens at {address}", start + " Or correct DOCKER_HOST.")
    if isinstance(error, requests.Timeout):
        return EngineUnavailable(
            f"the engine at {address} did not answer within {CONNECT_TIMEOUT:.0f} s",
            "Look at the engine's log (`journalctl -u docker`) and restart it, or correct DOCKER_HOST.",
        )
    return EngineUnavailable(
        f"no container engine answers at {address}: {innermost(error)}", "Check DOCKER_HOST and the network."
    )
