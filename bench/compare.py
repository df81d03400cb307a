"""What the runner costs over the plainest loop that does the same job.

    make bench                 nine rounds; ARGS="--rounds 5" for fewer

The floor is floor.py: `docker run`, poll, init, conversation, poll, `docker rm -f`, for the three amd64
images, as many at a time as the runner has workers. The runner is `e2e-matrix run --only '*-amd64'` as a
person starts it, with its registry, checks and report. Both are processes of their own, on the demo's images,
with a stand-in LLM. They take turns, so that a slow minute of the machine hits both; the ratio is taken round
by round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.llm import StandIn
from e2e_matrix.local import demo, setup
from e2e_matrix.local.demo import Served

VARIANTS = ("python", "java", "golang")
FLOOR = Path(__file__).with_name("floor.py")
RUNNER = Path(sys.executable).parent / "e2e-matrix"


@dataclass(frozen=True)
class Measured:
    """One process and its children: seconds, and MiB of the largest of them."""

    wall: float
    cpu: float
    peak: float


def measure(command: list[str]) -> Measured:
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {' '.join(command)}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compare(images: Served, engine: DockerEngine, rounds: int, workers: int, folder: Path) -> None:
    references = [images.template.format(ref=images.ref, variant=variant) for variant in VARIANTS]
    for reference in references:
        subprocess.run(["docker", "pull", "-q", reference], check=True, stdout=subprocess.DEVNULL)
    with StandIn(engine.host_gateway()) as llm:
        url, key = llm.base_url("host.docker.internal"), llm.issue_key("floor")
        floor = [sys.executable, str(FLOOR), str(workers), llm.model, url, key, *references]
        runner = [str(RUNNER), "run", "--quiet", "--image", images.template, "--ref", images.ref]
        runner += ["--only", "*-amd64", "--max-parallel", str(workers), "--reports", str(folder)]
        measure(floor)  # warms the page cache for both
        pairs: list[tuple[Measured, Measured]] = []
        for number in range(rounds):
            # Who goes first takes turns as well.
            first, second = (floor, runner) if number % 2 else (runner, floor)
            one, other = measure(first), measure(second)
            plain, full = (one, other) if first is floor else (other, one)
            pairs.append((plain, full))
            ratio = full.wall / plain.wall
            print(
                f"round {number + 1}: floor {plain.wall:.2f} s, runner {full.wall:.2f} s, {ratio:.3f}",
                flush=True,
            )
    print(f"\n{len(references)} amd64 cells, {workers} at a time, {rounds} rounds: median (min to max)")
    row("floor, s", [plain.wall for plain, _ in pairs])
    row("runner, s", [full.wall for _, full in pairs])
    row("ratio", [full.wall / plain.wall for plain, full in pairs])
    row("runner CPU per cell, s", [full.cpu / len(references) for _, full in pairs])
    row("floor CPU per cell, s", [plain.cpu / len(references) for plain, _ in pairs])
    row("runner peak memory, MiB", [full.peak for _, full in pairs])


def row(name: str, values: list[float]) -> None:
    print(f"  {name:<24} {statistics.median(values):7.3f}  ({min(values):.3f} to {max(values):.3f})")


def last_run(folder: Path) -> None:
    print("the last run, seconds per step:")
    for cell in json.loads((folder / "latest" / "results.json").read_text())["cells"]:
        steps = ", ".join(f"{step['name']} {step['duration_seconds']:.2f}" for step in cell["steps"])
        print(f"  {cell['id']} {cell['duration_seconds']:.2f}: {steps}")


def main() -> None:
    parser = argparse.ArgumentParser(description="the runner against the plainest loop")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    setup.ensure(print)
    with (
        demo.served(print) as images,
        closing(DockerEngine.connect()) as engine,
        tempfile.TemporaryDirectory() as folder,
    ):
        compare(images, engine, options.rounds, options.workers, Path(folder))
        last_run(Path(folder))


if __name__ == "__main__":
    main()
