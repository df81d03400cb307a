"""What a cell keeps of its container's log: bounded, without secrets, and looked through to its last line."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from e2e_matrix import log_file
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.cell import run_cell
from e2e_matrix.engine.fake import FakeEngine, FakeProcess
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.limits import Limits
from e2e_matrix.llm.source import ProviderSource
from e2e_matrix.llm.standin import StandIn
from e2e_matrix.progress import Silent
from e2e_matrix.results import Attempt
from e2e_matrix.task import LlmEndpoint
from support.fake_agent_server import FakeAgentServer, Fault
from support.tasks import a_task

IMAGE = "repo@sha256:0"
KEY = 'sk-"Zoë/+ 42&=%\\'
BASE_URL = "http://someone:pass-word@127.0.0.1:1/v1?api-key=query%2Bkey"


class Talkative(FakeAgentServer):
    """Prints what it is told to when it boots and, with ``say``, every key that it knows, byte by byte."""

    def __init__(
        self, *at_boot: bytes, fault: Fault = Fault.NONE, say: Callable[[str], str] | None = None
    ) -> None:
        super().__init__(fault)
        self.at_boot = at_boot
        self.say = say

    def _run(self, process: FakeProcess) -> int:
        for piece in self.at_boot:
            process.print(piece)
        if self.say:
            for key in (process.environment["OH_SECRET_KEY"], KEY, BASE_URL, "pass-word", "query+key"):
                for byte in f"{self.say(key)}\n".encode():
                    process.print(bytes([byte]))
        return super()._run(process)


@pytest.fixture(scope="module")
def model() -> Iterator[StandIn]:
    with StandIn("127.0.0.1") as running:
        yield running


def run(folder: Path, server: FakeAgentServer, model: StandIn | None = None) -> Attempt:
    """One cell; without a model nobody answers where its address points to."""
    endpoint = LlmEndpoint("openai/m", BASE_URL, KEY, is_stand_in=True)
    if model:
        endpoint = LlmEndpoint(model.model, model.base_url(), model.issue_key("a"), is_stand_in=True)
    task = a_task(endpoint, str(folder), image=IMAGE)
    folder.mkdir(exist_ok=True)
    engine = FakeEngine({IMAGE: server.image})
    ledger = ProviderSource("m", None, lambda: None).ledger(endpoint)
    try:
        return run_cell(task, engine, ledger, Silent(), Cancellation(), Limits())
    finally:
        engine.close()


def test_the_log_is_kept_as_it_was_printed(tmp_path: Path, model: StandIn) -> None:
    attempt = run(tmp_path, Talkative(b"\x1b[31mred\x1b[0m \xff", b"\xc3", b"\xab\n"), model)
    assert attempt.outcome is Outcome.PASSED, attempt.message
    assert (tmp_path / "server.log").read_text() == "\x1b[31mred\x1b[0m \ufffdë\n"
    assert (attempt.log_bytes, attempt.log_dropped_bytes, attempt.log_complete) == (19, 0, True)
    assert attempt.log_excerpt is None


def test_what_a_hostile_log_says_is_harmless_in_the_results(tmp_path: Path) -> None:
    attempt = run(
        tmp_path,
        Talkative(b"a\x1b]0;title\x07b\x1b[2J\x00\xe2\x80\xaec\r\nlast words\n", fault=Fault.CRASHES_AT_ONCE),
    )
    told = attempt.model_dump_json()
    assert "last words" in (attempt.log_excerpt or "")
    assert not any(sign in json.loads(told)["log_excerpt"] for sign in "\x1b\x07\x00\u202e\r")
    assert "\\u001b" not in told
    assert "\x1b" in (tmp_path / "server.log").read_text()


def test_a_flood_is_cut_in_the_middle_and_looked_through_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: StandIn
) -> None:
    monkeypatch.setattr(log_file.LogFile.__init__, "__defaults__", (1000, 2000, log_file.NAME))
    line = b"x" * 99 + b"\n"
    sign = b"tmux: error while loading shared libraries: libevent.so.7: cannot open\n"
    attempt = run(tmp_path, Talkative(line * 500, sign, line * 500), model)
    assert (attempt.outcome, attempt.cause) == (Outcome.FAILED, Cause.ASSERTION)
    assert [step.name for step in attempt.steps if step.outcome is not Outcome.PASSED] == ["log"]
    assert "error while loading shared libraries" in (attempt.steps[-1].got or "")
    kept = (tmp_path / "server.log").read_bytes()
    assert len(kept) < 3100
    assert sign not in kept
    assert attempt.log_bytes == 100_000 + len(sign)
    assert attempt.log_dropped_bytes == attempt.log_bytes - 3000


def test_a_crash_of_the_emulator_in_the_middle_explains_what_failed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: StandIn
) -> None:
    monkeypatch.setattr(log_file.LogFile.__init__, "__defaults__", (1000, 2000, log_file.NAME))
    crash = b"qemu: uncaught target signal 11 (Segmentation fault) - core dumped\n"
    pieces = (b"x\n" * 5000, crash, b"x\n" * 50_000)
    attempt = run(tmp_path / "a", Talkative(*pieces, fault=Fault.WRONG_ANSWER), model)
    assert (attempt.outcome, attempt.cause) == (Outcome.ERROR, Cause.EMULATOR_CRASHED)
    attempt = run(tmp_path / "b", Talkative(*pieces), model)
    assert (attempt.outcome, attempt.cause) == (Outcome.ERROR, Cause.EMULATOR_CRASHED)
    assert attempt.steps[-1].name == "log"


@pytest.mark.parametrize(
    "say",
    [
        str,
        lambda key: quote(key, safe=""),
        lambda key: json.dumps({"key": key}),
        lambda key: repr({"key": key}),
        lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    ],
)
def test_no_key_is_written_down_however_it_is_printed(tmp_path: Path, say: Callable[[str], str]) -> None:
    attempt = run(tmp_path, Talkative(say=say))
    assert attempt.cause is Cause.LLM_UNAVAILABLE
    written = attempt.model_dump_json().encode() + (tmp_path / "server.log").read_bytes()
    assert written.count(b"[hidden]") >= 5
    for form in (KEY, quote(KEY, safe=""), json.dumps(KEY)[1:-1], "pass-word", "query%2Bkey", "query+key"):
        assert form.encode() not in written
    for secret in (KEY, "pass-word"):
        for offset in range(3):
            raw = secret.encode()[offset : offset + 6]
            assert base64.b64encode(raw) not in written


def test_a_disk_that_refuses_the_log_is_the_infrastructure_s_fault(tmp_path: Path, model: StandIn) -> None:
    (tmp_path / "server.log").mkdir()
    attempt = run(tmp_path, Talkative(b"last words\n"), model)
    assert (attempt.outcome, attempt.cause) == (Outcome.ERROR, Cause.DISK_FULL)
    assert "server.log" in (attempt.message or "")
    assert attempt.log_excerpt == "last words"
