"""Whether two small samples differ, and by how much: the rank-sum test, the Hodges-Lehmann estimate.

Both go by ranks, so that one outlier of a busy machine moves neither (Hollander, Wolfe and Chicken,
"Nonparametric Statistical Methods", chapter 4). The distribution is exact, also with ties, up to
EXACT_SIZE values a side; beyond it is normal, with the correction for ties.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from statistics import NormalDist, median

LEVEL = 0.05  # two-sided
EXACT_SIZE = 25
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Shift:
    """From one sample of positive numbers to another, as a ratio: 1.3 is 30% more.

    ``ratio`` is the median of all ratios of a value after to one before, and ``low`` to ``high`` its interval
    of confidence (1 - LEVEL); ``p`` is two-sided.
    """

    before: float  # medians
    after: float
    ratio: float
    low: float
    high: float
    p: float


def shift(before: Sequence[float], after: Sequence[float]) -> Shift | None:
    """None where a side has no value, or one that is not positive: then there is no ratio."""
    if not before or not after or min(*before, *after, math.inf) <= 0:
        return None
    ratios = sorted(late / early for early in before for late in after)
    outside = _outside(len(before), len(after))
    return Shift(
        before=median(before),
        after=median(after),
        ratio=median(ratios),
        # Too few values give no interval of that confidence: then all that is known is what was seen.
        low=ratios[outside],
        high=ratios[-1 - outside],
        p=rank_sum(before, after),
    )


def rank_sum(before: Sequence[float], after: Sequence[float]) -> float:
    """The two-sided p of the rank-sum test: how likely so large a difference is where there is none."""
    ranks = _doubled_ranks([*before, *after])
    told = sum(ranks[len(before) :])
    if max(len(before), len(after)) > EXACT_SIZE:
        return _normal(ranks, len(after), told)
    counts = _sums(tuple(sorted(ranks)), len(after))
    total = sum(counts.values())
    below = sum(count for value, count in counts.items() if value <= told)
    above = sum(count for value, count in counts.items() if value >= told)
    return min(1.0, 2 * min(below, above) / total)


def smallest_p(before: int, after: int) -> float:
    """The smallest p that samples of these sizes can come to."""
    return min(1.0, 2 / math.comb(before + after, after))


def runs_needed(tests: int) -> int:
    """How many values each side needs so that one of so many tests can find anything (``holm``)."""
    return next(size for size in range(1, 10_000) if smallest_p(size, size) * tests <= LEVEL)


def holm(values: Sequence[float]) -> list[float]:
    """Each p corrected for how many were asked: of twenty tests one comes out by chance (Holm, 1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    scaled = [values[index] * (len(values) - rank) for rank, index in enumerate(order)]
    corrected = dict(zip(order, accumulate(scaled, max), strict=True))
    return [min(1.0, corrected[index]) for index in range(len(values))]


def _doubled_ranks(values: Sequence[float]) -> list[int]:
    """Twice the rank of each, so that the middle rank of ties is whole."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered)))}
    ties = Counter(ordered)
    return [2 * first[value] + ties[value] + 1 for value in values]


@cache
def _sums(ranks: tuple[int, ...], size: int) -> dict[int, int]:
    """Of all choices of ``size`` of the ranks: how many come to which sum."""
    ways: list[Counter[int]] = [Counter({0: 1}), *(Counter[int]() for _ in range(size))]
    for rank in ranks:
        for chosen in range(size, 0, -1):
            for value, count in ways[chosen - 1].items():
                ways[chosen][value + rank] += count
    return dict(ways[size])


def _normal(ranks: Sequence[int], size: int, told: int) -> float:
    total = len(ranks)
    other = total - size
    ties = sum(count**3 - count for count in Counter(ranks).values())
    variance = size * other / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    distance = abs(told / 2 - size * (total + 1) / 2) - 0.5  # half a rank, for a sum is whole
    return min(1.0, 2 * (1 - _NORMAL.cdf(max(0.0, distance) / math.sqrt(variance))))


@cache
def _outside(before: int, after: int) -> int:
    """How many of the sorted ratios lie below the interval of confidence, and as many above it."""
    if max(before, after) > EXACT_SIZE:
        spread = math.sqrt(before * after * (before + after + 1) / 12)
        return max(0, int(before * after / 2 + _NORMAL.inv_cdf(LEVEL / 2) * spread))
    counts = _sums(tuple(range(2, 2 * (before + after) + 1, 2)), after)
    total, below = sum(counts.values()), 0
    smallest = min(counts)
    for rank in range(before * after + 1):
        below += counts.get(smallest + 2 * rank, 0)
        if below / total > LEVEL / 2:
            return max(0, rank - 1) if rank else 0
    return 0
