"""What a server makes of a model that misbehaves, or of one that it is not to ask."""

from __future__ import annotations

import json
import time
from contextlib import closing
from decimal import Decimal
from itertools import pairwise

import pytest

from e2e_matrix.agent_server import AgentServer, parse_event
from e2e_matrix.engine.base import HOST_ALIAS
from support.conformance import PATH, Json, Ready, auth, conversation_request, listen
from support.told_model import ToldModel

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize(
    ("what", "code", "calls", "words"),
    [
        ("401", "LLMAuthenticationError", 1, "Your LLM API key appears to be invalid or has expired."),
        ("400", "LLMBadRequestError", 1, "told to 400"),
        ("filtered", "LLMBadRequestError", 1, "content management policy"),
        ("403", "APIError", 1, "told to 403"),
        ("404", "NotFoundError", 1, "told to 404"),
        ("422", "LLMBadRequestError", 1, "told to 422"),
        ("429", "LLMRateLimitError", 2, "told to 429"),
        ("500", "LLMServiceUnavailableError", 2, "told to 500"),
        ("502", "BadGatewayError", 2, "told to 502"),
        ("503", "LLMServiceUnavailableError", 2, "told to 503"),
        ("504", "LLMTimeoutError", 2, "told to 504"),
        ("hang", "LLMTimeoutError", 2, "LLM hard timeout after 1 seconds"),
        ("cut", "LLMServiceUnavailableError", 2, "Connection error."),
        ("html", "LLMServiceUnavailableError", 2, "Expecting value: line 1 column 1 (char 0)"),
        ("empty", "LLMNoResponseError", 2, "Response choices is less than 1."),
    ],
)
def test_what_is_wrong_with_the_model_is_told_by_its_name(
    ready: Ready, told: ToldModel, what: str, code: str, calls: int, words: str
) -> None:
    before = len(told.calls)
    llm = {"base_url": told.base_url(HOST_ALIAS, what), "api_key": "k", "timeout": 1}
    info, error = run_to_error(ready.server, llm)
    assert (error["code"], words in error["detail"]) == (code, True), error
    made = told.calls[before:]
    assert len(made) == calls
    assert all(later[1] - earlier[1] >= 1 for earlier, later in pairwise(made))
    assert made[0][2]["model"] == "gpt-4o"
    [metrics] = info["stats"]["usage_to_metrics"].values()
    assert (metrics["accumulated_cost"], metrics["costs"]) == (0, [])


def test_a_content_policy_is_asked_again_to_the_last_iteration(ready: Ready, told: ToldModel) -> None:
    before = len(told.calls)
    request = conversation_request({"base_url": told.base_url(HOST_ALIAS, "policy"), "api_key": "k"})
    request["max_iterations"] = 3
    identity = request["conversation_id"]
    assert ready.server.create_conversation(request).status == 201
    frames, _ = listen(ready.server, identity, auth())
    assert frames[-1]["value"] == "error"
    assert len(told.calls) - before == 3
    items = ready.server.get(f"{PATH}/{identity}/events/search").field("items")
    refused = [event for item in items if (event := parse_event(json.dumps(item, default=str)))]
    assert [event.refused for event in refused].count(True) == 3
    assert (ready.server.last_error(identity) or "").startswith("MaxIterationsReached: ")


def test_a_model_that_is_not_there_is_unavailable(ready: Ready) -> None:
    _, error = run_to_error(ready.server, {"base_url": "http://127.0.0.1:9/v1", "api_key": "k"})
    assert error["code"] == "LLMServiceUnavailableError"
    assert "Connection error." in error["detail"]


def run_to_error(server: AgentServer, llm: Json) -> tuple[Json, Json]:
    """The conversation after it ended as error, and its error event; over the socket and REST alike."""
    request = conversation_request(llm)
    identity = request["conversation_id"]
    assert server.create_conversation(request).status == 201
    with closing(server.events(identity)) as stream:
        errors: list[str] = []
        states: list[str] = []
        end = time.monotonic() + 30
        while not errors and time.monotonic() < end:
            event = stream.receive(timeout=1)
            if event and event.error:
                errors.append(event.error)
            if event and event.status:
                states.append(event.status)
        # The state comes first, its reason a moment later.
        assert states[-1] == "error"
    assert server.last_error(identity) == errors[0]
    assert server.final_response(identity).json() == {"response": ""}
    info = server.conversation(identity).json()
    assert info["execution_status"] == "error"
    items = server.get(f"{PATH}/{identity}/events/search").json()["items"]
    [error] = [item for item in items if item["kind"] == "ConversationErrorEvent"]
    assert server.delete_conversation(identity).status == 200
    return info, error


@pytest.mark.parametrize(("what", "cost"), [("cached", Decimal("0.0021")), ("no-usage", Decimal(0))])
def test_the_bill_is_of_what_the_model_says_it_used(
    ready: Ready, told: ToldModel, what: str, cost: Decimal
) -> None:
    request = conversation_request({"base_url": told.base_url(HOST_ALIAS, what), "api_key": "k"})
    identity = request["conversation_id"]
    assert ready.server.create_conversation(request).status == 201
    listen(ready.server, identity, auth())
    [metrics] = ready.server.conversation(identity).field("stats", "usage_to_metrics").values()
    assert metrics["accumulated_cost"] == cost
    cached = metrics["accumulated_token_usage"]["cache_read_tokens"]
    assert cached == (400 if what == "cached" else 0)


def test_a_conversation_without_a_message_stays_idle(ready: Ready, told: ToldModel) -> None:
    before = len(told.calls)
    request = conversation_request({"base_url": told.base_url(HOST_ALIAS, "cached"), "api_key": "k"})
    del request["initial_message"]
    identity = request["conversation_id"]
    assert ready.server.create_conversation(request).status == 201
    frames, code = listen(ready.server, identity, auth(), patience=1)
    assert code is None
    assert [frame["value"] for frame in frames if frame.get("key") == "execution_status"] == []
    assert ready.server.conversation(identity).field("execution_status") == "idle"
    assert len(told.calls) == before


def test_a_first_message_is_run_whatever_it_says_of_that(ready: Ready, told: ToldModel) -> None:
    request = conversation_request({"base_url": told.base_url(HOST_ALIAS, "cached"), "api_key": "k"})
    request["initial_message"]["run"] = False
    identity = request["conversation_id"]
    assert ready.server.create_conversation(request).status == 201
    frames, _ = listen(ready.server, identity, auth())
    assert frames[-1]["value"] == "finished"
