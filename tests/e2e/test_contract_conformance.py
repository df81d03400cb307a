"""The contract server and the real agent-server, held to one list of checks, so that the fake cannot drift.

What differs from the design's paper is so because the real server, 1.58.0, is so.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from e2e_matrix.agent_server import (
    INIT_HEADER,
    OPEN_ROUTES,
    OPENAPI,
    SESSION_HEADER,
    AgentServer,
    Reply,
    parse_event,
)
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.llm.source import HOST_ALIAS
from e2e_matrix.llm.standin import MODEL, StandIn
from e2e_matrix.local.contract import ContractImages
from e2e_matrix.local.demo import Served
from e2e_matrix.scenarios import container
from e2e_matrix.scenarios.deferred_init import GATED_ROUTES
from support.engines import World
from support.price import GPT_4O
from support.told_model import ToldModel, told_model

pytestmark = pytest.mark.timeout(120)

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
            *container.ARGUMENTS,
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


@dataclass
class Ready:
    """A server that was initialised, after a first init that failed, and what it said meanwhile."""

    server: AgentServer
    failed: Reply
    state_after_failure: Reply
    good: Reply


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


@pytest.fixture(scope="module")
def talk(kind: Kind, ready: Ready, model: StandIn) -> Talk:
    server, key = ready.server, model.issue_key(kind.name)
    request = conversation_request({"base_url": model.base_url(HOST_ALIAS), "api_key": key})
    created = server.create_conversation(request)
    live, code = listen(server, request["conversation_id"], auth())
    assert code is None
    again = server.create_conversation(request)
    return Talk(request, created, again, live, server.conversation(request["conversation_id"]), key)


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


# --- dormant ------------------------------------------------------------------------------------------------


def test_a_dormant_server_says_so_to_everybody(dormant: AgentServer) -> None:
    reply = dormant.init_state()
    assert (reply.status, reply.text) == (200, '{"state":"dormant","error":null}')


def test_the_open_routes_answer_while_dormant(dormant: AgentServer) -> None:
    assert {path: dormant.get(path).status for path in (*OPEN_ROUTES, OPENAPI)} == dict.fromkeys(
        (*OPEN_ROUTES, OPENAPI), 200
    )
    assert dormant.get("/health").json() == {"status": "ok"}
    assert dormant.get("/ready").json() == {"status": "ready"}


def test_the_server_says_what_build_it_is(dormant: AgentServer, kind: Kind, served: Served) -> None:
    info = dormant.get("/server_info").json()
    assert info["build_git_sha"] == kind.sha
    assert info["version"] == info["sdk_version"] == served.result.server_version
    assert info["python_version"].startswith("3.13.")
    assert info["title"] == "OpenHands Agent Server"


def test_the_gate_is_shut_for_each_route_that_openapi_lists(dormant: AgentServer) -> None:
    paths = dormant.get(OPENAPI).json()["paths"]
    routes = {
        (method.upper(), re.sub("[{}]", "", path))
        for path, operations in paths.items()
        for method in operations
        if path.startswith("/api/") and path != "/api/init"
    }
    assert routes >= set(GATED_ROUTES)
    assert len(routes) == 165  # of 1.58.0
    replies = {
        route: dormant.request(*route, body=None if route[0] == "GET" else {}).status for route in routes
    }
    assert {route: status for route, status in replies.items() if status != 503} == {}


def test_both_list_the_same_routes(dormant: AgentServer, kind: Kind, request: pytest.FixtureRequest) -> None:
    paths = dormant.get(OPENAPI).json()["paths"]
    listed = {path: sorted(operations) for path, operations in paths.items()}
    seen = request.config.stash.setdefault(LISTED, {})
    seen[kind.name] = listed
    assert all(listed == other for other in seen.values())


LISTED: pytest.StashKey[dict[str, Any]] = pytest.StashKey()


def test_a_gated_route_says_why(dormant: AgentServer) -> None:
    assert dormant.get(f"{PATH}/search").json() == {
        "detail": "Internal Server Error",
        "exception": "503: server is in deferred-init state 'dormant'; call POST /api/init first",
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/no-such-route", 404),
        ("GET", "/no-such-route", 404),
        ("PUT", "/api/init", 405),
        ("HEAD", "/api/init", 405),
        ("PUT", PATH, 405),
        ("POST", "/health", 405),
    ],
)
def test_what_there_is_not(dormant: AgentServer, method: str, path: str, status: int) -> None:
    assert dormant.request(method, path).status == status


def test_the_socket_is_shut_while_dormant(dormant: AgentServer) -> None:
    assert dormant.events_handshake(str(uuid4())) == 403


@pytest.mark.parametrize(
    ("key", "sent", "status"),
    [
        (None, b"{}", 401),
        ("", b"{}", 401),
        ("wrong", b"{}", 401),
        ("wrong", b'{"no_such_field": 1}', 401),
        (None, None, 401),
        ("wrong", b"[]", 401),
        # Read before anything is asked:
        ("wrong", b"{", 422),
        (INIT_KEY, b'{"no_such_field": 1}', 422),
        (INIT_KEY, None, 422),
        (INIT_KEY, b"{", 422),
        (INIT_KEY, b"[]", 422),
        (INIT_KEY, b"null", 422),
        (INIT_KEY, b'{"session_api_keys": "one"}', 422),
        (INIT_KEY, b'{"session_api_keys": [""]}', 422),
        (INIT_KEY, b'{"session_api_keys": [1]}', 422),
        (INIT_KEY, b'{"max_concurrent_runs": 0}', 422),
        (INIT_KEY, b'{"env": []}', 422),
        (INIT_KEY, b'{"conversations_path": 1}', 422),
    ],
)
def test_an_init_that_is_refused_leaves_the_server_dormant(
    dormant: AgentServer, key: str | None, sent: bytes | None, status: int
) -> None:
    assert dormant.init(key, content=sent).status == status
    assert dormant.init_state().json() == {"state": "dormant", "error": None}


def test_a_refusal_has_the_frameworks_shape(dormant: AgentServer) -> None:
    assert dormant.init("wrong", {}).json() == {"detail": "Unauthorized"}
    unknown = dormant.init(INIT_KEY, {"no_such_field": 1})
    assert [(item["type"], item["loc"]) for item in detail(unknown)] == [
        ("extra_forbidden", ["body", "no_such_field"])
    ]
    assert kinds_of(dormant.init(INIT_KEY)) == [("missing", "body")]
    assert kinds_of(dormant.init(INIT_KEY, content=b"{")) == [("json_invalid", "body")]
    assert kinds_of(dormant.init(INIT_KEY, [])) == [("model_attributes_type", "body")]
    empty = dormant.init(INIT_KEY, {"session_api_keys": [""]})
    assert detail(empty) == "session_api_keys cannot contain empty keys"


# --- init ---------------------------------------------------------------------------------------------------


def test_an_init_that_fails_rolls_back_and_tells_the_error(ready: Ready) -> None:
    told = "FileNotFoundError: [Errno 2] No such file or directory: '/proc/no-such-folder'"
    assert (ready.failed.status, ready.failed.json()) == (
        500,
        {"detail": "Internal Server Error", "exception": f"500: {told}"},
    )
    assert ready.state_after_failure.json() == {"state": "dormant", "error": told}


def test_an_init_after_that_makes_the_server_ready(ready: Ready) -> None:
    assert (ready.good.status, ready.good.text) == (200, '{"state":"ready","error":null}')
    assert ready.server.init_state().text == '{"state":"ready","error":null}'


def test_a_second_init_is_refused(ready: Ready) -> None:
    again = ready.server.init(INIT_KEY, {})
    assert (again.status, detail(again)) == (400, "server already in state: ready")
    assert ready.server.init("wrong", {}).status == 401
    assert ready.server.init(None, {}).status == 401
    assert ready.server.init(INIT_KEY, {"no_such_field": 1}).status == 422


def test_the_session_keys_are_enforced(ready: Ready) -> None:
    def status(**options: Any) -> int:
        return ready.server.get(f"{PATH}/search", **options).status

    assert status(anonymous=True) == 401
    assert status(headers={SESSION_HEADER: "wrong"}) == 401
    assert status(headers={SESSION_HEADER: ""}) == 401
    assert status(headers={INIT_HEADER: INIT_KEY}, anonymous=True) == 401
    assert status() == 200
    assert ready.server.get("/server_info", anonymous=True).status == 200
    assert ready.server.get("/api/init", anonymous=True).status == 200
    refused = ready.server.request("POST", PATH, body={}, anonymous=True)
    assert (refused.status, refused.json()) == (401, {"detail": "Unauthorized"})


# --- conversations that are not there, and requests that are not right --------------------------------------


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


# --- a conversation that finishes ---------------------------------------------------------------------------


def test_a_new_conversation_is_idle_and_has_no_bill(talk: Talk) -> None:
    assert talk.created.status == 201
    info = talk.created.json()
    assert (info["id"], info["execution_status"]) == (talk.id, "idle")
    [metrics] = info["stats"]["usage_to_metrics"].values()
    assert (metrics["accumulated_cost"], metrics["costs"], metrics["token_usages"]) == (0, [], [])


def test_the_same_conversation_again_is_the_one_that_is_there(talk: Talk) -> None:
    assert talk.created_again.status == 200
    assert talk.created_again.field("id") == talk.id


def test_the_socket_tells_a_conversation_from_the_full_state_to_the_end(talk: Talk) -> None:
    first, *rest = talk.live
    assert (first["kind"], first["key"]) == ("ConversationStateUpdateEvent", "full_state")
    assert first["value"]["id"] == talk.id
    assert first["value"]["execution_status"] in ("idle", "running", "finished")
    told = [event["value"] for event in rest if event.get("key") == "execution_status"]
    assert told == ["running", "finished"]
    assert [event["kind"] for event in rest][:2] == ["SystemPromptEvent", "MessageEvent"]
    assert {event["source"] for event in rest} == {"agent", "user", "environment"}
    assert all(event["id"] and event["timestamp"] for event in talk.live)
    parsed = parse_event(json.dumps(talk.live[-1]))
    assert parsed is not None
    assert parsed.status == "finished"


def test_a_late_subscriber_learns_the_end_from_the_full_state(ready: Ready, talk: Talk) -> None:
    frames, code = listen(ready.server, talk.id, auth(), query="", patience=1)
    assert code is None
    [full] = frames
    assert (full["key"], full["value"]["execution_status"]) == ("full_state", "finished")
    assert talk.key not in json.dumps(full)


def test_the_state_that_the_socket_tells_is_the_one_that_rest_tells(ready: Ready, talk: Talk) -> None:
    frames, _ = listen(ready.server, talk.id, auth())
    full = frames[0]["value"]
    info = json.loads(talk.done.text)
    assert full["execution_status"] == info["execution_status"] == "finished"
    [told], [asked] = (one["stats"]["usage_to_metrics"].values() for one in (full, info))
    assert told["accumulated_cost"] == asked["accumulated_cost"] > 0


def test_the_events_over_rest_are_those_of_the_socket(ready: Ready, talk: Talk) -> None:
    where = f"{PATH}/{talk.id}/events"
    end = time.monotonic() + 10
    while True:  # the last event of a conversation may come after its end was told
        frames, _ = listen(ready.server, talk.id, auth())
        page = ready.server.get(f"{where}/search?limit=50").json()
        if len(page["items"]) == len(frames) - 1 or time.monotonic() > end:
            break
    assert [item["id"] for item in page["items"]] == [frame["id"] for frame in frames[1:]]
    assert page["next_page_id"] is None
    assert ready.server.get(f"{where}/count").json() == len(page["items"])
    newest = ready.server.get(f"{where}/search?limit=50&sort_order=TIMESTAMP_DESC").json()
    assert newest["items"] == page["items"][::-1]
    two = ready.server.get(f"{where}/search?limit=2").json()
    assert two["items"] == page["items"][:2]
    rest = ready.server.get(f"{where}/search?limit=50&page_id={two['next_page_id']}").json()
    assert rest["items"] == page["items"][2:]
    for limit in (0, 101, "many"):
        assert ready.server.get(f"{where}/search?limit={limit}").status == 422


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


# --- the session keys on the socket -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [auth("wrong"), auth(""), "no JSON", "[]", '{"type": "auth"}', '{"session_api_key": "a-session-key"}'],
)
def test_a_first_frame_without_the_key_closes_the_socket(ready: Ready, talk: Talk, first: str) -> None:
    assert listen(ready.server, talk.id, first) == ([], 4001)


def test_a_socket_whose_first_frame_does_not_come_is_closed_after_ten_seconds(
    ready: Ready, talk: Talk
) -> None:
    begin = time.monotonic()
    assert listen(ready.server, talk.id, None, patience=20) == ([], 4001)
    assert 9 < time.monotonic() - begin < 13


def test_the_key_may_also_come_with_the_handshake(ready: Ready, talk: Talk) -> None:
    by_query = f"?resend_mode=all&session_api_key={SESSION_KEY}"
    for frames, code in (
        listen(ready.server, talk.id, None, headers={SESSION_HEADER: SESSION_KEY}),
        listen(ready.server, talk.id, None, query=by_query),
        listen(ready.server, talk.id, auth(), query=by_query),
    ):
        assert (frames[0]["key"], frames[-1]["value"], code) == ("full_state", "finished", None)
    for wrong in ({SESSION_HEADER: "wrong"}, {SESSION_HEADER: ""}):
        with pytest.raises(InvalidStatus) as refused:
            listen(ready.server, talk.id, auth(), headers=wrong)
        assert refused.value.response.status_code == 403


def test_a_key_that_comes_once_more_changes_nothing_and_nonsense_is_answered(
    ready: Ready, talk: Talk
) -> None:
    url = ready.server.base_url.replace("http", "ws", 1) + f"/sockets/events/{talk.id}"
    with connect(url, proxy=None, max_size=None) as socket:
        socket.send(auth())
        assert json.loads(socket.recv(timeout=5))["key"] == "full_state"
        socket.send(auth())
        socket.send("{}")
        answer = json.loads(socket.recv(timeout=5))
        assert (answer["kind"], answer["source"]) == ("ServerErrorEvent", "environment")
        assert answer["code"]
        socket.ping().wait(5)


# --- the model misbehaves -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "code", "calls", "words"),
    [
        ("401", "LLMAuthenticationError", 1, "Your LLM API key appears to be invalid or has expired."),
        ("400", "LLMBadRequestError", 1, "told to 400"),
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


# --- the end ------------------------------------------------------------------------------------------------


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


def test_a_server_that_is_not_deferred_has_no_init(kind: Kind) -> None:
    made, server = kind.boot({"OH_SECRET_KEY": INIT_KEY})
    with server:
        assert server.init_state().status == 404
        assert server.init("wrong", {}).status == 401
        assert server.init(INIT_KEY, {}).status == 404
        assert server.get(f"{PATH}/search").status == 200
    ended = kind.world.engine.stop(made, 15)
    assert (ended.exit_code in (0, 143), ended.oom_killed) == (True, False)
    kind.world.engine.logs(made, 1 << 20).decode()
