"""Phase times by kind of image and platform."""

from __future__ import annotations

import pytest

from e2e_matrix.report.phases import phase_panels
from e2e_matrix.report.view import build
from e2e_matrix.results import Results
from support import report_samples as samples
from support import script_samples


def panels(results: Results):  # type: ignore[no-untyped-def]
    return phase_panels(results.run, build(results).cells)


def test_a_row_is_one_kind_of_image_on_one_platform() -> None:
    native, emulated = panels(samples.large(60))
    assert [(row.label, row.platform, len(row.cells)) for row in native.rows] == [
        ("python", "linux/amd64", 10),
        ("java", "linux/amd64", 10),
        ("golang", "linux/amd64", 10),
    ]
    assert {row.platform for row in emulated.rows} == {"linux/arm64"}


def test_figures_are_those_of_the_attempts_that_count() -> None:
    native, _ = panels(samples.large(60))
    python = native.rows[0]
    spent = sorted(
        view.last.phases.boot for view in python.cells if view.last and view.last.phases.boot is not None
    )
    plot = python.plots["boot"]
    assert plot is not None
    assert (plot.low, plot.high, plot.count) == (spent[0], spent[-1], len(spent))
    assert plot.low <= plot.median <= plot.high <= plot.scale


def test_a_phase_that_nobody_reached_has_no_column() -> None:
    (panel,) = panels(samples.run(samples.broken().cells[4:5]))
    assert panel.phases == ["pull", "in all"]


def test_a_phase_that_one_did_not_reach_is_empty_for_it() -> None:
    native, _ = panels(samples.broken())
    plots = {row.label: row.plots["conversation"] for row in native.rows}
    assert plots["golang"] is None
    assert plots["java"] is not None


def test_several_scenarios_are_not_thrown_together() -> None:
    results = script_samples.with_scripts()
    labels = [row.label for panel in panels(results) for row in panel.rows]
    scenarios = {cell.scenario for cell in results.cells}
    assert len(scenarios) > 1
    assert all(any(scenario in label for scenario in scenarios) for label in labels)


@pytest.mark.parametrize(
    ("axes", "label"),
    [({"arch": ["amd64", "arm64"], "variant": samples.VARIANTS}, "python"), ({"arch": ["amd64"]}, "amd64")],
)
def test_an_axis_that_says_no_more_than_the_platform_names_no_row_if_another_does(
    axes: dict[str, list[str]], label: str
) -> None:
    results = samples.run(samples.six_passed().cells, axes=axes)
    assert panels(results)[0].rows[0].label == label
