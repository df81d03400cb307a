"""The tests of ranks against printed tables, textbooks, and the counting of every case."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix import statistics
from e2e_matrix.statistics import LEVEL, holm, paired_shift, rank_sum, runs_needed, shift, signed_rank

# Two-sided, 5%: the largest U that is significant, by both sizes (Mann and Whitney; Milton, 1964).
MANN_WHITNEY = {
    **{(3, size): value for size, value in zip(range(5, 11), [0, 1, 1, 2, 2, 3], strict=True)},
    **{(4, size): value for size, value in zip(range(4, 11), [0, 1, 2, 3, 4, 4, 5], strict=True)},
    **{(5, size): value for size, value in zip(range(5, 11), [2, 3, 5, 6, 7, 8], strict=True)},
    **{(6, size): value for size, value in zip(range(6, 11), [5, 6, 8, 10, 11], strict=True)},
    **{(7, size): value for size, value in zip(range(7, 11), [8, 10, 12, 14], strict=True)},
    **{(8, size): value for size, value in zip(range(8, 11), [13, 15, 17], strict=True)},
    (9, 9): 17,
    (9, 10): 20,
    (10, 10): 23,
    (15, 15): 64,
    (20, 20): 127,
}
# The same for the smaller sum of ranks of the signed-rank test (Wilcoxon and Wilcox, 1964).
SIGNED_RANK = dict(
    zip([*range(6, 21), 25], [0, 2, 3, 5, 8, 10, 13, 17, 21, 25, 29, 34, 40, 46, 52, 89], strict=True)
)
# Few values, so that there are ties; and a step may be none at all.
FEW = st.lists(st.sampled_from([1.0, 2.0, 2.5, 4.0]), min_size=1, max_size=5)
STEPS = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]), min_size=1, max_size=7)


def with_statistic(size: int, other: int, wanted: int) -> tuple[list[float], list[float]]:
    """Two samples without ties of which in ``wanted`` pairs the second's value is the larger."""
    places = []
    for place in reversed(range(size)):
        step = min(other, wanted)
        wanted -= step
        places.append(place + step)
    ranks = range(size + other)
    return [float(rank) for rank in ranks if rank not in places], [float(rank) for rank in places]


def with_sum(size: int, wanted: int) -> list[float]:
    """Steps 1 to ``size`` of which those up have the ranks' sum ``wanted``."""
    steps = []
    for rank in range(size, 0, -1):
        up = rank <= wanted
        wanted -= rank if up else 0
        steps.append(float(rank if up else -rank))
    return steps


def ranks_of(values: Sequence[float]) -> list[Fraction]:
    """By counting: how many are less, and the middle of those that are the same."""
    return [
        Fraction(sum(other < value for other in values))
        + Fraction(sum(other == value for other in values) + 1, 2)
        for value in values
    ]


def two_sided(all_sums: Sequence[Fraction], told: Fraction) -> Fraction:
    below = sum(one <= told for one in all_sums)
    above = sum(one >= told for one in all_sums)
    return min(Fraction(1), Fraction(2 * min(below, above), len(all_sums)))


@pytest.mark.parametrize(("sizes", "critical"), MANN_WHITNEY.items())
def test_the_rank_sum_test_has_the_critical_values_of_the_tables(
    sizes: tuple[int, int], critical: int
) -> None:
    for size, other in {sizes, sizes[::-1]}:
        for mirrored in (False, True):
            told = [size * other - one if mirrored else one for one in (critical, critical + 1)]
            assert rank_sum(*with_statistic(size, other, told[0])) <= LEVEL
            assert rank_sum(*with_statistic(size, other, told[1])) > LEVEL


@pytest.mark.parametrize(("size", "critical"), SIGNED_RANK.items())
def test_the_signed_rank_test_has_the_critical_values_of_the_tables(size: int, critical: int) -> None:
    whole = size * (size + 1) // 2
    for told, next_one in ((critical, critical + 1), (whole - critical, whole - critical - 1)):
        assert signed_rank(with_sum(size, told)) <= LEVEL
        assert signed_rank(with_sum(size, next_one)) > LEVEL


def test_the_examples_of_the_textbook() -> None:
    """Hollander and Wolfe: example 3.1, depression before and after; 4.1, how water passes two tissues."""
    first = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    second = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    steps = [after - before for before, after in zip(first, second, strict=True)]
    assert signed_rank(steps) == pytest.approx(0.0390625, abs=1e-12)
    at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    before_term = [1.15, 0.88, 0.90, 0.74, 1.21]
    assert rank_sum(at_term, before_term) == pytest.approx(0.2544, abs=5e-5)


