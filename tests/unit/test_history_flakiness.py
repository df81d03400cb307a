"""How often a cell is flaky, since when it fails, and what it takes as a rule."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e_matrix.failures import Outcome
from e2e_matrix.history.database import History
from e2e_matrix.history.flakiness import Flakiness, flakiness, wilson
from e2e_matrix.history.medians import medians
from e2e_matrix.history.points import Point
from e2e_matrix.history.rows import points_of
from e2e_matrix.history.since import Since, since_when
from e2e_matrix.results import Phases, Repeat
from support.history_runs import START, cell, put


def _points(told: str, **changed: Any) -> list[Point]:
    """A run a day: ``p1`` passed on image 1, ``f`` failed, ``r`` passed when tried again, ``m`` passed in
    some repetitions, ``e`` met an error, ``u`` was reused from another run."""
    outcomes = {"f": Outcome.FAILED, "m": Outcome.FAILED, "e": Outcome.ERROR}
    return [
        Point(
            **{
                "run": f"run{number}",
                "started_at": START + timedelta(days=number),
                "subject": "x",
                "cell": "python-amd64",
                "outcome": outcomes.get(one[0], Outcome.PASSED),
                "flaky": one[0] == "r",
                "reused": one[0] == "u",
                "emulated": False,
                "platform": "linux/amd64",
                "scenario": "deferred-init",
                "scenario_version": "1",
                "model": "m (stand-in)",
                "axes": {},
                "digest": f"sha256:{one[1:]}" if one[1:] else None,
                "server_version": one[1:] or None,
                "message": None,
                "cost_usd": None,
                "tokens": None,
                "duration_seconds": 1.0,
                "phases": Phases(),
                "memory_bytes": None,
                "size_bytes": None,
                "mixed": one[0] == "m",
                **changed,
            }
        )
        for number, one in enumerate(told.split())
    ]


@pytest.mark.parametrize(
    ("told", "flaky"),
    [
        ("p1 p1 p1", 0),
        ("r1 p1 p1", 1),
        ("m1 p1", 1),
        ("p1 f1 p1", 1),  # it failed, and passed on the same image
        ("f1 p1", 1),
        ("p1 f1 f1 p1 f1 r1", 4),
        ("p1 f1 f1 f1", 0),  # since then it fails: what changed may be outside the image
        ("p1 f2 p3", 0),  # the image was at fault, and was mended
        ("f p f p", 0),  # on what nobody knows
        ("f1 p2 f1 p2", 0),
    ],
)
def test_flaky_is_what_passes_without_another_image(told: str, flaky: int) -> None:
    found = flakiness(_points(told))
    assert found is not None
    assert (found.samples, found.flaky, found.rate) == (len(told.split()), flaky, flaky / len(told.split()))


@pytest.mark.parametrize(
    ("failed", "passed", "contradicted"),
    [
        ({"key": "a"}, {"key": "a"}, 1),
        ({"key": "a"}, {"key": "b"}, 0),  # a setting was at fault, and was mended
        ({"key": "a"}, {"key": None}, 0),
        ({"key": "a", "digest": "one"}, {"key": "a", "digest": "two"}, 1),
        ({}, {"scenario_version": "2"}, 0),
        ({}, {"model": "another"}, 0),
    ],
)
def test_a_failure_is_contradicted_by_what_has_all_in_common_with_it(
    failed: dict[str, Any], passed: dict[str, Any], contradicted: int
) -> None:
    found = flakiness([*_points("f1", **failed), *_points("p1", **passed)])
    assert found is not None
    assert found.contradicted == contradicted


def test_of_nothing_there_is_no_rate() -> None:
    assert flakiness([]) is None


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [  # to three digits
        (0, 10, 0.0, 0.278),
        (1, 10, 0.018, 0.404),
        (5, 10, 0.237, 0.763),
        (10, 10, 0.722, 1.0),
        (15, 50, 0.191, 0.438),
    ],
)
def test_the_interval_is_wilsons(hits: int, of: int, low: float, high: float) -> None:
    assert list(wilson(hits, of)) == pytest.approx([low, high], abs=6e-4)


@given(st.integers(1, 10_000).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))))
def test_the_interval_holds_the_rate_and_stays_a_rate(counted: tuple[int, int]) -> None:
    hits, of = counted
    low, high = wilson(hits, of)
    assert 0 <= low <= hits / of <= high <= 1
    # What it is made to solve: both ends are as far from the rate as a normal error allows.
    for end in {low, high} - {0.0, 1.0}:
        assert math.isclose(abs(end - hits / of), 1.959964 * math.sqrt(end * (1 - end) / of), rel_tol=1e-4)


@pytest.mark.parametrize(
    ("told", "failures", "first_bad", "last_good", "same_image"),
    [
        ("p1 f2", 1, 1, 0, False),
        ("p1 f1 e1 f1 u1", 2, 1, 0, True),
        ("f1 f1", 2, 0, None, None),
        ("f1 p1 f f2", 2, 2, 1, None),
        ("p1 r1 f2", 1, 2, 1, False),
    ],
)
def test_since_when_a_cell_fails(
    told: str, failures: int, first_bad: int, last_good: int | None, same_image: bool | None
) -> None:
    points = _points(told)
    since = since_when(points)
    last = max(number for number, one in enumerate(told.split()) if one[0] == "f")
    before = None if last_good is None else points[last_good]
    assert since == Since(points[first_bad], before, failures, points[last])
    assert since is not None
    assert since.same_image is same_image


@pytest.mark.parametrize("told", ["", "p1", "f1 p1", "f1 r1", "e1", "f1 p1 e1 u1"])
def test_what_does_not_fail_has_no_beginning(told: str) -> None:
    assert since_when(_points(told)) is None


def test_emulated_and_native_runs_do_not_answer_for_one_another() -> None:
    emulated = _points("p1 p1", emulated=True)
    native = _points("f1 f1")
    since = since_when([*native[:1], *emulated, *native[1:]])
    assert since is not None
    assert (since.failures, since.last_good) == (2, None)


def test_what_changed_is_told_in_words() -> None:
    since = since_when([*_points("p1.0", scenario_version="1"), *_points("f2.0", scenario_version="2")])
    assert since is not None
    assert since.changed == ["image 1.0 → 2.0", "server 1.0 → 2.0", "scenario version 1 → 2"]
    assert since_when(_points("p1 f1")).changed == ["the same image, 1"]  # type: ignore[union-attr]
    [unknown, *_] = since_when(_points("p f1")).changed  # type: ignore[union-attr]
    assert unknown == "it is not known whether the image was the same"


def _flaky(history: History, name: str = "python-amd64", last: int = 50) -> Flakiness | None:
    return flakiness(history.samples(name, last))


def test_the_file_answers_the_same(tmp_path: Path) -> None:
    outcomes = ["passed", "failed", "passed", "error", "flaky", "failed", "failed"]
    images = ["one", "one", "one", "one", "one", "one", "two"]
    with History.open(tmp_path / "history.sqlite") as history:
        for number, (outcome, image) in enumerate(zip(outcomes, images, strict=True)):
            history.add(put(tmp_path, number, cell(outcome, image=image), cell(name="java-arm64")))
        found = _flaky(history)
        assert found is not None
        assert (found.samples, found.retried, found.mixed, found.contradicted) == (6, 1, 0, 1)
        assert _flaky(history, last=2).flaky == 0  # type: ignore[union-attr]
        assert history.failing_since("python-amd64") == since_when(history.points("python-amd64"))
        since = history.failing_since("python-amd64")
        assert since is not None
        assert (since.failures, since.same_image) == (2, True)
        assert history.failing_since("java-arm64") is None
        assert history.failing_since("rust-amd64") is None
        assert _flaky(history, "rust-amd64") is None


def test_samples_compare_with_the_newest(tmp_path: Path) -> None:
    with History.open(tmp_path / "history.sqlite") as history:
        for number, told in enumerate(
            [
                cell(scenario_version="1"),
                cell(scenario_version="2", emulated=True),
                cell(scenario_version="2"),
                cell("error", scenario_version="2"),
                cell(scenario_version="2", reused=True, attempts=[]),
                cell("failed", scenario_version="2"),
            ]
        ):
            history.add(put(tmp_path, number, told))
        assert [point.started_at.day for point in history.samples("python-amd64", 9)] == [3, 6]
        assert [point.started_at.day for point in history.samples("python-amd64", 1)] == [6]


def test_repetitions_that_differ_are_flaky(tmp_path: Path) -> None:
    mixed = cell("failed", repeat=Repeat(planned=3, runs=3, passed=2))
    none = cell("failed", "java-amd64", repeat=Repeat(planned=3, runs=3, passed=0))
    with History.open(tmp_path / "history.sqlite") as history:
        history.add(put(tmp_path, 0, mixed, none))
        assert [(point.cell, point.mixed) for point in history.points()] == [
            ("python-amd64", True),
            ("java-amd64", False),
        ]


def test_medians_mix_nothing_that_does_not_compare() -> None:
    native = _points("p1 p1 p1 f1 u1")
    times = [10.0, 30.0, 20.0, 1000.0, 0.0]
    points = [
        Point(**{**vars(point), "duration_seconds": time, "phases": Phases(boot=time / 10)})
        for point, time in zip(native, times, strict=True)
    ]
    points += _points("p1 p1", emulated=True, duration_seconds=500.0)
    points += _points("p1", model="another")
    found = medians(points)
    assert [(one.newest.emulated, one.newest.model, one.passes, one.total, one.boot) for one in found] == [
        (False, "m (stand-in)", 3, 20.0, 2.0),
        (True, "m (stand-in)", 2, 500.0, None),
        (False, "another", 1, 1.0, None),
    ]


def test_of_a_streak_only_its_ends_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with History.open(tmp_path / "history.sqlite") as history:
        history.add(put(tmp_path, 0))
        for number in range(1, 9):
            history.add(put(tmp_path, number, cell("error" if number == 4 else "failed")))
        expected = since_when(history.points())
        read: list[Any] = []

        def counted(rows: list[Any]) -> list[Point]:
            read.extend(rows)
            return points_of(rows)

        monkeypatch.setattr("e2e_matrix.history.database.points_of", counted)
        assert history.failing_since("python-amd64") == expected
    assert expected is not None
    assert expected.failures == 7
    assert len(read) == 3


def test_a_setting_that_is_mended_leaves_nothing_flaky(tmp_path: Path) -> None:
    with History.open(tmp_path / "history.sqlite") as history:
        for number, (outcome, key) in enumerate((("failed", "a"), ("passed", "b"))):
            history.add(put(tmp_path, number, cell(outcome, key=key)))
        assert [point.key for point in history.points()] == ["a", "b"]
        assert _flaky(history).flaky == 0  # type: ignore[union-attr]
