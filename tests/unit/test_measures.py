"""What is read off a cell, of which of its attempts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from e2e_matrix.failures import Outcome
from e2e_matrix.measures import MEASURES, is_noisy, middle, samples, typical
from e2e_matrix.results import Step
from support import measured_runs as runs


def _step(name: str, phase: str, start: float, seconds: float) -> Step:
    return Step(
        name=name,
        title=name,
        phase=phase,
        outcome=Outcome.PASSED,
        start_seconds=start,
        duration_seconds=seconds,
    )


def test_each_repetition_gives_the_value_of_its_last_attempt() -> None:
    attempts = [
        runs.attempt(1, Outcome.FAILED, boot=9.0, number=1),
        runs.attempt(1, boot=5.0, number=2),
        runs.attempt(2, boot=6.0, number=3),
        runs.attempt(3, number=4),  # it has none
    ]
    assert samples(runs.cell(attempts=attempts), MEASURES["boot"]) == {1: 5.0, 2: 6.0}


def test_what_another_plan_ran_is_no_sample() -> None:
    attempts = [
        runs.attempt(1, boot=9.0, superseded=True, number=2),
        runs.attempt(1, boot=5.0, number=1),
        runs.attempt(2, boot=9.0, superseded=True, number=3),
    ]
    assert samples(runs.cell(attempts=attempts), MEASURES["boot"]) == {1: 5.0}


@pytest.mark.parametrize(
    ("outcome", "measures"),
    [
        (Outcome.PASSED, {"boot", "init", "conversation", "removal", "total", "cost", "tokens", "memory"}),
        (Outcome.FAILED, {"boot", "init", "memory"}),  # had ended well before it failed
        (Outcome.ERROR, set()),
        (Outcome.CANCELLED, set()),
    ],
)
def test_what_did_not_end_well_is_no_sample(outcome: Outcome, measures: set[str]) -> None:
    one = runs.attempt(1, outcome, **runs.USUAL, cost_usd=Decimal("0.1"), tokens=100, memory=1000)
    cell = runs.cell(attempts=[one])
    assert {name for name, measure in MEASURES.items() if samples(cell, measure)} == {*measures, "size"}


def test_a_size_is_that_of_the_image_whether_it_ran_or_not() -> None:
    size = MEASURES["size"]
    assert samples(runs.cell(), size) == {1: 318_402_117}
    cell = runs.cell()
    unknown = cell.model_copy(update={"image": cell.image.model_copy(update={"size_bytes": None})})
    assert samples(unknown, size) == {}


def test_the_total_is_without_the_pull_and_what_only_one_repetition_is_asked() -> None:
    steps = [_step("openapi", "checks", 6.0, 0.5), _step("gate", "checks", 6.5, 1.0)]
    one = runs.attempt(1, pull=2.0, steps=steps, duration_seconds=10.0)
    assert samples(runs.cell(attempts=[one]), MEASURES["total"]) == {1: 7.5}
    short = runs.attempt(1, pull=12.0, duration_seconds=10.0)
    assert samples(runs.cell(attempts=[short]), MEASURES["total"]) == {1: 0.0}


def test_the_scripts_time_is_its_own() -> None:
    steps = [_step("script", "script", 0.0, 10.0), _step("dormant", "boot", 1.0, 4.0)]
    assert samples(runs.cell(attempts=[runs.attempt(1, steps=steps)]), MEASURES["script"]) == {1: 6.0}
    assert samples(runs.cell(attempts=[runs.attempt(1)]), MEASURES["script"]) == {}


@pytest.mark.parametrize("kind", ["stand-in", "replay", "provider"])
def test_only_what_is_the_same_every_time_is_not_noisy(kind: str) -> None:
    exact = {name for name, measure in MEASURES.items() if not is_noisy(measure, kind)}
    assert exact == ({"size"} if kind == "provider" else {"size", "cost", "tokens"})


def test_a_median_of_money_is_exact() -> None:
    assert middle([Decimal("0.1"), Decimal("0.3"), Decimal("0.2")]) == Decimal("0.2")
    assert middle([Decimal("0.1"), Decimal("0.2")]) == Decimal("0.15")
    assert middle([3, 1]) == 2.0
    with pytest.raises(IndexError):
        middle([])


def test_every_measure_says_what_it_is_and_shows_its_values() -> None:
    for name, measure in MEASURES.items():
        assert (measure.name, bool(measure.what), measure.worse != measure.better) == (name, True, True)
    shown = {name: measure.show(Decimal(2500)) for name, measure in MEASURES.items()}
    assert shown["boot"] == "41 min 40 s"
    assert shown["cost"] == "$2,500.00"
    assert shown["tokens"] == "2,500"
    assert shown["memory"] == shown["size"] == "2.50 kB"


def test_the_typical_value_is_that_of_what_passed_and_where_nothing_did_of_all() -> None:
    cost = MEASURES["cost"]
    tried = [
        runs.attempt(1, Outcome.FAILED, cost_usd=Decimal("0.01"), number=1),
        runs.attempt(1, Outcome.FAILED, cost_usd=Decimal("0.02"), number=2),
        runs.attempt(2, Outcome.FAILED, cost_usd=Decimal("0.05"), number=3),
    ]
    assert typical(runs.cell(attempts=tried), cost) == (Decimal("0.04"), 2)
    passed = runs.attempt(3, cost_usd=Decimal("0.07"), number=4)
    assert typical(runs.cell(attempts=[*tried, passed]), cost) == (Decimal("0.07"), 1)
    assert typical(runs.cell(attempts=[runs.attempt()]), cost) == (None, 0)
    assert typical(runs.cell(), cost) == (None, 0)
