"""What a scenario is, and how it records what it does.

A scenario is named steps, each timed and asserted. A step that finds something wrong fails. Where the rest
still means something (`go_on=True`) the scenario goes on, so that one run shows all that is wrong.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from pydantic import BaseModel

from e2e_matrix.agent_server import AgentServer
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import Engine, ExitState, PullProgress
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import POLICIES, Cause, Outcome
from e2e_matrix.limits import Limits
from e2e_matrix.progress import Progress
from e2e_matrix.redaction import Secrets, secrets_by_name, secrets_in_url
from e2e_matrix.results import Api, LlmCall, Phases, ScriptRun, Server, Step, Tokens
from e2e_matrix.scenarios.started import StartedContainer
from e2e_matrix.task import CellTask
from e2e_matrix.text import block, one_line

# What may be blamed on the product or on the model, and may be somebody's interference all the same.
_SUSPICIOUS = frozenset(
    {
        Cause.ASSERTION,
        Cause.CONTAINER_EXITED,
        Cause.CONTAINER_DISTURBED,
        Cause.CONVERSATION_ERROR,
        Cause.LLM_UNAVAILABLE,
        Cause.SCRIPT_FAILED,
        Cause.SCRIPT_TIMEOUT,
        Cause.STEP_TIMEOUT,
        Cause.CELL_TIMEOUT,
    }
)
# What a step found wrong that need not keep the rest from being looked at.
_WRONG = frozenset({Cause.ASSERTION, Cause.SCRIPT_FAILED})
# Longest text of a message, of what was expected or got, and of a detail, in results.json.
SHORT, LONG = 500, 4_000
# The name of the sign, in ``log_signs``, that the emulator crashed.
EMULATOR_CRASH = "emulator-crash"


class Deadline:
    """A moment on the monotonic clock. ``what`` names it in the failure's message."""

    def __init__(self, seconds: float, cause: Cause, what: str, within: Deadline | None = None) -> None:
        self.limit = seconds
        self.cause = cause
        self.what = what
        self.at = time.monotonic() + seconds
        if within and within.at < self.at:
            self.limit, self.cause, self.what, self.at = within.limit, within.cause, within.what, within.at

    def remaining(self) -> float:
        return self.at - time.monotonic()

    def check(self) -> None:
        if self.remaining() <= 0:
            raise CellFailure(self.cause, f"{self.what} took longer than {self.limit:.0f} s")


@dataclass(frozen=True)
class ReplayDifference:
    """A call to the model that is not the one that was recorded; ``detail`` shows how they differ."""

    message: str
    detail: str

    def failure(self) -> CellFailure:
        return CellFailure(Cause.LLM_REPLAY_DIFFERS, self.message, detail=self.detail)


class LlmLedger(Protocol):
    """What is known of the model's side, where it is ours."""

    def calls(self) -> list[LlmCall] | None:
        """The calls of this attempt so far; None with a real provider that nothing of ours stands before."""
        ...

    def is_alive(self) -> bool: ...

    def difference(self) -> ReplayDifference | None:
        """The first call so far that a replay could not answer, because it was not recorded."""
        ...

    def unused(self) -> int:
        """How many calls a replay still has that were not asked for."""
        ...

    def slips(self) -> list[str]:
        """What the stand-in was told to say so far and could not, as it said so itself to whoever asked."""
        ...

    def hide(self, *values: str) -> None:
        """Keep these out of what is recorded of this attempt."""
        ...


@dataclass
class StepRecord:
    """What a running step notes about itself. ``go_on``: see ``Session.step``."""

    deadline: Deadline
    redact: Callable[[str], str]
    go_on: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    def note(self, **facts: Any) -> None:
        """Keep what was learned; text is made safe, for it may come from the server."""
        for name, fact in facts.items():
            # Redacted before it is cut: half a secret would not be found any more.
            self.facts[name] = one_line(self.redact(fact)) if isinstance(fact, str) else fact

    def expect(self, what: str, expected: object, got: object, *, detail: str | None = None) -> None:
        """Fail the step unless ``got`` equals ``expected``."""
        if got != expected:
            raise CellFailure(Cause.ASSERTION, what, expected=str(expected), got=str(got), detail=detail)


