"""Where the servers really are that the script asked for on a port of its own choice."""

import contextlib
import json
import os
from urllib.parse import urlsplit

from e2e_matrix_inside import line

_THIS_HOST = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})


def asked_for(host: object, port: object) -> str | None:
    """The base URL of the server that the script asked for there, None where it asked for none.

    Waits for one that is being booted: a script that gives its server 30 tries of a second means a server
    that starts on its own machine.
    """
    if not isinstance(host, str) or host not in _THIS_HOST:
        return None
    servers = _read()
    if servers.get(str(port), "") is None:
        with contextlib.closing(line.Line()) as waiting:
            waiting.wait({"wait": port})
        servers = _read()
    return servers.get(str(port))


def known(host: str, port: int) -> str | None:
    """The base URL of the server that answers there, by the port asked for or by its real one."""
    servers = _read()
    if host in _THIS_HOST and (url := servers.get(str(port))):
        return url
    return next((url for url in servers.values() if url and address(url) == (host, port)), None)


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def _read() -> dict[str, str | None]:
    """Base URLs by the port asked for, None for a server that is being booted."""
    try:
        with open(os.path.join(line.FOLDER, "ports.json")) as file:
            return json.load(file)  # type: ignore[no-any-return]
    except OSError:
        return {}
