"""Whether two small samples differ, and by how much: Wilcoxon's tests and the estimates that go with them.

Of runs side by side each value has a partner that met the same minute of the machine: the signed-rank
test, over the ratios of the pairs. Of others the rank-sum test. Both go by ranks, so that one outlier moves
neither (Hollander, Wolfe and Chicken, "Nonparametric Statistical Methods", chapters 3 and 4), and are exact,
also with ties, up to EXACT_SIZE values a side; beyond it they are normal, with the correction for ties.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, median

LEVEL = 0.05  # two-sided
EXACT_SIZE = 25
_NORMAL = NormalDist()
_HALF = 0.5  # of a rank: sums of ranks are whole, and the normal distribution is not
# Decimals of a logarithm: the same step between two other numbers differs in its last bits, and is a tie.
_DIGITS = 12
# A step further than that is no measurement, and its ratio no number.
_FURTHEST = 700.0


@dataclass(frozen=True)
class Shift:
    """From one sample of positive numbers to another, as a ratio: 1.3 is 30% more.

    ``ratio`` is the Hodges-Lehmann estimate, and ``low`` to ``high`` its interval of confidence (1 - LEVEL),
    as far as so few values have one; ``p`` is two-sided, and ``least_p`` the smallest that so many values can
    come to.
    """

    before: float  # medians
    after: float
    ratio: float
    low: float
    high: float
    p: float
    least_p: float
    is_paired: bool = False


def paired_shift(pairs: Sequence[tuple[float, float]]) -> Shift | None:
    """From the first of each pair to the second; None as with ``shift``."""
    if not pairs or min(itertools.chain.from_iterable(pairs)) <= 0:
        return None
    steps = [_step(math.log(before), math.log(after)) for before, after in pairs]
    middles = sorted((one + other) / 2 for one, other in itertools.combinations_with_replacement(steps, 2))
    outside = _outside_pairs(len(pairs))
    return Shift(
        before=median(before for before, _ in pairs),
        after=median(after for _, after in pairs),
        ratio=math.exp(median(middles)),
        low=math.exp(middles[outside]),
        high=math.exp(middles[-1 - outside]),
        p=signed_rank(steps),
        least_p=smallest_paired_p(len(pairs)),
        is_paired=True,
    )


def shift(before: Sequence[float], after: Sequence[float]) -> Shift | None:
    """None where a side has no value, or one that is not positive: then there is no ratio."""
    if not before or not after or min(*before, *after, math.inf) <= 0:
        return None
    starts, ends = list(map(math.log, before)), list(map(math.log, after))
    steps = sorted(_step(early, late) for early in starts for late in ends)
    outside = _outside(len(before), len(after))
    return Shift(
        before=median(before),
        after=median(after),
        ratio=math.exp(median(steps)),
        # Too few values give no interval of that confidence: then all that is known is what was seen.
        low=math.exp(steps[outside]),
        high=math.exp(steps[-1 - outside]),
        p=rank_sum(before, after),
        least_p=smallest_p(len(before), len(after)),
    )


def _step(early: float, late: float) -> float:
    """From one logarithm to another: as far up as it is down on the way back."""
    return max(-_FURTHEST, min(round(late - early, _DIGITS), _FURTHEST))


def rank_sum(before: Sequence[float], after: Sequence[float]) -> float:
    """The two-sided p of the rank-sum test: how likely so large a difference is where there is none."""
    ranks = _doubled_ranks([*before, *after])
    told = sum(ranks[len(before) :])
    if max(len(before), len(after)) > EXACT_SIZE:
        return _normal_rank_sum(ranks, len(after), told)
    counts = _sums(tuple(sorted(ranks)), len(after))
    total = sum(counts.values())
    below = sum(count for value, count in counts.items() if value <= told)
    above = sum(count for value, count in counts.items() if value >= told)
    return min(1.0, 2 * min(below, above) / total)


def signed_rank(steps: Sequence[float]) -> float:
    """The two-sided p of the signed-rank test: how likely so one-sided steps are where there is no way."""
    moved = [step for step in steps if step]  # a pair of equals says nothing of a direction
    ranks = _doubled_ranks([abs(step) for step in moved])
    up = sum(rank for rank, step in zip(ranks, moved, strict=True) if step > 0)
    if len(moved) > EXACT_SIZE:
        centre, variance = sum(ranks) / 4, sum(rank * rank for rank in ranks) / 16
        return _normal(abs(up / 2 - centre), variance)
    counts = _signed_sums(tuple(sorted(ranks)))
    below = sum(count for value, count in counts.items() if value <= up)
    above = sum(count for value, count in counts.items() if value >= up)
    return min(1.0, math.ldexp(2 * min(below, above), -len(moved)))


def fewer_passes(before: int, of_before: int, after: int, of_after: int) -> float:
    """The one-sided p of Fisher's exact test: how likely the second passes so seldom where both are alike."""
    passed, runs = before + after, of_before + of_after
    ways = [
        math.comb(of_after, some) * math.comb(of_before, passed - some)
        for some in range(after + 1)
        if some <= passed
    ]
    return sum(ways) / math.comb(runs, passed)


