"""The QA report as its formats write it: verdict, phases, evidence of both sides, and what nobody verified.

It answers a release manager (what is newly broken, slower, dearer, larger?) and a reviewer (does the change
fix what it claims?). Of a run without a baseline it tells the same, and that nothing was compared.
Strings that came from outside are raw here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.api import Finding, of_run
from e2e_matrix.assessment import Assessment, Question, Reason, Standing
from e2e_matrix.compare import Change, Comparison, Pair, some
from e2e_matrix.failures import BROKEN, Outcome
from e2e_matrix.question import assessed_in, load_question
from e2e_matrix.regression import Difference, Judgement
from e2e_matrix.report.qa_evidence import Told, is_news, told_of
from e2e_matrix.report.qa_gaps import gaps_of
from e2e_matrix.results import Cell, Results, Run
from e2e_matrix.script_words import counted

OUTCOMES = {
    Standing.PASS: Outcome.PASSED,
    Standing.FAIL: Outcome.FAILED,
    Standing.INCONCLUSIVE: Outcome.ERROR,
}
_OF_A_RUN = {Outcome.PASSED: Standing.PASS, Outcome.FAILED: Standing.FAIL}
_NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Phase:
    """One line of the phase table; ``outcome`` is its mark."""

    name: str
    outcome: Outcome
    found: str


@dataclass(frozen=True)
class Fact:
    """Something of both sides; ``baseline`` is None where there is none."""

    name: str
    baseline: str | None
    candidate: str


@dataclass(frozen=True)
class ApiLine:
    """``operations`` are all that it shows in, where the words name only the first."""

    words: str
    operations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Api:
    """What the two REST APIs come to, a line each; ``findings``: images of one ref that serve another."""

    breaking: list[ApiLine]
    compatible: list[ApiLine]
    findings: list[ApiLine]
    breaking_fails: bool = False  # whether the policy fails on it
    unknown: int = 0  # cells of which it was not compared


@dataclass(frozen=True)
class QA:
    """Everything that the formats write, in the order in which it is read."""

    results: Results
    assessed: Assessment | None
    question: Question
    standing: Standing
    reasons: list[Reason]
    facts: list[Fact]
    phases: list[Phase]
    told: list[Told]
    others: list[Pair]
    api: Api | None
    gaps: list[str]

    @property
    def title(self) -> str:
        """The claim, or what was compared with what."""
        return self.question.claim or f"QA of {self.subject}"

    @property
    def subject(self) -> str:
        """What was compared with what: the refs, where these say it."""
        run = self.results.run
        if self.assessed is None:
            return run.subject
        baseline = self.assessed.compared.baseline_run
        if run.ref and baseline.ref and run.ref != baseline.ref:
            return f"{run.ref} against {baseline.ref}"
        return f"{run.subject} against {baseline.subject}"

    @property
    def outcome(self) -> Outcome:
        """The colour of the verdict."""
        return OUTCOMES[self.standing]

    @property
    def compared(self) -> bool:
        return self.assessed is not None

    @property
    def summary(self) -> str:
        """What changed; of a run alone, what it came to."""
        return self.assessed.compared.verdict if self.assessed else self.results.run.reason

    def measures(self, *judgements: Judgement) -> list[Difference]:
        """Those with any of the judgements, in their order."""
        if self.assessed is None:
            return []
        return [one for judgement in judgements for one in self.assessed.of(judgement)]


def qa_of(results: Results, folder: Path) -> QA:
    """The QA report of the run in its folder. Raises ``BadInput`` where what is kept there cannot be read."""
    return build(results, assessed_in(folder, results), load_question(folder), of_run(results, folder))


def build(
    results: Results,
    assessed: Assessment | None = None,
    question: Question | None = None,
    findings: Sequence[Finding] = (),
) -> QA:
    """Pure: the same results and the same question give the same.

    ``findings``: images that serve another API than the others of their ref, where nothing was compared.
    """
    question = question or (assessed.question if assessed else Question())
    compared = assessed.compared if assessed else None
    pairs = compared.pairs if compared else [Pair(cell.id, None, cell) for cell in results.cells]
    runs = (compared.baseline_run if compared else None, results.run)
    reasons = assessed.reasons if assessed else _alone(results, question)
    standing = assessed.standing if assessed else reasons[0].standing
    api = api_of(assessed)
    if assessed is None and findings:
        api = Api([], [], _lines(findings))
    return QA(
        results=results,
        assessed=assessed,
        question=question,
        standing=standing,
        reasons=reasons,
        facts=_facts(results, assessed),
        phases=_phases(results, assessed, api),
        told=told_of(_worst_first(pairs), runs),
        others=[pair for pair in pairs if not is_news(pair, compared is not None)],
        api=api,
        gaps=[*gaps_of(results, assessed, question), *_api_gap(assessed, api)],
    )


def _alone(results: Results, question: Question) -> list[Reason]:
    """The reasons of a run that is compared with nothing; the first has its standing."""
    run = results.run
    standing = _OF_A_RUN.get(run.verdict, Standing.INCONCLUSIVE)
    reasons = [Reason(standing, run.reason.rstrip("."))]
    paired = run.beside and not run.for_comparison
    due = [f"the run {run.beside} that was made side by side with it"] if paired else []
    due += [f"what {one} is expected of" for one in question.expected]
    if due and standing is Standing.PASS:
        return [Reason(Standing.INCONCLUSIVE, f"there is no baseline: {some(due)}"), *reasons]
    return reasons


def api_of(assessed: Assessment | None) -> Api | None:
    """What the REST APIs of both sides come to; None where nothing is known of them."""
    if assessed is None:
        return None
    if not assessed.findings and not any(pair.told.difference is not None for pair in assessed.api.pairs):
        return None
    told = [(pair, pair.told.difference) for pair in assessed.api.pairs if pair.told.difference is not None]
    several = len(assessed.api.pairs) > 1
    lines: tuple[list[ApiLine], list[ApiLine]] = ([], [])
    for pair, difference in told:
        of = f"{some(pair.cells)}: " if several else ""
        for found, changes, omitted in (
            (lines[0], difference.breaking, difference.omitted_breaking),
            (lines[1], difference.compatible, difference.omitted_compatible),
        ):
            found += [ApiLine(of + change.words, change.operations) for change in changes]
            found += [ApiLine(f"{of}and {omitted} more")] if omitted else []
    unknown = len(assessed.api.undescribed)
    unknown += sum(len(pair.cells) for pair in assessed.api.pairs if pair.told.difference is None)
    fails = "breaking-api" in assessed.policy.fail_on
    return Api(*lines, _lines(assessed.findings), fails, unknown)


def _lines(findings: Sequence[Finding]) -> list[ApiLine]:
    return [ApiLine(finding.words) for finding in findings]


def _api_gap(assessed: Assessment | None, api: Api | None) -> list[str]:
    """Of which cells nobody knows whether the API has changed."""
    if assessed is None:
        return []
    alike: dict[str, list[str]] = {}
    for cell, why in assessed.api.undescribed.items():
        alike.setdefault(why, []).append(cell)
    for pair in assessed.api.pairs:
        if pair.told.unknown is not None:
            alike.setdefault(pair.told.unknown, []).extend(pair.cells)
    if api is None and len(alike) < 2:
        return [": ".join(["the REST APIs were not compared", *alike])]
    return [f"the REST API of {some(cells)} was not compared: {why}" for why, cells in alike.items()]


def _worst_first(pairs: Sequence[Pair]) -> list[Pair]:
    """As a comparison has them; of a run alone they come as they were planned."""
    order = {outcome: index for index, outcome in enumerate(BROKEN)}

    def rank(pair: Pair) -> tuple[int, int]:
        outcome = pair.candidate.outcome if pair.candidate else Outcome.NOT_RUN
        return list(Change).index(pair.change), order.get(outcome, len(order))

    return sorted(pairs, key=rank)


def _facts(results: Results, assessed: Assessment | None) -> list[Fact]:
    compared = assessed.compared if assessed else None
    other = compared.baseline_run if compared else None
    before = [pair.baseline for pair in compared.pairs if pair.baseline] if compared else []

    def fact(name: str, of: Callable[[Run], str]) -> Fact:
        return Fact(name, of(other) if other else None, of(results.run))

    return [
        fact("subject", lambda run: run.subject),
        Fact("servers", servers(before) if other else None, servers(results.cells)),
        fact("run", lambda run: run.id),
        fact("started", lambda run: f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC"),
        fact("model", lambda run: f"{run.llm.model} ({run.llm.kind})"),
        fact("engine", _engine),
    ]


def servers(cells: Iterable[Cell]) -> str:
    """The versions that servers said they are, with the commit."""
    said = {
        f"{cell.server.version}"
        + (f" ({cell.server.build_git_sha[:12]})" if cell.server.build_git_sha else "")
        for cell in cells
        if cell.server.version
    }
    return some(sorted(said)) or "none said its version"


def _engine(run: Run) -> str:
    engine = run.engine
    return f"{engine.name} {engine.version}, {engine.platform}, {counted(engine.cpus, 'CPU')}"


def _phases(results: Results, assessed: Assessment | None, api: Api | None) -> list[Phase]:
    return [
        _images(results, assessed),
        _environment(results, assessed),
        _verification(results),
        _comparison(assessed),
        _api(api),
    ]


def _images(results: Results, assessed: Assessment | None) -> Phase:
    cells = results.cells
    known = [cell for cell in cells if cell.image.digest]
    differ = [cell.id for cell in cells if cell.image.arch_tag_matches is False]
    words = [f"{len(known)} of {counted(len(cells), 'cell')} by digest"]
    if differ:
        words.append(f"the per-arch tag is another image in {some(differ)}")
    elif any(cell.image.arch_tag_matches for cell in cells):
        words.append("per-arch tags are the same images")
    if assessed:
        words.append(_same_images(assessed.compared))
    good = bool(cells) and len(known) == len(cells) and not differ
    return Phase("images resolved", Outcome.PASSED if good else Outcome.ERROR, "; ".join(words))


def _same_images(compared: Comparison) -> str:
    """On what the two sides ran: a release ran on another image, a repetition should not have."""
    both = [pair.same_image for pair in compared.both]
    if not both:
        return "no cell is in both"
    counts = [
        f"{words} in {both.count(same)} of {counted(len(both), 'cell')}"
        for same, words in ((False, "another image than the baseline's"), (True, "the baseline's image"))
        if same in both
    ]
    return " and ".join(counts) or "of no cell is it known on what both sides ran"


def _environment(results: Results, assessed: Assessment | None) -> Phase:
    before = [pair.baseline for pair in assessed.compared.pairs if pair.baseline] if assessed else []
    cells, before = (
        [cell for cell in side if cell.outcome is not Outcome.UNSUPPORTED] for side in (results.cells, before)
    )
    emulated = sum(cell.emulated for cell in cells)
    words = [f"{len(cells) - emulated} native, {emulated} emulated"]
    unfinished = any(map(_unfinished, [*cells, *before]))
    words.append(_repetitions(cells))
    if unfinished and before:
        words[-1] += f", and in the baseline {_repetitions(before)}"
    unlike = _unlike(assessed) if assessed else []
    if assessed:
        words.insert(0, "; ".join(unlike) or "the same engine, model and scenarios on both sides")
        words.append("side by side" if assessed.compared.side_by_side else "one run after the other")
    good = not unlike and not unfinished
    return Phase("environment", Outcome.PASSED if good else Outcome.ERROR, "; ".join(words))


def _repetitions(cells: Iterable[Cell]) -> str:
    """How often the cells were run; where one was not run as often as planned, of the one with the fewest."""
    repeats = [cell.repeat for cell in cells if cell.repeat]
    planned = max((one.planned for one in repeats), default=1)
    fewest = min((one.runs for one in repeats if one.runs < one.planned), default=planned)
    words = counted(planned, "repetition")
    return words if fewest == planned else f"{fewest} of {words}"


def _unfinished(cell: Cell) -> bool:
    return cell.repeat is not None and cell.repeat.runs < cell.repeat.planned


def _unlike(assessed: Assessment) -> list[str]:
    """What makes the two sides less comparable."""
    compared = assessed.compared
    engines = [_engine(run) for run in (compared.baseline_run, compared.candidate_run)]
    versions = [
        pair.name
        for pair in compared.both
        if pair.baseline
        and pair.candidate
        and pair.same_scenario
        and pair.baseline.scenario_version != pair.candidate.scenario_version
    ]
    return [
        *([f"not the same engine: {engines[0]}, then {engines[1]}"] if engines[0] != engines[1] else []),
        *([f"another version of the scenario: {some(versions)}"] if versions else []),
        *compared.warnings,
    ]


def _verification(results: Results) -> Phase:
    totals = results.run.totals
    counts = [
        f"{number} {outcome.value.replace('_', ' ')}"
        for outcome in Outcome
        if (number := getattr(totals, outcome.value))
    ]
    for number, word in ((totals.flaky, "flaky"), (totals.reused, "reused"), (totals.left_out, "left out")):
        if number:
            counts.append(f"{number} {word}")
    if totals.failed:
        outcome = Outcome.FAILED
    else:
        untold = totals.error + totals.cancelled + totals.not_run
        outcome = Outcome.ERROR if untold or not totals.passed else Outcome.PASSED
    return Phase("functional verification", outcome, ", ".join(counts) or "no cells")


def _comparison(assessed: Assessment | None) -> Phase:
    if assessed is None:
        return Phase("comparison", Outcome.NOT_RUN, f"{_NOT_COMPARED}: there is no baseline")
    words = [assessed.headline]
    for expected in assessed.question.expected:
        pairs = expected.of(assessed.compared)
        met = sum(pair.change is expected.change for pair in pairs)
        words.append(f"expected {expected}: {met} of {counted(len(pairs), 'cell')}")
    return Phase("comparison", OUTCOMES[assessed.standing], "; ".join(words))


def _api(api: Api | None) -> Phase:
    if api is None:
        return Phase("API", Outcome.NOT_RUN, _NOT_COMPARED)
    words = f"{len(api.breaking)} breaking, {counted(len(api.compatible), 'compatible change')}"
    if api.findings:
        words += f"; {counted(len(api.findings), 'image')} of one ref with another API"
    if api.unknown:
        words += f"; not known of {counted(api.unknown, 'cell')}"
    if api.findings or (api.breaking and api.breaking_fails):
        return Phase("API", Outcome.FAILED, words)
    return Phase("API", Outcome.ERROR if api.breaking or api.unknown else Outcome.PASSED, words)
