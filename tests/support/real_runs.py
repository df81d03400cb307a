"""Runs of the real program on the real images, as a person would start them."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e_matrix.engine.base import LABEL_RUN
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.demo import Served

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).parent / "e2e-matrix"


@dataclass(frozen=True)
class Ran:
    """What a run on the command line left."""

    exit_code: int
    output: str
    folder: Path
    results: dict[str, Any]

    def cell(self, name: str) -> dict[str, Any]:
        [cell] = [cell for cell in self.results["cells"] if cell["id"] == name]
        return dict(cell)

    def step(self, cell: str, name: str) -> dict[str, Any]:
        [step] = [step for step in self.cell(cell)["steps"] if step["name"] == name]
        return dict(step)


class Runner:
    """Runs `e2e-matrix run` as a person would, into a folder of the test's own."""

    def __init__(self, served: Served, engine: DockerEngine, reports: Path) -> None:
        self.served = served
        self.engine = engine
        self.reports = reports

    def command(self, *options: str, template: str | None = None) -> list[str]:
        image = ["--image", template or self.served.template, "--ref", self.served.ref]
        return [str(PROGRAM), "run", *image, "--reports", str(self.reports), *options]

    def start(self, *options: str, template: str | None = None) -> subprocess.Popen[str]:
        return self.spawn(self.command(*options, template=template))

    def spawn(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Ran:
        """Wait for the end, and hold it to the promise of every run: nothing of ours is left running."""
        output, _ = process.communicate(timeout=900)
        folder = self.reports / "latest"
        results = json.loads((folder / "results.json").read_text())
        assert list(self.engine.list({LABEL_RUN: results["run"]["id"]})) == [], output
        return Ran(process.returncode, output, folder, results)

    def run(self, *options: str, template: str | None = None) -> Ran:
        return self.finish(self.start(*options, template=template))


def environment() -> dict[str, str]:
    """This process's, without what would set the run's options."""
    # pytest changes its own while another thread asks.
    ours = ("LLM_", "E2E_MATRIX_", "PYTEST_")
    return {name: os.environ[name] for name in list(os.environ) if not name.startswith(ours)}


def peak_memory(pid: int) -> int:
    """Bytes, of the program itself: a child's ru_maxrss begins with what its parent had when it forked."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0  # it has just ended
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
