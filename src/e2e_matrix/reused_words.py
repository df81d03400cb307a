"""What another run's pass stands for, in words: the same on the terminal, in every report, in the verdict.

A run's id is raw in here; each place that shows it escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from e2e_matrix.results import Cell, Evidence
from e2e_matrix.store import age
from e2e_matrix.text import format_age

_MOST_RUNS = 3


def reused_from(cell: Cell) -> str | None:
    """Such as ``reused from 20260301T120000Z-abc123``; None where the cell ran, or was left as it was."""
    return f"reused from {cell.reused_from.run}" if cell.reused_from else None


def evidence_by_run(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The cells for which other runs' passes stand, by these runs, the newest first."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.reused_from:
            found.setdefault(cell.reused_from.run, []).append(cell)
    return {run: found[run] for run in sorted(found, key=age, reverse=True)}


def reused_in_all(cells: Sequence[Cell], now: datetime) -> str | None:
    """What of a run was reused, for its verdict; None where nothing was."""
    evidence = [cell.reused_from for cell in cells if cell.reused_from]
    if not evidence:
        return None
    whence = f"reused from {_runs(cells)}, {_oldest(evidence, now)})"
    if len(evidence) < len(cells):
        return f"{len(evidence)} {whence}"
    return f"{f'all {len(cells)} ' if len(cells) > 1 else ''}{whence}: nothing was run, it cost $0"


def _runs(cells: Sequence[Cell]) -> str:
    """Such as ``earlier runs (20260301T120000Z-abc123 and 2 more``: what is in the brackets goes on."""
    runs = list(evidence_by_run(cells))
    named = ", ".join(runs[:_MOST_RUNS])
    more = f" and {len(runs) - _MOST_RUNS} more" if len(runs) > _MOST_RUNS else ""
    return f"{'an earlier run' if len(runs) == 1 else 'earlier runs'} ({named}{more}"


def _oldest(evidence: Sequence[Evidence], now: datetime) -> str:
    seconds = max((now - one.finished_at).total_seconds() for one in evidence)
    return f"at most {format_age(seconds)} old"
