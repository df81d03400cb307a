"""Stands in for ``scripts.utils.ManagedAPIServer``, which starts a server on this machine."""

import os
from collections.abc import Mapping
from types import ModuleType

from e2e_matrix_inside.line import Line

_FOR_THE_SERVER = ("OH_", "LOG_", "SESSION_API_KEY", "TMUX_TMPDIR")


class ManagedAPIServer:
    """A context manager; within it the server of this cell's image answers at ``base_url``.

    That is the address which the script asked for: connections to it go to where the container really is.
    """

    def __init__(
        self,
        port: int = 8000,
        host: str = "127.0.0.1",
        extra_env: Mapping[str, str] | None = None,
        use_session_api_key: bool = False,
        # How long to wait for the server. Here that is the runner's to decide: it knows what is emulated.
        health_request_timeout: float | None = None,
        max_start_wait_seconds: float | None = None,
        **unknown: object,
    ) -> None:
        if unknown:
            raise TypeError(f"e2e-matrix's ManagedAPIServer does not know {', '.join(unknown)}")
        self.port = port
        self.host = host
        self.base_url = f"http://{host}:{port}"
        self.session_api_key: str | None = None  # known within the context
        self._extra_env = dict(extra_env or {})
        self._use_session_api_key = use_session_api_key
        self._line: Line | None = None

    def __enter__(self) -> "ManagedAPIServer":
        boot = {
            "port": self.port,
            "host": self.host,
            # A server on this machine would inherit the script's environment, and that would win.
            "extra_env": self._extra_env | _for_the_server(os.environ),
            "use_session_api_key": self._use_session_api_key,
        }
        try:
            self._line = Line()
            answer = self._line.ask({"boot": boot})
        except OSError as error:
            raise RuntimeError(f"e2e-matrix cannot be asked for a server any more: {error}") from error
        if reason := answer.get("error"):
            raise RuntimeError(f"The server did not start: {reason}")
        self.session_api_key = answer.get("session_api_key")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._line is None:
            return
        try:
            self._line.ask({"stop": True})
        except OSError:
            pass  # the runner is gone, and the containers are removed without it
        finally:
            self._line.close()


def put_into(module: ModuleType) -> None:
    """Make this the helper that ``module`` has."""
    module.ManagedAPIServer = ManagedAPIServer  # type: ignore[attr-defined]


def _for_the_server(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_FOR_THE_SERVER)}
