from e2e_matrix.failures import POLICIES, Cause, Outcome


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
