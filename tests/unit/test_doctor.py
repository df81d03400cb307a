"""What doctor finds on machines and engines that lack one thing each."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from e2e_matrix import doctor, owner
from e2e_matrix.doctor import Check, Status
from e2e_matrix.engine.base import LABEL_OWNER, ContainerSpec, EngineInfo, Support
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import EXIT_INFRASTRUCTURE, BadInput, CellFailure, EngineUnavailable
from e2e_matrix.failures import Cause
from support.engines import FAKE_IMAGE
from support.fake_machine import EMULATOR, READY, FakeMachine


class LocalEngine(FakeEngine):
    """A fake engine that runs on this machine's kernel and keeps its images under ``root``."""

    def __init__(self, machine: FakeMachine, root: Path, **options: Any) -> None:
        super().__init__({"image": FAKE_IMAGE}, present=["image"], **options)
        self._kernel, self._root = machine.kernel, str(root)

    def info(self) -> EngineInfo:
        return replace(super().info(), address="unix:///run/x.sock", kernel=self._kernel, root_dir=self._root)


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


@contextmanager
def registry(status: int) -> Iterator[str]:
    """Something at a loopback port that answers every GET with ``status``; its host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def examine(engine: FakeEngine, machine: FakeMachine) -> dict[str, Check]:
    """By name; without the registry, which has tests of its own."""
    subject = doctor.Subject(machine, engine, None)
    finders = [finder for name, finder in doctor.CHECKS.items() if name != "registry"]
    return {check.name: check for finder in finders for check in finder(subject)}


def ask_registry(host: str, machine: FakeMachine, asked: bool = True) -> Check:
    (check,) = doctor.check_registry(doctor.Subject(machine, None, None, host, asked))
    return check


def test_a_machine_with_everything_is_fine(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=30_000_000_000))
    found = examine(LocalEngine(machine, tmp_path), machine)
    assert {check.status for check in found.values()} == {Status.OK}
    assert found["linux/amd64"].detail.startswith("native")
    assert found["linux/arm64"].detail.startswith("emulated")
    assert "flags POF" in found["emulator"].detail
    assert "QEMU_CPU=cortex-a72" in found["emulated CPU"].detail
    assert "30.0 GB free" in found["disk"].detail
    assert "cgroup v1" in found["storage"].detail
    assert "127.0.0.1" in found["stand-in LLM"].detail


@pytest.mark.parametrize(
    ("free", "status"), [(20_000_000_000, "ok"), (19_999_999_999, "warn"), (999_999_999, "fail")]
)
def test_little_room_is_a_warning_and_none_a_failure(
    machine: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    disk = examine(LocalEngine(machine, tmp_path), machine)["disk"]
    assert disk.status == status
    assert ("docker system df" in disk.fix) == (status != "ok")


def test_a_root_folder_that_cannot_be_seen_is_said(machine: FakeMachine, tmp_path: Path) -> None:
    disk = examine(LocalEngine(machine, tmp_path / "none"), machine)["disk"]
    assert disk.status is Status.WARN
    assert "No such file" in disk.detail


def test_without_emulation_the_other_platform_is_a_warning_with_commands(
    machine: FakeMachine, tmp_path: Path
) -> None:
    machine.path(EMULATOR).unlink()
    machine.programs -= {"qemu-aarch64-static"}
    found = examine(LocalEngine(machine, tmp_path, support={"linux/arm64": Support.UNSUPPORTED}), machine)
    assert found["linux/arm64"].status is Status.WARN
    assert "`unsupported`" in found["linux/arm64"].detail
    assert "qemu-user-static" in found["linux/arm64"].fix
    assert "emulator" not in found


def test_an_engine_that_runs_nothing_fails(machine: FakeMachine, tmp_path: Path) -> None:
    found = examine(LocalEngine(machine, tmp_path, support={"linux/amd64": Support.UNSUPPORTED}), machine)
    assert found["linux/amd64"].status is Status.FAIL


@pytest.mark.parametrize(
    ("entry", "why"),
    [(READY.replace("F", ""), "flag F"), (READY.replace("enabled", "disabled"), "switched off")],
)
def test_an_emulator_that_containers_cannot_reach_is_a_warning(
    machine: FakeMachine, tmp_path: Path, entry: str, why: str
) -> None:
    machine.write(EMULATOR, entry)
    emulator = examine(LocalEngine(machine, tmp_path), machine)["emulator"]
    assert emulator.status is Status.WARN
    assert why in emulator.detail
    assert emulator.fix


def test_an_engine_elsewhere_hides_its_disk_and_cannot_reach_us(machine: FakeMachine) -> None:
    found = examine(FakeEngine(gateway=""), machine)
    assert found["disk"].status is Status.WARN
    assert "emulator" not in found
    assert found["stand-in LLM"].status is Status.WARN
    assert "LLM_BASE_URL" in found["stand-in LLM"].fix


def test_leftovers_are_counted(machine: FakeMachine, tmp_path: Path) -> None:
    engine = LocalEngine(machine, tmp_path)
    dead = owner.current().rpartition(".")[0] + ".1"
    for name, label in (("one", dead), ("two", dead), ("three", owner.current())):
        engine.create(ContainerSpec("image", "linux/amd64", name, {LABEL_OWNER: label}))
    leftovers = examine(engine, machine)["leftovers"]
    assert leftovers == Check(
        "leftovers",
        Status.WARN,
        "2 containers of ended runs, 1 in use",
        "Remove them: `e2e-matrix clean`.",
    )


@pytest.mark.parametrize(("status", "expected"), [(200, "ok"), (401, "ok"), (404, "fail"), (503, "fail")])
def test_a_registry_that_asks_for_a_token_is_reachable(
    machine: FakeMachine, status: int, expected: str
) -> None:
    with registry(status) as host:
        check = ask_registry(host, machine)
    assert check.status == expected
    assert host in check.detail


def test_a_registry_that_nobody_asked_about_is_only_a_warning(machine: FakeMachine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        host = f"127.0.0.1:{closed.getsockname()[1]}"
    assert ask_registry(host, machine, asked=True).status is Status.FAIL
    assert ask_registry(host, machine, asked=False).status is Status.WARN


def test_a_silent_registry_is_given_up_in_time(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REGISTRY_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check = ask_registry(f"127.0.0.1:{silent.getsockname()[1]}", machine)
    assert check.status is Status.FAIL


def test_the_registry_is_named_by_host_or_by_image(machine: FakeMachine) -> None:
    def connect() -> FakeEngine:
        raise EngineUnavailable("none")

    with registry(200) as host:
        for name in (host, f"{host}/openhands/agent-server:latest"):
            checks = doctor.examine(connect, machine, name)
            assert f"{host} answers" in {check.detail for check in checks}
    with pytest.raises(BadInput):
        doctor.examine(connect, machine, "http://somewhere")


def test_an_engine_that_is_lost_half_way_fails_that_check_and_not_the_rest(
    machine: FakeMachine, tmp_path: Path
) -> None:
    engine = LocalEngine(machine, tmp_path)
    engine.fail_next("probe", CellFailure(Cause.ENGINE_LOST, "the engine went away"))
    with registry(200) as host:
        checks = {check.name: check for check in doctor.examine(lambda: engine, machine, host)}
    assert checks["platforms"].status is Status.FAIL
    assert checks["platforms"].detail == "the engine went away"
    assert checks["leftovers"].status is Status.OK
    assert not doctor.run_is_possible(list(checks.values()))


def test_warnings_do_not_keep_a_run_from_happening() -> None:
    fine, less, none = (Check("x", status, "") for status in (Status.OK, Status.WARN, Status.FAIL))
    assert doctor.run_is_possible([fine, less])
    assert not doctor.run_is_possible([fine, less, none])


def test_without_an_engine_the_command_says_why_and_exits_3() -> None:
    with registry(200) as host:
        ended = subprocess.run(
            [sys.executable, "-m", "e2e_matrix", "doctor", "--registry", host, "--format", "json"],
            env={**os.environ, "DOCKER_HOST": "unix:///nonexistent"},
            capture_output=True,
            text=True,
            check=False,
        )
    found = json.loads(ended.stdout)
    assert ended.returncode == EXIT_INFRASTRUCTURE
    assert found["run_is_possible"] is False
    engine = next(check for check in found["checks"] if check["name"] == "engine")
    assert engine["status"] == "fail"
    assert "/nonexistent" in engine["detail"]
    assert engine["fix"] == engine["fix"].strip() != ""
