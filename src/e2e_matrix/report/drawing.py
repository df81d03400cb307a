"""What the timeline's SVG needs beside the geometry: many bars in few shapes, and labels that do not collide.

A lane with a thousand attempts has one path for each phase, not a rectangle for each step: a page of a
thousand cells stays small, and quick to draw.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from e2e_matrix.report.timeline import Bar, Lane
from e2e_matrix.text import ELLIPSIS

# Paths count in these across the lane; the drawing stretches them to its width.
UNITS = 10_000
# What a lane has for its bars, in pixels: on a wide window, and at the least, where it scrolls.
_WIDE, _NARROW = 900.0, 540.0
_CHARACTER, _MARK = 6.7, 22.0
_MOST_CHARACTERS = 40
_FEW = 40  # bars in a lane of which each can be told apart


@dataclass(frozen=True)
class Shape:
    """All stretches of one phase in a lane, as the data of a path; ``name`` is the phase, or ``rest``."""

    name: str
    path: str


@dataclass(frozen=True)
class Label:
    """A bar's name, above its bar or below; ``wide``: only where there is room for it.

    It begins with its bar or, near the end of the lane, ends there (``at_end``).
    """

    bar: Bar
    text: str
    below: bool
    wide: bool
    at_end: bool


def shapes(lane: Lane) -> list[Shape]:
    """The lane's paths, in the order in which they lie over each other."""
    parts: dict[str, list[str]] = defaultdict(list)
    for bar in lane.bars:
        parts["rest"].append(_stretch(bar.start, bar.width))
        for segment in bar.segments:
            start = bar.start + segment.start * bar.width / 100
            parts[segment.phase].append(_stretch(start, segment.width * bar.width / 100))
    return [Shape(name, "".join(stretches)) for name, stretches in parts.items()]


def outcomes(lane: Lane) -> list[Shape]:
    """One path for each outcome but passed."""
    parts: dict[str, list[str]] = defaultdict(list)
    for bar in lane.bars:
        if bar.outcome != "passed":
            parts[bar.outcome].append(_stretch(bar.start, bar.width))
    return [Shape(name, "".join(stretches)) for name, stretches in parts.items()]


def edges(lane: Lane) -> str:
    """The path of a line at the beginning of each attempt but the first, as long as they are few."""
    if len(lane.bars) > _FEW:
        return ""
    return "".join(f"M{round(bar.start * UNITS / 100)} 0v1" for bar in lane.bars[1:])


def labels(lane: Lane) -> list[Label]:
    """The names that fit, in turn above and below, so that each has the room until the next but one."""
    wide, narrow = _placed(lane, _WIDE), _placed(lane, _NARROW)
    return [
        Label(
            bar, _name(bar), bool(index % 2), index not in narrow, narrow.get(index, wide.get(index, False))
        )
        for index, bar in enumerate(lane.bars)
        if index in wide or index in narrow
    ]


def _placed(lane: Lane, pixels: float) -> dict[int, bool]:
    """Which labels fit into a lane of so many pixels, and of each whether it stands at the lane's end."""
    placed: dict[int, bool] = {}
    taken = [0.0, 0.0]  # up to where labels stand already, above and below
    starts = [bar.start * pixels / 100 for bar in lane.bars]
    for index, bar in enumerate(lane.bars):
        side, width = index % 2, len(_name(bar)) * _CHARACTER + _MARK
        room = starts[index + 2] if index + 2 < len(starts) else pixels
        if taken[side] <= starts[index] and starts[index] + width <= room:
            placed[index], taken[side] = False, starts[index] + width
        elif len(lane.bars) <= _FEW and room == pixels and taken[side] + width <= pixels:
            placed[index], taken[side] = True, pixels
    return placed


def _name(bar: Bar) -> str:
    name = bar.cell if len(bar.cell) <= _MOST_CHARACTERS else f"{bar.cell[: _MOST_CHARACTERS - 1]}{ELLIPSIS}"
    return f"{name} #{bar.attempt}" if bar.attempts > 1 else name


def _stretch(start: float, width: float) -> str:
    """A rectangle of height 1 from ``start`` on, both in per cent."""
    left = round(start * UNITS / 100)
    wide = max(round((start + width) * UNITS / 100) - left, 1)
    return f"M{left} 0h{wide}v1h-{wide}z"
