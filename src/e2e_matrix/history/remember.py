"""What a run does about the history at its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from e2e_matrix.history.database import History
from e2e_matrix.history.reading import LeftOut
from e2e_matrix.settings import Settings

_PATIENCE = 5.0  # seconds: what a run waits for other writers, at the most


def remember(folder: Path, settings: Settings, note: Callable[[str], None]) -> None:
    """Add the run in ``folder``. Whatever keeps it from that is a note: it changes nothing of the run's."""
    try:
        with History.open(settings.history, note, settings.reports, _PATIENCE) as history:
            history.add(folder)
    except LeftOut:
        pass  # the run that was compared with it is remembered
    except Exception as error:  # noqa: BLE001 - the run is over, and its results are written
        note(f"not in the history: {error}; `e2e-matrix history import {folder}` adds it")
