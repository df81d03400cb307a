"""Conversations over REST: such as there are not, one that finishes, and its end."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from e2e_matrix.engine.base import HOST_ALIAS
from e2e_matrix.llm.standin import MODEL, StandIn
from support.conformance import PATH, Ready, Talk, auth, conversation_request, detail, kinds_of, listen
from support.price import GPT_4O
from support.told_model import ToldModel

pytestmark = pytest.mark.timeout(120)


def test_lists(ready: Ready, talk: Talk) -> None:
    server = ready.server
    assert talk.id in [item["id"] for item in server.get(f"{PATH}/search").json()["items"]]
    assert server.get(f"{PATH}/search?limit=1").json()["items"][0]["execution_status"]
    assert kinds_of(server.get(PATH)) == [("missing", "query")]
    unknown = str(uuid4())
    found = server.get(f"{PATH}?ids={talk.id}&ids={unknown}").json()
    assert [item and item["id"] for item in found] == [talk.id, None]
    assert server.get(f"{PATH}/count").json() >= 1


@pytest.mark.parametrize("part", ["", "/agent_final_response"])
def test_a_conversation_that_there_is_not(ready: Ready, part: str) -> None:
    reply = ready.server.get(f"{PATH}/{uuid4()}{part}")
    assert (reply.status, reply.json()) == (404, {"detail": "Not Found"})


def test_more_of_a_conversation_that_there_is_not(ready: Ready) -> None:
    unknown = str(uuid4())
    events = ready.server.get(f"{PATH}/{unknown}/events/search")
    assert (events.status, detail(events)) == (404, f"Conversation not found: {unknown}")
    assert ready.server.delete_conversation(unknown).status == 404
    assert ready.server.conversation("no-uuid").status == 422
    assert kinds_of(ready.server.conversation("no-uuid")) == [("uuid_parsing", "path")]
    assert listen(ready.server, unknown, auth()) == ([], 4004)


def test_a_conversation_that_cannot_be_made(ready: Ready) -> None:
    def problems(**options: Any) -> list[tuple[str, Any]]:
        reply = ready.server.request("POST", PATH, **options)
        assert reply.status == 422
        return kinds_of(reply)

    assert problems(body={}) == [("missing", "body")]
    assert problems(content=b"{") == [("json_invalid", "body")]
    assert problems() == [("missing", "body")]
    workspace = {"working_dir": "/workspace"}
    assert problems(body={"workspace": workspace, "conversation_id": "no-uuid"})[-1] == (
        "uuid_parsing",
        "body",
    )


def test_a_new_conversation_is_idle_and_has_no_bill(talk: Talk) -> None:
    assert talk.created.status == 201
    info = talk.created.json()
    assert (info["id"], info["execution_status"]) == (talk.id, "idle")
    [metrics] = info["stats"]["usage_to_metrics"].values()
    assert (metrics["accumulated_cost"], metrics["costs"], metrics["token_usages"]) == (0, [], [])


def test_the_same_conversation_again_is_the_one_that_is_there(talk: Talk) -> None:
    assert talk.created_again.status == 200
    assert talk.created_again.field("id") == talk.id


def test_the_answer_is_the_models(ready: Ready, talk: Talk) -> None:
    assert ready.server.final_response(talk.id).json() == {"response": "42"}


def test_the_bill_is_that_of_the_calls_that_were_made(talk: Talk, model: StandIn) -> None:
    [call] = model.calls(talk.key)
    assert (call.path, call.status, call.streamed) == ("/v1/chat/completions", 200, False)
    [metrics] = talk.done.field("stats", "usage_to_metrics").values()
    cost = call.prompt_tokens * GPT_4O.prompt + call.completion_tokens * GPT_4O.completion
    assert metrics["accumulated_cost"] == cost
    assert [item["cost"] for item in metrics["costs"]] == [cost]
    for usage in (metrics["accumulated_token_usage"], *metrics["token_usages"]):
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (
            call.prompt_tokens,
            call.completion_tokens,
        )
    assert len(metrics["response_latencies"]) == 1
    assert metrics["response_latencies"][0]["latency"] > 0
    assert metrics["model_name"] == MODEL


def test_the_models_key_is_not_told(ready: Ready, talk: Talk) -> None:
    texts = [talk.created.text, talk.done.text, ready.server.get(f"{PATH}/search").text]
    assert not [text for text in texts if talk.key in text]
    assert talk.done.field("agent", "llm", "api_key") is None
    assert talk.done.field("agent", "llm", "model") == MODEL


def test_a_conversation_is_deleted_once(ready: Ready, told: ToldModel) -> None:
    request = conversation_request({"base_url": told.base_url(HOST_ALIAS, "cached"), "api_key": "k"})
    identity = request["conversation_id"]
    ready.server.create_conversation(request)
    listen(ready.server, identity, auth())
    deleted = ready.server.delete_conversation(identity)
    assert (deleted.status, deleted.json()) == (200, {"success": True})
    assert ready.server.conversation(identity).status == 404
    again = ready.server.delete_conversation(identity)
    assert (again.status, again.json()) == (404, {"detail": "Not Found"})
    assert listen(ready.server, identity, auth()) == ([], 4004)
