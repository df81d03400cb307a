"""The history as one self-contained page in the look of a report: no request, and no script at all."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path

from markupsafe import Markup

from e2e_matrix import shifts
from e2e_matrix.failures import Outcome
from e2e_matrix.history.database import History
from e2e_matrix.history.points import Point, RunLine
from e2e_matrix.history.since import short
from e2e_matrix.report import FORMATS, trends
from e2e_matrix.report.escape import relative_link
from e2e_matrix.report.history_view import MOST_CELLS, MOST_NEWS, CellLine, HistoryView
from e2e_matrix.report.html import asset, icon_of, policy_of, template
from e2e_matrix.store import write_atomically

FILENAME = "history.html"
# The strip of a cell, in pixels: a run's width, the full height of what failed, and that of what passed.
_STEP, _TALL, _LOW, _TURN = 7, 16, 8, 4
_BAR = 5


def write(history: History, path: Path, since: datetime | None = None) -> None:
    """Write the page on the runs that began at ``since`` or later, or on all of them.

    Raises ``InfrastructureError`` where the disk refuses.
    """
    with _without_collector():
        page = render(history.runs(since), history.points(since=since), path.parent)
    # Half-surrogates cannot be in what was made safe to show; should one be, it must not end the page.
    write_atomically(path, page.encode("utf-8", "replace"))


@contextmanager
def _without_collector() -> Iterator[None]:
    """Sixty thousand points are no garbage before the page is written; looking takes half a second."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def render(runs: Sequence[RunLine], points: Sequence[Point], folder: Path) -> str:
    """The page on ``runs`` and all their points, both in the order of time, as it lies in ``folder``.

    It links to the reports of those runs whose folders are beside it.
    """
    view = HistoryView(runs, points)
    style = asset("report.css") + asset("history.css")

    @cache
    def link(run: str) -> str | None:
        name = FORMATS["html"].filename
        found = relative_link(run, name)
        return found if found and (folder / run / name).is_file() else None

    return template("history.html.j2").render(
        view=view,
        link=link,
        short=short,
        strip=strip,
        strip_width=_STEP * len(view.last_runs),
        strip_height=_TALL + _TURN,
        chart=trends,
        rule=shifts,
        most_news=MOST_NEWS,
        most_cells=MOST_CELLS,
        style=Markup(style),
        policy=policy_of(style),
        icon=icon_of(view.state),
    )


def strip(line: CellLine) -> dict[str, str]:
    """The paths of a cell's strip, by class. What failed stands out by its height, not by colour alone."""
    parts: dict[str, str] = {}
    for number, outcome in enumerate(line.outcomes):
        if outcome is None:
            continue
        height = {Outcome.PASSED: _LOW, Outcome.FAILED: _TALL, Outcome.ERROR: _TALL}.get(outcome, 2)
        parts[outcome.value] = (
            parts.get(outcome.value, "") + f"M{_STEP * number + 1} {_TALL}v-{height}h{_BAR}v{height}z"
        )
    for number, failing in line.turns.items():
        name = "began" if failing else "ended"
        parts[name] = parts.get(name, "") + f"M{_STEP * number + 1} {_TALL + 3}h{_BAR}"
    return parts