@given(FEW, FEW)
@settings(max_examples=150, deadline=None)
def test_the_rank_sum_test_counts_every_choice_also_with_ties(
    before: list[float], after: list[float]
) -> None:
    ranks = ranks_of([*before, *after])
    sums = [sum(chosen, Fraction(0)) for chosen in itertools.combinations(ranks, len(after))]
    expected = two_sided(sums, sum(ranks[len(before) :], Fraction(0)))
    assert rank_sum(before, after) == pytest.approx(float(expected), rel=1e-12)
    assert rank_sum(after, before) == rank_sum(before, after)
    assert rank_sum([value * 3 for value in before], [value * 3 for value in after]) == rank_sum(
        before, after
    )


@given(STEPS)
@settings(max_examples=150, deadline=None)
def test_the_signed_rank_test_counts_every_way_also_with_ties_and_equals(steps: list[float]) -> None:
    moved = [step for step in steps if step]
    ranks = ranks_of([abs(step) for step in moved])
    sums = [sum(chosen, Fraction(0)) for chosen in itertools.product(*((Fraction(0), one) for one in ranks))]
    told = sum((rank for rank, step in zip(ranks, moved, strict=True) if step > 0), Fraction(0))
    assert signed_rank(steps) == pytest.approx(float(two_sided(sums, told)), rel=1e-12)
    assert signed_rank([-step for step in steps]) == signed_rank(steps)


