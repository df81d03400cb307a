"""Running uv, which makes the scripts' environments: the one that was installed together with this package.

Where packages and Pythons come from is the business of whoever configured uv here: no index is named.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import uv

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.text import format_seconds, one_line

_LOOK_AGAIN = 0.2
_FULL = ("No space left on device", "Disk quota exceeded")
# What would lead uv, or a package's build, to another Python than the one asked for; and the model's key,
# which is no business of a package's build.
_LEFT_OUT = ("PYTHON", "VIRTUAL_ENV", "CONDA_", "LLM_")


@dataclass(frozen=True)
class Ended:
    """How uv ended: its exit code, its standard output, and what it said on standard error."""

    code: int
    output: str
    words: str

    @property
    def gist(self) -> str:
        """The error, its cause and the last cause of that, in one line that is safe to show."""
        said = re.findall(r"^\s*(?:error|cause): (.+)", self.words, re.MULTILINE)
        said = [*said[:2], *said[2:][-1:]]
        return one_line("; ".join(said) or self.words or f"uv ended with {self.code}", 300)

    @property
    def disk_is_full(self) -> bool:
        return any(sign in self.words for sign in _FULL)


def run(arguments: Sequence[str], folder: Path, held: int, cancel: Cancellation, longest: float) -> Ended:
    """Run uv in ``folder`` to its end, at most ``longest`` seconds.

    ``held``: the lock's descriptor. uv holds it too, so that the lock outlives a runner that is killed for as
    long as uv goes on writing. The folder is one of the cache, so that no pyproject.toml above it counts.
    Errors: ``CellFailure`` when asked to stop, where uv is missing or takes too long; it has ended by then.
    """
    with subprocess.Popen(
        [_program(), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        cwd=folder,
        env=_environment(os.environ),
        pass_fds=[held],
        start_new_session=True,  # builds of packages are among its children: all of them end together
    ) as process:
        try:
            output, words = _wait(process, arguments[0], cancel, longest)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return Ended(process.returncode, output, words)


def _wait(
    process: subprocess.Popen[str], command: str, cancel: Cancellation, longest: float
) -> tuple[str, str]:
    give_up = time.monotonic() + longest
    while True:
        try:
            return process.communicate(timeout=_LOOK_AGAIN)
        except subprocess.TimeoutExpired:
            cancel.check()
            if time.monotonic() > give_up:
                raise CellFailure(
                    Cause.SCRIPT_ENVIRONMENT, f"`uv {command}` did not end within {format_seconds(longest)}"
                ) from None


def _program() -> str:
    try:
        return uv.find_uv_bin()
    except FileNotFoundError:
        raise CellFailure(
            Cause.SCRIPT_ENVIRONMENT,
            f"there is no uv beside {sys.executable}: run `{sys.executable} -m pip install uv`",
        ) from None


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in ours.items() if not name.startswith(_LEFT_OUT)}
    return {
        **kept,
        "PATH": os.pathsep.join([ours.get("PATH", os.defpath), *_pythons()]),
        "UV_NO_PROGRESS": "1",
    }


def _pythons() -> list[str]:
    """Folders with Pythons that uv looks at only when they are on PATH: pyenv's, and the one we run on."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [*map(str, sorted(pyenv.glob("versions/3.*/bin"))), f"{sys.base_prefix}/bin"]