@dataclass
class Findings:
    """What an attempt learned on the way: the scenario writes, cell.py turns it into an ``Attempt``."""

    steps: list[Step] = field(default_factory=list)
    phases: Phases = field(default_factory=Phases)
    server: Server = field(default_factory=Server)
    machine: str | None = None
    dormant_memory_bytes: int | None = None
    api: Api | None = None
    cost_usd: Decimal | None = None
    tokens: Tokens | None = None
    script: ScriptRun | None = None
    failure: CellFailure | None = None  # the first


class Scenario(Protocol):
    """A module with these names satisfies it; SCENARIOS in this package lists them."""

    NAME: str
    VERSION: str  # changes when what is asserted changes
    STEPS: tuple[str, ...]  # the names of its steps, in their order

    @property
    def Settings(self) -> type[BaseModel]:
        """What matrix.yaml may say below the scenario's name."""
        ...

    def run(self, session: Session) -> None:
        """Drive one attempt; a ``CellFailure`` ends it."""
        ...


class Session:
    """Everything a scenario works with: one started container, its server, and the record of the attempt."""

    def __init__(
        self,
        task: CellTask,
        engine: Engine,
        llm: LlmLedger,
        progress: Progress,
        cancel: Cancellation,
        limits: Limits,
    ) -> None:
        self.task = task
        self.engine = engine
        self.llm = llm
        self.cancel = cancel
        self.limits = limits
        self.findings = Findings()
        self.started = time.monotonic()
        self.restart_limit()
        self.containers: list[StartedContainer] = []
        self.current: StartedContainer | None = None  # the one that steps are about
        self.outlasting = ExitStack()  # what containers use: it is left when they are gone
        keys = [task.llm.api_key, *secrets_in_url(task.llm.base_url), *secrets_by_name(task.environment)]
        self.secrets = Secrets(filter(None, keys))
        llm.hide(*self.secrets)
        self._progress = progress

    def say(self, line: str) -> None:
        """Tell whoever watches the run something that is no part of the record."""
        self._progress.note(f"{self.task.cell}: {self.redact(line)}")

    @property
    def server(self) -> AgentServer:
        if self.current is None or self.current.server is None:
            raise RuntimeError("the scenario asked for the server before it was started")
        return self.current.server

    @property
    def started_container(self) -> StartedContainer:
        if self.current is None:
            raise RuntimeError("the scenario asked for the container before it was started")
        return self.current

    @property
    def exited(self) -> threading.Event:
        """Set when the current container has ended."""
        return self.started_container.exited

    def add_container(self, container: str, name: str = "server", port: int = 0) -> StartedContainer:
        """Take over a container that was created: it is the current one, and is removed with the cell."""
        self.current = StartedContainer(container, name, port)
        self.containers.append(self.current)
        return self.current

    def restart_limit(self) -> None:
        """Let the whole of the cell's time limit start now."""
        self.deadline = Deadline(self.task.timeout_seconds, Cause.CELL_TIMEOUT, f"the cell {self.task.cell}")

    def report_pull(self, progress: PullProgress) -> None:
        self._progress.pulling(self.task.cell, progress)

    def hide(self, *values: str) -> None:
        """Keep these values out of everything that is written down."""
        self.secrets.add(*values)
        self.llm.hide(*values)

    def redact(self, text: str) -> str:
        return self.secrets.redact(text)

    def without_secrets(self, failure: CellFailure) -> CellFailure:
        """The failure as it may be written down; before anything is cut, so that no secret is cut in two."""
        return failure.redacted(self.redact)

    def _explain(self, failure: CellFailure) -> CellFailure:
        """The failure, or what it follows from where that is known."""
        if failure.cause in _SUSPICIOUS and (difference := self.llm.difference()):
            return difference.failure()
        if failure.cause in _SUSPICIOUS and (slip := self._slip_in(failure)):
            return CellFailure(Cause.LLM_REPLIES_WRONG, f"{slip}: {failure.message}", detail=failure.detail)
        return self._blame(failure)

    def _slip_in(self, failure: CellFailure) -> str | None:
        """The slip of ours that the server gives as its reason; one that it got over is none."""
        reason = f"{failure.message}\n{failure.detail or ''}"
        return next((slip for slip in self.llm.slips() if slip in reason), None)

    def _blame(self, failure: CellFailure) -> CellFailure:
        """The failure, or what happened to the container from outside that explains it."""
        current = self.current
        if failure.cause not in _SUSPICIOUS or current is None:
            return failure
        if crash := current.log_signs().get(EMULATOR_CRASH):
            message = f"the emulator crashed ({one_line(crash)}): {failure.message}"
            return CellFailure(Cause.EMULATOR_CRASHED, message, detail=failure.detail)
        if current.exit_state is not None:
            return failure
        try:
            state = self.engine.state(current.id)
        except CellFailure as gone:
            return gone
        if deed := _disturbed(state):
            return CellFailure(Cause.CONTAINER_DISTURBED, f"{deed}: {failure.message}")
        if not state.running and current.watch is not None and current.watch.interrupted:
            message = f"the engine went away while the container ran, and ended it: {failure.message}"
            return CellFailure(Cause.ENGINE_LOST, message)
        return failure

    def check_undisturbed(self) -> None:
        """Raise if somebody paused the container or cut it off: its silence is then not the server's."""
        if self.current is not None and (deed := _disturbed(self.engine.state(self.current.id))):
            raise CellFailure(Cause.CONTAINER_DISTURBED, deed)

    def note_cost(self, cost: Decimal) -> None:
        """What the attempt has cost so far, by the server's count: a lower one later unspends nothing."""
        if self.findings.cost_usd is None or cost > self.findings.cost_usd:
            self.findings.cost_usd = cost
        self.limits.budget.note(self.task.cell, self.task.attempt, cost)

    def spend(self, cost: Decimal, *, ended: bool = False) -> None:
        """As ``note_cost``. Raises when that is more than the attempt may cost."""
        self.note_cost(cost)
        self.limits.budget.check(self.task.cell, ended=ended)

    def phase(self, **seconds: float) -> None:
        self.findings.phases = self.findings.phases.model_copy(update=seconds)

    @contextmanager
    def step(
        self, name: str, title: str, *, phase: str, limit: float, go_on: bool = False
    ) -> Iterator[StepRecord]:
        """Time and record one step of at most ``limit`` seconds on a native engine.

        The matrix's ``step-timeouts`` may set another limit. A ``CellFailure`` inside fails the step; with
        ``go_on`` a wrong product does not end the scenario; the step may decide that itself. No request in it
        waits past the step's limit.
        """
        self.cancel.check()
        self.deadline.check()
        self._progress.step_started(self.task.cell, name, title)
        limit = self.task.step_timeouts.get(name, limit) * self.task.slowness
        deadline = Deadline(limit, Cause.STEP_TIMEOUT, f"step {name}", within=self.deadline)
        record = StepRecord(deadline, self.redact, go_on)
        server = self.current.server if self.current else None
        outer = server.not_after if server else math.inf
        if server is not None:
            server.not_after = min(outer, deadline.at)
        begin = time.monotonic()
        failure: CellFailure | None = None
        try:
            yield record
        except CellFailure as error:
            failure = (
                self.cancel.failure() if self.cancel.is_set else self.without_secrets(self._explain(error))
            )
            self.findings.failure = self.findings.failure or failure
            if not (record.go_on and failure.cause in _WRONG):
                raise failure from error
        except Exception as error:
            failure = CellFailure(Cause.INTERNAL, self.redact(f"{type(error).__name__}: {error}"))
            raise
        finally:
            if server is not None:
                server.not_after = outer
            step = _finished(
                name, title, phase, begin - self.started, time.monotonic() - begin, record, failure
            )
            self.findings.steps.append(step)
            self._progress.step_finished(self.task.cell, step)


def _disturbed(state: ExitState) -> str:
    if state.paused:
        return "somebody paused the container"
    if state.running and not state.connected:
        return "somebody cut the container off from its network"
    return ""


def _finished(
    name: str,
    title: str,
    phase: str,
    start: float,
    duration: float,
    record: StepRecord,
    failure: CellFailure | None,
) -> Step:
    return Step(
        name=name,
        title=title,
        phase=phase,
        outcome=POLICIES[failure.cause].outcome if failure else Outcome.PASSED,
        start_seconds=round(start, 4),
        duration_seconds=round(duration, 4),
        message=failure and block(failure.message, SHORT),
        cause=failure and failure.cause,
        expected=failure and failure.expected and block(failure.expected, SHORT),
        got=failure and failure.got and block(failure.got, SHORT),
        detail=failure and failure.detail and block(failure.detail, LONG),
        facts=record.facts,
    )
