"""The history's page, as far as it can be judged without a browser."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from e2e_matrix.cli import program
from e2e_matrix.errors import BadInput
from e2e_matrix.failures import Outcome
from e2e_matrix.history.database import History
from e2e_matrix.history.points import Point
from e2e_matrix.report import history_page
from e2e_matrix.report.history_view import MOST_CELLS, HistoryView
from e2e_matrix.report.trends import MOST_BUCKETS, Chart, Panel
from support import history_samples as history
from support import report_samples as samples
from support.hostile_results import HOSTILE_TEXT

FOLDER = Path("unused")
RUN = history.run_id


def in_run(number: int, points: Sequence[Point], **changed: Any) -> list[Point]:
    """The points, with ``changed`` in those of one run."""
    return [replace(point, **changed) if point.run == RUN(number) else point for point in points]


def view(points: Sequence[Point]) -> HistoryView:
    return HistoryView(history.lines(points), points)


def render(points: Sequence[Point], folder: Path = FOLDER) -> str:
    return history_page.render(history.lines(points), points, folder)


def text_of(page: str) -> str:
    body = page.split("</head>")[1]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def with_failures(runs: int, *numbers: int) -> list[Point]:
    """Nightly runs in which java-arm64 failed so many times, on an image of its own."""
    broken: dict[str, Any] = {"digest": samples.digest("broken"), "server_version": "1.59.0"}
    return [
        replace(history.failed(number, "java", "arm64"), **broken)
        if (variant, arch) == ("java", "arm64") and number in numbers
        else history.point(number, variant, arch)
        for number in range(runs)
        for variant, arch in history.CELLS
    ]


def test_a_cell_that_fails_is_said_first_with_since_when_and_what_changed() -> None:
    page = render(with_failures(30, 27, 28, 29))
    text = text_of(page)
    assert '<header class="verdict is-failed">' in page
    assert "1 of 6 cells fails" in text
    assert f"{RUN(27)} 3 failures in a row" in text
    good, bad = (digest.removeprefix("sha256:")[:12] for digest in
                 (samples.image("java", "arm64").digest or "", samples.digest("broken")))  # fmt: skip
    assert f"image {good} → {bad} server 1.58.2 → 1.59.0" in text


def test_the_message_now_is_that_of_the_last_failure_whatever_came_after_it() -> None:
    points = with_failures(30, 27, 28)
    points = in_run(28, points, message="it fails otherwise by now")
    points = in_run(29, points, outcome=Outcome.ERROR, message="no answer from the registry")
    text = text_of(render(points))
    assert "it fails otherwise by now" in text
    assert "no answer from the registry" not in text


def test_what_passes_by_now_is_green_and_what_was_fixed_is_dated() -> None:
    found = view(with_failures(30, 10, 11))
    assert (found.state, found.headline) == (Outcome.PASSED, "All 6 cells pass")
    fixed, failing = found.news
    assert (failing.failing, failing.point.run, failing.before.run) == (True, RUN(10), RUN(9))
    assert (fixed.failing, fixed.point.run, fixed.before.run) == (False, RUN(12), RUN(11))
    page = text_of(render(with_failures(30, 10, 11)))
    assert "newly failing: java-arm64" in page
    assert "fixed: java-arm64" in page


def test_what_did_not_run_and_what_is_reused_is_no_news() -> None:
    assert len(view(with_failures(10, 4)).news) == 2
    assert view(in_run(4, with_failures(10, 4), reused=True)).news == []
    assert view(in_run(4, with_failures(10, 4), outcome=Outcome.CANCELLED)).news == []


def test_a_failure_on_another_engine_is_not_news_of_this_one() -> None:
    assert view(in_run(4, with_failures(10, 4), emulated=False)).news == []


def test_a_cell_that_no_recent_run_had_is_not_told_to_fail() -> None:
    gone = replace(history.failed(0, "java", "arm64"), cell="gone")
    assert "gone" not in view([gone, *history.nightly(60)]).cells
    assert "gone" in view([gone, *history.nightly(20)]).cells


def test_the_strip_shows_every_outcome_where_its_run_is() -> None:
    outcomes = [Outcome.PASSED, None, Outcome.FAILED, Outcome.CANCELLED]
    paths = history_page.strip(outcomes, {2: True, 3: False})
    assert {name: path.split("v")[0].split("h")[0] for name, path in paths.items()} == {
        "is-passed": "M1 16", "is-failed": "M25 16", "is-cancelled": "M37 16",
        "began": "M30 18l5 8", "ended": "M42 19a3.5 3.5 0 1 1-.01 0z",
    }  # fmt: skip
    heights = [int(re.findall(r"v-(\d+)", paths[f"is-{outcome}"])[0]) for outcome in outcomes if outcome]
    assert heights[1] > heights[0] > heights[2]


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("ghcr.io/x/server:1.29.2-{variant}", "ghcr.io/x/server"),
        ("127.0.0.1:5055/x/server", "127.0.0.1:5055/x/server"),
        ("server", "server"),
    ],
)
def test_the_history_is_called_by_the_image_and_not_by_one_run_s_tag(subject: str, name: str) -> None:
    points = [replace(one, subject=subject) for one in history.nightly(2)]
    assert view(points).subject == name


def test_runs_link_to_their_reports_where_those_are_beside(tmp_path: Path) -> None:
    points = history.nightly(3)
    (tmp_path / RUN(1)).mkdir()
    (tmp_path / RUN(1) / "report.html").write_text("there")
    links = re.findall(r'href="([^"#][^"]*report[^"]*)"', render(points, tmp_path))
    assert set(links) == {f"{RUN(1)}/report.html"}


@pytest.mark.parametrize("name", ["..", "../outside", "/etc", "a/../../outside", "javascript:alert(1)"])
def test_a_run_s_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "report.html").write_text("outside")
    (tmp_path / "report.html").write_text("outside")
    page = render([replace(point, run=name) for point in history.nightly(1)], folder)
    hrefs = re.findall(r'href="([^"]*)"', page.split("</head>")[1])
    assert all(href.startswith("#") for href in hrefs)


def panels(points: Sequence[Point]) -> list[Panel]:
    return view(points).panels


def test_native_and_emulated_and_models_and_scenarios_have_panels_of_their_own() -> None:
    points = [
        *history.nightly(2),
        *(replace(one, model="other (provider)") for one in history.nightly(2)),
        *(replace(one, scenario="boot") for one in history.nightly(2)),
    ]
    found = panels(points)
    assert Counter((panel.emulated, panel.model, panel.scenario) for panel in found) == {
        (emulated, model, scenario): 1
        for emulated in (False, True)
        for model, scenario in (
            ("openai/gpt-4o (stand-in)", "deferred-init"),
            ("other (provider)", "deferred-init"),
            ("openai/gpt-4o (stand-in)", "boot"),
        )
    }
    assert [panel.emulated for panel in found] == [False] * 3 + [True] * 3
    assert {row.platform for panel in found if panel.emulated for row in panel.rows} == {"linux/arm64"}


def test_of_very_many_models_the_newest_are_drawn_and_the_others_counted() -> None:
    points = [history.point(number, "python", "amd64", model=f"model-{number}") for number in range(11)]
    assert {panel.model for panel in panels(points)} == {f"model-{number}" for number in range(3, 11)}
    assert "3 more kinds of runs" in text_of(render(points))


def chart(points: Sequence[Point], phase: str = "boot") -> Chart:
    (panel,) = panels([point for point in points if point.cell == "python-amd64"])
    (row,) = panel.rows
    return row.charts[phase]


def test_a_bucket_has_the_median_and_the_extremes_of_its_runs() -> None:
    def factor(number: int, cell: str, phase: str) -> float:
        return 1.0 + number % 3

    drawn = chart(history.nightly(450, factor))
    boot = history.NATIVE["boot"]
    assert len(drawn.buckets) == MOST_BUCKETS
    assert {(one.low, one.median, one.high) for one in drawn.buckets} == {(boot, 2 * boot, 3 * boot)}


@pytest.mark.parametrize("runs", [1, 2, 149, 150, 151, 299, 301, 2000])
def test_there_are_never_more_buckets_than_can_be_seen_and_no_run_is_lost(runs: int) -> None:
    (panel,) = panels([point for point in history.nightly(runs) if point.cell == "python-amd64"])
    drawn = panel.rows[0].charts["boot"]
    assert len(drawn.buckets) == drawn.places <= MOST_BUCKETS
    assert (drawn.places - 1) * panel.size < runs <= drawn.places * panel.size
    assert panel.size % 2 == 1  # the median is a time that was measured
    assert drawn.x(0) >= 0
    assert drawn.x(drawn.places - 1) <= 300


def test_a_line_is_broken_where_the_scenario_became_another_version() -> None:
    points = history.nightly(10)
    versions = [replace(point, scenario_version="2") if point.run >= RUN(6) else point for point in points]
    assert chart(points).line.count("M") == 1
    assert chart(versions).line.count("M") == 2
    assert chart(versions).band.count("z") == 2


def test_failures_and_reused_passes_are_not_in_the_times() -> None:
    slow = replace(history.failed(1, "python", "amd64"), duration_seconds=900.0)
    reused = history.point(2, "python", "amd64", reused=True, duration_seconds=0.0)
    drawn = chart([history.point(0, "python", "amd64"), slow, reused], "in all")
    assert drawn.low == drawn.high < 10


def test_one_hour_does_not_press_the_others_to_the_ground() -> None:
    points = [history.point(number, "python", "amd64") for number in range(20)]
    points[7] = replace(points[7], duration_seconds=3600.0)
    drawn = chart([*points], "in all")
    usual = drawn.buckets[0].median
    assert drawn.scale == 3600.0  # of a single run to a bucket it is the median
    many = [history.point(number, "python", "amd64") for number in range(450)]
    many[7] = replace(many[7], duration_seconds=3600.0)
    drawn = chart(many, "in all")
    assert drawn.scale == pytest.approx(1.6 * usual)
    assert drawn.high == 3600.0
    assert all(0 <= drawn.y(one.high) <= 60 for one in drawn.buckets)


def test_a_slower_boot_is_marked_with_its_run_in_the_cells_that_have_it() -> None:
    noise = history.noise(0.04)
    points = history.nightly(80, history.stepped(50, 1.3, noise, "boot", "java"))
    found = view(points).shifts
    assert {(one.point.cell, one.slower) for one in found} == {("java-amd64", True), ("java-arm64", True)}
    assert all("boot" in one.phases for one in found)
    for one in found:
        assert one.phases["boot"].share == pytest.approx(0.3, abs=0.08)
        assert abs((one.point.started_at - points[0].started_at).days - 50) <= 2
    page = render(points)
    marks = re.findall(r'<b class="turned is-failed">▲ \+(\d+)% ', page)
    assert len(marks) == sum(len(one.phases) for one in found)
    assert all(15 <= int(mark) <= 40 for mark in marks)


def test_runs_of_nothing_but_noise_mark_nothing() -> None:
    for seed in range(5):
        page = render(history.nightly(120, history.noise(0.08, seed)))
        assert 'class="turned' not in page
        assert 'id="shifts"' not in page


def test_flaky_cells_have_their_rate() -> None:
    points = [
        replace(point, flaky=True)
        if point.cell == "python-arm64" and point.run in {RUN(3), RUN(9)}
        else point
        for point in history.nightly(40)
    ]
    text = text_of(render(points))
    assert "python-arm64 emulated 5.0% 1.4% to 16.5% 2 of 40 2 passed when it was tried again" in text


def test_a_history_without_runs_says_how_to_fill_it() -> None:
    text = text_of(render([]))
    assert "No verdict yet" in text
    assert "e2e-matrix history import" in text


def test_a_run_in_which_nothing_was_planned_is_a_page_too() -> None:
    lines = history.lines(history.nightly(1))
    text = text_of(history_page.render(lines, [], FOLDER))
    assert "Nothing has passed yet." in text


def test_the_page_allows_its_own_style_and_nothing_else() -> None:
    page = render(history.nightly(5))
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[0]
    assert policy.startswith("default-src &#39;none&#39;; style-src &#39;sha256-")
    assert "script-src" not in policy
    assert "<script" not in page
    assert " style=" not in page


def test_many_cells_and_many_runs_stay_a_small_page() -> None:
    def many(runs: int, cells: int) -> str:
        noise = history.noise()
        return render(
            [
                history.point(
                    number, "python", "amd64", noise, cell=f"cell-{cell}", axes={"variant": f"variant-{cell}"}
                )
                for number in range(runs)
                for cell in range(cells)
            ]
        )

    assert len(many(300, 3)) < 200_000
    wide = many(40, 200)
    assert len(wide) < 1_000_000
    assert f"{200 - MOST_CELLS} more cells" in text_of(wide)


def test_the_same_points_give_the_same_page() -> None:
    points = with_failures(40, 8, 9, 39)
    assert render(points) == render(points)


TEXTS = [field.name for field in fields(Point) if field.type in ("str", "str | None")]


@given(st.lists(HOSTILE_TEXT, min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_whatever_stands_in_any_string_the_page_has_the_same_parts(texts: list[str]) -> None:
    points = with_failures(12, 3, 10, 11)
    points = [replace(one, flaky=True) if one.run == RUN(5) else one for one in points]

    def parts(given: Sequence[str]) -> Counter[str]:
        known: dict[str, str] = {}

        def other(text: str) -> str:
            return known.setdefault(text, f"{given[len(known) % len(given)]}~{len(known)}")

        def hostile(point: Point) -> Point:
            changed: dict[str, Any] = {name: getattr(point, name) for name in TEXTS}
            changed = {name: text if text is None else other(text) for name, text in changed.items()}
            axes = {other(name): other(value) for name, value in point.axes.items()}
            return replace(point, axes=axes, **changed)

        page = render([hostile(point) for point in points])
        assert not set(page) & {"\x00", "\x1b", "\u202e"}
        return Counter(tag for tag in re.findall(r"<(\w+)", page) if tag != "wbr")

    assert "message" in TEXTS
    assert parts(texts) == parts(["plain"])


def keep(folder: Path, number: int) -> None:
    """A run's folder, as a run leaves it behind."""
    results = samples.six_passed()
    started = samples.START + timedelta(days=number)
    run = results.run.model_copy(
        update={"id": f"run-{number}", "started_at": started, "finished_at": started + timedelta(minutes=2)}
    )
    place = folder / f"run-{number}"
    place.mkdir()
    text = results.model_copy(update={"run": run}).model_dump_json()
    (place / "results.json").write_text(text, encoding="utf-8")
    with History.open(folder / "history.sqlite", reports=folder) as known:
        known.add(place)


