"""This machine, as setup sees it: who we are, what is installed, how commands are run.

One small object, so that setup's decisions can be tested without installing anything.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_OUTPUT_KEPT = 4000  # characters of a failed command's output: enough for apt's reason


@dataclass(frozen=True)
class Completed:
    """A command that ended. ``output`` is stdout and stderr together, its last part."""

    exit_code: int
    output: str


class Machine:
    """The real one. Paths are looked up under ``root``."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, absolute: str) -> Path:
        return self.root / absolute.lstrip("/")

    @property
    def is_root(self) -> bool:
        return os.geteuid() == 0

    @property
    def has_systemd(self) -> bool:
        """Whether systemd runs: sd_booted(3) tells it by this folder; an installed systemctl says nothing."""
        return self.path("/run/systemd/system").is_dir()

    @property
    def is_debian(self) -> bool:
        """Debian or what derives from it, with apt."""
        return bool({"debian", "ubuntu"} & self._systems()) and self.which("apt-get") is not None

    @property
    def is_ubuntu(self) -> bool:
        return "ubuntu" in self._systems()

    def _systems(self) -> set[str]:
        """ID and ID_LIKE of os-release(5)."""
        try:
            text = self.path("/etc/os-release").read_text()
        except OSError:
            return set()
        fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return set(f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split())

    @property
    def kernel(self) -> str:
        return platform.release()

    @property
    def architecture(self) -> str:
        """As ``uname -m`` says it: x86_64, aarch64."""
        return platform.machine()

    def which(self, program: str) -> str | None:
        # A user's PATH often lacks sbin, where Debian keeps dockerd and update-binfmts.
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
        return shutil.which(program, path=path)

    def run(
        self, command: Sequence[str], timeout: float = 60.0, environment: Mapping[str, str] | None = None
    ) -> Completed:
        """Run to the end, with no terminal to ask questions on; ``timeout`` in seconds.

        A command that is missing or takes too long is a Completed with exit code 127 or 124, as in a shell.
        """
        program = self.which(command[0])
        if program is None:
            return Completed(127, f"{command[0]}: not installed")
        try:
            ended = subprocess.run(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
                env={**os.environ, **(environment or {})},
            )
        except subprocess.TimeoutExpired as expired:
            output = (expired.output or b"").decode(errors="replace")[-_OUTPUT_KEPT:]
            return Completed(124, f"{output}\nnot finished after {timeout:.0f} s".lstrip())
        return Completed(ended.returncode, ended.stdout.decode(errors="replace")[-_OUTPUT_KEPT:].strip())

    def spawn(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start something that outlives us: its own session, no terminal, its output in ``log``."""
        with log.open("ab") as output:
            return subprocess.Popen(
                [self.which(command[0]) or command[0], *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
            )
