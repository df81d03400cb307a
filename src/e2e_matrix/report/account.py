"""What happened in a cell, as plain text for the formats that programs read.

All of it is safe to show (text.py) and bounded: how long a text may be follows from how many there are, so
that a few failures are told at length, and a thousand of them still make a file that a CI server takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from e2e_matrix.advice import for_run
from e2e_matrix.failures import BROKEN, POLICIES
from e2e_matrix.report.cell_view import command_for
from e2e_matrix.report.escape import excerpt
from e2e_matrix.results import Attempt, Cell, Results, Run, Step
from e2e_matrix.script_words import detail_beside
from e2e_matrix.text import block, one_line, told_apart

# Characters of all the texts of a run, and of one of them.
_TOGETHER = 1_500_000
_SHORTEST, _LONGEST = 200, 12_000
_STEPS_SHOWN = 10
_LOG_WIDTH = 200
# Jenkins' JUnit Attachments plugin publishes what a log names so, be it any file of the machine.
_ATTACHMENT = re.compile(r"\[(?=\[ATTACHMENT\|)", re.IGNORECASE)


def room_for_each(results: Results) -> int:
    """How many characters each text of this run may have."""
    attempts = sum(attempt.outcome in BROKEN for cell in results.cells for attempt in cell.attempts)
    cells = sum(cell.outcome in BROKEN for cell in results.cells)
    # Of each a trace, a log and what a script printed.
    return min(max(_TOGETHER // (3 * max(attempts, cells, 1)), _SHORTEST), _LONGEST)


def names_of(cells: Sequence[Cell]) -> list[str]:
    """A name for each cell: its id, and a number where two would read the same."""
    return told_apart(one_line(cell.id) or "cell" for cell in cells)


def earlier(cell: Cell) -> list[Attempt]:
    """The attempts beside the one that counts: tries before it and, with --repeat, other repetitions.

    Those of another plan or image, before the run was resumed, say nothing about this one.
    """
    counts = cell.counted_attempt
    return [one for one in cell.attempts if one is not counts and not one.superseded]


def message_of(told: Cell | Attempt) -> str:
    """Why it did not pass, in one line."""
    step = next(iter(_broken_steps(told)), None)
    what = POLICIES[told.cause].what if told.cause else told.outcome.value.replace("_", " ")
    return _plain(one_line((step.message if step else None) or told.message or what, 300))


def trace_of(told: Cell | Attempt, room: int) -> str:
    """What was expected and what came, at each step that broke; in at most ``room`` characters."""
    return _plain(block("\n".join(_trace(told)), room, lines=200))


def advice_for(cell: Cell, run: Run) -> str:
    """What to do about a cell that broke, and how to run it again."""
    do = [f"what to do: {for_run(POLICIES[cell.cause].do, run)}"] if cell.cause else []
    return _plain("\n".join([*do, f"just this again: {one_line(command_for(run, cell.id), 1000)}"]))


def output_of(attempt: Attempt | None, room: int) -> str:
    """The server's log around a failure and the end of what a script printed, each in about ``room``."""
    script = attempt.script if attempt else None
    parts = [
        f"{name}:\n{excerpt(text, max(room // _LOG_WIDTH, 1), _LOG_WIDTH)}"
        for name, text in (
            ("server.log", attempt.log_excerpt if attempt else None),
            ("script.log", script.output_excerpt if script else None),
        )
        if text
    ]
    return _plain("\n\n".join(parts))


def _trace(told: Cell | Attempt) -> Iterator[str]:
    steps = _broken_steps(told)
    attempt = told if isinstance(told, Attempt) else told.counted_attempt
    script = attempt.script if attempt else None
    if told.message and told.message not in [step.message for step in steps]:
        yield block(told.message, 1200, 6)
    for step in steps[:_STEPS_SHOWN]:
        yield f"at {one_line(step.name)}: {one_line(step.title)}"
        said = (("", step.message), ("expected: ", step.expected), ("got:      ", step.got))
        yield from (f"{word}{block(text, 1200, 6)}" for word, text in said if text is not None)
        if detail := detail_beside(step.detail, script.output_excerpt if script else None):
            yield block(detail)
    if len(steps) > _STEPS_SHOWN:
        yield f"and {len(steps) - _STEPS_SHOWN} more steps"


def _broken_steps(told: Cell | Attempt) -> list[Step]:
    return [step for step in told.steps if step.outcome in BROKEN]


def _plain(text: str) -> str:
    return _ATTACHMENT.sub("[ ", text)
