"""The contract server and the real agent-server, held to one list of checks, so that the fake cannot drift.

What differs from the design's paper is so because the real server, 1.58.0, is so.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from e2e_matrix.agent_server import AgentServer
from e2e_matrix.engine.base import HOST_ALIAS
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.llm.standin import StandIn
from e2e_matrix.local.contract import ContractImages
from e2e_matrix.local.demo import Served
from support.conformance import (
    DEFERRED,
    INIT_KEY,
    SESSION_KEY,
    Kind,
    Ready,
    Talk,
    auth,
    conversation_request,
    listen,
)
from support.engines import World
from support.told_model import ToldModel, told_model


@pytest.fixture(scope="module", params=["contract-server", "agent-server"])
def kind(
    request: pytest.FixtureRequest, served: Served, contract_images: ContractImages, engine: DockerEngine
) -> Iterator[Kind]:
    if request.param == "contract-server":
        repository, _, _ = contract_images.template.rpartition(":")
        images, sha = contract_images.build.images, contract_images.build.sha
    else:
        repository, sha = served.repository, served.result.sha
        images = tuple(image for image in served.result.images if image.variant == "python")
    [image] = [image for image in images if image.arch == "amd64"]
    reference = f"{repository}@{image.manifest.digest}"
    engine.pull(reference, "linux/amd64")
    world = World(engine, reference)
    yield Kind(request.param, sha, world)
    world.clean()


@pytest.fixture(scope="module")
def model(engine: DockerEngine) -> Iterator[StandIn]:
    with StandIn(engine.host_gateway()) as running:
        yield running


@pytest.fixture(scope="module")
def told(engine: DockerEngine) -> Iterator[ToldModel]:
    with told_model(engine.host_gateway()) as running:
        yield running


@pytest.fixture(scope="module")
def dormant(kind: Kind) -> Iterator[AgentServer]:
    """A server that no test initialises."""
    with kind.boot(DEFERRED)[1] as server:
        yield server


@pytest.fixture(scope="module")
def ready(kind: Kind) -> Iterator[Ready]:
    _, server = kind.boot(DEFERRED)
    with server:
        failed = server.init(INIT_KEY, {"conversations_path": "/proc/no-such-folder"})
        state = server.init_state()
        good = server.init(
            INIT_KEY, {"session_api_keys": [SESSION_KEY], "conversations_path": "/workspace/conversations"}
        )
        server.session_key = SESSION_KEY
        yield Ready(server, failed, state, good)


@pytest.fixture(scope="module")
def talk(kind: Kind, ready: Ready, model: StandIn) -> Talk:
    server, key = ready.server, model.issue_key(kind.name)
    request = conversation_request({"base_url": model.base_url(HOST_ALIAS), "api_key": key})
    created = server.create_conversation(request)
    live, code = listen(server, request["conversation_id"], auth())
    assert code is None
    again = server.create_conversation(request)
    return Talk(request, created, again, live, server.conversation(request["conversation_id"]), key)
