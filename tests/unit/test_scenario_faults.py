"""The deferred-init scenario against a server that is wrong in one way: it must see that, and only that."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix.api import canonical_digest
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.cell import run_cell
from e2e_matrix.engine.base import ExecResult, Resources
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.limits import Budget, Limits
from e2e_matrix.llm.source import PlainLedger
from e2e_matrix.llm.standin import StandIn
from e2e_matrix.prices import Price
from e2e_matrix.progress import Silent
from e2e_matrix.results import Attempt, LlmCall, Step, Tokens
from e2e_matrix.scenarios import container, conversation, description
from e2e_matrix.scenarios.base import ReplayDifference
from e2e_matrix.task import CellTask, LlmEndpoint
from e2e_matrix.usage import read_bill
from support.fake_agent_server import BUILD_SHA, UNLISTED_ROUTE, FakeAgentServer, Fault
from support.tasks import a_task

IMAGE = "repo@sha256:0"
STEPS = [
    "pull",
    "start",
    "machine",
    "dormant",
    "server-info",
    "gate",
    "refusals",
    "init",
    "init-again",
    "session-keys",
    "conversation",
    "finished",
    "events",
    "answer",
    "cost",
    "delete",
    "openapi",
    "stop",
    "log",
]


@dataclass(frozen=True)
class Ledger(PlainLedger):
    """What the stand-in served under one key."""

    model: StandIn
    key: str

    def calls(self) -> list[LlmCall]:
        return self.model.calls(self.key)

    def is_alive(self) -> bool:
        return self.model.is_alive()


@dataclass
class Bench:
    """Runs a cell on an engine that it checks to be empty afterwards."""

    task: CellTask
    model: StandIn

    def run(
        self,
        server: FakeAgentServer,
        engine: FakeEngine | None = None,
        limits: Limits | None = None,
        **changes: object,
    ) -> Attempt:
        engine = engine or FakeEngine()
        engine.images[IMAGE] = server.image
        try:
            llm = replace(self.task.llm, api_key=self.model.issue_key(self.task.cell))
            task = replace(self.task, llm=llm, **changes)  # type: ignore[arg-type]
            ledger = Ledger(self.model, str(llm.api_key))
            attempt = run_cell(task, engine, ledger, Silent(), Cancellation(), limits or Limits())
            assert engine.list({}) == []
        finally:
            engine.close()
        return attempt


@pytest.fixture(scope="module")
def model() -> Iterator[StandIn]:
    with StandIn("127.0.0.1") as running:
        yield running


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: StandIn) -> Bench:
    monkeypatch.setattr(container, "STOP_GRACE", 0.3)
    monkeypatch.setattr(conversation, "ERROR_EVENT_PATIENCE", 0.1)
    monkeypatch.setattr(conversation, "POLL_BESIDE_SOCKET", 0.3)
    return Bench(
        a_task(
            LlmEndpoint(model.model, model.base_url(), None, is_stand_in=True),
            str(tmp_path),
            image=IMAGE,
            expected_sha=BUILD_SHA[:7],
            expected_version="1.43",
            resources=Resources(memory_bytes=1 << 30),
        ),
        model,
    )


def names(attempt: Attempt) -> list[str]:
    return [step.name for step in attempt.steps]


def failed(attempt: Attempt) -> list[str]:
    return [step.name for step in attempt.steps if step.outcome is not Outcome.PASSED]


def step(attempt: Attempt, name: str) -> Step:
    return next(step for step in attempt.steps if step.name == name)


def told(step: Step) -> str:
    return f"{step.message} | expected {step.expected} | got {step.got} | {step.detail}"


@pytest.mark.parametrize(("version", "gate"), [("1.43.1", "known"), ("1.58.0", "all")])
def test_a_server_that_is_right_passes_every_step(bench: Bench, version: str, gate: str) -> None:
    attempt = bench.run(
        FakeAgentServer(version=version), expected_version=version[:4], settings={"gate": gate}
    )
    assert (failed(attempt), names(attempt)) == ([], STEPS)
    assert (attempt.outcome, attempt.cause, attempt.exit_code) == (Outcome.PASSED, None, 143)
    assert attempt.cost_usd == Decimal("0.000085")
    assert attempt.tokens == Tokens(prompt=30, completion=1, total=31)
    assert attempt.server.build_git_sha == BUILD_SHA
    assert attempt.machine == "x86_64"
    assert attempt.dormant_memory_bytes == 1 << 20
    assert step(attempt, "finished").facts == {"status": "finished", "learned_from": "websocket"}


def test_what_the_server_says_of_its_api_is_kept_and_told_apart(bench: Bench) -> None:
    one, same, other = (
        bench.run(FakeAgentServer(version=version)).api for version in ("1.43.1", "1.43.1", "1.58.0")
    )
    assert one
    assert other
    assert one == same
    assert one.digest != other.digest
    # The bench runs one attempt after the other in the same folder: the last one's document lies there.
    document = json.loads((Path(bench.task.folder) / description.FILE).read_text())
    assert canonical_digest(document) == other.digest
    assert other.operations == sum(map(len, document["paths"].values()))


@pytest.mark.parametrize(
    ("price", "cost"),
    [
        (Price(Decimal("3"), Decimal("15")), "0.000105"),  # of 30 and 1 tokens
        (Price(Decimal(0), Decimal(0)), "0"),  # free, and known to be
    ],
)
def test_a_price_of_the_matrix_counts_where_the_server_knows_none(
    bench: Bench, price: Price, cost: str
) -> None:
    attempt = bench.run(FakeAgentServer(Fault.COST_ZERO), price=price)
    assert (failed(attempt), attempt.cost_usd) == ([], Decimal(cost))
    facts = step(attempt, "cost").facts
    assert (facts["price"], facts["cost_by_server_usd"]) == (f"llm.prices of the matrix: {price}", "0.0")


def test_a_price_of_the_matrix_counts_for_the_budget_too(bench: Bench) -> None:
    price = Price(Decimal("3"), Decimal("15"))
    limits = Limits(budget=Budget(per_cell=Decimal("0.0001")))
    attempt = bench.run(FakeAgentServer(), price=price, limits=limits)
    assert (attempt.outcome, attempt.cause) == (Outcome.FAILED, "cell-budget")


def test_a_conversation_that_finished_in_spite_of_another_question_fails_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "difference", lambda _: ReplayDifference("call 1 differs", "-one\n+two"))
    attempt = bench.run(FakeAgentServer())
    assert (failed(attempt), attempt.cause) == (["finished"], "llm-replay-differs")
    assert (attempt.message, step(attempt, "finished").detail) == ("call 1 differs", "-one\n+two")


def test_what_a_replay_was_not_asked_is_noted_and_no_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "unused", lambda _: 2)
    attempt = bench.run(FakeAgentServer())
    assert (failed(attempt), step(attempt, "cost").facts["recorded_calls_not_asked_for"]) == ([], 2)


# The fault, the step that meets it, and something of what that step says of it. The scenario goes on.
SEEN_AND_GONE_ON = [
    (Fault.OTHER_MACHINE, "machine", "expected x86_64 | got riscv64"),
    (Fault.OPEN_ROUTE_SHUT, "gate", "got ['/ready']"),
    (Fault.GATED_ROUTE_OPEN, "gate", "expected 503 from each | got GET /api/settings: 200"),
    (Fault.SECOND_INIT_ACCEPTED, "init-again", "a second POST /api/init | expected 400 | got 200"),
    (Fault.SECOND_INIT_NEEDS_NO_KEY, "init-again", "with a wrong key | expected 401 | got 400"),
    (Fault.SESSION_KEYS_IGNORED, "session-keys", "without a session key | expected 401 | got 200"),
    (Fault.SOCKET_REFUSED, "events", "got InvalidStatus: "),
    (Fault.SOCKET_BREAKS, "events", "got ConnectionClosedError: "),
    (Fault.SOCKET_SILENT, "events", "the events WebSocket | expected open until the end | got "),
    (Fault.SOCKET_MALFORMED, "events", "got ConnectionClosedError: "),
    (Fault.SOCKET_NEVER_TERMINAL, "events", "got open, and silent about the end"),
    (Fault.WRONG_ANSWER, "answer", "got '41, I believe'"),
    (Fault.EMPTY_ANSWER, "answer", "expected a text with 42 | got ''"),
    (Fault.COST_ZERO, "cost", "counted no cost | expected above zero | got 0"),
    (Fault.COST_NEGATIVE, "cost", "none that can be | expected a number above zero | got -0.000085"),
    (Fault.METRICS_MISSING, "cost", "counted no cost | expected above zero | got no cost at all"),
    (Fault.COST_MISSING, "cost", "counted no cost | expected above zero | got no cost at all"),
    (Fault.COST_TEXT, "cost", "none that can be | expected a number above zero"),
    (Fault.WRONG_TOKENS, "cost", "completion=1 total=31 | got prompt=30 completion=2"),
    (Fault.DELETE_FAILS, "delete", "answers | expected 200 | got 500"),
    (Fault.DELETE_KEEPS, "delete", "after the deletion | expected 404 | got 200"),
    (Fault.DELETES_TWICE, "delete", "a second DELETE | expected 400 | got 200"),
    (
        Fault.API_NOT_DESCRIBED,
        "openapi",
        'the operations in /openapi.json | expected one at least | got {"openapi":',
    ),
    (Fault.IGNORES_TERM, "stop", "expected exit code 0 or 143 | got exit code 137"),
    (Fault.ENDS_BADLY, "stop", "expected exit code 0 or 143 | got exit code 4"),
    (Fault.LIBRARY_MISSING, "log", "error while loading shared libraries"),
]


@pytest.mark.parametrize(
    ("fault", "where", "words"), SEEN_AND_GONE_ON, ids=[row[0].name for row in SEEN_AND_GONE_ON]
)
def test_a_fault_fails_its_own_step_and_the_rest_is_tested_too(
    bench: Bench, fault: Fault, where: str, words: str
) -> None:
    attempt = bench.run(FakeAgentServer(fault))
    assert failed(attempt) == [where]
    assert names(attempt) == STEPS
    assert words in told(step(attempt, where))
    assert (attempt.outcome, attempt.cause) == (Outcome.FAILED, Cause.ASSERTION)


# The fault, all the steps that meet it, what the first of them says, and the cause. The last step ends the
# scenario: what would follow means nothing without it.
SEEN_AND_ENDED = [
    (
        Fault.CRASHES_AT_BOOT,
        "dormant",
        "exit code 3 | expected None | got None | ImportError",
        "container-exited",
    ),
    (Fault.EMULATOR_CRASHES_AT_BOOT, "dormant", "qemu: uncaught target signal 11", "emulator-crashed"),
    (Fault.IGNORES_DEFERRED_INIT, "dormant", "it ignored OH_DEFERRED_INIT", "assertion"),
    (Fault.BOOTS_READY, "dormant", "expected dormant | got ready", "assertion"),
    (Fault.INIT_WITHOUT_KEY, "refusals init", "without a key | expected 401 | got 200", "assertion"),
    (Fault.INIT_WITH_UNKNOWN_FIELD, "refusals init", "field | expected 422 | got 200", "assertion"),
    (
        Fault.REFUSED_INIT_COUNTS,
        "refusals init",
        "the state after refused inits | expected dormant | got ready",
        "assertion",
    ),
    (Fault.INIT_FAILS, "init", 'got 500 | {"detail":"Internal Server Error"', "assertion"),
    (Fault.INIT_REFUSED, "init", 'got 422 | {"detail":[{"type":"missing"', "assertion"),
    (Fault.INIT_WITH_WRONG_KEY, "refusals init", "with a wrong key | expected 401 | got 200", "assertion"),
    (Fault.STAYS_INITIALIZING, "init", "expected ready | got initializing", "assertion"),
    (Fault.INIT_SAYS_DORMANT, "init", "expected ready | got dormant", "assertion"),
    (Fault.INIT_LIES, "init-again session-keys conversation", "expected ready | got dormant", "assertion"),
    (Fault.SESSION_KEY_REFUSED, "session-keys conversation", "expected 200 | got 401", "assertion"),
    (Fault.CONVERSATION_FAILS, "conversation", "expected 201 | got 500", "assertion"),
    (Fault.CONVERSATION_WITHOUT_ID, "conversation", "gave no id", "assertion"),
    (
        Fault.CONVERSATION_ENDS_IN_ERROR,
        "finished",
        "ValueError: the agent lost its tools",
        "conversation-error",
    ),
    (Fault.MODEL_AWAY, "finished", "LLMServiceUnavailableError: the agent lost", "llm-unavailable"),
    (Fault.CONVERSATION_STUCK, "finished", "expected finished | got stuck", "conversation-error"),
    (Fault.NEVER_ENDS, "finished", "expected finished | got running", "step-timeout"),
    (Fault.NEVER_STARTS, "finished", "expected finished | got idle", "step-timeout"),
    (Fault.STOPPED, "finished", "expected finished | got stopped", "step-timeout"),
    (Fault.DIES_IN_CONVERSATION, "finished", "exit code 3", "container-exited"),
    (Fault.OUT_OF_MEMORY, "finished", "its memory at its limit of 1024 MiB (exit code 137)", "out-of-memory"),
]


@pytest.mark.parametrize(
    ("fault", "where", "words", "cause"), SEEN_AND_ENDED, ids=[row[0].name for row in SEEN_AND_ENDED]
)
def test_a_fault_that_leaves_nothing_to_test_ends_the_scenario_with_its_cause(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: Fault, where: str, words: str, cause: str
) -> None:
    monkeypatch.setattr(conversation, "TERMINAL_LIMIT", 0.4)
    attempt = bench.run(FakeAgentServer(fault))
    assert failed(attempt) == where.split()
    assert names(attempt) == STEPS[: STEPS.index(where.split()[-1]) + 1]
    first = step(attempt, where.split()[0])
    assert words in told(first)
    assert (first.cause, attempt.cause, attempt.message) == (cause, cause, first.message)


def test_an_image_of_another_commit_or_release_is_seen(bench: Bench) -> None:
    attempt = bench.run(FakeAgentServer(), expected_sha="fedcba9")
    assert (failed(attempt), names(attempt)) == (["server-info"], STEPS)
    assert "the commit that /server_info names | expected fedcba9 | got 0123456" in told(
        step(attempt, "server-info")
    )
    attempt = bench.run(FakeAgentServer(), expected_version="1.58.0")
    assert (failed(attempt), names(attempt)) == (["server-info"], STEPS)
    assert "expected 1.58.0 | got 1.43.1" in told(step(attempt, "server-info"))


@pytest.mark.parametrize("fault", [Fault.SOCKET_REFUSED, Fault.SOCKET_BREAKS])
def test_the_end_is_learned_by_asking_where_the_socket_does_not_tell(bench: Bench, fault: Fault) -> None:
    attempt = bench.run(FakeAgentServer(fault))
    assert step(attempt, "finished").facts == {"status": "finished", "learned_from": "polling"}


def test_the_gate_of_a_route_that_only_openapi_names_is_tested_when_asked_for(bench: Bench) -> None:
    fault = Fault.UNLISTED_ROUTE_OPEN
    assert failed(bench.run(FakeAgentServer(fault))) == []
    attempt = bench.run(FakeAgentServer(fault), settings={"gate": "all"})
    assert failed(attempt) == ["gate"]
    assert f"got GET {UNLISTED_ROUTE}: 200" in told(step(attempt, "gate"))


def test_what_only_newer_servers_do_is_asked_of_newer_servers(bench: Bench) -> None:
    def run(fault: Fault, version: str) -> Attempt:
        return bench.run(FakeAgentServer(fault, version), expected_version=None)

    assert failed(run(Fault.SOCKET_OPEN_WHILE_DORMANT, "1.43.1")) == []
    attempt = run(Fault.SOCKET_OPEN_WHILE_DORMANT, "1.58.0")
    assert failed(attempt) == ["gate"]
    assert "the handshake of the events WebSocket | expected 403 | got 101" in told(step(attempt, "gate"))


class PromptEngine(FakeEngine):
    """Lets a program that ends at once end before ``start`` returns, as a short-lived container can."""

    def start(self, container: str) -> None:
        super().start(container)
        assert self.watch_exit(container).exited.wait(5)


@pytest.mark.parametrize(
    ("fault", "cause", "words"),
    [
        (Fault.CRASHES_AT_ONCE, Cause.CONTAINER_EXITED, "ImportError"),
        (Fault.EMULATOR_CRASHES_AT_ONCE, Cause.EMULATOR_CRASHED, "signal 11"),
    ],
)
def test_a_container_that_ends_before_anybody_looks_is_told_like_one_that_ends_later(
    bench: Bench, fault: Fault, cause: Cause, words: str
) -> None:
    attempt = bench.run(FakeAgentServer(fault), PromptEngine())
    assert failed(attempt) == names(attempt)[-1:]
    assert attempt.cause is cause
    assert words in told(attempt.steps[-1])


class ExecFails(FakeEngine):
    """Gives the failure of an exec as the command's output, as Docker does of a container that is ending."""

    def exec(self, container: str, command: Sequence[str], timeout: float = 30.0) -> ExecResult:
        super().exec(container, command, timeout)
        return ExecResult(126, b"OCI runtime exec failed: exec failed: container is not running")


