"""From attempts to cells, from cells to a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from e2e_matrix import __version__
from e2e_matrix.engine.base import EngineInfo
from e2e_matrix.errors import (
    EXIT_FAILED,
    EXIT_INFRASTRUCTURE,
    EXIT_INTERRUPTED,
    EXIT_PASSED,
    CellFailure,
)
from e2e_matrix.failures import POLICIES, Outcome
from e2e_matrix.plan import Plan, PlannedCell
from e2e_matrix.registry import ResolvedImage
from e2e_matrix.results import Attempt, Cell, EngineFacts, Image, Llm, Phases, Results, Run, Server, Totals
from e2e_matrix.scenarios.container import EMULATED_CPU
from e2e_matrix.settings import Settings
from e2e_matrix.text import block


def cell_of(
    planned: PlannedCell,
    image: ResolvedImage | None,
    emulated: bool,
    attempts: Sequence[Attempt],
    failure: CellFailure | None = None,
) -> Cell:
    """A cell as its last attempt left it, or as ``failure`` decided it before there was one."""
    last = attempts[-1] if attempts else None
    cause = last.cause if last else failure and failure.cause
    message = last.message if last else failure and block(failure.message, limit=500, lines=4)
    known = [attempt.cost_usd for attempt in attempts if attempt.cost_usd is not None]
    return Cell(
        id=planned.id,
        axes=planned.axes,
        scenario=planned.scenario,
        outcome=POLICIES[cause].outcome if cause else Outcome.PASSED,
        cause=cause,
        message=message,
        emulated=emulated,
        platform=planned.platform,
        image=_image(planned, image, last),
        cost_usd=sum(known, Decimal(0)) if known else None,
        tokens=last.tokens if last else None,
        duration_seconds=round(sum(attempt.duration_seconds for attempt in attempts), 4),
        phases=last.phases if last else Phases(),
        steps=last.steps if last else [],
        attempts=list(attempts),
        server=last.server if last else Server(),
    )


def _image(planned: PlannedCell, image: ResolvedImage | None, last: Attempt | None) -> Image:
    if image is None:
        return Image(reference=planned.image, platform=planned.platform)
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


def totals_of(cells: Sequence[Cell], left_out: int = 0) -> Totals:
    count = {outcome: sum(cell.outcome is outcome for cell in cells) for outcome in Outcome}
    known = [cell.cost_usd for cell in cells if cell.cost_usd is not None]
    # A conversation that was created may have cost something, told or not.
    unknown = sum(
        cell.cost_usd is None and any(step.name == "conversation" for step in cell.steps) for cell in cells
    )
    return Totals(
        cells=len(cells),
        left_out=left_out,
        passed=count[Outcome.PASSED],
        failed=count[Outcome.FAILED],
        error=count[Outcome.ERROR],
        unsupported=count[Outcome.UNSUPPORTED],
        cancelled=count[Outcome.CANCELLED],
        not_run=count[Outcome.NOT_RUN],
        cost_usd=sum(known, Decimal(0)) if known or not unknown else None,
        cost_unknown_cells=unknown,
    )


def verdict_of(totals: Totals, interrupted: bool, finished: bool) -> tuple[Outcome, str, int]:
    """The verdict, one sentence of why, and the exit code."""
    counts = ", ".join(
        f"{number} {word}"
        for number, word in (
            (totals.failed, "failed"),
            (totals.error, "not decided for want of infrastructure"),
            (totals.unsupported, "not tested: unsupported on this engine"),
            (totals.cancelled, "cancelled"),
            (totals.not_run, "not run"),
            (totals.left_out, "left out by --only or --skip"),
        )
        if number
    )
    planned = totals.cells + totals.left_out
    every = f"All {planned} cells passed." if planned != 1 else "The only cell passed."
    noun = "cells" if planned != 1 else "cell"
    reason = f"{totals.passed} of {planned} {noun} passed; {counts}." if counts else every
    if not finished:
        return Outcome.NOT_RUN, f"The run has not finished. {reason}", EXIT_INFRASTRUCTURE
    if interrupted:
        return Outcome.CANCELLED, f"Stopped on request. {reason}", EXIT_INTERRUPTED
    if totals.failed:
        return Outcome.FAILED, reason, EXIT_FAILED
    if totals.error or totals.not_run or totals.cancelled or not totals.passed:
        return Outcome.ERROR, reason, EXIT_INFRASTRUCTURE
    return Outcome.PASSED, reason, EXIT_PASSED


def results_of(
    *,
    cells: Sequence[Cell],
    run_id: str,
    started_at: datetime,
    seconds: float,
    finished: bool,
    interrupted: bool,
    plan: Plan,
    settings: Settings,
    command: Sequence[str],
    engine: EngineInfo,
    llm: Llm,
    workers: int,
) -> Results:
    """The whole of results.json."""
    totals = totals_of(cells, plan.left_out)
    verdict, reason, exit_code = verdict_of(totals, interrupted, finished)
    return Results(
        run=Run(
            id=run_id,
            started_at=started_at,
            finished_at=datetime.now(UTC) if finished else None,
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
            totals=totals,
        ),
        cells=list(cells),
    )
