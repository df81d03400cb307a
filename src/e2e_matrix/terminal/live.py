"""The live picture: one line per cell, and a footer with how far the run is."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from e2e_matrix.engine.base import PullProgress
from e2e_matrix.failures import Outcome
from e2e_matrix.results import Attempt, Cell, Results, Step
from e2e_matrix.reused_words import reused_from
from e2e_matrix.script_words import wasted_words
from e2e_matrix.terminal.screen import STYLES, Screen, harmless, outcome_words
from e2e_matrix.terminal.summary import failing_steps, show_summary, total_cost
from e2e_matrix.text import format_bytes, format_money, format_seconds, one_line

_REFRESHES_PER_SECOND = 4
_BAR_WIDTH = 14
_LINES_FOR_OTHERS = 4  # of the screen: the prompt, the line of what is left out, the footer


@dataclass
class _Row:
    cell: str
    started: float | None = None  # monotonic
    attempt: int = 1
    titles: list[tuple[str, str]] = field(default_factory=list)  # of the steps that run, the innermost last
    title: str = ""
    pull: PullProgress | None = None
    troubled: bool = False  # a step failed, and the cell still runs
    outcome: Outcome | None = None
    message: str = ""
    wasted: str = ""
    reused: str = ""
    seconds: float | None = None
    cost: Decimal | None = None

    @property
    def urgency(self) -> int:
        """What stays visible when not all rows fit: running, then trouble, then waiting, then passed."""
        if self.outcome is None:
            return 2 if self.started is None else 0
        return 3 if self.outcome is Outcome.PASSED else 1


class LiveProgress:
    """Redrawn four times a second from what was told; telling it costs a lock and an assignment."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._lock = threading.Lock()  # never held while printing: rich holds its own while it draws
        self._rows: dict[str, _Row] = {}
        self._heading = ""
        self._began = time.monotonic()
        self._live: Live | None = None

    @harmless
    def run_started(self, run_id: str, cells: Sequence[str], workers: int, llm: str) -> None:
        with self._lock:
            self._rows = {cell: _Row(cell) for cell in cells}
            self._began = time.monotonic()
        self._screen.line(
            ("run ", "dim"), (one_line(run_id), "bold"), (f"  {workers} at a time, {one_line(llm)}", "dim")
        )
        self._live = Live(
            console=self._screen.console,
            get_renderable=self.picture,
            refresh_per_second=_REFRESHES_PER_SECOND,
            # What else is printed goes above the picture, but only where it would hit the same screen.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start(refresh=True)

    @harmless
    def note(self, message: str) -> None:
        self._screen.line(one_line(message, 500))

    @harmless
    def cell_started(self, cell: str, attempt: int, repetition: int = 1) -> None:
        with self._lock:
            self._rows[cell] = _Row(cell, started=time.monotonic(), attempt=attempt)

    @harmless
    def pulling(self, cell: str, progress: PullProgress) -> None:
        with self._lock:
            self._row(cell).pull = progress

    @harmless
    def step_started(self, cell: str, step: str, title: str) -> None:
        with self._lock:
            row = self._row(cell)
            row.title = one_line(title)
            row.titles.append((step, row.title))

    @harmless
    def step_finished(self, cell: str, step: Step) -> None:
        with self._lock:
            row = self._row(cell)
            row.pull = None
            row.titles = [running for running in row.titles if running[0] != step.name]
            if row.titles:  # a script goes on when its server has booted
                row.title = row.titles[-1][1]
            row.troubled |= step.outcome in (Outcome.FAILED, Outcome.ERROR)
            row.cost = _cost_in(step) or row.cost

    @harmless
    def attempt_failed(self, cell: str, attempt: Attempt, pause: float) -> None:
        with self._lock:
            row = self._row(cell)
            row.title = f"tries again soon: {one_line(attempt.message or '')}"
            row.troubled = True

    @harmless
    def cell_finished(self, cell: Cell) -> None:
        step = next(iter(failing_steps(cell)), None)
        with self._lock:
            row = self._row(cell.id)
            row.outcome, row.cost = cell.outcome, cell.cost_usd
            row.seconds = cell.duration_seconds if cell.attempts else None
            row.message = one_line((step.message if step else None) or cell.message or "")
            row.wasted = wasted_words(cell)
            row.reused = one_line(reused_from(cell) or "", 100)

    @harmless
    def run_finished(self, results: Results, folder: str) -> None:
        if self._live:
            self._live.transient = True  # the table that follows says the same and more
        self.close()
        show_summary(self._screen, results, folder)

    @harmless
    def close(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def picture(self) -> RenderableType:
        """What is on the screen now."""
        now = time.monotonic()
        with self._lock:
            rows = list(self._rows.values())
            room = max(self._screen.console.height - _LINES_FOR_OTHERS, 3)
            shown = rows
            if len(rows) > room:
                kept = {row.cell for row in sorted(rows, key=lambda row: row.urgency)[:room]}
                shown = [row for row in rows if row.cell in kept]
            grid = Table.grid(padding=(0, 1), expand=True)
            grid.add_column(width=1)
            grid.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, self._screen.width // 3))
            grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
            grid.add_column(no_wrap=True, justify="right")
            grid.add_column(no_wrap=True, justify="right")
            for row in shown:
                grid.add_row(*self._line(row, now))
            parts: list[RenderableType] = [grid]
            if len(shown) < len(rows):
                parts.append(Text(f"  and {len(rows) - len(shown)} more", "dim"))
            parts.append(self._footer(rows, now))
        return Group(*parts)

    def _row(self, cell: str) -> _Row:
        return self._rows.setdefault(cell, _Row(cell))

    def _line(self, row: _Row, now: float) -> list[Text]:
        if row.outcome is not None:
            mark, what = self._screen.mark(row.outcome), Text(outcome_words(row.outcome), STYLES[row.outcome])
            if row.message and row.outcome is not Outcome.PASSED:
                what.append(f": {row.message}")
            if row.reused:
                what.append(f" ({row.reused})")
            if row.wasted:
                what.append(f", {row.wasted}", "yellow")
        elif row.started is None:
            mark, what = self._screen.mark(Outcome.NOT_RUN), Text("waiting", "dim")
        else:
            frames = self._screen.letters("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\")
            mark = Text(
                frames[int(now * _REFRESHES_PER_SECOND) % len(frames)], "red" if row.troubled else "cyan"
            )
            what = self._pull(row.pull) if row.pull else Text(row.title)
            if row.attempt > 1:
                what = Text.assemble((f"attempt {row.attempt}: ", "yellow"), what)
        seconds = row.seconds
        if row.started is not None and row.outcome is None:
            seconds = now - row.started
        elapsed = "" if seconds is None else format_seconds(seconds)
        cost = "" if row.cost is None else format_money(row.cost)
        return [mark, Text(one_line(row.cell, 100)), what, Text(elapsed), Text(cost)]

    def _pull(self, pull: PullProgress) -> Text:
        if pull.total_bytes <= 0:
            return Text(f"pulling: {one_line(pull.status, 60)}" if pull.status else "pulling")
        share = min(max(pull.done_bytes / pull.total_bytes, 0), 1)
        full = int(share * _BAR_WIDTH)
        done, left = self._screen.letters("━", "#"), self._screen.letters("─", "-")
        sizes = f"{format_bytes(pull.done_bytes)} / {format_bytes(pull.total_bytes)}"
        return Text.assemble("pull ", (done * full, "cyan"), (left * (_BAR_WIDTH - full), "dim"), f" {sizes}")

    def _footer(self, rows: Sequence[_Row], now: float) -> Text:
        outcomes = [row.outcome for row in rows if row.outcome is not None]
        parts = [f"{len(outcomes)}/{len(rows)} done"]
        parts += [
            f"{outcomes.count(outcome)} {outcome_words(outcome)}"
            for outcome in Outcome
            if outcome is not Outcome.PASSED and outcome in outcomes
        ]
        parts.append(format_seconds(now - self._began))
        cost = total_cost([row.cost for row in rows])
        if cost is not None:
            parts.append(f"{format_money(cost)} so far")
        return Text("  " + ", ".join(parts), "bold", no_wrap=True, overflow="ellipsis")


def _cost_in(step: Step) -> Decimal | None:
    """The cost that a step read from the server, if it is the step that reads it."""
    stated = step.facts.get("cost_usd")
    if stated is None:
        return None
    try:
        cost = Decimal(str(stated))
    except InvalidOperation:
        return None
    return cost if cost.is_finite() else None
