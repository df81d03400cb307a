"""Starts a server, says so, and waits for ever."""

import threading

from scripts.utils import ManagedAPIServer

with ManagedAPIServer(port=8023):
    print("up", flush=True)
    threading.Event().wait()
