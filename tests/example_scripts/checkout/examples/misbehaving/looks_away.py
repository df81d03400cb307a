"""Asks a question, and does not look at what becomes of it."""

import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.utils import ManagedAPIServer, banner  # noqa: E402


init_key, session_key = secrets.token_hex(16), secrets.token_hex(16)
dormant = {"OH_DEFERRED_INIT": "true", "OH_SECRET_KEY": init_key}

with ManagedAPIServer(port=8016, extra_env=dormant) as server, httpx.Client(base_url=server.base_url, timeout=30) as http:
    banner(f"a dormant server at {server.base_url}")
    assert http.get("/api/init").json()["state"] == "dormant"
    assert http.get("/api/conversations/search").status_code == 503

    answer = http.post(
        "/api/init",
        headers={"X-Init-API-Key": init_key},
        json={"session_api_keys": [session_key]},
        timeout=30,
    )
    assert answer.json()["state"] == "ready", answer.text

    http.headers["X-Session-API-Key"] = session_key
    folder = tempfile.mkdtemp(prefix="warm_pool_")
    model = {name: os.environ[f"LLM_{name.upper()}"] for name in ("model", "api_key", "base_url")}
    answer = http.post(
        "/api/conversations",
        json={
            "agent": {"kind": "Agent", "llm": model, "tools": []},
            "workspace": {"working_dir": folder},
            "autotitle": False,
            "initial_message": {
                "role": "user",
                "content": [{"type": "text", "text": "Reply with just the number 42."}],
                "run": True,
            },
        },
        timeout=30,
    )
    assert answer.status_code == 201, answer.text
    conversation = answer.json()["id"]

    for _ in range(6):  # and whatever comes of it
        http.get(f"/api/conversations/{conversation}")
        time.sleep(0.5)
