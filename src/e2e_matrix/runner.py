"""From a plan to a finished run folder.

    plan -> resolve (child digests) -> probe (native or emulated) -> execute (attempts) -> store -> render

Cells run on threads here. What one cell does is in cell.py, what a failure means in failures.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

from e2e_matrix import preflight, resume, statistics
from e2e_matrix.engine.base import PlatformProbe, Support
from e2e_matrix.errors import BadInput, CellFailure, Problem
from e2e_matrix.execution import Tools, Undertaking, execute, retry_of, unfinished
from e2e_matrix.failures import Cause, pause_before
from e2e_matrix.history.extract import keep_past
from e2e_matrix.history.remember import remember
from e2e_matrix.measures import MEASURES, is_noisy
from e2e_matrix.plan import PlannedCell
from e2e_matrix.progress import Beside, Progress
from e2e_matrix.question import keep_baseline, keep_question
from e2e_matrix.record import Clock, Job, Prepared, Record, workers_of
from e2e_matrix.registry import ImageRequest, ResolvedImage, resolve_all
from e2e_matrix.report import write_reports
from e2e_matrix.results import Attempt, Llm, Results
from e2e_matrix.reuse import Past, look_back, with_apis
from e2e_matrix.schedule import cancel_after
from e2e_matrix.script import ahead
from e2e_matrix.script_words import counted
from e2e_matrix.settings import Settings
from e2e_matrix.store import RunFolder
from e2e_matrix.templates import expected_version
from e2e_matrix.text import format_seconds

# What the cells of the baseline are called to whoever watches both runs.
BASELINE = "baseline"


def run(job: Job, tools: Tools) -> tuple[Results, RunFolder]:
    """Run the plan, or go on with one that was interrupted, and leave a complete folder behind.

    Where the job has a baseline's job, both are run, side by side, and each leaves a folder.

    Raises ``BadInput`` where no image of the plan exists, or the run to resume was another or still goes on,
    ``InfrastructureError`` where the folder cannot be written or the images have no room. Everything else
    that goes wrong is an outcome in the results.
    """
    jobs = [job, *([job.baseline_job] if job.baseline_job else [])]
    for words in _announced(jobs, tools.llm.describe()):
        tools.progress.note(words)
    clocks = [Clock() for _ in jobs]
    limit = cancel_after(job.settings.run_timeout, tools.cancel)
    try:
        preflight.check_reports(job.settings.reports, tools.progress.note)
        known = [_look_around(one, tools, alone=len(jobs) == 1) for one in jobs]
        if not job.resume:
            _get_ready([cell for one in known for cell in one.to_run], job, tools)
        with ExitStack() as stack:
            folders = [stack.enter_context(_folder(*one)) for one in zip(jobs, clocks, strict=True)]
            return _run(jobs, tools, clocks, known, folders), folders[0]
    finally:
        limit.cancel()


def _announced(jobs: Sequence[Job], llm: Llm) -> Iterator[str]:
    """What is tested, and what of the settings will not come to what somebody may expect."""
    job, *others = jobs
    yield f"testing {job.settings.subject}"
    for one in others:
        yield f"testing {one.settings.subject} as the baseline"
        if job.settings.fail_fast:
            yield "fail-fast is off: two runs are compared, and a baseline may fail"
        if job.settings.reuse:
            yield "nothing is reused: two runs are compared"
    if others or job.baseline:
        yield from _too_few(job, llm)


def _too_few(job: Job, llm: Llm) -> Iterator[str]:
    """That what the policy fails on cannot be judged with so few repetitions, before they are paid."""
    cells = len(job.plan.cells)
    needed = statistics.runs_needed(max(1, cells))
    words = [word for word in job.settings.fail_on if word in MEASURES and is_noisy(MEASURES[word], llm.kind)]
    if words and job.settings.repeat < needed:
        yield f"{', '.join(words)} cannot be judged: {counted(cells, 'cell')} need --repeat {needed}"


@dataclass(frozen=True)
class _Known:
    """What is known of a run before its first attempt."""

    prepared: Sequence[Prepared]
    past: Past

    @property
    def to_run(self) -> list[Prepared]:
        """The cells for which no pass of another run stands, in the order in which they start."""
        return self.past.to_run(self.prepared)


def _look_around(job: Job, tools: Tools, *, alone: bool) -> _Known:
    """Ask the registry, the engine and the history. Two runs that are compared are both measured."""
    if not alone:
        job = replace(job, settings=replace(job.settings, reuse=None))
    prepared = _prepare(job, tools)
    past = look_back(job, prepared, tools.llm.describe(), tools.engine.info(), tools.progress.note)
    return _Known(prepared, past)


def _folder(job: Job, clock: Clock) -> RunFolder:
    return RunFolder(job.resume) if job.resume else RunFolder.create(job.settings.reports, clock.started_at)


def _run(
    jobs: Sequence[Job],
    tools: Tools,
    clocks: Sequence[Clock],
    known: Sequence[_Known],
    folders: Sequence[RunFolder],
) -> Results:
    """The results of the first job."""
    job, folder, progress = jobs[0], folders[0], tools.progress
    if job.baseline:
        keep_baseline(folder.path, job.baseline)
    keep_question(folder.path, job.asked)
    watchers: list[Progress] = [progress, *(Beside(progress, BASELINE) for _ in jobs[1:])]
    # Each knows of the one that takes turns with it; of a single run there is none.
    besides = [one.run_id for one in reversed(folders)] if len(folders) > 1 else [None]
    undertakings = [
        _begin(one, of_it, place, beside, watcher, clock, tools)
        for one, of_it, place, beside, watcher, clock in zip(
            jobs, known, folders, besides, watchers, clocks, strict=True
        )
    ]
    record = undertakings[0].record
    to_come = [
        cell
        for one in undertakings
        for cell in one.to_run
        if unfinished(job.settings, one.earlier.get(cell.planned.id, ()))
    ]
    if job.resume:
        _get_ready(to_come, job, tools)
    _prepare_ahead(to_come, tools)
    names = [cell.planned.id for cell in known[0].prepared]
    names += [Beside.named(BASELINE, cell.planned.id) for one in known[1:] for cell in one.prepared]
    progress.run_started(folder.run_id, names, record.workers, f"{record.llm.model} ({record.llm.kind})")
    try:
        _reuse(known[0], record, progress)
        execute(undertakings, tools)
    finally:
        results = _finish(undertakings, tools)
    return results


def _reuse(known: _Known, record: Record, progress: Progress) -> None:
    """Decide the cells for which another run's pass stands."""
    reused = known.past.reused
    evidence = dict(with_apis(reused, record.folder.path))
    for cell in known.prepared:
        if one := reused.get(cell.planned.id):
            record.reuse(cell, evidence[cell.planned.id], one.server, progress)