def page_of(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(program, ["history", "page", *arguments])
    return done.exit_code, done.output


def test_the_command_writes_it_beside_the_runs(tmp_path: Path) -> None:
    for number in range(3):
        keep(tmp_path, number)
    assert page_of("--reports", str(tmp_path)) == (0, f"{tmp_path / 'history.html'}\n")
    page = (tmp_path / "history.html").read_text(encoding="utf-8")
    assert "3 runs from 2025-11-22 to 2025-11-24" in page


def test_the_command_takes_a_file_and_an_age(tmp_path: Path) -> None:
    keep(tmp_path, 0)
    out = tmp_path / "elsewhere" / "page.html"
    assert page_of("--reports", str(tmp_path), "--since", "1d", "--out", str(out))[0] == 0
    assert "The history holds no run" in out.read_text(encoding="utf-8")


def test_the_command_refuses_a_folder_and_a_history_that_is_not_there(tmp_path: Path) -> None:
    keep(tmp_path, 0)
    done = CliRunner().invoke(
        program, ["history", "page", "--reports", str(tmp_path), "--out", str(tmp_path)]
    )
    assert isinstance(done.exception, BadInput)
    assert f"--out: {tmp_path} is a folder" in str(done.exception)
    done = CliRunner().invoke(program, ["history", "page", "--reports", str(tmp_path / "none")])
    assert isinstance(done.exception, BadInput)
    assert "there is no history yet" in str(done.exception)
