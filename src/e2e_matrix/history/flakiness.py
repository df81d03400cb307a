"""How often a cell fails for no reason of its image's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from e2e_matrix.failures import Outcome
from e2e_matrix.history.points import Point

_Z = 1.959963984540054  # of the normal distribution: an interval that holds the rate in 95 of 100 cases


@dataclass(frozen=True)
class Flakiness:
    """Of one cell's samples, which compare with one another; ``newest`` says what they have in common.

    Flaky is a sample in which the product failed on an image that is known to pass: in another attempt
    (``retried``), in another repetition (``mixed``), or in a later run of nothing else (``contradicted``).
    """

    newest: Point
    samples: int
    retried: int
    mixed: int
    contradicted: int

    @property
    def flaky(self) -> int:
        return self.retried + self.mixed + self.contradicted

    @property
    def rate(self) -> float:
        return self.flaky / self.samples

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true rate lies with 95 % confidence."""
        return wilson(self.flaky, self.samples)


def flakiness(samples: Sequence[Point]) -> Flakiness | None:
    """Of the samples of one series, newest last; None where there are none.

    A failure that no later run of the same contradicts is none of the flaky ones: it may be a fault, of the
    image's or of a setting's.
    """
    if not samples:
        return None
    retried = mixed = contradicted = 0
    passed_later: set[object] = set()
    for one in reversed(samples):
        if one.outcome is Outcome.PASSED:
            retried += one.flaky
            passed_later.add(_what_ran(one))
        elif one.mixed:
            mixed += 1
        else:
            contradicted += (what := _what_ran(one)) is not None and what in passed_later
    return Flakiness(samples[-1], len(samples), retried, mixed, contradicted)


def _what_ran(point: Point) -> object:
    """The same where two points have all in common that can change the outcome; None: nobody knows."""
    if point.key:
        return point.key
    return (point.digest, point.scenario_version, point.model) if point.digest else None


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Wilson's score interval for a proportion, at 95 %.

    Unlike the textbook's interval it stays within 0 and 1, and says something where there were no hits.
    https://doi.org/10.1080/01621459.1927.10502953
    """
    rate, square = hits / of, _Z * _Z
    middle = (rate + square / (2 * of)) / (1 + square / of)
    half = _Z / (1 + square / of) * math.sqrt(rate * (1 - rate) / of + square / (4 * of * of))
    # At the ends it is exact; arithmetic in binary is not.
    return (0.0 if hits == 0 else middle - half), (1.0 if hits == of else middle + half)
