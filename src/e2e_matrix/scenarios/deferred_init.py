"""The deferred-init contract, from a dormant boot to a clean end.

A warm-pool orchestrator boots the image with OH_DEFERRED_INIT=true, hands it its configuration later through
POST /api/init, and runs conversations. Every step below is something that such an orchestrator relies on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal
from uuid import uuid4

import httpx
from pydantic import BaseModel, ConfigDict, Field

from e2e_matrix.agent_server import (
    OPEN_ROUTES,
    OPENAPI,
    SESSION_HEADER,
    Reply,
    parse_version,
)
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.scenarios import boot, container, conversation, description
from e2e_matrix.scenarios.base import Session, StepRecord
from e2e_matrix.text import one_line

NAME = "deferred-init"
VERSION = "2"
STEPS: tuple[str, ...] = (
    *boot.STEPS, "gate", "refusals", "init", "init-again", "session-keys", *conversation.STEPS,
    description.STEP, "stop", "log",
)  # fmt: skip

SOCKET_GATED_SINCE = (1, 58, 0)
HTTP_METHODS = ("get", "post", "put", "patch", "delete")


class Settings(BaseModel):
    """What matrix.yaml may say under ``scenarios: deferred-init:``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gate: Literal["known", "all"] = Field(
        "known",
        description="known: of each router some routes that every version since 1.29.0 has. all: those that "
        "the server itself lists in /openapi.json, which it writes in 1.5 s, or up to 25 s under emulation",
    )


# Of each router some, reading and writing, that 1.29.0, 1.43.1 and 1.58.0 all have. None has a parameter: a
# 404 means that there is no such route.
GATED_ROUTES: tuple[tuple[str, str], ...] = tuple(
    (method, f"/api/{path}")
    for method, paths in {
        "GET": "agent-profiles bash/bash_events/search conversations conversations/count "
        "conversations/search file/home git/changes llm/models profiles settings settings/secrets "
        "skills/installed tools/ vscode/status workspaces",
        "POST": "auth/workspace-session bash/execute_bash_command bash/start_bash_command conversations "
        "file/upload hooks mcp/test workspaces",
        "PUT": "settings/secrets",
        "PATCH": "settings",
        "DELETE": "bash/bash_events",
    }.items()
    for path in paths.split()
)


def run(session: Session) -> None:
    """Drive one attempt through the whole contract."""
    keys = boot.start(session)
    _check_gate(session, Settings.model_validate(session.task.settings))
    _check_refusals(session, keys.init)
    boot.initialise(session, keys)
    _check_second_init(session, keys.init)
    _check_session_keys(session, keys.session)
    conversation.run(session, question="Reply with just the number 42.", answer="42")
    description.keep(session)
    container.stop(session)


def _check_gate(session: Session, settings: Settings) -> None:
    """Everything under /api but /api/init is shut."""
    title = "While dormant, the API's routes answer 503 and the open ones are open"
    with container.check(session, "gate", title) as step:
        everything = settings.gate == "all"
        open_routes = (*OPEN_ROUTES, OPENAPI) if everything else OPEN_ROUTES
        replies = {path: session.server.get(path) for path in open_routes}
        shut = [path for path, reply in replies.items() if reply.status != 200]
        step.expect("routes that must be open while dormant and are not", [], shut)
        routes = GATED_ROUTES
        if everything:
            routes = tuple(_listed_routes(replies[OPENAPI].field("paths")))
        answers: dict[str, int] = {}
        for method, path in routes:
            session.cancel.check()
            step.deadline.check()
            try:
                reply = session.server.request(method, path, body=None if method == "GET" else {})
            except (httpx.InvalidURL, UnicodeError) as error:
                raise _not_a_path(session, path, error) from error
            answers[reply.request] = reply.status
        # A route that this version does not have is 404 behind an open gate and a shut one alike.
        served = {request: status for request, status in answers.items() if status != 404}
        step.note(gated_routes=len(served), routes_not_in_this_version=len(answers) - len(served))
        wrong = [f"{one_line(request, 100)}: {status}" for request, status in served.items() if status != 503]
        if wrong or not served:
            raise CellFailure(
                Cause.ASSERTION,
                f"{len(wrong)} of {len(served)} gated routes answer while the server is dormant",
                expected="503 from each",
                got="; ".join(wrong[:10]) or "404 from every route",
            )
        _check_gated_socket(session, step)


