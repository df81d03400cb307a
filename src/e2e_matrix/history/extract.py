"""What a run takes out of the history at its end, for its report: see trend.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from e2e_matrix.history.database import History
from e2e_matrix.results import Results
from e2e_matrix.settings import Settings
from e2e_matrix.trend import LOOK_BACK, keep_trend, trend_of

_PATIENCE = 5.0  # seconds: what a run waits for other writers, at the most


def keep_past(folder: Path, results: Results, settings: Settings, note: Callable[[str], None]) -> None:
    """Lay into ``folder`` what the cells did before. Whatever keeps it from that is a note, and no more."""
    try:
        with History.open(settings.history, note, settings.reports, _PATIENCE) as history:
            before = history.last_points([cell.id for cell in results.cells], LOOK_BACK, results.run.id)
        keep_trend(folder, trend_of(results, before))
    except Exception as error:  # noqa: BLE001 - the run is over, and its results are written
        note(f"the report does not look back on earlier runs: {error}")
