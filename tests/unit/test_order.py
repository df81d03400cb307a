"""In which order cells start: the longest first, from what is known of earlier runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from e2e_matrix.engine.base import PlatformProbe, Support
from e2e_matrix.order import longest_first
from e2e_matrix.plan import PlannedCell
from e2e_matrix.record import Prepared
from support.runner_bench import Bench


def a_cell(name: str, scenario: str = "deferred-init") -> Prepared:
    """Emulated where its name ends in arm64."""
    support = Support.EMULATED if name.endswith("arm64") else Support.NATIVE
    planned = PlannedCell(name, {}, "image", None, "linux/any", scenario, {})
    return Prepared(planned, None, PlatformProbe("linux/any", support, ""), None)


def ordered(names: Sequence[str], **seconds: float) -> list[str]:
    known = {name.replace("_", "-"): value for name, value in seconds.items()}
    return [cell.planned.id for cell in longest_first([a_cell(name) for name in names], known)]


def test_the_longest_comes_first_and_what_takes_the_same_keeps_its_order() -> None:
    assert ordered("abcde", a=1, b=3, c=2, d=3, e=2) == ["b", "d", "c", "e", "a"]


def test_without_a_history_the_order_stays() -> None:
    assert ordered("cab") == ["c", "a", "b"]
    assert ordered("cab", z=9) == ["c", "a", "b"]  # nothing of what is known is here
    assert ordered([], a=9) == []


def test_an_unknown_cell_is_taken_to_be_as_long_as_those_like_it() -> None:
    names = ["a-amd64", "b-amd64", "c-amd64", "a-arm64", "b-arm64"]
    assert ordered(names, a_amd64=10, c_amd64=12, a_arm64=60) == [
        *("a-arm64", "b-arm64"),
        *("c-amd64", "b-amd64", "a-amd64"),  # b: 11, between the two
    ]


def test_a_cell_that_nothing_known_is_like_comes_first() -> None:
    assert ordered(["a-amd64", "b-amd64", "a-arm64"], a_amd64=10) == ["a-arm64", "a-amd64", "b-amd64"]
    cells = [a_cell("a"), a_cell("b", scenario="tools")]
    assert [cell.planned.id for cell in longest_first(cells, {"a": 10})] == ["b", "a"]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_run_starts_what_took_longest_before_and_repeats_it_in_a_row(bench: Bench) -> None:
    bench.seconds = {"golang-arm64": 9.0, "java-amd64": 5.0}
    first = bench.run("max-parallel: 1\n")
    assert [task.cell for task in bench.tasks] == [cell.id for cell in first.cells]
    bench.tasks.clear()
    second = bench.run("max-parallel: 1\nrepeat: 2\n")
    started = [(task.cell, task.repetition) for task in bench.tasks]
    assert started[:4] == [("golang-arm64", 1), ("golang-arm64", 2), ("java-amd64", 1), ("java-amd64", 2)]
    assert [cell for cell, number in started[4:] if number == 1] == [
        *("python-amd64", "python-arm64", "java-arm64", "golang-amd64"),
    ]
    assert [cell.id for cell in second.cells] == [cell.id for cell in first.cells]  # the report's order
