"""The history as one self-contained page in the look of a report: no request, and no script at all."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
from e2e_matrix.report.history_view import MOST_CELLS, MOST_NEWS, HistoryView
from e2e_matrix.report.html import asset, icon_of, policy_of, template
from e2e_matrix.store import write_atomically

FILENAME = "history.html"
# The strip of a cell, in pixels: from run to run, a bar's width, the full height, and below it that of turns.
_STEP, _BAR, _TALL, _TURN = 12, 10, 16, 11
_HEIGHTS = {Outcome.PASSED: 8, Outcome.FAILED: _TALL, Outcome.ERROR: 12}
_LEAST = 2


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
        [name] = FORMATS["html"].modules
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


def strip(outcomes: Sequence[Outcome | None], turns: Mapping[int, bool]) -> dict[str, str]:
    """Outcomes run by run, as paths by their class. What failed stands out by its height, too.

    ``turns``: the numbers of the runs with which something began to fail (True) or was fixed.
    """
    parts: dict[str, str] = defaultdict(str)
    for number, outcome in enumerate(outcomes):
        if outcome is not None:
            height = _HEIGHTS.get(outcome, _LEAST)
            parts[f"is-{outcome}"] += f"M{_STEP * number + 1} {_TALL}v-{height}h{_BAR}v{height}z"
    for number, failing in turns.items():
        # A triangle that points at the bar, or a ring.
        shape = f"{_TALL + 2}l5 8h-10z" if failing else f"{_TALL + 3}a3.5 3.5 0 1 1-.01 0z"
        parts["began" if failing else "ended"] += f"M{_STEP * number + 1 + _BAR // 2} {shape}"
    return dict(parts)
