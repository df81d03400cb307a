"""What a report says of a cell's earlier runs, and how it draws them."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix.failures import Outcome
from e2e_matrix.history.points import Point
from e2e_matrix.report import html, markdown
from e2e_matrix.report.past import Past
from e2e_matrix.results import Cell, Evidence
from e2e_matrix.trend import LOOK_BACK, Sample, Trend, keep_trend
from support import history_samples as history
from support import report_samples as samples
from support.hostile_results import HOSTILE_TEXT

CELL = samples.six_passed().cells[0]
SECONDS = 8.62
RUN = history.run_id


def passed(number: int, seconds: float = SECONDS, **changed: Any) -> Point:
    return history.point(number, "python", "amd64", duration_seconds=seconds, **changed)


def failed(number: int) -> Point:
    return history.failed(number, "python", "amd64")


def past(points: list[Point], **changed: object) -> Past:
    cell = CELL.model_copy(update=changed)
    return Past(cell, history.trend(samples.run([cell]), points).cells.get(cell.id, []))


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([], "first time in history"),
        ([passed(0, 6.5)], f"2.12 s slower than {RUN(0)}, the same image"),
        ([passed(0, 9.9, digest="sha256:0")], f"1.28 s faster than {RUN(0)}, another image"),
        ([passed(0, 8.7, digest=None)], f"as fast as {RUN(0)}"),
        ([passed(0, 6.5), passed(1, 1.0, emulated=True)], f"2.12 s slower than {RUN(0)}, the same image"),
        ([passed(0, emulated=True)], f"not comparable with {RUN(0)}: it was emulated there"),
        ([failed(0)], f"fixed: it failed in {RUN(0)}"),
        (
            [passed(0, 8.0), passed(1, 9.0), passed(2, 6.5)],
            f"2.12 s slower than {RUN(2)}, the same image; within the 6.50 s to 9.00 s of 3 passes before",
        ),
        (
            [passed(0, 8.0), passed(1, 6.0), failed(2), passed(3, 6.5)],
            f"2.12 s slower than {RUN(3)}, the same image; more than the 6.00 s to 8.00 s of 3 passes before",
        ),
    ],
)
def test_a_pass_is_put_beside_the_last_comparable_one(points: list[Point], says: str) -> None:
    assert past(points).change == says


def test_a_pass_of_another_run_has_fixed_nothing() -> None:
    evidence = Evidence(run=RUN(0), cell=CELL.id, finished_at=samples.START)
    told = past([passed(0), failed(1)], reused=True, reused_from=evidence, attempts=[], attempt=None)
    assert told.change == ""


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([passed(0), passed(1)], f"newly failing: it passed in {RUN(1)}"),
        ([passed(0), failed(1), failed(2)], f"fails since {RUN(1)}; it passed last in {RUN(0)}"),
        ([failed(3), failed(4)], f"fails since {RUN(3)}, at the latest"),
        # What has no verdict neither ends a row of failures nor begins one.
        (
            [passed(0), failed(1), passed(2, outcome=Outcome.CANCELLED)],
            f"fails since {RUN(1)}; it passed last in {RUN(0)}",
        ),
        ([passed(0, outcome=Outcome.ERROR)], "no verdict in the runs before"),
        # Nor does the verdict on another kind of engine, of another model, or one that was only reused.
        (
            [
                failed(0),
                passed(1, emulated=True),
                passed(2, model="another"),
                passed(3, scenario="boot"),
                passed(4, reused=True),
            ],
            f"fails since {RUN(0)}, at the latest",
        ),
        # A new version of the scenario may be what it fails for.
        ([passed(0, scenario_version="1")], f"newly failing: it passed in {RUN(0)}"),
    ],
)
def test_a_failure_is_dated(points: list[Point], says: str) -> None:
    assert past(points, outcome=Outcome.FAILED).change == says


def test_what_has_no_verdict_says_what_the_last_one_was() -> None:
    assert past([passed(0), failed(1)], outcome=Outcome.ERROR).change == f"failed in {RUN(1)}"


def test_the_line_has_words_for_who_does_not_see_it() -> None:
    points = [passed(0, 8.0), passed(1, 6.0, flaky=True), failed(2), passed(3, outcome=Outcome.NOT_RUN)]
    label = past(points).label
    assert label == "4 runs before: 2 passed, 1 failed, 1 not run, 1 of them flaky; 6.00 s to 8.00 s"


def vertices(path: str) -> list[tuple[int, int]]:
    """The absolute places that a path of one line goes through."""
    start, _, steps = path.removeprefix("M").partition("l")
    x, y = map(int, start.split())
    found = [(x, y)]
    numbers = list(map(int, steps.split()))
    for dx, dy in zip(numbers[::2], numbers[1::2], strict=True):
        x, y = x + dx, y + dy
        found.append((x, y))
    return found


def test_the_line_never_joins_what_cannot_be_compared() -> None:
    points = [
        passed(0, 8.0),
        passed(1, 80.0, emulated=True),
        passed(2, 9.0),
        failed(3),
        passed(4, 7.0, model="another"),
        passed(5, 7.5, reused=True),
    ]
    drawn = past(points)
    xs = {x for x, _ in vertices(drawn.line)}
    assert len(xs) == 3  # two that may be compared, and this one
    ticks = re.findall(r"M(\d+) ", "".join(mark.path for mark in drawn.ticks))
    assert len(ticks) == 3
    assert not xs & set(map(int, ticks))


def test_slower_is_higher_and_this_run_is_the_last_dot() -> None:
    drawn = past([passed(0, 5.0), passed(1, 6.0), passed(2, 7.0)])
    (_, first), (_, second), (_, third), (x, last) = vertices(drawn.line)
    assert first > second > third > last  # y counts downwards
    assert drawn.now is not None
    assert drawn.now.path.startswith(f"M{x} {last}")


def test_noise_does_not_fill_the_height_and_a_step_does() -> None:
    def spread(times: list[float]) -> int:
        heights = [y for _, y in vertices(past([passed(n, t) for n, t in enumerate(times)]).line)]
        return max(heights) - min(heights)

    assert spread([8.5, 8.7, 8.6]) <= 1
    assert spread([4.0, 8.7, 8.6]) >= 10


def test_a_failure_that_took_an_hour_leaves_the_passes_their_scale() -> None:
    slow = replace(failed(2), duration_seconds=3600.0)
    alone = [passed(0, 4.0), passed(1, 8.0)]
    assert [y for _, y in vertices(past([*alone, slow]).line)] == [y for _, y in vertices(past(alone).line)]
    (mark,) = past([*alone, slow]).marks
    assert mark.name == "failed"
    assert int(mark.path.split()[1].split("m")[0]) <= 3  # at the top edge


@given(
    st.lists(st.tuples(st.sampled_from(Outcome), st.booleans(), st.none() | st.floats(0, 1e9)), max_size=40),
    st.sampled_from(Outcome),
)
def test_every_dot_lies_within_the_drawing(
    rows: list[tuple[Outcome, bool, float | None]], now: Outcome
) -> None:
    trend = Trend(
        schema_version=1,
        cells={
            CELL.id: [
                Sample(
                    run=f"r{n}", outcome=outcome, flaky=flaky and outcome is Outcome.PASSED, seconds=seconds
                )
                for n, (outcome, flaky, seconds) in enumerate(rows)
            ]
        },
    )
    drawn = Past(CELL.model_copy(update={"outcome": now}), trend.cells[CELL.id][-LOOK_BACK:])
    assert isinstance(drawn.change, str)
    marks = [*drawn.marks, *drawn.ticks, *([drawn.now] if drawn.now else [])]
    places = [place for mark in marks for place in re.findall(r"M(\d+) (\d+)", mark.path)]
    places += [(str(x), str(y)) for x, y in (vertices(drawn.line) if drawn.line else [])]
    assert all(3 <= int(x) <= 125 and 3 <= int(y) <= 21 for x, y in places)


def page(folder: Path, cells: list[Cell], points: list[Point]) -> str:
    results = samples.run(cells)
    keep_trend(folder, history.trend(results, points))
    return html.render(results, folder)


def test_the_page_shows_it_beside_the_cell_and_says_the_change_inside(tmp_path: Path) -> None:
    text = page(tmp_path, [CELL], [passed(0, 6.5)])
    assert (
        text.count('<svg class="spark" role="img" aria-label="1 run before: 1 passed; 6.50 s to 6.50 s">')
        == 1
    )
    assert f"2.12 s slower than {RUN(0)}, the same image" in text
    assert "style=" not in text.split("</head>")[1]


def test_a_cell_that_is_new_says_so_and_has_no_line(tmp_path: Path) -> None:
    text = page(tmp_path, samples.six_passed().cells, [passed(0)])
    assert text.count('<svg class="spark"') == 1
    assert text.count("first time in history") == 5


def test_a_large_page_grows_by_less_than_fifteen_per_cent(tmp_path: Path) -> None:
    results = samples.large(300)
    without = len(html.render(results, tmp_path))
    noise = history.noise()
    points = [
        history.point(number, cell.axes["variant"], cell.axes["arch"], noise, cell=cell.id)
        for cell in results.cells
        for number in range(LOOK_BACK)
    ]
    keep_trend(tmp_path, history.trend(results, points))
    text = html.render(results, tmp_path)
    assert text.count('<svg class="spark"') == 300
    assert len(text) < 1.15 * without


def test_what_fails_is_dated_where_it_is_told_in_html_and_in_markdown(tmp_path: Path) -> None:
    results = samples.broken()
    points = [history.point(0, "java", "amd64"), history.failed(1, "java", "amd64")]
    keep_trend(tmp_path, history.trend(results, history.like(results, points)))
    said = f"Fails since {RUN(1)}; it passed last in {RUN(0)}."
    assert said in html.render(results, tmp_path)
    assert said in markdown.render(results, tmp_path).replace("\\-", "-").replace("&#8203;", "")


def test_cells_that_broke_alike_are_dated_only_where_they_are_so_since_the_same_run(tmp_path: Path) -> None:
    broken = samples.broken().cells[2]
    cells = [broken, broken.model_copy(update={"id": "java-amd64-again"})]
    results = samples.run(cells)

    def told(points: list[Point]) -> int:
        keep_trend(tmp_path, history.trend(results, points))
        return html.render(results, tmp_path).split('id="grid"')[0].count("Newly failing: it passed in")

    first, second = (replace(history.point(0, "java", "amd64"), cell=cell.id) for cell in cells)
    assert told([first, second]) == 1
    assert told([first, replace(second, run=RUN(1))]) == 0


@given(HOSTILE_TEXT)
@settings(max_examples=25, deadline=None)
def test_a_hostile_run_s_name_stays_text(name: str) -> None:
    cell = CELL.model_copy(update={"outcome": Outcome.FAILED})

    def tags(run: str) -> Counter[str]:
        known = {CELL.id: [Sample(run=run, outcome=Outcome.PASSED, seconds=1.0, same_image=True)]}
        with tempfile.TemporaryDirectory() as folder:
            keep_trend(Path(folder), Trend(schema_version=1, cells=known))
            text = html.render(samples.run([cell]), Path(folder))
        assert not set(text) & {"\x1b", "\u202e"}
        return Counter(re.findall(r"<(\w+)", text))

    # The name goes through JSON on its way, which knows no half of a surrogate pair.
    assert tags(f"r{name}".encode("utf-8", "replace").decode()) == tags("r")
