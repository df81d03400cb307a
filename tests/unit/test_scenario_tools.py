"""What the scenario ``tools`` is told, reads and gathers; what it finds: tests/support/contract_faults.py."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import ExecResult, ExitState
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import BadInput, CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.limits import Limits
from e2e_matrix.llm.source import ProviderSource
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.progress import Silent
from e2e_matrix.scenarios import SCENARIOS, leftovers, shell, tools, variant_tools
from e2e_matrix.scenarios.base import Session
from e2e_matrix.scenarios.checks import checks
from e2e_matrix.scenarios.leftovers import OWN_FILES, OWN_PROCESSES, Snapshot
from e2e_matrix.task import LlmEndpoint
from support.matrix_files import write
from support.tasks import a_task

HEAD = "matrix:\n  variant: [python]\n  arch: [amd64]\nscenarios:\n  tools:\n"


def a_session(printed: str = "", **task: Any) -> Session:
    """One whose container runs, and in which every command prints ``printed``."""
    endpoint = LlmEndpoint("m", None, "secret-key", is_stand_in=False)
    ledger = ProviderSource("m", None, lambda: None).ledger(endpoint)
    session = Session(
        a_task(endpoint, "/nonexistent", **task), FakeEngine(), ledger, Silent(), Cancellation(), Limits()
    )
    session.add_container("c").watch = SimpleNamespace(exited=threading.Event(), interrupted=False)
    session.engine = SimpleNamespace(
        state=lambda _: ExitState(running=True, exit_code=None, oom_killed=False),
        exec=lambda *_: ExecResult(0, printed.encode()),
    )
    return session


def test_all_that_is_wrong_in_a_step_is_told_and_the_scenario_goes_on() -> None:
    session = a_session()
    with checks(session, "bash", "t", limit=5) as found:
        found.expect("one", 1, 1)
        found.expect("two", 2, 3)
        with found.one():
            raise CellFailure(Cause.ASSERTION, "three", expected="a", got="b", detail="more of it")
        for _ in range(2):
            with found.one():
                raise CellFailure(Cause.ASSERTION, "POST answers", expected="200", got="500")
    [step] = session.findings.steps
    assert (step.outcome, step.message) == ("failed", "two; three; POST answers")
    assert (step.expected, step.got) == (
        "two: 2\nthree: a\nPOST answers: 200",
        "two: 3\nthree: b\nPOST answers: 500",
    )
    assert step.detail == "more of it"


def test_one_thing_that_is_wrong_is_told_like_any_other() -> None:
    session = a_session()
    with checks(session, "bash", "t", limit=5) as found:
        found.expect("two", 2, 3)
    [step] = session.findings.steps
    assert (step.message, step.expected, step.got) == ("two", "2", "3")


def test_what_is_worse_ends_the_scenario_and_tells_what_was_wrong_before() -> None:
    session = a_session()
    with pytest.raises(CellFailure), checks(session, "bash", "t", limit=5) as found:
        found.expect("two", 2, 3)
        with found.one():
            raise CellFailure(Cause.STEP_TIMEOUT, "too late")
    [step] = session.findings.steps
    assert (step.cause, step.message, step.detail) == (
        Cause.STEP_TIMEOUT,
        "too late",
        "two: expected 2, got 3",
    )


def test_the_look_sees_processes_and_files_and_not_itself(tmp_path: Path) -> None:
    (tmp_path / "a name with spaces").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    script = leftovers._LOOK.replace("PLACES", f"{tmp_path}/* {tmp_path}/.[!.]* {tmp_path}/no/*")
    # A command line is bytes: what else runs on the machine may not be UTF-8 either.
    half_a_letter = os.fsdecode(b"half a letter \x80")
    command = [sys.executable, "-c", "import time; time.sleep(60)  # two\nthree", half_a_letter]
    sleeper = subprocess.Popen(command)
    try:
        shells = [subprocess.run([shell, "-c", script], capture_output=True) for shell in ("sh", "bash")]
    finally:
        sleeper.kill()
        sleeper.wait()
    for ran in shells:
        assert (ran.returncode, ran.stderr) == (0, b"")
        seen = Snapshot.parse(ran.stdout)
        assert seen.files == {f"{tmp_path}/{name}" for name in ("a name with spaces", ".hidden", "dangling")}
        assert seen.processes[sleeper.pid].endswith("time.sleep(60)  # two three half a letter \ufffd")
        assert os.getpid() in seen.processes
        assert not [command for command in seen.processes.values() if f"{tmp_path}/no/*" in command]


BEFORE = "process 1 tini\nprocess 7 openhands-agent-server\nfile /workspace/conversations\n"
SERVERS_OWN = (
    "process 90 node /openhands/.openvscode-server/out/server-main.js\nfile /workspace/.git\n"
    "file /workspace/bash_events\nfile /tmp/openhands-agent-server-7\nfile /tmp/_MEI123\n"
)


@pytest.mark.parametrize(
    ("after", "expected", "got"),
    [
        ("", None, None),
        (SERVERS_OWN, None, None),
        ("process 55 tmux -Lopenhands new-session\n", "none", "tmux -Lopenhands new-session"),
        ("process 56 \n", "none", "(a process that has ended)"),
        ("file /workspace/conversations/0123456789ab\n", "none", "/workspace/conversations/0123456789ab"),
        ("file /tmp/x\nfile /workspace/y\n", "none", "/tmp/x; /workspace/y"),
    ],
)  # fmt: skip
def test_what_is_left_behind_is_what_is_new_and_not_the_server_s_own(
    monkeypatch: pytest.MonkeyPatch, after: str, expected: str | None, got: str | None
) -> None:
    monkeypatch.setattr(leftovers, "PATIENCE", 0.0)
    session = a_session(BEFORE + after)
    with checks(session, "leftovers", "t", limit=5) as found:
        leftovers.check(found, Snapshot.parse(BEFORE.encode()), OWN_PROCESSES, OWN_FILES)
    [step] = session.findings.steps
    assert (step.expected, step.got) == (expected, got)


def test_the_settings_are_what_matrix_yaml_says(tmp_path: Path) -> None:
    text = HEAD + (
        "    user: null\n    tmux: false\n    own-files: [/tmp/mine-*]\n"
        "    variant-tools:\n      python: [pip --version, {run: cat a, prints: 42, files: {a: '42'}}]\n"
    )
    matrix = load_matrix(write(tmp_path, text), {}, SCENARIOS)
    settings = tools.Settings.model_validate(matrix.scenarios["tools"])
    assert (settings.user, settings.tmux, settings.own_files) == (None, False, ["/tmp/mine-*"])
    first, second = settings.variant_tools["python"]
    assert (first.run, first.prints) == ("pip --version", None)
    assert (second.prints, second.files) == ("42", {"a": "42"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("usr: 5", "did you mean 'user'?"),
        ("variant_tools: {}", "did you mean 'variant-tools'?"),
        ("user: openhands", "user: must be a whole number, not 'openhands'"),
        ("user: -1", "user: must be at least 0, not -1"),
        ("tmux: 1", "tmux: must be true or false, not 1"),
        ("variant-tools: {python: [{prints: '5'}]}", "variant-tools: python: entry 1: has no run"),
        ("variant-tools: {python: [{run: a, print: b}]}", "python: entry 1: unknown key 'print'"),
        ("variant-tools: {python: [{run: [5]}]}", "entry 1: run: must be text, not a list"),
        ("variant-tools: {python: {}}", "variant-tools: python: must be a list, not a mapping"),
        ("variant-tools: [a]", "variant-tools: must be a mapping, not a list"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_matrix(write(tmp_path, f"{HEAD}    {line}\n"), {}, SCENARIOS)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("axes", "note"), [({"variant": "rust"}, "none known of the variant rust"), ({}, "no axis `variant`")]
)
def test_a_variant_of_which_no_tool_is_known_passes_and_says_so(axes: dict[str, str], note: str) -> None:
    session = a_session(axes=axes)
    tools._check_variant(session, tools.Settings(), "folder")
    [step] = session.findings.steps
    assert (step.outcome, step.facts) == ("passed", {"tools": note})


def test_a_tool_is_run_with_its_files_in_a_folder_of_its_own(tmp_path: Path) -> None:
    files = {"a file": "it's $HOME `x`\n\\n%s", "b": ""}
    command = variant_tools._command(
        variant_tools.Tool(run="cat 'a file'; pwd", files=files), f"{tmp_path}/it's"
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"{files['a file']}{tmp_path}/it's\n", 0)


def test_a_container_without_a_shell_fails_the_step_and_the_scenario_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = a_session()
    session.engine.exec = lambda *_: ExecResult(127, b"sh: not found")  # type: ignore[method-assign]

    def refuse(*_: object) -> None:
        raise CellFailure(Cause.ASSERTION, "POST answers", expected="200", got="500")

    monkeypatch.setattr(shell, "run", refuse)
    assert tools._check_bash(session, tools.Settings(), "name") is None
    [step] = session.findings.steps
    assert step.message == "a shell in the container; POST answers"


def test_no_half_of_a_secret_is_left_of_an_output() -> None:
    session = a_session()
    told = {"exit_code": 0, "stdout": "secret-key" + "." * (shell.SHOWN - 5), "stderr": None}
    reply = SimpleNamespace(status=200, request="POST", text="", not_json="", field=told.get)
    server = SimpleNamespace(execute_bash=lambda *_: reply, not_after=0.0)
    session.started_container.server = server  # type: ignore[assignment]
    with checks(session, "bash", "t", limit=5) as found:
        output = shell.run(session, found.step, "env")
    assert "t-key" not in output.shown
