"""The verdict over a comparison: what fails it, what leaves it open, what it says."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from e2e_matrix.assessment import Assessment, Expectation, Question, Reason, Standing, assess, expectations
from e2e_matrix.cli.compare import command
from e2e_matrix.compare import Change
from e2e_matrix.errors import BadInput
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.regression import EVENTS, FAILS, Policy
from e2e_matrix.report.comparison import as_json, as_markdown
from e2e_matrix.report.html import render
from e2e_matrix.report.markdown import SMALLEST_BYTES
from e2e_matrix.results import Cell, Evidence, Repeat, Results
from e2e_matrix.terminal.comparison import show_comparison
from e2e_matrix.terminal.screen import Screen
from support import measured_runs as runs
from support import report_samples as samples
from support import script_samples as scripts
from support.github_markdown import shown

PASS, FAIL, INCONCLUSIVE = Standing.PASS, Standing.FAIL, Standing.INCONCLUSIVE
PASSED, FAILED = Outcome.PASSED, Outcome.FAILED
FIVE = [5.0, 5.1, 4.9, 5.05, 4.95]
API = ("breaking-api", "different-api")


def ended(outcome: Outcome | str, name: str = "python-amd64", **changed: Any) -> Cell:
    changed.setdefault("flaky", False)
    attempts = [runs.attempt(outcome=Outcome(outcome))] if outcome in (PASSED, FAILED) else []
    return runs.cell(name, attempts, outcome=Outcome(outcome), **changed)


def judged(
    before: Sequence[Cell], after: Sequence[Cell], *fail_on: str, expect: Sequence[str] = (), **options: Any
) -> Assessment:
    compared = runs.compared(before, after, **options)
    return assess(compared, Policy(fail_on=fail_on), Question(expected=expectations(expect)))


def booted(factor: float, name: str = "python-amd64", repeats: int = 5) -> Cell:
    return runs.timed(name, boot=[value * factor for value in FIVE[:repeats]])


def wasting(seconds: float) -> Cell:
    attempt = scripts.script_attempt("x", scripts.script_run(wasted_seconds=seconds))
    return scripts.script_cell("python", "amd64", attempt)


def costing(cost: str | None, name: str = "python-amd64", **changed: Any) -> Cell:
    return runs.cell(name, [runs.attempt(cost_usd=None if cost is None else Decimal(cost))], **changed)


# word, a pair of cells that it fails on, and one that it does not
CASES: list[tuple[str, tuple[Cell | None, Cell | None], tuple[Cell | None, Cell | None]]] = [
    ("newly-failing", (ended(PASSED), ended(FAILED)), (ended(FAILED), ended(FAILED))),
    ("still-failing", (ended(FAILED), ended(FAILED)), (ended(PASSED), ended(FAILED))),
    ("newly-flaky", (ended(PASSED), ended(PASSED, flaky=True)), (ended(PASSED, flaky=True),) * 2),
    ("removed", (ended(PASSED), None), (None, ended(PASSED))),
    ("wasted", (wasting(1.0), wasting(60.0)), (wasting(60.0), wasting(1.0))),
    ("boot", (booted(1.0), booted(1.5)), (booted(1.5), booted(1.0))),
    ("cost", (costing("1.00"), costing("1.10")), (costing("1.10"), costing("1.00"))),
]
_MORE = ended(PASSED, "more-amd64")


@pytest.mark.parametrize(("word", "bad", "good"), CASES, ids=lambda one: one if isinstance(one, str) else "")
def test_each_word_of_the_policy_fails_on_what_it_says_and_on_nothing_else(
    word: str, bad: tuple[Cell | None, Cell | None], good: tuple[Cell | None, Cell | None]
) -> None:
    for pair, standing in ((bad, FAIL), (good, PASS)):
        sides = [[cell for cell in (side, _MORE) if cell] for side in pair]
        told = judged(sides[0], sides[1], word)
        assert (told.standing, told.exit_code) == (standing, 1 if standing is FAIL else 0)
    sides = [[cell for cell in (side, _MORE) if cell] for side in bad]
    others = [one for one in FAILS if one != word and one in EVENTS]
    assert judged(sides[0], sides[1], *others).standing is PASS
    [reason] = judged(sides[0], sides[1], word).reasons
    name = next(cell.id for cell in bad if cell)
    said = {"boot": f"boot is slower: {name} +50%", "cost": f"cost is dearer: {name} +10%"}
    assert reason.words.startswith(said.get(word, f"{word.replace('-', ' ')}: {name}"))


def test_a_new_cell_that_is_flaky_is_newly_so() -> None:
    told = judged([_MORE], [_MORE, ended(PASSED, flaky=True)], "newly-flaky")
    assert [reason.words for reason in told.reasons] == ["newly flaky: python-amd64"]


def test_every_event_has_its_case() -> None:
    """What the API's two words fail on is tested with the API."""
    assert {word for word, _, _ in CASES if word in EVENTS} == set(EVENTS) - set(API)


