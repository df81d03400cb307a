"""What the script scenario makes of trouble on this host."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.cell import run_cell
from e2e_matrix.engine.base import ContainerSpec
from e2e_matrix.engine.fake import FakeEngine, FakeImage, FakeProcess
from e2e_matrix.errors import CellFailure, InfrastructureError
from e2e_matrix.failures import Cause
from e2e_matrix.limits import Limits
from e2e_matrix.llm.source import ProviderSource
from e2e_matrix.progress import Silent
from e2e_matrix.results import Attempt
from e2e_matrix.scenarios.base import Session
from e2e_matrix.script import checkout, sdk
from e2e_matrix.script.scratch import Scratch
from e2e_matrix.script.sdk import Interpreter
from e2e_matrix.script.surroundings import Surroundings
from e2e_matrix.task import LlmEndpoint
from support.tasks import a_task


@pytest.fixture(autouse=True)
def on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2e_matrix.scenarios.script.is_local", lambda address: True)


NOTHING = FakeImage({}, ("server",))


def run(tmp_path: Path, image: FakeImage = NOTHING, **settings: Any) -> Attempt:
    (tmp_path / "a.py").write_text("pass\n")
    settings = {"script": str(tmp_path / "a.py"), "path": "a.py", "sdk": "1.58.0", **settings}
    endpoint = LlmEndpoint("m", None, None, is_stand_in=False)
    task = a_task(endpoint, str(tmp_path), scenario="x", settings=settings)
    ledger = ProviderSource("m", None, lambda: None).ledger(endpoint)
    engine = FakeEngine({task.image: image})
    return run_cell(task, engine, ledger, Silent(), Cancellation(), Limits())


def test_the_folders_are_removed_when_no_container_writes_to_them_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing = threading.Event()

    def write(process: FakeProcess) -> int:
        for number in itertools.count():
            process.write(f"{process.spec.mounts[0].target}/{number}", b"")
            writing.set()
        return 0

    class RanOutOfTime:
        def __init__(self, session: Session, around: Surroundings, account: object) -> None:
            self._session, self._around = session, around

        def run(self) -> None:
            task, engine = self._session.task, self._session.engine
            spec = ContainerSpec(task.image, task.platform, "x", {}, mounts=self._around.mounts)
            engine.start(self._session.add_container(engine.create(spec)).id)
            writing.wait(10)
            raise CellFailure(Cause.CELL_TIMEOUT, "as the test says")

    monkeypatch.setattr(sdk, "prepare", lambda *_: Interpreter(tmp_path / "python", "1.58.0"))
    monkeypatch.setattr("e2e_matrix.scenarios.script._ScriptInCell", RanOutOfTime)
    monkeypatch.setattr("e2e_matrix.scenarios.script.Scratch", lambda note: Scratch(note, tmp_path))
    attempt = run(tmp_path, FakeImage({"server": write}, ("server",)))
    assert attempt.cause is Cause.CELL_TIMEOUT
    assert list(tmp_path.glob("e2e-matrix-*")) == []


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/e2e-matrix-x")

    monkeypatch.setattr(sdk, "prepare", lambda *_: Interpreter(tmp_path / "python", "1.58.0"))
    monkeypatch.setattr("e2e_matrix.script.scratch.tempfile.mkdtemp", refuse)
    attempt = run(tmp_path)
    assert (attempt.cause, attempt.message) == (
        Cause.DISK_FULL,
        "the script's folders could not be kept: /tmp/e2e-matrix-x: No space left on device",
    )


def test_a_missing_git_is_no_fault_of_the_runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Path:
        raise InfrastructureError("there is no git on this machine", "Install it.")

    monkeypatch.setattr(checkout, "export", refuse)
    attempt = run(tmp_path, at="v1")
    assert attempt.cause is Cause.SCRIPT_ENVIRONMENT
    assert "no git on this machine" in (attempt.message or "")
