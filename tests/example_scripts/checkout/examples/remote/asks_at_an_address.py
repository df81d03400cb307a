"""An example that is told where a server is, asks it one question, and is gone as soon as that is answered."""

import os
import tempfile
import time

import httpx

model = {name: os.environ[f"LLM_{name.upper()}"] for name in ("model", "api_key", "base_url")}
question = {"role": "user", "content": [{"type": "text", "text": "Reply with just the number 42."}], "run": True}
body = {
    "agent": {"kind": "Agent", "llm": model, "tools": []},
    "workspace": {"working_dir": tempfile.mkdtemp()},
    "autotitle": False,
    "initial_message": question,
}

with httpx.Client(base_url=os.environ["AGENT_SERVER_URL"], timeout=30) as http:
    conversation = http.post("/api/conversations", json=body).json()["id"]
    while (state := http.get(f"/api/conversations/{conversation}").json())["execution_status"] != "finished":
        time.sleep(0.01)
usage = state["stats"]["usage_to_metrics"].values()
print(f"EXAMPLE_COST: {sum(metrics['accumulated_cost'] for metrics in usage)}")
