"""An HTTP transport that bounds a whole exchange.

httpx bounds each read. A server that sends a byte now and then keeps every one of these limits and is never
done, be it with its headers or with its body.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx


class BoundedTransport(httpx.HTTPTransport):
    """Plain HTTP. No read or write waits past ``ends_at``, on the monotonic clock; one thread at a time."""

    def __init__(self) -> None:
        # It speaks plain HTTP: reading the certificates that nothing is checked against would take 15 ms.
        super().__init__(verify=False, trust_env=False)
        self.ends_at = math.inf
        # httpx has no public way to hand on a backend, which is httpcore's public one.
        self._pool = httpcore.ConnectionPool(network_backend=_Backend(self))

    def left(self, timeout: float | None) -> float | None:
        """The seconds that one call may take. Raises ``httpcore.ReadTimeout`` where none are left."""
        if math.isinf(self.ends_at):
            return timeout
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for the whole exchange is over")
        return left if timeout is None else min(timeout, left)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, owner: BoundedTransport) -> None:
        self._owner = owner
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = self._owner.left(timeout)
        stream = self._backend.connect_tcp(host, port, left, local_address, socket_options)
        return _Stream(self._owner, stream)


class _Stream(httpcore.NetworkStream):
    def __init__(self, owner: BoundedTransport, stream: httpcore.NetworkStream) -> None:
        self._owner = owner
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._owner.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._owner.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
