"""Rows of the database as the rest of the program knows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from e2e_matrix.failures import Outcome
from e2e_matrix.history.connection import Damaged
from e2e_matrix.history.points import Point, RunLine
from e2e_matrix.results import Phases

#: What ``points_of`` reads, in its order.
POINT_COLUMNS = """
    c.run, c.started_at, r.subject, c.cell, c.outcome, c.flaky, c.reused, c.emulated, c.platform, c.scenario,
    c.scenario_version, c.model, c.axes, c.digest, c.server_version, c.message, c.cost, c.tokens, c.duration,
    c.pull, c.boot, c.init, c.first_token, c.conversation, c.removal, c.memory, c.size, c.mixed, c.key
"""
_PHASES = ("pull", "boot", "init", "first_token", "conversation", "removal")
_FIRST_PHASE = 19
_AFTER_PHASES = _FIRST_PHASE + len(_PHASES)
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


def points_of(rows: Iterable[Sequence[Any]]) -> list[Point]:
    """The points of rows of POINT_COLUMNS. Raises Damaged where one holds what was never written."""
    with as_written():
        return [_point(row) for row in rows]


@contextmanager
def as_written() -> Iterator[None]:
    """What Python makes of a row that nobody wrote becomes Damaged."""
    try:
        yield
    except (ValueError, KeyError, TypeError, ArithmeticError) as error:
        raise Damaged(f"a row holds what was never written: {error}") from error


def _point(row: Sequence[Any]) -> Point:
    memory, size, mixed, key = row[_AFTER_PHASES:]
    return Point(
        run=row[0],
        started_at=datetime.fromisoformat(row[1]),
        subject=row[2],
        cell=row[3],
        outcome=_OUTCOMES[row[4]],
        flaky=bool(row[5]),
        reused=bool(row[6]),
        emulated=bool(row[7]),
        platform=row[8],
        scenario=row[9],
        scenario_version=row[10],
        model=row[11],
        axes=_axes(row[12]),  # one for all points that have the same
        digest=row[13],
        server_version=row[14],
        message=row[15],
        cost_usd=amount_of(row[16]),
        tokens=row[17],
        duration_seconds=row[18],
        phases=Phases.model_validate(dict(zip(_PHASES, row[_FIRST_PHASE:_AFTER_PHASES], strict=True))),
        memory_bytes=memory,
        size_bytes=size,
        mixed=bool(mixed),
        key=key,
    )


@lru_cache(maxsize=1000)
def _axes(text: str) -> dict[str, str]:
    axes: dict[str, str] = json.loads(text)
    return axes


def amount_of(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


#: What ``run_lines_of`` reads, in its order; then the number of cells by outcome.
RUN_COLUMNS = (
    "id, started_at, finished_at, duration, subject, verdict, model, flaky, reused, cost, "
    + ", ".join(outcome.value for outcome in Outcome)
)


def run_lines_of(rows: Iterable[Sequence[Any]]) -> list[RunLine]:
    """Raises Damaged where a row holds what was never written."""
    with as_written():
        return [_run_line(row) for row in rows]


def _run_line(row: Sequence[Any]) -> RunLine:
    name, started_at, finished_at, duration, subject, verdict, model, flaky, reused, cost, *counts = row
    return RunLine(
        id=name,
        started_at=datetime.fromisoformat(started_at),
        finished_at=datetime.fromisoformat(finished_at),
        duration_seconds=duration,
        subject=subject,
        verdict=_OUTCOMES[verdict],
        model=model,
        counts=dict(zip(_OUTCOMES.values(), counts, strict=True)),
        flaky=flaky,
        reused=reused,
        cost_usd=amount_of(cost),
    )
