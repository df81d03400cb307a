"""What a conversation has cost, by the server's count: read, kept, and held against what was served."""

from __future__ import annotations

from decimal import Decimal

import httpx

from e2e_matrix.agent_server import Reply
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.prices import Price
from e2e_matrix.results import LlmCall, Tokens
from e2e_matrix.scenarios import container
from e2e_matrix.scenarios.base import Session
from e2e_matrix.text import one_line
from e2e_matrix.usage import read_bill

# A server that is asked for its bill after something went wrong gets this long, in seconds.
LAST_WORD = 2.0


def cost_so_far(reply: Reply, price: Price | None = None) -> Decimal | None:
    """What a conversation has cost by now; None where nothing tells a cost that can be one."""
    return read_bill(reply.field("stats", "usage_to_metrics"), price).known_cost


def note_what_it_cost(session: Session, conversation: str) -> None:
    """What a conversation that did not end well has cost: paid is paid. Silent where nobody answers."""
    try:
        reply = session.server.get(f"/api/conversations/{conversation}", timeout=LAST_WORD)
    except (httpx.HTTPError, OSError):
        return
    if (cost := cost_so_far(reply, session.task.price)) is not None:
        session.note_cost(cost)


def check(session: Session, conversation: str) -> None:
    with container.check(
        session, "cost", "The server counts the cost and the tokens of what was served"
    ) as step:
        reply = session.server.conversation(conversation)
        step.expect(f"{reply.request} answers", 200, reply.status, detail=reply.text)
        bill = read_bill(reply.field("stats", "usage_to_metrics"), session.task.price)
        cost = bill.cost
        session.findings.tokens = bill.tokens
        if (known := bill.known_cost) is not None:
            session.note_cost(known)
        step.note(prompt_tokens=bill.tokens.prompt, completion_tokens=bill.tokens.completion)
        if cost is not None:
            step.note(cost_usd=format(cost, "f"))
        if session.task.price:
            counted = bill.counted_by_server
            step.note(price=f"llm.prices of the matrix: {session.task.price}", cached_tokens=bill.cached)
            step.note(cost_by_server_usd=None if counted is None else format(counted, "f"))
        if unused := session.llm.unused():
            step.note(recorded_calls_not_asked_for=unused)
        container.expect_json(step, reply)
        if bill.wrong:
            told = one_line(session.redact(bill.wrong), 200)
            message = "the server's cost is none that can be"
            raise CellFailure(Cause.ASSERTION, message, expected="a number above zero", got=told)
        calls = session.llm.calls()
        if calls is None or not session.task.llm.is_stand_in:
            if cost:
                session.spend(cost, ended=True)
            return
        if not cost and not session.task.price:
            told = "0" if cost is not None else "no cost at all"
            raise CellFailure(Cause.ASSERTION, "the server counted no cost", expected="above zero", got=told)
        step.expect(
            "the tokens that the server counted, against those served", str(_served(calls)), str(bill.tokens)
        )
        if cost is not None:
            session.spend(cost, ended=True)


def _served(calls: list[LlmCall]) -> Tokens:
    answered = [call for call in calls if call.status == 200]
    prompt = sum(call.prompt_tokens for call in answered)
    completion = sum(call.completion_tokens for call in answered)
    return Tokens.of(prompt, completion)
