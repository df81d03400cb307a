"""A level that shifts is found, and noise is none."""

from __future__ import annotations

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix.shifts import MISTAKES, WINDOW, _orders, most_disorder, shifts

SIX_CELLS = 30  # series: six cells, five phases


def noisy(seed: int, count: int, spread: float, level: float = 10.0, outliers: float = 0.01) -> list[float]:
    """``spread`` and ``outliers`` are shares: of the level, and of the times that take nearly double."""
    chance = random.Random(seed)
    return [
        max(chance.gauss(level, spread * level), 0.1) * (1.8 if chance.random() < outliers else 1.0)
        for _ in range(count)
    ]


@given(
    st.integers(0, 2**32),
    st.integers(0, 400),
    st.sampled_from([0.02, 0.06, 0.12, 0.3, 0.6]),
    st.floats(0.05, 500),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_noise_is_no_shift(seed: int, count: int, spread: float, level: float) -> None:
    times = noisy(seed, count, spread, level, 0.03)
    assert shifts(times, SIX_CELLS * max(count, 1)) == []


def test_ten_thousand_runs_of_noise_are_none_either() -> None:
    for seed in range(6):
        assert shifts(noisy(seed, 10_000, 0.08, outliers=0.03), SIX_CELLS * 10_000) == []


@given(
    st.integers(0, 2**32),
    st.integers(WINDOW, 150),
    st.integers(WINDOW, 150),
    st.sampled_from([0.01, 0.03, 0.06]),
    st.sampled_from([1.3, 1 / 1.3]),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_thirty_per_cent_are_found_where_they_began(
    seed: int, before: int, after: int, spread: float, by: float
) -> None:
    times = noisy(seed, before, spread) + noisy(seed + 1, after, spread, 10.0 * by)
    (found,) = shifts(times, SIX_CELLS * len(times))
    assert abs(found.at - before) <= 2
    assert found.slower is (by > 1)
    assert found.share == pytest.approx(by - 1, abs=0.12)


def test_a_step_in_ten_thousand_runs_is_found_where_it_began() -> None:
    for at in (5000, 5001, 5002, 5003, 9980):
        times = noisy(at, at, 0.05) + noisy(1, 10_000 - at, 0.05, 13.0)
        (found,) = shifts(times, SIX_CELLS * 10_000)
        assert abs(found.at - at) <= 1


def test_the_newest_step_shows_after_a_few_runs() -> None:
    def found(after: int) -> int:
        times = [10 + 0.01 * (n % 7) for n in range(94)] + [13 + 0.01 * (n % 7) for n in range(after)]
        return len(shifts(times, SIX_CELLS * 100))

    assert [found(after) for after in (1, 4, 6, 7, 30)] == [0, 0, 1, 1, 1]


def test_slower_and_fast_again_are_two() -> None:
    times = noisy(1, 60, 0.03) + noisy(2, 60, 0.03, 14.0) + noisy(3, 60, 0.03)
    slower, faster = shifts(times, SIX_CELLS * len(times))
    assert (slower.slower, faster.slower) == (True, False)
    assert (slower.at, faster.at) == (60, 120)


@pytest.mark.parametrize("runs", [20, 25, 40])
def test_a_spell_of_slow_runs_is_two_and_each_where_it_is(runs: int) -> None:
    times = noisy(1, 100, 0.02) + noisy(2, runs, 0.02, 15.0) + noisy(3, 100, 0.02)
    assert [(one.at, one.slower) for one in shifts(times, SIX_CELLS * len(times))] == [
        (100, True),
        (100 + runs, False),
    ]


def test_a_few_slow_runs_among_others_are_no_new_level() -> None:
    times = noisy(5, 200, 0.03)
    times[90:93] = [40.0, 45.0, 42.0]
    assert shifts(times, SIX_CELLS * 200) == []


def test_what_is_too_small_to_matter_is_none_however_sure_it_is() -> None:
    assert shifts([10.0] * 100 + [11.0] * 100, 200) == []  # ten per cent
    assert shifts([0.10] * 100 + [0.15] * 100, 200) == []  # 50 ms
    assert len(shifts([10.0] * 100 + [12.0] * 100, 200)) == 1


@pytest.mark.parametrize("times", [[], [1.0], [1.0] * 500, [0.0] * 50 + [1.0] * 50, [1.0, 2.0] * 200])
def test_a_series_of_any_kind_has_an_answer(times: list[float]) -> None:
    assert all(0 < one.at < len(times) for one in shifts(times, len(times)))


@pytest.mark.parametrize(("first", "second"), [(1, 1), (2, 3), (4, 4), (5, 3), (1, 6)])
def test_the_orders_are_counted_right(first: int, second: int) -> None:
    everywhere = range(first + second)
    counted = [0] * (first * second + 1)
    for chosen in combinations(everywhere, first):
        counted[sum(one > other for one in chosen for other in set(everywhere) - set(chosen))] += 1
    assert _orders(first, second) == counted[: first * second // 2 + 1]


def test_the_bound_is_the_largest_u_that_is_rare_enough() -> None:
    for places in (10, 1000, 300_000):
        bound = most_disorder(WINDOW, WINDOW, places)
        orders = _orders(WINDOW, WINDOW)
        whole = 2 * sum(orders) - orders[-1]
        assert sum(orders[: bound + 1]) / whole <= MISTAKES / places / 2 < sum(orders[: bound + 2]) / whole
    assert most_disorder(4, 4, 1000) == -1
