"""What the checks of tests/e2e/conformance share: the two kinds of server, and a conversation with one."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from e2e_matrix.agent_server import AgentServer, Reply
from e2e_matrix.llm.standin import MODEL
from e2e_matrix.scenarios import container
from support.engines import World

INIT_KEY, SESSION_KEY = "an-init-key", "a-session-key"
DEFERRED = {"OH_DEFERRED_INIT": "true", "OH_SECRET_KEY": INIT_KEY}
PATH = "/api/conversations"
Json = dict[str, Any]


@dataclass
class Kind:
    """One of the two servers, as an image that can be started."""

    name: str
    sha: str
    world: World

    def boot(self, environment: dict[str, str]) -> tuple[str, AgentServer]:
        """A container and its server, once it answers."""
        made = self.world.start(
            *container.arguments(),
            environment={**container.BASE_ENVIRONMENT, **environment},
            ports=(container.PORT,),
        )
        server = AgentServer(self.world.engine.address(made, container.PORT))
        end = time.monotonic() + 60
        while True:
            with suppress(httpx.TransportError, OSError):
                server.get("/health", timeout=5)
                return made, server
            assert time.monotonic() < end, self.world.engine.logs(made, 10_000).decode()
            time.sleep(0.05)


@dataclass
class Ready:
    """A server that was initialised, after a first init that failed, and what it said meanwhile."""

    server: AgentServer
    failed: Reply
    state_after_failure: Reply
    good: Reply


@dataclass
class Talk:
    """A conversation that finished, what its socket told meanwhile, and the model's key."""

    request: Json
    created: Reply
    created_again: Reply
    live: list[Json]
    done: Reply
    key: str

    @property
    def id(self) -> str:
        return str(self.request["conversation_id"])


def conversation_request(llm: Json) -> Json:
    text = [{"type": "text", "text": "Reply with just the number 42."}]
    return {
        "conversation_id": str(uuid4()),
        "agent": {
            "kind": "Agent",
            "llm": {"model": MODEL, "num_retries": 2, "retry_min_wait": 1, "retry_max_wait": 1, **llm},
            "tools": [],
        },
        "workspace": {"working_dir": "/workspace"},
        "autotitle": False,
        "initial_message": {"role": "user", "content": text, "run": True},
    }


def auth(key: str = SESSION_KEY) -> str:
    return json.dumps({"type": "auth", "session_api_key": key})


def listen(
    server: AgentServer,
    conversation: str,
    first: str | None,
    *,
    query: str = "?resend_mode=all",
    headers: dict[str, str] | None = None,
    patience: float = 20,
    until: tuple[str, ...] = ("finished", "error", "stuck"),
) -> tuple[list[Json], int | None]:
    """What the events socket tells until it tells a status of ``until``, and its close code if it closed."""
    url = server.base_url.replace("http", "ws", 1) + f"/sockets/events/{conversation}{query}"
    frames: list[Json] = []
    with connect(url, proxy=None, additional_headers=headers, max_size=None) as socket:
        if first is not None:
            socket.send(first)
        end = time.monotonic() + patience
        try:
            while (left := end - time.monotonic()) > 0:
                frames.append(json.loads(socket.recv(timeout=left)))
                if frames[-1].get("key") == "execution_status" and frames[-1]["value"] in until:
                    return frames, None
        except TimeoutError:
            return frames, None
        except ConnectionClosed as closed:
            return frames, closed.rcvd.code if closed.rcvd else 1006
    return frames, None


def detail(reply: Reply) -> Any:
    return reply.field("detail")


def kinds_of(problem: Reply) -> list[tuple[str, Any]]:
    """What pydantic found wrong: of what type, where first."""
    return [(item["type"], item["loc"][0]) for item in detail(problem)]