def test_an_exec_that_met_the_container_s_end_is_not_taken_for_another_machine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = bench.run(FakeAgentServer(Fault.CRASHES_AT_BOOT), ExecFails())
    assert (failed(attempt), attempt.cause) == (["machine"], Cause.CONTAINER_EXITED)
    monkeypatch.setattr(container, "DEATH_PATIENCE", 0.1)
    attempt = bench.run(FakeAgentServer(), ExecFails())
    assert (failed(attempt), attempt.cause) == (["machine"], Cause.ASSERTION)
    assert "expected x86_64 | got OCI runtime exec failed" in told(step(attempt, "machine"))


@pytest.mark.parametrize("told", ["1e9999999", "-0.5", "1e300", '"1"', "NaN", "true", "[1]"])
def test_a_cost_that_none_can_be_makes_the_whole_bill_unknown(told: str) -> None:
    metrics = f'{{"a": {{"accumulated_cost": 0.5}}, "b": {{"accumulated_cost": {told}}}}}'
    read = read_bill(json.loads(metrics, parse_float=Decimal))
    assert read.cost is None
    assert read.wrong


def test_a_disk_that_refuses_what_the_server_said_of_its_api_is_to_blame(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise InfrastructureError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(description, "write_atomically", refuse)
    attempt = bench.run(FakeAgentServer())
    assert (attempt.outcome, attempt.cause, attempt.api) == (Outcome.ERROR, Cause.DISK_FULL, None)
    assert "/openapi.json could not be kept: cannot write" in str(attempt.message)
