"""What runs leave on the machine: nothing after a kill -9, no image that was not there, room on its disk."""

import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from e2e_matrix import owner
from e2e_matrix.engine.base import LABEL_CELL, LABEL_DEADLINE, LABEL_OWNER, LABEL_RUN, ContainerSpec
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.demo import Served
from e2e_matrix.local.oci import Document
from support.real_runs import PROGRAM, ROOT, Runner
from support.shelf import Shelf

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


def references(engine: DockerEngine) -> set[str]:
    return {name for image in engine.list_images({}) for name in image.references}


def test_with_images_remove_only_what_the_run_itself_pulled_goes(
    served: Served, engine: DockerEngine, runner: Runner, bystander: str
) -> None:
    with closing(Shelf(served, "removed-after-the-run")) as shelf:
        manifest = shelf.python_amd64(Labels={"of": secrets.token_hex(8)})  # an image that no engine has
        shelf.put(f"{served.ref}-python", manifest)
        before = {name for name in references(engine) if name.startswith(f"{served.repository}@")}
        assert before
        options = ("--only", "python-amd64", "--images", "remove")
        ran = runner.run(*options, template=shelf.template)
        assert (ran.exit_code, ran.step("python-amd64", "pull")["facts"]["was_present"]) == (0, False)
        assert not any(shelf.repository in name for name in references(engine))
        kept = runner.run("--only", "python-amd64", template=shelf.template)
        assert kept.step("python-amd64", "pull")["facts"]["was_present"] is False
        [pulled] = [name for name in references(engine) if shelf.repository in name]
        try:
            again = runner.run(*options, template=shelf.template)  # what was there before the run stays
            assert again.step("python-amd64", "pull")["facts"]["was_present"] is True
            assert pulled in references(engine)
        finally:
            engine.remove_image(pulled)
        assert before <= references(engine)


def test_images_that_have_no_room_are_not_pulled(
    served: Served, engine: DockerEngine, runner: Runner
) -> None:
    with closing(Shelf(served, "too-large")) as shelf:
        manifest = json.loads(shelf.python_amd64(Labels={"of": "a giant"}).content)
        manifest["layers"][0]["size"] = 10**15  # what a manifest says is all that is known before a pull
        document = Document(manifest["mediaType"], json.dumps(manifest).encode())
        shelf.put(f"{served.ref}-python", document)
        command = runner.command("--only", "python-amd64", template=shelf.template)
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 3, ended.stdout
    assert "the images need about 4300 TB of disk (1000 TB to download)" in ended.stderr
    assert f"is free at {engine.info().root_dir}" in ended.stderr
    assert "docker system df" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(runner.reports.iterdir()) == []
