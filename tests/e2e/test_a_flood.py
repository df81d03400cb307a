"""A server that prints far more than anybody keeps: it costs megabytes, and the cell passes."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.contract import ContractImages
from support.real_runs import PROGRAM, ROOT, peak_memory

FLOOD = int(os.environ.get("FLOOD_BYTES", 100_000_000))  # bench/README.md has the figures for 2 GB
pytestmark = pytest.mark.timeout(1800)


def test_a_server_that_prints_a_flood_costs_megabytes(
    contract_images: ContractImages, engine: DockerEngine, tmp_path: Path
) -> None:
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(
        f'image: "{contract_images.template}"\n'
        f"ref: {contract_images.ref}\n"
        "matrix:\n  variant: [flood]\n  arch: [amd64]\n"
        f'environment:\n  CONTRACT_FAULT: "log-flood:{FLOOD}"\n'
        "scenarios:\n  deferred-init:\n"
        "step-timeouts:\n  finished: 20m\n"
        "timeout: 25m\n"
    )
    ours = ("LLM_", "E2E_MATRIX_")
    command = [str(PROGRAM), "run", "--matrix", str(matrix), "--reports", str(tmp_path / "reports")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_memory(process.pid))
        threading.Event().wait(0.1)
    assert process.returncode == 0, (tmp_path / "output").read_text()
    folder = tmp_path / "reports" / "latest"
    [cell] = json.loads((folder / "results.json").read_bytes())["cells"]
    [attempt] = cell["attempts"]
    seconds = next(step["duration_seconds"] for step in cell["steps"] if step["name"] == "finished")
    log = (folder / attempt["folder"] / "server.log").read_bytes()
    print(
        f"{attempt['log_bytes'] / 1e6:.0f} MB printed in {seconds:.1f} s, kept {len(log) / 1e6:.1f} MB; "
        f"peak memory {peak >> 20} MiB"
    )
    assert attempt["log_bytes"] > FLOOD
    assert attempt["log_complete"]
    assert attempt["log_bytes"] - attempt["log_dropped_bytes"] < len(log) < 6.5e6
    assert b" lines are left out here]\n" in log
    assert 0 < peak < 100 << 20
    assert "are left out" in (folder / "report.html").read_text()
    assert {path.name for path in (folder / attempt["folder"]).glob("server.log*")} == {"server.log"}