def smallest_p(before: int, after: int) -> float:
    """The smallest p that the rank-sum test can come to with samples of these sizes."""
    return min(1.0, 2 / math.comb(before + after, after))


def smallest_paired_p(pairs: int) -> float:
    """The smallest p that the signed-rank test can come to."""
    return min(1.0, math.ldexp(2, -pairs))


def runs_needed(tests: int) -> int:
    """How many values each side needs so that one of so many rank-sum tests can find anything (``holm``)."""
    return next(size for size in itertools.count(1) if smallest_p(size, size) * tests <= LEVEL)


def holm(values: Sequence[float]) -> list[float]:
    """Each p corrected for how many were asked: of twenty tests one comes out by chance (Holm, 1979)."""
    order = sorted(range(len(values)), key=values.__getitem__)
    scaled = [values[index] * (len(values) - rank) for rank, index in enumerate(order)]
    corrected = dict(zip(order, itertools.accumulate(scaled, max), strict=True))
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


def _normal_rank_sum(ranks: Sequence[int], size: int, told: int) -> float:
    total = len(ranks)
    other = total - size
    ties = sum(count**3 - count for count in Counter(ranks).values())
    variance = size * other / 12 * (total + 1 - ties / (total * (total - 1)))
    return _normal(abs(told / 2 - size * (total + 1) / 2), variance)


def _normal(distance: float, variance: float) -> float:
    """The two-sided p of a sum of ranks so far from its middle."""
    if variance <= 0:
        return 1.0
    return math.erfc(max(0.0, distance - _HALF) / math.sqrt(2 * variance))


@cache
def _signed_sums(ranks: tuple[int, ...]) -> dict[int, int]:
    """Of all choices of any of the ranks: how many come to which sum."""
    ways: Counter[int] = Counter({0: 1})
    for rank in ranks:
        ways.update({value + rank: count for value, count in list(ways.items())})
    return dict(ways)


@cache
def _outside(before: int, after: int) -> int:
    """How many of the sorted ratios lie below the interval of confidence, and as many above it."""
    if max(before, after) > EXACT_SIZE:
        return _outside_normal(before * after / 2, before * after * (before + after + 1) / 12)
    counts = _sums(tuple(range(2, 2 * (before + after) + 1, 2)), after)
    return _rarest(counts)


@cache
def _outside_pairs(pairs: int) -> int:
    """How many of the sorted means of two steps lie below the interval, and as many above it."""
    if pairs > EXACT_SIZE:
        return _outside_normal(pairs * (pairs + 1) / 4, pairs * (pairs + 1) * (2 * pairs + 1) / 24)
    return _rarest(_signed_sums(tuple(range(2, 2 * pairs + 1, 2))))


def _outside_normal(centre: float, variance: float) -> int:
    """The largest statistic whose p (``_normal``) is not above LEVEL; 0 where none is."""
    return max(0, math.floor(centre + _NORMAL.inv_cdf(LEVEL / 2) * math.sqrt(variance) - _HALF))


def _rarest(counts: Mapping[int, int]) -> int:
    """The largest statistic that is still as rare as half of LEVEL; 0 where none is. Sums are doubled."""
    total, below, smallest = sum(counts.values()), 0, min(counts)
    for statistic in itertools.count():
        below += counts.get(smallest + 2 * statistic, 0)
        if below / total > LEVEL / 2:
            return max(0, statistic - 1)
    raise AssertionError("itertools.count has an end")
