"""A run looks back on those before it, and nothing that goes wrong with that changes what it came to."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e_matrix.failures import Outcome
from e2e_matrix.results import Results
from e2e_matrix.trend import load_trend, seconds_of
from support.runner_bench import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def folder_of(bench: Bench, results: Results) -> Path:
    return bench.tmp_path / "reports" / results.run.id


def test_the_first_run_is_the_first_and_the_second_is_put_beside_it(bench: Bench) -> None:
    first, second = bench.run(), bench.run()
    known = load_trend(folder_of(bench, first))
    assert known is not None
    assert set(known.cells) == {cell.id for cell in first.cells}
    assert not any(known.cells.values())
    page = (folder_of(bench, first) / "report.html").read_text(encoding="utf-8")
    assert page.count("first time in history") == len(first.cells)
    known = load_trend(folder_of(bench, second))
    assert known is not None
    for cell in first.cells:
        (sample,) = known.cells[cell.id]
        assert (sample.run, sample.outcome) == (first.run.id, Outcome.PASSED)
        assert sample.seconds == seconds_of(cell)
        assert sample.same_image
    page = (folder_of(bench, second) / "report.html").read_text(encoding="utf-8")
    assert page.count('<svg class="spark"') == len(second.cells)


def test_a_run_looks_back_on_none_that_is_newer(bench: Bench) -> None:
    first, second = bench.run(), bench.run()
    resumed = bench.run(resume=folder_of(bench, first))
    known = load_trend(folder_of(bench, first))
    assert resumed.run.id == first.run.id != second.run.id
    assert known is not None
    assert not any(known.cells.values())


def test_without_a_history_the_run_comes_to_the_same(bench: Bench) -> None:
    (bench.tmp_path / "reports" / "history.sqlite").mkdir(parents=True)
    results = bench.run()
    assert results.run.verdict is Outcome.PASSED
    folder = folder_of(bench, results)
    assert load_trend(folder) is None
    assert 'class="spark"' not in (folder / "report.html").read_text(encoding="utf-8")
