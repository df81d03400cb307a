"""Runs of the real program on contract servers, while something outside of them is disturbed."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import docker

from e2e_matrix.engine.base import LABEL_ATTEMPT, LABEL_CELL, LABEL_OWNER, LABEL_RUN
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.contract import ContractImages
from support.real_runs import PROGRAM, ROOT, Ran

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
# Seconds in which a container is there, or a conversation has begun, on two busy cores.
PATIENCE = 60.0


class Outside:
    """Runs `e2e-matrix` below a folder of the test's own. ``engine`` is the one that the runs use."""

    def __init__(
        self, images: ContractImages, engine: DockerEngine, folder: Path, **environment: str
    ) -> None:
        self.images = images
        self.engine = engine
        self.folder = folder
        self.reports = folder / "reports"
        self.environment = environment
        self._started: list[subprocess.Popen[str]] = []

    def matrix(
        self, *faults: str, image: str | None = None, one_at_a_time: bool = False, **settings: Any
    ) -> Path:
        """A matrix.yaml with a cell for each fault, ``<fault>-amd64`` with ``-`` for ``:``.

        ``settings`` are keys of the file; one with a ``-`` has a ``_`` here.
        """
        document = {
            "image": image or self.images.template,
            "ref": self.images.ref,
            "matrix": {"fault": list(faults or ["none"]), "arch": ["amd64"]},
            "environment": {"CONTRACT_FAULT": "{fault}"},
            "reports": str(self.reports),
            **({"max-parallel": 1} if one_at_a_time else {}),
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }
        path = self.folder / "matrix.yaml"
        path.write_text(json.dumps(document))  # JSON is YAML
        return path

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command of the program, to its end."""
        return subprocess.run(
            [str(PROGRAM), *arguments],
            cwd=ROOT,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, matrix: Path, *options: str) -> Disturbed:
        """A run that the test disturbs, and then ends with one of the methods of what this gives."""
        process = subprocess.Popen(
            [str(PROGRAM), "run", "--matrix", str(matrix), *options],
            cwd=ROOT,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return Disturbed(self, process)

    def run(self, matrix: Path, *options: str) -> Ran:
        return self.start(matrix, *options).finish()

    def close(self) -> None:
        """Kill the runs that a failed test has left going; the next run's sweep removes their containers."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def left(self) -> list[str]:
        """The containers on the engine that runs in this folder made, by name."""
        runs = {path.name for path in self.reports.glob("*")}
        return [one.name for one in self.engine.list({LABEL_OWNER: None}) if one.labels[LABEL_RUN] in runs]

    def _environment(self) -> dict[str, str]:
        ours = ("LLM_", "E2E_MATRIX_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {**kept, **self.environment}


class Disturbed:
    """A run that goes on while a test does something to what it stands on."""

    def __init__(self, outside: Outside, process: subprocess.Popen[str]) -> None:
        self.outside = outside
        self.process = process

    @property
    def folder(self) -> Path | None:
        """The run's folder, once there is one."""
        found = sorted(path for path in self.outside.reports.glob("*Z-*") if path.is_dir())
        return found[-1] if found else None

    def until(self, what: str, happened: Callable[[], Any], patience: float = PATIENCE) -> Any:
        """Wait until ``happened()`` is true, and give that; fails when the run ends first."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if found := happened():
                return found
            if self.process.poll() is not None:
                break
            threading.Event().wait(0.02)
        self.process.kill()
        output, _ = self.process.communicate()
        raise AssertionError(f"{what} never came:\n{output}")

    def talking(self, cell: str, attempt: int = 1) -> str:
        """Wait until the cell's conversation has asked the model; the container's id."""

        def asked() -> bool:
            folder = self.folder
            journal = folder and folder / "cells" / cell / f"attempt-{attempt}" / "llm-calls.jsonl"
            return bool(journal and journal.is_file() and journal.stat().st_size)

        self.until(f"the conversation of {cell}", asked)
        return self.container(cell, attempt)

    def container(self, cell: str, attempt: int = 1) -> str:
        """Wait for the cell's container; its id."""

        def found() -> list[str]:
            run = self.folder
            if run is None:
                return []
            labels = {LABEL_RUN: run.name, LABEL_CELL: cell, LABEL_ATTEMPT: str(attempt)}
            return [one.id for one in self.outside.engine.list(labels) if one.running]

        [container] = self.until(f"the container of {cell}", found)
        return str(container)

    def finish(self, within: float = 120.0) -> Ran:
        """Wait for the end, and hold it to the promise of every run: nothing of ours is left there."""
        ran = self.end(within)
        assert self.outside.left() == [], ran.output
        return ran

    def end(self, within: float = 120.0) -> Ran:
        """Wait for the end, where the engine cannot be asked; what the run left."""
        try:
            output, _ = self.process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, _ = self.process.communicate()
            raise AssertionError(f"the run did not end within {within:.0f} s:\n{output}") from None
        assert "Traceback" not in output, output
        folder = self.folder
        assert folder, output
        return Ran(self.process.returncode, output, folder, json.loads((folder / "results.json").read_text()))


def attempts(ran: Ran, cell: str) -> list[tuple[str, str | None]]:
    """Outcome and cause of each attempt, in their order."""
    return [(tried["outcome"], tried["cause"]) for tried in ran.cell(cell)["attempts"]]


def evidence(ran: Ran, cell: str, *, logs: bool = True) -> None:
    """Every attempt of a cell has its folder and record, and with ``logs`` the log of a server that ran."""
    for tried in ran.cell(cell)["attempts"]:
        folder = ran.folder / tried["folder"]
        assert (folder / "attempt.json").is_file(), tried
        if logs and any(step["name"] == "dormant" for step in tried["steps"]):
            assert (folder / "server.log").is_file(), tried


def sdk(address: str = DEFAULT_ENGINE) -> closing[Any]:
    """The engine's own client, for what no run of ours would ever do to a container."""
    return closing(docker.APIClient(base_url=address))
