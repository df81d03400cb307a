"""The attempts of a run, or of two that take turns: what is kept, what runs, what is made of each end."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from e2e_matrix import owner, resume
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.cell import PULL_LIMIT, run_cell
from e2e_matrix.engine.base import LABEL_ATTEMPT, LABEL_CELL, LABEL_RUN, Engine
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import BROKEN, POLICIES, Cause, Retry, retry_for
from e2e_matrix.image_keeper import ImageKeeper, downloaded
from e2e_matrix.limits import Budget, Limits
from e2e_matrix.llm.source import LlmSource
from e2e_matrix.prices import price_of
from e2e_matrix.progress import Progress
from e2e_matrix.record import Prepared, Record
from e2e_matrix.registry import RegistryClient
from e2e_matrix.report import preload
from e2e_matrix.results import Attempt
from e2e_matrix.schedule import Repetition, Rules, Schedule, interleaved, why_not_started
from e2e_matrix.settings import Settings
from e2e_matrix.store import CALL_JOURNAL
from e2e_matrix.task import CellTask
from e2e_matrix.templates import expected_sha, expected_version

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


@dataclass(frozen=True)
class Undertaking:
    """One run that is to be executed. ``earlier``: the attempts by cell that another process has made.

    ``progress`` hears of its cells.
    """

    record: Record
    to_run: Sequence[Prepared]  # in the order in which they start
    earlier: Mapping[str, Sequence[Attempt]]
    progress: Progress


def execute(undertakings: Sequence[Undertaking], tools: Tools) -> None:
    """Returns when every cell of every run is decided and nothing of ours runs.

    Several runs share the workers, the gates and what may be spent, by the settings of the first, and their
    repetitions take turns: what disturbs the machine disturbs them alike.
    """
    first = undertakings[0].record
    settings = first.job.settings
    budget = Budget(settings.max_cost_cell, settings.max_cost_run)
    limits = Limits(settings.max_pulls, settings.max_starts, budget)
    # Of two runs one is there to be compared with, and may fail.
    fail_fast = settings.fail_fast and len(undertakings) == 1
    executions = [
        _Execution(one, tools, limits.beside(one.record.folder.run_id), side)
        for side, one in enumerate(undertakings)
    ]
    repetitions = interleaved([execution.begin(fail_fast) for execution in executions])
    images = [repetition.cell.image.pinned for repetition in repetitions if repetition.cell.image]
    keeper = ImageKeeper(tools.engine, settings.images == "remove", images, tools.progress.note)
    for execution in executions:
        execution.keep(keeper)
    schedule = Schedule(
        Rules(
            workers=first.workers,
            fail_fast=fail_fast,
            retry=partial(retry_of, settings),
            budget_is_spent=lambda: budget.is_spent,
        ),
        tools.cancel,
    )
    stopper = _Stopper(tools.engine, [one.record.folder.run_id for one in undertakings])
    try:
        why = schedule.run(
            repetitions,
            lambda repetition, worker: executions[repetition.side].attempt(repetition, worker),
            lambda repetition, attempt, pause: executions[repetition.side].ended(repetition, attempt, pause),
            stopper,
            preload,
        )
    finally:
        # What an attempt could not remove, because the engine was away, may be in reach again.
        stopper.remove_all()
        keeper.close()
    cause = why or Cause.RUN_ABORTED
    what = POLICIES[cause].what
    if cause is Cause.BUDGET_WAS_SPENT:
        what += f": {budget}"
    for execution in executions:
        execution.close(CellFailure(cause, what))


def retry_of(settings: Settings, cause: Cause) -> Retry | None:
    """How a cause is tried again, as the table of failures and the matrix say."""
    return retry_for(cause, settings.product_retries, settings.infrastructure_retries)


def unfinished(settings: Settings, attempts: Sequence[Attempt]) -> list[int]:
    """The repetitions of a cell that are still to run."""
    numbers = range(1, settings.repeat + 1)
    return [one for one in numbers if not resume.is_finished(attempts, one, partial(retry_of, settings))]


class _Execution:
    """The attempts of one run; ``side`` is its place among those that are interleaved."""

    def __init__(self, undertaking: Undertaking, tools: Tools, limits: Limits, side: int) -> None:
        self._undertaking = undertaking
        self._record = undertaking.record
        self._progress = undertaking.progress
        self._settings = self._record.job.settings
        self._tools = tools
        self._limits = limits
        self._side = side
        self._stopper = _Stopper(tools.engine, [self._record.folder.run_id])
        self._numbers: dict[str, itertools.count[int]] = {}
        self._left: dict[str, int] = {}  # repetitions that a cell still has to run

    def begin(self, fail_fast: bool) -> list[Repetition]:
        """Decide what can be decided; what has to run."""
        record, cancel = self._record, self._tools.cancel
        repetitions: list[Repetition] = []
        for cell in self._undertaking.to_run:
            to_run = self._take_over(cell, self._undertaking.earlier.get(cell.planned.id, ()))
            if not to_run:
                record.decide(cell, self._progress, reused=True)
            elif cancel.is_set:
                cause = why_not_started(cancel)
                record.decide(cell, self._progress, CellFailure(cause, POLICIES[cause].what))
            elif cell.failure:
                record.decide(cell, self._progress, cell.failure)
                if fail_fast and POLICIES[cell.failure.cause].outcome in BROKEN:
                    cancel.cancel(Cause.FAIL_FAST)
            else:
                repetitions += to_run
        return repetitions

    def keep(self, keeper: ImageKeeper) -> None:
        """From now on ``keeper`` hears which images are needed no more."""
        self._keeper = keeper
        for cell in self._undertaking.to_run:  # what a process that was killed pulled is this one's to remove
            earlier = self._undertaking.earlier.get(cell.planned.id, ())
            if cell.image and any(downloaded(one) and not one.superseded for one in earlier):
                keeper.pulled(cell.image.pinned)

    def close(self, failure: CellFailure) -> None:
        """Decide the cells that never started, or would have been tried again."""
        for cell in self._undertaking.to_run:
            if not self._record.is_decided(cell):
                self._record.decide(cell, self._progress, failure)

    def _take_over(self, cell: Prepared, earlier: Sequence[Attempt]) -> list[Repetition]:
        """Keep what an earlier process did for a cell; the repetitions that are still to run."""
        name = cell.planned.id
        for attempt in earlier:
            self._record.add(cell, attempt)
            if attempt.cost_usd is not None:
                self._limits.budget.note(name, attempt.number, attempt.cost_usd)
        to_run = [Repetition(cell, number, side=self._side) for number in unfinished(self._settings, earlier)]
        self._numbers[name] = itertools.count(self._record.folder.next_attempt(name))
        self._left[name] = len(to_run)
        return to_run

    def ended(self, repetition: Repetition, attempt: Attempt, pause: float | None) -> None:
        cell = repetition.cell
        self._record.add(cell, attempt)
        if pause is not None:
            self._progress.attempt_failed(cell.planned.id, attempt, pause)
            return
        if cell.image:
            self._keeper.done(cell.image.pinned)
        self._left[cell.planned.id] -= 1
        if not self._left[cell.planned.id]:
            self._record.decide(cell, self._progress)

    def attempt(self, repetition: Repetition, worker: int) -> Attempt:
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
            task, tools.engine, tools.llm.ledger(endpoint), self._progress, tools.cancel, self._limits
        )
        if downloaded(attempt):
            self._keeper.pulled(task.image)
        return record.folder.write_attempt(attempt)


class _Stopper:
    """Ends the containers of runs by label, so that calls which wait for them return."""

    def __init__(self, engine: Engine, run_ids: Sequence[str]) -> None:
        self._engine = engine
        self._run_ids = run_ids
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
            found = [
                container
                for run_id in self._run_ids
                for container in self._engine.list({LABEL_RUN: run_id, **labels})
            ]
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
