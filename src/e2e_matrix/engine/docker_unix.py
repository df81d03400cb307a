"""The SDK's transport over a unix socket, with two of its faults mended (seen in docker 7.2).

It keeps a pool of connections for every URL, so that sockets pile up and none is used twice; and it leaves a
socket to the garbage collector when the engine refuses the connection.
"""

from __future__ import annotations

import socket
from typing import Any

from docker.transport.unixconn import UnixHTTPAdapter, UnixHTTPConnection, UnixHTTPConnectionPool

_ONLY = "engine"


class _Connection(UnixHTTPConnection):  # type: ignore[misc] # the SDK has no types
    def connect(self) -> None:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.settimeout(self.timeout)
            opened.connect(self.unix_socket)
        except BaseException:
            opened.close()
            raise
        self.sock = opened


class _Pool(UnixHTTPConnectionPool):  # type: ignore[misc] # the SDK has no types
    def _new_conn(self) -> _Connection:
        return _Connection(self.base_url, self.socket_path, self.timeout)


class UnixAdapter(UnixHTTPAdapter):  # type: ignore[misc] # the SDK has no types
    """For docker.transport.UnixHTTPAdapter; its address is in the form of docker.utils.parse_host."""

    def get_connection(self, url: str, proxies: Any = None) -> _Pool:
        with self.pools.lock:
            pool: _Pool | None = self.pools.get(_ONLY)
            if pool is None:
                pool = _Pool(_ONLY, self.socket_path, self.timeout, maxsize=self.max_pool_size)
                self.pools[_ONLY] = pool
        return pool
