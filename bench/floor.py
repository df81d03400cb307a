"""The plainest loop that does the runner's job: no checks, no report, no care. See compare.py.

python bench/floor.py WORKERS MODEL BASE_URL API_KEY IMAGE...
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

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


def run_cell(image: str, llm: dict[str, str]) -> None:
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
            text = {"type": "text", "text": "Reply with just the number 42."}
            conversation = client.post(
                "/api/conversations",
                json={
                    "agent": {"kind": "Agent", "llm": llm, "tools": []},
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


def main() -> None:
    workers, model, base_url, api_key, *images = sys.argv[1:]
    llm = {"model": model, "base_url": base_url, "api_key": api_key}
    with ThreadPoolExecutor(int(workers)) as pool:
        list(pool.map(lambda image: run_cell(image, llm), images))


if __name__ == "__main__":
    main()
