"""From attempts to cells, from cells to a verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from statistics import median

from e2e_matrix import __version__
from e2e_matrix.engine.base import EngineInfo
from e2e_matrix.errors import (
    EXIT_FAILED,
    EXIT_INFRASTRUCTURE,
    EXIT_INTERRUPTED,
    EXIT_PASSED,
    CellFailure,
)
from e2e_matrix.failures import POLICIES, Cause, Outcome
from e2e_matrix.plan import Plan, PlannedCell
from e2e_matrix.registry import ResolvedImage
from e2e_matrix.results import (
    Attempt,
    Cell,
    EngineFacts,
    Evidence,
    Image,
    Llm,
    MoneySpread,
    Phases,
    Repeat,
    Results,
    Run,
    Server,
    Spread,
    Totals,
)
from e2e_matrix.reused_words import reused_in_all
from e2e_matrix.scenarios import find as find_scenario
from e2e_matrix.scenarios.container import EMULATED_CPU
from e2e_matrix.settings import Settings
from e2e_matrix.text import block, format_money

_ENDED_BY = {
    Cause.RUN_TIMEOUT: "the run reached its time limit",
    Cause.TIME_WAS_OVER: "the run reached its time limit",
    Cause.RUN_BUDGET: "the run had spent what it may",
    Cause.BUDGET_WAS_SPENT: "the run had spent what it may",
    Cause.FAIL_FAST: "a cell failed, and fail-fast is on",
    Cause.RUN_ABORTED: "a failure made the rest pointless",
}
WORST_FIRST = (
    Outcome.FAILED,
    Outcome.ERROR,
    Outcome.CANCELLED,
    Outcome.NOT_RUN,
    Outcome.UNSUPPORTED,
    Outcome.PASSED,
)


def cell_of(
    planned: PlannedCell,
    image: ResolvedImage | None,
    emulated: bool,
    attempts: Sequence[Attempt],
    failure: CellFailure | None = None,
    *,
    repetitions: int = 1,
    reused: bool = False,
    digest: str | None = None,
    key: str | None = None,
    model: str | None = None,
) -> Cell:
    """A cell as its attempts left it; ``failure`` is why it has none, or not all of its repetitions.

    Of several repetitions the worst decides: a cell that fails sometimes is no good cell. ``digest`` is what
    it ran on where the registry does not tell. ``key`` is that of cell_key.py, ``model`` the run's.
    """
    counted = [attempt for attempt in attempts if not attempt.superseded]
    tries = Counter(attempt.repetition for attempt in counted)
    last_of = {attempt.repetition: attempt for attempt in counted}
    worst = min(
        last_of.values(),
        key=lambda attempt: (WORST_FIRST.index(attempt.outcome), -tries[attempt.repetition]),
        default=None,
    )
    decided = failure
    if worst and not (failure and _is_worse(_outcome(failure.cause), worst.outcome)):
        decided = None
    cause = decided.cause if decided else worst and worst.cause
    message = block(decided.message, limit=500, lines=4) if decided else worst and worst.message
    if decided and worst:
        message = f"after {len(last_of)} of {repetitions} repetitions: {message}"
    outcome = _outcome(cause) if cause else Outcome.PASSED
    known = [attempt.cost_usd for attempt in attempts if attempt.cost_usd is not None]
    return Cell(
        id=planned.id,
        axes=planned.axes,
        scenario=planned.scenario,
        scenario_version=find_scenario(planned.scenario, planned.scenario_settings).VERSION,
        key=key,
        model=planned.model or model,
        outcome=outcome,
        flaky=outcome is Outcome.PASSED and any(one.outcome is Outcome.FAILED for one in counted),
        reused=reused,
        cause=cause,
        message=message,
        emulated=emulated,
        platform=planned.platform,
        image=_image(planned, image, worst, digest),
        cost_usd=sum(known, Decimal(0)) if known else None,
        tokens=worst.tokens if worst else None,
        duration_seconds=round(sum(attempt.duration_seconds for attempt in attempts), 4),
        phases=worst.phases if worst else Phases(),
        attempt=worst.number if worst else None,
        steps=worst.steps if worst else [],
        attempts=list(attempts),
        repeat=_repeat(list(last_of.values()), repetitions) if repetitions > 1 else None,
        server=worst.server if worst else Server(),
    )


def reused_cell(cell: Cell, evidence: Evidence, server: Server) -> Cell:
    """A cell without attempts, as one for which another run's pass stands."""
    return cell.model_copy(
        update={"reused": True, "reused_from": evidence, "server": server, "cost_usd": Decimal(0)}
    )


