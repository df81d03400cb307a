"""Where the time went: attempts over workers, as shares of the run, and phases per cell.

All geometry is in per cent of the width, so that a drawing keeps its text's size at any width. Native and
emulated cells share the run's clock in the lanes, but are never compared: their phases have panels and scales
of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from e2e_matrix.failures import Outcome
from e2e_matrix.results import Attempt, Cell
from e2e_matrix.script_words import own_parts, own_seconds
from e2e_matrix.text import format_seconds

PHASES = ("pull", "boot", "checks", "init", "conversation", "script", "removal")
# Of an attempt: what is shorter is not seen in its bar.
_UNSEEN = 0.005
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
    worker: int
    bars: list[Bar]
    busy_percent: int


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Timeline:
    seconds: float
    lanes: list[Lane]
    ticks: list[Tick]


@dataclass(frozen=True)
class PhaseRow:
    cell: str
    anchor: str
    outcome: Outcome
    segments: list[Segment]
    seconds: dict[str, float | None]
    first_token: float | None
    total: float


@dataclass(frozen=True)
class PhasePanel:
    """Cells that may be compared with each other, all native or all emulated, scaled to the longest."""

    emulated: bool
    rows: list[PhaseRow]


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
            spent = _spent(attempt, phase)
            if spent:
                found.append((phase, at, at + spent))
                at += spent
    return found


def timeline(cells: Sequence[tuple[Cell, str]], run_seconds: float, workers: int) -> Timeline:
    """Every attempt in its worker's lane; idle workers have empty ones."""
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
            Lane(worker, bars, min(100, round(sum(bar.width for bar in bars))))
            for worker, bars in sorted(lanes.items())
        ],
        ticks=_ticks(whole),
    )


def phase_panels(cells: Iterable[tuple[Cell, str]]) -> list[PhasePanel]:
    """Phase by phase, the last attempt of each cell that ran; native and emulated apart."""
    ran = [(cell, anchor, cell.attempts[-1]) for cell, anchor in cells if cell.attempts]
    panels: list[PhasePanel] = []
    for emulated in (False, True):
        alike = [item for item in ran if item[0].emulated is emulated]
        whole = max((attempt.duration_seconds for _, _, attempt in alike), default=0.0)
        rows = [
            PhaseRow(
                cell=cell.id,
                anchor=anchor,
                outcome=attempt.outcome,
                segments=segments(attempt, whole),
                seconds={phase: _spent(attempt, phase) for phase in PHASES},
                first_token=attempt.phases.first_token,
                total=attempt.duration_seconds,
            )
            for cell, anchor, attempt in alike
        ]
        if rows:
            panels.append(PhasePanel(emulated, rows))
    return panels


def _spent(attempt: Attempt, phase: str) -> float | None:
    """What results.json says, else the sum of the phase's steps; None where the attempt did not get there."""
    if phase == "script":
        return own_seconds(attempt)
    told: float | None = getattr(attempt.phases, phase, None)
    steps = [step.duration_seconds for step in attempt.steps if step.phase == phase]
    return told if told is not None else sum(steps) if steps else None


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
