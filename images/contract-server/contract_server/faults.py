"""Every way in which the contract server can be wrong. One server has one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

#: Arguments that are numbers.
_NUMBERS = ("CODE", "SECONDS", "TIMES", "USD", "BYTES")


class Fault(Enum):
    """One misbehaviour; everything else stays right. ``argument`` names what may follow the colon."""

    NONE = "none", "", "keeps the contract"

    EXITS_AT_ONCE = "exits-at-once", "CODE=3", "prints an ImportError and exits before it listens"
    EXITS_DURING_BOOT = "exits-during-boot", "CODE", "exits with CODE after 1 s of booting, before it listens"
    OUT_OF_MEMORY = (
        "out-of-memory",
        "conversation|boot",
        "takes memory until the kernel kills it: in the conversation, or while it boots",
    )
    BOOTS_SLOWLY = "boots-slowly", "SECONDS", "does not listen for that long"
    QEMU_SIGNAL = (
        "qemu-signal",
        "boot|at-once|conversation",
        "prints QEMU's message of an uncaught target signal and exits 139",
    )
    OTHER_VERSION = "other-version", "VERSION", "says in /server_info that it is that version"
    NEVER_DORMANT = "never-dormant", "", "stays in the state initializing from its boot on"
    BOOTS_READY = "boots-ready", "", "is ready without having been initialised"
    NOT_DEFERRED = "not-deferred", "", "ignores OH_DEFERRED_INIT: GET /api/init is 404"
    OPEN_ROUTE_SHUT = "open-route-shut", "", "answers 503 to /ready while dormant"
    GATE_OPEN = "gate-open", "PATH", "answers 200 to gated routes while dormant: to all, or to that path"
    SOCKET_OPEN_WHILE_DORMANT = "socket-open-while-dormant", "", "accepts the events socket while dormant"
    API_NOT_DESCRIBED = "api-not-described", "", "/openapi.json has no paths"

    INIT_NEVER_ANSWERS = "init-never-answers", "", "/health is up, and no request to /api/init is answered"
    INIT_401 = "init-401", "", "refuses the right init key"
    INIT_422 = "init-422", "", "refuses a right init body"
    INIT_500 = "init-500", "", "fails at every init and stays dormant"
    INIT_500_ONCE = (
        "init-500-once",
        "",
        "fails at the first init, is dormant again and tells why, then works",
    )
    INIT_HANGS = "init-hangs", "", "POST /api/init is not answered; the state is initializing"
    STAYS_INITIALIZING = (
        "stays-initializing",
        "",
        "POST /api/init answers initializing, and so it stays",
    )
    INIT_SAYS_DORMANT = "init-says-dormant", "", "POST /api/init answers dormant, and so it stays"
    INIT_LIES = "init-lies", "", "POST /api/init answers ready, and the server stays dormant"
    KEY_NOT_NEEDED = "key-not-needed", "", "initialises without an init key"
    WRONG_KEY_ACCEPTED = "wrong-key-accepted", "", "initialises with any init key"
    UNKNOWN_FIELD_ACCEPTED = "unknown-field-accepted", "", "initialises with a field that it does not know"
    REFUSED_INIT_COUNTS = "refused-init-counts", "", "answers 401 to a wrong key and is ready nevertheless"
    SECOND_INIT_ACCEPTED = "second-init-accepted", "", "answers 200 to a second init"
    SECOND_INIT_NEEDS_NO_KEY = (
        "second-init-needs-no-key",
        "",
        "a second init without the key is 400, not 401",
    )
    SESSION_KEYS_NOT_ENFORCED = (
        "session-keys-not-enforced",
        "",
        "does not ask for the session keys",
    )
    SESSION_KEY_REFUSED = "session-key-refused", "", "refuses the session key given at init"

    CONVERSATION_500 = "conversation-500", "", "POST /api/conversations answers 500"
    CONVERSATION_WITHOUT_ID = "conversation-without-id", "", "POST /api/conversations answers without an id"
    CONVERSATION_NEVER_STARTS = "conversation-never-starts", "", "the conversation stays idle"
    RUNS_FOR_EVER = "runs-for-ever", "", "the conversation stays running"
    RUNS_FOR = "runs-for", "SECONDS", "the conversation asks the model, runs that long and finishes"
    DIES_IN_CONVERSATION = "dies-in-conversation", "CODE=3", "exits when a conversation starts to run"
    PAUSED_FOR_EVER = "paused-for-ever", "", "the conversation is paused, and nobody resumes it"
    WAITING_FOR_CONFIRMATION = "waiting-for-confirmation", "", "the conversation waits for a confirmation"
    ERROR = "error", "NAME=ValueError", "the conversation ends as error, with that error code"
    ERROR_OVER_REST = (
        "error-over-rest",
        "NAME=ValueError",
        "the same, and the socket does not tell the ConversationErrorEvent",
    )
    STUCK = "stuck", "", "the conversation ends as stuck"
    UNKNOWN_STATUS = "unknown-status", "", "the conversation's status is hibernating, which nobody knows"
    STOPPED = "stopped", "", "the conversation's status is stopped, which there is not"
    EMPTY_ANSWER = "empty-answer", "", "finishes with an empty answer"
    WRONG_ANSWER = "wrong-answer", "", "finishes with another answer than the model's"

    SOCKET_REFUSED = "socket-refused", "", "answers 403 to the events socket, always"
    SOCKET_CLOSES_ABNORMALLY = "socket-closes-abnormally", "", "cuts the events socket without a close frame"
    SOCKET_SILENT = "socket-silent", "", "the events socket stays open and says nothing"
    SOCKET_MALFORMED = (
        "socket-malformed",
        "",
        "the events socket sends no JSON, then no frame",
    )
    SOCKET_NEVER_TERMINAL = "socket-never-terminal", "", "the events socket leaves the end out; REST tells it"
    REST_FLAPS_503 = (
        "rest-flaps-503",
        "TIMES=3",
        "GET of the running conversation answers 503 that often; it ends only after these (or 60 s)",
    )

    COST_MISSING = "cost-missing", "", "accumulated_cost is left out"
    COST_ZERO = "cost-zero", "", "accumulated_cost is 0"
    COST_NEGATIVE = "cost-negative", "", "accumulated_cost is below zero"
    COST_NAN = "cost-nan", "", "accumulated_cost is NaN, which is no JSON"
    COST_STRING = "cost-string", "", "accumulated_cost is the right number as a string"
    COST_HUGE = "cost-huge", "", "accumulated_cost is 1e300"
    METRICS_MISSING = "metrics-missing", "", "the conversation has no stats"
    WRONG_TOKENS = "wrong-tokens", "", "counts one completion token too many"
    SPENDS = "spends", "USD", "never ends, and its accumulated_cost grows by USD a second"

    DELETE_FAILS = "delete-fails", "", "DELETE of the conversation answers 500"
    DELETE_KEEPS = "delete-keeps", "", "DELETE answers 200 and deletes nothing"
    DELETES_TWICE = "deletes-twice", "", "answers 200 to a second DELETE"
    CRASH_AFTER_DELETE = "crash-after-delete", "CODE=1", "exits right after it answered the DELETE"
    IGNORES_TERM = "ignores-term", "", "does not end when it is told to"
    ENDS_BADLY = "ends-badly", "CODE=4", "ends with that exit code when it is told to end"

    BASH_EXIT_LOST = "bash-exit-lost", "", "the bash API gives 0 as every command's exit code"
    BASH_NEVER_ENDS = (
        "bash-never-ends",
        "",
        "the bash API answers to a command that is over its time, and lets it run on",
    )
    UTF8_MANGLED = "utf-8-mangled", "", "takes the output of commands for ASCII"
    WORKSPACE_READ_ONLY = "workspace-read-only", "", "/workspace cannot be written to"
    TERMINAL_MISSING = "terminal-missing", "", "has no terminal tool: a conversation with it is a 500"
    TERMINAL_SILENT = "terminal-silent", "", "the terminal tool gives no output"
    LEAVES_BEHIND = "leaves-behind", "", "a process and a file in /tmp are there after the DELETE"

    TRICKLES = "trickles", "PATH", "sends the body a byte every 0.5 s; PATH as below"
    HUGE_RESPONSE = "huge-response", "PATH", "sends a body of 100 MB; PATH as below"
    INVALID_JSON = "invalid-json", "PATH", "sends half of the body; PATH as below"
    WRONG_CONTENT_TYPE = (
        "wrong-content-type",
        "PATH",
        "says text/html of a body of JSON; PATH: routes, by how they begin, else GETs of the conversation",
    )

    LOG_GARBAGE = "log-garbage", "", "prints invalid UTF-8, control characters and colours"
    LOG_FLOOD = "log-flood", "BYTES", "prints that many bytes before a conversation ends"
    LOG_SECRET = (
        "log-secret",
        "",
        "prints the keys it was given: raw, URL-encoded, base64, in JSON, over two writes, over 16 KiB",
    )
    LIBRARY_MISSING = "library-missing", "", "prints that a shared library is missing, and works"

    def __init__(self, title: str, argument: str, meaning: str) -> None:
        self.title = title
        self.argument = argument
        self.meaning = meaning


@dataclass(frozen=True)
class Told:
    """A fault with what followed its colon."""

    fault: Fault = Fault.NONE
    argument: str = ""

    def text(self) -> str:
        """The argument, or the default that the fault names behind a ``=``, or before a ``|``."""
        return self.argument or self.fault.argument.partition("=")[2] or self.fault.argument.partition("|")[0]

    def number(self) -> float:
        return float(self.text())


def parse(text: str) -> Told:
    """Read ``<name>[:<argument>]``; nothing is ``none``. Raises ``ValueError`` that says what is wrong."""
    name, _, argument = text.partition(":")
    for fault in Fault:
        if fault.title == (name or "none"):
            break
    else:
        raise ValueError(f"there is no fault {name!r}")
    told = Told(fault, argument)
    if argument and not fault.argument:
        raise ValueError(f"{fault.title} takes no argument")
    if fault.argument.partition("=")[0] in _NUMBERS:
        try:
            told.number()
        except ValueError:
            raise ValueError(f"{fault.title} needs a number: {fault.title}:{fault.argument}") from None
    return told


class Ended(BaseException):
    """The process is ending, and the thread that raises this is not to go on."""


def table() -> str:
    """The faults in Markdown, as docs/images.md has them."""
    lines = ["| fault | what is wrong |", "|---|---|"]
    for fault in Fault:
        argument = fault.argument.replace("|", "\\|")
        shown = f"`{fault.title}`" + (f" `:{argument}`" if argument else "")
        lines.append(f"| {shown} | {fault.meaning} |")
    return "\n".join(lines) + "\n"


def write_table(paper: Path) -> None:
    """Put the table in the place of the one in ``paper``."""
    before, head, rest = paper.read_text().partition("| fault |")
    if not head:
        raise ValueError(f"{paper} has no table of faults")
    paper.write_text(f"{before}{table()}\n{rest.partition(chr(10) * 2)[2]}")


if __name__ == "__main__":
    write_table(Path("docs/images.md"))
