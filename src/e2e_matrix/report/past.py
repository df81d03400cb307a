"""What a cell did in the runs before this one, in words and as a line of dots.

A time is put beside an earlier one and not judged: whether a difference is more than noise is the history
page's to say, which has enough of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from e2e_matrix.failures import Outcome
from e2e_matrix.results import Cell
from e2e_matrix.script_words import counted
from e2e_matrix.text import format_seconds
from e2e_matrix.trend import LOOK_BACK, Sample, Trend, seconds_of

_DECIDED = (Outcome.PASSED, Outcome.FAILED)
# What is less than both of these, seconds and a share, is the same time.
_SAME, _SAME_SHARE = 0.1, 0.01
_RANGE = 3  # so many earlier times make a range
# The drawing, in pixels: from one run to the next, the edge around, where times lie, where ticks do.
_STEP, _EDGE, _TOP, _BOTTOM, _TICK = 6, 4, 3, 18, 21
# Times that differ by less than this share of the longest one do not fill the height: noise looks like noise.
_FULL_HEIGHT = 0.4
# A shape beside the colour, around the dot's place. A passed one is a dot, which the line's markers are.
_SHAPES = {
    Outcome.PASSED: "h0",
    Outcome.FAILED: "m-2-2l4 4m0-4l-4 4",
    Outcome.ERROR: "m0-2l2 4h-4z",
}
_FLAKY = "m0-3l3 3-3 3-3-3z"


@dataclass(frozen=True)
class Mark:
    """Dots of one kind: ``name`` is the outcome, or ``flaky``; ``path`` the data of a path."""

    name: str
    path: str


@dataclass(frozen=True)
class Past:
    """A cell and its earlier runs, the newest last."""

    cell: Cell
    samples: Sequence[Sample]

    @property
    def change(self) -> str:
        """Since the last run that this one can be compared with."""
        if not self.samples:
            return "first time in history"
        match self.cell.outcome:
            case Outcome.FAILED:
                return self.failing or "no verdict in the runs before"
            case Outcome.PASSED:
                return "; ".join(filter(None, (self._fixed, self._time)))
        return f"{self._decided[-1].outcome} in {self._decided[-1].run}" if self._decided else ""

    @property
    def failing(self) -> str:
        """Of a cell that failed, since when; "" where the history does not know."""
        decided = self._decided
        if self.cell.outcome is not Outcome.FAILED or not decided:
            return ""
        passed = [number for number, one in enumerate(decided) if one.outcome is Outcome.PASSED]
        if not passed:
            return f"fails since {decided[0].run}, at the latest"
        if passed[-1] == len(decided) - 1:
            return f"newly failing: it passed in {decided[-1].run}"
        return f"fails since {decided[passed[-1] + 1].run}; it passed last in {decided[passed[-1]].run}"

    @property
    def label(self) -> str:
        """The line of dots for somebody who does not see it."""
        if not self.samples:
            return "no run before"
        outcomes = Counter(one.outcome.value.replace("_", " ") for one in self.samples)
        said = f"{counted(len(self.samples), 'run')} before: "
        said += ", ".join(f"{number} {name}" for name, number in outcomes.items())
        if flaky := sum(one.flaky for one in self.samples):
            said += f", {flaky} of them flaky"
        if times := [seconds for seconds, _ in self._alike]:
            said += f"; {format_seconds(min(times))} to {format_seconds(max(times))}"
        return said

    @cached_property
    def line(self) -> str:
        """The path through the times of what passed; all of them may be compared."""
        passed = [
            (x, self._height(seconds))
            for x, outcome, seconds in self._dots
            if outcome is Outcome.PASSED and seconds is not None
        ]
        if not passed:
            return ""
        steps = (f"{x - left} {y - before}" for (left, before), (x, y) in pairwise(passed))
        return f"M{passed[0][0]} {passed[0][1]}l{' '.join(steps) or '0 0'}"

    @property
    def marks(self) -> list[Mark]:
        """What is drawn over the line: what did not pass, or was flaky."""
        parts: dict[str, str] = {}
        for (x, outcome, seconds), sample in zip(self._dots, self.samples, strict=False):
            shape = _FLAKY if sample.flaky else _SHAPES.get(outcome)
            if seconds is not None and shape and (sample.flaky or outcome is not Outcome.PASSED):
                name = "flaky" if sample.flaky else outcome.value
                parts[name] = parts.get(name, "") + f"M{x} {self._height(seconds)}{shape}"
        return [Mark(name, path) for name, path in parts.items()]

    @property
    def ticks(self) -> list[Mark]:
        """Below the line, the runs whose times cannot be compared or are none."""
        parts: dict[str, str] = {}
        for x, outcome, seconds in self._dots:
            if seconds is None:
                parts[outcome.value] = parts.get(outcome.value, "") + f"M{x} {_TICK}v3"
        return [Mark(name, path) for name, path in parts.items()]

    @cached_property
    def now(self) -> Mark | None:
        """This run's dot; None where it has no time."""
        x, outcome, seconds = self._dots[-1]
        if seconds is None or outcome not in _SHAPES:
            return None
        return Mark(outcome.value, f"M{x} {self._height(seconds)}{_SHAPES[outcome]}")

    @property
    def _now(self) -> float | None:
        return seconds_of(self.cell)

    @cached_property
    def _decided(self) -> list[Sample]:
        """Those with a verdict that says something of this run's."""
        return [one for one in self.samples if one.outcome in _DECIDED and not one.other]

    @property
    def _fixed(self) -> str:
        if self.cell.reused_from is not None:
            return ""  # nothing was run that could show it
        failed = self._decided and self._decided[-1].outcome is Outcome.FAILED
        return f"fixed: it failed in {self._decided[-1].run}" if failed else ""

    @cached_property
    def _alike(self) -> list[tuple[float, Sample]]:
        """The earlier passes whose seconds may be compared."""
        passed = (one for one in self.samples if one.outcome is Outcome.PASSED)
        return [(one.seconds, one) for one in passed if one.seconds is not None]

    @property
    def _time(self) -> str:
        now = self._now
        if now is None:
            return ""
        if not self._alike:
            apart = [one for one in self.samples if one.apart and one.outcome is Outcome.PASSED]
            return f"not comparable with {apart[-1].run}: {apart[-1].apart}" if apart else ""
        before, last = self._alike[-1]
        image = {True: ", the same image", False: ", another image", None: ""}[last.same_image]
        return f"{_against(now, before)} {last.run}{image}{self._among(now)}"

    def _among(self, now: float) -> str:
        """Where this time lies among the earlier ones."""
        times = [seconds for seconds, _ in self._alike]
        if len(times) < _RANGE:
            return ""
        low, high = min(times), max(times)
        place = "more than" if now > high else "less than" if now < low else "within"
        return f"; {place} the {format_seconds(low)} to {format_seconds(high)} of {len(times)} passes before"

    @cached_property
    def _dots(self) -> list[tuple[int, Outcome, float | None]]:
        """Of every run, this one the last: its place from the left, its outcome, its seconds."""
        rows = [(one.outcome, one.seconds) for one in self.samples]
        rows.append((self.cell.outcome, self._now))
        left = _EDGE + _STEP * (LOOK_BACK + 1 - len(rows))
        drawn = ((outcome, seconds if outcome in _SHAPES else None) for outcome, seconds in rows)
        return [(left + _STEP * number, *row) for number, row in enumerate(drawn)]

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Seconds at the bottom and at the top: of what passed, else of all."""
        timed = [(outcome, seconds) for _, outcome, seconds in self._dots if seconds is not None]
        times = [seconds for outcome, seconds in timed if outcome is Outcome.PASSED]
        times = times or [seconds for _, seconds in timed]
        low, high = min(times), max(times)
        half = max(high - low, _FULL_HEIGHT * high, 0.001) / 2
        middle = (low + high) / 2
        return middle - half, middle + half

    def _height(self, seconds: float) -> int:
        low, high = self._scale
        share = (min(max(seconds, low), high) - low) / (high - low)
        return round(_BOTTOM - share * (_BOTTOM - _TOP))


def past_of(cell: Cell, trend: Trend | None) -> Past | None:
    """None where the run was made without a history."""
    return Past(cell, trend.cells.get(cell.id, [])[-LOOK_BACK:]) if trend else None


def _against(now: float, before: float) -> str:
    """Such as ``2.10 s slower than``."""
    difference = abs(now - before)
    if difference < _SAME or difference < _SAME_SHARE * before:
        return "as fast as"
    return f"{format_seconds(difference)} {'slower' if now > before else 'faster'} than"
