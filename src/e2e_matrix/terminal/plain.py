"""Lines, for logs and pipes: what happened, when, and nothing twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from e2e_matrix.engine.base import PullProgress
from e2e_matrix.failures import Outcome
from e2e_matrix.progress import Silent
from e2e_matrix.results import Attempt, Cell, Results, Step
from e2e_matrix.reused_words import reused_from
from e2e_matrix.script_words import wasted_words
from e2e_matrix.terminal.screen import STYLES, Screen, harmless, outcome_words
from e2e_matrix.terminal.summary import show_summary, show_verdict
from e2e_matrix.text import format_bytes, format_money, format_seconds, one_line


class QuietProgress(Silent):
    """``--quiet``: the verdict, one line."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    @harmless
    def run_finished(self, results: Results, folder: str) -> None:
        show_verdict(self._screen, results)


class PlainProgress:
    """One line per event that matters: start, pulled, a step that failed, the end."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._pulls: dict[str, PullProgress] = {}
        self._finished: set[str] = set()
        self._cells = 0

    @harmless
    def run_started(self, run_id: str, cells: Sequence[str], workers: int, llm: str) -> None:
        self._began = time.monotonic()
        self._cells = len(cells)
        number = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
        self._screen.line(f"run {one_line(run_id)}: {number}, {workers} at a time, {one_line(llm)}")

    @harmless
    def note(self, message: str) -> None:
        self._screen.line(one_line(message, 500))

    @harmless
    def cell_started(self, cell: str, attempt: int, repetition: int = 1) -> None:
        if repetition > 1:
            self._say(cell, f"starts repetition {repetition} (attempt {attempt})")
        else:
            self._say(cell, "starts" if attempt == 1 else f"starts again (attempt {attempt})")

    @harmless
    def pulling(self, cell: str, progress: PullProgress) -> None:
        with self._lock:
            self._pulls[cell] = progress

    def step_started(self, cell: str, step: str, title: str) -> None:
        """Not worth a line: a step that matters here is one that fails."""

    @harmless
    def step_finished(self, cell: str, step: Step) -> None:
        if step.outcome not in (Outcome.PASSED, Outcome.NOT_RUN):
            words = f"{outcome_words(step.outcome)}: {one_line(step.title)}"
            self._say(
                cell, words + (f": {one_line(step.message, 300)}" if step.message else ""), step.outcome
            )
        elif step.name == "pull":
            self._say(cell, self._pulled(cell, step))

    @harmless
    def attempt_failed(self, cell: str, attempt: Attempt, pause: float) -> None:
        when = f"in {format_seconds(pause)}" if pause else "at once"
        words = (
            f"{outcome_words(attempt.outcome)}: {one_line(attempt.message or '', 300)}; tries again {when}"
        )
        self._say(cell, words, attempt.outcome)

    @harmless
    def cell_finished(self, cell: Cell) -> None:
        with self._lock:
            self._finished.add(cell.id)
            done = len(self._finished)
        words = [outcome_words(cell.outcome)]
        if told := reused_from(cell):
            words[0] += f" ({one_line(told, 100)})"
        elif cell.reused:
            words[0] += " before, and is not run again"
        elif cell.attempts:
            words[0] += f" in {format_seconds(cell.duration_seconds)}"
        if cell.cost_usd is not None:
            words.append(format_money(cell.cost_usd))
        if wasted := wasted_words(cell):
            words.append(wasted)
        if cell.outcome is not Outcome.PASSED and cell.message and not cell.steps:
            words.append(one_line(cell.message, 300))
        self._say(cell.id, f"{', '.join(words)} [{done}/{self._cells}]", cell.outcome)

    @harmless
    def run_finished(self, results: Results, folder: str) -> None:
        show_summary(self._screen, results, folder)

    def close(self) -> None:
        """Nothing to put back."""

    def _pulled(self, cell: str, step: Step) -> str:
        with self._lock:
            progress = self._pulls.pop(cell, None)
        if step.facts.get("was_present"):
            return "image was already here"
        size = progress.total_bytes if progress else 0
        return f"pulled{f' {format_bytes(size)}' if size else ''} in {format_seconds(step.duration_seconds)}"

    def _say(self, cell: str, words: str, outcome: Outcome | None = None) -> None:
        elapsed = time.monotonic() - self._began
        style = STYLES[outcome] if outcome else ""
        self._screen.line(f"[{elapsed:6.1f} s] {one_line(cell, 100)}: ", (words, style))
