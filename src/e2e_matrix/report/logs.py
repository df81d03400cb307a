"""The logs that a page holds itself: what lies in the run's folder, as far as it fits.

What does not fit is a link to its file. Logs were redacted before they were written down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.report.cell_view import CellView
from e2e_matrix.report.escape import relative_link
from e2e_matrix.results import Attempt
from e2e_matrix.text import block

# Bytes: of one log, and of all of them in one page.
LARGEST = 128 * 1024
ALL = 1024 * 1024


@dataclass(frozen=True)
class Log:
    """A log beside the report. ``text``: all of it, safe to show; None where it is not there or too large."""

    name: str
    link: str
    size: int | None  # bytes; None where it is not there
    text: str | None = None

    @property
    def lines(self) -> int:
        return self.text.count("\n") + 1 if self.text else 0


def logs_of(cells: Sequence[CellView], folder: Path, room: int = ALL) -> dict[str, list[Log]]:
    """The logs of every attempt, by the attempt's folder, with as much of their text as ``room`` bytes hold.

    What broke comes first, and the attempt that counts before others.
    """
    found: dict[str, list[Log]] = {}
    for attempt in _by_interest(cells):
        found[attempt.folder] = []
        for name in _names(attempt):
            link = relative_link(attempt.folder, name)
            if link is None:
                continue
            path = folder / attempt.folder / name
            size = _size(path, folder)
            fits = size is not None and size <= min(LARGEST, room)
            text = _read(path) if fits else None
            room -= (size or 0) if text is not None else 0
            found[attempt.folder].append(Log(name, link, size, text))
    return found


def _by_interest(cells: Sequence[CellView]) -> Iterator[Attempt]:
    ranked = sorted(cells, key=lambda view: (not view.broken, not view.flaky))
    yield from (view.last for view in ranked if view.last)
    yield from (one for view in ranked for one in view.cell.attempts if one is not view.last)


def _names(attempt: Attempt) -> Iterator[str]:
    """The script's output says more than its server's log."""
    if attempt.script is not None and attempt.script.output_bytes is not None:
        yield "script.log"
    if any(step.phase != "pull" for step in attempt.steps):  # else no container ran
        yield "server.log"


def _size(path: Path, folder: Path) -> int | None:
    """None also for what a link leads out of the run's folder: it may be a stranger's."""
    try:
        inside = path.resolve(strict=True).is_relative_to(folder.resolve())
        return path.stat().st_size if inside and path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _read(path: Path) -> str | None:
    try:
        raw = path.read_bytes()[:LARGEST]
    except OSError:
        return None
    # A tab becomes four spaces; nothing of what fits is left out.
    return block(raw.decode("utf-8", "replace"), 5 * LARGEST, 5 * LARGEST)
