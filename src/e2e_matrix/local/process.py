"""Running a program of the machine, with its last words in the error."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from e2e_matrix.errors import InfrastructureError

_LAST_LINES = 8


def run(
    command: Sequence[str],
    *,
    what: str,
    fix: str,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end; its standard output.

    ``what`` names it in the error, ``timeout`` is seconds. Raises ``InfrastructureError`` where it is
    missing, too slow or fails; the message ends with its last lines.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except FileNotFoundError:
        raise InfrastructureError(f"{what}: there is no {command[0]} on this machine", fix) from None
    except subprocess.TimeoutExpired:
        raise InfrastructureError(f"{what}: {command[0]} did not end within {timeout:.0f} s", fix) from None
    if done.returncode != 0:
        tail = "\n".join(f"    {line}" for line in (done.stderr or done.stdout).splitlines()[-_LAST_LINES:])
        raise InfrastructureError(f"{what}: {command[0]} ended with {done.returncode}:\n{tail}", fix)
    return done.stdout
