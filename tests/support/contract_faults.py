"""What a run has to make of each fault of the contract server: see tests/e2e/test_faults.py."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

EXIT_CODES = {"passed": 0, "failed": 1, "error": 3}
LAST_STEP = "log"


@dataclass(frozen=True)
class Row:
    """One fault, and what is found of it.

    ``steps``: those that do not pass, in their order; ``a|b`` where either may meet the fault first.
    ``words``: parts of the first one's message, expected, got and detail. ``goes_on``: what follows is
    tested too. ``billed``: the cell knows what it cost. ``ended``: the server's exit code, where it counts.
    """

    fault: str
    steps: str = ""
    words: tuple[str, ...] = ()
    cause: str | None = "assertion"
    outcome: str = "failed"
    goes_on: bool = False
    attempts: int = 1
    billed: bool = False
    ended: int | None = None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)  # by step
    matrix: str = ""  # more of matrix.yaml

    @property
    def name(self) -> str:
        return re.sub("[^A-Za-z0-9.]+", "-", self.fault)


def _within(step: str, seconds: int) -> str:
    return f"step-timeouts: {{{step}: {seconds}s}}\n"


def ends(fault: str, steps: str, *words: str, **more: Any) -> Row:
    """What would follow means nothing without it."""
    return Row(fault, steps, words, **more)


def late(fault: str, step: str, *words: str, seconds: int = 3, **more: Any) -> Row:
    return Row(fault, step, words, "step-timeout", matrix=_within(step, seconds), **more)


def seen(fault: str, steps: str, *words: str, billed: bool = True, **more: Any) -> Row:
    """The rest is tested all the same."""
    return Row(fault, steps, words, goes_on=True, billed=billed, **more)


def fine(fault: str, **more: Any) -> Row:
    return Row(fault, cause=None, outcome="passed", goes_on=True, billed=True, **more)


_SMALL = "resources: {memory: 128m}\n"
_QEMU = ("the emulator crashed", "qemu: uncaught target signal 11 (Segmentation fault)")
_POLLED: dict[str, dict[str, Any]] = {"finished": {"status": "finished", "learned_from": "polling"}}
_BODY = "JSON, as application/json"
_NO_SPACE = "OSError: [Errno 28] No space left on device: '/workspace/conversations'"
_NOT_DORMANT = ("the state after boot", "expected: dormant")

BOOT = (
    ends(
        "exits-at-once:3",
        "start|machine|dormant",
        "ended by itself with exit code 3",
        "ImportError: no module named litellm",
        cause="container-exited",
        ended=3,
    ),
    ends(
        "exits-during-boot:7",
        "dormant",
        "ended by itself with exit code 7",
        "ImportError: the disk is on fire",
        cause="container-exited",
        ended=7,
    ),
    ends(
        "out-of-memory:boot",
        "start|machine|dormant",
        "killed for its memory at its limit of 128 MiB (exit code 137)",
        cause="out-of-memory",
        ended=137,
        matrix=_SMALL,
    ),
    ends(
        "qemu-signal:boot",
        "start|machine|dormant",
        *_QEMU,
        cause="emulator-crashed",
        outcome="error",
        attempts=3,
        ended=139,
    ),
    late("boots-slowly:60", "dormant", "step dormant took longer than 3 s: nothing listened on port 8000"),
    late(
        "init-never-answers",
        "dormant",
        "longer than 4 s: GET /api/init was not answered, though GET /health was, with 200",
        seconds=4,
    ),
    ends("never-dormant", "dormant", *_NOT_DORMANT, "got: initializing"),
    ends("boots-ready", "dormant", *_NOT_DORMANT, "got: ready"),
    ends("not-deferred", "dormant", "it ignored OH_DEFERRED_INIT", "got: 404 from GET /api/init"),
    seen("open-route-shut", "gate", "must be open while dormant", "got: ['/ready']"),
    seen("gate-open", "gate", "26 of 26 gated routes answer while", "got: GET /api/agent-profiles: 200; "),
    seen("gate-open:/api/hooks", "gate", "1 of 26 gated routes answer while", "got: POST /api/hooks: 200"),
    seen("socket-open-while-dormant", "gate", "handshake of the events", "expected: 403", "got: 101"),
)

INIT = (
    ends("init-401", "refusals init", "with an unknown field", "expected: 422", "got: 401"),
    ends("init-422", "init", "POST /api/init answers", "got: 422", "a_field_that_nobody_knows"),
    ends(
        "init-500",
        "init",
        "POST /api/init failed, and failed again when it was tried a second time",
        "expected: 200",
        "got: 500",
        _NO_SPACE,
        facts={
            "init": {
                "state_after_failure": "dormant",
                "error_after_failure": _NO_SPACE,
                "second_try": "answered 500",
            }
        },
    ),
    seen(
        "init-500-once",
        "init",
        "POST /api/init failed, and worked when it was tried a second time",
        "expected: 200",
        "got: 500",
        facts={
            "init": {
                "state_after_failure": "dormant",
                "error_after_failure": _NO_SPACE,
                "second_try": "worked",
            }
        },
    ),
    late("init-hangs", "init", "step init took longer than 3 s: POST /api/init was not answered in full"),
    ends("stays-initializing", "init", "that POST /api/init answers", "expected: ready", "got: initializing"),
    ends("init-says-dormant", "init", "that POST /api/init answers", "expected: ready", "got: dormant"),
    ends(
        "init-lies",
        "init-again session-keys conversation",
        "the state after init",
        "expected: ready",
        "got: dormant",
    ),
    ends("key-not-needed", "refusals init", "without a key", "expected: 401", "got: 200"),
    ends("wrong-key-accepted", "refusals init", "with a wrong key", "expected: 401", "got: 200"),
    ends("unknown-field-accepted", "refusals init", "an unknown field", "expected: 422", "got: 200"),
    ends("refused-init-counts", "refusals init", "the state after refused inits", "got: ready"),
    seen("second-init-accepted", "init-again", "a second POST /api/init", "expected: 400", "got: 200"),
    seen("second-init-needs-no-key", "init-again", "with a wrong key", "expected: 401", "got: 400"),
    seen("session-keys-not-enforced", "session-keys", "without a session key", "expected: 401", "got: 200"),
    ends("session-key-refused", "session-keys conversation", "with the session key", "got: 401"),
)

CONVERSATION = (
    ends("conversation-500", "conversation", "expected: 201", "got: 500", "RuntimeError: no such agent"),
    ends("conversation-without-id", "conversation", "POST /api/conversations gave no id"),
    late("conversation-never-starts", "finished", "no terminal state within 3 s: it is idle"),
    late("runs-for-ever", "finished", "no terminal state within 3 s: it is running", "got: running"),
    late("paused-for-ever", "finished", "no terminal state within 3 s: it is paused", "got: paused"),
    late("waiting-for-confirmation", "finished", "within 3 s: it is waiting_for_confirmation"),
    late("unknown-status", "finished", "it is hibernating, a status that no agent-server has"),
    late("stopped", "finished", "it is stopped, a status that no agent-server has"),
    ends(
        "error:ValueError",
        "finished",
        "ended as error: ValueError: the agent lost its tools",
        cause="conversation-error",
    ),
    ends(
        "error-over-rest:ValueError",
        "finished",
        "ended as error: ValueError: the agent lost its tools",
        cause="conversation-error",
    ),
    ends(
        "stuck",
        "finished",
        "ended as stuck: the server gave no reason",
        "got: stuck",
        cause="conversation-error",
    ),
    ends(
        "dies-in-conversation:3",
        "conversation|finished",
        "ended by itself with exit code 3",
        "RuntimeError: the event loop is closed",
        cause="container-exited",
        ended=3,
    ),
    ends(
        "out-of-memory:conversation",
        "conversation|finished",
        "killed for its memory at its limit of 128 MiB (exit code 137)",
        cause="out-of-memory",
        ended=137,
        matrix=_SMALL,
    ),
    ends(
        "qemu-signal:conversation",
        "conversation|finished",
        *_QEMU,
        cause="emulator-crashed",
        outcome="error",
        attempts=3,
        ended=139,
    ),
    seen("empty-answer", "answer", "the answer does not contain 42", "got: ''"),
    seen("wrong-answer", "answer", "the answer does not contain 42", "got: '41, I believe'"),
)

EVENTS = (
    seen("socket-refused", "events", "got: InvalidStatus: ", "HTTP 403", facts=_POLLED),
    seen("socket-closes-abnormally", "events", "got: ConnectionClosedError: no close frame", facts=_POLLED),
    seen("socket-silent", "events", "got: open, and silent about the end", facts=_POLLED),
    seen("socket-malformed", "events", "got: ConnectionClosedError: ", "invalid opcode", facts=_POLLED),
    seen("socket-never-terminal", "events", "got: open, and silent about the end", facts=_POLLED),
    fine(
        "rest-flaps-503:2",
        facts={"finished": {"learned_from": "websocket", "polls_without_status": 2}},
    ),
)

BILL = (
    seen("cost-missing", "cost", "the server counted no cost", "got: no cost at all", billed=False),
    seen("cost-zero", "cost", "the server counted no cost", "expected: above zero", "got: 0", billed=False),
    seen("cost-negative", "cost", "cost is none that can be", "got: -0.000085", billed=False),
    seen("cost-nan", "cost", "cost is none that can be", "got: nan", billed=False),
    seen("cost-string", "cost", "cost is none that can be", "got: '0.00008500'", billed=False),
    seen("cost-huge", "cost", "cost is none that can be", "got: 1E+300", billed=False),
    seen("metrics-missing", "cost", "the server counted no cost", "got: no cost at all", billed=False),
    seen("wrong-tokens", "cost", "the tokens that the server counted", "completion=1", "completion=2"),
)

END = (
    seen("delete-fails", "delete", "DELETE /api/conversations/", "got: 500", "Directory not empty"),
    seen("delete-keeps", "delete", "after the deletion", "expected: 404", "got: 200"),
    seen("deletes-twice", "delete", "a second DELETE", "expected: 404", "got: 200"),
    ends(
        "crash-after-delete:1",
        "delete|stop",
        "the container ended by itself with exit code 1",
        cause="container-exited",
        billed=True,
        ended=1,
    ),
    seen(
        "ignores-term",
        "stop",
        "did not end cleanly within 1 s of TERM",
        "got: exit code 137",
        ended=137,
        matrix=_within("stop", 1),
    ),
    seen("ends-badly:4", "stop", "did not end cleanly", "got: exit code 4", ended=4),
    seen("library-missing", "log", "known signs of a broken image", "error while loading shared libraries"),
)

TRANSPORT = (
    late("trickles", "answer", "answer took longer than 3 s: GET ", "was not answered in full"),
    late("trickles:/api/init", "dormant", "longer than 3 s: GET /api/init was not answered, though"),
    late("trickles:/server_info", "server-info", "GET /server_info was not answered in full"),
    ends("huge-response:/api/init", "dormant", "to GET /api/init", _BODY, "got: more than 8 MB"),
    seen("huge-response", "answer cost", "agent_final_response", _BODY, "got: more than 8 MB", billed=False),
    ends("invalid-json:/api/init", "dormant", "to GET /api/init", _BODY, "got: not JSON: Unterminated"),
    seen("invalid-json:/server_info", "server-info", "GET /server_info", _BODY, "got: not JSON: "),
    seen("invalid-json", "answer cost", "agent_final_response", _BODY, "got: not JSON: ", billed=False),
    ends("wrong-content-type:/api/init", "dormant", _BODY, "got: JSON, but called text/html"),
    seen("wrong-content-type", "answer cost", "response", _BODY, "got: JSON, but called text/html"),
)


def tools(fault: str, steps: str, *words: str, settings: str = "", **more: Any) -> Row:
    """Seen by the scenario ``tools``; ``settings`` of it."""
    matrix = f"scenarios: {{tools: {{{settings}}}}}\n"
    return Row(fault, steps, words, matrix=matrix, **({"goes_on": True, "billed": True} | more))


TOOLS = (
    tools(
        "bash-exit-lost",
        "bash",
        "the exit code of a command that ends with 7; the answer to a command that takes longer than it may",
        "got: the exit code of a command that ends with 7: 0",
    ),
    tools(
        "bash-never-ends",
        "bash leftovers",
        "a command that takes longer than it may",
        "expected: it has ended, with all that it started",
        "got: it still runs",
    ),
    tools(
        "utf-8-mangled",
        "bash terminal",
        "UTF-8 in a command, as it is printed again; UTF-8 in the output of a command",
        "Gr\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}",
    ),
    tools(
        "workspace-read-only",
        "bash",
        "a file in /workspace",
        "expected: it can be made, read and removed",
        "got: it cannot be made: exit code 11, ",
        "Permission denied",
    ),
    tools(
        "terminal-missing",
        "conversation",
        "expected: 201",
        "got: 500",
        "'terminal' is not registered",
        goes_on=False,
        billed=False,
    ),
    tools(
        "terminal-silent",
        "bash terminal",
        "the user that commands run as",
        "expected: 4711",
        "got: 10001",
        settings="user: 4711",
    ),
    tools(
        "leaves-behind",
        "leftovers",
        "processes that were left behind; files that were left behind",
        "processes that were left behind: sleep 600",
        "files that were left behind: /tmp/left-behind",
    ),
)

# What they print has tests of its own: test_a_flood.py, test_secrets.py.
LOG = (
    # The log is shown where something failed.
    ends(
        "log-garbage",
        "cost",
        "$0.000085 spent, of $0.00001 that one cell may cost",
        cause="cell-budget",
        billed=True,
        matrix="max-cost: {cell: 0.00001}\n",
    ),
    fine("log-flood:50000000"),
    fine("log-secret"),
)

ROWS = (fine("none"), *BOOT, *INIT, *CONVERSATION, *EVENTS, *BILL, *END, *TRANSPORT, *TOOLS, *LOG)
