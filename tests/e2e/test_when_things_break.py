"""Each fault on the real thing: the outcome, the message, the exit code, and a clean machine."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import LABEL_CELL, LABEL_RUN
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.execution import Tools
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.llm.source import StandInSource
from e2e_matrix.local import oci
from e2e_matrix.local.demo import Served
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.plan import make_plan
from e2e_matrix.progress import Silent
from e2e_matrix.record import Job
from e2e_matrix.registry import RegistryClient
from e2e_matrix.runner import run
from e2e_matrix.settings import Overrides, Setting, Source, resolve
from support.real_runs import ROOT, Ran, Runner
from support.shelf import Shelf

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def shelf(served: Served, request: pytest.FixtureRequest) -> Iterator[Shelf]:
    name = request.node.name.replace("_", "-")[:60].strip("-")
    with closing(Shelf(served, name)) as opened:
        yield opened


def failed(ran: Ran, cell: str, cause: str) -> str:
    """The message of a cell that failed by this cause, in a run that says so with exit code 1."""
    found = ran.cell(cell)
    assert (found["outcome"], found["cause"], ran.exit_code) == ("failed", cause, 1), ran.output
    assert found["message"] in (ran.folder / "report.md").read_text().replace("\\", "")
    return str(found["message"])


def test_an_entrypoint_that_is_not_there(shelf: Shelf, runner: Runner) -> None:
    manifest = shelf.python_amd64(Entrypoint=["no-such-program"])
    shelf.put(f"{shelf.served.ref}-python", manifest)
    ran = runner.run("--only", "python-amd64", template=shelf.template)
    assert "no-such-program" in failed(ran, "python-amd64", "not-startable")


def test_a_server_that_ends_while_it_boots_is_seen_at_once(shelf: Shelf, runner: Runner) -> None:
    manifest = shelf.python_amd64(Entrypoint=["sh", "-c", "echo the disk is on fire; sleep 1; exit 7"])
    shelf.put(f"{shelf.served.ref}-python", manifest)
    ran = runner.run("--only", "python-amd64", template=shelf.template)
    assert "exit code 7" in failed(ran, "python-amd64", "container-exited")
    cell = ran.cell("python-amd64")
    assert cell["attempts"][0]["exit_code"] == 7
    assert "the disk is on fire" in cell["attempts"][0]["log_excerpt"]
    assert "the disk is on fire" in (ran.folder / "report.html").read_text()
    # One second of its own, and what the engine takes to start it and to tell; nowhere near a time limit.
    assert cell["phases"]["boot"] is None
    assert cell["duration_seconds"] < 10


def test_a_server_that_is_killed_for_its_memory(served: Served, runner: Runner, tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text((ROOT / "matrix.yaml").read_text().replace("memory: 4g", "memory: 64m"))
    ran = runner.run("--only", "python-amd64", "--matrix", str(matrix))
    assert "memory" in failed(ran, "python-amd64", "out-of-memory")
    assert ran.cell("python-amd64")["attempts"][0]["oom_killed"] is True


def test_an_index_without_arm64(shelf: Shelf, runner: Runner) -> None:
    manifest = shelf.python_amd64()
    index = oci.index({"amd64": manifest})
    shelf.put(manifest.digest, manifest)
    shelf.put(f"{shelf.served.ref}-python", index)
    ran = runner.run("--only", "python-arm64", template=shelf.template)
    assert "has no linux/arm64 (it has: linux/amd64)" in failed(ran, "python-arm64", "platform-missing")
    assert ran.cell("python-arm64")["attempts"] == []


def test_a_per_arch_tag_of_another_build(shelf: Shelf, runner: Runner) -> None:
    good, other = shelf.python_amd64(), shelf.python_amd64(Labels={"build": "another"})
    shelf.put(good.digest, good)
    shelf.put(f"{shelf.served.ref}-python", oci.index({"amd64": good}))
    shelf.put(f"{shelf.served.ref}-python-amd64", other)
    ran = runner.run("--only", "python-amd64", template=shelf.template)
    assert other.digest in failed(ran, "python-amd64", "arch-tag-differs")


def test_a_ref_that_was_never_published(runner: Runner) -> None:
    command = runner.command()
    command[command.index("--ref") + 1] = "99.99.99"
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "99.99.99-python does not exist" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_image_of_another_version_than_its_tag_says(shelf: Shelf, runner: Runner) -> None:
    shelf.put("1.99.0-python", shelf.python_amd64())
    command = runner.command("--only", "python-amd64", template=shelf.template)
    command[command.index("--ref") + 1] = "1.99.0"
    ran = runner.finish(runner.spawn(command))
    assert "version" in failed(ran, "python-amd64", "assertion")
    step = ran.step("python-amd64", "server-info")
    assert (step["expected"], step["got"]) == ("1.99.0", shelf.served.result.server_version)


def test_a_registry_that_is_down(runner: Runner) -> None:
    ran = runner.run("--only", "python-*", template="127.0.0.1:1/nothing:{ref}-{variant}")
    assert ran.exit_code == 3
    assert {cell["cause"] for cell in ran.results["cells"]} == {"registry-unreachable"}
    assert "127.0.0.1:1" in ran.output


class StopsTheStandIn(Silent):
    """Stops the model in the moment in which the conversation starts."""

    def __init__(self, source: StandInSource) -> None:
        self.source = source

    def step_started(self, cell: str, step: str, title: str) -> None:
        if step == "conversation":
            self.source.close()


def test_a_stand_in_that_stops_is_infrastructure(
    served: Served, engine: DockerEngine, tmp_path: Path
) -> None:
    matrix = load_matrix(str(ROOT / "matrix.yaml"), {})
    overrides = served.overrides().over(
        Overrides(
            only=Setting(("python-amd64",), Source.COMMAND_LINE),
            reports=Setting(str(tmp_path), Source.COMMAND_LINE),
        )
    )
    settings = resolve(matrix, overrides, {})
    with closing(StandInSource(engine)) as source, RegistryClient() as registry:
        tools = Tools(engine, source, registry, StopsTheStandIn(source), Cancellation())
        results, _ = run(Job(make_plan(matrix, settings), settings, ["e2e-matrix", "run"]), tools)
    [cell] = results.cells
    assert (cell.outcome, cell.cause) == (Outcome.ERROR, Cause.LLM_UNAVAILABLE), cell.message
    assert "what serves the model on this host stopped" in (cell.message or "")
    assert results.run.exit_code == 3
    assert list(engine.list({LABEL_RUN: results.run.id})) == []


def until_running(runner: Runner, cell: str, process: subprocess.Popen[str]) -> None:
    """Wait until this run's container for ``cell`` is there, and fail when the run ends before that."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        for folder in runner.reports.iterdir():
            if any(runner.engine.list({LABEL_RUN: folder.name, LABEL_CELL: cell})):
                return
        threading.Event().wait(0.05)
    pytest.fail(f"no container for {cell}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_reports_what_finished_and_leaves_nothing(
    runner: Runner, number: signal.Signals
) -> None:
    process = runner.start("--only", "python-amd64,java-amd64", "--max-parallel", "1")
    until_running(runner, "java-amd64", process)
    process.send_signal(number)
    begin = time.monotonic()
    ran = runner.finish(process)
    assert time.monotonic() - begin < 15
    assert ran.exit_code == 130, ran.output
    assert ran.cell("python-amd64")["outcome"] == "passed"
    assert (ran.cell("java-amd64")["outcome"], ran.cell("java-amd64")["cause"]) == (
        "cancelled",
        "interrupted",
    )
    assert ran.results["run"]["interrupted"] is True
    assert "Stopped on request" in (ran.folder / "report.html").read_text()
    assert (ran.folder / "cells" / "java-amd64" / "attempt-1" / "server.log").exists()
