"""Where a series of times goes from one level to another, and stays there.

The rule, for the place between two runs: of the up to 30 times before it and the up to 30 from it on,

- the medians differ by 15% of the one before, and by 0.1 s, at the least; and
- the ranks of the two sides are further apart than chance allows: Mann and Whitney's U is so extreme that,
  over all places of all series that are looked at together, less than one time in twenty noise alone would
  come to such a U anywhere (Bonferroni's bound, and the exact distribution of U, which knows no shape).

A single slow run moves neither a median nor a rank by much. The shift is where, about neighbouring places
that keep the rule, the times disagree least with the medians of the two sides. The newest one shows when a
few runs have followed it, as many as a U that extreme takes: of a hundred nightly runs of six cells, six. A
level that lasted for fewer than 20 runs may show at one of its ends only, or not at all.

Mann, Whitney: On a test of whether one of two random variables is stochastically larger than the other,
Ann. Math. Statist. 18 (1947), https://doi.org/10.1214/aoms/1177730491
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import comb

WINDOW = 30  # times on each side
LEAST_SHARE = 0.15  # of the median before
LEAST_SECONDS = 0.1
MISTAKES = 0.05  # the chance that noise alone shows as a shift anywhere
# Of a long series not every place is tried at first: a shift is seen a few runs beside it, too.
_LONG, _STRIDE = 1000, 5
_FEWEST = 4  # times on a side, fewer than which are never extreme enough


@dataclass(frozen=True)
class Shift:
    """``at``: the number of the first time of the new level; the medians around it, seconds."""

    at: int
    before: float
    after: float

    @property
    def slower(self) -> bool:
        return self.after > self.before

    @property
    def share(self) -> float:
        """By how much, as a share of what it was: 0.3 for 30% slower."""
        return self.after / self.before - 1 if self.before else 0.0


def shifts(times: Sequence[float], places: int) -> list[Shift]:
    """The shifts of one series, in its order; ``times`` are seconds, the newest last.

    ``places`` is how many are looked at together: the lengths of all series, added up.
    """
    found = [at for at in _places(len(times)) if _parts(times, at, places)]
    return [_best(times, group[0], group[-1]) for group in _groups(found)]


def _places(count: int) -> Iterable[int]:
    """All places of a short series; of a long one every fifth, and all where few times follow."""
    first, end = _FEWEST, count - _FEWEST + 1
    if count <= _LONG:
        return range(first, end)
    return [*range(first, end - WINDOW, _STRIDE), *range(end - WINDOW, end)]


def _parts(times: Sequence[float], at: int, places: int) -> bool:
    """Whether the rule says that ``at`` parts two levels."""
    before, after = _around(times, at)
    middle, level = _median(before), _median(after)
    if abs(level - middle) < max(LEAST_SHARE * middle, LEAST_SECONDS):
        return False
    disorder = _disorder(before, after) if level > middle else _disorder(after, before)
    return disorder <= most_disorder(len(before), len(after), places)


def _groups(found: Sequence[int]) -> Iterable[list[int]]:
    """The places that are about the same shift: two shifts that can be told apart are further apart."""
    group: list[int] = []
    for at in found:
        if group and at - group[-1] > WINDOW // 2:
            yield group
            group = []
        group.append(at)
    if group:
        yield group


def _best(times: Sequence[float], first: int, last: int) -> Shift:
    """Of the places about ``first`` to ``last``, the one with whose medians the times disagree least."""
    left, right = max(first - WINDOW // 2, 0), min(last + WINDOW // 2, len(times))

    def disagreement(at: int) -> float:
        return sum(_spread(times[start:end]) for start, end in ((left, at), (at, right)))

    at = min(range(left + 1, right), key=disagreement)
    before, after = _around(times, at)
    return Shift(at, _median(before), _median(after))


def _around(times: Sequence[float], at: int) -> tuple[list[float], list[float]]:
    return sorted(times[max(at - WINDOW, 0) : at]), sorted(times[at : at + WINDOW])


def _spread(times: Sequence[float]) -> float:
    middle = _median(sorted(times))
    return sum(abs(one - middle) for one in times)


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _disorder(lower: Sequence[float], higher: Sequence[float]) -> float:
    """U: in how many pairs the one of ``lower`` is the larger; of equal ones half."""
    return sum(bisect_left(higher, one) + bisect_right(higher, one) for one in lower) / 2


@lru_cache(maxsize=2000)
def most_disorder(first: int, second: int, places: int) -> int:
    """The largest U of so many times on each side that is still too extreme for noise; -1: none is.

    Chance gives an order of the two sides as well as any other: the counts of orders with each U are the
    coefficients of a Gaussian binomial.
    """
    allowed = MISTAKES / max(places, 1) / 2 * comb(first + second, first)  # of either direction
    return sum(count <= allowed for count in accumulate(_orders(first, second))) - 1


@lru_cache(maxsize=500)
def _orders(first: int, second: int) -> list[int]:
    """By U, from 0 to half of what is possible, in how many orders of the two sides it comes about."""
    half = first * second // 2
    counts = [1] + [0] * half
    for size in range(1, first + 1):
        # Times (1 - q^(second + size)), divided by (1 - q^size).
        for power in range(half, second + size - 1, -1):
            counts[power] -= counts[power - second - size]
        for power in range(size, half + 1):
            counts[power] += counts[power - size]
    return counts
