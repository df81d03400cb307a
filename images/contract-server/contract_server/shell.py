"""Commands: those of the bash API, and those of an agent's terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract_server.answers import Invalid
from contract_server.faults import Fault

TOOL = "terminal"
WORKSPACE = Path("/workspace")
_LEFT_BEHIND = Path("/tmp/left-behind")
_KILL_AFTER = 1.0  # seconds after TERM
# Where the real server's tmux would have its socket: a command can see that it runs in one.
_TMUX = "/tmp/contract-server/default,1,0"
_TERMINAL_SECONDS = 60

#: What the model is told of the tool.
SPECIFICATION: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": TOOL,
        "description": "Run a command in the terminal.",
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "string"}},
            "required": ["command"],
        },
    },
}


def execute(request: Mapping[str, Any], fault: Fault) -> dict[str, Any]:
    """Run the request's command to its end; a BashOutput. Raises ``Invalid``."""
    command, seconds = request.get("command"), request.get("timeout", 300)
    if command is None:
        raise Invalid("missing", "Field required", "body", "command")
    if not isinstance(command, str):
        raise Invalid("string_type", "Input should be a valid string", "body", "command")
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise Invalid("int_type", "Input should be a valid integer", "body", "timeout")
    code, stdout, stderr = _run(["/bin/sh", "-c", command], None, seconds, fault)
    return {
        "id": uuid.uuid4().hex,
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "command_id": uuid.uuid4().hex,
        "order": 0,
        "exit_code": 0 if fault is Fault.BASH_EXIT_LOST else code,
        "stdout": _text(stdout, fault) or None,
        "stderr": _text(stderr, fault) or None,
        "kind": "BashOutput",
    }


def observe(command: str, place: str, fault: Fault) -> dict[str, Any]:
    """Run a command in the terminal; a TerminalObservation."""
    arguments = ["/bin/bash", "-c", f"{{ {command}\n}} 2>&1"]
    code, output, _ = _run(arguments, place, _TERMINAL_SECONDS, fault)
    text = "" if fault is Fault.TERMINAL_SILENT else _text(output, fault).rstrip("\n")
    return {
        "content": [{"type": "text", "text": text}],
        "is_error": False,
        "command": command,
        "exit_code": code,
        "timeout": code == -1,
        "metadata": {"exit_code": code, "working_dir": place},
        "kind": "TerminalObservation",
    }


def _run(arguments: list[str], place: str | None, seconds: int, fault: Fault) -> tuple[int, bytes, bytes]:
    """Exit code, stdout and stderr; -1 where the time was over, and then all that it started is ended."""
    process = subprocess.Popen(
        arguments,
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **({"TMUX": _TMUX} if place else {})},
        start_new_session=True,
    )
    with suppress(subprocess.TimeoutExpired):
        stdout, stderr = process.communicate(timeout=seconds)
        return process.returncode, stdout, stderr
    if fault is Fault.BASH_NEVER_ENDS:
        return -1, b"", b""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            return (-1, *process.communicate(timeout=_KILL_AFTER))
    return -1, b"", b""


def leave_behind() -> None:
    """A process and a file that nobody asked for."""
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    _LEFT_BEHIND.touch()


def _text(output: bytes, fault: Fault) -> str:
    return output.decode("ascii" if fault is Fault.UTF8_MANGLED else "utf-8", "replace")
