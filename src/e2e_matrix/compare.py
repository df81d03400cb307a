"""What is different between two runs, or between two values of one axis within a run.

Pure functions of results: nothing here reads a file or knows how it is shown. Times are put side by side and
not judged, but for what a script wastes once its conversation has ended: no noise makes two minutes of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from e2e_matrix import statistics
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.failures import BROKEN, Cause, Outcome
from e2e_matrix.measures import MEASURES, typical
from e2e_matrix.results import Cell, Results, Run
from e2e_matrix.script_words import counted, script_of, waste

# No axis of a matrix may be called so: it stands for the cell's scenario.
SCENARIO = "scenario"
_T = TypeVar("_T")
_DECIDED = (Outcome.PASSED, Outcome.FAILED)
# A baseline that never had the image has no such cell: nothing in it was mended.
_NO_IMAGE = (Cause.TAG_MISSING, Cause.PLATFORM_MISSING)
# Seconds. Waste is news where it is twice as much and so much more: a turn of a script's own polling is none.
_NEWS = 5.0


class Change(StrEnum):
    """What became of a cell, in the order in which it is read."""

    NEWLY_FAILING = "newly failing"  # it fails, and did not fail before, or was not there
    FIXED = "fixed"
    STILL_FAILING = "still failing"
    WASTES_MORE = "wastes more time"  # both passed, as with the next
    WASTES_LESS = "wastes less time"
    UNDECIDED = "not comparable"  # one of the two has no verdict
    UNSUPPORTED = "unsupported"  # the engine of the candidate cannot run it
    REMOVED = "removed"  # it is in the baseline alone
    ADDED = "added"  # in the candidate alone
    SAME = "same"  # both passed


_GOOD = (Change.FIXED, Change.WASTES_LESS, Change.SAME)


@dataclass(frozen=True)
class Pair:
    """One cell in both; ``name`` is what both have in common. None: there is no such cell."""

    name: str
    baseline: Cell | None
    candidate: Cell | None

    @property
    def change(self) -> Change:
        before, after = self.baseline, self.candidate
        if after is None:
            return Change.REMOVED
        if before is not None and before.cause in _NO_IMAGE:
            before = None
        if after.cause is Cause.LLM_REPLAY_DIFFERS or (before and before.cause is Cause.LLM_REPLAY_DIFFERS):
            # Another question than was recorded: nobody knows how it would have ended.
            return Change.UNDECIDED
        if after.outcome is Outcome.FAILED:
            again = before is not None and before.outcome is Outcome.FAILED and not self._fails_more
            return Change.STILL_FAILING if again else Change.NEWLY_FAILING
        if before is None:
            return Change.ADDED
        if after.outcome is Outcome.UNSUPPORTED:
            return Change.UNSUPPORTED
        if before.outcome not in _DECIDED or after.outcome not in _DECIDED:
            return Change.UNDECIDED
        return Change.FIXED if before.outcome is Outcome.FAILED else self._waste

    @property
    def _fails_more(self) -> bool:
        """Whether a cell that failed now and then fails so much more often that it is no chance."""
        told = self._both(lambda cell: cell.repeat)
        if told is None:
            return False
        before, after = told
        p = statistics.fewer_passes(before.passed, before.runs, after.passed, after.runs)
        return before.passed > 0 and p <= statistics.LEVEL

    @property
    def _waste(self) -> Change:
        wasted = self._both(lambda cell: script.wasted_seconds if (script := script_of(cell)) else None)
        if not wasted or not self.alike:
            return Change.SAME
        before, after = wasted
        less, more = sorted(wasted)
        if more - less < _NEWS or more < 2 * less:
            return Change.SAME
        return Change.WASTES_LESS if after < before else Change.WASTES_MORE

    @property
    def same_image(self) -> bool | None:
        """Whether both ran on the same digest; None where nobody knows, or there are no two."""
        return self._same(lambda cell: cell.image.digest)

    @property
    def same_script(self) -> bool | None:
        """Whether both ran the same script, byte for byte; None where that is not known."""
        return self._same(lambda cell: script.sha256 if (script := script_of(cell)) else None)

    @property
    def same_scenario(self) -> bool | None:
        """None where there are no two."""
        return self._same(lambda cell: cell.scenario)

    @property
    def same_model(self) -> bool | None:
        """Whether a model of the same name answered both; None where that is not known."""
        return self._same(lambda cell: cell.model)

    @property
    def same_sdk(self) -> bool | None:
        """Whether both scripts ran with the same openhands-sdk; None where that is not known."""
        return self._same(lambda cell: script.sdk_version if (script := script_of(cell)) else None)

    def _same(self, of: Callable[[Cell], str | None]) -> bool | None:
        """Whether both cells have the same of it; None where one is not there, or does not say."""
        told = self._both(lambda cell: of(cell) or None)
        return told[0] == told[1] if told else None

    def _both(self, of: Callable[[Cell], _T | None]) -> tuple[_T, _T] | None:
        """What both cells have of it; None where one is not there, or has none."""
        before, after = (of(cell) if cell else None for cell in (self.baseline, self.candidate))
        return None if before is None or after is None else (before, after)

    @property
    def alike(self) -> bool:
        """Whether their times may be compared: both native or both emulated."""
        return not (self.baseline and self.candidate) or self.baseline.emulated is self.candidate.emulated


@dataclass(frozen=True)
class Comparison:
    """``baseline`` and ``candidate``: what the two are called. One run where an axis is compared."""

    baseline: str
    candidate: str
    baseline_run: Run
    candidate_run: Run
    axis: str | None
    pairs: list[Pair]

    def of(self, change: Change) -> list[Pair]:
        return [pair for pair in self.pairs if pair.change is change]

    @property
    def verdict(self) -> str:
        """Such as ``fixed: 6 cells; newly failing: none``."""
        always = (Change.FIXED, Change.NEWLY_FAILING)
        counts = {change: len(self.of(change)) for change in dict.fromkeys([*always, *Change])}
        return "; ".join(
            f"{change}: {counted(number, 'cell') if number else 'none'}"
            for change, number in counts.items()
            if number or change in always
        )

    @property
    def side_by_side(self) -> bool:
        """Whether both runs were made side by side, so that each repetition has a partner."""
        return self.axis is None and self.candidate_run.beside == self.baseline_run.id

    @property
    def all_good(self) -> bool:
        """Whether all that both have is good now, and something is."""
        return bool(self.both) and all(pair.change in _GOOD for pair in self.both)

    @property
    def untold(self) -> list[Pair]:
        """Cells of which the candidate has no verdict, but for platforms that neither run could test."""
        return [
            pair
            for pair in self.pairs
            if pair.candidate
            and pair.candidate.outcome not in _DECIDED
            and not (pair.baseline and pair.baseline.outcome is pair.candidate.outcome is Outcome.UNSUPPORTED)
        ]

    @property
    def images(self) -> str:
        """On what the two ran, in one line with names of cells; ``same_images``: whether it is good news."""
        both, cells = self.both, counted(len(self.both), "cell")
        others = [pair.name for pair in both if pair.same_image is False]
        unknown = sum(pair.same_image is None for pair in both)
        if not both:
            return "no cell is in both"
        if others:
            return f"not the same images: {len(others)} of {cells} ran on another: {some(others)}"
        if unknown:
            which = cells if unknown == len(both) else f"{unknown} of {cells}"
            return f"of {which} it is not known whether the image is the same"
        return f"the same images in {cells}"

    @property
    def same_images(self) -> bool:
        return bool(self.both) and all(pair.same_image for pair in self.both)

    @property
    def warnings(self) -> list[str]:
        """What makes the two less comparable than they look."""
        found = []
        unchanged = [pair for pair in self.both if pair.same_script]
        if unchanged and self.axis:
            found.append(f"the script is the same, byte for byte, in {counted(len(unchanged), 'cell')}")
        others = [pair.name for pair in self.both if pair.same_scenario is False]
        if others and self.axis != SCENARIO:
            was = "was" if len(others) == 1 else "were"
            found.append(f"{counted(len(others), 'cell')} {was} of another scenario: {some(others)}")
        # Of another image the SDK is another, too.
        if others := [pair.name for pair in self.both if pair.same_image and pair.same_sdk is False]:
            found.append(
                f"the scripts of {counted(len(others), 'cell')} ran with another SDK: {some(others)}"
            )
        if mixed := [pair for pair in self.both if not pair.alike]:
            cells = counted(len(mixed), "cell")
            found.append(f"{cells} ran native once and emulated once: their times cannot be compared")
        if not self.same_model:
            found.append(f"not the same model: {self._other_models}")
        return found

    @property
    def same_model(self) -> bool:
        """Whether the same model answered both, in every cell that both have."""
        return all(map(self.same_model_in, self.both)) if self.both else self._same_model_of_runs

    def same_model_in(self, pair: Pair) -> bool:
        """Whether the same model answered both cells, by its name and its kind."""
        if (same := pair.same_model) is None:
            return self._same_model_of_runs
        return same and self.baseline_run.llm.kind == self.candidate_run.llm.kind

    @property
    def _same_model_of_runs(self) -> bool:
        before, after = self.baseline_run.llm, self.candidate_run.llm
        return (before.kind, before.model) == (after.kind, after.model) and not self._axis_chooses_model

    @property
    def _axis_chooses_model(self) -> bool:
        template = self.candidate_run.settings.get("llm.model")
        return template is not None and self.axis is not None and f"{{{self.axis}}}" in str(template.value)

    @property
    def _other_models(self) -> str:
        """How they differ, where they do."""
        if self._axis_chooses_model:
            return f"the axis {self.axis} chooses it"
        before, after = (
            f"{run.llm.model} ({run.llm.kind})" for run in (self.baseline_run, self.candidate_run)
        )
        if before != after:
            return f"{before}, then {after}"
        others = [pair.name for pair in self.both if not self.same_model_in(pair)]
        return f"in {counted(len(others), 'cell')}: {some(others)}"

    @property
    def both(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.baseline and pair.candidate]


def some(names: Sequence[str]) -> str:
    """The first five of them, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def compare_runs(baseline: Results, candidate: Results) -> Comparison:
    """Two runs, cell by cell of the same id."""
    before, after = ({cell.id: cell for cell in results.cells} for results in (baseline, candidate))
    pairs = [Pair(name, before.get(name), after.get(name)) for name in {**before, **after}]
    return Comparison(baseline.run.id, candidate.run.id, baseline.run, candidate.run, None, _in_order(pairs))


