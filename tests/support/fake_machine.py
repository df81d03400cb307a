"""A machine for setup's tests: files in a folder, commands recorded and answered from a table."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from e2e_matrix.local.machine import Completed, Machine
from support import unix_engine

DEBIAN = "ID=debian\n"
UBUNTU = 'ID=ubuntu\nID_LIKE="debian"\n'
FEDORA = "ID=fedora\n"
EMULATOR = "/proc/sys/fs/binfmt_misc/qemu-aarch64"
READY = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n"
EVERYTHING = frozenset(
    {
        "apt-get",
        "dockerd",
        "mmdebstrap",
        "docker-registry",
        "chromium",
        "faketime",
        "ip",
        "qemu-aarch64-static",
        "update-binfmts",
    }
)


class FakeMachine(Machine):
    """Debian on x86_64, as root, with everything installed and registered; tests take away from that."""

    def __init__(self, root: Path, release: str = DEBIAN, as_root: bool = True) -> None:
        super().__init__(root)
        self.programs = set(EVERYTHING)
        self.commands: list[tuple[str, ...]] = []
        self.answers: dict[str, Completed] = {}
        self.effects: dict[str, Callable[[], object]] = {}
        self.dockerd: Sequence[str] = ()
        self.spawned: list[subprocess.Popen[bytes]] = []
        self._as_root = as_root
        self.write("/etc/os-release", release)
        self.write(EMULATOR, READY)
        self.write("/proc/sys/fs/binfmt_misc/register", "")
        self.write("/usr/share/keyrings/debian-archive-keyring.gpg", "")
        self.write("/usr/sbin/.keep", "")
        self.write("/var/log/.keep", "")

    @property
    def is_root(self) -> bool:
        return self._as_root

    @property
    def architecture(self) -> str:
        return "x86_64"

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}" if program in self.programs else None

    def run(
        self, command: Sequence[str], timeout: float = 60.0, environment: Mapping[str, str] | None = None
    ) -> Completed:
        self.commands.append(tuple(command))
        if effect := self.effects.get(command[0]):
            effect()
        return self.answers.get(command[0], Completed(0, ""))

    def spawn(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """In dockerd's place: ``self.dockerd``, really spawned."""
        assert list(command) == ["dockerd"]
        self.programs.add(self.dockerd[0])
        daemon = Machine().spawn(self.dockerd, log)
        self.spawned.append(daemon)
        return daemon

    def will_start(self, socket: Path) -> None:
        """Make dockerd a program that answers on ``socket``."""
        self.dockerd = (sys.executable, unix_engine.__file__, str(socket))

    def write(self, path: str, text: str) -> Path:
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def installed(self) -> list[str]:
        """The packages of every apt-get install, in order."""
        return [
            word
            for command in self.commands
            if command[:2] == ("apt-get", "install")
            for word in command[2:]
            if not word.startswith(("-", "DPkg"))
        ]
