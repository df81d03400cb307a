"""Commands in the container, through the server's own bash API."""

from __future__ import annotations

import math
from dataclasses import dataclass

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.scenarios import container
from e2e_matrix.scenarios.base import Session, StepRecord
from e2e_matrix.text import one_line

# Seconds, natively, that a command may take where nothing else is said.
COMMAND_LIMIT = 20.0
# What the server may take beyond that: it sends TERM, waits, kills, and reads what is left.
ANSWER_PATIENCE = 10.0
# Characters of an output that are shown.
SHOWN = 200


@dataclass(frozen=True)
class Output:
    """What came of a command; hostile. -1 is what 1.58.0 gives for one that it ended for its time."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def shown(self) -> str:
        """For a message: the exit code and the end of what was printed."""
        printed = " ".join(filter(None, (one_line(self.stdout[-SHOWN:]), one_line(self.stderr[-SHOWN:]))))
        return f"exit code {self.exit_code}" + (f", {printed}" if printed else ", and nothing printed")


def run(session: Session, step: StepRecord, command: str, limit: float = COMMAND_LIMIT) -> Output:
    """Run ``command`` by /bin/sh in a place that the server chooses; ``limit``, in seconds, is native.

    Raises ``CellFailure`` where the server does not answer as its API says, and ``httpx.TimeoutException``
    where it does not answer although the command's time is over.
    """
    seconds = math.ceil(limit * session.task.slowness)
    patience = seconds + ANSWER_PATIENCE * session.task.slowness
    reply = session.server.execute_bash(command, seconds, patience)
    container.expect_json(step, reply)
    code, stdout, stderr = (reply.field(name) for name in ("exit_code", "stdout", "stderr"))
    if not isinstance(code, int) or not all(isinstance(text, str | None) for text in (stdout, stderr)):
        raise CellFailure(
            Cause.ASSERTION,
            f"what {reply.request} says of a command",
            expected="exit_code, a number, with stdout and stderr, texts or null",
            got=one_line(session.redact(reply.text)),
            detail=reply.text,
        )
    # Before anything is cut: half a secret would not be found any more.
    return Output(code, session.redact(stdout or ""), session.redact(stderr or ""))
