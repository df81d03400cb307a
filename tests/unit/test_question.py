"""How a command that made a run ends, by the run and by what it is compared with."""

from __future__ import annotations

import pytest

from e2e_matrix.assessment import assess
from e2e_matrix.failures import Outcome
from e2e_matrix.question import exit_code_of
from support import measured_runs as runs

PASSED, FAILED, ERROR = Outcome.PASSED, Outcome.FAILED, Outcome.ERROR


@pytest.mark.parametrize(
    ("run_ended", "before", "after", "code"),
    [
        (0, PASSED, PASSED, 0),
        (1, PASSED, PASSED, 1),
        (0, PASSED, FAILED, 1),
        (3, PASSED, FAILED, 1),  # something is worse, whatever else is not known
        (0, ERROR, PASSED, 3),
        (1, ERROR, PASSED, 1),
        (130, PASSED, FAILED, 130),
    ],
)
def test_a_command_ends_with_the_worse_of_the_run_and_its_comparison(
    run_ended: int, before: Outcome, after: Outcome, code: int
) -> None:
    compared = runs.compared([runs.cell(outcome=before)], [runs.cell(outcome=after)])
    results = runs.run([runs.cell(outcome=after)])
    results = results.model_copy(update={"run": results.run.model_copy(update={"exit_code": run_ended})})
    assert exit_code_of(results, assess(compared)) == code


@pytest.mark.parametrize(("for_comparison", "code"), [(False, 3), (True, 0)])
def test_a_run_whose_baseline_is_lost_is_no_pass(for_comparison: bool, code: int) -> None:
    results = runs.run([runs.cell(outcome=PASSED)])
    told = {"beside": "20251101T000000Z-aaaaaa", "for_comparison": for_comparison}
    results = results.model_copy(update={"run": results.run.model_copy(update=told)})
    assert exit_code_of(results, None) == code