def test_all_that_fails_is_said_before_what_nobody_knows() -> None:
    before = [ended(PASSED), booted(1.0, "java-amd64"), ended(PASSED, "golang-amd64")]
    after = [ended(FAILED), booted(1.5, "java-amd64"), ended("error", "golang-amd64")]
    told = judged(before, after, "newly-failing", "boot")
    assert [(one.standing, one.words.split(":")[0]) for one in told.reasons] == [
        (FAIL, "newly failing"),
        (FAIL, "boot is slower"),
        (INCONCLUSIVE, "no verdict in the candidate"),
    ]
    assert told.exit_code == 1
    assert told.why == "newly failing: python-amd64; " + told.reasons[1].words
    assert told.outcome is FAILED


def test_a_pass_says_what_it_rests_on() -> None:
    told = judged([ended(PASSED)], [ended(PASSED)], "newly-failing")
    assert told.reasons == [Reason(PASS, "nothing that the policy fails on in 1 cell")]
    told = judged([ended(FAILED)], [ended(PASSED)], expect=["fixed:python-*", "fixed:*"])
    assert told.why == "nothing that the policy fails on in 1 cell, and 2 expectations met"
    assert told.exit_code == 0


@pytest.mark.parametrize(
    ("before", "after", "standing"),
    [
        ("passed", "error", INCONCLUSIVE),
        ("passed", "cancelled", INCONCLUSIVE),
        ("passed", "not_run", INCONCLUSIVE),
        ("passed", "unsupported", INCONCLUSIVE),
        ("failed", "error", INCONCLUSIVE),
        ("unsupported", "unsupported", PASS),  # neither could test it
        ("error", "unsupported", INCONCLUSIVE),
        ("error", "passed", PASS),  # it does not fail, whatever it did
        ("not_run", "failed", FAIL),
    ],
)
def test_what_has_no_verdict_leaves_it_open(before: str, after: str, standing: Standing) -> None:
    told = judged([ended(before), _MORE], [ended(after), _MORE], "newly-failing")
    assert told.standing is standing
    assert told.exit_code == {PASS: 0, FAIL: 1, INCONCLUSIVE: 3}[standing]
    if standing is INCONCLUSIVE:
        assert told.why == f"no verdict in the candidate: python-amd64 ({after.replace('_', ' ')})"


def test_two_runs_without_a_common_cell_tell_nothing() -> None:
    told = judged([ended(PASSED, "a-amd64")], [ended(PASSED, "b-amd64")], "newly-failing")
    assert (told.exit_code, told.why) == (3, "no cell is in both")
    assert judged([], []).exit_code == 3


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (booted(1.0, repeats=1), booted(1.0, repeats=1),
         "not enough runs (1 run a side; 1 cell needs 4: --repeat 4)"),
        (booted(1.0), booted(1.0).model_copy(update={"emulated": True}),
         "not comparable (native once and emulated once)"),
        (booted(1.0), ended(PASSED), "not comparable (nothing was measured in the candidate)"),
    ],
)  # fmt: skip
def test_a_measure_to_fail_on_that_nobody_can_judge_leaves_it_open(
    before: Cell, after: Cell, why: str
) -> None:
    told = judged([before], [after], "boot")
    assert (told.exit_code, told.why) == (3, f"boot of python-amd64: {why}")
    assert judged([before], [after], "cost", "newly-failing").why == "cost was judged in no cell"
    assert judged([before], [after], "newly-failing").standing is PASS  # nobody asked for the boot


