"""The Docker engine of this machine: does one answer, and starting the one that is installed.

Which engine is meant, and what an answer or its absence says, is decided in engine/docker_connection.py.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.engine import docker_connection
from e2e_matrix.engine.docker_errors import find_os_error
from e2e_matrix.errors import EngineUnavailable
from e2e_matrix.local.machine import Machine
from e2e_matrix.local.packages import Say

PACKAGE = "docker.io"
DEFAULT_SOCKET = "/var/run/docker.sock"
LOG = "/var/log/dockerd.log"
_PID_FILE = "/var/run/docker.pid"
_START_SECONDS = 60.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Found:
    """The engine that would be used. ``trouble`` is None when it answers; ``kernel`` is then its own."""

    address: str
    trouble: EngineUnavailable | None
    kernel: str = ""

    @property
    def startable(self) -> bool:
        """Whether a daemon started here would answer there: it is the usual socket, and none runs."""
        if self.trouble is None or not self.address.startswith("unix://"):
            return False
        cause = find_os_error(self.trouble)
        here = os.path.realpath(self.address.removeprefix("unix://"))
        return (
            cause is not None
            and cause.errno in (errno.ENOENT, errno.ECONNREFUSED)
            and here == os.path.realpath(DEFAULT_SOCKET)
        )


def look() -> Found:
    """Ask the engine that the docker command would use. Raises EngineUnavailable where that is unclear."""
    endpoint = docker_connection.find()
    try:
        _try_socket(endpoint.address)
        version = docker_connection.negotiate(endpoint)
    except EngineUnavailable as trouble:
        return Found(endpoint.address, trouble)
    with closing(endpoint.client(version, docker_connection.CONNECT_TIMEOUT)) as client:
        return Found(endpoint.address, None, client.version().get("KernelVersion", ""))


def _try_socket(address: str) -> None:
    """Connect once without the SDK, which leaks a socket for every connection that is refused."""
    if not address.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(docker_connection.CONNECT_TIMEOUT)
        try:
            connection.connect(address.removeprefix("unix://"))
        except OSError as error:
            raise docker_connection._unavailable(address, error) from error


def start_by_hand(machine: Machine) -> list[str]:
    """What a person types to start the installed engine, and to be let in."""
    begin = (
        "sudo systemctl start docker"
        if machine.has_systemd
        else f"sudo sh -c 'setsid dockerd >>{LOG} 2>&1 </dev/null &'"
    )
    return [begin] if machine.is_root else [begin, "sudo usermod -aG docker $USER    # then log in again"]


def start(machine: Machine, say: Say, seconds: float = _START_SECONDS) -> None:
    """Start the installed daemon, as root, and wait until it answers, at most ``seconds``.

    Without systemd dockerd itself is started, not its init script, which is known to fail in containers.
    Errors: EngineUnavailable with the daemon's last words.
    """
    deadline = time.monotonic() + seconds
    if machine.has_systemd:
        say("starting the Docker engine: systemctl start docker")
        ended = machine.run(["systemctl", "start", "docker"], timeout=seconds)
        found = look()
        while ended.exit_code == 0 and found.trouble and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            found = look()
        if found.trouble:
            raise EngineUnavailable(
                f"`systemctl start docker` did not help: {ended.output or found.trouble}",
                "Look at `journalctl -u docker -n 50`.",
            )
        return
    log = machine.path(LOG)
    say(f"starting the Docker engine: dockerd, in the background; its log is {log}")
    _forget_dead_daemon(machine)
    daemon = machine.spawn(["dockerd"], log)
    found = look()
    while found.trouble and daemon.poll() is None and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        found = look()
    if found.trouble:
        ended_as = "is still starting" if daemon.poll() is None else f"ended with exit code {daemon.poll()}"
        raise EngineUnavailable(
            f"dockerd {ended_as} after {seconds:.0f} s at the most; the end of {log}:\n{_tail(log)}",
            f"Mend what it says and run this again; all of it is in {log}.",
        )


def _forget_dead_daemon(machine: Machine) -> None:
    """Remove a pid file that outlived its daemon, as in a machine restored from a snapshot.

    dockerd looks only whether some process has that pid, and then refuses to start.
    """
    file = machine.path(_PID_FILE)
    try:
        name = machine.path(f"/proc/{int(file.read_text())}/comm").read_text().strip()
    except (OSError, ValueError):
        name = ""
    if name != "dockerd":
        file.unlink(missing_ok=True)


def _tail(log: Path, lines: int = 8) -> str:
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        text = str(error)
    return "\n".join(f"    {line[:300]}" for line in text.splitlines()[-lines:])
