"""How steps are timed, recorded and ended."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType, SimpleNamespace

import pytest

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import ExitState
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.limits import Limits
from e2e_matrix.llm.source import ProviderSource
from e2e_matrix.progress import Silent
from e2e_matrix.results import LlmCall
from e2e_matrix.scenarios import container, conversation
from e2e_matrix.scenarios.base import Deadline, Session
from e2e_matrix.task import LlmEndpoint
from support.tasks import a_task


def a_session(
    timeout: float = 60.0,
    slowness: float = 1.0,
    cancel: Cancellation | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Session:
    endpoint = LlmEndpoint("m", None, "secret-key", is_stand_in=False)
    task = a_task(
        endpoint, "/nonexistent", timeout_seconds=timeout, slowness=slowness, environment=environment
    )
    ledger = ProviderSource("m", None, lambda: None).ledger(endpoint)
    return Session(task, FakeEngine(), ledger, Silent(), cancel or Cancellation(), Limits())


def test_a_step_that_only_asserts_fails_and_lets_the_scenario_go_on() -> None:
    session = a_session()
    with session.step("gate", "t", phase="checks", limit=1, go_on=True) as step:
        step.note(routes=3)
        step.expect("GET /x", 503, 200, detail="body")
    with session.step("next", "t", phase="checks", limit=1):
        pass
    failed, passed = session.findings.steps
    assert (failed.outcome, failed.cause, failed.expected, failed.got) == (
        Outcome.FAILED,
        Cause.ASSERTION,
        "503",
        "200",
    )
    assert (failed.message, failed.detail, failed.facts) == ("GET /x", "body", {"routes": 3})
    assert passed.outcome is Outcome.PASSED
    assert session.findings.failure is not None
    assert session.findings.failure.message == "GET /x"


def test_what_the_infrastructure_did_ends_the_scenario_even_there() -> None:
    session = a_session()
    with (
        pytest.raises(CellFailure, match="gone"),
        session.step("gate", "t", phase="checks", limit=1, go_on=True),
    ):
        raise CellFailure(Cause.ENGINE_LOST, "gone")
    assert session.findings.steps[0].outcome is Outcome.ERROR


def test_the_first_failure_is_the_one_that_counts() -> None:
    session = a_session()
    for name in ("first", "second"):
        with session.step(name, "t", phase="checks", limit=1, go_on=True) as step:
            step.expect(name, 1, 2)
    assert session.findings.failure is not None
    assert session.findings.failure.message == "first"


def test_a_failure_after_a_cancellation_is_the_cancellation() -> None:
    cancel = Cancellation()
    session = a_session(cancel=cancel)
    with pytest.raises(CellFailure), session.step("dormant", "t", phase="boot", limit=1):
        cancel.cancel(Cause.FAIL_FAST)
        raise CellFailure(Cause.CONTAINER_EXITED, "because we stopped it")
    assert session.findings.steps[0].cause is Cause.FAIL_FAST
    with pytest.raises(CellFailure), session.step("next", "t", phase="boot", limit=1):
        pass
    assert len(session.findings.steps) == 1


def test_a_steps_limit_is_stretched_for_an_emulated_cell_and_held_within_the_cells() -> None:
    with a_session(slowness=6.0, timeout=1000).step("s", "t", phase="boot", limit=10) as step:
        assert (step.deadline.limit, step.deadline.cause) == (60.0, Cause.STEP_TIMEOUT)
    with a_session(timeout=5).step("s", "t", phase="boot", limit=10) as step:
        assert (step.deadline.limit, step.deadline.cause) == (5, Cause.CELL_TIMEOUT)


def test_a_deadline_that_is_over_says_what_took_too_long() -> None:
    deadline = Deadline(0.0, Cause.STEP_TIMEOUT, "step dormant")
    with pytest.raises(CellFailure, match="step dormant took longer than 0 s") as raised:
        deadline.check()
    assert raised.value.cause is Cause.STEP_TIMEOUT


def test_text_from_the_server_is_bounded_and_made_safe_before_it_is_kept() -> None:
    session = a_session()
    with session.step("answer", "t", phase="checks", limit=1, go_on=True) as step:
        step.expect("x" * 10_000, "a", "\x1b[31m\ud800" + "b" * 10_000, detail="c\x00" * 10_000)
    [recorded] = session.findings.steps
    assert max(len(recorded.message or ""), len(recorded.got or "")) <= 501
    assert len(recorded.detail or "") <= 4001
    assert "\x1b" not in recorded.model_dump_json()
    assert "\\u001b" not in recorded.model_dump_json()


def test_no_secret_reaches_what_is_kept_of_a_step() -> None:
    session = a_session()
    session.hide("the-secret-value")
    with session.step("cost", "t", phase="checks", limit=1, go_on=True) as step:
        step.note(seen="Bearer the-secret-value")
        long = "x" * 495 + " the-secret-value"
        step.expect(long, "the-secret-value", "no", detail="dGhlLXNlY3JldC12YWx1ZQ== the-secret-value")
    kept = session.findings.steps[0].model_dump_json()
    assert "the-secret" not in kept
    assert "dGhlLXNlY3Jl" not in kept
    assert session.findings.failure is not None
    assert "the-secret" not in session.findings.failure.message


def test_a_variable_of_the_containers_that_is_named_like_a_secret_is_hidden_like_a_key() -> None:
    session = a_session(
        environment={
            "GITHUB_TOKEN": "ghp_0123456789",
            "db_password": "correct horse",
            "PIN_SECRET": "12345",  # too short to be told from ordinary text
            "MODE": "production",
        }
    )
    with session.step("gate", "t", phase="checks", limit=1, go_on=True) as step:
        step.note(seen="ghp_0123456789 in production")
        step.expect("correct%20horse", "12345", "Z2hwXzAxMjM0NTY3ODk=")
    [recorded] = session.findings.steps
    assert recorded.facts == {"seen": "[hidden] in production"}
    assert (recorded.message, recorded.expected) == ("[hidden]", "12345")
    assert "Z2hwXz" not in (recorded.got or "")


def test_a_step_that_ends_by_a_surprise_did_not_pass() -> None:
    session = a_session()
    with pytest.raises(ZeroDivisionError), session.step("gate", "t", phase="checks", limit=1, go_on=True):
        raise ZeroDivisionError("a surprise")
    [recorded] = session.findings.steps
    assert (recorded.outcome, recorded.cause) == (Outcome.ERROR, Cause.INTERNAL)


def test_a_fact_is_redacted_before_it_is_cut() -> None:
    session = a_session()
    session.hide("the-secret-value")
    with session.step("cost", "t", phase="checks", limit=1) as step:
        step.note(seen="x" * 190 + "the-secret-value")
    assert "the-s" not in session.findings.steps[0].model_dump_json()


@pytest.mark.parametrize(("stepped", "told"), [(0.0, 0.5), (-3600.0, None), (3600.0, None)])
def test_a_clock_that_was_set_tells_no_time_to_the_first_token(stepped: float, told: float | None) -> None:
    created_at = datetime(2026, 1, 1, tzinfo=UTC)
    call = LlmCall(
        path="/v1/chat/completions",
        status=200,
        streamed=False,
        prompt_tokens=1,
        completion_tokens=1,
        received_at=created_at + timedelta(seconds=0.4 + stepped),
        first_byte_seconds=0.1,
        duration_seconds=0.1,
    )
    session = a_session()
    session.llm = SimpleNamespace(calls=lambda: [call], is_alive=lambda: True, difference=lambda: None)
    conversation._note_first_token(session, created_at.timestamp(), took=2.0)
    assert session.findings.phases.first_token == told


@pytest.mark.parametrize(
    ("state", "cause", "words"),
    [
        (
            ExitState(running=True, exit_code=None, oom_killed=False),
            Cause.ENGINE_LOST,
            "the engine was out of reach while the container ran",
        ),
        (
            ExitState(running=False, exit_code=3, oom_killed=False),
            Cause.CONTAINER_EXITED,
            "the container ended by itself with exit code 3",
        ),
    ],
)
def test_a_container_that_runs_when_its_watch_gave_up_has_not_ended(
    state: ExitState, cause: Cause, words: str
) -> None:
    session = a_session()
    started = session.add_container("c")
    session.engine = SimpleNamespace(state=lambda _: state)
    exited = threading.Event()
    exited.set()  # as after 10 s without an answer of the engine
    started.watch = SimpleNamespace(exited=exited, interrupted=True)
    with pytest.raises(CellFailure, match=words) as raised:
        container.check_running(session)
    assert raised.value.cause is cause