def test_a_measure_to_fail_on_that_nothing_has_leaves_it_open() -> None:
    """Nobody told what either cost: that is no pass."""
    told = judged([costing(None)], [costing(None)], "cost", "newly-failing")
    assert (told.exit_code, told.why) == (3, "cost was judged in no cell")
    ignored = Policy({**Policy().thresholds, "cost": None}, ("cost",))
    compared = runs.compared([costing("1")], [costing("2")])
    assert assess(compared, ignored).why == "cost was judged in no cell"
    one_has = judged([costing("1"), _MORE], [costing("1"), _MORE], "cost")
    assert one_has.standing is PASS  # a cell without a conversation costs nothing


def test_where_a_side_failed_the_measure_is_judged_in_the_other_cells_or_in_none() -> None:
    for before, after in ((ended(FAILED), costing("1")), (costing("1"), ended(FAILED))):
        others = [costing("1", "more-amd64")]
        assert judged([before, *others], [after, *others], "cost").standing is PASS
        assert judged([before], [after], "cost").why == "cost was judged in no cell"


def test_a_pass_of_the_same_image_under_the_same_key_stands_for_its_measures() -> None:
    evidence = Evidence(run="20251101T000000Z-aaaaaa", cell="python-amd64", finished_at=samples.START)
    ran = costing("1", key="a" * 64)
    for key, standing in (("a" * 64, PASS), ("b" * 64, INCONCLUSIVE), (None, INCONCLUSIVE)):
        reused = costing("1", reused=True, reused_from=evidence, key=key).model_copy(update={"attempts": []})
        assert judged([ran], [reused], "cost").standing is standing
        assert judged([ran], [reused], "breaking-api").standing is PASS  # one image has one API


def test_a_breaking_api_that_nobody_knows_is_no_pass() -> None:
    other = costing("1").image.model_copy(update={"digest": samples.digest("another")})
    told = judged([costing("1")], [costing("1", image=other)], "breaking-api")
    assert told.standing is INCONCLUSIVE
    assert told.why.startswith(
        "the API of python-amd64: not comparable (no description was kept in the baseline"
    )


def test_a_baseline_that_never_had_the_image_has_nothing_to_be_fixed() -> None:
    for cause in (Cause.TAG_MISSING, Cause.PLATFORM_MISSING):
        missing = ended(FAILED, cause=cause)
        told = judged([missing, _MORE], [ended(PASSED), _MORE], "newly-failing", expect=["fixed:python-*"])
        assert (told.standing, told.compared.of(Change.ADDED)[0].name) == (FAIL, "python-amd64")
        assert judged([missing], [ended(FAILED)], "newly-failing").standing is FAIL


def test_a_replay_that_was_asked_something_else_says_nothing() -> None:
    differs = ended(FAILED, cause=Cause.LLM_REPLAY_DIFFERS)
    for before, after in ((differs, ended(PASSED)), (ended(PASSED), differs), (differs, differs)):
        assert judged([before], [after], "newly-failing", "still-failing").standing is INCONCLUSIVE


def test_where_no_cell_has_a_verdict_in_both_nothing_was_compared() -> None:
    told = judged([ended("error")], [ended(PASSED)], "newly-failing")
    assert (told.exit_code, told.why) == (3, "no cell has a verdict in both")
    assert judged([ended("error"), _MORE], [ended(PASSED), _MORE], "newly-failing").standing is PASS


def test_a_cell_that_is_new_and_met_an_error_is_no_pass() -> None:
    assert judged([_MORE], [_MORE, ended("error")], "newly-failing").standing is INCONCLUSIVE


def test_a_cell_that_failed_now_and_then_and_always_fails_now_is_newly_failing() -> None:
    def passing(passed: int) -> Cell:
        return ended(FAILED, repeat=Repeat(planned=8, runs=8, passed=passed))

    assert [passing(before).repeat and judged([passing(before)], [passing(after)], "newly-failing").standing
            for before, after in ((7, 0), (7, 6), (0, 0), (1, 0))] == [FAIL, PASS, PASS, PASS]  # fmt: skip