@pytest.mark.parametrize("size", [25, 26])
def test_the_normal_distribution_takes_over_without_a_step(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(size)
    for _ in range(8):
        before = [round(chance.gauss(10, 2), chance.choice([0, 6])) for _ in range(size)]
        after = [round(chance.gauss(10.8, 2), chance.choice([0, 6])) for _ in range(size - 3)]
        steps = [round(chance.gauss(0.4, 1), chance.choice([0, 6])) for _ in range(size)]
        found = {}
        for most in (size, size - 20):
            monkeypatch.setattr(statistics, "EXACT_SIZE", most)
            found[most] = rank_sum(before, after), signed_rank(steps)
        assert found[size - 20] == pytest.approx(found[size], abs=0.008)
        assert found[size - 20] != found[size]


@pytest.mark.parametrize("before", [25, 26])
def test_more_than_25_values_on_either_side_are_not_counted_out(before: int) -> None:
    values = [float(one) for one in range(before)]
    exact = 2 / math.comb(before + 2, 2)
    for p in (rank_sum(values, [-1.0, -2.0]), rank_sum([-1.0, -2.0], values)):
        assert (p == pytest.approx(exact, rel=1e-9)) is (before == 25)
    steps = [*values[1:], float(before)]
    assert (signed_rank(steps) == math.ldexp(2, -before)) is (before == 25)


def test_many_values_with_ties_have_the_p_that_scipy_gives_them() -> None:
    """Version 1.17: mannwhitneyu by `asymptotic`, wilcoxon by `approx`, both with their corrections."""
    before, after = [float(one // 3) for one in range(26)], [float(one // 2) for one in range(26)]
    assert rank_sum(before, after) == pytest.approx(0.0405400562461499, rel=1e-12)
    steps = [float((one * 7 % 23) // 2 - 4) for one in range(30)]
    assert signed_rank(steps) == pytest.approx(0.05791126981572139, rel=1e-12)


def test_a_p_that_is_tiny_is_not_zero() -> None:
    low, high = [float(one) for one in range(200)], [float(one) for one in range(1000, 1200)]
    assert 0 < rank_sum(low, high) < 1e-50
    assert 0 < signed_rank(high) < 1e-25


def test_equal_values_differ_in_nothing() -> None:
    for count in (1, 7, 30):
        same = [2.5] * count
        found = shift(same, same)
        assert found
        assert (found.ratio, found.low, found.high, found.p) == (1.0, 1.0, 1.0, 1.0)
        paired = paired_shift([(2.5, 2.5)] * count)
        assert paired
        assert (paired.ratio, paired.low, paired.high, paired.p) == (1.0, 1.0, 1.0, 1.0)


def test_samples_of_the_same_values_differ_in_nothing_either() -> None:
    for count in (6, 30):
        values = [float(one) for one in range(1, count + 1)]
        assert rank_sum(values, values) == 1.0
        assert signed_rank([*values, *(-one for one in values)]) == 1.0


def test_the_estimates_are_those_of_hodges_and_lehmann() -> None:
    found = shift([1.0, 2.0, 4.0], [4.0, 8.0])
    assert found  # of the ratios 1, 2, 2, 4, 4, 8 the two in the middle are 2 and 4, with sqrt(8) between
    assert found.ratio == pytest.approx(math.sqrt(8))
    assert (found.before, found.after, found.is_paired) == (2.0, 6.0, False)
    assert [found.low, found.high] == pytest.approx([1.0, 8.0])
    paired = paired_shift([(1.0, 1.0), (1.0, 2.0), (1.0, 16.0)])
    assert paired  # in powers of two the means of two steps are 0, 0.5, 1, 2, 2.5, 4
    assert paired.ratio == pytest.approx(2**1.5)
    assert [paired.low, paired.high] == pytest.approx([1.0, 16.0])
    assert (paired.before, paired.after, paired.is_paired) == (1.0, 2.0, True)


def test_too_few_values_for_an_interval_give_all_that_was_seen() -> None:
    many = [float(one) for one in range(1, 31)]
    for before, after, low, high in ((many, [30.0], 1.0, 30.0), ([1.0, 2.0], [2.0, 4.0], 1.0, 4.0)):
        found = shift(before, after)
        assert found
        assert found.least_p > LEVEL
        assert [found.low, found.high] == pytest.approx([low, high])


@given(st.lists(st.tuples(*[st.floats(0.01, 1e6)] * 2), min_size=1, max_size=9), st.sampled_from([0.25, 8.0]))
@settings(max_examples=100, deadline=None)
def test_a_way_back_is_as_long_and_the_unit_does_not_matter(
    pairs: list[tuple[float, float]], unit: float
) -> None:
    before, after = [early for early, _ in pairs], [late for _, late in pairs]
    for there, back, scaled in (
        (
            shift(before, after),
            shift(after, before),
            shift([unit * one for one in before], [unit * one for one in after]),
        ),
        (
            paired_shift(pairs),
            paired_shift([(late, early) for early, late in pairs]),
            paired_shift([(unit * early, unit * late) for early, late in pairs]),
        ),
    ):
        assert there
        assert back
        assert scaled
        assert there.low <= there.ratio <= there.high
        assert there.p == back.p == scaled.p
        assert [there.low, there.ratio, there.high] == pytest.approx(
            [1 / back.high, 1 / back.ratio, 1 / back.low]
        )
        assert scaled.ratio == pytest.approx(there.ratio, rel=1e-9)


def test_the_same_step_is_the_same_whatever_its_binary_fractions_are() -> None:
    """Else two equal ratios are told apart by chance: 0.3 by 0.1 is not 3, and 1.2 by 0.4 is."""
    pairs = [(0.1, 0.3), (0.7, 2.1), (0.3, 0.1), (0.4, 1.2), (1.1, 3.3), (0.9, 0.3), (1.0, 3.0)]
    found = paired_shift(pairs)
    assert found
    assert found.p == signed_rank([1, 1, -1, 1, 1, -1, 1])


@pytest.mark.parametrize(
    ("before", "after"), [([], [1.0]), ([1.0], []), ([0.0], [1.0]), ([1.0], [2.0, 0.0]), ([1.0, -1.0], [1.0])]
)
def test_where_something_is_not_positive_there_is_no_ratio(before: list[float], after: list[float]) -> None:
    assert shift(before, after) is None
    if len(before) == len(after):
        assert paired_shift(list(zip(before, after, strict=True))) is None


def test_no_pairs_shift_nothing() -> None:
    assert paired_shift([]) is None
    assert paired_shift([(1.0, 2.0), (0.0, 2.0)]) is None


def test_the_most_absurd_numbers_have_a_ratio_that_is_a_number() -> None:
    for found in (shift([5e-324], [1.7e308]), paired_shift([(1.7e308, 5e-324)])):
        assert found
        assert all(math.isfinite(one) and one > 0 for one in (found.ratio, found.low, found.high))


@pytest.mark.parametrize("size", [5, 8, 12, 25, 26, 35])
def test_the_interval_leaves_no_change_out_exactly_where_the_test_says_so(size: int) -> None:
    chance = random.Random(size)
    verdicts = set()
    for _ in range(60):
        distance = chance.choice([0.0, 0.25, 0.5])
        before = [chance.lognormvariate(0, 0.5) for _ in range(size)]
        after = [chance.lognormvariate(distance, 0.5) for _ in range(size)]
        for found in (shift(before, after), paired_shift(list(zip(before, after, strict=True)))):
            assert found
            if found.least_p <= LEVEL:  # else there is no such interval
                differs = found.p <= LEVEL
                assert (found.low > 1 or found.high < 1) is differs
                verdicts.add(differs)
    assert verdicts == {True, False}


@pytest.mark.parametrize("size", [10, 25, 26])
def test_the_interval_ends_at_the_very_statistic_from_which_on_the_test_says_so(size: int) -> None:
    """Which is another one by the normal distribution than by counting."""
    by_ranks, by_pairs = set(), set()
    for other in (size, 5, 7):
        for wanted in range(size * other // 2):
            sides = with_statistic(size, other, wanted)
            before, after = ([math.exp(one / 9) for one in side] for side in sides)
            found = shift(before, after)
            assert found
            assert (found.high < 1) is (found.p <= LEVEL)
            by_ranks.add(found.p <= LEVEL)
    for wanted in range(size * (size + 1) // 4):
        found = paired_shift([(1.0, math.exp(step / 9)) for step in with_sum(size, wanted)])
        assert found
        assert (found.high < 1) is (found.p <= LEVEL)
        by_pairs.add(found.p <= LEVEL)
    assert by_ranks == by_pairs == {True, False}


@pytest.mark.parametrize(
    ("size", "of", "exact"),
    [
        (8, lambda pairs: paired_shift(pairs), 1 - 10 / 256),
        (
            6,
            lambda pairs: shift([early for early, _ in pairs], [late for _, late in pairs]),
            1 - 2 * 12 / 924,
        ),
        (30, lambda pairs: paired_shift(pairs), 0.95),
    ],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    size: int, of: Callable[[Sequence[tuple[float, float]]], statistics.Shift | None], exact: float
) -> None:
    chance, rounds, held = random.Random(8), 1200 if size < 20 else 250, 0
    for _ in range(rounds):
        pairs = [(chance.lognormvariate(0, 0.1), 1.3 * chance.lognormvariate(0, 0.1)) for _ in range(size)]
        found = of(pairs)
        held += bool(found and found.low <= 1.3 <= found.high)
    assert abs(held / rounds - exact) < 4 * math.sqrt(exact * (1 - exact) / rounds)


def test_pairs_find_what_a_shared_disturbance_hides() -> None:
    """A machine that is four times as slow for a while slows both that ran then."""
    slowness = [1, 4, 2, 1, 3, 1, 2, 4]
    pairs = [(slow * 1.0, slow * 1.1) for slow in slowness]
    together, apart = paired_shift(pairs), shift([early for early, _ in pairs], [late for _, late in pairs])
    assert together
    assert apart
    assert together.p < 0.01
    assert apart.p > 0.2
    assert together.ratio == pytest.approx(1.1)


@pytest.mark.parametrize("wild", [1.5, 1000.0])
def test_one_outlier_moves_nothing_however_far_it_lies(wild: float) -> None:
    values = [1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06]
    found = shift(values, [*values[:-1], wild])
    assert found
    assert found.ratio == pytest.approx(1.0, abs=0.02)
    assert found.p > 0.5
    paired = paired_shift([*((one, one) for one in values), (1.0, wild)])
    assert paired
    assert (paired.ratio, paired.p) == (1.0, 1.0)


@given(st.lists(st.floats(0, 1), max_size=8))
@settings(deadline=None)
def test_holm_rejects_what_his_steps_reject(values: list[float]) -> None:
    """From the smallest p on: rejected while it times how many are left is not above the level."""
    corrected = holm(values)
    for level in (0.01, LEVEL, 0.5):
        rejected = set()
        for step, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
            if values[index] * (len(values) - step) > level:
                break
            rejected.add(index)
        assert {index for index, p in enumerate(corrected) if p <= level} == rejected
    assert all(p <= q <= 1 for p, q in zip(values, corrected, strict=True))


def test_holm_as_he_wrote_it() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_smallest_p_is_that_of_samples_that_do_not_meet() -> None:
    for size, other in itertools.product(range(1, 7), repeat=2):
        p = rank_sum([float(one) for one in range(size)], [float(one) for one in range(100, 100 + other)])
        assert statistics.smallest_p(size, other) == pytest.approx(p)
        assert signed_rank([float(one) for one in range(1, size + 1)]) == statistics.smallest_paired_p(size)
    assert (
        statistics.smallest_p(0, 3) == statistics.smallest_p(3, 0) == statistics.smallest_paired_p(0) == 1.0
    )


@pytest.mark.parametrize(("tests", "runs"), [(1, 4), (2, 5), (6, 5), (7, 6), (23, 6), (24, 7), (1000, 9)])
def test_so_many_runs_are_needed_and_no_fewer(tests: int, runs: int) -> None:
    assert runs_needed(tests) == runs
    assert (
        statistics.smallest_p(runs, runs) * tests <= LEVEL < statistics.smallest_p(runs - 1, runs - 1) * tests
    )
