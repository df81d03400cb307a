"""The course of times over many runs, drawn: a panel for what may be compared, a chart for each phase.

Ten thousand runs are no more to look at than 150: what lies beside each other is one bucket, with its median,
its shortest and its longest time. Native and emulated cells, other models and other scenarios have panels of
their own; where the scenario's version changed, a line is broken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby, pairwise
from operator import attrgetter
from statistics import median

from e2e_matrix.failures import Outcome
from e2e_matrix.history.points import Point
from e2e_matrix.shifts import Shift, shifts

TOTAL = "in all"
PHASES = ("boot", "init", "conversation", "removal", TOTAL)
MOST_BUCKETS, FEWEST_BUCKETS = 150, 20
MOST_PANELS, MOST_ROWS = 8, 40
# Of all lines on the page together: what keeps it below a megabyte.
_BUCKETS = 30_000
# The drawing's own units; the page stretches it.
WIDTH, HEIGHT = 300, 60
# One run that took an hour must not press the others to the ground: above this much of the highest median, a
# band is cut off.
_HEADROOM = 1.6


@dataclass(frozen=True)
class Timed:
    """The times of one phase in what may be compared, in the order of time: a cell's points that passed."""

    phase: str
    points: Sequence[Point]
    seconds: Sequence[float]
    shifts: Sequence[Shift] = ()

    @property
    def newest(self) -> Point:
        return self.points[-1]


@dataclass(frozen=True)
class Bucket:
    """Neighbouring runs; ``at`` is its place, ``version`` the scenario's. Seconds."""

    at: int
    version: str | None
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Turn:
    """A shift in the chart: at which bucket, with which run, and what it was."""

    at: int
    point: Point
    shift: Shift


@dataclass(frozen=True)
class Chart:
    """One phase of the cells in a row. ``places``: the panel's buckets; ``scale``: seconds at the top."""

    phase: str
    buckets: list[Bucket]
    turns: list[Turn]
    places: int
    scale: float

    @property
    def low(self) -> float:
        return min(one.low for one in self.buckets)

    @property
    def high(self) -> float:
        return max(one.high for one in self.buckets)

    @property
    def line(self) -> str:
        """The path of the medians, in one piece for each version of the scenario."""
        return "".join(_path([(one.at, one.median) for one in piece], self) for piece in self._pieces)

    @property
    def band(self) -> str:
        """The path around what was shortest and longest."""
        parts = []
        for piece in self._pieces:
            around = [(one.at, one.high) for one in piece] + [(one.at, one.low) for one in reversed(piece)]
            parts.append(f"{_path(around, self)}z")
        return "".join(parts)

    def x(self, at: int) -> int:
        return round(at * WIDTH / (self.places - 1)) if self.places > 1 else WIDTH // 2

    def y(self, seconds: float) -> int:
        return round(HEIGHT - min(seconds / self.scale, 1.0) * HEIGHT) if self.scale else HEIGHT

    @property
    def _pieces(self) -> list[list[Bucket]]:
        return [list(piece) for _, piece in groupby(self.buckets, key=lambda one: one.version)]


@dataclass(frozen=True)
class Row:
    """The cells of one variant on one platform."""

    label: str
    platform: str
    cells: int
    charts: dict[str, Chart]


@dataclass(frozen=True)
class Panel:
    """Rows that may be compared. A bucket holds up to ``size`` of the ``runs`` runs."""

    emulated: bool
    model: str
    scenario: str
    runs: int
    size: int
    first: datetime
    last: datetime
    phases: list[str]
    rows: list[Row]
    left_out: int  # rows that are not shown


def timed(points: Iterable[Point]) -> list[Timed]:
    """The series of what passed, each phase by itself, with their shifts."""
    series: dict[tuple[object, ...], list[Point]] = {}
    for point in points:
        if point.outcome is Outcome.PASSED and not point.reused:
            series.setdefault(point.series, []).append(point)
    found = [one for alike in series.values() for phase in PHASES if (one := _timed(alike, phase))]
    places = sum(len(one.seconds) for one in found)
    return [replace(one, shifts=shifts(one.seconds, places)) for one in found]


def kind_of(series: Timed) -> tuple[bool, str, str]:
    """What has a panel of its own."""
    newest = series.newest
    return newest.emulated, newest.model, newest.scenario