def test_what_a_retry_cost_was_paid_as_well() -> None:
    tries = [
        runs.attempt(outcome=FAILED, number=1, cost_usd=Decimal(5)),
        runs.attempt(number=2, cost_usd=Decimal("0.01")),
    ]
    told = judged([costing("0.01")], [runs.cell(attempts=tries)], "cost")
    assert (told.standing, told.why) == (FAIL, "cost is dearer: python-amd64 +50000%")


def test_what_is_the_same_every_time_and_was_not_is_tested_as_noise() -> None:
    def costing_each(*costs: str) -> Cell:
        return runs.timed(cost_usd=[Decimal(cost) for cost in costs])

    steady = costing_each(*["0.01"] * 8)
    told = judged([steady], [costing_each(*["0.01"] * 5, *["9"] * 3)], "cost")
    assert [one.shift is not None for one in told.differences if one.measure.name == "cost"] == [True]
    assert judged([steady], [costing_each("9", "9.1", *["9"] * 6)], "cost").standing is FAIL


def test_what_was_reused_was_not_measured() -> None:
    evidence = Evidence(run="20251101T000000Z-aaaaaa", cell="python-amd64", finished_at=samples.START)
    reused = costing("1", reused=True, reused_from=evidence).model_copy(update={"attempts": []})
    told = judged([costing("1")], [reused], "cost")
    assert told.why == "cost of python-amd64: not comparable (the candidate was reused and not measured)"


# --- Its colour ---


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ([ended(PASSED)], [ended(PASSED)], PASSED),
        ([ended(FAILED)], [ended(PASSED)], PASSED),
        ([ended(FAILED)], [ended(FAILED)], Outcome.ERROR),  # a pass by the policy, and nothing to be glad of
        ([ended(PASSED)], [ended("error")], Outcome.ERROR),
        ([booted(1.0)], [booted(1.5)], Outcome.ERROR),
        ([booted(1.5)], [booted(1.0)], PASSED),
        ([ended(PASSED)], [ended(FAILED)], FAILED),
    ],
)
def test_only_what_needs_no_second_look_is_green(
    before: list[Cell], after: list[Cell], outcome: Outcome
) -> None:
    assert judged(before, after, "newly-failing").outcome is outcome


# --- Expectations ---