def compare_axis(
    results: Results, axis: str, baseline: str | None = None, candidate: str | None = None
) -> Comparison:
    """Two values of one axis, cell by cell that has all else in common; of an axis with two, those.

    Raises BadInput where there is no such axis or value, or more than two and none is named.
    """
    before, after = _values(results, axis, baseline, candidate)
    several = axis != SCENARIO and len({cell.scenario for cell in results.cells}) > 1
    sides: dict[str, dict[frozenset[tuple[str, str]], Cell]] = {before: {}, after: {}}
    names: dict[frozenset[tuple[str, str]], str] = {}
    for cell in results.cells:
        others = {name: value for name, value in cell.axes.items() if name != axis}
        if several:
            others[SCENARIO] = cell.scenario
        if (value := _value(cell, axis)) in sides:
            point = frozenset(others.items())
            names.setdefault(point, "-".join(others.values()) or "all")
            sides[value][point] = cell
    pairs = [Pair(name, sides[before].get(point), sides[after].get(point)) for point, name in names.items()]
    return Comparison(f"{axis} {before}", f"{axis} {after}", results.run, results.run, axis, _in_order(pairs))


def first_message(cell: Cell) -> str | None:
    """Of the first step that broke, else the cell's own; hostile. None for a cell that passed."""
    if cell.outcome is Outcome.PASSED:
        return None
    broken = (step.message for step in cell.steps if step.outcome in BROKEN and step.message)
    return next(broken, cell.message)


