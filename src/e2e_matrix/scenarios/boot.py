"""Steps that every deferred-init scenario shares: boot the server dormant, and initialise it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from e2e_matrix.agent_server import INIT_HEADER, Reply
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.scenarios import container
from e2e_matrix.scenarios.base import Session, StepRecord
from e2e_matrix.text import one_line

STEPS: tuple[str, ...] = ("pull", "start", "machine", "dormant", "server-info")

# Seconds on a native engine; an emulated cell gets them times its slowness.
BOOT_LIMIT = 120.0
INIT_LIMIT = 30.0

CONVERSATIONS_PATH = "/workspace/conversations"


@dataclass(frozen=True)
class Keys:
    """What one attempt's server is told: secrets, each of them made for it alone."""

    init: str = field(repr=False)
    session: str = field(repr=False)


def start(session: Session) -> Keys:
    """Start the container, wait until its server is dormant, and learn what build it is."""
    keys = Keys(secrets.token_urlsafe(24), secrets.token_urlsafe(24))
    session.hide(keys.init, keys.session)
    container.start(session, {"OH_DEFERRED_INIT": "true", "OH_SECRET_KEY": keys.init})
    container.check_machine(session)
    _wait_until_dormant(session)
    container.describe_server(session)
    return keys


def _wait_until_dormant(session: Session) -> None:
    with session.step(
        "dormant", "The server boots and says that it waits for init", phase="boot", limit=BOOT_LIMIT
    ) as step:
        reply = container.wait_for_answer(session, step, "/api/init")
        if reply.status == 404:
            raise CellFailure(
                Cause.ASSERTION,
                "the server is not in deferred-init mode: it ignored OH_DEFERRED_INIT",
                expected="200 with state dormant",
                got=f"404 from {reply.request}",
            )
        container.expect_json(step, reply)
        step.expect("the state after boot", "dormant", reply.field("state"), detail=reply.text)
    boot = sum(done.duration_seconds for done in session.findings.steps if done.phase == "boot")
    session.phase(boot=round(boot, 4))
    session.findings.dormant_memory_bytes = session.started_container.memory(session.engine)


def initialise(session: Session, keys: Keys) -> None:
    """Make the server ready; the session asks with its session key from here on."""
    body = {"session_api_keys": [keys.session], "conversations_path": CONVERSATIONS_PATH}

    def ask(step: StepRecord) -> Reply:
        headers = {INIT_HEADER: keys.init}
        begin = time.monotonic()
        reply = session.server.request(
            "POST", "/api/init", body=body, headers=headers, timeout=step.deadline.remaining()
        )
        if _is_ready(reply):
            session.phase(init=round(time.monotonic() - begin, 4))
        return reply

    with (
        session.step("init", "POST /api/init makes the server ready", phase="init", limit=INIT_LIMIT) as step,
        container.transport(session, step),
    ):
        reply = ask(step)
        if reply.status >= 500:
            raise _init_failed(session, step, reply, ask)
        container.expect_json(step, reply)
        step.expect("the state that POST /api/init answers", "ready", reply.field("state"), detail=reply.text)
    session.server.session_key = keys.session


def _is_ready(reply: Reply) -> bool:
    return reply.status == 200 and reply.field("state") == "ready"


def _init_failed(
    session: Session, step: StepRecord, reply: Reply, ask: Callable[[StepRecord], Reply]
) -> CellFailure:
    """An init that fails is rolled back: the server is dormant again, says why, and another one works.

    The step has failed whatever comes of it; where the second one works the rest is tested too.
    """
    state = session.server.init_state()
    told = one_line(str(state.field("state")), 40)
    step.note(state_after_failure=told, error_after_failure=str(state.field("error")))
    message = f"{reply.request} failed"
    if told != "dormant":
        message += f", and the state after it was {told} instead of dormant"
    else:
        again = ask(step)
        step.go_on = _is_ready(again)
        step.note(second_try="worked" if step.go_on else f"answered {again.status}")
        message += f", and {'worked' if step.go_on else 'failed again'} when it was tried a second time"
        if not state.field("error"):
            message += "; GET /api/init did not say why"
    return CellFailure(Cause.ASSERTION, message, expected="200", got=str(reply.status), detail=reply.text)
