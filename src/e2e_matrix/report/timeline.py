"""Where the time went: attempts over workers, as shares of the run.

All geometry is in per cent of the width, so that a drawing keeps its text's size at any width. Native and
emulated cells share the run's clock here; phases.py compares them, each kind by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from e2e_matrix.failures import Outcome
from e2e_matrix.report.phases import PHASES, spent_on
from e2e_matrix.results import Attempt, Cell
from e2e_matrix.script_words import counted, own_parts
from e2e_matrix.text import format_seconds

# Of an attempt: what is shorter is not seen in its bar.
_UNSEEN = 0.005
# Of the run: a worker that is idle for less at the end is not worth a word; nor are more than so many.
_IDLE = 0.05
_MOST_IDLE = 3
_WORTH_SAYING = 0.05
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_MOST_TICKS = 7


@dataclass(frozen=True)
class Segment:
    """A stretch of one phase; ``start`` and ``width`` in per cent of what holds it."""

    phase: str
    start: float
    width: float
    seconds: float


@dataclass(frozen=True)
class Bar:
    """One attempt in its worker's lane; ``start`` and ``width`` in per cent of the run."""

    cell: str
    anchor: str
    attempt: int
    attempts: int
    outcome: Outcome
    emulated: bool
    start: float
    width: float
    starts_seconds: float
    ends_seconds: float
    segments: list[Segment]

    @property
    def words(self) -> str:
        """The bar for somebody who does not see it."""
        which = f", attempt {self.attempt}" if self.attempts > 1 else ""
        how = ", emulated" if self.emulated else ""
        spent = ", ".join(f"{part.phase} {format_seconds(part.seconds)}" for part in self.segments)
        when = f"from {format_seconds(self.starts_seconds)} to {format_seconds(self.ends_seconds)}"
        return f"{self.cell}{which}{how}: {self.outcome.value}, {when}" + (f"; {spent}" if spent else "")


@dataclass(frozen=True)
class Lane:
    """One worker's attempts. ``last``: the run ended with it, so that it was the critical path's end."""

    worker: int
    bars: list[Bar]
    busy_percent: int
    last: bool = False


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Timeline:
    seconds: float
    lanes: list[Lane]
    ticks: list[Tick]
    beside: str | None = None  # a run with the same workers: nobody knows here how idle they were

    @property
    def words(self) -> str | None:
        """What the run waited for at its end, and who was idle meanwhile; None where nothing ran."""
        ended = [lane for lane in self.lanes if lane.last]
        if not ended:
            return None
        final = max(ended[0].bars, key=_end)
        longest = max((bar for lane in self.lanes for bar in lane.bars), key=_took)
        said = [f"The run ended with {final.cell} on worker {ended[0].worker + 1}"]
        for lane in self.lanes if self.beside is None else ():
            idle = final.ends_seconds - max(map(_end, lane.bars), default=final.ends_seconds)
            if idle > _IDLE * self.seconds and len(said) <= _MOST_IDLE:
                said.append(f"worker {lane.worker + 1} was idle for the last {format_seconds(idle)}")
        if self.beside is not None:
            said.append(f"its workers were shared with run {self.beside}")
        elif without := sum(not lane.bars for lane in self.lanes):
            said.append(f"{counted(without, 'worker')} had nothing to do")
        share = _took(longest) / self.seconds
        of_the_run = f", {share:.0%} of the run" if share >= _WORTH_SAYING else ""
        said.append(f"the longest attempt was {longest.cell}: {format_seconds(_took(longest))}{of_the_run}")
        return "; ".join(said)


def segments(attempt: Attempt, whole: float) -> list[Segment]:
    """An attempt's phases in per cent of ``whole`` seconds, none over another.

    Neighbouring steps of one phase become one. A step lies beneath those within it, as a script beneath the
    boots and stops of its servers.
    """
    stretches = _stretches(attempt)
    whole = whole or 1.0
    return [
        Segment(phase, _percent(start, whole), _percent(min(end, whole) - start, whole), end - start)
        for phase, start, end in stretches
        if start < whole
    ]


def _stretches(attempt: Attempt) -> list[tuple[str, float, float]]:
    unseen = attempt.duration_seconds * _UNSEEN
    parts: list[tuple[str, float, float]] = []
    for step in attempt.steps:
        own = own_parts(step, attempt.steps)
        seen = own if len(own) == 1 else [part for part in own if part[1] - part[0] > unseen]
        parts += [(step.phase, start, end) for start, end in seen]
    found: list[tuple[str, float, float]] = []
    for phase, start, end in sorted(parts, key=lambda part: part[1]):
        if found and found[-1][0] == phase:
            found[-1] = (phase, found[-1][1], end)
        else:
            found.append((phase, start, end))
    if not attempt.steps:
        at = 0.0
        for phase in PHASES:
            spent = spent_on(attempt, phase)
            if spent:
                found.append((phase, at, at + spent))
                at += spent
    return found


def timeline(
    cells: Sequence[tuple[Cell, str]], run_seconds: float, workers: int, beside: str | None = None
) -> Timeline:
    """Every attempt in its worker's lane; idle workers have empty ones. ``beside``: see ``Timeline``."""
    attempts = [(cell, anchor, attempt) for cell, anchor in cells for attempt in cell.attempts]
    ends = [attempt.run_offset_seconds + attempt.duration_seconds for _, _, attempt in attempts]
    whole = max([run_seconds, *ends]) or 1.0
    lanes: dict[int, list[Bar]] = {worker: [] for worker in range(min(workers, 256))}
    for cell, anchor, attempt in sorted(attempts, key=lambda item: item[2].run_offset_seconds):
        end = attempt.run_offset_seconds + attempt.duration_seconds
        lanes.setdefault(attempt.worker, []).append(
            Bar(
                cell=cell.id,
                anchor=anchor,
                attempt=attempt.number,
                attempts=len(cell.attempts),
                outcome=attempt.outcome,
                emulated=cell.emulated,
                start=_percent(attempt.run_offset_seconds, whole),
                width=_percent(attempt.duration_seconds, whole),
                starts_seconds=attempt.run_offset_seconds,
                ends_seconds=end,
                segments=segments(attempt, attempt.duration_seconds),
            )
        )
    return Timeline(
        seconds=whole,
        lanes=[
            Lane(
                worker,
                bars,
                min(100, round(sum(bar.width for bar in bars))),
                last=bool(bars) and max(bar.ends_seconds for bar in bars) == max(ends),
            )
            for worker, bars in sorted(lanes.items())
        ],
        ticks=_ticks(whole),
        beside=beside,
    )


def _end(bar: Bar) -> float:
    return bar.ends_seconds


def _took(bar: Bar) -> float:
    return bar.ends_seconds - bar.starts_seconds


def _ticks(whole: float) -> list[Tick]:
    step = next((size for size in _TICKS if whole / size <= _MOST_TICKS), whole / _MOST_TICKS)
    count = int(whole / step + 1e-9)
    return [Tick(_percent(index * step, whole), _clock(index * step)) for index in range(count + 1)]


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def _percent(part: float, whole: float) -> float:
    return round(max(part, 0.0) / whole * 100, 3)
