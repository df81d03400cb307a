"""What a QA report has to say that nobody verified. Strings that came from outside are raw here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from e2e_matrix.assessment import Assessment, Question
from e2e_matrix.compare import Change, some
from e2e_matrix.failures import Outcome
from e2e_matrix.report.cell_view import left_out
from e2e_matrix.results import Cell, Results
from e2e_matrix.script_words import counted

_NOT_TESTED = {
    Outcome.ERROR: "no verdict, for want of infrastructure",
    Outcome.UNSUPPORTED: "not run, for this engine cannot run the platform",
    Outcome.CANCELLED: "cancelled",
    Outcome.NOT_RUN: "not run",
}


def gaps_of(results: Results, assessed: Assessment | None, question: Question) -> list[str]:
    """Each as one sentence without its full stop; what weighs most comes first."""
    baseline = [pair.baseline for pair in assessed.compared.pairs if pair.baseline] if assessed else []
    return [
        *_not_tested("", results.cells),
        *_not_tested("in the baseline, ", baseline),
        *_left_out(results),
        *_not_compared(assessed, question),
        *_reused("", results.cells),
        *_reused("in the baseline, ", baseline),
        *_conditions(results),
        *(f"not judged: {words}" for words in (assessed.not_judged if assessed else [])),
        *_logs(results.cells),
    ]


def _not_tested(where: str, cells: Sequence[Cell]) -> Iterator[str]:
    groups: dict[tuple[Outcome, str], list[str]] = {}
    for cell in cells:
        if cell.outcome in _NOT_TESTED:
            groups.setdefault((cell.outcome, cell.message or ""), []).append(cell.id)
    for (outcome, message), names in groups.items():
        yield f"{where}{_NOT_TESTED[outcome]}: {some(names)}" + (f" ({message})" if message else "")


def _left_out(results: Results) -> Iterator[str]:
    if left := results.run.totals.left_out:
        yield f"left out by --only or --skip: {counted(left, 'cell')} of the matrix"


def _not_compared(assessed: Assessment | None, question: Question) -> Iterator[str]:
    if assessed is None:
        yield "nothing was compared: there is no baseline"
        if question.expected:
            yield f"without a baseline nobody knows of {', '.join(map(str, question.expected))}"
        return
    compared = assessed.compared
    unknown = [pair for pair in compared.of(Change.NEWLY_FAILING) if pair.baseline is None]
    for words, pairs in (
        ("fails, and whether it failed before nobody knows: it is not in the baseline", unknown),
        ("compared with nothing, for it is not in the baseline", compared.of(Change.ADDED)),
        ("in the baseline, and not run in the candidate", compared.of(Change.REMOVED)),
    ):
        if pairs:
            yield f"{words}: {some([pair.name for pair in pairs])}"


def _reused(where: str, cells: Sequence[Cell]) -> Iterator[str]:
    runs: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if source := cell.reused_from:
            runs.setdefault((source.run, f"{source.finished_at:%Y-%m-%d %H:%M}"), []).append(cell.id)
    for (run, day), names in runs.items():
        yield f"{where}not run again, for its pass in run {run} counts ({day} UTC): {some(names)}"


def _conditions(results: Results) -> Iterator[str]:
    run, ran = results.run, [cell for cell in results.cells if cell.attempts]
    if emulated := [cell.id for cell in ran if cell.emulated]:
        yield f"emulated, and not on hardware of its platform: {some(emulated)}"
    if ran and run.llm.kind == "stand-in":
        yield f"no real model answered: the stand-in did, as {run.llm.model}"
    if ran and run.llm.kind == "replay":
        yield f"no real model answered: recorded answers of {run.llm.model} were replayed"
    if once := _named(ran, lambda cell: not cell.repeat or cell.repeat.runs < 2):
        yield f"run only once, so that what fails now and then may not have shown: {once}"
    if unknown := run.totals.cost_unknown_cells:
        yield f"the cost of {counted(unknown, 'cell')} is unknown"


def _named(cells: Sequence[Cell], which: Callable[[Cell], bool]) -> str:
    """The names of those, or that it is all of them; "" for none."""
    names = [cell.id for cell in cells if which(cell)]
    if len(names) == len(cells) and len(names) > 1:
        return "every cell"
    return some(names)


def _logs(cells: Sequence[Cell]) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for cell in cells:
        if said := left_out(cell.counted_attempt):
            groups.setdefault(said, []).append(cell.id)
    for said, names in groups.items():
        yield f"log not whole: {some(names)} ({said})"
