"""Runs of an example script, as the store would hold them: one that polls for nothing, its fix, others."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.results import ApiCall, Attempt, Cell, Phases, Results, ScriptRun, Step
from support import report_samples as samples

CONVERSATION = "/api/conversations/7d0f0c5e-6c1b-4f0a-9d38-0e9c3b6a51f2"
PATH = "../software-agent-sdk/examples/02_remote_agent_server/16_deferred_init.py"
SCRIPT_STARTS, BOOT, STOP = 2.6, 5.2, 0.9
CRASH = """\
Traceback (most recent call last):
  File "/srv/sdk/examples/02_remote_agent_server/16_deferred_init.py", line 88, in <module>
    conversation.run()
RuntimeError: Remote conversation ended with error: the model refused
"""


def calls(polls: int, start: float) -> list[ApiCall]:
    """Init, a conversation, then its state once every two seconds: it has ended at the second question."""
    first = [
        ("GET", "/api/init", 200, 0.004),
        ("POST", "/api/init", 200, 0.58),
        ("POST", "/api/conversations", 201, 0.31),
        ("POST", f"{CONVERSATION}/events", 200, 0.02),
    ]
    made, at = [], start
    for method, path, status, seconds in first:
        made.append(_call(method, path, status, at, seconds))
        at += seconds + 0.05
    for _ in range(polls):
        made.append(_call("GET", CONVERSATION, 200, at, 0.011))
        at += 2.0
    return made


def _call(method: str, path: str, status: int | None, start: float, seconds: float) -> ApiCall:
    return ApiCall(
        method=method, path=path, status=status, start_seconds=round(start, 3), duration_seconds=seconds
    )


def script_run(polls: int = 2, slow: float = 1.0, **changed: Any) -> ScriptRun:
    """A script that asked for its conversation's state ``polls`` times, of which two were needed."""
    first = SCRIPT_STARTS + 0.4 + BOOT * slow
    made = calls(polls, first)
    end = made[-1].start_seconds + 0.02
    terminal = made[5].start_seconds - 0.4
    values: dict[str, Any] = {
        "path": PATH,
        "revision": "4c1f09d2",
        "commit": str(changed.get("revision", "4c1f09d2")).ljust(40, "0"),
        "changed": False,
        "sha256": samples.digest(f"script {polls}").removeprefix("sha256:"),
        "sdk_version": "1.58.2",
        "exit_code": 0,
        "start_seconds": SCRIPT_STARTS,
        "duration_seconds": round(end + STOP - SCRIPT_STARTS, 3),
        "printed_cost_usd": samples.COST,
        "server_cost_usd": samples.COST,
        "conversations": 1,
        "first_request_seconds": round(first, 3),
        "calls": made,
        "calls_total": len(made),
        "terminal_status": "finished",
        "terminal_seconds": round(terminal, 3),
        "wasted_seconds": round(max(end - terminal, 0), 3),
        "calls_after_terminal": max(polls - 1, 0),
        "output_bytes": 1_840,
    }
    return ScriptRun(**(values | changed))


def script_attempt(
    cell: str, script: ScriptRun, worker: int = 0, offset: float = 0.2, slow: float = 1.0, **changed: Any
) -> Attempt:
    """The attempt that ran it: within the step `script` the server boots and stops, as in real runs."""
    took = script.duration_seconds or 0.0
    end = SCRIPT_STARTS + took
    failed = changed.get("outcome", Outcome.PASSED) is not Outcome.PASSED
    nested = [
        ("pull", "The image is pulled by its digest", "pull", 0.01, 2.3),
        ("start", "The container starts", "boot", SCRIPT_STARTS + 0.3, 0.4 * slow),
        ("dormant", "The server boots", "boot", SCRIPT_STARTS + 0.3 + 0.41 * slow, BOOT * slow - 0.4 * slow),
        ("stop", "The server stops cleanly", "removal", end - STOP, STOP),
    ]
    steps = [
        Step(
            name=name,
            title=title,
            phase=phase,
            outcome=Outcome.PASSED,
            start_seconds=start,
            duration_seconds=took,
        )
        for name, title, phase, start, took in nested
    ]
    steps.append(
        Step(
            name="script",
            title="The script runs and ends as it should",
            phase="script",
            outcome=changed.get("outcome", Outcome.PASSED),
            cause=changed.get("cause"),
            message=changed.get("message") if failed else None,
            detail=script.output_excerpt if failed else None,
            start_seconds=SCRIPT_STARTS,
            duration_seconds=took,
        )
    )
    values: dict[str, Any] = {
        "number": 1,
        "outcome": Outcome.PASSED,
        "started_at": samples.START,
        "duration_seconds": round(end + 0.05, 3),
        "worker": worker,
        "run_offset_seconds": offset,
        "phases": Phases(pull=2.3, boot=BOOT * slow, init=0.58, conversation=1.1, removal=STOP),
        "steps": steps,
        "cost_usd": script.server_cost_usd,
        "server": samples.server(),
        "exit_code": 0,
        "folder": f"cells/{cell}/attempt-1",
        "script": script,
    }
    return Attempt(**(values | changed))


