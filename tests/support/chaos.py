"""Runs of a matrix of contract servers that are killed at random moments and resumed until they are complete.

What must hold of each in the end is what ``Chaos.judge`` says; bench/chaos.py does it a hundred times.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from e2e_matrix.engine.base import LABEL_RUN
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.contract import ContractImages
from support.price import GPT_4O
from support.real_runs import PROGRAM, ROOT, environment

# Twelve cells: some pass at once, some while they are watched, some fail, before and after their bill.
MATRIX = """\
image: {template}
ref: {ref}
platform: linux/amd64
max-parallel: 4
matrix:
  fault: [none, "runs-for:1", wrong-answer, session-keys-not-enforced]
  n: [1, 2, 3]
environment: {{CONTRACT_FAULT: "{{fault}}"}}
"""
CELLS = 12
_MOST_KILLS = 4
_FINISHED = ("passed", "failed")


@dataclass
class Round:
    """What one killed and resumed run came to; ``faults`` is empty where all is well."""

    seed: int
    kills: list[float] = field(default_factory=list)  # seconds after the start of the process
    seconds: float = 0.0
    lost: int = 0  # attempts that a kill ended
    lost_calls: int = 0  # what those had been served
    faults: list[str] = field(default_factory=list)


class Chaos:
    """``folder`` holds the matrix and the runs."""

    def __init__(self, images: ContractImages, engine: DockerEngine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._matrix = folder / "matrix.yaml"
        self._matrix.write_text(MATRIX.format(template=images.template, ref=images.ref))
        begin = time.monotonic()
        undisturbed = self._start(folder / "undisturbed")
        assert undisturbed.wait(120) == 1, "some cells fail on purpose, and nothing else goes wrong"
        self.undisturbed_seconds = time.monotonic() - begin
        self._expected = _outcomes(_results(folder / "undisturbed"))
        assert sorted(set(self._expected.values())) == [
            ("failed", "assertion"),
            ("passed", None),
        ], self._expected

    def round(self, seed: int) -> Round:
        """Kill a run at a random moment, and what resumes it too, at most four times; then let it end."""
        dice = random.Random(seed)
        this = Round(seed)
        reports = self._folder / f"round-{seed}"
        objects = _networks_and_volumes()
        begin = time.monotonic()
        while True:
            process = self._start(reports)
            # The first is always killed, and later ones ever more rarely.
            killed = len(this.kills) < _MOST_KILLS and dice.random() < 0.5 ** len(this.kills)
            moment = dice.uniform(0.0, self.undisturbed_seconds)
            if killed and _is_killed(process, moment):
                this.kills.append(round(moment, 2))
                continue
            code = process.wait(180)
            if this.kills:
                break
            shutil.rmtree(reports)  # it was faster than the undisturbed one: again, for it has to be killed
        this.seconds = time.monotonic() - begin
        if code != 1:
            this.faults.append(f"exit code {code}")
        this.faults += self._judge(reports, this)
        if left := _networks_and_volumes() - objects:
            this.faults.append(f"networks or volumes are left: {sorted(left)}")
        return this

    def _start(self, reports: Path) -> subprocess.Popen[bytes]:
        resume = ["--resume"] if any(reports.glob("2*/plan.json")) else []  # the only one
        command = [str(PROGRAM), "run", "--quiet", "--matrix", str(self._matrix), "--reports", str(reports)]
        with (self._folder / "output.txt").open("ab") as output:
            return subprocess.Popen(
                [*command, *resume], cwd=ROOT, env=environment(), stdout=output, stderr=output
            )

    def _judge(self, reports: Path, this: Round) -> Iterator[str]:
        results = _results(reports)
        if (outcomes := _outcomes(results)) != self._expected:
            wrong = {cell: end for cell, end in outcomes.items() if end != self._expected.get(cell)}
            yield f"other outcomes than undisturbed: {wrong}"
        served = Decimal(0)
        for cell in results["cells"]:
            ends = [attempt["outcome"] for attempt in cell["attempts"]]
            if sum(end in _FINISHED for end in ends) != 1 or ends[-1] not in _FINISHED:
                yield f"{cell['id']} ran to its end another number of times than once: {ends}"
            lost = [attempt for attempt in cell["attempts"] if attempt["cause"] == "runner-died"]
            this.lost += len(lost)
            this.lost_calls += sum(len(attempt["llm_calls"] or ()) for attempt in lost)
            served += sum(map(_price, _ledger(reports, cell["attempts"][-1])))
            folders = reports / results["run"]["id"] / "cells" / cell["id"]
            if len(list(folders.glob("attempt-*/started.json"))) != len(ends):
                yield f"{cell['id']} has attempts that nothing tells of"
        if served != Decimal(results["run"]["totals"]["cost_usd"]):
            yield f"the stand-in served {served}, the cells cost {results['run']['totals']['cost_usd']}"
        left = [container.name for container in self._engine.list({LABEL_RUN: results["run"]["id"]})]
        if left:
            yield f"left on the engine: {left}"


def _is_killed(process: subprocess.Popen[bytes], moment: float) -> bool:
    """Kill it then; False where it had ended before."""
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL
    return False


def _results(reports: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((reports / "latest" / "results.json").read_text())
    return results


def _outcomes(results: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {cell["id"]: (cell["outcome"], cell["cause"]) for cell in results["cells"]}


def _ledger(reports: Path, attempt: dict[str, Any]) -> list[dict[str, Any]]:
    """What the stand-in wrote down of an attempt, which is not what the server said."""
    calls: list[dict[str, Any]] = json.loads(
        (reports / "latest" / attempt["folder"] / "llm-calls.json").read_text()
    )
    return calls


def _price(call: dict[str, Any]) -> Decimal:
    return int(call["prompt_tokens"]) * GPT_4O.prompt + int(call["completion_tokens"]) * GPT_4O.completion


def _networks_and_volumes() -> set[str]:
    listed = [["docker", kind, "ls", "-q"] for kind in ("network", "volume")]
    return {
        line
        for command in listed
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    }


def main(images: ContractImages, engine: DockerEngine, folder: Path, rounds: int, first_seed: int) -> int:
    """Run so many rounds and print what they came to; the number of rounds in which something was wrong."""
    chaos = Chaos(images, engine, folder)
    print(f"undisturbed: {CELLS} cells in {chaos.undisturbed_seconds:.1f} s", flush=True)
    done = []
    for seed in range(first_seed, first_seed + rounds):
        this = chaos.round(seed)
        done.append(this)
        if this.faults:
            print(f"round {seed}, killed at {this.kills} s: {'; '.join(this.faults)}", flush=True)
        elif len(done) % 10 == 0:
            print(f"{len(done)} rounds", flush=True)
    kills, lost = sum(len(this.kills) for this in done), sum(this.lost for this in done)
    wrong = sum(bool(this.faults) for this in done)
    print(
        f"{len(done)} rounds of {CELLS} cells, {kills} kills, {lost} attempts lost "
        f"(with {sum(this.lost_calls for this in done)} calls served to them), "
        f"{sum(this.seconds for this in done) / len(done):.1f} s a round: {wrong} rounds with a fault"
    )
    return wrong
