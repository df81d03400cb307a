"""What the history page says, worked out from the points of many runs. Strings from outside are raw here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from e2e_matrix.failures import Outcome
from e2e_matrix.history.flakiness import Flakiness, flakiness
from e2e_matrix.history.points import Point, RunLine
from e2e_matrix.history.since import Since, since_when
from e2e_matrix.report.trends import PHASES, Panel, Timed, kind_of, panels, timed
from e2e_matrix.script_words import counted
from e2e_matrix.shifts import Shift

# The shifts of a cell's phases are one where they are no more runs apart: noise moves where each is seen.
_NEAR = 5
# So many runs are shown one by one, and as many changes of each kind.
MOST_RUNS = 50
MOST_CELLS = 40
MOST_NEWS = 50


@dataclass(frozen=True)
class News:
    """A cell's verdict became another one in the run of ``point``; ``before`` is its sample before that."""

    before: Point
    point: Point

    @property
    def failing(self) -> bool:
        return self.point.outcome is Outcome.FAILED

    @property
    def changed(self) -> list[str]:
        """What else was another with that run, in words; safe to show."""
        return Since(self.point, self.before, 1, self.point).changed


@dataclass(frozen=True)
class Slower:
    """A cell whose times went to another level with the run of ``point``, slower or faster, by phase.

    ``before`` is the last pass on the earlier level.
    """

    before: Point
    point: Point
    phases: dict[str, Shift]

    @property
    def slower(self) -> bool:
        """Of several phases, what most of the seconds say."""
        return sum(one.after - one.before for one in self.phases.values()) > 0

    @property
    def changed(self) -> list[str]:
        """What else was another with that run, in words; safe to show."""
        return Since(self.point, self.before, 1, self.point).changed


@dataclass(frozen=True)
class CellLine:
    """A cell over the newest runs: its outcome in each, None where a run did not have it.

    ``turns`` are the numbers of the runs with which it began to fail (True) or to pass.
    """

    cell: str
    emulated: bool
    outcomes: list[Outcome | None]
    turns: dict[int, bool]
    since: Since | None
    flaky: Flakiness | None

    @property
    def passed(self) -> int:
        return self.outcomes.count(Outcome.PASSED)

    @property
    def runs(self) -> int:
        return len(self.outcomes) - self.outcomes.count(None)


