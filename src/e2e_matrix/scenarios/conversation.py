"""A conversation from its creation to its deletion, as one reusable part of scenarios."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx

from e2e_matrix.agent_server import (
    LASTING_STATUSES,
    STREAM_ERRORS,
    TERMINAL_STATUSES,
    EventStream,
    Reply,
    parse_version,
)
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.scenarios import bill, container
from e2e_matrix.scenarios.base import Session, StepRecord
from e2e_matrix.text import one_line

ASK_STEPS: tuple[str, ...] = ("conversation", "finished", "events")
STEPS: tuple[str, ...] = (*ASK_STEPS, "answer", "cost", "delete")
WORKING_DIR = "/workspace"
CREATE_LIMIT = 60.0
TERMINAL_LIMIT = 120.0
PROVIDER_TERMINAL_LIMIT = 300.0
# The WebSocket tells at once; REST is asked as well, rarely while the socket lives, often when it does not.
POLL_BESIDE_SOCKET = 2.0
POLL_WITHOUT_SOCKET = 0.1
POLL_WITH_A_BUDGET = 1.0
# Where asking was first, the socket still has to tell within this time.
SOCKET_PATIENCE = 1.0
# The error event follows the state "error" by a few milliseconds.
ERROR_EVENT_PATIENCE = 1.0

# A server whose model is refused by its provider's content filter asks again, up to 500 times.
MOST_REFUSALS = 3

# Codes of ConversationErrorEvent that speak of the model's endpoint, not of the server. Seen on 1.58.0: see
# tests/e2e/test_model_faults.py. It says nothing at all of a refusal that comes as an answer (finish_reason
# content_filter, a refusal in the place of the text): then it has an empty text, and ends as stuck.
LLM_CAUSES = {
    "LLMAuthenticationError": Cause.LLM_DENIED,
    "PermissionDeniedError": Cause.LLM_DENIED,
    "NotFoundError": Cause.LLM_DENIED,  # 404: the provider has no such model, or not for this key
    "LLMContentPolicyViolationError": Cause.LLM_REFUSED,
    "ContentPolicyViolationError": Cause.LLM_REFUSED,
    "LLMRateLimitError": Cause.LLM_BUSY,
    "LLMServiceUnavailableError": Cause.LLM_UNAVAILABLE,
    "LLMTimeoutError": Cause.LLM_UNAVAILABLE,
    "LLMNoResponseError": Cause.LLM_UNAVAILABLE,
    "BadGatewayError": Cause.LLM_UNAVAILABLE,
    "APIError": Cause.LLM_UNAVAILABLE,
}
# Where litellm does not know a refusal by its shape it is a bad request, and only the provider's words tell.
_REFUSED = re.compile(
    r"content[_ ](?:filter|policy|management policy)|safety system|usage polic", re.IGNORECASE
)


def run(session: Session, question: str, answer: str) -> None:
    """Ask, wait for the end, check the answer and the bill, delete."""
    conversation = ask(session, question)
    _check_answer(session, conversation, answer)
    bill.check(session, conversation)
    delete(session, conversation)


def ask(session: Session, question: str, tools: Sequence[str] = ()) -> str:
    """Create a conversation whose agent has these tools and wait until it has finished; its id."""
    begin = time.monotonic()
    created_at, conversation = _create(session, question, tools)
    try:
        _wait_for_end(session, conversation)
    except CellFailure:
        bill.note_what_it_cost(session, conversation)
        raise
    session.phase(conversation=round(time.monotonic() - begin, 4))
    _note_first_token(session, created_at, time.monotonic() - begin)
    return conversation


def ask_more(session: Session, step: StepRecord, conversation: str, question: str) -> None:
    """Say more in one that has finished, within a step, and wait until it has finished again.

    Learned by asking: the WebSocket would tell its earlier end as well.
    """
    with container.transport(session, step):
        reply = session.server.send_message(conversation, question)
        container.expect_json(step, reply)
    events = _Events(session, None)
    status = _terminal_status(session, step, conversation, events)
    if status != "finished":
        with container.transport(session, step):
            raise _conversation_failure(session, conversation, status, events)


def terminal_limit(session: Session) -> float:
    """Seconds on a native engine in which an agent has to come to its end."""
    return TERMINAL_LIMIT if session.task.llm.is_stand_in else PROVIDER_TERMINAL_LIMIT


def _create(session: Session, question: str, tools: Sequence[str] = ()) -> tuple[float, str]:
    llm = session.task.llm
    model: dict[str, Any] = {"model": llm.model, "api_key": llm.api_key, "base_url": llm.base_url}
    # A provider that stays away has to be told from a server that hangs before the step's time is over: the
    # server calls twice, 8 s apart (1.58.0).
    limit = session.task.step_timeouts.get("finished", PROVIDER_TERMINAL_LIMIT)
    patience = min(60, max(2, round((limit - 20) / 2)))
    model |= {"num_retries": 2, "retry_min_wait": 2, "retry_max_wait": 10, "timeout": patience}
    if llm.is_stand_in:
        # The stand-in has no bad minutes: the default, 5 tries up to 64 s apart, would only hide a fault.
        model |= {"num_retries": 1, "retry_min_wait": 1, "retry_max_wait": 1}
    asked = str(uuid4())
    body = {
        "conversation_id": asked,
        "agent": {"kind": "Agent", "llm": model, "tools": [{"name": tool} for tool in tools]},
        "workspace": {"working_dir": WORKING_DIR},
        "autotitle": False,  # its own call to the model is counted by some runs and not by others
        "initial_message": {"role": "user", "content": [{"type": "text", "text": question}], "run": True},
    }
    with (
        session.step(
            "conversation", "A conversation is created", phase="conversation", limit=CREATE_LIMIT
        ) as step,
        container.transport(session, step),
    ):
        created_at = time.time()
        reply = session.server.create_conversation(body)
        container.expect_json(step, reply, 201)
        conversation = reply.field("id")
        if not isinstance(conversation, str) or not conversation:
            raise CellFailure(Cause.ASSERTION, f"{reply.request} gave no id", detail=reply.text)
        # It goes into the path of every request from here on: none but ours may.
        got = repr(one_line(session.redact(conversation), 100))
        if conversation != asked:
            raise CellFailure(Cause.ASSERTION, f"the id that {reply.request} gave", expected=asked, got=got)
    return created_at, conversation


def _wait_for_end(session: Session, conversation: str) -> None:
    """Learn the terminal state from the WebSocket, or by asking where the socket does not tell."""
    title = "The conversation reaches the state finished"
    with session.step("finished", title, phase="conversation", limit=terminal_limit(session)) as step:
        events = _Events(session, conversation)
        with closing(events):
            status = _terminal_status(session, step, conversation, events)
            step.note(status=status, learned_from=events.source)
            if status != "finished":
                with container.transport(session, step):
                    raise _conversation_failure(session, conversation, status, events)
    # A broken event stream is a fault of its own, though the end was learned by asking: upstream 3857.
    with session.step(
        "events", "The events WebSocket stayed up and told the end", phase="conversation", limit=1, go_on=True
    ) as step:
        step.expect("the events WebSocket", "open until the end", events.broken or "open until the end")
        step.note(events=events.count)


class _Events:
    """The events of one conversation for as long as the stream holds; of None there is no stream."""

    def __init__(self, session: Session, conversation: str | None) -> None:
        self.broken: str | None = None
        self.error: str | None = None
        self.count = 0
        self.refusals = 0
        self.source = "websocket"
        self._stream: EventStream | None = None
        if conversation is None:
            return
        try:
            self._stream = session.server.events(conversation, timeout=10.0 * session.task.slowness)
        except STREAM_ERRORS as error:
            self._break(error)

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    def receive(self, timeout: float) -> str | None:
        """The status that the next event tells; None where it tells none or none came in time (seconds)."""
        if self._stream is None:
            return None
        try:
            event = self._stream.receive(timeout)
        except STREAM_ERRORS as error:
            self._break(error)
            return None
        if event is None:
            return None
        self.count += 1
        self.error = event.error or self.error
        self.refusals += event.refused
        return event.status

    def expect_end(self, patience: float) -> None:
        """The end is known: an open stream that does not tell it within ``patience`` seconds is broken."""
        deadline = time.monotonic() + patience
        while self._stream is not None and time.monotonic() < deadline:
            if self.receive(timeout=0.1) in TERMINAL_STATUSES:
                return
        self.broken = self.broken or "open, and silent about the end"

    def _break(self, error: BaseException) -> None:
        self.broken = f"{type(error).__name__}: {one_line(str(error), 150)}"
        self.close()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _terminal_status(session: Session, step: StepRecord, conversation: str, events: _Events) -> str:
    beside_socket = POLL_BESIDE_SOCKET * session.task.slowness
    if session.limits.budget.is_limited:
        beside_socket = POLL_WITH_A_BUDGET
    next_poll = time.monotonic() + beside_socket
    last = "unknown"
    unanswered = 0
    while True:
        session.cancel.check()
        container.check_running(session)
        if not session.llm.is_alive():
            raise CellFailure(
                Cause.LLM_UNAVAILABLE, "the stand-in LLM stopped in the middle of the conversation"
            )
        if step.deadline.remaining() <= 0:
            raise _no_end(step, last)
        if events.is_open:
            status = events.receive(timeout=0.1)
            if status in TERMINAL_STATUSES:
                return status
            last = status or last
            if events.refusals >= MOST_REFUSALS:
                raise CellFailure(
                    Cause.LLM_REFUSED,
                    f"the model's provider refused the content {MOST_REFUSALS} times, and the server asks on",
                    expected="finished",
                    got=last,
                )
            if time.monotonic() < next_poll:
                continue
        else:
            session.exited.wait(POLL_WITHOUT_SOCKET)
        next_poll = time.monotonic() + beside_socket
        asked_at = time.monotonic()
        try:
            with container.transport(session, step):
                reply = _poll(session, step, conversation)
        except CellFailure as failure:
            if step.deadline.remaining() <= 0 and time.monotonic() - asked_at < container.FAIR_TIME_TO_ANSWER:
                raise _no_end(step, last) from failure  # it was asked when the time was all but over
            raise
        if cost := bill.cost_so_far(reply):
            session.spend(cost)
        status = reply.field("execution_status")
        if reply.status != 200 or not isinstance(status, str):
            # A server may be busy for a moment: the conversation goes on, and so does the asking.
            unanswered += 1
            step.note(polls_without_status=unanswered)
            wrong = reply.status if reply.status != 200 else reply.not_json or "no execution_status"
            last = f"{reply.request}: {wrong}"
        elif status in TERMINAL_STATUSES:
            events.source = "polling"
            events.expect_end(SOCKET_PATIENCE * session.task.slowness)
            return status
        else:
            last = status


def _no_end(step: StepRecord, last: str) -> CellFailure:
    """The step's limit came first; ``last`` is what the server said last, hostile."""
    last = one_line(step.redact(last))
    message = f"the conversation reached no terminal state within {step.deadline.limit:.0f} s"
    if last in LASTING_STATUSES:
        message += f": it is {last}"
    elif " " in last or last == "unknown":
        message += ": nobody told its state"
    else:
        message += f": it is {last}, a status that no agent-server has"
    return CellFailure(step.deadline.cause, message, expected="finished", got=last)


