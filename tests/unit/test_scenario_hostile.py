"""A server whose answers are made to break the client: it is the server that fails, never this program."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from e2e_matrix.agent_server import OPENAPI, AgentServer, Reply
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import ExitState
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.limits import Limits
from e2e_matrix.llm.source import ProviderSource
from e2e_matrix.progress import Silent
from e2e_matrix.results import Step
from e2e_matrix.scenarios import bill, conversation, deferred_init
from e2e_matrix.scenarios.base import Session
from e2e_matrix.task import LlmEndpoint
from e2e_matrix.usage import read_bill
from support.tasks import a_task

Ask = Callable[..., Reply]


def a_session(**server: Ask) -> Session:
    """A session with a real provider, and a server of which only these methods are there."""
    llm = LlmEndpoint("m", None, "secret-key", is_stand_in=False)
    task = a_task(llm, "/nonexistent")
    ledger = ProviderSource("m", None, lambda: None).ledger(llm)
    session = Session(task, FakeEngine(), ledger, Silent(), Cancellation(), Limits())
    fake = SimpleNamespace(not_after=math.inf, **server)
    container = session.add_container("c")
    container.exit_state = ExitState(running=False, exit_code=0, oom_killed=False)  # nobody else is to blame
    container.server = fake  # type: ignore[assignment]
    return session


def reply(body: str, path: str = "/x", status: int = 200) -> Reply:
    return Reply("GET", path, status, body)


def only_step(session: Session) -> Step:
    [step] = session.findings.steps
    return step


def conversation_that_cost(told: str) -> Reply:
    return reply(f'{{"stats": {{"usage_to_metrics": {{"default": {{"accumulated_cost": {told}}}}}}}}}')


@pytest.mark.parametrize("told", ["1E99999999999999999999", "-1E99999999999999999999"])
def test_a_number_that_no_decimal_holds_is_no_cost_that_can_be_and_the_rest_is_read(told: str) -> None:
    session = a_session(conversation=lambda _: conversation_that_cost(told))
    bill.check(session, "c")
    step = only_step(session)
    assert (step.cause, step.message) == (Cause.ASSERTION, "the server's cost is none that can be")
    assert session.findings.cost_usd is None
    assert reply(f'{{"a": {told}, "b": "ready"}}').field("b") == "ready"


def test_tokens_that_nobody_can_have_used_are_not_counted() -> None:
    usage = {"accumulated_token_usage": {"prompt_tokens": 10**4299, "completion_tokens": True}}
    tokens = read_bill({"a": usage, "b": usage}).tokens
    assert (tokens.prompt, tokens.completion, tokens.total) == (0, 0, 0)


@pytest.mark.parametrize(
    "told", ["../../api/settings", "\x00", "x" * 70_000, "00000000-0000-4000-8000-000000000000"]
)
def test_the_id_of_a_conversation_is_the_one_that_it_was_given(told: str) -> None:
    session = a_session(create_conversation=lambda _: reply(json.dumps({"id": told}), status=201))
    with pytest.raises(CellFailure) as raised:
        conversation._create(session, "what?")
    failure = raised.value
    assert (failure.cause, failure.message) == (Cause.ASSERTION, "the id that GET /x gave")
    assert len(failure.got or "") <= 105
    assert len(failure.expected or "") == 36


@pytest.mark.parametrize("path", ["a\x00b", "\ud800", "x" * 70_000, "a\r\nX-Other: 1"])
def test_a_listed_route_that_cannot_be_asked_for_is_the_servers_fault(path: str) -> None:
    paths: dict[str, Any] = {f"/api/{path}": {"get": {}}}

    def get(asked: str, **_: Any) -> Reply:
        return reply(json.dumps({"paths": paths}) if asked == OPENAPI else "{}", asked)

    with AgentServer("http://127.0.0.1:9") as real:  # nothing listens: it is refused before it is sent
        session = a_session(get=get, request=real.request)
        deferred_init._check_gate(session, deferred_init.Settings(gate="all"))
    step = only_step(session)
    assert step.cause is Cause.ASSERTION
    assert step.message == "/openapi.json lists a path that cannot be requested"
    assert (step.got or "").startswith("'/api/")
    assert len(step.got or "") <= 301


@pytest.mark.parametrize("told", ["0", '"free"', "-1", "0.1"])
def test_a_cost_that_was_known_is_not_forgotten_for_a_lower_one_at_the_end(told: str) -> None:
    session = a_session(conversation=lambda _: conversation_that_cost(told))
    session.spend(Decimal("0.5"))
    bill.check(session, "c")
    assert session.findings.cost_usd == Decimal("0.5")


@pytest.mark.parametrize("told", ["0", '"free"', "0.1"])
def test_nor_is_it_where_the_conversation_did_not_end_well(told: str) -> None:
    session = a_session(get=lambda path, timeout: conversation_that_cost(told))
    session.spend(Decimal("0.5"))
    bill.note_what_it_cost(session, "c")
    assert session.findings.cost_usd == Decimal("0.5")
