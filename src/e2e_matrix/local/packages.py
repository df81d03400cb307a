"""Debian packages: which are missing, and installing them in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.local.machine import Completed, Machine

Say = Callable[[str], None]

_UPDATE_SECONDS = 300.0
_INSTALL_SECONDS = 1200.0
_APT_INSTALL = (
    *("apt-get", "install", "-q", "-y", "--no-install-recommends"),
    *("-o", "DPkg::Lock::Timeout=300"),  # a fresh Ubuntu upgrades itself for minutes
)
_APT_ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "NEEDRESTART_SUSPEND": "1",  # Ubuntu's needrestart would ask which services to restart
}


@dataclass(frozen=True)
class Need:
    """Packages that are wanted together, and why, as the end of a sentence: "to build the local images"."""

    packages: tuple[str, ...]
    why: str


def install_command(packages: Sequence[str]) -> str:
    """What a person types to install these."""
    return "sudo apt-get update && sudo apt-get install -y --no-install-recommends " + " ".join(packages)


class Apt:
    """apt-get as root, without questions. The index is fetched once, before the first installation."""

    def __init__(self, machine: Machine, say: Say) -> None:
        self._machine = machine
        self._say = say
        self._update: Completed | None = None

    def install(self, needs: Sequence[Need]) -> None:
        """Install all that is needed in one go, saying what and why.

        No service is started: what we need running we start ourselves, and docker-registry is needed as a
        program only. Errors: InfrastructureError with apt's own words.
        """
        packages = [package for need in needs for package in need.packages]
        if not packages:
            return
        for need in needs:
            self._say(f"installing {', '.join(need.packages)} {need.why}")
        if self._update is None:
            # A failure is no reason to stop: the old index may do, and if not, the installation says so.
            self._update = self._machine.run(["apt-get", "update", "-q"], _UPDATE_SECONDS, _APT_ENVIRONMENT)
        with _no_services_started(self._machine):
            ended = self._machine.run([*_APT_INSTALL, *packages], _INSTALL_SECONDS, _APT_ENVIRONMENT)
        if ended.exit_code != 0:
            reason = "\n".join(step.output for step in (self._update, ended) if step.exit_code != 0)
            raise InfrastructureError(
                f"apt-get could not install {' '.join(packages)}:\n{_last_lines(reason)}",
                f"Install them by hand, then run this again: {install_command(packages)}",
            )
        if "docker-registry" in packages and self._machine.has_systemd:
            self._machine.run(["systemctl", "disable", "docker-registry.service"])


@contextmanager
def _no_services_started(machine: Machine) -> Iterator[None]:
    """Debian's way to forbid package scripts to start services, where the machine does not forbid it already.

    Debian's specification of policy-rc.d: exit code 101 is "not allowed".
    Without it docker-registry would take port 5000, and fail its installation where no init system runs.
    """
    policy = machine.path("/usr/sbin/policy-rc.d")
    try:
        with policy.open("x") as script:
            script.write("#!/bin/sh\n# Written by e2e-matrix for one apt-get install.\nexit 101\n")
    except FileExistsError:
        yield
        return
    try:
        policy.chmod(0o755)
        yield
    finally:
        policy.unlink(missing_ok=True)


def _last_lines(text: str, count: int = 12) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-count:])
