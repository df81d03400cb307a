"""The verdict over a comparison: PASS, FAIL or INCONCLUSIVE, by the policy, with every reason for it.

INCONCLUSIVE is what nobody knows: it is never a pass. What the policy does not fail on is told all the same.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from e2e_matrix.api import ApiComparison, Differences, Finding, of_cells, same_api
from e2e_matrix.compare import Change, Comparison, Pair, some
from e2e_matrix.errors import EXIT_FAILED, EXIT_INFRASTRUCTURE, EXIT_PASSED, BadInput, Problem
from e2e_matrix.failures import Outcome
from e2e_matrix.measures import MEASURES
from e2e_matrix.regression import Difference, Judgement, Policy, judge
from e2e_matrix.script_words import counted
from e2e_matrix.templates import did_you_mean
from e2e_matrix.text import one_line


class Standing(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


_EXIT = {
    Standing.PASS: EXIT_PASSED,
    Standing.FAIL: EXIT_FAILED,
    Standing.INCONCLUSIVE: EXIT_INFRASTRUCTURE,
}
# Of the events of regression.py those that a change of a cell's own tells.
_CHANGES = {
    "newly-failing": Change.NEWLY_FAILING,
    "still-failing": Change.STILL_FAILING,
    "removed": Change.REMOVED,
    "wasted": Change.WASTES_MORE,
}
# A cell whose change is one of these has a verdict in both runs.
_KNOWN = (
    Change.NEWLY_FAILING,
    Change.FIXED,
    Change.STILL_FAILING,
    Change.WASTES_MORE,
    Change.WASTES_LESS,
    Change.SAME,
    Change.UNSUPPORTED,
)
_EXPECTED = {change.value.replace(" ", "-"): change for change in Change}


@dataclass(frozen=True)
class Expectation:
    """What somebody says becomes of some cells: ``fixed:python-*``."""

    change: Change
    cells: str  # a glob

    @classmethod
    def parse(cls, text: str, place: str = "--expect") -> Expectation:
        """Raises BadInput for what is no such thing."""
        word, colon, cells = text.strip().partition(":")
        if word in _EXPECTED and cells.strip():
            return cls(_EXPECTED[word], cells.strip())
        hint = "write CHANGE:GLOB, such as fixed:python-*"
        if word not in _EXPECTED:
            hint += f"; {did_you_mean(word, list(_EXPECTED))}"
        elif not colon:
            hint += f"; the changes are {', '.join(_EXPECTED)}"
        raise BadInput([Problem(place, 0, 0, f"cannot be {text!r}", hint)])

    def __str__(self) -> str:
        return f"{self.change.value.replace(' ', '-')}:{self.cells}"

    def of(self, compared: Comparison) -> list[Pair]:
        """The cells that it speaks of."""
        return [pair for pair in compared.pairs if fnmatch.fnmatchcase(pair.name, self.cells)]


@dataclass(frozen=True)
class Reason:
    standing: Standing
    words: str


@dataclass(frozen=True)
class Question:
    """What is asked beside the policy: the change's stated goal, and what it is expected to do.

    ``fail_on``: what to fail on instead of what the policy says; None: that.
    """

    claim: str | None = None
    expected: tuple[Expectation, ...] = ()
    fail_on: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Assessment:
    """A comparison with its verdict."""

    compared: Comparison
    policy: Policy
    differences: list[Difference]
    api: ApiComparison
    findings: list[Finding] = field(default_factory=list)  # images of the candidate unlike the others
    question: Question = field(default_factory=Question)

    @property
    def standing(self) -> Standing:
        told = {reason.standing for reason in self.reasons}
        return next((one for one in (Standing.FAIL, Standing.INCONCLUSIVE) if one in told), Standing.PASS)

    @property
    def exit_code(self) -> int:
        """0 for PASS, 1 for FAIL, 3 for INCONCLUSIVE."""
        return _EXIT[self.standing]

    @property
    def outcome(self) -> Outcome:
        """Its colour: passed where nothing is worth a second look, else error, be it a pass."""
        if self.standing is Standing.FAIL:
            return Outcome.FAILED
        good = self.standing is Standing.PASS and self.compared.all_good and not self.of(Judgement.WORSE)
        return Outcome.PASSED if good else Outcome.ERROR

    @property
    def reasons(self) -> list[Reason]:
        """Why it is no pass, what fails first; of a pass there is one that says what it rests on."""
        found = [*self._failures(), *self._unmet(), *self._unknown()]
        if not found:
            cells = counted(len(self.compared.both), "cell")
            met = (
                f", and {counted(len(self.question.expected), 'expectation')} met"
                if self.question.expected
                else ""
            )
            found = [Reason(Standing.PASS, f"nothing that the policy fails on in {cells}{met}")]
        return sorted(found, key=lambda reason: reason.standing is not Standing.FAIL)

    @property
    def why(self) -> str:
        """The reasons for the verdict as one sentence without its full stop."""
        return "; ".join(one.words for one in self.reasons if one.standing is self.standing)

    @property
    def headline(self) -> str:
        """What changed: cells by their change, then measures that are worse or better."""
        return "; ".join([self.compared.verdict, *self._measures(), *self.api_words])

    @property
    def api_words(self) -> list[str]:
        """What became of the REST APIs, and which images are unlike the others; a line each."""
        changed = [pair for pair in self.api.pairs if pair.baseline_digest != pair.candidate_digest]
        return [
            *(f"API: {pair.told.words}" for pair in changed[:3]),
            *(finding.words for finding in self.findings[:3]),
        ]

    def of(self, judgement: Judgement) -> list[Difference]:
        return [one for one in self.differences if one.judgement is judgement]

    @property
    def not_judged(self) -> list[str]:
        """What nobody can say of the measures, and why; alike ones together."""
        unknown = (Judgement.NOT_ENOUGH, Judgement.NOT_COMPARABLE)
        return _together(one for one in self.differences if one.judgement in unknown)

    def _measures(self) -> Iterator[str]:
        for judgement in (Judgement.WORSE, Judgement.BETTER):
            words: dict[str, list[str]] = {}
            for one in self.of(judgement):
                words.setdefault(one.word, []).append(f"{one.measure.name} in {one.pair.name} {one.change}")
            yield from (f"{word}: {some(told)}" for word, told in words.items())

    def _failures(self) -> Iterator[Reason]:
        for word in self.policy.fail_on:
            if told := self._failure(word):
                yield Reason(Standing.FAIL, told)

    def _failure(self, word: str) -> str:
        """What of this is there that the policy fails on; "" where there is nothing."""
        if word in _CHANGES:
            pairs = self.compared.of(_CHANGES[word])
        elif word == "newly-flaky":
            pairs = [pair for pair in self.compared.pairs if _newly_flaky(pair)]
        elif word == "breaking-api":
            breaks = self.api.breaks
            return f"the API breaks a client of the baseline: {breaks}" if breaks else ""
        elif word == "different-api":
            # Another text about the same API is told, and breaks nobody.
            return "; ".join(finding.words for finding in self.findings if finding.matters)
        else:
            worse = [one for one in self.of(Judgement.WORSE) if one.measure.name == word]
            told = [f"{one.pair.name} {one.change}" for one in worse]
            return f"{word} is {worse[0].word}: {some(told)}" if worse else ""
        return f"{word.replace('-', ' ')}: {some([pair.name for pair in pairs])}" if pairs else ""

    def _unknown_api(self) -> Iterator[Reason]:
        """Cells whose API nobody can compare; that of one and the same image is the same."""
        same = {pair.name for pair in self.compared.pairs if pair.same_image}
        alike: dict[str, list[str]] = {}
        for cell, why in self.api.undescribed.items():
            if cell not in same:
                alike.setdefault(why, []).append(cell)
        for pair in self.api.pairs:
            if pair.told.unknown is not None:
                alike.setdefault(pair.told.unknown, []).extend(pair.cells)
        for why, cells in alike.items():
            yield Reason(Standing.INCONCLUSIVE, f"the API of {some(cells)}: not comparable ({why})")

    def _unmet(self) -> Iterator[Reason]:
        for expected in self.question.expected:
            pairs = expected.of(self.compared)
            if not pairs:
                yield Reason(Standing.FAIL, f"expected {expected}, and no cell is called so")
            wrong = [pair for pair in pairs if pair.change is not expected.change]
            unknown = [pair for pair in wrong if pair.change in (Change.UNDECIDED, Change.UNSUPPORTED)]
            for standing, some_pairs in (
                (Standing.FAIL, [pair for pair in wrong if pair not in unknown]),
                (Standing.INCONCLUSIVE, unknown),
            ):
                if some_pairs:
                    told = some([f"{pair.name} is {pair.change}" for pair in some_pairs])
                    yield Reason(standing, f"expected {expected}, but {told}")

    def _unknown(self) -> Iterator[Reason]:
        compared = self.compared
        if not compared.both:
            yield Reason(Standing.INCONCLUSIVE, "no cell is in both")
        elif not any(pair.change in _KNOWN for pair in compared.both):
            yield Reason(Standing.INCONCLUSIVE, "no cell has a verdict in both")
        if untold := compared.untold:
            told = [f"{pair.name} ({_words(pair.candidate.outcome)})" for pair in untold if pair.candidate]
            yield Reason(Standing.INCONCLUSIVE, f"no verdict in the candidate: {some(told)}")
        if "breaking-api" in self.policy.fail_on:
            yield from self._unknown_api()
        asked = [one for one in self.differences if one.measure.name in self.policy.fail_on]
        for words in _together(one for one in asked if _leaves_open(one)):
            yield Reason(Standing.INCONCLUSIVE, words)
        unknown = (Judgement.NOT_ENOUGH, Judgement.NOT_COMPARABLE)
        judged = {one.measure.name for one in asked if one.judgement not in unknown}
        open_ones = {one.measure.name for one in asked if _leaves_open(one)}
        for word in self.policy.fail_on:
            if word in MEASURES and word not in judged | open_ones:
                yield Reason(Standing.INCONCLUSIVE, f"{word} was judged in no cell")


def _together(differences: Iterable[Difference]) -> list[str]:
    """Measures of cells and why nobody can judge them; those of the same cells for the same reason in one."""
    cells: dict[tuple[str, str], list[str]] = {}
    for one in differences:
        why = f"{one.judgement} ({one.why})"
        cells.setdefault((one.measure.name, why), []).append(one.pair.name)
    measures: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (measure, why), names in cells.items():
        measures.setdefault((why, tuple(names)), []).append(measure)
    return [f"{', '.join(alike)} of {some(names)}: {why}" for (why, names), alike in measures.items()]


def _words(outcome: Outcome) -> str:
    return outcome.value.replace("_", " ")


def _newly_flaky(pair: Pair) -> bool:
    return bool(pair.candidate and pair.candidate.flaky) and not (pair.baseline and pair.baseline.flaky)


def _leaves_open(difference: Difference) -> bool:
    """Whether nobody knows of a regression; where a side failed, that is the news, and not its times."""
    if difference.judgement is Judgement.NOT_ENOUGH:
        return True
    sides = (difference.pair.baseline, difference.pair.candidate)
    failed = any(cell and cell.outcome is Outcome.FAILED for cell in sides)
    return difference.judgement is Judgement.NOT_COMPARABLE and not failed


def assess(
    compared: Comparison,
    policy: Policy | None = None,
    question: Question | None = None,
    *,
    folder: Path | None = None,
    baseline_folder: Path | None = None,
    differences: Differences | None = None,
) -> Assessment:
    """The verdict over two runs; ``policy`` None: the one that the candidate's run was made with.

    ``folder`` is the candidate's, with what its servers said of their API; so is ``baseline_folder``, where
    the baseline's is not in the candidate's. ``differences`` hears what is found.
    """
    question = question or Question()
    policy = policy or Policy.recorded(compared.candidate_run.settings)
    if question.fail_on is not None:
        policy = replace(policy, fail_on=question.fail_on)
    before = {pair.name: pair.baseline for pair in compared.pairs if pair.baseline}
    after = {pair.name: pair.candidate for pair in compared.pairs if pair.candidate}
    differences = differences or Differences.of(folder)
    api = of_cells(before, baseline_folder or folder, after, folder, differences)
    ref = compared.candidate_run.settings.get("ref")
    findings = same_api(
        list(after.values()), folder=folder, ref=str(ref.value) if ref else None, differences=differences
    )
    return Assessment(compared, policy, judge(compared, policy), api, findings, question)


def idle_expectations(
    expected: Sequence[Expectation], cells: Collection[str], place: str = "--expect"
) -> Iterator[Problem]:
    """A glob that no cell of either run is called by is a slip: nothing could ever meet it."""
    for one in dict.fromkeys(expected):
        if not any(fnmatch.fnmatchcase(name, one.cells) for name in cells):
            message = f"no cell is called {one_line(repr(one.cells), 100)}"
            yield Problem(place, 0, 0, message, one_line(did_you_mean(one.cells, cells), 300))


def expectations(texts: Sequence[str], place: str = "--expect") -> tuple[Expectation, ...]:
    """Raises BadInput with everything that is wrong with them."""
    problems: list[Problem] = []
    found = []
    for text in texts:
        try:
            found.append(Expectation.parse(text, place))
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    return tuple(found)