def _not_a_path(session: Session, path: str, error: Exception) -> CellFailure:
    """Control characters, half a surrogate pair, more than 64 KiB: the server lists what nobody can ask."""
    # Of the error the kind alone: its text may be as long as the path.
    got = f"{one_line(repr(session.redact(path)), 100)} ({type(error).__name__})"
    message = f"{OPENAPI} lists a path that cannot be requested"
    return CellFailure(Cause.ASSERTION, message, expected="a path of a URL", got=got)


def _check_gated_socket(session: Session, step: StepRecord) -> None:
    """Older servers accept the socket and then crash on it: only since 1.58.0 is it refused."""
    version = parse_version(session.findings.server.version)
    if version and version >= SOCKET_GATED_SINCE:
        status = session.server.events_handshake(str(uuid4()), 10.0 * session.task.slowness)
        step.expect("the handshake of the events WebSocket", 403, status)


def _listed_routes(paths: Any) -> Iterator[tuple[str, str]]:
    for path, operations in paths.items() if isinstance(paths, dict) else ():
        if not path.startswith("/api/") or path == "/api/init" or not isinstance(operations, dict):
            continue
        for method in operations:
            if method in HTTP_METHODS:
                yield method.upper(), path.replace("{", "").replace("}", "")


def _check_refusals(session: Session, key: str) -> None:
    """What must not initialise: each is refused, and the server stays dormant."""
    server = session.server
    with container.check(
        session, "refusals", "Init is refused without the key, and with a body that is not right"
    ) as step:
        for what, expected, reply in (
            ("without a key", 401, server.init(None, {})),
            ("with a wrong key", 401, server.init(f"not-{key}", {})),
            ("with a wrong key and an unknown field", 401, server.init(f"not-{key}", {"no_such_field": 1})),
            ("with an unknown field", 422, server.init(key, {"no_such_field": 1})),
            ("without a body", 422, server.init(key)),
            ("with a body that is not JSON", 422, server.init(key, content=b"{")),
        ):
            step.expect(f"POST /api/init {what}", expected, reply.status, detail=reply.text)
        _expect_state(session, step, "the state after refused inits", "dormant")


def _expect_state(session: Session, step: StepRecord, what: str, state: str) -> None:
    reply = session.server.init_state()
    container.expect_json(step, reply)
    step.expect(what, state, reply.field("state"), detail=reply.text)


def _check_second_init(session: Session, init_key: str) -> None:
    with container.check(session, "init-again", "A second init is refused") as step:
        _expect_state(session, step, "the state after init", "ready")
        reply = session.server.init(init_key, {})
        step.expect("a second POST /api/init", 400, reply.status, detail=reply.text)
        reply = session.server.init(f"not-{init_key}", {})
        step.expect("a second POST /api/init with a wrong key", 401, reply.status, detail=reply.text)


def _check_session_keys(session: Session, session_key: str) -> None:
    """1.29.0 took the keys and did not enforce them (upstream 3844)."""
    path = "/api/conversations/search"
    with container.check(session, "session-keys", "The session keys given at init are enforced") as step:
        wrong = {SESSION_HEADER: f"not-{session_key}"}
        replies: list[tuple[str, int, Reply]] = [
            ("without a session key", 401, session.server.get(path, anonymous=True)),
            ("with a wrong session key", 401, session.server.get(path, headers=wrong)),
            ("with the session key", 200, session.server.get(path)),
        ]
        for what, expected, reply in replies:
            step.expect(f"{reply.request} {what}", expected, reply.status, detail=reply.text)
