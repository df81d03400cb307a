"""One attempt at one cell: pull, start, drive, collect, remove.

``run_cell`` is a function of plain data and of what it is handed; it knows nothing of the scheduler, so that
a thread here and a worker elsewhere run the same code. It always returns: what goes wrong becomes an outcome.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from e2e_matrix import diagnostic
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import Engine, ProgressCallback, PulledImage, PullProgress
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import POLICIES, Cause, Outcome
from e2e_matrix.limits import Limits
from e2e_matrix.progress import Progress
from e2e_matrix.results import Attempt
from e2e_matrix.scenarios import find
from e2e_matrix.scenarios.base import Deadline, LlmLedger, Session
from e2e_matrix.scenarios.container import WORTH_SAYING
from e2e_matrix.task import CellTask
from e2e_matrix.text import block

# What the report shows of a container's log where something failed.
EXCERPT_LINES = 40
PULL_LIMIT = 3600.0


def run_cell(
    task: CellTask,
    engine: Engine,
    llm: LlmLedger,
    progress: Progress,
    cancel: Cancellation,
    limits: Limits,
) -> Attempt:
    """Run one attempt and clean up after it. Never raises, except what ends the process."""
    started_at = datetime.now(UTC)
    progress.cell_started(task.cell, task.attempt, task.repetition)
    session = Session(task, engine, llm, progress, cancel, limits)
    failure: CellFailure | None = None
    pulled: PulledImage | None = None
    try:
        try:
            limits.budget.check_before(task.cell)
            pulled = _pull(session)
            find(task.scenario, task.settings).run(session)
        finally:
            _finish_logs(session)
    except CellFailure as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - one cell's surprise must not end the others
        failure = _internal(session, error)
    removal = _remove(session)
    # What came first tells most, but being asked to stop overrides what broke because of it.
    failure = (
        cancel.failure() if cancel.is_set and failure else session.findings.failure or failure or removal
    )
    return _attempt(session, started_at, failure, pulled)


def _pull(session: Session) -> PulledImage:
    task = session.task

    # Of its own, for the cell's limit does not run yet, and what takes too long here is not the product.
    seconds = task.step_timeouts.get("pull", PULL_LIMIT)
    limit = Deadline(seconds, Cause.PULL_FAILED, f"the pull of {task.image}")

    def watch(progress: PullProgress) -> None:
        session.cancel.check()  # raised out of the engine's own loop: a pull can take minutes
        limit.check()
        session.report_pull(progress)

    with session.limits.pulls.passed(session.cancel) as waited:
        session.restart_limit()  # the gate is ours: a cell is not to blame for the pulls of others
        pulled = _pull_now(session, watch, waited)
    session.phase(pull=session.findings.steps[-1].duration_seconds)
    # A cell's limit is for the product, not for the network: it starts once the image is there.
    session.restart_limit()
    return pulled


def _pull_now(session: Session, watch: ProgressCallback, waited: float) -> PulledImage:
    task = session.task
    with session.step("pull", "The image is pulled by its digest", phase="pull", limit=PULL_LIMIT) as step:
        if waited > WORTH_SAYING:
            step.note(waited_seconds=round(waited, 2))
        pulled = session.engine.pull(task.image, task.platform, watch)
        step.note(unpacked_bytes=pulled.size_bytes, was_present=pulled.was_present)
    return pulled


def _finish_logs(session: Session) -> None:
    """Every log, also where the disk refused an earlier one."""
    with ExitStack() as stack:
        for container in session.containers:
            stack.callback(container.finish_log)


def _remove(session: Session) -> CellFailure | None:
    """Remove what was started whatever happened; a removal that fails is a failure of the infrastructure."""
    begin = time.monotonic()
    failure: CellFailure | None = None
    for container in session.containers:
        container.close()
        try:
            if container.exit_state is None:
                container.exit_state = session.engine.state(container.id)
        except CellFailure as error:
            failure = failure or error
        try:
            session.engine.remove(container.id)
        except CellFailure as error:
            failure = error
    session.outlasting.close()
    if session.containers:
        stopped = sum(step.duration_seconds for step in session.findings.steps if step.name == "stop")
        session.phase(removal=round(stopped + time.monotonic() - begin, 4))
    return failure


def _internal(session: Session, error: Exception) -> CellFailure:
    """An exception that no row of failures.py foresaw."""
    name = "diagnostic.txt"
    steps = ", ".join(f"{step.name} {step.outcome}" for step in session.findings.steps)
    task = session.task
    about = f"cell {task.cell}, image {task.image}, platform {task.platform}\nsteps: {steps}"
    diagnostic.write(Path(task.folder) / name, error, about, session.secrets)
    message = session.redact(f"{type(error).__name__}: {error}")
    return CellFailure(Cause.INTERNAL, f"{message}; see {name}")


def _excerpt(log: str, failure: CellFailure | None) -> str | None:
    if failure is None or not log:
        return None
    lines = block(log, limit=64_000, lines=5_000).splitlines()
    return "\n".join(lines[-EXCERPT_LINES:])


def _attempt(
    session: Session,
    started_at: datetime,
    failure: CellFailure | None,
    pulled: PulledImage | None,
) -> Attempt:
    task, findings, current = session.task, session.findings, session.current
    state = current and current.exit_state
    log = current and current.log
    logs = [started.log for started in session.containers if started.log]
    return Attempt(
        number=task.attempt,
        repetition=task.repetition,
        outcome=POLICIES[failure.cause].outcome if failure else Outcome.PASSED,
        cause=failure and failure.cause,
        message=failure and block(failure.message, limit=500, lines=4),
        started_at=started_at,
        duration_seconds=round(time.monotonic() - session.started, 4),
        retry_after_seconds=failure and failure.retry_after,
        worker=task.worker,
        run_offset_seconds=round(task.run_offset_seconds, 4),
        phases=findings.phases,
        steps=findings.steps,
        cost_usd=findings.cost_usd,
        tokens=findings.tokens,
        llm_calls=session.llm.calls(),
        server=findings.server,
        script=findings.script,
        machine=findings.machine,
        exit_code=state.exit_code if state else None,
        oom_killed=state.oom_killed if state else False,
        unpacked_bytes=pulled.size_bytes if pulled else None,
        dormant_memory_bytes=findings.dormant_memory_bytes,
        api=findings.api,
        image_labels=dict(pulled.labels) if pulled else {},
        folder=f"cells/{task.cell}/attempt-{task.attempt}",
        log_excerpt=_excerpt(log.latest(), failure) if log else None,
        log_bytes=sum(log.total_bytes for log in logs) if logs else None,
        log_dropped_bytes=sum(log.dropped_bytes for log in logs),
        log_complete=all(started.follow is None or started.follow.complete for started in session.containers),
    )
