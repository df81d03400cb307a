"""One container of an attempt, from its creation on: its server, what it prints, and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from e2e_matrix.agent_server import AgentServer
from e2e_matrix.engine.base import Engine, ExitState, ExitWatch, LogFollow
from e2e_matrix.errors import CellFailure
from e2e_matrix.log_file import LogFile
from e2e_matrix.log_signs import Sign
from e2e_matrix.redaction import Secrets

# Seconds for the last bytes of a container's log: after its end, and where it still runs.
_LOG_END, _LOG_SO_FAR = 10.0, 0.2


class StartedContainer:
    """``container`` is the engine's id of one that was created; what follows is added as it comes."""

    def __init__(self, container: str, name: str, port: int) -> None:
        self.id = container
        self.name = name  # what it is to the scenario
        self.port = port  # where its server listens, inside
        self.watch: ExitWatch | None = None
        self.exit_state: ExitState | None = None
        self.server: AgentServer | None = None
        self.log: LogFile | None = None
        self.follow: LogFollow | None = None

    def follow_log(
        self, engine: Engine, folder: Path, name: str, secrets: Secrets, signs: Mapping[str, Sign]
    ) -> None:
        """Keep what it prints in ``folder``; asked before its start, from the first byte on."""
        self.log = LogFile(folder, secrets, signs, name=name)
        self.follow = engine.follow_logs(self.id, self.log.write)

    @property
    def exited(self) -> threading.Event:
        """Set when it has ended."""
        if self.watch is None:
            raise RuntimeError("the scenario asked for the container's end before its start")
        return self.watch.exited

    @property
    def has_ended(self) -> bool:
        return self.exit_state is not None or (self.watch is not None and self.watch.exited.is_set())

    def memory(self, engine: Engine) -> int | None:
        """What its processes hold, in bytes; None where the engine does not tell, which breaks nothing."""
        with suppress(CellFailure):  # a container or an engine that is gone shows in the next step
            return engine.memory(self.id)
        return None

    def read_log(self) -> str:
        """The end of what it has printed, redacted; of one that ended, the very end."""
        if self.follow is not None and self.has_ended:
            self.follow.close(_LOG_END)
        return self.log.latest() if self.log else ""

    def log_signs(self) -> dict[str, str]:
        """The signs that the whole of the log has shown so far: name -> text, redacted."""
        return self.log.signs() if self.log else {}

    def finish_log(self) -> None:
        """Take the log's last bytes and close its file. Raises where the disk refused any of it."""
        if self.follow is not None:
            self.follow.close(_LOG_END if self.has_ended else _LOG_SO_FAR)
        if self.log is not None:
            self.log.close()

    def close(self) -> None:
        """Let go of the connections; the container itself is the cell's to remove."""
        if self.watch is not None:
            self.watch.close()
        if self.server is not None:
            self.server.close()
