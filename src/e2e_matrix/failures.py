"""The one table that says what a failure means.

Code that meets a failure names its cause; what follows from it is read here and decided nowhere else.
docs/failures.md is written from it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
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


# Whoever shows a row writes the command of the run that it is about: see advice.py.
RESUME = "e2e-matrix run --resume"
BROKEN = (Outcome.FAILED, Outcome.ERROR)


class Cause(StrEnum):
    """Why something did not pass; the values are written to results.json."""

    ASSERTION = "assertion"
    CONTAINER_EXITED = "container-exited"
    OUT_OF_MEMORY = "out-of-memory"
    STEP_TIMEOUT = "step-timeout"
    CONVERSATION_ERROR = "conversation-error"
    SCRIPT_FAILED = "script-failed"
    SCRIPT_TIMEOUT = "script-timeout"
    NOT_STARTABLE = "not-startable"
    TAG_MISSING = "tag-missing"
    PLATFORM_MISSING = "platform-missing"
    ARCH_TAG_DIFFERS = "arch-tag-differs"
    CELL_TIMEOUT = "cell-timeout"
    CELL_BUDGET = "cell-budget"
    REGISTRY_UNREACHABLE = "registry-unreachable"
    REGISTRY_BUSY = "registry-busy"
    REGISTRY_DENIED = "registry-denied"
    REGISTRY_BROKEN = "registry-broken"
    PULL_FAILED = "pull-failed"
    DISK_FULL = "disk-full"
    ENGINE_LOST = "engine-lost"
    ENGINE_REFUSED = "engine-refused"
    CONTAINER_GONE = "container-gone"
    CONTAINER_DISTURBED = "container-disturbed"
    EMULATOR_CRASHED = "emulator-crashed"
    LLM_UNAVAILABLE = "llm-unavailable"
    LLM_BUSY = "llm-busy"
    LLM_DENIED = "llm-denied"
    SCRIPT_REFUSED = "script-refused"
    SCRIPT_ENVIRONMENT = "script-environment"
    LLM_REPLAY_DIFFERS = "llm-replay-differs"
    LLM_REFUSED = "llm-refused"
    LLM_REPLIES_WRONG = "llm-replies-wrong"
    PLATFORM_UNSUPPORTED = "platform-unsupported"
    INTERRUPTED = "interrupted"
    FAIL_FAST = "fail-fast"
    RUN_TIMEOUT = "run-timeout"
    RUN_BUDGET = "run-budget"
    RUNNER_DIED = "runner-died"
    RUN_ABORTED = "run-aborted"
    UNFINISHED = "unfinished"
    TIME_WAS_OVER = "time-was-over"
    BUDGET_WAS_SPENT = "budget-was-spent"
    INTERNAL = "internal"


@dataclass(frozen=True)
class Retry:
    """How often a cell is tried at the most, and the pauses between (seconds): doubled, with jitter.

    ``wait`` 0 tries again at once: what happened will not go away by waiting, nor come back because of haste.
    """

    attempts: int
    wait: float = 0.0
    longest: float = 60.0

    def pause(
        self, tried: int, asked: float | None = None, draw: Callable[[], float] = random.random
    ) -> float:
        """Seconds to wait after ``tried`` attempts; ``asked`` is what a Retry-After wants at the least.

        The jitter takes up to half off, so that cells which met the same trouble do not come back together.
        """
        doubled = min(self.wait * 2.0 ** (tried - 1), self.longest)
        return max(doubled * (1 - draw() / 2), asked or 0.0)


@dataclass(frozen=True)
class Policy:
    """What follows from a cause.

    ``retry`` None: another try would bring the same, or the product failed; ``final``: also by the matrix's
    wish it is not tried again. ``aborts_run``, once no retry is left: the cells that have not started would
    meet the same.
    """

    outcome: Outcome
    what: str
    do: str
    retry: Retry | None = None
    aborts_run: bool = False
    final: bool = False


_PRODUCT = Outcome.FAILED
_INFRA = Outcome.ERROR

# Seconds. Who asks to be left alone for longer is not waited for: a person has to decide.
LONGEST_ASKED = 900.0

_AGAIN = Retry(attempts=3, wait=2.0)
# An engine that restarts is away for some seconds, up to most of a minute.
_WHEN_BACK = Retry(attempts=5, wait=3.0, longest=30.0)
_AT_ONCE = Retry(attempts=3)
# It may be an engine that is going down, and has not said so yet.
_SOON = Retry(attempts=5, wait=1.0, longest=15.0)
# A limit on requests is lifted after a while, and asking sooner only prolongs it.
_LATER = Retry(attempts=4, wait=10.0, longest=120.0)

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
    Cause.SCRIPT_FAILED: Policy(
        _PRODUCT,
        "the example script did not end as it should",
        "Read script.log, of which the message has the last word, and its requests in the report.",
    ),
    Cause.SCRIPT_TIMEOUT: Policy(
        _PRODUCT,
        "the example script did not end in time",
        "Look at its requests: what did it wait for? Raise the scenario's timeout where it needs longer.",
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
        final=True,
    ),
    Cause.PLATFORM_MISSING: Policy(
        _PRODUCT,
        "the index has no manifest for the platform",
        "The build of that platform failed or was not pushed: publish it, or exclude the cell.",
        final=True,
    ),
    Cause.ARCH_TAG_DIFFERS: Policy(
        _PRODUCT,
        "the per-arch tag is another image than the index's",
        "The index and the per-arch tag come from different builds: publish them again together.",
        final=True,
    ),
    Cause.CELL_TIMEOUT: Policy(
        _PRODUCT,
        "the cell reached its time limit",
        "Raise timeout in matrix.yaml, or look at the step that took the time.",
    ),
    Cause.CELL_BUDGET: Policy(
        _PRODUCT,
        "the conversation cost more than one cell may",
        "Look at llm-calls.json for what was asked so often; raise max-cost.cell if the limit is too tight.",
        final=True,
    ),
    Cause.REGISTRY_UNREACHABLE: Policy(
        _INFRA,
        "the registry did not serve the request",
        "Check the network and the registry's address; `e2e-matrix doctor` asks it.",
        _AGAIN,
    ),
    Cause.REGISTRY_BUSY: Policy(
        _INFRA,
        "the registry wants fewer requests",
        "Log in with `docker login REGISTRY`, which raises its limit, or run the matrix later.",
        _LATER,
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
        _AGAIN,
    ),
    Cause.PULL_FAILED: Policy(
        _INFRA,
        "the engine could not pull the image",
        "The message is the engine's own; try the pull command of the report by hand.",
        _AGAIN,
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
        _WHEN_BACK,
        aborts_run=True,
    ),
    Cause.ENGINE_REFUSED: Policy(
        _INFRA,
        "the container engine did not do what it was asked",
        "The message is the engine's own; its log says more.",
        _SOON,
    ),
    Cause.CONTAINER_GONE: Policy(
        _INFRA,
        "somebody removed the container",
        "Look for a clean-up job on this engine: it has to leave containers labelled e2e-matrix.run alone.",
        _AT_ONCE,
    ),
    Cause.CONTAINER_DISTURBED: Policy(
        _INFRA,
        "somebody stopped the container, paused it or cut its network",
        "Look for who else uses this engine; containers labelled e2e-matrix.run belong to a run.",
        _SOON,
    ),
    Cause.EMULATOR_CRASHED: Policy(
        _INFRA,
        "QEMU crashed, not the server",
        "Run the cell again; a native engine of that platform does not have this.",
        _AT_ONCE,
    ),
    Cause.LLM_UNAVAILABLE: Policy(
        _INFRA,
        "the model's endpoint did not answer",
        "Check LLM_BASE_URL; the stand-in needs a bridge that containers can reach.",
        _AGAIN,
    ),
    Cause.LLM_BUSY: Policy(
        _INFRA,
        "the model's provider wants fewer requests",
        "Lower max-parallel, raise the provider's limit, or run the matrix later.",
        _LATER,
    ),
    Cause.LLM_DENIED: Policy(
        _INFRA,
        "the model's provider refused the key or the model",
        "Check the key, the model's name, and that the key may use it.",
    ),
    Cause.SCRIPT_REFUSED: Policy(
        _INFRA,
        "there is no such script, or it is none for a matrix",
        "The message says what it lacks or does: correct the scenario, or exclude the script.",
    ),
    Cause.SCRIPT_ENVIRONMENT: Policy(
        _INFRA,
        "the script's packages could not be installed",
        "The message has uv's own words: check the version, the network and where uv looks for packages.",
        _AGAIN,
    ),
    Cause.LLM_REPLAY_DIFFERS: Policy(
        _PRODUCT,
        "the server asked the model something else than what was recorded",
        "The step shows the difference; if the change is wanted, record again with llm.record.",
        final=True,
    ),
    Cause.LLM_REFUSED: Policy(
        _INFRA,
        "the model's provider refused the content",
        "Its content filter judged the question or the answer: ask otherwise, or name another model.",
    ),
    Cause.LLM_REPLIES_WRONG: Policy(
        _INFRA,
        "llm.replies has the stand-in call a tool that the server did not offer it",
        "Correct the rule that the message names, or give the conversation that tool.",
    ),
    Cause.PLATFORM_UNSUPPORTED: Policy(
        Outcome.UNSUPPORTED,
        "this engine cannot run the platform",
        "`e2e-matrix doctor` says how to add emulation.",
    ),
    Cause.INTERRUPTED: Policy(Outcome.CANCELLED, "stopped on request", f"Finish the run with `{RESUME}`."),
    Cause.FAIL_FAST: Policy(
        Outcome.CANCELLED,
        "another cell failed and fail-fast is on",
        "Set fail-fast: false to see every cell.",
    ),
    Cause.RUN_TIMEOUT: Policy(
        Outcome.CANCELLED,
        "stopped when the run reached its time limit",
        f"Finish the run with `{RESUME}`, which begins its time anew; `--run-timeout` gives it more.",
    ),
    Cause.RUN_BUDGET: Policy(
        Outcome.CANCELLED,
        "stopped when the run had spent what it may",
        f"Finish the run with more to spend: `{RESUME} --max-cost USD`.",
    ),
    Cause.RUNNER_DIED: Policy(
        Outcome.CANCELLED,
        "the runner ended in the middle of this attempt",
        "Nothing: it was resumed. The attempt's folder has the log as far as it came.",
    ),
    Cause.RUN_ABORTED: Policy(
        Outcome.NOT_RUN,
        "an earlier failure made the rest pointless",
        f"Mend the cause named in the other cell, then finish the run with `{RESUME}`.",
    ),
    Cause.UNFINISHED: Policy(
        Outcome.NOT_RUN,
        "the run has not come to its end",
        f"Wait for it; if it was killed, finish it with `{RESUME}`.",
    ),
    Cause.TIME_WAS_OVER: Policy(
        Outcome.NOT_RUN,
        "the run reached its time limit before this cell could start",
        f"Finish the run with `{RESUME}`, which begins its time anew; `--run-timeout` gives it more.",
    ),
    Cause.BUDGET_WAS_SPENT: Policy(
        Outcome.NOT_RUN,
        "the run's budget was spent before this cell could start",
        f"Finish the run with more to spend: `{RESUME} --max-cost USD`.",
    ),
    Cause.INTERNAL: Policy(
        _INFRA, "e2e-matrix itself failed", "Please report it with the attempt's diagnostic.txt."
    ),
}


def retry_for(cause: Cause, product_retries: int, infrastructure_retries: int | None) -> Retry | None:
    """How a cell that ended with this cause is tried again, by the matrix's ``retries``.

    The product is tried again only ``product_retries`` times, which is never by default;
    ``infrastructure_retries`` takes the place of the table's own number (None: as the table says).
    """
    policy = POLICIES[cause]
    if policy.outcome is Outcome.FAILED:
        return Retry(attempts=product_retries + 1) if product_retries and not policy.final else None
    if policy.retry and infrastructure_retries is not None:
        return Retry(infrastructure_retries + 1, policy.retry.wait, policy.retry.longest)
    return policy.retry


def pause_before(retry: Retry | None, tried: int, asked: float | None = None) -> float | None:
    """Seconds until the next try, after ``tried`` of them; None where there is none."""
    if retry is None or tried >= retry.attempts or (asked or 0.0) > LONGEST_ASKED:
        return None
    return retry.pause(tried, asked)


def table() -> Iterator[tuple[str, ...]]:
    """The table for a person, a row for each cause, the header first."""
    yield "cause", "outcome", "tried again", "ends the run", "what happened", "what to do"
    for cause, policy in POLICIES.items():
        retry = policy.retry
        again = "no"
        if policy.outcome is Outcome.FAILED and not policy.final:
            again = "only by `retries.product`"
        elif retry:
            pause = (
                f", after {retry.wait:g} s, doubled up to {retry.longest:g} s" if retry.wait else ", at once"
            )
            again = f"up to {retry.attempts} attempts{pause}"
        ends = "yes" if policy.aborts_run else "no"
        yield f"`{cause}`", policy.outcome.value.replace("_", " "), again, ends, policy.what, policy.do
