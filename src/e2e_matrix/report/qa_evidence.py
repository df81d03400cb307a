"""What the QA report shows of a cell: what it did in the baseline beside what it did in the candidate.

Strings that came from outside are raw here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from e2e_matrix.compare import Change, Pair, cost_of, time_of
from e2e_matrix.failures import BROKEN, Outcome
from e2e_matrix.measures import MEASURES, typical
from e2e_matrix.report.cell_view import command_for
from e2e_matrix.results import Attempt, Cell, Run, Step
from e2e_matrix.script_words import counted, detail_beside, ended, paid_words, script_of
from e2e_matrix.text import NO_VALUE, format_seconds

SIDES = ("baseline", "candidate")
_COLOURS = {
    Change.NEWLY_FAILING: Outcome.FAILED,
    Change.FIXED: Outcome.PASSED,
    Change.STILL_FAILING: Outcome.FAILED,
    Change.WASTES_MORE: Outcome.ERROR,
    Change.WASTES_LESS: Outcome.PASSED,
    Change.UNDECIDED: Outcome.ERROR,
}


@dataclass(frozen=True)
class StepPair:
    """One step on both sides; None: that side has no such cell, or did not get there."""

    name: str
    title: str
    sides: tuple[Step | None, Step | None]

    @property
    def broke(self) -> bool:
        return any(step and step.outcome is not Outcome.PASSED for step in self.sides)


@dataclass(frozen=True)
class Fault:
    """A step that broke, or a cell that broke without one; ``side`` is a word of SIDES."""

    side: str
    step: str | None
    message: str
    expected: str | None = None
    got: str | None = None


@dataclass(frozen=True)
class Excerpt:
    """What a server or a script wrote around a failure."""

    side: str
    what: str  # a phrase of ours
    text: str


@dataclass(frozen=True)
class Figures:
    """One side of a cell, in words."""

    outcome: str
    time: str = NO_VALUE  # as the measure `total` has it; of repetitions it is the median, and so is the cost
    ended: str = NO_VALUE
    cost: str = NO_VALUE
    tries: str = NO_VALUE


@dataclass(frozen=True)
class Told:
    """Cells of which the same is told; the first speaks for them all.

    ``runs`` are those of the two sides, None where there is no baseline at all; ``word`` says what became
    of the cells, and ``outcome`` is its colour.
    """

    runs: tuple[Run | None, Run]
    word: str
    outcome: Outcome
    pairs: list[Pair]

    @property
    def first(self) -> Pair:
        return self.pairs[0]

    @property
    def steps(self) -> list[StepPair]:
        """Of the attempts that count, in the order in which they were done."""
        before, after = (_by_name(cell) for cell in (self.first.baseline, self.first.candidate))
        return [
            StepPair(name, ours.title, (before.get(key), after.get(key)))
            for key in _merged(list(before), list(after))
            for name, ours in [(key[0], after.get(key) or before[key])]
        ]

    @property
    def faults(self) -> list[Fault]:
        return [fault for side, cell in _sides(self.first) for fault in _faults(side, cell)]

    @property
    def excerpts(self) -> list[Excerpt]:
        return [excerpt for side, cell in _sides(self.first) for excerpt in _excerpts(side, cell)]

    @property
    def sides(self) -> list[str]:
        """The words of SIDES that there is anything of."""
        return [side for side, run in zip(SIDES, self.runs, strict=True) if run]

    def missing(self, side: str) -> str:
        """What stands where ``side`` has no such step."""
        cell = self.first.baseline if side == SIDES[0] else self.first.candidate
        return "not reached" if cell else NO_VALUE

    @property
    def commands(self) -> list[tuple[str, str]]:
        """What runs the first cell again, of each side that has it."""
        return [
            (side, command_for(run, cell.id))
            for side, run, cell in zip(
                SIDES, self.runs, (self.first.baseline, self.first.candidate), strict=True
            )
            if run and cell
        ]

    def figures(self, pair: Pair) -> list[Figures]:
        """Of each of ``sides``."""
        cells = (pair.baseline, pair.candidate)
        return [_figures(cell, run) for cell, run in zip(cells, self.runs, strict=True) if run]

    @property
    def signature(self) -> tuple[object, ...]:
        """What makes cells the same news: all that is told of them but times and logs."""
        steps = [
            (step.name, [side and side.outcome for side in step.sides]) for step in self.steps if step.broke
        ]
        ends = [(one.outcome, one.ended, one.tries) for one in self.figures(self.first)]
        return (self.word, repr(steps), repr(self.faults), repr(ends))


def medians_of(pairs: Sequence[Pair]) -> str | None:
    """Of how many repetitions the figures of these cells are the median; None where there is one of each."""
    cells = [cell for pair in pairs for _, cell in _sides(pair)]
    counts = {count for cell in cells if (count := typical(cell, MEASURES["total"])[1])}
    if max(counts, default=1) < 2:
        return None
    few, many = min(counts), max(counts)
    return f"Time and cost: the median of {many if few == many else f'{few} to {many}'}."


def told_of(pairs: Sequence[Pair], runs: tuple[Run | None, Run]) -> list[Told]:
    """Of the cells that are news, alike ones together, in the order of ``pairs``."""
    alike: dict[tuple[object, ...], list[Pair]] = {}
    for pair in pairs:
        if news := _news(pair, runs[0] is not None):
            told = Told(runs, *news, [pair])
            alike.setdefault(told.signature, []).append(pair)
    return [
        Told(runs, *news, many) for many in alike.values() if (news := _news(many[0], runs[0] is not None))
    ]


def word_of(pair: Pair, compared: bool) -> str:
    """What became of a cell; where nothing was ``compared``, how it ended."""
    if compared or pair.candidate is None:
        return pair.change.value
    return pair.candidate.outcome.value.replace("_", " ")


def is_news(pair: Pair, compared: bool) -> bool:
    return _news(pair, compared) is not None


def _news(pair: Pair, compared: bool) -> tuple[str, Outcome] | None:
    """What became of a cell that is worth telling in full, and its colour."""
    after = pair.candidate
    flaky = [side for side, cell in _sides(pair) if cell.flaky]
    note = f"flaky in the {' and the '.join(flaky)}" if compared else "flaky"
    if compared and pair.change in _COLOURS:
        return f"{pair.change}, {note}" if flaky else pair.change.value, _COLOURS[pair.change]
    if after and after.outcome in BROKEN:  # such as one that was added and met an error
        return word_of(pair, compared=False), after.outcome
    return (note, Outcome.ERROR) if flaky else None


def _sides(pair: Pair) -> list[tuple[str, Cell]]:
    return [(side, cell) for side, cell in zip(SIDES, (pair.baseline, pair.candidate), strict=True) if cell]


def _by_name(cell: Cell | None) -> dict[tuple[str, int], Step]:
    """A cell's steps by their name, and which of that name they are."""
    found: dict[tuple[str, int], Step] = {}
    counts: dict[str, int] = {}
    for step in sorted(cell.steps if cell else [], key=lambda one: one.start_seconds):
        counts[step.name] = counts.get(step.name, 0) + 1
        found[step.name, counts[step.name]] = step
    return found


