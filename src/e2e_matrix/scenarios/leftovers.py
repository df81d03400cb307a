"""What there is in a container before and after: processes, and files where the agent works.

Seen on 1.58.0: the tmux server of a conversation is gone within 10 ms of its DELETE, and so is its folder
below the conversations' path. What stays is the server's own: the socket of that tmux in its folder in /tmp,
the journal of the bash API, and a git repository in the workspace. VS Code, where an image has it, may start
later than a conversation.
"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Iterable
from dataclasses import dataclass

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.scenarios import boot, container
from e2e_matrix.scenarios.base import Session, StepRecord
from e2e_matrix.scenarios.checks import Checks
from e2e_matrix.scenarios.conversation import WORKING_DIR
from e2e_matrix.text import one_line

OWN_PROCESSES = ("*openvscode-server*",)
OWN_FILES = (
    f"{boot.CONVERSATIONS_PATH}",
    f"{WORKING_DIR}/bash_events",
    f"{WORKING_DIR}/.git",
    "/tmp/openhands-agent-server-*",
    "/tmp/tmux-*",  # of servers that give tmux no folder of its own
    "/tmp/browser-use-downloads-*",
    "/tmp/_MEI*",  # what a PyInstaller binary unpacks
    "/tmp/vscode-*",
    "/tmp/hsperfdata_*",  # of every Java program
)

# Seconds on a native engine in which what ends with a conversation has to be gone.
PATIENCE = 5.0
LIMIT = 60.0
_LOOK_AGAIN = 0.2
_SHOWN = 100

_PLACES = (
    *(f"{folder}/{names}" for folder in (WORKING_DIR, "/tmp") for names in ("*", ".[!.]*")),
    f"{boot.CONVERSATIONS_PATH}/{'[0-9a-f]' * 8}*",  # what is named after a conversation
)
# What any POSIX shell can do by itself, but for the command lines: an image need have no ps and no find.
_LOOK = r"""
for p in /proc/[0-9]*; do
  pid=${p#/proc/}
  [ "$pid" = $$ ] || echo "process $pid $(tr '\0\n' '  ' 2>/dev/null < "$p/cmdline")"
done
for f in PLACES; do
  [ -e "$f" ] || [ -L "$f" ] && echo "file $f"
done
exit 0
"""


@dataclass(frozen=True)
class Snapshot:
    """What was there at one moment. A process without a command line is one that nobody has buried."""

    processes: dict[int, str]  # command lines by pid
    files: frozenset[str]  # what lies in the workspace, in /tmp, and in the folder of conversations

    @classmethod
    def parse(cls, printed: bytes) -> Snapshot:
        """Read what the look has printed. Names and command lines may hold any byte, a line break too."""
        processes: dict[int, str] = {}
        files = set()
        for line in printed.decode("utf-8", "replace").split("\n"):
            kind, _, rest = line.partition(" ")
            if kind == "file":
                files.add(rest)
            elif kind == "process":
                pid, _, command = rest.partition(" ")
                if pid.isdecimal() and pid.isascii() and len(pid) < 10:
                    processes[int(pid)] = command.strip() or "(a process that has ended)"
        return cls(processes, frozenset(files))


def look(session: Session, step: StepRecord) -> Snapshot:
    """Look into the container, from outside the server: its bash API may be what is broken."""
    command = ["sh", "-c", _LOOK.replace("PLACES", " ".join(_PLACES))]
    result = session.engine.exec(session.started_container.id, command, step.deadline.remaining())
    if result.exit_code != 0:
        container.check_running(session)
        output = one_line(session.redact(result.output.decode("utf-8", "replace")))
        raise CellFailure(
            Cause.ASSERTION, "a shell in the container", expected="exit code 0",
            got=f"exit code {result.exit_code}, {output}",
        )  # fmt: skip
    return Snapshot.parse(result.output)


def check(found: Checks, before: Snapshot, own_processes: Iterable[str], own_files: Iterable[str]) -> None:
    """Wait a little for what is just ending; then every process and file that is new is one too many."""
    session, step = found.session, found.step
    patience = time.monotonic() + PATIENCE * session.task.slowness
    while True:
        session.cancel.check()
        step.deadline.check()
        after = look(session, step)
        new = {command for pid, command in after.processes.items() if pid not in before.processes}
        processes = _others(new, own_processes)
        files = _others(after.files - before.files, own_files)
        if (not processes and not files) or time.monotonic() > patience:
            break
        session.exited.wait(_LOOK_AGAIN)
    step.note(processes=len(after.processes), processes_before=len(before.processes))
    found.expect("processes that were left behind", "none", _shown(session, processes))
    found.expect("files that were left behind", "none", _shown(session, files))


def _others(names: Iterable[str], own: Iterable[str]) -> list[str]:
    patterns = tuple(own)
    return sorted(
        name for name in names if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    )


def _shown(session: Session, names: list[str]) -> str:
    shown = [one_line(session.redact(name), _SHOWN) for name in names[:10]]
    return "; ".join([*shown, *([f"and {len(names) - 10} more"] if len(names) > 10 else [])]) or "none"
