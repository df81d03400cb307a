"""A second dockerd of a test's own, which may be killed, restarted and run out of disk.

It shares nothing with the machine's: store (a tmpfs), state, containerd, bridge. It leaves the packet filter
alone, so its containers reach the host (the stand-in) and nothing else; published ports go through its proxy.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.errors import EngineUnavailable
from support.outside import sdk

POSSIBLE = os.geteuid() == 0 and all(map(shutil.which, ("dockerd", "containerd", "ip", "mount", "setpriv")))
WHY_NOT = "a second dockerd takes root, dockerd, iproute2 and util-linux"
_START_SECONDS = 60.0


class PrivateEngine:
    """``address`` is for DOCKER_HOST. Start, kill and stop it from one thread: it dies with that."""

    def __init__(self, folder: Path, size: str, *options: str) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/docker.sock"
        self.store = folder / "store"
        self._bridge = f"e2e{secrets.token_hex(4)}"
        self._options = options
        self._containerd = f"{folder}/containerd.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._below: subprocess.Popen[bytes] | None = None
        self.store.mkdir(parents=True)
        _do("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.store))
        try:
            _do("ip", "link", "add", "name", self._bridge, "type", "bridge")
            _do("ip", "address", "add", f"{_free_subnet()}.1/24", "dev", self._bridge)
            _do("ip", "link", "set", self._bridge, "up")
            self._below = self._start_containerd()
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            *("dockerd", "--containerd", self._containerd, "--host", self.address, "--bridge", self._bridge),
            *("--data-root", str(self.store), "--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "pid"), "--config-file", str(self.folder / "none.json")),
            *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"),
            *self._options,
        ]
        (self.folder / "none.json").write_text("{}")
        self._process = self._spawn(*command)
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                DockerEngine.connect(self.address).close()
            except EngineUnavailable as trouble:
                if self._process.poll() is not None or time.monotonic() > end:
                    self._process.kill()
                    self._process.wait()
                    words = (self.folder / "log").read_text()[-3000:]
                    raise AssertionError(f"the private dockerd did not start: {trouble}\n{words}") from None
                time.sleep(0.05)
            else:
                return

    def end(self, number: signal.Signals) -> None:
        """Send the daemon a signal and wait for its end."""
        assert self._process
        self._process.send_signal(number)
        self._process.wait(60)

    def _start_containerd(self) -> subprocess.Popen[bytes]:
        """Of its own, which outlives a killed daemon as the machine's usually does."""
        containerd = self.folder / "containerd"
        containerd.mkdir()
        config = containerd / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{self.store}/containerd"\nstate = "{containerd}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\n  address = "{self._containerd}"\n'
        )
        return self._spawn("containerd", "--config", str(config))

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command], stdout=log, stderr=log, start_new_session=True
            )

    def remove_all(self) -> None:
        """Remove every container that is left."""
        with sdk(self.address) as client:
            for one in client.containers(all=True):
                client.remove_container(one["Id"], force=True)

    def close(self) -> None:
        if self._process and self._process.poll() is not None:
            with suppress(AssertionError):  # a test failed before it came back: its containers still run
                self.start()
        if self._process and self._process.poll() is None:
            self.remove_all()
            self.end(signal.SIGTERM)
        if self._below:
            self._below.terminate()
            self._below.wait(30)
        subprocess.run(["ip", "link", "delete", self._bridge], check=False, capture_output=True)
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            place = line.split()[1]
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


@contextmanager
def private_engine(folder: Path, size: str, *options: str) -> Iterator[PrivateEngine]:
    """Where POSSIBLE: a dockerd whose store is a tmpfs of ``size``, as mount(8) writes it."""
    with closing(PrivateEngine(folder, size, *options)) as engine:
        yield engine


def _free_subnet() -> str:
    """The first three numbers of a network that no interface of this machine is in."""
    taken = subprocess.run(["ip", "-4", "route"], check=True, capture_output=True, text=True).stdout
    return next(net for number in range(200, 256) if (net := f"10.213.{number}") not in taken)


def _do(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
