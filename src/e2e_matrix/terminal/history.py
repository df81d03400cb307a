"""The history on a terminal: the newest last, for there the eye is."""

from __future__ import annotations

from collections.abc import Sequence

from e2e_matrix.failures import Outcome
from e2e_matrix.history.flakiness import Flakiness
from e2e_matrix.history.medians import Medians, medians
from e2e_matrix.history.points import Point, RunLine
from e2e_matrix.history.since import Since, short
from e2e_matrix.script_words import counted
from e2e_matrix.terminal.screen import STYLES, Screen, outcome_words
from e2e_matrix.text import NO_VALUE, format_money, format_seconds, one_line

_Cell = tuple[str, str]  # a text and its style


def show_runs(screen: Screen, runs: Sequence[RunLine]) -> None:
    rows = [
        [
            (one_line(run.id, 60), ""),
            (f"{run.started_at:%Y-%m-%d %H:%M}", ""),
            (outcome_words(run.verdict), STYLES[run.verdict]),
            (_cells(run), ""),
            (format_money(run.cost_usd), ""),
            (format_seconds(run.duration_seconds), ""),
            (one_line(run.subject, 100), ""),
        ]
        for run in runs
    ]
    _table(screen, ["run", "UTC", "verdict", "cells", "cost", "time", "tested"], rows)


def _cells(run: RunLine) -> str:
    told = [f"{number} {outcome_words(outcome)}" for outcome, number in run.counts.items() if number]
    marks = [f"{number} {word}" for number, word in ((run.flaky, "flaky"), (run.reused, "reused")) if number]
    return (", ".join(told) or "none") + (f" ({', '.join(marks)})" if marks else "")


def show_cell(screen: Screen, points: Sequence[Point], since: Since | None) -> None:
    """One cell over its runs, what it takes as a rule, and since when it fails where it does."""
    rows = [
        [
            (f"{point.started_at:%Y-%m-%d %H:%M}", ""),
            (_outcome(point), STYLES[point.outcome]),
            (_how(point), ""),
            (format_seconds(point.phases.boot), ""),
            (format_seconds(point.phases.conversation), ""),
            (format_seconds(point.duration_seconds or None), ""),
            (format_money(point.cost_usd) if point.cost_usd is not None else NO_VALUE, ""),
            (short(point.digest), ""),
            (one_line(point.server_version or NO_VALUE, 20), ""),
            (one_line(point.run, 60), ""),
        ]
        for point in points
    ]
    columns = ["UTC", "outcome", "ran", "boot", "conversation", "total", "cost", "image", "server", "run"]
    _table(screen, columns, rows)
    for found in medians(points):
        screen.line("")
        _show_medians(screen, found)
    if since:
        screen.line("")
        _show_since(screen, since)


def _outcome(point: Point) -> str:
    marks = [word for word, is_so in (("flaky", point.flaky), ("reused", point.reused)) if is_so]
    return outcome_words(point.outcome) + (f" ({', '.join(marks)})" if marks else "")


def _how(point: Point) -> str:
    return "emulated" if point.emulated else "native"


def _series(point: Point) -> str:
    version = f" version {one_line(point.scenario_version, 20)}" if point.scenario_version else ""
    return f"{_how(point)}, {one_line(point.model, 80)}, {one_line(point.scenario, 60)}{version}"


def _show_medians(screen: Screen, found: Medians) -> None:
    screen.line(
        (f"median of {counted(found.passes, 'pass', 'passes')}", "bold"), f"  {_series(found.newest)}"
    )
    told = [
        f"{name} {format_seconds(seconds)}"
        for name, seconds in (
            ("boot", found.boot),
            ("init", found.init),
            ("conversation", found.conversation),
            ("total", found.total),
        )
        if seconds is not None
    ]
    cost = f"cost {format_money(found.cost)}"
    screen.line("  ", ", ".join([*told, cost]))


def _show_since(screen: Screen, since: Since) -> None:
    bad, good = since.first_bad, since.last_good
    screen.line(
        ("failing since ", STYLES[Outcome.FAILED]),
        f"{_when(bad)}: {counted(since.failures, 'run')} in a row",
    )
    if bad.message:
        screen.line("  ", one_line(bad.message, 300))
    if good is None:
        screen.line("  it is not known to have passed before")
        return
    screen.line("  ", f"passed last in {_when(good)}")
    screen.line("  ", f"between the two: {'; '.join(since.changed)}")


def _when(point: Point) -> str:
    return f"{one_line(point.run, 60)} ({point.started_at:%Y-%m-%d %H:%M} UTC)"


def show_flaky(screen: Screen, found: Sequence[tuple[Flakiness, Since | None]]) -> None:
    """The flake rate of each cell, and of those that fail, since when."""
    rows = [
        [
            (one_line(one.newest.cell, 60), ""),
            (_how(one.newest), ""),
            (str(one.samples), ""),
            (str(one.flaky), ""),
            (f"{one.rate:.0%}", "bold yellow" if one.flaky else ""),
            ("{:.0%} to {:.0%}".format(*one.interval), ""),
            (_reasons(one) or NO_VALUE, ""),
        ]
        for one, _ in found
    ]
    columns = ["cell", "ran", "runs", "flaky", "rate", "95 % (Wilson)", "how it was seen"]
    _table(screen, columns, rows)
    for one, since in found:
        if since:
            screen.line("")
            screen.line((one_line(one.newest.cell, 60), "bold"))
            _show_since(screen, since)


def _reasons(found: Flakiness) -> str:
    return ", ".join(
        f"{number} {words}"
        for number, words in (
            (found.retried, "passed when tried again"),
            (found.mixed, "passed in some repetitions"),
            (found.contradicted, "failed, and passed later on the same image"),
        )
        if number
    )


def _table(screen: Screen, columns: Sequence[str], rows: Sequence[Sequence[_Cell]]) -> None:
    """Columns as wide as what is in them; the last one may be as long as it is."""
    widths = [max(map(len, [name, *(row[index][0] for row in rows)])) for index, name in enumerate(columns)]
    for row in ([(name, "dim") for name in columns], *rows):
        *first, (last, style) = row
        cells = [(f"{text:<{width}}  ", how) for (text, how), width in zip(first, widths, strict=False)]
        screen.line(*cells, (last, style))
