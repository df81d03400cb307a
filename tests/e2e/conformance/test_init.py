"""A server that waits for its init, and what the init makes of it."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest

from e2e_matrix.agent_server import INIT_HEADER, OPEN_ROUTES, OPENAPI, SESSION_HEADER, AgentServer
from e2e_matrix.local.demo import Served
from e2e_matrix.scenarios.deferred_init import GATED_ROUTES
from support.conformance import INIT_KEY, PATH, Kind, Ready, detail, kinds_of

pytestmark = pytest.mark.timeout(120)


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
