"""A registry on this machine: the reference implementation, as Debian packages it or in a container.

It listens on 127.0.0.1 only, which Docker trusts without TLS, and keeps what was pushed between runs.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

import httpx

from e2e_matrix import owner
from e2e_matrix.cache import cache_folder
from e2e_matrix.engine import docker_connection, docker_pull
from e2e_matrix.engine.base import LABEL_DEADLINE, LABEL_OWNER, LABEL_RUN
from e2e_matrix.engine.docker_connection import Clients
from e2e_matrix.engine.platforms import architecture
from e2e_matrix.errors import CellFailure, EngineUnavailable, InfrastructureError
from e2e_matrix.local.packages import install_command

Say = Callable[[str], None]

PREFERRED_PORT = 5055
PROGRAM = "docker-registry"  # Debian's package and the program in it
IMAGE = "registry:2"

_START_SECONDS = 15.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
_CONTAINER_LIVES_SECONDS = 7 * 86400.0  # then anybody may remove it: longer than anybody serves images


class _Server(Protocol):
    """A registry that was started, in whatever way."""

    port: int

    def ended(self) -> str | None:
        """Its last words if it is no longer running."""
        ...

    def stop(self) -> None: ...


class LocalRegistry:
    """A registry while the ``with`` block runs; ``host`` is what references begin with, ``127.0.0.1:5055``.

    Enter it on a thread that lives as long as the block: the kernel ends the program together with that
    thread (prctl(2), PR_SET_PDEATHSIG), so that a killed run leaves no registry behind.
    Raises ``InfrastructureError`` where there is neither the program nor an engine to run one in.
    """

    def __init__(
        self,
        storage: Path | None = None,
        *,
        port: int = PREFERRED_PORT,
        program: str = PROGRAM,
        say: Say = lambda line: None,
    ) -> None:
        self._storage = storage or cache_folder() / "registry"
        self._preferred = port
        self._program = program
        self._say = say
        self._server: _Server | None = None

    @property
    def host(self) -> str:
        if self._server is None:
            raise RuntimeError("the registry runs only inside its with block")
        return f"127.0.0.1:{self._server.port}"

    def __enter__(self) -> LocalRegistry:
        try:
            self._storage.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InfrastructureError(
                f"cannot keep a registry in {self._storage}: {error.strerror}",
                "Set XDG_CACHE_HOME to a folder that can be written.",
            ) from error
        program = shutil.which(self._program)
        if program:
            self._server = _Process(program, self._storage, _free_port(self._preferred))
        else:
            self._say(f"there is no {self._program} here; running {IMAGE} in a container")
            self._server = _Container(self._storage, self._preferred)
        try:
            self._wait(self._server)
        except BaseException:
            self._server.stop()
            self._server = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def wait(self) -> None:
        """Return when the registry has ended by itself, which it does not do unasked."""
        while self._server is not None and self._server.ended() is None:
            time.sleep(1.0)

    def _wait(self, server: _Server) -> None:
        """Until GET /v2/ is 200 (OCI distribution specification, "Determining Support")."""
        ends = time.monotonic() + _START_SECONDS
        with httpx.Client(trust_env=False, timeout=2.0) as http:
            while time.monotonic() < ends:
                if (words := server.ended()) is not None:
                    raise InfrastructureError(
                        f"the local registry ended at once:\n{words}",
                        f"Look at the message; the storage is {self._storage}, which may be removed.",
                    )
                with suppress(httpx.TransportError):
                    if http.get(f"http://{self.host}/v2/").status_code == httpx.codes.OK:
                        return
                time.sleep(_POLL_SECONDS)
        raise InfrastructureError(
            f"the local registry did not answer at {self.host} within {_START_SECONDS:.0f} s",
            f"Its log is beside its storage: {self._storage}.",
        )


class _Process:
    def __init__(self, program: str, storage: Path, port: int) -> None:
        self.port = port
        self._log = storage.with_name(f"{storage.name}.log")
        command = [program, "serve", "/dev/stdin"]  # through a pipe: a file would outlive a kill -9
        if setpriv := shutil.which("setpriv"):  # of util-linux, which every Debian has
            # Whoever was orphaned before the signal was arranged has another parent by now.
            still_ours = 'test "$PPID" = "$0" && exec "$@"'
            command = [setpriv, "--pdeathsig", "TERM", "sh", "-c", still_ours, str(os.getpid()), *command]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a terminal's Ctrl-C is for us: we stop it when we are done
                env={**environment, "OTEL_TRACES_EXPORTER": "none"},
            )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:  # its last words tell more
            stdin.write(_settings(storage, port))

    def ended(self) -> str | None:
        if self._process.poll() is None:
            return None
        return self._log.read_text(errors="replace")[-1500:].strip()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Container:
    def __init__(self, storage: Path, port: int) -> None:
        self._id = ""
        try:
            endpoint = docker_connection.find()
            self._clients = Clients(endpoint, docker_connection.negotiate(endpoint))
        except EngineUnavailable as error:
            raise _nowhere(f"no engine answers either: {error}") from error
        try:
            with self._clients.borrow("describe itself") as client:
                platform = f"linux/{architecture(client.info()['Architecture'])}"
            docker_pull.pull(self._clients, IMAGE, platform, None)
            with self._clients.borrow(f"run {IMAGE}") as client:
                created = client.create_container(
                    IMAGE,
                    name=f"e2e-matrix-registry-{secrets.token_hex(3)}",
                    labels={
                        LABEL_RUN: "local-registry",
                        LABEL_OWNER: owner.current(),
                        LABEL_DEADLINE: owner.deadline_label(_CONTAINER_LIVES_SECONDS),
                    },
                    ports=[5000],
                    environment={"REGISTRY_LOG_LEVEL": "error", "OTEL_TRACES_EXPORTER": "none"},
                    host_config=client.create_host_config(
                        port_bindings={5000: ("127.0.0.1", _free_port(port))},
                        binds={str(storage): {"bind": "/var/lib/registry", "mode": "rw"}},
                    ),
                )
                self._id = str(created["Id"])
                client.start(self._id)
                ports = client.inspect_container(self._id)["NetworkSettings"]["Ports"]
            self.port = int(ports["5000/tcp"][0]["HostPort"])
        except CellFailure as error:
            self.stop()
            raise _nowhere(f"{IMAGE} cannot be run in a container: {error}") from error

    def ended(self) -> str | None:
        with self._clients.borrow("look at the registry's container") as client:
            if client.inspect_container(self._id)["State"]["Running"]:
                return None
            return str(client.logs(self._id, tail=20).decode(errors="replace")).strip()

    def stop(self) -> None:
        with closing(self._clients):
            if self._id:
                with self._clients.borrow("remove the registry's container") as client:
                    client.remove_container(self._id, force=True, v=True)


def _settings(storage: Path, port: int) -> bytes:
    """The registry's own configuration: files below ``storage``, one loopback port, errors only."""
    return f"""version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: "{storage}"
  delete:
    enabled: true
http:
  addr: "127.0.0.1:{port}"
""".encode()


def _free_port(preferred: int) -> int:
    """The preferred port if nobody has it, else one that the kernel chooses."""
    for port in (preferred, 0):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise InfrastructureError("no port is free on 127.0.0.1", "End something that listens there.")


def _nowhere(why: str) -> InfrastructureError:
    return InfrastructureError(
        f"there is no {PROGRAM} to serve the local images from, and {why}", install_command([PROGRAM])
    )
