"""The contract server as an image for ``engine.fake.FakeEngine``: the same code, without a container.

It keeps the contract as 1.43.1 does (and, told to be 1.58.0, as that does). Each ``Fault`` is one way to
break it: a fault of ``contract_server.faults`` with its argument, or something of the image's own.
"""

from __future__ import annotations

import threading
from enum import Enum
from typing import NoReturn

from contract_server import boot, faults
from contract_server.faults import Ended
from contract_server.server import Server
from contract_server.transport import handler
from e2e_matrix.engine.fake import FakeImage, FakeProcess

PORT = 8000
BUILD_SHA = "0123456789abcdef0123456789abcdef01234567"
UNLISTED_ROUTE = "/api/meta-profiles"

_POLL = 0.005  # seconds
_TERM = 128 + 15


class Fault(Enum):
    """One misbehaviour; everything else stays right."""

    NONE = "none"
    OTHER_MACHINE = "other machine"  # of the image, not of the server in it
    CRASHES_AT_BOOT = "exits-during-boot:3"
    CRASHES_AT_ONCE = "exits-at-once"
    EMULATOR_CRASHES_AT_BOOT = "qemu-signal"
    EMULATOR_CRASHES_AT_ONCE = "qemu-signal:at-once"
    IGNORES_DEFERRED_INIT = "not-deferred"
    BOOTS_READY = "boots-ready"
    OPEN_ROUTE_SHUT = "open-route-shut"
    GATED_ROUTE_OPEN = "gate-open:/api/settings"
    UNLISTED_ROUTE_OPEN = f"gate-open:{UNLISTED_ROUTE}"
    SOCKET_OPEN_WHILE_DORMANT = "socket-open-while-dormant"
    API_NOT_DESCRIBED = "api-not-described"
    INIT_WITHOUT_KEY = "key-not-needed"
    INIT_WITH_WRONG_KEY = "wrong-key-accepted"
    INIT_WITH_UNKNOWN_FIELD = "unknown-field-accepted"
    REFUSED_INIT_COUNTS = "refused-init-counts"
    INIT_FAILS = "init-500"
    INIT_REFUSED = "init-422"
    INIT_SAYS_DORMANT = "init-says-dormant"
    INIT_LIES = "init-lies"
    STAYS_INITIALIZING = "stays-initializing"
    SECOND_INIT_ACCEPTED = "second-init-accepted"
    SECOND_INIT_NEEDS_NO_KEY = "second-init-needs-no-key"
    SESSION_KEYS_IGNORED = "session-keys-not-enforced"
    SESSION_KEY_REFUSED = "session-key-refused"
    CONVERSATION_FAILS = "conversation-500"
    CONVERSATION_WITHOUT_ID = "conversation-without-id"
    CONVERSATION_ENDS_IN_ERROR = "error"
    # Told over REST alone: there too it must be found.
    MODEL_AWAY = "error-over-rest:LLMServiceUnavailableError"
    CONVERSATION_STUCK = "stuck"
    NEVER_ENDS = "runs-for-ever"
    NEVER_STARTS = "conversation-never-starts"
    STOPPED = "stopped"
    DIES_IN_CONVERSATION = "dies-in-conversation"
    OUT_OF_MEMORY = "out-of-memory"
    SOCKET_REFUSED = "socket-refused"
    SOCKET_BREAKS = "socket-closes-abnormally"
    SOCKET_MALFORMED = "socket-malformed"
    SOCKET_SILENT = "socket-silent"
    SOCKET_NEVER_TERMINAL = "socket-never-terminal"
    WRONG_ANSWER = "wrong-answer"
    EMPTY_ANSWER = "empty-answer"
    COST_ZERO = "cost-zero"
    COST_NEGATIVE = "cost-negative"
    COST_MISSING = "cost-missing"
    COST_TEXT = "cost-string"
    METRICS_MISSING = "metrics-missing"
    WRONG_TOKENS = "wrong-tokens"
    DELETE_FAILS = "delete-fails"
    DELETE_KEEPS = "delete-keeps"
    DELETES_TWICE = "deletes-twice"
    IGNORES_TERM = "ignores-term"
    ENDS_BADLY = "ends-badly"
    LIBRARY_MISSING = "library-missing"


class FakeAgentServer:
    """One server with one fault. ``image`` is what a FakeEngine runs: once."""

    def __init__(self, fault: Fault = Fault.NONE, version: str = "1.43.1") -> None:
        self.fault = fault
        self.version = version
        programs = {"agent-server": self._run, "uname": self._uname}
        environment = {"OPENHANDS_BUILD_GIT_SHA": BUILD_SHA}
        self.image = FakeImage(programs, ("agent-server",), environment=environment)
        self._machine_asked = threading.Event()

    def _uname(self, process: FakeProcess) -> int:
        process.print("riscv64\n" if self.fault is Fault.OTHER_MACHINE else "x86_64\n")
        self._machine_asked.set()
        return 0

    def _run(self, process: FakeProcess) -> int:
        machine = _Machine(process, self._machine_asked)
        told = faults.parse("" if self.fault is Fault.OTHER_MACHINE else self.fault.value)
        try:
            boot.at_boot(told, machine)
        except Ended:
            return machine.code
        # Its log of requests is left out: the container may have ended when one is answered.
        server = Server(process.environment, told, lambda line: None, machine.end, self.version)
        boot.at_work(server, machine, list)
        process.serve_http(PORT, handler(server, keep_alive=False))
        try:
            return machine.run(ends=self._exit_code(told))
        finally:
            server.close()

    def _exit_code(self, told: faults.Told) -> int | None:
        if self.fault is Fault.IGNORES_TERM:
            return None
        return int(told.number()) if self.fault is Fault.ENDS_BADLY else _TERM


class _Machine:
    """``boot.Machine`` in the fake's container. What ends it is done by the program's own thread."""

    def __init__(self, process: FakeProcess, machine_asked: threading.Event) -> None:
        self.code = 0
        self._process = process
        self._machine_asked = machine_asked
        self._over = threading.Event()
        self._hungry = threading.Event()

    def write(self, data: bytes) -> None:
        self._process.print(data)

    def end(self, code: int) -> NoReturn:
        self.code = code
        self._over.set()
        raise Ended

    def pause(self, seconds: float) -> None:
        # Until it was asked for its machine, so that it is always the same step that meets the end.
        if seconds:
            self._machine_asked.wait(5)

    def take_memory(self) -> NoReturn:
        self._hungry.set()
        raise Ended

    def run(self, ends: int | None) -> int:
        """Go on until TERM comes, which it heeds if it has an exit code for it, or until it ends itself."""
        while not self._over.wait(_POLL):
            if self._hungry.is_set():
                self._process.use_memory(1 << 62)
            if ends is None:
                self._process.sleep(_POLL)
            elif self._process.wait_for_term(0):
                return ends
        return self.code