def _poll(session: Session, step: StepRecord, conversation: str) -> Reply:
    """Ask how the conversation stands, and meanwhile the engine whether the container may answer at all."""
    patience = container.QUIET_LIMIT * session.task.slowness
    silent_until = time.monotonic() + container.REQUEST_LIMIT * session.task.slowness
    while True:
        try:
            return session.server.conversation(conversation, timeout=patience)
        except httpx.TimeoutException:
            session.cancel.check()
            session.check_undisturbed()
            if step.deadline.remaining() <= 0 or time.monotonic() > silent_until:
                raise
        patience *= 2  # a slow server is asked to hurry once, not again and again


def _conversation_failure(session: Session, conversation: str, status: str, events: _Events) -> CellFailure:
    patience = time.monotonic() + ERROR_EVENT_PATIENCE
    while events.is_open and events.error is None and time.monotonic() < patience:
        events.receive(timeout=0.1)
    error = session.redact(events.error or session.server.last_error(conversation) or "")
    told = one_line(error, 400) if error else "the server gave no reason"
    cause = _cause_of(error)
    if events.refusals:
        cause = Cause.LLM_REFUSED
    if not session.llm.is_alive():
        cause = Cause.LLM_UNAVAILABLE
    return CellFailure(
        cause, f"the conversation ended as {status}: {told}", expected="finished", got=status, detail=error
    )