def _finish(undertakings: Sequence[Undertaking], tools: Tools) -> Results:
    """Leave complete folders; the results of the first run, whose report compares with the others."""
    first, *others = undertakings
    folder, note = first.record.folder, tools.progress.note
    results = first.record.results(tools.cancel)
    try:
        # Whoever finds a candidate that has ended has to find what it is compared with.
        ended = [(one.record, one.record.results(tools.cancel)) for one in others]
        for record, beside in ended:
            record.folder.write_results(beside)
            keep_baseline(folder.path, record.folder.path)
        folder.write_results(results)
        for record, beside in [*ended, (first.record, results)]:
            _report(record, beside, note)
        folder.point_latest_here()
    finally:  # where the disk refuses, the terminal is what is left
        tools.progress.run_finished(results, str(folder.path))
    return results


def _report(record: Record, results: Results, note: Callable[[str], None]) -> None:
    """Put a run that is written down into the history, and what that knows of it into its reports."""
    settings, folder = record.job.settings, record.folder.path
    remember(folder, settings, note)
    keep_past(folder, results, settings, note)
    write_reports(folder, settings.report_formats)


def _begin(
    job: Job,
    known: _Known,
    folder: RunFolder,
    beside: str | None,
    progress: Progress,
    clock: Clock,
    tools: Tools,
) -> Undertaking:
    """Write down what the run is made from, and take over what an earlier process has made of it."""
    llm = tools.llm.describe()
    plan = resume.plan_of(job, known.prepared, llm, clock.started_at, known.past.keys, beside)
    earlier: Mapping[str, Sequence[Attempt]] = {}
    if job.resume:
        before = resume.go_on(folder, plan, job.force)
        earlier = before.attempts
        begun = sum(bool(attempts) for attempts in earlier.values())
        progress.note(f"resuming {folder.run_id}: {begun} of {len(earlier)} cells were begun")
        plan = before.plan
        clock.resume(plan.started_at, plan.resumed_at, before.seconds)
    resume.write_plan(folder, plan)
    digests = {cell: facts.digest for cell, facts in plan.cells.items()}
    engine = tools.engine.info()
    job = replace(job, command=plan.command)
    key_of = known.past.limited_to(plan.keys).key_of
    record = Record(job, clock, known.prepared, engine, llm, folder, digests, key_of, plan.beside)
    return Undertaking(record, known.to_run, earlier, progress)


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
    # Cells that the one ref never had must not be found to be fixed in the other.
    if not job.plan.left_out or job.for_comparison:
        _refuse_nothing(resolved, job.settings.origins["ref"].place or "--ref")
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
                retry = retry_of(settings, answer.cause)
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
    places = {cell.planned.id: place for place, cell in reversed(list(enumerate(prepared)))}
    in_turns = sorted(prepared, key=lambda cell: places[cell.planned.id])
    images = [cell.image for cell in in_turns if cell.image and not cell.failure]
    at_a_time = workers_of(job.settings, tools.engine.info())
    if job.baseline_job:
        at_a_time += 1  # an image stays while the one that takes turns with it has repetitions to come
    removing = at_a_time if job.settings.images == "remove" else None
    preflight.check_images(images, tools.engine, removing)


def _refuse_nothing(resolved: dict[ImageRequest, ResolvedImage | CellFailure], option: str) -> None:
    """Where not one tag of the plan exists, the reference is wrong and there is nothing to report on.

    ``option`` is what says the ref.
    """
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
                    f"Check {option} and image; nothing was published under it.",
                )
                for tag in tags
            ]
        )
