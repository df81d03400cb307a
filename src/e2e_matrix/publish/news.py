"""What there is to say about a run at one moment, for every place where it is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

from e2e_matrix.advice import resume_command
from e2e_matrix.assessment import Assessment
from e2e_matrix.failures import BROKEN, Outcome
from e2e_matrix.report import qa_markdown
from e2e_matrix.report.escape import code, fence, prose
from e2e_matrix.report.markdown import compose
from e2e_matrix.report.markdown_blocks import MARKS
from e2e_matrix.report.qa import QA
from e2e_matrix.report.view import build
from e2e_matrix.results import Cell, Results, Run
from e2e_matrix.text import block, one_line

_MOST_LISTED = 20
_LONGEST_TITLE = 250


class State(StrEnum):
    RUNNING = "running"
    FINAL = "final"


@dataclass(frozen=True)
class Trouble:
    """A cell that broke, in words that are safe to show."""

    cell: str
    outcome: Outcome
    message: str
    details: str = ""


@dataclass(frozen=True)
class News:
    """``outcome`` is None while the run goes on. ``facts`` is JSON: other facts are other news.

    ``markdown(budget, link)`` writes it all in at most ``budget`` bytes; ``link`` leads to the run.
    """

    state: State
    run_id: str
    outcome: Outcome | None
    title: str
    facts: Any
    markdown: Callable[[int, str | None], str]
    troubles: tuple[Trouble, ...] = ()
    matrix_file: str = ""


@dataclass(frozen=True)
class Picture:
    """A run that goes on: how many cells have ended how, and what broke so far."""

    run_id: str
    subject: str
    cells: int
    counts: Mapping[Outcome, int]
    running: int
    troubles: tuple[Trouble, ...] = ()


def trouble_of(cell: Cell) -> Trouble:
    """What a broken cell says of itself; hostile text made safe."""
    step = next((step for step in cell.steps if step.outcome in BROKEN), None)
    message = block((step.message if step else None) or cell.message or "", 1000, 10)
    details = [f"{name}: {value}" for name in ("expected", "got") if step and (value := getattr(step, name))]
    where = f"at {one_line(step.name, 80)}: " if step else ""
    return Trouble(
        one_line(cell.id, 120),
        cell.outcome,
        where + (message or cell.outcome.value),
        block("\n".join(details), 2000, 20),
    )


def finished(results: Results, changed: Assessment | None = None) -> News:
    """The end of a run, as its results have it, and what changed since its baseline; honest about a run that
    came to none.
    """
    view, run = build(results, changed), results.run
    return News(
        state=State.FINAL,
        run_id=run.id,
        outcome=view.verdict.outcome,
        title=one_line(f"{view.verdict.headline}: {view.verdict.reason}", _LONGEST_TITLE),
        facts=[
            *(run.subject, run.verdict, run.totals.left_out),
            *([changed.standing] if changed else []),
            *map(_facts, results.cells),
        ],
        markdown=_noted(run, partial(compose, view)),
        troubles=tuple(trouble_of(item.view.cell) for item in view.broken),
        matrix_file=run.matrix_file,
    )


def verified(qa: QA) -> News:
    """The end of a run as its QA report tells it; what there is to know of cells is the same."""
    news = finished(qa.results, qa.assessed)
    return replace(
        news,
        outcome=qa.outcome,
        title=one_line(f"{qa.standing}: {qa.title}: {qa.summary}", _LONGEST_TITLE),
        facts=["qa", qa.standing, qa.title, qa.summary, *news.facts],
        markdown=_noted(qa.results.run, partial(qa_markdown.compose, qa)),
    )


def _noted(run: Run, composed: Callable[[int, str | None], str]) -> Callable[[int, str | None], str]:
    """Of a run that came to no end, what finishes it stands below."""
    note = ""
    if run.verdict is Outcome.NOT_RUN:
        resume = fence(one_line(resume_command(run), 500), "sh")
        note = f"\nIt was killed, or still goes on. To finish it:\n\n{resume}\n"
    return lambda budget, link: composed(budget - len(note.encode()), link) + note


def _facts(cell: Cell) -> list[Any]:
    broken = [step.name for step in cell.steps if step.outcome in BROKEN]
    return [cell.id, cell.outcome, cell.cause, cell.flaky, broken]


def running(picture: Picture) -> News:
    """A run that goes on."""
    done = sum(picture.counts.values())
    title = f"In progress: {done} of {picture.cells} cells done"
    counts = [
        f"{number} {outcome.value.replace('_', ' ')}" for outcome, number in picture.counts.items() if number
    ]
    if picture.running:
        counts.append(f"{picture.running} running")
    parts = [f"## ⏳ {title}", f"{code(picture.subject)}: {', '.join(counts) or 'it begins'}"]
    parts += [
        f"{MARKS[one.outcome]} {code(one.cell)} {prose(one.message)}"
        for one in picture.troubles[:_MOST_LISTED]
    ]
    if len(picture.troubles) > _MOST_LISTED:
        parts.append(f"… and {len(picture.troubles) - _MOST_LISTED} more")
    text = "\n\n".join(parts) + "\n"
    return News(State.RUNNING, picture.run_id, None, title, [done], lambda budget, link: text)


def broke_off(run_id: str, subject: str, why: str, outcome: Outcome) -> News:
    """A run that ended without results; ``run_id`` is empty where it did not even begin."""
    how = {Outcome.CANCELLED: "was stopped", Outcome.NOT_RUN: "has not finished"}
    title = f"No verdict: the run {how.get(outcome, 'could not be made')}"
    text = f"## {MARKS[outcome]} {title}\n\n{code(subject)}\n\n{fence(block(why, 2000, 20))}\n"
    said = one_line(f"{title}: {why}", _LONGEST_TITLE)
    return News(State.FINAL, run_id, outcome, said, [subject, outcome, why], lambda budget, link: text)
