"""A connection to where the script asked for a server goes to where that server is."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from e2e_matrix_inside import servers


def watch(socket: ModuleType) -> None:
    """Change how sockets connect: all of Python's do it here, those of asyncio's own loop too."""

    def redirected(connect: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(connect)
        def instead(self: Any, address: Any) -> Any:
            return connect(self, _real(socket, self, address))

        return instead

    socket.socket.connect = redirected(socket.socket.connect)
    socket.socket.connect_ex = redirected(socket.socket.connect_ex)


def _real(socket: ModuleType, client: Any, address: Any) -> Any:
    """``address``, or that of the server that the script means by it."""
    if client.family not in (socket.AF_INET, socket.AF_INET6) or client.type != socket.SOCK_STREAM:
        return address
    if not isinstance(address, tuple):
        return address  # Python says what is wrong with it
    try:
        url = servers.asked_for(*address[:2])
        if url is None:
            return address
        # "localhost" is also tried as ::1, where no container's port is published.
        found = socket.getaddrinfo(
            *servers.address(url), client.family, client.type, flags=socket.AI_V4MAPPED
        )
    except OSError:
        return address
    return found[0][4]