def script_cell(variant: str, arch: str, attempt: Attempt, scenario: str = "example-16", **axes: str) -> Cell:
    name = "-".join([variant, arch, *axes.values(), scenario])
    return samples.cell(
        variant,
        arch,
        [attempt],
        id=name,
        scenario=scenario,
        axes={"variant": variant, "arch": arch} | axes,
    )


def crashed(cell: str, worker: int = 0, offset: float = 0.2, **changed: Any) -> Attempt:
    run = script_run(
        exit_code=1, terminal_status="error", printed_cost_usd=None, output_excerpt=CRASH, **changed
    )
    return script_attempt(
        cell,
        run,
        worker,
        offset,
        outcome=Outcome.FAILED,
        cause=Cause.ASSERTION,
        message="the script ended with exit code 1: RuntimeError: Remote conversation ended with error",
        log_excerpt=samples.LOG,
    )


def with_scripts() -> Results:
    """Two scenarios on two variants and two platforms; of the script's cells one wasted, one failed."""
    cells = []
    for index, (variant, arch) in enumerate((v, a) for v in ("python", "java") for a in samples.ARCHES):
        plain = samples.attempt(f"{variant}-{arch}-deferred-init", arch == "arm64", 0, 130.0 * index)
        cells.append(
            samples.cell(
                variant, arch, [plain], id=f"{variant}-{arch}-deferred-init", scenario="deferred-init"
            )
        )
    late = script_run(60)
    emulated = script_run(2, slow=6.0, left_behind=3, printed_cost_usd=Decimal("0.01"))
    cells += [
        script_cell("python", "amd64", script_attempt("python-amd64-example-16", late, 1, 0.2)),
        script_cell(
            "python", "arm64", script_attempt("python-arm64-example-16", emulated, 1, 140.0, slow=6.0)
        ),
        script_cell("java", "amd64", crashed("java-amd64-example-16", 1, 200.0)),
        script_cell("java", "arm64", script_attempt("java-arm64-example-16", script_run(), 1, 230.0)),
    ]
    return samples.run(cells, axes={"variant": ["python", "java"], "arch": samples.ARCHES})


def hostile() -> Results:
    """A script that writes everything a page or a comment could trip over, wherever it can write."""
    bad = samples.HOSTILE
    evil = script_run(
        path=bad,
        revision=bad,
        sha256=bad,
        sdk_version=bad,
        exit_code=None,
        signal=9,
        terminal_status=bad,
        wasted_seconds=60.0,
        left_behind=2,
        output_excerpt=bad * 20,
        output_bytes=2_000_000_000,
        output_dropped_bytes=1_900_000_000,
        calls=[_call(bad, bad, None, 3.0 + number, 0.1) for number in range(3)],
        calls_total=500,
    )
    attempt = script_attempt(
        "python-amd64-x", evil, outcome=Outcome.FAILED, cause=Cause.ASSERTION, message=bad
    )
    passed = script_attempt("java-amd64-x", evil)
    return samples.run([script_cell("python", "amd64", attempt, bad), script_cell("java", "amd64", passed)])


def commits(before: str = "31c5a2e", after: str = "9d04e77", gives_up: bool = True) -> Results:
    """One run with an axis over commits: the script polls on for nothing at the first, not at the second.

    At the first it fails in the end, unless it does not give up but goes on as if nothing were.
    """
    cells = []
    for number, variant in enumerate(("python", "java")):
        how: dict[str, Any] = {}
        told: dict[str, Any] = {}
        if gives_up:
            how = {"exit_code": 1, "output_excerpt": "TimeoutError: never completed"}
            told = {
                "outcome": Outcome.FAILED,
                "cause": Cause.ASSERTION,
                "message": "the script ended with exit code 1",
            }
        waited = script_run(60, revision=before, **how)
        slow = script_attempt(f"{variant}-amd64-{before}", waited, offset=number * 130.0, **told)
        passed = script_attempt(f"{variant}-amd64-{after}", script_run(revision=after), offset=300.0)
        cells += [
            script_cell(variant, "amd64", slow, commit=before),
            script_cell(variant, "amd64", passed, commit=after),
        ]
    return samples.run(
        cells, axes={"variant": ["python", "java"], "arch": ["amd64"], "commit": [before, after]}
    )