@dataclass(frozen=True)
class HistoryView:
    """``runs`` and ``points`` are all that is known, in the order of time."""

    runs: Sequence[RunLine]
    points: Sequence[Point]

    @cached_property
    def last_runs(self) -> Sequence[RunLine]:
        """The newest, which are shown one by one; in the order of time."""
        return self.runs[-MOST_RUNS:]

    @cached_property
    def cells(self) -> Mapping[str, list[Point]]:
        """The points by cell, of all that any of the newest runs had."""
        known = {run.id for run in self.last_runs}
        alive = {point.cell for point in self.points if point.run in known}
        cells: dict[str, list[Point]] = {}
        for point in self.points:
            if point.cell in alive:
                cells.setdefault(point.cell, []).append(point)
        return cells

    @cached_property
    def lines(self) -> list[CellLine]:
        """Failing cells first, then flaky ones, then as they were planned."""
        numbers = {run.id: number for number, run in enumerate(self.last_runs)}
        turns = {(one.point.cell, one.point.run): one.failing for one in self.news}
        lines = [self._line(cell, points, numbers, turns) for cell, points in self.cells.items()]
        return sorted(lines, key=lambda line: (not line.since, not line.flaky))

    def _line(
        self,
        cell: str,
        points: Sequence[Point],
        numbers: Mapping[str, int],
        turns: Mapping[tuple[str, str], bool],
    ) -> CellLine:
        outcomes: list[Outcome | None] = [None] * len(numbers)
        turned = {}
        for point in points[-len(numbers) :]:
            if (number := numbers.get(point.run)) is not None:
                outcomes[number] = point.outcome
                if (failing := turns.get((cell, point.run))) is not None:
                    turned[number] = failing
        samples = [one for one in points[-2 * MOST_RUNS :] if one.is_sample]
        alike = [one for one in samples if one.series == samples[-1].series]
        found = flakiness(alike[-MOST_RUNS:])
        return CellLine(
            cell,
            points[-1].emulated,
            outcomes,
            turned,
            since_when(points),
            found if found and found.flaky else None,
        )

    @property
    def failing(self) -> list[CellLine]:
        return [line for line in self.lines if line.since]

    @property
    def flaky(self) -> list[CellLine]:
        """The worst first."""
        found = [line for line in self.lines if line.flaky]
        return sorted(found, key=lambda line: line.flaky.rate if line.flaky else 0.0, reverse=True)

    @cached_property
    def news(self) -> list[News]:
        """What began to fail or to pass, the newest first."""
        last: dict[object, Point] = {}
        found = []
        for point in self.points:
            if not point.is_sample:
                continue
            # Another version of the scenario may be what broke it, or mended it.
            kind = (point.cell, point.emulated, point.scenario, point.model)
            before = last.get(kind)
            if before and before.outcome is not point.outcome:
                found.append(News(before, point))
            last[kind] = point
        return found[::-1]

    @cached_property
    def news_by_run(self) -> Mapping[str, list[News]]:
        found: dict[str, list[News]] = {}
        for one in self.news:
            found.setdefault(one.point.run, []).append(one)
        return found

    @cached_property
    def timed(self) -> list[Timed]:
        return timed(self.points)

    @cached_property
    def shifts(self) -> list[Slower]:
        """The newest first."""
        alike: dict[object, list[tuple[Timed, Shift]]] = {}
        for series in self.timed:
            for shift in series.shifts:
                alike.setdefault((series.newest.series, shift.slower), []).append((series, shift))
        found = [_slower(near) for shifts in alike.values() for near in _near(shifts)]
        return sorted(found, key=lambda one: (one.point.started_at, one.point.run), reverse=True)

    @cached_property
    def panels(self) -> list[Panel]:
        return panels(self.timed)

    @property
    def panels_left_out(self) -> int:
        return len({kind_of(series) for series in self.timed}) - len(self.panels)

    @property
    def cost(self) -> Decimal:
        """Of the runs that know it."""
        return sum((run.cost_usd for run in self.runs if run.cost_usd is not None), Decimal(0))

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        return (self.runs[0].started_at, self.runs[-1].started_at) if self.runs else None

    @cached_property
    def decided(self) -> int:
        """Cells that have passed or failed."""
        return sum(any(point.is_sample for point in points) for points in self.cells.values())

    @property
    def subject(self) -> str:
        """The image of the newest run without its tag: that is of one run alone."""
        subject = self.runs[-1].subject if self.runs else ""
        name, _, tag = subject.rpartition(":")
        return name if name and "/" not in tag else subject

    @property
    def state(self) -> Outcome:
        """The page's colour: whether the cells pass by now."""
        if self.failing:
            return Outcome.FAILED
        return Outcome.PASSED if self.decided else Outcome.NOT_RUN

    @property
    def headline(self) -> str:
        cells = counted(len(self.cells), "cell")
        match self.state:
            case Outcome.FAILED:
                return f"{len(self.failing)} of {cells} {'fails' if len(self.failing) == 1 else 'fail'}"
            case Outcome.PASSED if self.decided == len(self.cells):
                return "The cell passes" if self.decided == 1 else f"All {cells} pass"
            case Outcome.PASSED:
                return f"{self.decided} of {cells} pass, the others have no verdict"
        return "No verdict yet"


def _near(shifts: Sequence[tuple[Timed, Shift]]) -> Iterable[list[tuple[Timed, Shift]]]:
    """Those of a cell that are about the same run."""
    group: list[tuple[Timed, Shift]] = []
    for series, shift in sorted(shifts, key=lambda one: one[1].at):
        if group and shift.at - group[0][1].at > _NEAR:
            yield group
            group = []
        group.append((series, shift))
    yield group


def _slower(shifts: Sequence[tuple[Timed, Shift]]) -> Slower:
    """The run is that of the phase which shifted most: there it is seen best."""
    series, most = max(shifts, key=lambda one: abs(one[1].share))
    phases = {series.phase: shift for series, shift in shifts}
    ordered = {phase: phases[phase] for phase in PHASES if phase in phases}
    return Slower(series.points[most.at - 1], series.points[most.at], ordered)
