"""What stands below a run's summary where it has a baseline."""

from __future__ import annotations

import io

import pytest

from e2e_matrix.assessment import assess
from e2e_matrix.failures import Outcome
from e2e_matrix.terminal.comparison import show_after_run
from e2e_matrix.terminal.screen import Screen
from support import measured_runs as runs


@pytest.mark.parametrize("in_turns", [True, False])
def test_with_what_it_is_compared_what_that_cost_and_what_nobody_judged(in_turns: bool) -> None:
    side_by_side = runs.compared([runs.cell()], [runs.cell(outcome=Outcome.FAILED)], turns=in_turns)
    stream = io.StringIO()
    show_after_run(Screen(stream, {"COLUMNS": "200"}, False), assess(side_by_side))
    text = stream.getvalue()
    assert f"against    {side_by_side.baseline}" in text
    assert ("with that of the baseline" in text) is in_turns
    assert "FAIL: fixed: none; newly failing: 1 cell" in text
    assert "  FAIL: newly failing: python-amd64" in text
