"""Whatever matrix.yaml holds, there is a plan or problems with places. bench/fuzz.py asks far more."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from support.matrix_bombs import BOMBS
from support.matrix_mutations import Hostile, hostile_files
from support.matrix_property import outcome


@settings(
    max_examples=600,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(hostile=hostile_files())
def test_a_mutated_file_makes_a_plan_or_problems_with_places(tmp_path: Path, hostile: Hostile) -> None:
    outcome(hostile, tmp_path)


@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_file_that_costs_more_than_it_is_long_is_planned_or_refused_in_time(
    tmp_path: Path, name: str
) -> None:
    outcome(Hostile("size", BOMBS[name](1500).encode()), tmp_path)
