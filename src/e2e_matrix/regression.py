"""Whether a candidate is slower, dearer or larger than its baseline, cell by cell, and what that means.

A difference in what is noisy counts as one only where it is: repetitions on both sides, a test of ranks
(statistics.py) corrected for how many cells were asked, and more than the policy's threshold. What cannot be
compared is said to be so, never left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from e2e_matrix import statistics
from e2e_matrix.compare import Comparison, Pair
from e2e_matrix.measures import MEASURES, Measure, Number, is_noisy, middle, samples
from e2e_matrix.results import SettingValue
from e2e_matrix.script_words import counted
from e2e_matrix.statistics import Shift
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
DEFAULT_FAIL_ON = ("newly-failing", "breaking-api", "different-api")


@dataclass(frozen=True)
class Policy:
    """``thresholds``: shares by measure, None: not judged; ``fail_on``: words of EVENTS and MEASURES."""

    thresholds: Mapping[str, float | None] = field(
        default_factory=lambda: {name: one.threshold for name, one in MEASURES.items()}
    )
    fail_on: tuple[str, ...] = DEFAULT_FAIL_ON

    @classmethod
    def recorded(cls, settings: Mapping[str, SettingValue]) -> Policy:
        """What the settings of a run say; of a run that knew of none, the default."""
        policy = cls()
        thresholds, fail_on = settings.get("regression"), settings.get("fail-on")
        if thresholds and isinstance(thresholds.value, dict):
            known = {name: _share(value) for name, value in thresholds.value.items() if name in MEASURES}
            policy = replace(policy, thresholds={**policy.thresholds, **known})
        if fail_on and isinstance(fail_on.value, list):
            words = tuple(word for word in fail_on.value if word in FAILS)
            policy = replace(policy, fail_on=words)
        return policy


def _share(recorded: object) -> float | None:
    return None if recorded is None else parse_share(str(recorded))


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
        """Such as ``+30% (+26% to +39%)``."""
        if self.share is None:
            return "" if self.before == self.after else "from nothing"
        told = _percent(self.share)
        if self.shift and min(self.runs) > 1:
            told += f" ({_percent(self.shift.low - 1)} to {_percent(self.shift.high - 1)})"
        return told


def _percent(share: float) -> str:
    return f"{share:+.1%}" if abs(share) < 0.1 else f"{share:+.0%}"


def judge(compared: Comparison, policy: Policy) -> list[Difference]:
    """Every measure of every cell that both have, in the order of the cells and of MEASURES."""
    found: list[Difference] = []
    for pair in compared.pairs:
        if pair.baseline and pair.candidate:
            found += [
                difference
                for name, measure in MEASURES.items()
                if policy.thresholds.get(name) is not None
                and (difference := _difference(compared, pair, measure))
            ]
    return _decided(found, policy)


def _difference(compared: Comparison, pair: Pair, measure: Measure) -> Difference | None:
    """Before it is judged; None where neither side has anything of it."""
    assert pair.baseline is not None
    assert pair.candidate is not None
    before, after = samples(pair.baseline, measure), samples(pair.candidate, measure)
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
    if why := _why_not(compared, pair, measure, len(before), len(after)):
        return replace(difference, judgement=Judgement.NOT_COMPARABLE, why=why)
    if is_noisy(measure, compared.candidate_run.llm.kind):
        shift = _shift(before, after, paired=compared.took_turns)
        if shift is None:
            return replace(
                difference, judgement=Judgement.NOT_COMPARABLE, why="nothing above zero was measured"
            )
        return replace(difference, shift=shift)
    return difference


def _shift(before: Mapping[int, Number], after: Mapping[int, Number], *, paired: bool) -> Shift | None:
    """By pairs where there are enough of them to answer: fewer values show something without."""
    pairs = [(float(before[number]), float(after[number])) for number in before if number in after]
    if paired and statistics.smallest_paired_p(len(pairs)) <= statistics.LEVEL:
        return statistics.paired_shift(pairs)
    return statistics.shift(list(map(float, before.values())), list(map(float, after.values())))


def _why_not(compared: Comparison, pair: Pair, measure: Measure, before: int, after: int) -> str:
    """What makes the two sides of a measure another thing; "" where they are the same."""
    assert pair.baseline is not None
    assert pair.candidate is not None
    for number, cell, side in ((before, pair.baseline, "baseline"), (after, pair.candidate, "candidate")):
        if not number:
            reused = cell.reused_from is not None
            return (
                f"the {side} was reused and not measured" if reused else f"nothing was measured in the {side}"
            )
    if measure.name == "size":
        return ""
    if not pair.alike:
        return "native once and emulated once"
    models = [(run.llm.kind, run.llm.model) for run in (compared.baseline_run, compared.candidate_run)]
    if models[0] != models[1]:
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


def _decided(found: Sequence[Difference], policy: Policy) -> list[Difference]:
    """With the judgement: each measure is one question that is asked of many cells."""
    decided = list(found)
    for name in MEASURES:
        asked = [index for index, one in enumerate(found) if one.measure.name == name and one.shift]
        able = [index for index in asked if _least_p(found[index]) <= statistics.LEVEL]
        corrected = dict(zip(able, statistics.holm([_p(found[index]) for index in able]), strict=True))
        for index in asked:
            if index not in corrected or _least_p(found[index]) * len(able) > statistics.LEVEL:
                decided[index] = _not_enough(found[index], max(1, len(able)))
            elif corrected[index] <= statistics.LEVEL:
                decided[index] = _judged(found[index], policy)
    return [one if one.shift else _judged(one, policy) for one in decided]


def _p(difference: Difference) -> float:
    return difference.shift.p if difference.shift else 1.0


def _least_p(difference: Difference) -> float:
    if difference.shift and difference.shift.is_paired:
        return statistics.smallest_paired_p(min(difference.runs))
    return statistics.smallest_p(*difference.runs)


def _not_enough(difference: Difference, cells: int) -> Difference:
    runs, needed = min(difference.runs), statistics.runs_needed(cells)
    why = f"{counted(runs, 'run')} a side; {counted(cells, 'cell')} need {needed}: --repeat {needed}"
    return replace(difference, judgement=Judgement.NOT_ENOUGH, why=why)


def _judged(difference: Difference, policy: Policy) -> Difference:
    threshold = policy.thresholds.get(difference.measure.name) or 0.0
    if difference.judgement is not Judgement.NO_DIFFERENCE or not _is_news(difference, threshold):
        return difference
    worse = difference.share is None or difference.share > 0
    return replace(difference, judgement=Judgement.WORSE if worse else Judgement.BETTER)


def _is_news(difference: Difference, threshold: float) -> bool:
    """Whether it is as much as the policy says, as large a step down as up, and more than a trifle."""
    before, after = float(difference.before or 0), float(difference.after or 0)
    if abs(after - before) < difference.measure.floor or before == after:
        return False
    share = difference.share
    if share is None or share <= -1:  # from nothing, or to nothing
        return True
    return max(share, 1 / (1 + share) - 1) > threshold
