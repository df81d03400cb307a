"""Two servers at the same time, and a third after them."""

from concurrent.futures import ThreadPoolExecutor

import httpx
from scripts.utils import ManagedAPIServer


def version(server):
    return httpx.get(f"{server.base_url}/server_info").json()["version"]


with ThreadPoolExecutor(2) as pool:
    one, other = pool.map(
        ManagedAPIServer.__enter__, (ManagedAPIServer(port=8021), ManagedAPIServer(port=8022))
    )
assert one.base_url != other.base_url
assert version(one) == version(other)
one.__exit__(None, None, None)
other.__exit__(None, None, None)
with ManagedAPIServer(port=8021) as third:
    version(third)
print("EXAMPLE_COST: 0")
