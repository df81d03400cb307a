"""An example that carries its helper itself, and hard-codes its port."""

import os
import subprocess
import sys
import time

import httpx

PORT = 8018


class ManagedAPIServer:
    def __enter__(self):
        command = ["python", "-m", "openhands.agent_server", "--port", str(PORT), "--host", "127.0.0.1"]
        self.process = subprocess.Popen(command, env={"LOG_JSON": "true", **os.environ})
        for _ in range(30):
            try:
                if httpx.get(f"http://localhost:{PORT}/health", timeout=1).status_code == 200:
                    return self
            except httpx.RequestError:
                pass
            assert self.process.poll() is None, "the server ended"
            time.sleep(1)
        raise RuntimeError("no server within 30 s")

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0


with ManagedAPIServer():
    told = httpx.get(f"http://127.0.0.1:{PORT}/server_info").json()
    print("server", told["version"], "for", sys.argv[1:])
    print("EXAMPLE_COST: 0")
