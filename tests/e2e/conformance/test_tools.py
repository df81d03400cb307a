"""The bash API, and an agent with the terminal tool."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from e2e_matrix.agent_server import AgentServer
from e2e_matrix.engine.base import HOST_ALIAS
from e2e_matrix.llm.standin import StandIn
from support.conformance import PATH, Kind, Ready, auth, conversation_request, detail, kinds_of, listen

pytestmark = pytest.mark.timeout(120)

BASH = "/api/bash/execute_bash_command"


def bash(server: AgentServer, command: str, limit: int = 20) -> dict[str, Any]:
    reply = server.execute_bash(command, limit, 30)
    assert reply.status == 200, reply.text
    return dict(reply.json())


def test_a_command_is_run_to_its_end(ready: Ready) -> None:
    output = bash(ready.server, "echo 'Grüße 日本 🙂'; echo err >&2; pwd; id -u; exit 7")
    assert sorted(output) == sorted(
        ["id", "timestamp", "command_id", "order", "exit_code", "stdout", "stderr", "kind"]
    )
    assert (output["exit_code"], output["stderr"], output["kind"]) == (7, "err\n", "BashOutput")
    assert output["stdout"] == "Grüße 日本 🙂\n/\n10001\n"
    silent = bash(ready.server, "exit 0")
    assert (silent["exit_code"], silent["stdout"], silent["stderr"]) == (0, None, None)


def test_a_command_that_is_over_its_time_is_ended_with_all_that_it_started(ready: Ready) -> None:
    begin = time.monotonic()
    output = bash(ready.server, "sleep 60 & echo $! > /tmp/child; wait", limit=1)
    assert (output["exit_code"], time.monotonic() - begin < 10) == (-1, True)
    assert bash(ready.server, "sleep 0.5; kill -0 $(cat /tmp/child); rm /tmp/child")["stderr"]


def test_a_request_without_a_command_is_refused(ready: Ready) -> None:
    for body in ("{}", ""):
        reply = ready.server.request("POST", BASH, content=body.encode())
        assert (reply.status, kinds_of(reply)) == (422, [("missing", "body")])


def test_a_tool_that_there_is_not(ready: Ready, model: StandIn) -> None:
    # On a connection of its own: the real server closes it after an error that it did not foresee.
    with AgentServer(ready.server.base_url) as server:
        server.session_key = ready.server.session_key
        reply = server.create_conversation(a_request(model, "k", "no-such-tool", "Run `true`."))
    assert reply.status == 500
    assert detail(reply) == "Internal Server Error"
    assert "'no-such-tool' is not registered" in reply.field("exception")


def test_the_agent_s_commands_are_told_as_events(kind: Kind, ready: Ready, model: StandIn) -> None:
    server, key = ready.server, model.issue_key(kind.name)
    request = a_request(model, key, "terminal", 'Run `echo "<Grüße 日本>"; pwd` in the terminal.')
    identity = request["conversation_id"]
    assert server.create_conversation(request).status == 201
    listen(server, identity, auth())
    [first] = observations(server, identity)
    assert (first["exit_code"], first["metadata"]["working_dir"]) == (0, "/workspace")
    assert text_of(first).split("\n")[-2:] == ["<Grüße 日本>", "/workspace"]
    assert "<Grüße 日本>" in server.final_response(identity).field("response")
    reply = server.send_message(identity, "Run `(exit 7)` in the terminal.")
    assert (reply.status, reply.json()) == (200, {"success": True})
    # Whoever asks after the answer is not told of the end before.
    assert server.conversation(identity).field("execution_status") != "finished"
    end = time.monotonic() + 30
    while server.conversation(identity).field("execution_status") != "finished":
        assert time.monotonic() < end
        threading.Event().wait(0.05)
    second, _ = observations(server, identity)
    assert second["exit_code"] == 7
    calls = model.calls(key)
    [metrics] = server.conversation(identity).field("stats", "usage_to_metrics").values()
    assert len(calls) == len(metrics["costs"]) == 4
    usage = metrics["accumulated_token_usage"]
    assert usage["prompt_tokens"] == sum(call.prompt_tokens for call in calls)
    assert server.delete_conversation(identity).status == 200


def a_request(model: StandIn, key: str, tool: str, text: str) -> dict[str, Any]:
    request = conversation_request({"base_url": model.base_url(HOST_ALIAS), "api_key": key})
    request["agent"]["tools"] = [{"name": tool}]
    request["initial_message"]["content"][0]["text"] = text
    return request


def observations(server: AgentServer, identity: str) -> list[dict[str, Any]]:
    """The newest first."""
    reply = server.get(f"{PATH}/{identity}/events/search?sort_order=TIMESTAMP_DESC")
    return [item["observation"] for item in reply.field("items") if item["kind"] == "ObservationEvent"]


def text_of(observation: dict[str, Any]) -> str:
    return "".join(part["text"] for part in observation["content"])