def _outcome(cause: Cause) -> Outcome:
    return POLICIES[cause].outcome


def _is_worse(one: Outcome, other: Outcome) -> bool:
    return WORST_FIRST.index(one) < WORST_FIRST.index(other)


def _repeat(finals: Sequence[Attempt], planned: int) -> Repeat:
    decided = [one for one in finals if one.outcome in (Outcome.PASSED, Outcome.FAILED, Outcome.ERROR)]
    passed = [one for one in decided if one.outcome is Outcome.PASSED]
    seconds = [one.duration_seconds for one in passed]
    costs = [one.cost_usd for one in passed if one.cost_usd is not None]
    return Repeat(
        planned=planned,
        runs=len(decided),
        passed=len(passed),
        duration=Spread(min=min(seconds), median=round(median(seconds), 4), max=max(seconds))
        if seconds
        else None,
        cost=MoneySpread(min=min(costs), median=median(costs), max=max(costs)) if costs else None,
    )


def costs_unknown(attempt: Attempt) -> bool:
    """Whether an attempt may have cost something that nobody told: it talked to its model, or tried to."""
    if attempt.cost_usd is not None:
        return False
    if attempt.llm_calls is not None:
        return bool(attempt.llm_calls)  # the stand-in knows whether it was talked to
    if attempt.cause is Cause.RUNNER_DIED:
        return True  # nobody knows how far it came
    if attempt.script is not None:
        return attempt.script.conversations > 0
    return any(step.name == "conversation" for step in attempt.steps)


def _image(
    planned: PlannedCell, image: ResolvedImage | None, last: Attempt | None, digest: str | None
) -> Image:
    if image is None:
        return Image(reference=planned.image, platform=planned.platform, digest=digest)
    return Image(
        reference=image.reference,
        digest=image.digest,
        index_digest=image.index_digest,
        size_bytes=image.size_bytes,
        unpacked_bytes=last.unpacked_bytes if last else None,
        platform=image.platform,
        pinned=image.pinned,
        arch_tag=image.arch_tag,
        arch_tag_matches=image.arch_tag_matches,
        labels=last.image_labels if last else {},
    )


def totals_of(cells: Sequence[Cell], left_out: int = 0, *, replayed: bool = False) -> Totals:
    """``replayed``: a recording answered, so that nothing was paid that nobody knows of."""
    count = {outcome: sum(cell.outcome is outcome for cell in cells) for outcome in Outcome}
    known = [cell.cost_usd for cell in cells if cell.cost_usd is not None]
    unknown = 0 if replayed else sum(any(map(costs_unknown, cell.attempts)) for cell in cells)
    return Totals(
        cells=len(cells),
        left_out=left_out,
        passed=count[Outcome.PASSED],
        failed=count[Outcome.FAILED],
        error=count[Outcome.ERROR],
        unsupported=count[Outcome.UNSUPPORTED],
        cancelled=count[Outcome.CANCELLED],
        not_run=count[Outcome.NOT_RUN],
        flaky=sum(cell.flaky for cell in cells),
        reused=sum(cell.reused for cell in cells),
        cost_usd=sum(known, Decimal(0)) if known or not unknown else None,
        cost_unknown_cells=unknown,
    )


