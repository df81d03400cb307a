"""What the stand-in is told to say reaches the real agent-server, and its tools do it, over both APIs."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.agent_server import AgentServer
from e2e_matrix.engine.base import HOST_ALIAS
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.llm.standin import StandIn
from e2e_matrix.local.contract import ContractImages
from e2e_matrix.local.demo import Served
from e2e_matrix.usage import read_bill
from support.conformance import PATH, Kind, conversation_request, listen
from support.engines import World
from support.price import GPT_4O, GPT_5_5
from support.real_runs import Runner
from support.replies import documented_replies

TOOLS = [{"name": "terminal"}, {"name": "file_editor"}]


@pytest.fixture(scope="module")
def server(served: Served, engine: DockerEngine) -> Iterator[AgentServer]:
    [image] = [i for i in served.result.images if (i.variant, i.arch) == ("python", "amd64")]
    reference = f"{served.repository}@{image.manifest.digest}"
    engine.pull(reference, "linux/amd64")
    world = World(engine, reference)
    with Kind("agent-server", served.result.sha, world).boot({})[1] as booted:
        yield booted
    world.clean()


@pytest.fixture(scope="module")
def model(engine: DockerEngine) -> Iterator[StandIn]:
    with StandIn(engine.host_gateway(), replies=documented_replies()) as running:
        yield running


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("name", ["openai/gpt-4o", "openai/gpt-5.5"])
def test_tools_are_called_one_after_the_other_and_at_once(
    server: AgentServer, model: StandIn, name: str, streamed: bool
) -> None:
    text = (
        "Write grüße into x.txt." if streamed else "Run `echo 4$((1 + 1)) 𝄞; exit_() { return 7; }; exit_`."
    )
    key = model.issue_key("cell")
    llm = {"model": name, "base_url": model.base_url(HOST_ALIAS), "api_key": key, "stream": streamed}
    request: dict[str, Any] = conversation_request(llm)
    request["agent"]["tools"] = TOOLS
    request["initial_message"]["content"] = [{"type": "text", "text": text}]
    identity = request["conversation_id"]
    assert server.create_conversation(request).status == 201
    frames, _ = listen(server, identity, None)
    assert frames[-1]["value"] == "finished"

    told = server.final_response(identity).field("response")
    items = server.get(f"{PATH}/{identity}/events/search?limit=100").field("items")
    tools = [item["tool_name"] for item in items if item["kind"] == "ActionEvent"]
    if streamed:
        assert tools == ["file_editor", "terminal", "think"]
        assert told.startswith("Done. 8\n"), told  # bytes
        assert "Your thought has been logged." in told
    else:
        assert tools == ["terminal"]
        assert "\n42 𝄞\n" in told, told
        assert "[Command finished with exit code 7]" in told

    calls = model.calls(key)
    assert {call.path for call in calls} == {
        "/v1/responses" if name == "openai/gpt-5.5" else "/v1/chat/completions"
    }
    assert [(call.status, call.streamed) for call in calls] == [(200, streamed)] * (3 if streamed else 2)
    counted = read_bill(server.conversation(identity).field("stats", "usage_to_metrics"))
    prompt = sum(call.prompt_tokens for call in calls)
    completion = sum(call.completion_tokens for call in calls)
    assert (counted.tokens.prompt, counted.tokens.completion) == (prompt, completion)
    price = GPT_5_5 if name == "openai/gpt-5.5" else GPT_4O
    cost = prompt * price.prompt + completion * price.completion
    assert counted.cost is not None
    assert abs(counted.cost - cost) < Decimal("1e-12")  # the server adds floats up


def test_a_tool_that_is_not_there_ends_the_conversation_with_its_name(
    server: AgentServer, model: StandIn
) -> None:
    llm = {"base_url": model.base_url(HOST_ALIAS), "api_key": model.issue_key("cell")}
    request: dict[str, Any] = conversation_request(llm)
    request["initial_message"]["content"][0]["text"] = "Write a into b."
    assert server.create_conversation(request).status == 201
    frames, _ = listen(server, request["conversation_id"], None)
    assert frames[-1]["value"] == "error"
    error = server.last_error(request["conversation_id"]) or ""
    assert "calls the tool 'file_editor'; tools that this request offers: finish, think" in error


def test_a_run_says_what_its_file_says(
    contract_images: ContractImages, runner: Runner, tmp_path: Path
) -> None:
    (tmp_path / "replies.yaml").write_text("- {when: number, reply: It is 41.}\n")
    image = contract_images.template.format(ref=contract_images.ref)
    (tmp_path / "matrix.yaml").write_text(
        f"image: {image}\nmatrix: {{arch: [amd64]}}\nllm: {{replies: replies.yaml}}\n"
    )
    ran = runner.run("--matrix", str(tmp_path / "matrix.yaml"), template=image)
    assert ran.cell("amd64")["message"].startswith("the answer does not contain 42"), ran.output
    assert ran.step("amd64", "answer")["got"] == "'It is 41.'"
