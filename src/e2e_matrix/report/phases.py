"""How long each phase took, by the kind of image and its platform.

Native and emulated cells have panels of their own: no scale holds both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from e2e_matrix.report.cell_view import CellView
from e2e_matrix.results import Attempt, Run
from e2e_matrix.script_words import own_seconds

PHASES = ("pull", "boot", "checks", "init", "conversation", "script", "removal")
TOTAL = "in all"


@dataclass(frozen=True)
class Plot:
    """Some cells' time in one phase, seconds; the drawing's scale begins at 0 and ends at ``scale``."""

    low: float
    median: float
    high: float
    count: int
    scale: float

    def percent(self, seconds: float) -> float:
        return round(seconds / self.scale * 100, 2) if self.scale else 0.0


@dataclass(frozen=True)
class PhaseRow:
    """The cells of one kind of image on one platform; a phase that none of them reached is None."""

    label: str
    platform: str
    cells: list[CellView]
    plots: dict[str, Plot | None]

    @property
    def several(self) -> bool:
        return len(self.cells) > 1


@dataclass(frozen=True)
class PhasePanel:
    """Rows that may be compared: all native or all emulated, each phase on one scale for all of them."""

    emulated: bool
    phases: list[str]
    rows: list[PhaseRow]


def phase_panels(run: Run, cells: Sequence[CellView]) -> list[PhasePanel]:
    """The attempts that count, by kind of image, platform and, where there are several, scenario."""
    axis = _kind_axis(run, cells)
    several = len({view.cell.scenario for view in cells}) > 1
    panels: list[PhasePanel] = []
    for emulated in (False, True):
        groups: dict[tuple[str, str], list[CellView]] = {}
        for view in cells:
            if view.last and view.cell.emulated is emulated:
                label = [view.value_of(axis), *([view.cell.scenario] if several else [])]
                groups.setdefault((" ".join(filter(None, label)), view.cell.platform), []).append(view)
        if not groups:
            continue
        spent = {
            key: {name: _seconds(views, name) for name in (*PHASES, TOTAL)} for key, views in groups.items()
        }
        reached = [name for name in (*PHASES, TOTAL) if any(spent[key][name] for key in groups)]
        scales = {name: max(max(spent[key][name], default=0.0) for key in groups) for name in reached}
        rows = [
            PhaseRow(*key, views, {name: _plot(spent[key][name], scales[name]) for name in reached})
            for key, views in groups.items()
        ]
        panels.append(PhasePanel(emulated, reached, rows))
    return panels


def _kind_axis(run: Run, cells: Sequence[CellView]) -> str:
    """The first axis that says more than the platform does; "" where there is none."""
    for axis in run.axes:
        points = {(view.value_of(axis), view.cell.platform) for view in cells}
        platforms, values = ({point[side] for point in points} for side in (1, 0))
        if len(points) > len(platforms) or len(platforms) > len(values):
            return axis
    return next(iter(run.axes), "")


def spent_on(attempt: Attempt, phase: str) -> float | None:
    """What results.json says, else the sum of the phase's steps; None where the attempt did not get there."""
    if phase == "script":
        return own_seconds(attempt)
    told: float | None = getattr(attempt.phases, phase, None)
    steps = [step.duration_seconds for step in attempt.steps if step.phase == phase]
    return told if told is not None else sum(steps) if steps else None


def _seconds(views: Sequence[CellView], phase: str) -> list[float]:
    attempts = [view.last for view in views if view.last]
    spent = [attempt.duration_seconds if phase == TOTAL else spent_on(attempt, phase) for attempt in attempts]
    return [seconds for seconds in spent if seconds is not None]


def _plot(seconds: Sequence[float], scale: float) -> Plot | None:
    if not seconds:
        return None
    return Plot(min(seconds), median(seconds), max(seconds), len(seconds), scale)
