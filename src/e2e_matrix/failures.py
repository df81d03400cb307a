"""The one table that says what a failure means.

Code that meets a failure names its cause; what follows from it is read here and decided nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a cell, an attempt or a step ended."""

    PASSED = "passed"
    FAILED = "failed"  # the product is wrong
    ERROR = "error"  # the infrastructure is
    UNSUPPORTED = "unsupported"  # this engine cannot run the platform
    CANCELLED = "cancelled"  # somebody stopped it
    NOT_RUN = "not_run"


class Cause(StrEnum):
    """Why something did not pass; the values are written to results.json."""

    ASSERTION = "assertion"
    CONTAINER_EXITED = "container-exited"
    OUT_OF_MEMORY = "out-of-memory"
    STEP_TIMEOUT = "step-timeout"
    CONVERSATION_ERROR = "conversation-error"
    NOT_STARTABLE = "not-startable"
    TAG_MISSING = "tag-missing"
    PLATFORM_MISSING = "platform-missing"
    ARCH_TAG_DIFFERS = "arch-tag-differs"
    CELL_TIMEOUT = "cell-timeout"
    REGISTRY_UNREACHABLE = "registry-unreachable"
    REGISTRY_DENIED = "registry-denied"
    REGISTRY_BROKEN = "registry-broken"
    PULL_FAILED = "pull-failed"
    DISK_FULL = "disk-full"
    ENGINE_LOST = "engine-lost"
    ENGINE_REFUSED = "engine-refused"
    EMULATOR_CRASHED = "emulator-crashed"
    LLM_UNAVAILABLE = "llm-unavailable"
    PLATFORM_UNSUPPORTED = "platform-unsupported"
    INTERRUPTED = "interrupted"
    FAIL_FAST = "fail-fast"
    RUN_ABORTED = "run-aborted"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Policy:
    """What follows from a cause. ``aborts_run``: the cells that have not started would meet the same."""

    outcome: Outcome
    what: str
    do: str
    aborts_run: bool = False


_PRODUCT = Outcome.FAILED
_INFRA = Outcome.ERROR

POLICIES: dict[Cause, Policy] = {
    Cause.ASSERTION: Policy(
        _PRODUCT,
        "the server did not keep its contract",
        "Read the failed step: it names the request, what was expected and what came.",
    ),
    Cause.CONTAINER_EXITED: Policy(
        _PRODUCT,
        "the container ended by itself",
        "Read the last lines of the log; run the image by hand with the same command.",
    ),
    Cause.OUT_OF_MEMORY: Policy(
        _PRODUCT,
        "the kernel killed the server at its memory limit",
        "Raise resources.memory in matrix.yaml if the limit is too tight for this image.",
    ),
    Cause.STEP_TIMEOUT: Policy(
        _PRODUCT,
        "the server did not answer or finish in time",
        "Read the log for what it was doing; on a slow machine raise timeout in matrix.yaml.",
    ),
    Cause.CONVERSATION_ERROR: Policy(
        _PRODUCT,
        "the conversation ended in error or stuck",
        "The step carries the server's own error text; check the model and its key first.",
    ),
    Cause.NOT_STARTABLE: Policy(
        _PRODUCT,
        "the engine could not start the image's command",
        "Check the image's entrypoint and the platform of its binaries.",
    ),
    Cause.TAG_MISSING: Policy(
        _PRODUCT,
        "the registry has no such tag",
        "Check --ref; if it is right, publishing left this variant out.",
    ),
    Cause.PLATFORM_MISSING: Policy(
        _PRODUCT,
        "the index has no manifest for the platform",
        "The build of that platform failed or was not pushed: publish it, or exclude the cell.",
    ),
    Cause.ARCH_TAG_DIFFERS: Policy(
        _PRODUCT,
        "the per-arch tag is another image than the index's",
        "The index and the per-arch tag come from different builds: publish them again together.",
    ),
    Cause.CELL_TIMEOUT: Policy(
        _PRODUCT,
        "the cell reached its time limit",
        "Raise timeout in matrix.yaml, or look at the step that took the time.",
    ),
    Cause.REGISTRY_UNREACHABLE: Policy(
        _INFRA,
        "the registry did not serve the request",
        "Check the network and the registry's address; `e2e-matrix doctor` asks it.",
    ),
    Cause.REGISTRY_DENIED: Policy(
        _INFRA,
        "the registry refused access",
        "Log in with `docker login REGISTRY`; the image may also be private or misspelt.",
    ),
    Cause.REGISTRY_BROKEN: Policy(
        _INFRA,
        "the registry's answer cannot be used",
        "Try again; if it stays, the registry or a proxy before it is broken.",
    ),
    Cause.PULL_FAILED: Policy(
        _INFRA,
        "the engine could not pull the image",
        "The message is the engine's own; try the pull command of the report by hand.",
    ),
    Cause.DISK_FULL: Policy(
        _INFRA,
        "no space is left",
        "Free some: `docker system df` shows what the engine keeps.",
        aborts_run=True,
    ),
    Cause.ENGINE_LOST: Policy(
        _INFRA,
        "the container engine stopped answering",
        "Look at the engine's own log, start it again, then run the matrix again.",
        aborts_run=True,
    ),
    Cause.ENGINE_REFUSED: Policy(
        _INFRA,
        "the container engine did not do what it was asked",
        "The message is the engine's own; look at its log, and whether somebody removed the container.",
    ),
    Cause.EMULATOR_CRASHED: Policy(
        _INFRA,
        "QEMU crashed, not the server",
        "Run the cell again; a native engine of that platform does not have this.",
    ),
    Cause.LLM_UNAVAILABLE: Policy(
        _INFRA,
        "the model's endpoint did not answer",
        "Check LLM_BASE_URL and the key; the stand-in needs a bridge that containers can reach.",
    ),
    Cause.PLATFORM_UNSUPPORTED: Policy(
        Outcome.UNSUPPORTED,
        "this engine cannot run the platform",
        "`e2e-matrix doctor` says how to add emulation.",
    ),
    Cause.INTERRUPTED: Policy(Outcome.CANCELLED, "stopped on request", "Run it again."),
    Cause.FAIL_FAST: Policy(
        Outcome.CANCELLED,
        "another cell failed and fail-fast is on",
        "Set fail-fast: false to see every cell.",
    ),
    Cause.RUN_ABORTED: Policy(
        Outcome.NOT_RUN,
        "an earlier failure made the rest pointless",
        "Mend the cause named in the other cell and run again.",
    ),
    Cause.INTERNAL: Policy(
        _INFRA, "e2e-matrix itself failed", "Please report it with the attempt's diagnostic.txt."
    ),
}
