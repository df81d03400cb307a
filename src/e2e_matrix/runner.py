"""From a plan to a finished run folder.

    plan -> resolve (child digests) -> probe (native or emulated) -> execute (attempts) -> store -> render

Cells run on threads here. What one cell does is in cell.py, what a failure means in failures.py.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

from e2e_matrix import owner, preflight, resume
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.cell import PULL_LIMIT, run_cell
from e2e_matrix.engine.base import (
    LABEL_ATTEMPT,
    LABEL_CELL,
    LABEL_RUN,
    Engine,
    PlatformProbe,
    Support,
)
from e2e_matrix.errors import BadInput, CellFailure, Problem
from e2e_matrix.failures import BROKEN, POLICIES, Cause, Retry, pause_before, retry_for
from e2e_matrix.history.remember import remember
from e2e_matrix.image_keeper import ImageKeeper, downloaded
from e2e_matrix.limits import Budget, Limits
from e2e_matrix.llm.source import LlmSource
from e2e_matrix.plan import PlannedCell
from e2e_matrix.prices import price_of
from e2e_matrix.progress import Progress
from e2e_matrix.record import Clock, Job, Prepared, Record, workers_of
from e2e_matrix.registry import ImageRequest, RegistryClient, ResolvedImage, resolve_all
from e2e_matrix.report import preload, write_reports
from e2e_matrix.results import Attempt, Llm, Results
from e2e_matrix.reuse import Past, look_back
from e2e_matrix.schedule import Repetition, Rules, Schedule, cancel_after, why_not_started
from e2e_matrix.script import ahead
from e2e_matrix.settings import Settings
from e2e_matrix.store import CALL_JOURNAL, RunFolder, keep_baseline
from e2e_matrix.task import CellTask
from e2e_matrix.templates import expected_sha, expected_version
from e2e_matrix.text import format_seconds

# After the cell's own limit, how long a container may be left before anybody may remove it: the limit begins
# after the pull, and the next run of anybody removes what is past its deadline.
DEADLINE_MARGIN = PULL_LIMIT + 1800.0
# Seconds that a cell with a script has beyond the script's own limit, for its server's boot, end and bill: a
# script that hangs is ended by its own limit, which says so.
AROUND_A_SCRIPT = 300.0
# A cancelled cell's container gets this long for a last word in its log.
CANCEL_GRACE = 1.0


@dataclass(frozen=True)
class Tools:
    """What a run works with; a test hands in others."""

    engine: Engine
    llm: LlmSource
    registry: RegistryClient
    progress: Progress
    cancel: Cancellation


def run(job: Job, tools: Tools) -> tuple[Results, RunFolder]:
    """Run the plan, or go on with one that was interrupted, and leave a complete folder behind.

    Raises ``BadInput`` where no image of the plan exists, or the run to resume was another or still goes on,
    ``InfrastructureError`` where the folder cannot be written or the images have no room. Everything else
    that goes wrong is an outcome in the results.
    """
    tools.progress.note(f"testing {job.settings.subject}")
    clock = Clock()
    limit = cancel_after(job.settings.run_timeout, tools.cancel)
    try:
        preflight.check_reports(job.settings.reports, tools.progress.note)
        prepared = _prepare(job, tools)
        past = look_back(job, prepared, tools.llm.describe(), tools.engine.info(), tools.progress.note)
        if not job.resume:
            _get_ready(past.to_run(prepared), job, tools)
        with _folder(job, clock) as folder:
            return _run(job, tools, clock, prepared, past, folder), folder
    finally:
        limit.cancel()


def _folder(job: Job, clock: Clock) -> RunFolder:
    return RunFolder(job.resume) if job.resume else RunFolder.create(job.settings.reports, clock.started_at)


def _run(
    job: Job, tools: Tools, clock: Clock, prepared: Sequence[Prepared], past: Past, folder: RunFolder
) -> Results:
    llm = tools.llm.describe()
    if job.baseline:
        keep_baseline(folder.path, job.baseline)
    plan, earlier = _begin(job, clock, prepared, past, folder, llm, tools.progress)
    to_run = past.to_run(prepared)
    to_come = [one for one in to_run if _unfinished(job.settings, earlier.get(one.planned.id, ()))]
    if job.resume:
        _get_ready(to_come, job, tools)
    digests = {cell: facts.digest for cell, facts in plan.cells.items()}
    record = Record(
        replace(job, command=plan.command),
        clock,
        prepared,
        tools.engine.info(),
        llm,
        folder,
        digests,
        past.limited_to(plan.keys).key_of,
    )
    _prepare_ahead(to_come, tools)
    tools.progress.run_started(
        folder.run_id, [cell.planned.id for cell in prepared], record.workers, f"{llm.model} ({llm.kind})"
    )
    try:
        for cell in prepared:
            if one := past.reused.get(cell.planned.id):
                record.reuse(cell, one.evidence, one.server, tools.progress)
        _Execution(tools, record).run(to_run, earlier)
    finally:
        results = record.results(tools.cancel)
        try:
            folder.write_results(results)
            remember(folder.path, job.settings, tools.progress.note)
            write_reports(folder.path, job.settings.report_formats)
            folder.point_latest_here()
        finally:  # where the disk refuses, the terminal is what is left
            tools.progress.run_finished(results, str(folder.path))
    return results


def _begin(
    job: Job,
    clock: Clock,
    prepared: Sequence[Prepared],
    past: Past,
    folder: RunFolder,
    llm: Llm,
    progress: Progress,
) -> tuple[resume.PlanFile, Mapping[str, Sequence[Attempt]]]:
    """Write down what the run is made from; with it the attempts by cell that an earlier process has made."""
    plan = resume.plan_of(job, prepared, llm, clock.started_at, past.keys)
    earlier: Mapping[str, Sequence[Attempt]] = {}
    if job.resume:
        before = resume.go_on(folder, plan, job.force)
        earlier = before.attempts
        begun = sum(bool(attempts) for attempts in earlier.values())
        progress.note(f"resuming {folder.run_id}: {begun} of {len(earlier)} cells were begun")
        plan = before.plan
        clock.resume(plan.started_at, plan.resumed_at, before.seconds)
    resume.write_plan(folder, plan)
    return plan, earlier


def _prepare(job: Job, tools: Tools) -> list[Prepared]:
    """Ask the registry for every image, and meanwhile the engine for every platform that is not its own."""
    requests = {cell.id: ImageRequest(cell.image, cell.platform, cell.arch_image) for cell in job.plan.cells}
    own = tools.engine.info().platform
    # Its own platform an engine runs natively; every cell asks its container for its machine all the same.
    probes = {own: PlatformProbe(own, Support.NATIVE, "the engine's own platform")}
    foreign = sorted({cell.platform for cell in job.plan.cells} - {own})
    with ThreadPoolExecutor(max(1, len(foreign)), "probe") as pool:
        probing = {platform: pool.submit(tools.engine.probe, platform) for platform in foreign}
        resolved = _resolve(list(requests.values()), job.settings, tools)
        probes |= {platform: future.result() for platform, future in probing.items()}
    if not job.plan.left_out:
        _refuse_nothing(resolved)
    return [_combine(cell, resolved[requests[cell.id]], probes[cell.platform]) for cell in job.plan.cells]


def _resolve(
    requests: Sequence[ImageRequest], settings: Settings, tools: Tools
) -> dict[ImageRequest, ResolvedImage | CellFailure]:
    """Every answer of the registry; where its trouble may pass it is asked again, as failures.py says."""
    resolved: dict[ImageRequest, ResolvedImage | CellFailure] = {}
    pending = list(dict.fromkeys(requests))
    for tried in itertools.count(1):
        resolved |= resolve_all(pending, tools.registry, tools.cancel.event)
        pauses: dict[ImageRequest, float] = {}
        for request in pending:
            answer = resolved[request]
            if isinstance(answer, CellFailure):
                retry = _retry(settings, answer.cause)
                if (pause := pause_before(retry, tried, answer.retry_after)) is not None:
                    pauses[request] = pause
        if not pauses:
            break
        pending, pause = list(pauses), max(pauses.values())
        trouble = resolved[pending[0]]
        tools.progress.note(f"{trouble}; asking again in {format_seconds(pause)}")
        if tools.cancel.event.wait(pause):
            break
    return resolved


def _combine(cell: PlannedCell, answer: ResolvedImage | CellFailure, probe: PlatformProbe) -> Prepared:
    if isinstance(answer, CellFailure):
        return Prepared(cell, None, probe, answer)
    failure = None
    if probe.support is Support.UNSUPPORTED:
        failure = CellFailure(Cause.PLATFORM_UNSUPPORTED, probe.detail)
    return Prepared(cell, answer, probe, failure)


def _prepare_ahead(prepared: Sequence[Prepared], tools: Tools) -> None:
    """Begin to install the packages of scripts while the images are pulled."""
    planned = [cell.planned for cell in prepared if not cell.failure]
    wanted = [(cell.scenario_settings.get("sdk"), expected_version(cell.ref or "")) for cell in planned]
    scripted = [sdk if sdk != "server" else version for sdk, version in wanted if sdk]
    ahead.prepare(filter(None, scripted), tools.cancel, tools.progress.note)


def _get_ready(to_run: Sequence[Prepared], job: Job, tools: Tools) -> None:
    """Find out, before the first cell, what would keep all of them from running. Nothing to run needs it."""
    if any(not cell.failure for cell in to_run):
        _check_room(to_run, job, tools)
        tools.llm.open()


def _check_room(prepared: Sequence[Prepared], job: Job, tools: Tools) -> None:
    images = [cell.image for cell in prepared if cell.image and not cell.failure]
    at_a_time = workers_of(job.settings, tools.engine.info())
    removing = at_a_time if job.settings.images == "remove" else None
    preflight.check_images(images, tools.engine, removing)


def _refuse_nothing(resolved: dict[ImageRequest, ResolvedImage | CellFailure]) -> None:
    """Where not one tag of the plan exists, the reference is wrong and there is nothing to report on."""
    missing = [
        request
        for request, answer in resolved.items()
        if isinstance(answer, CellFailure) and answer.cause is Cause.TAG_MISSING
    ]
    if resolved and len(missing) == len(resolved):
        tags = sorted({request.reference for request in missing})
        raise BadInput(
            [
                Problem(
                    "",
                    0,
                    0,
                    f"{tag} does not exist",
                    "Check --ref and image; nothing was published under it.",
                )
                for tag in tags
            ]
        )


def _retry(settings: Settings, cause: Cause) -> Retry | None:
    return retry_for(cause, settings.product_retries, settings.infrastructure_retries)


def _unfinished(settings: Settings, attempts: Sequence[Attempt]) -> list[int]:
    """The repetitions of a cell that are still to run."""
    numbers = range(1, settings.repeat + 1)
    return [one for one in numbers if not resume.is_finished(attempts, one, partial(_retry, settings))]


class _Execution:
    """The attempts of one run: what is reused, what runs, and what is made of each end."""

    def __init__(self, tools: Tools, record: Record) -> None:
        self._tools = tools
        self._record = record
        self._settings = record.job.settings
        self._stopper = _Stopper(tools.engine, record.folder.run_id)
        budget = Budget(self._settings.max_cost_cell, self._settings.max_cost_run)
        self._limits = Limits(self._settings.max_pulls, self._settings.max_starts, budget)
        self._numbers: dict[str, itertools.count[int]] = {}
        self._left: dict[str, int] = {}  # repetitions that a cell still has to run

    def run(self, prepared: Sequence[Prepared], earlier: Mapping[str, Sequence[Attempt]]) -> None:
        """Returns when every cell is decided and nothing of ours runs."""
        record, progress, cancel = self._record, self._tools.progress, self._tools.cancel
        repetitions: list[Repetition] = []
        for cell in prepared:
            to_run = self._take_over(cell, earlier.get(cell.planned.id, ()))
            if not to_run:
                record.decide(cell, progress, reused=True)
            elif cancel.is_set:
                cause = why_not_started(cancel)
                record.decide(cell, progress, CellFailure(cause, POLICIES[cause].what))
            elif cell.failure:
                record.decide(cell, progress, cell.failure)
                if self._settings.fail_fast and POLICIES[cell.failure.cause].outcome in BROKEN:
                    cancel.cancel(Cause.FAIL_FAST)
            else:
                repetitions += to_run
        images = [repetition.cell.image.pinned for repetition in repetitions if repetition.cell.image]
        removing = self._settings.images == "remove"
        self._keeper = ImageKeeper(self._tools.engine, removing, images, progress.note)
        for cell in prepared:  # what a process that was killed pulled is this one's to remove
            if cell.image and any(
                downloaded(attempt) and not attempt.superseded for attempt in earlier.get(cell.planned.id, ())
            ):
                self._keeper.pulled(cell.image.pinned)
        schedule = Schedule(
            Rules(
                workers=record.workers,
                fail_fast=self._settings.fail_fast,
                retry=partial(_retry, self._settings),
                budget_is_spent=lambda: self._limits.budget.is_spent,
            ),
            cancel,
        )
        try:
            why = schedule.run(repetitions, self._attempt, self._ended, self._stopper, preload)
        finally:
            # What an attempt could not remove, because the engine was away, may be in reach again.
            self._stopper.remove_all()
            self._keeper.close()
        cause = why or Cause.RUN_ABORTED
        what = POLICIES[cause].what
        if cause is Cause.BUDGET_WAS_SPENT:
            what += f": {self._limits.budget}"
        for cell in prepared:  # those that never started, or would have been tried again
            if not record.is_decided(cell):
                record.decide(cell, progress, CellFailure(cause, what))

    def _take_over(self, cell: Prepared, earlier: Sequence[Attempt]) -> list[Repetition]:
        """Keep what an earlier process did for a cell; the repetitions that are still to run."""
        name = cell.planned.id
        for attempt in earlier:
            self._record.add(cell, attempt)
            if attempt.cost_usd is not None:
                self._limits.budget.note(name, attempt.number, attempt.cost_usd)
        to_run = [Repetition(cell, number) for number in _unfinished(self._settings, earlier)]
        self._numbers[name] = itertools.count(self._record.folder.next_attempt(name))
        self._left[name] = len(to_run)
        return to_run

    def _ended(self, repetition: Repetition, attempt: Attempt, pause: float | None) -> None:
        cell, progress = repetition.cell, self._tools.progress
        self._record.add(cell, attempt)
        if pause is not None:
            progress.attempt_failed(cell.planned.id, attempt, pause)
            return
        if cell.image:
            self._keeper.done(cell.image.pinned)
        self._left[cell.planned.id] -= 1
        if not self._left[cell.planned.id]:
            self._record.decide(cell, progress)

    def _attempt(self, repetition: Repetition, worker: int) -> Attempt:
        """One attempt, durable when this returns. Runs on a worker's thread."""
        cell, planned, settings, record = (
            repetition.cell,
            repetition.cell.planned,
            self._settings,
            self._record,
        )
        self._stopper.remove(planned.id, repetition.attempts)
        number = next(self._numbers[planned.id])
        repetition.attempts.append(number)
        slowness = settings.slowness(cell.emulated)
        limit = settings.timeout
        if script := planned.scenario_settings.get("timeout"):
            # What a script may take is said of this cell alone, and so outweighs what is said of all.
            limit = max(limit, script + AROUND_A_SCRIPT)
        limit *= slowness
        folder = record.folder.attempt_folder(planned.id, number)
        endpoint = self._tools.llm.endpoint(
            planned.id, planned.scenario, planned.model, folder / CALL_JOURNAL
        )
        task = CellTask(
            run_id=record.folder.run_id,
            cell=planned.id,
            attempt=number,
            repetition=repetition.number,
            folder=str(folder),
            image=cell.image.pinned if cell.image else planned.image,
            platform=planned.platform,
            emulated=cell.emulated,
            scenario=planned.scenario,
            timeout_seconds=limit,
            slowness=slowness,
            step_timeouts=settings.step_timeouts,
            llm=endpoint,
            price=price_of(endpoint.model, settings.prices),
            owner=owner.current(),
            deadline=owner.deadline_label(limit + DEADLINE_MARGIN),
            settings=planned.scenario_settings,
            axes=planned.axes,
            environment=planned.environment,
            resources=settings.resources,
            build=f"{settings.image} {planned.ref}" if planned.ref else "",
            expected_sha=expected_sha(planned.ref or ""),
            expected_version=expected_version(planned.ref or ""),
            worker=worker,
            run_offset_seconds=record.clock.seconds(),
        )
        resume.write_started(task)
        tools = self._tools
        attempt = run_cell(
            task, tools.engine, tools.llm.ledger(endpoint), tools.progress, tools.cancel, self._limits
        )
        if downloaded(attempt):
            self._keeper.pulled(task.image)
        record.folder.write_attempt(attempt)
        return attempt