def verdict_of(
    totals: Totals,
    interrupted: bool,
    finished: bool,
    *,
    stopped: str | None = None,
    overspent: str | None = None,
    reused: str | None = None,
) -> tuple[Outcome, str, int]:
    """The verdict, one sentence of why, and the exit code.

    ``stopped`` is what ended the run before all cells had theirs, ``overspent`` what it may cost, where it
    cost more. ``reused`` is what other runs' passes stand for.
    """
    counts = ", ".join(
        f"{number} {word}"
        for number, word in (
            (totals.failed, "failed"),
            (totals.error, "not decided for want of infrastructure"),
            (totals.unsupported, "not tested: unsupported on this engine"),
            (totals.cancelled, "cancelled"),
            (totals.not_run, "not run"),
            (totals.left_out, "left out by --only or --skip"),
            (totals.flaky, "flaky, passed only after a failure"),
        )
        if number
    )
    planned = totals.cells + totals.left_out
    every = f"All {planned} cells passed" if planned != 1 else "The only cell passed"
    noun = "cells" if planned != 1 else "cell"
    if counts and totals.passed < planned:
        every = f"{totals.passed} of {planned} {noun} passed"
    reason = "; ".join(filter(None, [every, counts, reused])) + (f": {stopped}." if stopped else ".")
    if overspent:
        reason += f" It cost {format_money(totals.cost_usd)}, more than the {overspent} that it may."
    if not finished:
        return Outcome.NOT_RUN, f"The run has not finished. {reason}", EXIT_INFRASTRUCTURE
    if interrupted:
        return Outcome.CANCELLED, f"Stopped on request. {reason}", EXIT_INTERRUPTED
    if totals.failed:
        return Outcome.FAILED, reason, EXIT_FAILED
    if totals.error or totals.not_run or totals.cancelled or not totals.passed:
        return Outcome.ERROR, reason, EXIT_INFRASTRUCTURE
    return Outcome.PASSED, reason, EXIT_PASSED


def _stopped(cells: Sequence[Cell]) -> str | None:
    """What ended the run early, where that is not plain from the counts."""
    causes = (cell.cause for cell in cells if cell.outcome in (Outcome.CANCELLED, Outcome.NOT_RUN))
    return next((_ENDED_BY[cause] for cause in causes if cause in _ENDED_BY), None)


def _overspent(totals: Totals, settings: Settings) -> str | None:
    limit, cost = settings.max_cost_run, totals.cost_usd
    return format_money(limit) if limit is not None and cost is not None and cost > limit else None


def results_of(
    *,
    cells: Sequence[Cell],
    run_id: str,
    started_at: datetime,
    resumed_at: Sequence[datetime] = (),
    seconds: float,
    finished: bool,
    interrupted: bool,
    plan: Plan,
    settings: Settings,
    command: Sequence[str],
    engine: EngineInfo,
    llm: Llm,
    workers: int,
    beside: str | None = None,
    for_comparison: bool = False,
) -> Results:
    """The whole of results.json."""
    now = datetime.now(UTC)
    totals = totals_of(cells, plan.left_out, replayed=llm.kind == "replay")
    verdict, reason, exit_code = verdict_of(
        totals,
        interrupted,
        finished,
        stopped=_stopped(cells),
        overspent=_overspent(totals, settings),
        reused=reused_in_all(cells, now),
    )
    return Results(
        run=Run(
            id=run_id,
            started_at=started_at,
            resumed_at=list(resumed_at),
            finished_at=now if finished else None,
            duration_seconds=round(seconds, 4),
            verdict=verdict,
            reason=reason,
            exit_code=exit_code,
            interrupted=interrupted,
            axes=plan.axes,
            settings=settings.sources(),
            matrix_file=settings.matrix_file,
            subject=settings.subject,
            command=list(command),
            engine=EngineFacts(
                name=engine.name,
                version=engine.version,
                api_version=engine.api_version,
                platform=engine.platform,
                operating_system=engine.operating_system,
                kernel=engine.kernel,
                storage_driver=engine.storage_driver,
                cpus=engine.cpus,
                memory_bytes=engine.memory_bytes,
            ),
            llm=llm,
            program_version=__version__,
            emulated_cpu=EMULATED_CPU if any(cell.emulated for cell in cells) else None,
            workers=workers,
            beside=beside,
            for_comparison=for_comparison,
            totals=totals,
        ),
        cells=list(cells),
    )
