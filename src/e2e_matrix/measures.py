"""What of a cell can be slower, dearer or larger: the measures that a comparison judges.

Also the words of `regression:` and `fail-on:` in matrix.yaml. A measure is noisy where two runs of the same
image differ in it: only repetitions can show a change then. A size, and what the stand-in's tokens cost, are
the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from e2e_matrix.failures import Outcome
from e2e_matrix.results import OPENAPI_STEP, Attempt, Cell, Phases
from e2e_matrix.script_words import own_seconds
from e2e_matrix.text import format_bytes, format_money, format_seconds

Number = float | Decimal


@dataclass(frozen=True)
class Measure:
    """``read`` is None for an attempt that has none; ``floor`` is how small a change is nobody's news."""

    name: str
    what: str
    threshold: float  # the share that is a regression where matrix.yaml says nothing
    worse: str
    better: str
    show: Callable[[Number], str]
    read: Callable[[Attempt], Number | None]
    floor: float = 0.0
    is_time: bool = False  # depends on the machine
    adds_up: bool = False  # over the attempts of a repetition: what was paid in vain was paid
    of_any: bool = False  # also of an attempt that failed later on: what it measures had ended well by then


def _phase(name: str) -> Callable[[Attempt], Number | None]:
    def read(attempt: Attempt) -> Number | None:
        seconds: float | None = getattr(attempt.phases, name)
        return seconds

    return read


def total_seconds(attempt: Attempt) -> float:
    """Without the pull, which is the network's, and without what only the first repetition is asked for."""
    asked = sum(step.duration_seconds for step in attempt.steps if step.name == OPENAPI_STEP)
    return max(attempt.duration_seconds - (attempt.phases.pull or 0.0) - asked, 0.0)


def _seconds(value: Number) -> str:
    return format_seconds(float(value))


def _bytes(value: Number) -> str:
    return format_bytes(int(value))


def _money(value: Number) -> str:
    return format_money(Decimal(value))


def _count(value: Number) -> str:
    return f"{value:,.0f}"


# Seconds. A difference below it is not worth a word, be it half of a phase that takes 5 ms.
_FLOOR = 0.1


def _time(
    name: str, what: str, read: Callable[[Attempt], Number | None] | None = None, *, of_any: bool = False
) -> Measure:
    reading = read or _phase(name)
    return Measure(
        name, what, 0.2, "slower", "faster", _seconds, reading, _FLOOR, is_time=True, of_any=of_any
    )


MEASURES: dict[str, Measure] = {
    one.name: one
    for one in (
        _time("boot", "from the container's start until it is dormant", of_any=True),
        _time("init", Phases.model_fields["init"].description or "", of_any=True),
        _time("conversation", Phases.model_fields["conversation"].description or ""),
        _time("script", "the script's own time", own_seconds),
        _time("removal", Phases.model_fields["removal"].description or ""),
        _time("total", "the whole cell without its pull", total_seconds),
        Measure(
            "cost",
            "what the cell cost",
            0.05,
            "dearer",
            "cheaper",
            _money,
            lambda attempt: attempt.cost_usd,
            adds_up=True,
        ),
        Measure(
            "tokens",
            "what the conversation took",
            0.05,
            "more tokens",
            "fewer tokens",
            _count,
            lambda attempt: attempt.tokens.total if attempt.tokens else None,
            adds_up=True,
        ),
        Measure(
            "memory",
            "what the dormant server holds",
            0.1,
            "more memory",
            "less memory",
            _bytes,
            lambda attempt: attempt.dormant_memory_bytes,
            floor=1 << 20,
            of_any=True,
        ),
        Measure("size", "what a pull transfers", 0.1, "larger", "smaller", _bytes, lambda attempt: None),
    )
}
_EXACT_KINDS = ("stand-in", "replay")


def is_noisy(measure: Measure, llm: str) -> bool:
    """Whether two runs of the same may differ in it; ``llm`` is the kind of model that answered."""
    if measure.name == "size":
        return False
    return measure.name not in ("cost", "tokens") or llm not in _EXACT_KINDS


def samples(cell: Cell, measure: Measure) -> dict[int, Number]:
    """One value of each repetition that has one, by its number; of a cell that was not run here, none."""
    return _values(cell, measure, lambda attempt: _counts(attempt, measure))


def typical(cell: Cell, measure: Measure) -> tuple[Number | None, int]:
    """The median of the samples, and how many they are; where nothing passed, of all that was tried."""
    found = samples(cell, measure) or _values(cell, measure, lambda attempt: True)
    return (middle(list(found.values())) if found else None), len(found)


def _values(cell: Cell, measure: Measure, counts: Callable[[Attempt], bool]) -> dict[int, Number]:
    if measure.name == "size":
        return {} if cell.image.size_bytes is None else {1: cell.image.size_bytes}
    counted = [one for one in cell.attempts if not one.superseded]
    ends = {one.repetition: one for one in counted}
    read = {number: measure.read(one) for number, one in ends.items() if counts(one)}
    if measure.adds_up:
        tried = [(one.repetition, measure.read(one)) for one in counted]
        for number in read:
            told = [value for repetition, value in tried if repetition == number and value is not None]
            read[number] = sum(told) if told else None
    return {number: value for number, value in read.items() if value is not None}


def _counts(attempt: Attempt, measure: Measure) -> bool:
    if measure.of_any and attempt.outcome is Outcome.FAILED:
        return True
    return attempt.outcome is Outcome.PASSED


def middle(values: Sequence[Number]) -> Number:
    """The median; of money exact. Raises IndexError without a value."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2  # type: ignore[operator]
