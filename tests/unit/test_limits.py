"""The gates and the budget that the cells of a run share."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.limits import Budget, Gate, Limits, Once


def test_a_gate_lets_so_many_through_at_a_time() -> None:
    gate, cancel = Gate(2), Cancellation()
    lock, inside, most = threading.Lock(), 0, 0
    together = threading.Barrier(2)

    def work() -> None:
        nonlocal inside, most
        with gate.passed(cancel):
            with lock:
                inside += 1
                most = max(most, inside)
            together.wait(10)  # passes only if two are inside at the same time
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (most, inside) == (2, 0)


def test_who_waits_at_a_gate_is_told_that_the_run_was_stopped() -> None:
    gate, cancel = Gate(1), Cancellation()
    with gate.passed(cancel) as waited:
        assert waited < 5
        threading.Timer(0.2, cancel.cancel, (Cause.RUN_TIMEOUT,)).start()
        begin = time.monotonic()
        with pytest.raises(CellFailure) as stopped, gate.passed(cancel):
            pytest.fail("two were inside")
        assert time.monotonic() - begin < 5
    assert stopped.value.cause is Cause.RUN_TIMEOUT
    with gate.passed(Cancellation()):  # the place was given back
        pass


def test_a_cell_may_spend_its_budget_over_all_attempts_and_no_more() -> None:
    budget = Budget(per_cell=Decimal("0.05"))
    budget.note("a", 1, Decimal("0.03"))
    budget.note("b", 1, Decimal("0.05"))
    budget.check("a")
    budget.check("b")
    budget.note("a", 2, Decimal("0.0200001"))
    with pytest.raises(CellFailure, match=r"\$0\.0500001 spent, of \$0\.05 that one cell may cost") as spent:
        budget.check("a")
    assert spent.value.cause is Cause.CELL_BUDGET
    budget.check("b")


def test_the_runs_budget_counts_every_cell_and_ends_with_what_is_spent() -> None:
    budget = Budget(per_run=Decimal("0.10"))
    budget.note("a", 1, Decimal("0.05"))
    assert not budget.is_spent
    budget.note("b", 1, Decimal("0.05"))
    assert budget.is_spent
    budget.check("b")  # exactly what it may
    budget.note("b", 1, Decimal("0.06"))
    with pytest.raises(CellFailure) as spent:
        budget.check("a")
    assert spent.value.cause is Cause.RUN_BUDGET
    budget.check("a", ended=True)  # stopping what spends no more would save nothing


def test_a_figure_that_goes_down_again_unspends_nothing() -> None:
    budget = Budget(per_run=Decimal("0.10"))
    budget.note("a", 1, Decimal("0.20"))
    budget.note("a", 1, Decimal("0.01"))
    assert budget.is_spent


def test_without_a_limit_nothing_is_ever_spent() -> None:
    budget = Budget()
    budget.note("a", 1, Decimal("1e9"))
    budget.check("a")
    assert (budget.is_spent, budget.is_limited) == (False, False)


def test_two_runs_spend_out_of_one_purse_and_their_cells_are_not_mixed_up() -> None:
    budget = Budget(per_cell=Decimal("0.05"), per_run=Decimal("0.10"))
    one, other = (Limits(2, 3, budget).beside(run).budget for run in ("run-1", "run-2"))
    one.note("a", 1, Decimal("0.04"))
    other.note("a", 1, Decimal("0.05"))
    for each in (one, other):
        each.check("a")
        assert not each.is_spent
        assert str(each) == "$0.09 spent, of $0.10 that the run may cost"
    with pytest.raises(CellFailure, match=r"\$0\.05 spent, of \$0\.05 that one cell may cost"):
        other.check_before("a")
    one.check_before("a")
    one.note("a", 2, Decimal("0.01"))
    assert all(each.is_spent for each in (budget, one, other))
    other.note("b", 1, Decimal("0.01"))
    with pytest.raises(CellFailure) as spent:
        one.check("c")
    assert spent.value.cause is Cause.RUN_BUDGET


def test_what_is_found_out_once_is_found_by_one_and_told_to_all() -> None:
    once, found = Once(), []
    inside, go_on = threading.Event(), threading.Event()

    def find() -> str:
        found.append(1)
        inside.set()
        assert go_on.wait(10)
        return "1.58.0"

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(once.get, "ref", find, Cancellation())
        assert inside.wait(10)
        others = [pool.submit(once.get, "ref", find, Cancellation()) for _ in range(2)]
        go_on.set()
        assert [one.result(10) for one in (first, *others)] == ["1.58.0"] * 3
    assert found == [1]


def test_what_could_not_be_found_is_looked_for_by_the_next() -> None:
    once = Once()

    def fail() -> str:
        raise CellFailure(Cause.ENGINE_LOST, "gone")

    with pytest.raises(CellFailure):
        once.get("ref", fail, Cancellation())
    assert once.get("ref", lambda: "1.58.0", Cancellation()) == "1.58.0"