class _Stopper:
    """Ends the containers of one run by label, so that calls which wait for them return."""

    def __init__(self, engine: Engine, run_id: str) -> None:
        self._engine = engine
        self._run_id = run_id
        self._stopped: set[str] = set()

    def stop_all(self) -> None:
        """Begin to stop, and leave the removal to the cells: they still fetch the logs."""
        self._each(self._begin_to_stop)

    def remove_all(self) -> None:
        self._stopped.clear()
        self._each(self._remove)

    def remove(self, cell: str, attempts: Sequence[int]) -> None:
        """What earlier attempts at a cell could not remove themselves."""
        numbers = {str(attempt) for attempt in attempts}
        if numbers:
            self._each(self._remove, {LABEL_CELL: cell}, lambda labels: labels[LABEL_ATTEMPT] in numbers)

    def _each(
        self,
        action: Callable[[str], object],
        labels: Mapping[str, str] = MappingProxyType({}),
        wanted: Callable[[Mapping[str, str]], bool] = lambda labels: True,
    ) -> None:
        try:
            found = self._engine.list({LABEL_RUN: self._run_id, **labels})
        except CellFailure:
            return  # an engine that is gone runs nothing that could be reached
        for container in found:
            if container.id in self._stopped or not wanted(container.labels):
                continue
            self._stopped.add(container.id)
            action(container.id)

    def _begin_to_stop(self, container: str) -> None:
        """On a thread of its own: who schedules has to hear of a second Ctrl-C meanwhile."""
        threading.Thread(
            target=self._quietly, args=(lambda: self._engine.stop(container, CANCEL_GRACE),), daemon=True
        ).start()

    def _remove(self, container: str) -> None:
        self._quietly(lambda: self._engine.remove(container))

    @staticmethod
    def _quietly(action: Callable[[], object]) -> None:
        # Its own cell reports what the engine says when it removes the container.
        with suppress(CellFailure):
            action()