def panels(series: Sequence[Timed]) -> list[Panel]:
    """Of many panels those of the newest runs; native ones first."""
    groups: dict[tuple[bool, str, str], list[Timed]] = {}
    for one in series:
        groups.setdefault(kind_of(one), []).append(one)
    by_age = sorted(groups.values(), key=lambda group: max(one.newest.started_at for one in group))
    shown = by_age[::-1][:MOST_PANELS]
    charts = sum(min(len({_row(one) for one in group}), MOST_ROWS) * len(PHASES) for group in shown)
    most = max(FEWEST_BUCKETS, min(MOST_BUCKETS, _BUCKETS // max(charts, 1)))
    return sorted((_panel(group, most) for group in shown), key=lambda panel: panel.emulated)


def _timed(alike: Sequence[Point], phase: str) -> Timed | None:
    if phase == TOTAL:
        return Timed(phase, alike, [point.duration_seconds for point in alike])
    spent = list(map(attrgetter(f"phases.{phase}"), alike))
    if None in spent:
        kept = [(point, seconds) for point, seconds in zip(alike, spent, strict=True) if seconds is not None]
        alike, spent = [point for point, _ in kept], [seconds for _, seconds in kept]
    return Timed(phase, alike, spent) if spent else None


def _row(series: Timed) -> tuple[str, str]:
    """Of which row the series is: its value of the first axis, and its platform."""
    newest = series.newest
    return next(iter(newest.axes.values()), newest.cell), newest.platform


def _panel(group: Sequence[Timed], most: int) -> Panel:
    moments = {point.run: point.started_at for one in group if one.phase == TOTAL for point in one.points}
    runs = sorted(moments, key=lambda run: (moments[run], run))
    size = -(-len(runs) // most)
    size += size % 2 == 0  # of an even number the median is no time that was measured: a slow run would show
    places = {run: number // size for number, run in enumerate(runs)}
    by_row: dict[tuple[str, str], dict[str, list[Timed]]] = {}
    for one in group:
        by_row.setdefault(_row(one), {}).setdefault(one.phase, []).append(one)
    shown = dict(list(by_row.items())[:MOST_ROWS])
    buckets = {
        (row, phase): _buckets(alike, places)
        for row, phases in shown.items()
        for phase, alike in phases.items()
    }
    reached = [phase for phase in PHASES if any(phase in phases for phases in shown.values())]
    scales = {
        phase: _scale([one for (_, name), found in buckets.items() if name == phase for one in found])
        for phase in reached
    }
    newest = group[0].newest
    return Panel(
        emulated=newest.emulated,
        model=newest.model,
        scenario=newest.scenario,
        runs=len(runs),
        size=size,
        first=moments[runs[0]],
        last=moments[runs[-1]],
        phases=reached,
        rows=[
            Row(
                *row,
                cells=len({one.newest.cell for alike in phases.values() for one in alike}),
                charts={
                    phase: Chart(
                        phase, buckets[row, phase], _turns(alike, places), places[runs[-1]] + 1, scales[phase]
                    )
                    for phase, alike in phases.items()
                },
            )
            for row, phases in shown.items()
        ],
        left_out=len(by_row) - len(shown),
    )


def _buckets(alike: Sequence[Timed], places: Mapping[str, int]) -> list[Bucket]:
    """In the order of time, and within a place by the version that came first."""
    found: dict[tuple[int, int], list[float]] = {}
    versions: dict[str | None, int] = {}
    for one in sorted(alike, key=lambda one: one.points[0].started_at):
        version = versions.setdefault(one.newest.scenario_version, len(versions))
        start = 0
        for place, count in Counter(places[point.run] for point in one.points).items():
            found.setdefault((version, place), []).extend(one.seconds[start : start + count])
            start += count
    names = list(versions)
    return [
        Bucket(at, names[version], min(seconds), median(seconds), max(seconds))
        for (version, at), seconds in sorted(found.items())
    ]


def _scale(buckets: Sequence[Bucket]) -> float:
    highest = max(one.high for one in buckets)
    return min(highest, _HEADROOM * max(one.median for one in buckets)) or highest


def _turns(alike: Sequence[Timed], places: Mapping[str, int]) -> list[Turn]:
    found = [(one.points[shift.at], shift) for one in alike for shift in one.shifts]
    turns = [Turn(places[point.run], point, shift) for point, shift in found]
    return sorted(turns, key=lambda turn: turn.point.started_at)


def _path(points: Sequence[tuple[int, float]], chart: Chart) -> str:
    """A line through the points; a single one is a dot."""
    drawn = [(chart.x(at), chart.y(seconds)) for at, seconds in points]
    steps = (f"{x - left} {y - before}" for (left, before), (x, y) in pairwise(drawn))
    return f"M{drawn[0][0]} {drawn[0][1]}l{' '.join(steps) or '0 0'}"
