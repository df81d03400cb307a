"""From a plan to a finished run folder.

    plan -> resolve (child digests) -> probe (native or emulated) -> execute (attempts) -> store -> render

Cells run on threads here. What one cell does is in cell.py, what a failure means in failures.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from e2e_matrix import owner, preflight
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.cell import PULL_LIMIT, run_cell
from e2e_matrix.engine.base import LABEL_RUN, Engine, PlatformProbe, Support
from e2e_matrix.errors import BadInput, CellFailure, Problem
from e2e_matrix.failures import POLICIES, Cause, Outcome
from e2e_matrix.image_keeper import ImageKeeper, downloaded
from e2e_matrix.llm.source import LlmSource
from e2e_matrix.plan import PlannedCell
from e2e_matrix.progress import Progress
from e2e_matrix.record import Clock, Job, Prepared, Record, workers_of
from e2e_matrix.registry import ImageRequest, RegistryClient, ResolvedImage, resolve_all
from e2e_matrix.report import preload, write_reports
from e2e_matrix.results import Attempt, Results
from e2e_matrix.store import RunFolder
from e2e_matrix.task import CellTask

# After the cell's own limit, how long a container may be left before anybody may remove it: the limit begins
# after the pull, and the next run of anybody removes what is past its deadline.
DEADLINE_MARGIN = PULL_LIMIT + 1800.0
# A cancelled cell's container gets this long for a last word in its log.
CANCEL_GRACE = 1.0
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Tools:
    """What a run works with; a test hands in others."""

    engine: Engine
    llm: LlmSource
    registry: RegistryClient
    progress: Progress
    cancel: Cancellation


def run(job: Job, tools: Tools) -> tuple[Results, RunFolder]:
    """Run the plan and leave a complete folder behind.

    Raises ``BadInput`` where no image of the plan exists, ``InfrastructureError`` where the folder cannot be
    written or the images have no room. Everything else that goes wrong is an outcome in the results.
    """
    tools.progress.note(f"testing {job.settings.subject}")
    clock = Clock()
    preflight.check_reports(job.settings.reports, tools.progress.note)
    prepared = _prepare(job, tools)
    _check_room(prepared, job, tools)
    record = Record(job, clock, prepared, tools.engine.info(), tools.llm.describe())
    tools.progress.run_started(
        record.folder.run_id,
        [cell.planned.id for cell in prepared],
        record.workers,
        f"{record.llm.model} ({record.llm.kind})",
    )
    try:
        for cell in prepared:
            if cell.failure:
                record.decide(cell, cell.failure, tools.progress)
        _execute([cell for cell in prepared if not cell.failure], tools, record)
    finally:
        results = record.results(tools.cancel)
        try:
            record.folder.write_results(results)
            write_reports(record.folder.path)
            record.folder.point_latest_here()
        finally:  # where the disk refuses, the terminal is what is left
            tools.progress.run_finished(results, str(record.folder.path))
    return results, record.folder


def _prepare(job: Job, tools: Tools) -> list[Prepared]:
    """Ask the registry for every image, and meanwhile the engine for every platform that is not its own."""
    requests = {cell.id: ImageRequest(cell.image, cell.platform, cell.arch_image) for cell in job.plan.cells}
    own = tools.engine.info().platform
    # Its own platform an engine runs natively; every cell asks its container for its machine all the same.
    probes = {own: PlatformProbe(own, Support.NATIVE, "the engine's own platform")}
    foreign = sorted({cell.platform for cell in job.plan.cells} - {own})
    with ThreadPoolExecutor(max(1, len(foreign)), "probe") as pool:
        probing = {platform: pool.submit(tools.engine.probe, platform) for platform in foreign}
        resolved = resolve_all(list(requests.values()), tools.registry, tools.cancel.event)
        probes |= {platform: future.result() for platform, future in probing.items()}
    if not job.plan.left_out:
        _refuse_nothing(resolved)
    return [_combine(cell, resolved[requests[cell.id]], probes[cell.platform]) for cell in job.plan.cells]


def _combine(cell: PlannedCell, answer: ResolvedImage | CellFailure, probe: PlatformProbe) -> Prepared:
    if isinstance(answer, CellFailure):
        return Prepared(cell, None, probe, answer)
    failure = None
    if probe.support is Support.UNSUPPORTED:
        failure = CellFailure(Cause.PLATFORM_UNSUPPORTED, probe.detail)
    return Prepared(cell, answer, probe, failure)


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


def _execute(ready: Sequence[Prepared], tools: Tools, record: Record) -> None:
    """Spread the cells over the workers. Returns when every one is decided and nothing of ours runs."""
    cancel, fail_fast = tools.cancel, record.job.settings.fail_fast
    waiting = list(ready)
    running: dict[Future[Attempt], Prepared] = {}
    idle = list(reversed(range(record.workers)))
    stopper = _Stopper(tools.engine, record.folder.run_id)
    aborted = False
    images = [cell.image.pinned for cell in ready if cell.image]
    removing = record.job.settings.images == "remove"
    keeper = ImageKeeper(tools.engine, removing, images, tools.progress.note)
    with ThreadPoolExecutor(record.workers + 1, "cell") as pool:
        try:
            pool.submit(preload)  # while the first cells boot
            while running or (waiting and not (cancel.is_set or aborted)):
                while waiting and idle and not (cancel.is_set or aborted):
                    cell = waiting.pop(0)
                    running[pool.submit(_attempt, cell, idle.pop(), tools, record, keeper)] = cell
                if cancel.is_set:
                    stopper.stop_all()
                done, _ = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    cell, attempt = running.pop(future), future.result()
                    idle.append(attempt.worker)
                    record.add(cell, attempt, tools.progress)
                    aborted |= bool(attempt.cause and POLICIES[attempt.cause].aborts_run)
                    if fail_fast and attempt.outcome in (Outcome.FAILED, Outcome.ERROR):
                        cancel.cancel(Cause.FAIL_FAST)
        except BaseException:
            # A second Ctrl-C, or a disk that refuses the results: leave nothing running, by label.
            cancel.cancel(Cause.INTERRUPTED)
            stopper.remove_all()
            raise
    keeper.close()
    cause = cancel.failure().cause if cancel.is_set else Cause.RUN_ABORTED
    for cell in waiting:
        record.decide(cell, CellFailure(cause, POLICIES[cause].what), tools.progress)


def _attempt(cell: Prepared, worker: int, tools: Tools, record: Record, keeper: ImageKeeper) -> Attempt:
    settings, planned = record.job.settings, cell.planned
    slowness = settings.emulated_timeout_factor if cell.emulated else 1.0
    endpoint = tools.llm.endpoint(planned.id, planned.model)
    task = CellTask(
        run_id=record.folder.run_id,
        cell=planned.id,
        attempt=1,
        folder=str(record.folder.attempt_folder(planned.id, 1)),
        image=cell.image.pinned if cell.image else planned.image,
        platform=planned.platform,
        emulated=cell.emulated,
        scenario=planned.scenario,
        timeout_seconds=settings.timeout * slowness,
        slowness=slowness,
        llm=endpoint,
        owner=owner.current(),
        deadline=owner.deadline_label(settings.timeout * slowness + DEADLINE_MARGIN),
        settings=planned.scenario_settings,
        environment=planned.environment,
        resources=settings.resources,
        expected_sha=expected_sha(planned.ref or ""),
        expected_version=expected_version(planned.ref or ""),
        worker=worker,
        run_offset_seconds=record.clock.seconds(),
    )
    attempt = run_cell(task, tools.engine, tools.llm.ledger(endpoint), tools.progress, tools.cancel)
    record.folder.write_attempt(attempt)
    if downloaded(attempt):
        keeper.pulled(task.image)
    keeper.done(task.image)
    return attempt


def expected_sha(ref: str) -> str | None:
    """The commit that a ref names, where it names one: 7 to 40 hexadecimal digits."""
    return ref if re.fullmatch(r"[0-9a-f]{7,40}", ref) else None


def expected_version(ref: str) -> str | None:
    """The release that a ref names, where it names one: 1.58.2, or the newest of 1.58 or 1."""
    return ref if re.fullmatch(r"\d{1,6}(\.\d+){0,2}", ref) else None


class _Stopper:
    """Ends the containers of one run by label, so that calls which wait for them return."""

    def __init__(self, engine: Engine, run_id: str) -> None:
        self._engine = engine
        self._run_id = run_id
        self._stopped: set[str] = set()

    def stop_all(self) -> None:
        """Stop, and leave the removal to the cells: they still fetch the logs."""
        self._each(lambda container: self._engine.stop(container, CANCEL_GRACE))

    def remove_all(self) -> None:
        self._stopped.clear()
        self._each(self._engine.remove)

    def _each(self, action: Callable[[str], object]) -> None:
        try:
            found = self._engine.list({LABEL_RUN: self._run_id})
        except CellFailure:
            return  # an engine that is gone runs nothing that could be reached
        for container in found:
            if container.id in self._stopped:
                continue
            self._stopped.add(container.id)
            try:
                action(container.id)
            except CellFailure:
                continue  # its own cell reports what the engine says when it removes it
