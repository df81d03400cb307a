"""Its server dies, and it ends well at once: before the engine knows."""

import httpx
from scripts.utils import ManagedAPIServer

server = ManagedAPIServer(port=8024).__enter__()
try:
    command = {"command": "kill -9 -1", "timeout": 5}
    httpx.post(f"{server.base_url}/api/bash/execute_bash_command", json=command)
except httpx.TransportError:
    print("EXAMPLE_COST: 0")
