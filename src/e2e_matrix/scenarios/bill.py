"""What a conversation has cost, by the server's count: read, kept, and held against what was served."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeGuard

import httpx

from e2e_matrix.agent_server import Reply
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.results import LlmCall, Tokens
from e2e_matrix.scenarios import container
from e2e_matrix.scenarios.base import Session
from e2e_matrix.text import one_line

# A server that is asked for its bill after something went wrong gets this long, in seconds.
LAST_WORD = 2.0
# US dollars; one question without tools that costs more is a slip in the server's arithmetic.
MOST_PLAUSIBLE_COST = Decimal(1000)
MOST_PLAUSIBLE_TOKENS = 10**12


def cost_so_far(reply: Reply) -> Decimal | None:
    """What a conversation has cost by now; None where the server gives nothing that can be a cost."""
    return read(reply.field("stats", "usage_to_metrics")).cost or None


def note_what_it_cost(session: Session, conversation: str) -> None:
    """What a conversation that did not end well has cost: paid is paid. Silent where nobody answers."""
    try:
        reply = session.server.get(f"/api/conversations/{conversation}", timeout=LAST_WORD)
    except (httpx.HTTPError, OSError):
        return
    if cost := cost_so_far(reply):
        session.note_cost(cost)


def check(session: Session, conversation: str) -> None:
    with container.check(
        session, "cost", "The server counts the cost and the tokens of what was served"
    ) as step:
        reply = session.server.conversation(conversation)
        step.expect(f"{reply.request} answers", 200, reply.status, detail=reply.text)
        bill = read(reply.field("stats", "usage_to_metrics"))
        cost, calls = bill.cost, session.llm.calls()
        session.findings.tokens = bill.tokens
        if cost:  # a model whose price the server does not know is counted as 0: unknown, not free
            session.note_cost(cost)
        step.note(prompt_tokens=bill.tokens.prompt, completion_tokens=bill.tokens.completion)
        if cost is not None:
            step.note(cost_usd=format(cost, "f"))
        container.expect_json(step, reply)
        if bill.wrong:
            told = one_line(session.redact(bill.wrong), 200)
            message = "the server's cost is none that can be"
            raise CellFailure(Cause.ASSERTION, message, expected="a number above zero", got=told)
        if calls is None:
            if cost:
                session.spend(cost, ended=True)
            return
        if not cost:
            told = "0" if cost is not None else "no cost at all"
            raise CellFailure(Cause.ASSERTION, "the server counted no cost", expected="above zero", got=told)
        step.expect(
            "the tokens that the server counted, against those served", str(_served(calls)), str(bill.tokens)
        )
        session.spend(cost, ended=True)


@dataclass(frozen=True)
class Bill:
    """What the metrics of a conversation add up to. ``wrong``: a cost that none can be, as it came."""

    cost: Decimal | None
    tokens: Tokens
    wrong: str = ""


def read(metrics: Any) -> Bill:
    """Cost and tokens over all usages. The cost is None where the server gave none that can be."""
    cost: Decimal | None = None
    wrong = ""
    prompt = completion = 0
    for usage in metrics.values() if isinstance(metrics, dict) else ():
        if not isinstance(usage, dict):
            continue
        amount = usage.get("accumulated_cost")
        if _is_plausible(amount):
            cost = (cost or Decimal(0)) + amount
        elif amount is not None:
            wrong = wrong or (str(amount) if isinstance(amount, Decimal) else repr(amount))
        counted = usage.get("accumulated_token_usage")
        if isinstance(counted, dict):
            prompt += _count(counted.get("prompt_tokens"))
            completion += _count(counted.get("completion_tokens"))
    tokens = Tokens(prompt=prompt, completion=completion, total=prompt + completion)
    return Bill(None if wrong else cost, tokens, wrong)


def _is_plausible(amount: object) -> TypeGuard[int | Decimal]:
    """Asked before anything is added up: 1e9999999 is JSON, and more than a Decimal can be added to."""
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        return False
    return 0 <= amount <= MOST_PLAUSIBLE_COST


def _count(value: Any) -> int:
    """Tokens; 0 for what can be no number of them, such as one that is too long to be written down."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= MOST_PLAUSIBLE_TOKENS else 0


def _served(calls: list[LlmCall]) -> Tokens:
    answered = [call for call in calls if call.status == 200]
    prompt = sum(call.prompt_tokens for call in answered)
    completion = sum(call.completion_tokens for call in answered)
    return Tokens(prompt=prompt, completion=completion, total=prompt + completion)
