"""Whether a candidate is slower, dearer or larger than its baseline, cell by cell, and what that means.

A difference in what is noisy counts as one only where it is: repetitions on both sides, a test of ranks
(statistics.py) corrected for how many cells were asked, and more than the policy's threshold. What cannot be
compared is said to be so, never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from e2e_matrix import statistics
from e2e_matrix.compare import Comparison, Pair
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.failures import Outcome
from e2e_matrix.measures import MEASURES, Measure, Number, is_noisy, middle, samples
from e2e_matrix.results import SettingValue
from e2e_matrix.script_words import counted
from e2e_matrix.statistics import Shift
from e2e_matrix.templates import did_you_mean
from e2e_matrix.text import one_line
from e2e_matrix.units import parse_share

#: What `fail-on:` may name beside the measures: what it fails on.
EVENTS = {
    "newly-failing": "a cell fails that did not fail in the baseline",
    "still-failing": "a cell fails in both",
    "newly-flaky": "a cell passed only after a failure, and did not in the baseline",
    "removed": "a cell of the baseline is not there any more",
    "wasted": "a script goes on for longer after its conversation has ended",
    "breaking-api": "a client of the baseline's REST API may break",
    "different-api": "images of one ref do not serve the same REST API",
}
FAILS = (*EVENTS, *MEASURES)
_SHARE_DIGITS = 9
DEFAULT_FAIL_ON = ("newly-failing", "still-failing", "different-api")


@dataclass(frozen=True)
class Policy:
    """``thresholds``: shares by measure, None: not judged; ``fail_on``: words of EVENTS and MEASURES."""

    thresholds: Mapping[str, float | None] = field(
        default_factory=lambda: {name: one.threshold for name, one in MEASURES.items()}
    )
    fail_on: tuple[str, ...] = DEFAULT_FAIL_ON

    @classmethod
    def recorded(cls, settings: Mapping[str, SettingValue]) -> Policy:
        """What the settings of a run say; of a run that knew of none, the default.

        Raises BadInput for settings that no run wrote: by another policy the verdict would be another.
        """
        policy = cls()
        problems: list[Problem] = []
        thresholds, fail_on = settings.get("regression"), settings.get("fail-on")
        if thresholds:
            shares, problems = _recorded_shares(thresholds.value)
            policy = replace(policy, thresholds={**policy.thresholds, **shares})
        if fail_on:
            words = fail_on.value if isinstance(fail_on.value, list) else [fail_on.value]
            problems += [
                _not_ours(f"fail-on: there is no {_told(word)} to fail on", did_you_mean(_told(word), FAILS))
                for word in words
                if word not in FAILS
            ]
            policy = replace(policy, fail_on=tuple(words))
        if problems:
            raise BadInput(problems)
        return policy


def _recorded_shares(recorded: object) -> tuple[dict[str, float | None], list[Problem]]:
    """Of the measures that this version knows; and what is wrong with them."""
    if not isinstance(recorded, dict):
        hint = "write a share for each measure, such as boot: 20%"
        return {}, [_not_ours(f"regression: cannot be {_told(recorded)}", hint)]
    shares: dict[str, float | None] = {}
    problems = []
    for name, share in recorded.items():
        try:
            if name in MEASURES:
                shares[name] = None if share is None else parse_share(str(share))
        except ValueError as error:
            problems.append(_not_ours(f"regression.{name}: cannot be {_told(share)}", str(error)))
    return shares, problems


def _told(value: object) -> str:
    return one_line(repr(value), 80)


def _not_ours(what: str, hint: str) -> Problem:
    return Problem("results.json", 0, 0, f"settings: {what}", hint)


class Judgement(StrEnum):
    WORSE = "worse"
    BETTER = "better"
    NO_DIFFERENCE = "no difference shown"
    NOT_ENOUGH = "not enough runs"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class Difference:
    """One measure of one cell. ``before`` and ``after`` are medians, None where nothing was measured."""

    pair: Pair
    measure: Measure
    judgement: Judgement
    before: Number | None = None
    after: Number | None = None
    runs: tuple[int, int] = (0, 0)
    shift: Shift | None = None  # of what is noisy
    why: str = ""

    @property
    def share(self) -> float | None:
        """By how much the median changed: 0.3 is 30% more; None where there is no ratio."""
        if self.shift:
            return self.shift.ratio - 1
        if self.before is None or self.after is None or not self.before:
            return None
        return float(self.after / self.before) - 1  # type: ignore[operator]

    @property
    def word(self) -> str:
        """Such as ``slower``; of what is neither, the judgement."""
        words = {Judgement.WORSE: self.measure.worse, Judgement.BETTER: self.measure.better}
        return words.get(self.judgement, self.judgement.value)

    @property
    def change(self) -> str:
        """Such as ``+30% (+26% to +39%)``; "" where a side has nothing to change, or both are nothing."""
        if self.share is None:
            return "" if self.before is None or self.after is None or not self.after else "from nothing"
        told = _percent(self.share)
        if self.shift and min(self.runs) > 1:
            told += f" ({_percent(self.shift.low - 1)} to {_percent(self.shift.high - 1)})"
        return told


def _percent(share: float) -> str:
    return f"{share:+z.1%}" if abs(share) < 0.1 else f"{share:+.0%}"


def judge(compared: Comparison, policy: Policy) -> list[Difference]:
    """Every measure of every cell that both have, in the order of the cells and of MEASURES."""
    columns = [
        _answered(compared, measure, threshold)
        for name, measure in MEASURES.items()
        if (threshold := policy.thresholds.get(name)) is not None
    ]
    cells = range(len(compared.both))
    return [column[cell] for cell in cells for column in columns if cell in column]


def _answered(compared: Comparison, measure: Measure, threshold: float) -> dict[int, Difference]:
    """One measure of the cells that both have, by their places: one question that is asked of many cells."""
    found = {
        place: difference
        for place, pair in enumerate(compared.both)
        if (difference := _difference(compared, pair, measure))
    }
    asked = {
        place: one for place, one in found.items() if one.judgement is Judgement.NO_DIFFERENCE and not one.why
    }
    exact = {place: one for place, one in asked.items() if _is_exact(compared, one)}
    # Where all is zero, nothing is more than something else.
    noisy = {place: one for place, one in asked.items() if place not in exact and one.before}
    judged = {place: _judged(one, threshold) for place, one in exact.items()}
    return found | judged | _tested(noisy, compared, threshold)


def _is_exact(compared: Comparison, difference: Difference) -> bool:
    """Whether a single run shows it: it is the same every time, as it was in the runs of either side."""
    sides = _samples(difference.pair, difference.measure)
    constant = all(len(set(values.values())) < 2 for values in sides)
    return constant and not is_noisy(difference.measure, compared.candidate_run.llm.kind)


def _difference(compared: Comparison, pair: Pair, measure: Measure) -> Difference | None:
    """Before it is judged; None where neither side has anything of it."""
    before, after = _samples(pair, measure)
    if not before and not after:
        return None
    difference = Difference(
        pair,
        measure,
        Judgement.NO_DIFFERENCE,
        middle(list(before.values())) if before else None,
        middle(list(after.values())) if after else None,
        (len(before), len(after)),
    )
    if _stands_for(pair):
        return replace(difference, why="the same image under the same key, and not run again")
    why = _why_not(compared, pair, measure, len(before), len(after))
    if not why and not _is_exact(compared, difference):
        values = {*before.values(), *after.values()}
        why = "a zero was measured, and nothing is a share of it" if min(values) <= 0 < max(values) else ""
    return replace(difference, judgement=Judgement.NOT_COMPARABLE, why=why) if why else difference


def _stands_for(pair: Pair) -> bool:
    """Whether one side was not run because the other, or its like, had passed: nothing can have changed."""
    sides = [cell for cell in (pair.baseline, pair.candidate) if cell]
    reused = any(cell.reused_from for cell in sides)
    return (
        reused
        and pair.same_image is True
        and len({cell.key for cell in sides}) == 1
        and None not in (cell.key for cell in sides)
    )


def _samples(pair: Pair, measure: Measure) -> tuple[dict[int, Number], dict[int, Number]]:
    assert pair.baseline is not None
    assert pair.candidate is not None
    return samples(pair.baseline, measure), samples(pair.candidate, measure)


def _why_not(compared: Comparison, pair: Pair, measure: Measure, before: int, after: int) -> str:
    """What makes the two sides of a measure another thing; "" where they are the same."""
    assert pair.baseline is not None
    assert pair.candidate is not None
    for number, cell, side in ((before, pair.baseline, "baseline"), (after, pair.candidate, "candidate")):
        if not number:
            if cell.reused_from is not None:
                return f"the {side} was reused and not measured"
            if cell.outcome is Outcome.FAILED:
                return f"the {side} failed there, and what it took is not compared"
            return f"nothing was measured in the {side}"
    if measure.name == "size":
        return ""
    if not pair.alike:
        return "native once and emulated once"
    if not compared.same_model_in(pair):
        return "not the same model"
    versions = [cell.scenario_version for cell in (pair.baseline, pair.candidate)]
    if pair.same_scenario is False or versions[0] != versions[1]:
        return "not the same scenario"
    if pair.same_script is False:
        return "not the same script"
    machines = [
        (run.engine.platform, run.engine.cpus) for run in (compared.baseline_run, compared.candidate_run)
    ]
    if measure.is_time and machines[0] != machines[1]:
        return "not the same machine: " + ", then ".join(
            f"{platform} with {counted(cpus, 'CPU')}" for platform, cpus in machines
        )
    return ""


def _tested(asked: Mapping[int, Difference], compared: Comparison, threshold: float) -> dict[int, Difference]:
    """The judgements, by tests that are corrected for how many they are.

    One that could find nothing, however clear it were, is not counted among them.
    """
    tests = sum(statistics.smallest_p(*one.runs) <= statistics.LEVEL for one in asked.values())
    shifts = {place: _shift(one, tests, paired=compared.side_by_side) for place, one in asked.items()}
    values = {place: shift.p for place, shift in shifts.items() if shift.least_p <= statistics.LEVEL}
    corrected = dict(zip(values, statistics.holm(list(values.values())), strict=True))
    told: dict[int, Difference] = {}
    for place, one in asked.items():
        shift = shifts[place]
        answer = replace(one, shift=shift)
        if corrected.get(place, 1.0) <= statistics.LEVEL:
            answer = _judged(answer, threshold)
        elif shift.least_p * max(1, tests) > statistics.LEVEL:
            answer = _not_enough(answer, len(asked))
        told[place] = answer
    return told


def _shift(difference: Difference, tests: int, *, paired: bool) -> Shift:
    """By pairs where there are enough of them for so many tests: fewer values show something without."""
    before, after = _samples(difference.pair, difference.measure)
    pairs = [(float(before[number]), float(after[number])) for number in before if number in after]
    if paired and statistics.smallest_paired_p(len(pairs)) * max(1, tests) <= statistics.LEVEL:
        shift = statistics.paired_shift(pairs)
    else:
        shift = statistics.shift(list(map(float, before.values())), list(map(float, after.values())))
    assert shift is not None, "only what has values above zero is asked of"
    return shift


def _not_enough(difference: Difference, cells: int) -> Difference:
    runs, needed = min(difference.runs), statistics.runs_needed(cells)
    verb = "needs" if cells == 1 else "need"
    why = f"{counted(runs, 'run')} a side; {counted(cells, 'cell')} {verb} {needed}: --repeat {needed}"
    return replace(difference, judgement=Judgement.NOT_ENOUGH, why=why)


def _judged(difference: Difference, threshold: float) -> Difference:
    if not _is_news(difference, threshold):
        return difference
    worse = difference.share is None or difference.share > 0
    return replace(difference, judgement=Judgement.WORSE if worse else Judgement.BETTER)


def _is_news(difference: Difference, threshold: float) -> bool:
    """Whether it is as much as the policy says, as large a step down as up, and more than a trifle."""
    before, after = float(difference.before or 0), float(difference.after or 0)
    if abs(after - before) <= difference.measure.floor:
        return False
    share = difference.share
    if share is None or share <= -1:  # from nothing, or to nothing
        return True
    # 5% more is 5% more, whatever binary fractions make of it.
    return round(max(share, 1 / (1 + share) - 1), _SHARE_DIGITS) > threshold
