"""What a cell takes as a rule: medians over what may be compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import TypeVar

from e2e_matrix.failures import Outcome
from e2e_matrix.history.points import Point

_T = TypeVar("_T", float, Decimal)


@dataclass(frozen=True)
class Medians:
    """Of ``passes`` points that compare with ``newest``. Seconds and US dollars; None where none is known."""

    newest: Point
    passes: int
    boot: float | None
    init: float | None
    conversation: float | None
    total: float | None
    cost: Decimal | None


def medians(points: Sequence[Point]) -> list[Medians]:
    """Of the points that passed by themselves, apart for native and emulated, each model and each version of
    the scenario; in the order of their first points."""
    series: dict[object, list[Point]] = defaultdict(list)
    for point in points:
        if point.is_sample and point.outcome is Outcome.PASSED:
            series[point.series].append(point)
    return [
        Medians(
            newest=passes[-1],
            passes=len(passes),
            boot=_median(passes, lambda one: one.phases.boot),
            init=_median(passes, lambda one: one.phases.init),
            conversation=_median(passes, lambda one: one.phases.conversation),
            total=_median(passes, lambda one: one.duration_seconds),
            cost=_median(passes, lambda one: one.cost_usd),
        )
        for passes in series.values()
    ]


def _median(points: Iterable[Point], of: Callable[[Point], _T | None]) -> _T | None:
    known = [value for point in points if (value := of(point)) is not None]
    return median(known) if known else None