@pytest.mark.parametrize(
    ("text", "change", "cells"),
    [
        ("fixed:python-*", Change.FIXED, "python-*"),
        ("newly-failing: java-amd64 ", Change.NEWLY_FAILING, "java-amd64"),
        (" still-failing:*", Change.STILL_FAILING, "*"),
        ("wastes-less-time:a:b", Change.WASTES_LESS, "a:b"),
        ("same:[pj]*", Change.SAME, "[pj]*"),
    ],
)
def test_an_expectation_is_a_change_and_a_glob(text: str, change: Change, cells: str) -> None:
    found = Expectation.parse(text)
    assert (found.change, found.cells) == (change, cells)
    assert Expectation.parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("fixd:python-*", "such as fixed:python-*; did you mean 'fixed'?"),
        ("fixed", "such as fixed:python-*; the changes are newly-failing, fixed, "),
        ("fixed:", "write CHANGE:GLOB"),
        ("fixed: ", "write CHANGE:GLOB"),
        ("", "known here: newly-failing, fixed"),
        (":x", "known here: newly-failing, fixed, still-failing"),
        ("FIXED:x", "known here: newly-failing, fixed"),
    ],
)
def test_what_is_no_expectation_is_refused(text: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        Expectation.parse(text)
    assert str(caught.value).startswith(f"--expect: cannot be {text!r}\n    ")
    assert hint in str(caught.value)
    assert ("did you mean" in str(caught.value)) is ("did you mean" in hint)
    assert ("known here" in str(caught.value)) is ("known here" in hint)


def test_all_that_is_wrong_with_expectations_is_said_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        expectations(["fixed:x", "fixed", "broken:*"], "claims")
    assert [problem.message for problem in caught.value.problems] == [
        "cannot be 'broken:*'",
        "cannot be 'fixed'",
    ]
    assert all(problem.file == "claims" for problem in caught.value.problems)
    assert expectations([]) == ()


@pytest.mark.parametrize(
    ("before", "after", "expected", "standing", "words"),
    [
        ("failed", "passed", "fixed:python-*", PASS, ""),
        ("failed", "failed", "still-failing:python-*", PASS, ""),
        ("failed", "failed", "fixed:python-*", FAIL, "but python-amd64 is still failing"),
        ("passed", "passed", "fixed:*", FAIL, "but python-amd64 is same"),
        ("passed", "passed", "fixed:java-*", FAIL, "expected fixed:java-*, and no cell is called so"),
        ("failed", "error", "fixed:*", INCONCLUSIVE, "but python-amd64 is not comparable"),
        ("failed", "unsupported", "fixed:*", INCONCLUSIVE, "but python-amd64 is unsupported"),
        ("passed", "unsupported", "unsupported:*", INCONCLUSIVE, "no verdict in the candidate"),
        ("failed", "passed", "fixed:PYTHON-*", FAIL, "no cell is called so"),
    ],
)
def test_the_verdict_depends_on_what_is_expected(
    before: str, after: str, expected: str, standing: Standing, words: str
) -> None:
    told = judged([ended(before)], [ended(after)], expect=[expected])
    assert (told.standing, words in told.why) == (standing, True)


def test_of_several_expectations_all_have_to_be_met() -> None:
    before = [ended(FAILED), ended(FAILED, "java-amd64"), ended(PASSED, "golang-amd64")]
    after = [ended(PASSED), ended("error", "java-amd64"), ended(PASSED, "golang-amd64")]
    told = judged(before, after, expect=["fixed:python-*", "fixed:*-amd64", "same:golang-*"])
    assert [(one.standing, one.words) for one in told.reasons[:2]] == [
        (FAIL, "expected fixed:*-amd64, but golang-amd64 is same"),
        (INCONCLUSIVE, "expected fixed:*-amd64, but java-amd64 is not comparable"),
    ]
    assert judged(before[:1], after[:1], expect=["fixed:python-*", "fixed:*-amd64"]).standing is PASS


def test_what_was_expected_to_break_may_still_fail_the_policy() -> None:
    told = judged([ended(PASSED)], [ended(FAILED)], "newly-failing", expect=["newly-failing:*"])
    assert [one.words for one in told.reasons] == ["newly failing: python-amd64"]


# --- The policy that counts ---


def test_the_policy_is_that_of_the_candidates_run() -> None:
    lax = {"fail-on": ["still-failing"], "regression": {"cost": "50%"}}
    sides = [[costing("1.00"), ended(PASSED, "x-amd64")], [costing("1.40"), ended(FAILED, "x-amd64")]]
    assert assess(runs.compared(sides[0], sides[1])).standing is FAIL
    told = assess(runs.compared(sides[0], sides[1], settings=lax))
    assert (told.standing, told.policy.fail_on) == (PASS, ("still-failing",))
    assert told.headline == "fixed: none; newly failing: 1 cell; same: 1 cell"


def test_a_policy_of_no_run_ends_the_command_with_what_is_wrong(tmp_path: Path) -> None:
    for name, settings in (("a", None), ("b", {"regression": {"boot": "x"}})):
        results = runs.compared([ended(PASSED)], [ended(PASSED)], settings=settings).candidate_run
        (tmp_path / name).mkdir()
        whole = Results(run=results, cells=[ended(PASSED)])
        (tmp_path / name / "results.json").write_text(whole.model_dump_json(), encoding="utf-8")
    ran = CliRunner().invoke(command, ["a", "b", "--reports", str(tmp_path)], standalone_mode=False)
    assert isinstance(ran.exception, BadInput)
    assert "regression.boot: cannot be 'x'" in str(ran.exception)
    ran = CliRunner().invoke(command, ["b", "a", "--reports", str(tmp_path)], standalone_mode=False)
    assert ran.return_value == 0  # that of the baseline counts for nothing


# --- What is said ---


def test_the_headline_says_what_is_worse_and_what_is_better() -> None:
    before = [booted(1.0), booted(1.0, "java-amd64"), costing("1.00", "golang-amd64")]
    after = [booted(1.5), booted(0.5, "java-amd64"), costing("2.00", "golang-amd64")]
    told = judged(before, after)
    parts = told.headline.split("; ")
    assert parts[:3] == ["fixed: none", "newly failing: none", "same: 3 cells"]
    assert [part.split(" (")[0] for part in parts[3:]] == [
        "slower: boot in python-amd64 +50%",
        "dearer: cost in golang-amd64 +100%",
        "faster: boot in java-amd64 -50%",
    ]


def test_what_is_not_judged_is_grouped_by_why_and_says_of_which_cells() -> None:
    before = [runs.timed("a-amd64", boot=[5.0], init=[1.0]), runs.timed("b-amd64", boot=[5.0])]
    before.append(booted(1.0, "c-amd64"))
    after = [*before[:2], before[2].model_copy(update={"emulated": True})]
    told = judged(before, after)
    enough = "1 run a side; 2 cells need 5: --repeat 5"
    assert told.not_judged == [
        f"boot, total of a-amd64, b-amd64: not enough runs ({enough})",
        "init of a-amd64: not enough runs (1 run a side; 1 cell needs 4: --repeat 4)",
        "boot, total of c-amd64: not comparable (native once and emulated once)",
    ]


def _thousand(name: str = "v{}-amd64") -> tuple[list[Cell], list[Cell]]:
    names = [name.format(number) for number in range(1000)]
    before = [costing("1.00", one) for one in names]
    after = [costing("2.00", one) if number % 2 else ended(FAILED, one) for number, one in enumerate(names)]
    return before, after


def test_of_a_thousand_cells_the_words_stay_few() -> None:
    told = judged(*_thousand(), "newly-failing", "cost", "total")
    assert len(told.headline) < 600
    assert len(told.reasons) <= 4
    assert all(len(one.words) < 400 for one in told.reasons)
    assert "and 495 more" in told.headline
    assert len(told.not_judged) <= 4
    text = as_markdown(told, SMALLEST_BYTES)
    assert len(text.encode()) <= SMALLEST_BYTES


HOSTILE = "x\x1b[31m\u202e|`<script>alert(1)</script>\n# @a{}"


def test_hostile_names_are_text_wherever_they_are_read(tmp_path: Path) -> None:
    before, after = _thousand(HOSTILE)
    told = judged(before[:7], after[:7], "newly-failing", "cost", "total", expect=["fixed:*"])
    assert shown(as_markdown(told)).problems == []
    read = json.loads(as_json(told))
    assert read["standing"] == "FAIL"
    assert read["measures"][0]["cell"] == before[0].id
    printed = io.StringIO()
    show_comparison(Screen(printed, {}, terminal=False), told)
    assert not set(printed.getvalue()) & {"\x1b", "\u202e"}
    assert "FAIL: " in printed.getvalue()
    baseline = runs.run(before[:7], id=runs.BASELINE)
    (tmp_path / "baseline.json").write_text(baseline.model_dump_json(), encoding="utf-8")
    page = render(runs.run(after[:7]), tmp_path)
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert "What changed" in page


def test_a_program_gets_the_figures_of_every_measure() -> None:
    told = judged([booted(1.0)], [booted(1.5)], "boot")
    read = json.loads(as_json(told))
    assert read["reasons"][0]["standing"] == "FAIL"
    boot = next(one for one in read["measures"] if one["measure"] == "boot")
    assert (boot["judgement"], boot["baseline"], boot["baseline_runs"]) == ("worse", 5.0, 5)
    assert boot["share"] == pytest.approx(0.5)
    assert boot["share_low"] < 0.5 < boot["share_high"]
    assert boot["p"] == pytest.approx(2 / 252)
    size = next(one for one in read["measures"] if one["measure"] == "size")
    assert (size["p"], size["share"], size["why"]) == (None, 0.0, None)
