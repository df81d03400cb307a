"""Many bars in few shapes, and labels that do not collide."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from e2e_matrix.failures import Outcome
from e2e_matrix.report import html
from e2e_matrix.report.drawing import UNITS, edges, labels, outcomes, shapes
from e2e_matrix.report.timeline import Bar, Lane, Segment
from e2e_matrix.report.view import build
from support import report_samples as samples

STRETCH = re.compile(r"M(\d+) 0h(\d+)v1h-(\d+)z")


def bar(name: str, start: float, width: float, outcome: Outcome = Outcome.PASSED) -> Bar:
    parts = [Segment("pull", 0.0, 50.0, 1.0), Segment("boot", 50.0, 50.0, 1.0)]
    return Bar(name, f"cell-{name}", 1, 1, outcome, False, start, width, start, start + width, parts)


def stretches(path: str) -> list[tuple[int, int]]:
    found = STRETCH.findall(path)
    assert "".join(f"M{left} 0h{wide}v1h-{back}z" for left, wide, back in found) == path
    assert all(wide == back for _, wide, back in found)
    return [(int(left), int(wide)) for left, wide, _ in found]


def test_a_phase_of_all_bars_is_one_shape_in_its_place() -> None:
    lane = Lane(0, [bar("a", 10.0, 20.0), bar("b", 30.0, 40.0)], 60)
    drawn = {shape.name: stretches(shape.path) for shape in shapes(lane)}
    assert list(drawn) == ["rest", "pull", "boot"]
    assert drawn["rest"] == [(1000, 2000), (3000, 4000)]
    assert drawn["pull"] == [(1000, 1000), (3000, 2000)]
    assert drawn["boot"] == [(2000, 1000), (5000, 2000)]
    assert edges(lane) == "M3000 0v1"


def test_what_did_not_pass_has_a_stripe() -> None:
    lane = Lane(0, [bar("a", 0.0, 10.0), bar("b", 10.0, 5.0, Outcome.FAILED)], 15)
    assert [(shape.name, stretches(shape.path)) for shape in outcomes(lane)] == [("failed", [(1000, 500)])]


def test_the_shortest_stretch_is_still_seen() -> None:
    (rest, *_) = shapes(Lane(0, [bar("a", 99.999, 0.0)], 0))
    assert stretches(rest.path) == [(UNITS, 1)]


@pytest.mark.parametrize("count", [1, 2, 6, 40])
def test_labels_on_one_side_do_not_collide(count: int) -> None:
    lane = Lane(
        0, [bar(f"python-amd64-{index}", index * 100 / count, 100 / count) for index in range(count)], 100
    )
    for pixels in (900, 540):
        for below in (False, True):
            end = 0.0
            for label in labels(lane):
                if label.below is not below or (label.wide and pixels == 540):
                    continue
                width = len(label.text) * 6.7
                left = pixels - width if label.at_end else label.bar.start * pixels / 100
                assert left >= end
                end = left + width
                assert end <= pixels


def test_a_short_bar_at_the_end_has_its_name_at_the_end() -> None:
    lane = Lane(0, [bar("long", 0.0, 97.0), bar("short-one", 97.0, 3.0)], 100)
    assert [(label.text, label.at_end, label.below) for label in labels(lane)] == [
        ("long", False, False),
        ("short-one", True, True),
    ]


def test_a_name_that_is_too_long_is_cut() -> None:
    (label,) = labels(Lane(0, [bar("x" * 500, 0.0, 100.0)], 100))
    assert label.text == "x" * 39 + "…"


def test_the_timeline_says_what_the_run_waited_for() -> None:
    line = build(samples.six_passed()).timeline
    assert [lane.last for lane in line.lanes] == [False, True]
    assert line.words == (
        "The run ended with golang-arm64 on worker 2; worker 1 was idle for the last 41.1 s; "
        "the longest attempt was java-arm64: 51.6 s, 44% of the run"
    )


def test_a_run_in_which_nothing_ran_waited_for_nothing() -> None:
    assert build(samples.run([])).timeline.words is None


def test_workers_that_another_run_shared_are_not_called_idle() -> None:
    run = samples.six_passed()
    run = run.model_copy(update={"run": run.run.model_copy(update={"beside": "the-other", "workers": 3})})
    line = build(run).timeline
    assert line.words == (
        "The run ended with golang-arm64 on worker 2; its workers were shared with run the-other; "
        "the longest attempt was java-arm64: 51.6 s, 44% of the run"
    )
    assert "% busy" not in html.render(run, Path("nowhere"))
    assert "% busy" in html.render(samples.six_passed(), Path("nowhere"))
