"""After kill -9: what the runner left is found by label and removed, and nothing that anybody still uses."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e_matrix import owner
from e2e_matrix.engine.base import LABEL_CELL, LABEL_DEADLINE, LABEL_OWNER, LABEL_RUN, ContainerSpec
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.demo import Served
from support.real_runs import PROGRAM, ROOT, Runner

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def bystander(served: Served, engine: DockerEngine) -> Iterator[str]:
    """A container of a living run (this process's); its id."""
    [image] = [one for one in served.result.images if (one.variant, one.arch) == ("python", "amd64")]
    reference = f"{served.repository}@{image.manifest.digest}"
    engine.pull(reference, "linux/amd64")
    labels = {
        LABEL_RUN: "somebody-elses",
        LABEL_OWNER: owner.current(),
        LABEL_DEADLINE: owner.deadline_label(600),
    }
    spec = ContainerSpec(
        reference, "linux/amd64", f"e2e-matrix-bystander-{os.getpid()}", labels, entrypoint=["sleep", "600"]
    )
    container = engine.create(spec)
    try:
        engine.start(container)
        yield container
    finally:
        engine.remove(container)


def container_of(runner: Runner, process: subprocess.Popen[str]) -> tuple[str, str]:
    """The run's id and its container's, as soon as it is there."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        for folder in runner.reports.glob("*"):
            for found in runner.engine.list({LABEL_RUN: folder.name, LABEL_CELL: "python-amd64"}):
                if found.running:
                    return folder.name, found.id
        threading.Event().wait(0.05)
    pytest.fail("no container came up")


def killed(runner: Runner) -> str:
    """Kill a run in the middle with SIGKILL; its id. Its container is left."""
    process = runner.start("--only", "python-amd64")
    run_id, container = container_of(runner, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert runner.engine.state(container).running
    return run_id


def clean(*options: str) -> str:
    ended = subprocess.run(
        [str(PROGRAM), "clean", *options], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def left(engine: DockerEngine, run_id: str) -> list[str]:
    return [found.name for found in engine.list({LABEL_RUN: run_id})]


def test_clean_removes_what_a_killed_run_left_and_nothing_else(
    runner: Runner, engine: DockerEngine, bystander: str
) -> None:
    run_id = killed(runner)
    [name] = left(engine, run_id)
    said = clean("--dry-run")
    assert f"would remove {name} ({run_id} python-amd64; the process that started it is gone)" in said
    assert left(engine, run_id) == [name]
    said = clean()
    assert f"removed {name} ({run_id} python-amd64; the process that started it is gone)" in said
    assert "kept e2e-matrix-bystander" in said
    assert left(engine, run_id) == []
    assert engine.state(bystander).running


def test_the_next_run_removes_what_a_killed_run_left_and_nothing_else(
    runner: Runner, engine: DockerEngine, bystander: str
) -> None:
    run_id = killed(runner)
    [name] = left(engine, run_id)
    ran = runner.run("--only", "python-amd64")
    assert ran.exit_code == 0, ran.output
    assert f"removed {name}" in ran.output
    assert "bystander" not in ran.output
    assert left(engine, run_id) == []
    assert engine.state(bystander).running


def test_two_runs_at_once_leave_one_another_alone(
    served: Served, engine: DockerEngine, tmp_path: Path
) -> None:
    runners = [Runner(served, engine, tmp_path / name) for name in ("first", "second")]
    first = runners[0].start("--only", "python-amd64")
    container_of(runners[0], first)
    second = runners[1].start("--only", "python-amd64")
    with ThreadPoolExecutor(2) as pool:  # both at once: neither must wait for the other to read its pipe
        for ran in pool.map(Runner.finish, runners, (first, second)):
            assert ran.exit_code == 0, ran.output
            assert "removed e2e-matrix-" not in ran.output