def remark(cell: Cell) -> str | None:
    """Why it did not pass, or what its script wasted though it did; hostile. None where all is well."""
    script = script_of(cell) if cell.outcome is Outcome.PASSED else None
    return waste(script) if script else first_message(cell)


def time_of(cell: Cell) -> float | None:
    """Seconds, as the measure ``total`` has them; of repetitions the median. None where none ran."""
    seconds, _ = typical(cell, MEASURES["total"])
    return None if seconds is None else float(seconds)


def cost_of(cell: Cell) -> Decimal | None:
    """What one repetition cost, as the measure ``cost`` has it; None where nobody told."""
    if not cell.attempts:
        return cell.cost_usd
    cost, _ = typical(cell, MEASURES["cost"])
    return None if cost is None else Decimal(cost)


def _values(results: Results, axis: str, baseline: str | None, candidate: str | None) -> tuple[str, str]:
    used = list(dict.fromkeys(value for cell in results.cells if (value := _value(cell, axis)) is not None))
    if not used:
        hint = f"The axes are {', '.join([*results.run.axes, SCENARIO])}."
        raise BadInput([Problem("--axis", 0, 0, f"{results.run.id} has no axis {axis!r}", hint)])
    there = f"The values are {', '.join(used)}."
    wrong = [
        Problem(option, 0, 0, f"{value!r} is no value of the axis {axis!r}", there)
        for option, value in (("--baseline", baseline), ("--candidate", candidate))
        if value is not None and value not in used
    ]
    if not wrong and (baseline is None or candidate is None):
        left = [value for value in used if value not in (baseline, candidate)]
        if len(left) != (baseline is None) + (candidate is None):
            what = f"the axis {axis!r} has {counted(len(used), 'value')}, and two are compared"
            wrong = [Problem("--axis", 0, 0, what, f"Say --baseline and --candidate. {there}")]
        else:
            baseline = baseline if baseline is not None else left.pop(0)
            candidate = candidate if candidate is not None else left.pop(0)
    if not wrong and baseline == candidate:
        wrong = [Problem("--candidate", 0, 0, f"is the baseline, {baseline!r}", there)]
    if wrong or baseline is None or candidate is None:
        raise BadInput(wrong)
    return baseline, candidate


def _value(cell: Cell, axis: str) -> str | None:
    return cell.scenario if axis == SCENARIO else cell.axes.get(axis)


def _in_order(pairs: Sequence[Pair]) -> list[Pair]:
    order = list(Change)
    return sorted(pairs, key=lambda pair: order.index(pair.change))
