"""What was seen of a script: what it printed and asked for, how its conversations ended, what they cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.results import ScriptRun, Tokens
from e2e_matrix.scenarios import conversation
from e2e_matrix.scenarios.base import Session
from e2e_matrix.script.broker import Call
from e2e_matrix.script.output import Output, read_cost
from e2e_matrix.script.process import ScriptExit
from e2e_matrix.script.trace import Trace
from e2e_matrix.script.watch import Watch, Watched
from e2e_matrix.text import one_line

# Hiding a secret costs memory by the square of its length: a script that makes up keys may not have it all.
_MOST_KEYS, _LONGEST_KEY = 20, 512
# Of many conversations not every combination of what was counted when.
_MOST_SUMS = 1_000


@dataclass(frozen=True)
class Ended:
    """How a script's process ended. Moments are on the monotonic clock."""

    began: float
    ended: float
    exit: ScriptExit

    @property
    def how(self) -> str:
        code, signal = self.exit.code, self.exit.signal
        return f"exit code {code}" if signal is None else f"signal {signal}"


class Account:
    """Keeps it while the script runs, and adds it up. ``add`` and the output's sink take any thread."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.output = Output(Path(session.task.folder), session.secrets)
        self.watch = Watch(session.task.slowness, session.task.price)
        self.trace = Trace(session.started, session.redact)
        self._session_keys: set[str] = set()
        self._stopping = 0.0  # seconds in which it waited for a server of ours to stop, after its last word

    def add(self, call: Call) -> None:
        key, known = call.session_key, self._session_keys
        if key and key not in known and len(key) <= _LONGEST_KEY and len(known) < _MOST_KEYS:
            known.add(key)
            self._session.hide(key)
        self.trace.add(call)
        self.watch.see(call)

    def close(self) -> None:
        try:
            self.watch.close()
        finally:
            self.output.close()

    def waited_for_stop(self, seconds: float) -> None:
        """The script waited so long while its server stopped, which is no time that it wasted."""
        if self.terminal_at is not None:
            self._stopping += seconds

    @property
    def terminal_at(self) -> float | None:
        """When the last of its conversations had ended; None where it held none, or one has not ended."""
        ends = [one.ended_at for one in self.watch.conversations]
        known = [end for end in ends if end is not None]
        return max(known) if known and len(known) == len(ends) else None

    @property
    def rightly_printed(self) -> Sequence[Decimal]:
        """What a script may rightly print, by the server's count: of all its conversations, or of one.

        The first is the last that is known of all. A script cannot know what was counted after it had looked,
        so what the server counted at any time since a conversation's end is right too. Nothing where the
        server counted nothing at all; 0 is a count.
        """
        known = [(one.bill.counted_by_server, one.counts) for one in self.watch.conversations]
        each = [[last, *counts] for last, counts in known if last is not None]
        if not each:
            return []
        sums = [Decimal(0)]
        for counts in each:
            sums = list(dict.fromkeys(one + count for one in sums for count in counts))[:_MOST_SUMS]
        return list(dict.fromkeys([*sums, *(count for counts in each for count in counts)]))

    def blame(self, how: str, failures: Sequence[CellFailure]) -> tuple[Cause, str]:
        """What a script that ended so is the fault of; what it could not help comes first.

        ``failures`` are those of its servers.
        """
        for failure in failures:
            return failure.cause, f"the script ended with {how}, as its server failed: {failure.message}"
        if error := self.watch.error:
            cause = self._cause_of(error)
            told = one_line(self._session.redact(error), 400)
            cause = Cause.SCRIPT_FAILED if cause is Cause.CONVERSATION_ERROR else cause
            return cause, f"the script ended with {how}, after a conversation had failed: {told}"
        word = one_line(self.output.last_word(), 300)
        if word.startswith("EOFError"):
            word = f"it read its standard input, which is empty ({word})"
        return Cause.SCRIPT_FAILED, f"the script ended with {how}{word and f': {word}'}"

    def conversation_failure(self, one: Watched) -> CellFailure:
        """What a conversation that ended in error or stuck is the fault of, where the script ended well."""
        error = self._session.redact(one.error or "the server gave no reason")
        message = f"the script ended well, and a conversation of it as {one.status}: {one_line(error, 400)}"
        cause = self._cause_of(one.error or "")
        return CellFailure(cause, message, expected="finished", got=one.status, detail=error)

    def _cause_of(self, error: str) -> Cause:
        """``error`` is the server's "code: detail"."""
        if self.watch.refusals:
            return Cause.LLM_REFUSED
        # A stand-in that answers has no bad minutes: a server that misses it does so by itself.
        if self._session.task.llm.is_stand_in and self._session.llm.calls():
            return Cause.CONVERSATION_ERROR
        return conversation.cause_of(error)

    def describe(self, before: ScriptRun, ended: Ended, expected_exit: int) -> ScriptRun:
        """``before``, with everything that is known once the script has ended."""
        log, terminal, conversations = self.output.log, self.terminal_at, self.watch.conversations
        wasted = None if terminal is None else max(0.0, ended.ended - terminal - self._stopping)
        status = conversations[-1].status if conversations else None
        return before.model_copy(
            update={
                "exit_code": ended.exit.code,
                "signal": ended.exit.signal,
                "start_seconds": self._since(ended.began),
                "duration_seconds": round(ended.ended - ended.began, 4),
                "printed_cost_usd": None if self.output.cost is None else read_cost(self.output.cost),
                "server_cost_usd": self.watch.cost,
                "conversations": len(conversations),
                "first_request_seconds": self.trace.first_request_seconds,
                "calls": self.trace.calls(),
                "calls_total": self.trace.total,
                "terminal_status": one_line(self._session.redact(status), 40) if status else None,
                "terminal_seconds": None if terminal is None else self._since(terminal),
                "wasted_seconds": None if wasted is None else round(wasted, 4),
                "calls_after_terminal": None if terminal is None else self.trace.questions_after(terminal),
                "left_behind": ended.exit.left_behind,
                "output_bytes": log.total_bytes,
                "output_dropped_bytes": log.dropped_bytes,
                "output_excerpt": None if ended.exit.code == expected_exit else self.output.last_lines(),
            }
        )

    def note_totals(self) -> None:
        """Phases, cost and tokens, for the attempt as a whole."""
        session, began, terminal = self._session, self.trace.conversation_at, self.terminal_at
        if self.trace.init_seconds is not None:
            session.phase(init=round(self.trace.init_seconds, 4))
        if began is not None:
            until = terminal if terminal is not None else time.monotonic()
            session.phase(conversation=round(max(0.0, until - began), 4))
        if (cost := self.watch.cost) is not None:
            session.note_cost(cost)
        counted = [one.bill.tokens for one in self.watch.conversations]
        if counted:
            prompt, completion = sum(one.prompt for one in counted), sum(one.completion for one in counted)
            session.findings.tokens = Tokens.of(prompt, completion)

    def _since(self, moment: float) -> float:
        return round(max(0.0, moment - self._session.started), 4)
