"""Ends in the middle, with its server up and its context never left."""

import os

from scripts.utils import ManagedAPIServer

server = ManagedAPIServer(port=8020)
server.__enter__()
print("about to crash", flush=True)
os.abort()