def _merged(before: Sequence[tuple[str, int]], after: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Both in one order: that of ``after``, with what is in ``before`` alone where it came there."""
    order = list(after)
    for index, key in enumerate(before):
        if key not in order:
            order.insert(order.index(before[index - 1]) + 1 if index else 0, key)
    return order


def _faults(side: str, cell: Cell) -> Iterator[Fault]:
    broken = [step for step in cell.steps if step.outcome in BROKEN]
    for step in broken:
        yield Fault(side, step.name, step.message or step.title, step.expected, step.got)
    if not broken and cell.message and cell.outcome is not Outcome.PASSED:
        yield Fault(side, None, cell.message)
    if cell.flaky and (failed := _first_failed(cell)):
        yield Fault(side, None, f"attempt {failed.number} failed before: {failed.message or failed.outcome}")


def _first_failed(cell: Cell) -> Attempt | None:
    return next((one for one in cell.attempts if one.outcome is Outcome.FAILED), None)


def _excerpts(side: str, cell: Cell) -> Iterator[Excerpt]:
    attempt = (_first_failed(cell) if cell.flaky else None) or cell.counted_attempt
    if attempt is None or attempt.outcome is Outcome.PASSED:
        return
    output = attempt.script.output_excerpt if attempt.script else None
    step = next((step for step in attempt.steps if step.outcome in BROKEN), None)
    detail = step.detail if step and step.detail != attempt.log_excerpt else None
    for what, text in (
        ("what came with it", detail_beside(detail, output)),
        ("the end of the script's output", output),
        ("the log around it", attempt.log_excerpt),
    ):
        if text:
            yield Excerpt(side, what, text)


def _figures(cell: Cell | None, run: Run) -> Figures:
    if cell is None:
        return Figures("not there")
    outcome = cell.outcome.value.replace("_", " ") + (", flaky" if cell.flaky else "")
    if cell.reused_from:
        return Figures(f"{outcome}, reused")
    attempt = cell.counted_attempt
    if attempt is None:
        return Figures(outcome)
    script = script_of(cell)
    exit_code = NO_VALUE if attempt.exit_code is None else f"exit code {attempt.exit_code}"
    if attempt.oom_killed:
        exit_code += ", out of memory"
    return Figures(
        outcome=outcome,
        time=format_seconds(time_of(cell)),
        ended=ended(script) if script else exit_code,
        cost=paid_words(cell, cost_of(cell), run.llm.kind) or NO_VALUE,
        tries=_tries(cell),
    )


def _tries(cell: Cell) -> str:
    if cell.repeat:
        return f"{cell.repeat.passed} of {cell.repeat.runs} passed"
    return counted(len(cell.attempts), "attempt")


#: What a table of cells has in its columns: a heading, and what of Figures stands there.
COLUMNS: dict[str, Callable[[Figures], str]] = {
    "outcome": lambda one: one.outcome,
    "time": lambda one: one.time,
    "ended": lambda one: one.ended,
    "cost": lambda one: one.cost,
    "runs": lambda one: one.tries,
}
