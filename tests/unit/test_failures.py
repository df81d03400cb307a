import pytest

from e2e_matrix.failures import POLICIES, Cause, Outcome, Retry, retry_for, table


def test_every_cause_has_a_row_that_tells_what_to_do() -> None:
    assert set(POLICIES) == set(Cause)
    for cause, policy in POLICIES.items():
        assert policy.what, cause
        assert policy.do.endswith("."), cause
        assert policy.outcome is not Outcome.PASSED, cause


def test_the_product_is_blamed_for_nothing_that_the_infrastructure_did() -> None:
    infrastructure = {cause for cause, policy in POLICIES.items() if policy.outcome is Outcome.ERROR}
    assert {
        Cause.ENGINE_LOST,
        Cause.REGISTRY_UNREACHABLE,
        Cause.DISK_FULL,
        Cause.LLM_UNAVAILABLE,
    } <= infrastructure
    assert all(
        POLICIES[cause].outcome is Outcome.ERROR
        for cause, row in POLICIES.items()
        if row.aborts_run and cause is not Cause.RUN_ABORTED
    )


def test_only_the_infrastructure_is_tried_again_by_itself() -> None:
    tried_again = {cause for cause in Cause if retry_for(cause, 0, None)}
    assert {POLICIES[cause].outcome for cause in tried_again} == {Outcome.ERROR}
    assert Cause.ENGINE_LOST in tried_again
    # Another try would bring the same, and a second bill.
    assert not tried_again & {Cause.DISK_FULL, Cause.REGISTRY_DENIED, Cause.LLM_DENIED, Cause.INTERNAL}


def test_the_matrix_may_try_the_product_again_and_change_the_tables_numbers() -> None:
    assert retry_for(Cause.ASSERTION, 2, None) == Retry(attempts=3)
    assert retry_for(Cause.ENGINE_LOST, 2, 0) == Retry(1, 3.0, 30.0)
    assert retry_for(Cause.DISK_FULL, 2, 7) is None
    assert retry_for(Cause.CELL_BUDGET, 2, 7) is None  # what was spent stays spent
    assert retry_for(Cause.INTERRUPTED, 2, 7) is None


@pytest.mark.parametrize(("tried", "least", "most"), [(1, 1.0, 2.0), (2, 2.0, 4.0), (9, 30.0, 60.0)])
def test_pauses_double_up_to_the_longest_with_half_of_it_as_jitter(
    tried: int, least: float, most: float
) -> None:
    retry = Retry(attempts=3, wait=2.0, longest=60.0)
    assert retry.pause(tried, draw=lambda: 0.0) == most
    assert retry.pause(tried, draw=lambda: 1.0) == least
    assert retry.pause(tried, asked=90.0) == 90.0


def test_the_table_for_people_has_every_row() -> None:
    header, *rows = table()
    assert {len(row) for row in rows} == {len(header)}
    assert [row[0] for row in rows] == [f"`{cause}`" for cause in POLICIES]
    assert not any("|" in text for row in rows for text in row)