def _cause_of(error: str) -> Cause:
    """``error`` is the event's "code: detail"."""
    code, _, detail = error.partition(":")
    if code == "LLMBadRequestError" and _REFUSED.search(detail):
        return Cause.LLM_REFUSED
    return LLM_CAUSES.get(code, Cause.CONVERSATION_ERROR)


def _note_first_token(session: Session, created_at: float, took: float) -> None:
    """The one duration that the wall clock tells: none, where somebody set it in between."""
    calls = session.llm.calls()
    if calls:
        first = min(call.received_at.timestamp() + call.first_byte_seconds for call in calls) - created_at
        if 0 <= first <= took:
            session.phase(first_token=round(first, 4))


def _check_answer(session: Session, conversation: str, answer: str) -> None:
    with container.check(session, "answer", f"The agent's answer contains {answer}") as step:
        reply = session.server.final_response(conversation)
        container.expect_json(step, reply)
        told = reply.field("response")
        # After a failure of the model this is 200 with "": only the content tells.
        if not isinstance(told, str) or answer not in told:
            raise CellFailure(
                Cause.ASSERTION,
                f"the answer does not contain {answer}",
                expected=f"a text with {answer}",
                got=repr(one_line(session.redact(str(told)), 200)),
            )


# The answer to a second DELETE became 404 somewhere between these two.
SECOND_DELETE_400_UNTIL = (1, 43, 1)
SECOND_DELETE_404_SINCE = (1, 58, 0)


def delete(session: Session, conversation: str) -> None:
    """Delete a conversation, and see that it is gone."""
    with container.check(session, "delete", "The conversation can be deleted, and is gone") as step:
        reply = session.server.delete_conversation(conversation)
        step.expect(f"{reply.request} answers", 200, reply.status, detail=reply.text)
        reply = session.server.conversation(conversation)
        step.expect(f"{reply.request} after the deletion", 404, reply.status, detail=reply.text)
        again = session.server.delete_conversation(conversation)
        if again.status not in _second_delete(session):
            allowed = " or ".join(map(str, _second_delete(session)))
            step.expect("a second DELETE", allowed, again.status, detail=again.text)


def _second_delete(session: Session) -> tuple[int, ...]:
    version = parse_version(session.findings.server.version)
    if version and version >= SECOND_DELETE_404_SINCE:
        return (404,)
    if version and version <= SECOND_DELETE_400_UNTIL:
        return (400,)
    return (400, 404)
