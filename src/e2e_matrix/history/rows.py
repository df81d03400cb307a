"""Rows of the database as the rest of the program knows them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from e2e_matrix.failures import Outcome
from e2e_matrix.history.points import Point
from e2e_matrix.results import Phases

#: What ``point_of`` reads, in its order.
POINT_COLUMNS = """
    c.run, c.started_at, r.subject, c.cell, c.outcome, c.flaky, c.reused, c.emulated, c.platform, c.scenario,
    c.scenario_version, r.model, c.axes, c.digest, c.server_version, c.message, c.cost, c.tokens, c.duration,
    c.pull, c.boot, c.init, c.first_token, c.conversation, c.removal, c.memory, c.size
"""
_PHASES = ("pull", "boot", "init", "first_token", "conversation", "removal")
_FIRST_PHASE = 19
_AFTER_PHASES = _FIRST_PHASE + len(_PHASES)
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


def point_of(row: Sequence[Any]) -> Point:
    """The point of a row of POINT_COLUMNS. Raises ValueError, KeyError, TypeError or ArithmeticError where
    the row holds what was never written."""
    memory, size = row[_AFTER_PHASES:]
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
        axes=dict(_axes(row[12])),
        digest=row[13],
        server_version=row[14],
        message=row[15],
        cost_usd=amount_of(row[16]),
        tokens=row[17],
        duration_seconds=row[18],
        # They were validated when they were read; ten thousand times more is what a page waits for.
        phases=Phases.model_construct(**dict(zip(_PHASES, row[_FIRST_PHASE:_AFTER_PHASES], strict=True))),
        memory_bytes=memory,
        size_bytes=size,
    )


@lru_cache(maxsize=1000)
def _axes(text: str) -> dict[str, str]:
    axes: dict[str, str] = json.loads(text)
    return axes


@lru_cache(maxsize=1000)
def amount_of(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
