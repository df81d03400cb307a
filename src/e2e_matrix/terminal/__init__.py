"""What a person sees while the matrix runs, and at its end.

``make_progress`` chooses: a live picture on a terminal (live.py), lines elsewhere (plain.py), only the
verdict with ``--quiet``. All of them end with summary.py, and all text from outside goes through text.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from e2e_matrix.progress import Progress
from e2e_matrix.terminal.screen import Screen

__all__ = ["make_progress"]


def make_progress(stream: TextIO, quiet: bool, environ: Mapping[str, str], isatty: bool) -> Progress:
    """A watcher that writes to ``stream``. NO_COLOR, TERM and COLUMNS are read from ``environ``."""
    from e2e_matrix.terminal.live import LiveProgress  # loads what makes a run: the history shows none
    from e2e_matrix.terminal.plain import PlainProgress, QuietProgress

    can_move_the_cursor = isatty and environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
    screen = Screen(stream, environ, terminal=can_move_the_cursor)
    if quiet:
        return QuietProgress(screen)
    return LiveProgress(screen) if can_move_the_cursor else PlainProgress(screen)
