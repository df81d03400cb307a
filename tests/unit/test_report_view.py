"""What the reports say, before any format writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.report import html, markdown
from e2e_matrix.report.cell_view import command_for
from e2e_matrix.report.phases import PHASES
from e2e_matrix.report.timeline import segments
from e2e_matrix.report.view import build
from e2e_matrix.results import Phases, SettingValue, Totals
from support import report_samples as samples


def test_the_verdict_says_whether_to_ship() -> None:
    view = build(samples.six_passed())
    assert (view.verdict.headline, view.verdict.reason) == ("Good to ship", "All 6 cells passed.")
    assert view.broken == []
    assert view.not_tested == []
    assert [(kind.emulated, kind.passed, kind.cells) for kind in view.kinds] == [(False, 3, 3), (True, 3, 3)]


@pytest.mark.parametrize(
    ("outcome", "passed", "headline"),
    [
        (Outcome.PASSED, 5, "Good as far as it was tested"),
        (Outcome.FAILED, 5, "Not good to ship"),
        (Outcome.ERROR, 5, "No verdict: the infrastructure failed"),
        (Outcome.CANCELLED, 5, "No verdict: the run was stopped"),
        (Outcome.NOT_RUN, 5, "No verdict: the run has not finished"),
    ],
)
def test_a_verdict_never_claims_more_than_was_tested(outcome: Outcome, passed: int, headline: str) -> None:
    results = samples.run(
        samples.six_passed().cells, verdict=outcome, totals=Totals(cells=6, passed=passed, error=6 - passed)
    )
    assert build(results).verdict.headline == headline


def test_a_limit_of_the_run_is_not_blamed_on_the_infrastructure() -> None:
    totals = Totals(cells=6, passed=5, not_run=1)
    results = samples.run(samples.six_passed().cells, verdict=Outcome.ERROR, totals=totals)
    assert build(results).verdict.headline == "No verdict: not everything was run"


def test_what_to_do_names_the_command_that_finishes_this_very_run() -> None:
    stopped = samples.cell("java", "amd64", [], outcome=Outcome.CANCELLED, cause=Cause.INTERRUPTED)
    command = [".venv/bin/e2e-matrix", "demo", "--only", "java-*"]
    [group] = build(samples.run([stopped], id="20261122T1Z-a", command=command)).not_tested
    assert group.do == "Finish the run with `.venv/bin/e2e-matrix demo --resume 20261122T1Z-a`."


def test_what_broke_comes_with_its_step_its_cause_and_what_to_do() -> None:
    view = build(samples.broken())
    assert [item.view.cell.id for item in view.broken] == ["java-amd64", "java-arm64", "golang-amd64"]
    first = view.broken[0]
    assert first.step is not None
    assert first.step.name == "terminal"
    assert first.message.startswith("the conversation ended in error")
    assert (first.expected, first.got) == ("execution_status finished", "execution_status error")
    assert first.do == "The step carries the server's own error text; check the model and its key first."
    assert first.log == samples.LOG
    assert [step.name for step in view.broken[1].also] == ["refusals"]
    assert first.view.again == "e2e-matrix run --ref 1.58.2 --only java-amd64"


def test_a_product_failure_comes_before_an_infrastructure_error_wherever_it_ran() -> None:
    cells = list(reversed(samples.broken().cells))
    outcomes = [item.view.cell.outcome for item in build(samples.run(cells)).broken]
    assert outcomes == [Outcome.FAILED, Outcome.FAILED, Outcome.ERROR]


def test_a_cell_that_never_started_is_explained_from_its_own_message() -> None:
    missing = samples.cell(
        "java", "arm64", [], outcome=Outcome.FAILED, cause=Cause.PLATFORM_MISSING, message="no linux/arm64"
    )
    item = build(samples.run([missing])).broken[0]
    assert (item.step, item.message, item.log) == (None, "no linux/arm64", None)
    assert item.do is not None
    assert "publish it" in item.do


def test_what_was_not_tested_is_grouped_by_its_cause() -> None:
    stopped = [
        samples.cell(variant, "arm64", [], outcome=Outcome.CANCELLED, cause=Cause.FAIL_FAST)
        for variant in samples.VARIANTS
    ]
    groups = build(samples.run([*samples.broken().cells[:4], *stopped])).not_tested
    assert [(group.outcome, len(group.cells)) for group in groups] == [(Outcome.CANCELLED, 3)]
    assert groups[0].do == "Set fail-fast: false to see every cell."


def test_a_pass_after_the_product_failed_is_flaky() -> None:
    view = build(samples.broken())
    assert ([one.cell.id for one in view.flaky], view.retried) == (["python-amd64"], [])


def test_a_pass_after_trouble_of_the_infrastructure_is_told_and_not_called_flaky() -> None:
    spoilt = samples.attempt(
        "python-amd64", False, 0, 0.2, fail_at="pull", outcome=Outcome.ERROR, cause=Cause.PULL_FAILED
    )
    cell = samples.cell("python", "amd64", [spoilt, samples.attempt("python-amd64", False, 0, 2, number=2)])
    view = build(samples.run([cell]))
    assert (view.flaky, [one.cell.id for one in view.retried]) == ([], ["python-amd64"])
    results = samples.run([cell])
    for render in (markdown.render, html.render):
        assert "passed at attempt 2, after trouble of the infrastructure" in render(results, Path())


@pytest.mark.parametrize(
    ("command", "again"),
    [
        (["/x/.venv/bin/e2e-matrix", "demo"], "/x/.venv/bin/e2e-matrix demo --only python-amd64"),
        (["/x/__main__.py", "run", "--only", "java-*"], "e2e-matrix run --only python-amd64"),
        (["e2e-matrix", "run", "--only=a", "--skip=b", "--skip", "c", "-f", "m x.yaml"],
         "e2e-matrix run -f 'm x.yaml' --only python-amd64"),
        ([], "e2e-matrix run --only python-amd64"),
    ],
)  # fmt: skip
def test_the_command_runs_one_cell_with_the_options_of_the_run(command: list[str], again: str) -> None:
    run = samples.run(samples.six_passed().cells, command=command).run
    assert command_for(run, "python-amd64") == again


@pytest.mark.parametrize(
    ("command", "profile", "again"),
    [
        ("run --profile pr", "pr", "run --profile pr --only a"),
        ("run --profile=pr --only b", "pr", "run --profile=pr --only a"),
        # A variable had chosen it, or the run that this one went on with.
        ("run --ref x", "pr", "run --ref x --profile pr --only a"),
        ("", "pr", "run --profile pr --only a"),
        ("run --ref x", None, "run --ref x --only a"),
    ],
)
def test_the_command_has_the_profile_that_the_run_had(command: str, profile: str | None, again: str) -> None:
    run = samples.run(samples.six_passed().cells, command=["e2e-matrix", *command.split()]).run
    settings = {**run.settings, "profile": SettingValue(value=profile, source="environment")}
    assert command_for(run.model_copy(update={"settings": settings}), "a") == f"e2e-matrix {again}"


def test_an_id_that_looks_like_a_pattern_names_only_itself() -> None:
    assert command_for(samples.six_passed().run, "a[1]*").endswith("--only 'a[[]1][*]'")


def test_the_grid_has_the_first_two_axes_in_their_order_and_empty_slots() -> None:
    (grid,) = build(samples.broken()).grids
    assert (grid.row_axis, grid.column_axis, grid.columns) == ("variant", "arch", ["amd64", "arm64"])
    assert [row.label for row in grid.rows] == ["python", "java", "golang", "rust"]
    assert [[len(slot) for slot in row.slots] for row in grid.rows] == [[1, 1], [1, 1], [1, 1], [1, 0]]


def test_further_axes_become_groups_and_every_cell_is_in_one_of_them() -> None:
    view = build(samples.large(24))
    assert [grid.group for grid in view.grids] == [{"tag": f"1.{minor}.0"} for minor in range(4)]
    shown = [item.cell.id for grid in view.grids for row in grid.rows for slot in row.slots for item in slot]
    assert sorted(shown) == sorted(view.cell.id for view in view.cells)


@pytest.mark.parametrize("axes", [{}, {"variant": ["python"]}, {"arch": ["amd64"]}])
def test_no_cell_is_lost_from_the_grid_whatever_the_axes(axes: dict[str, list[str]]) -> None:
    view = build(samples.run(samples.six_passed().cells, axes=axes))
    assert sum(len(slot) for grid in view.grids for row in grid.rows for slot in row.slots) == 6


def test_anchors_are_unique_and_fit_for_a_link() -> None:
    names = ["a b", "a/b", "a-b", "<i>", "é", "a-b~2"]
    cells = [samples.cell("python", "amd64", [], id=name) for name in names]
    anchors = [view.anchor for view in build(samples.run(cells)).cells]
    assert len(set(anchors)) == len(names)
    assert all(not set(anchor) & set(" \"'<>&#/") for anchor in anchors)


def test_the_timeline_puts_every_attempt_into_its_worker_s_lane() -> None:
    line = build(samples.broken()).timeline
    assert [lane.worker for lane in line.lanes] == [0, 1]
    assert [bar.cell for bar in line.lanes[0].bars] == ["python-amd64", "python-amd64", "java-arm64"]
    assert [bar.emulated for bar in line.lanes[0].bars] == [False, False, True]
    for lane in line.lanes:
        for bar in lane.bars:
            assert bar.start == pytest.approx(bar.starts_seconds / line.seconds * 100, abs=0.001)
            assert bar.start + bar.width <= 100.001
            assert "emulated" in bar.words or not bar.emulated
        assert sum(bar.width for bar in lane.bars) <= 100.001
    assert [tick.label for tick in line.ticks][:5] == ["0 s", "15 s", "30 s", "45 s", "1 min"]


def test_an_idle_worker_has_an_empty_lane() -> None:
    line = build(samples.run(samples.six_passed().cells, workers=3)).timeline
    assert [len(lane.bars) for lane in line.lanes] == [3, 3, 0]
    assert line.lanes[2].busy_percent == 0


def test_steps_of_a_phase_become_one_segment_and_keep_their_place() -> None:
    attempt = samples.attempt("python-amd64", False, 0, 0.0)
    found = segments(attempt, attempt.duration_seconds)
    assert {part.phase for part in found} == set(PHASES) - {"script"}
    assert [part.phase for part in found][:4] == ["pull", "boot", "checks", "init"]
    boot = found[1]
    started = next(step for step in attempt.steps if step.name == "start")
    assert boot.start == pytest.approx(started.start_seconds / attempt.duration_seconds * 100, abs=0.001)
    assert boot.seconds == pytest.approx(0.42 + 4.87 + 0.004)
    assert found[-1].start + found[-1].width == pytest.approx(100, abs=0.01)


def test_without_steps_the_phases_alone_give_the_segments() -> None:
    bare = samples.attempt("python-amd64", False, 0, 0.0).model_copy(
        update={"steps": [], "phases": Phases(pull=1.0, boot=3.0), "duration_seconds": 5.0}
    )
    found = segments(bare, 5.0)
    assert [(part.phase, part.start, part.width) for part in found] == [
        ("pull", 0.0, 20.0),
        ("boot", 20.0, 60.0),
    ]


def test_native_and_emulated_are_never_on_one_scale() -> None:
    native, emulated = build(samples.six_passed()).panels
    assert (native.emulated, emulated.emulated) == (False, True)
    for panel in (native, emulated):
        longest = [plot for row in panel.rows if (plot := row.plots["boot"])]
        assert max(plot.percent(plot.high) for plot in longest) == 100
    assert [row.label for row in emulated.rows] == ["python", "java", "golang"]


def test_a_run_without_cells_has_a_view() -> None:
    view = build(samples.run([], verdict=Outcome.CANCELLED))
    assert (view.cells, view.grids, view.panels) == ([], [], [])
    assert view.verdict.headline == "No verdict: the run was stopped"


def test_no_conversation_is_no_unknown_cost() -> None:
    costs = {view.cell.id: view.cost for view in build(samples.broken()).cells}
    assert costs["python-arm64"] == "$0.0000168"
    assert costs["java-amd64"] == "cost unknown"
    assert costs["java-arm64"] == "no conversation"


def test_a_part_of_the_matrix_is_not_good_to_ship() -> None:
    whole = samples.six_passed()
    totals = whole.run.totals.model_copy(update={"cells": 1, "passed": 1, "left_out": 5})
    part = whole.model_copy(update={"run": whole.run.model_copy(update={"totals": totals})})
    assert build(part).verdict.headline == "Good as far as it was tested"


def test_the_matrix_chooses_the_axes_of_the_grid() -> None:
    results = samples.large(12)
    chosen = {
        "reports.rows": SettingValue(value="tag", source="file"),
        "reports.columns": SettingValue(value=None, source="default"),
    }
    view = build(results.model_copy(update={"run": results.run.model_copy(update={"settings": chosen})}))
    assert [(grid.row_axis, grid.column_axis) for grid in view.grids] == [("tag", "variant")] * 2
    assert [grid.group for grid in view.grids] == [{"arch": "amd64"}, {"arch": "arm64"}]
    ids = [[view.cell.id for view in row.slots[2]] for row in view.grids[1].rows]
    assert ids == [["golang-arm64-1.0.0"], ["golang-arm64-1.1.0"]]


def test_an_axis_that_the_run_does_not_have_chooses_nothing() -> None:
    results = samples.six_passed()
    chosen = {"reports.rows": SettingValue(value=["variant"], source="file")}
    view = build(results.model_copy(update={"run": results.run.model_copy(update={"settings": chosen})}))
    assert [(grid.row_axis, grid.column_axis) for grid in view.grids] == [("variant", "arch")]
