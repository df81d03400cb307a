"""What the runner costs over the plainest loop that does the same job.

    make bench                 five rounds; ARGS="--rounds 9" for more

The floor: `docker run`, poll, init, conversation, poll, `docker rm -f`, for the three amd64 images, as many
at a time as the runner has workers. The runner: `e2e-matrix run --only '*-amd64'` as a person starts it, with
its own start-up, registry, checks and report. Both use the demo's images and registry, and a stand-in LLM.
They take turns, so that a slow minute of the machine hits both; the ratio is taken round by round.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.llm import StandIn
from e2e_matrix.local import demo, setup

VARIANTS = ("python", "java", "golang")
POLL = 0.05
TERMINAL = ("finished", "error", "stuck")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def poll(client: httpx.Client, path: str, field: str, wanted: tuple[str, ...], limit: float = 120) -> None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        try:
            answer = client.get(path)
            if answer.status_code == 200 and answer.json()[field] in wanted:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(POLL)
    raise TimeoutError(path)


def floor_cell(image: str, llm: StandIn) -> None:
    container = docker(
        "run", "-d", "-p", "127.0.0.1::8000", "--add-host", "host.docker.internal:host-gateway",
        "-e", "OH_DEFERRED_INIT=true", "-e", "OH_SECRET_KEY=k", "-e", "LITELLM_LOCAL_MODEL_COST_MAP=True",
        image, "--host", "0.0.0.0", "--port", "8000",
    )  # fmt: skip
    try:
        address = docker("port", container, "8000").splitlines()[0]
        with httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
            poll(client, "/api/init", "state", ("dormant",))
            body: dict[str, Any] = {"session_api_keys": ["s"]}
            client.post(
                "/api/init", json=body, headers={"X-Init-API-Key": "k"}, timeout=30
            ).raise_for_status()
            client.headers["X-Session-API-Key"] = "s"
            model = {
                "model": llm.model,
                "api_key": llm.issue_key("floor"),
                "base_url": llm.base_url("host.docker.internal"),
            }
            text = {"type": "text", "text": "Reply with just the number 42."}
            conversation = client.post(
                "/api/conversations",
                json={
                    "agent": {"kind": "Agent", "llm": model, "tools": []},
                    "workspace": {"working_dir": "/workspace"},
                    "autotitle": False,
                    "initial_message": {"role": "user", "content": [text], "run": True},
                },
                timeout=30,
            )
            conversation.raise_for_status()
            poll(client, f"/api/conversations/{conversation.json()['id']}", "execution_status", TERMINAL)
    finally:
        docker("rm", "-f", container)


def floor(images: list[str], llm: StandIn, workers: int) -> float:
    begin = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda image: floor_cell(image, llm), images))
    return time.monotonic() - begin


def runner(template: str, ref: str, folder: str, workers: int) -> tuple[float, float, float, dict[str, Any]]:
    """Wall and CPU seconds, peak MiB of the largest process, and the results."""
    program = Path(sys.executable).parent / "e2e-matrix"
    command = [str(program), "run", "--quiet", "--image", template, "--ref", ref, "--only", "*-amd64"]
    begin = time.monotonic()
    process = subprocess.Popen(
        [*command, "--max-parallel", str(workers), "--reports", folder], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the runner ended with exit code {process.returncode}; see {folder}/latest")
    results = json.loads((Path(folder) / "latest" / "results.json").read_text())
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, results


def main() -> None:
    parser = argparse.ArgumentParser(description="the runner against the plainest loop")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    setup.ensure(print)
    with (
        demo.served(print) as images,
        closing(DockerEngine.connect()) as engine,
        tempfile.TemporaryDirectory() as folder,
    ):
        template, ref = images.template, images.ref
        pinned = [template.format(ref=ref, variant=variant) for variant in VARIANTS]
        for image in pinned:
            docker("pull", "-q", image)
        with StandIn(engine.host_gateway()) as llm:
            floor(pinned, llm, options.workers)  # warms the page cache for both
            rows = []
            for number in range(options.rounds):
                # Who goes first takes turns as well.
                if number % 2:
                    measured, plain = (
                        runner(template, ref, folder, options.workers),
                        floor(pinned, llm, options.workers),
                    )
                else:
                    plain, measured = (
                        floor(pinned, llm, options.workers),
                        runner(template, ref, folder, options.workers),
                    )
                wall, cpu, peak, _ = measured
                rows.append((plain, wall, wall / plain, cpu, peak))
                print(
                    f"round {number + 1}: floor {plain:.2f} s, runner {wall:.2f} s, ratio {wall / plain:.3f}",
                    flush=True,
                )
        results = measured[3]
    print(f"\n{len(pinned)} amd64 cells, {options.workers} at a time, {options.rounds} rounds:")
    print("  median (min to max)")
    for name, column, unit in (
        ("floor", 0, "s"),
        ("runner", 1, "s"),
        ("ratio", 2, ""),
        ("runner CPU", 3, "s"),
        ("peak memory", 4, "MiB"),
    ):
        values = [row[column] for row in rows]
        middle, least, most = statistics.median(values), min(values), max(values)
        print(f"  {name:<12} {middle:8.3f} {unit:<3} ({least:.3f} to {most:.3f})")
    print(f"  CPU per cell {statistics.median(row[3] for row in rows) / len(pinned):8.3f} s")
    print("last run, seconds per step:")
    for cell in results["cells"]:
        steps = ", ".join(f"{step['name']} {step['duration_seconds']:.2f}" for step in cell["steps"])
        print(f"  {cell['id']}: {cell['duration_seconds']:.2f} ({steps})")


if __name__ == "__main__":
    main()
