from decimal import Decimal

import pytest

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.results import Totals
from e2e_matrix.summary import totals_of, verdict_of
from support.sample_run import a_cell, a_step


def test_costs_add_up_exactly() -> None:
    cells = [a_cell(name, cost_usd=Decimal("0.0000168")) for name in ("a", "b", "c")]
    assert totals_of(cells).cost_usd == Decimal("0.0000504")


def test_a_cost_that_nobody_told_is_counted_and_not_taken_for_zero() -> None:
    conversed = a_cell("a", cost_usd=None, steps=[a_step("conversation")])
    totals = totals_of([conversed, a_cell("b", Cause.PLATFORM_UNSUPPORTED, cost_usd=None, steps=[])])
    assert totals.cost_usd is None
    assert totals.cost_unknown_cells == 1


def test_of_a_replay_no_cost_is_unknown() -> None:
    conversed = a_cell("a", cost_usd=None, steps=[a_step("conversation")])
    totals = totals_of([conversed], replayed=True)
    assert (totals.cost_usd, totals.cost_unknown_cells) == (Decimal(0), 0)


def test_a_run_that_held_no_conversation_cost_nothing() -> None:
    assert totals_of([a_cell("a", Cause.PLATFORM_UNSUPPORTED, steps=[])]).cost_usd == Decimal(0)


@pytest.mark.parametrize(
    ("counts", "verdict", "exit_code"),
    [
        ({"passed": 6}, Outcome.PASSED, 0),
        ({"passed": 5, "failed": 1}, Outcome.FAILED, 1),
        ({"failed": 1, "error": 5}, Outcome.FAILED, 1),
        ({"passed": 5, "error": 1}, Outcome.ERROR, 3),
        ({"passed": 3, "unsupported": 3}, Outcome.PASSED, 0),
        ({"unsupported": 6}, Outcome.ERROR, 3),
        ({"passed": 5, "not_run": 1}, Outcome.ERROR, 3),
    ],
)
def test_the_verdict_follows_from_the_counts(
    counts: dict[str, int], verdict: Outcome, exit_code: int
) -> None:
    totals = Totals(cells=6, **counts)
    assert verdict_of(totals, interrupted=False, finished=True)[::2] == (verdict, exit_code)


def test_cells_that_nobody_tested_are_never_hidden_in_a_pass() -> None:
    _, reason, _ = verdict_of(Totals(cells=6, passed=3, unsupported=3), interrupted=False, finished=True)
    assert reason == "3 of 6 cells passed; 3 not tested: unsupported on this engine."


def test_cells_that_were_left_out_are_told_in_the_verdict() -> None:
    _, reason, _ = verdict_of(Totals(cells=1, left_out=5, passed=1), interrupted=False, finished=True)
    assert reason == "1 of 6 cells passed; 5 left out by --only or --skip."


def test_an_interrupted_run_says_so_whatever_finished() -> None:
    verdict, reason, exit_code = verdict_of(
        Totals(cells=6, passed=2, cancelled=4), interrupted=True, finished=True
    )
    assert (verdict, exit_code) == (Outcome.CANCELLED, 130)
    assert reason == "Stopped on request. 2 of 6 cells passed; 4 cancelled."


def test_a_run_that_was_cut_off_is_not_taken_for_a_pass() -> None:
    verdict, reason, exit_code = verdict_of(Totals(cells=2, passed=2), interrupted=False, finished=False)
    assert (verdict, exit_code) == (Outcome.NOT_RUN, 3)
    assert reason.startswith("The run has not finished.")
