"""Which differences are called one, and what is said of the others."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from e2e_matrix.compare import Comparison, compare_axis
from e2e_matrix.errors import BadInput
from e2e_matrix.failures import Outcome
from e2e_matrix.measures import MEASURES
from e2e_matrix.regression import DEFAULT_FAIL_ON, Difference, Judgement, Policy, judge
from e2e_matrix.results import Cell, Evidence, Image, Llm, SettingValue
from e2e_matrix.statistics import LEVEL
from support import measured_runs as runs
from support import report_samples as samples
from support import script_samples as scripts

WORSE, BETTER, SAME = Judgement.WORSE, Judgement.BETTER, Judgement.NO_DIFFERENCE
NOT_ENOUGH, NOT_COMPARABLE = Judgement.NOT_ENOUGH, Judgement.NOT_COMPARABLE
FIVE = [5.0, 5.1, 4.9, 5.05, 4.95]
EIGHT = [*FIVE, 5.2, 4.8, 5.01]


def of(compared: Comparison, measure: str = "boot", policy: Policy | None = None) -> list[Difference]:
    return [one for one in judge(compared, policy or Policy()) if one.measure.name == measure]


def boots(before: Sequence[float], after: Sequence[float], **options: Any) -> Difference:
    """The judgement of one cell that was repeated."""
    sides = ([runs.timed(boot=values)] for values in (before, after))
    [told] = of(runs.compared(*sides, **options))
    return told


def times(values: Sequence[float], factor: float) -> list[float]:
    return [value * factor for value in values]


def sized(size: int | None) -> Cell:
    return runs.cell().model_copy(update={"image": samples.image("python", "amd64").model_copy(
        update={"size_bytes": size})})  # fmt: skip


def costing(*costs: str | None) -> Cell:
    return runs.timed(cost_usd=[None if cost is None else Decimal(cost) for cost in costs])


@pytest.mark.parametrize(
    ("factor", "judgement", "word"),
    [
        (1.3, WORSE, "slower"),
        (1.15, SAME, "no difference shown"),  # it is one, and less than the threshold
        (1.0, SAME, "no difference shown"),
        (1 / 1.15, SAME, "no difference shown"),
        (1 / 1.3, BETTER, "faster"),
    ],
)
@pytest.mark.parametrize("turns", [False, True])
def test_a_boot_is_slower_where_it_is_by_more_than_the_policy_says(
    factor: float, judgement: Judgement, word: str, turns: bool
) -> None:
    told = boots(EIGHT, times(EIGHT[::-1], factor), turns=turns)
    assert (told.judgement, told.word, told.runs) == (judgement, word, (8, 8))
    assert told.share == pytest.approx(factor - 1, abs=0.03)
    assert told.shift
    assert told.shift.is_paired is turns
    assert [told.before, told.after] == pytest.approx([5.005, 5.005 * factor])


def test_the_change_is_that_of_all_values_and_not_of_the_medians() -> None:
    told = boots([4.0, 5.0, 6.0, 7.0, 8.0], [4.1, 5.1, 9.0, 9.1, 9.2])
    assert (told.before, told.after) == (6.0, 9.0)
    assert told.share == pytest.approx(1.275 - 1, abs=0.03)
    assert told.change.startswith("+2")


def test_what_changed_is_told_with_its_interval() -> None:
    told = boots(EIGHT, times(EIGHT, 1.3), turns=True)
    assert told.change == "+30% (+30% to +30%)"
    for before, after in (([5.0], [6.5]), ([5.0], [6.5, 6.5]), ([5.0, 5.0], [6.5])):
        assert boots(before, after).change == "+30%"  # of one run on a side there is no interval
    assert boots([5.0, 5.0], [6.5, 6.5]).change == "+30% (+30% to +30%)"
    assert boots(FIVE, times(FIVE, 1.0001)).change.startswith("+0.0% (")  # never -0.0%
    [cost] = of(runs.compared([costing("0.10")], [costing("0.104")]), "cost")
    assert cost.change == "+4.0%"


@pytest.mark.parametrize(
    ("before", "after", "judgement", "change"),
    [
        ("0.100", "0.105", SAME, "+5.0%"),  # no more than 5%, whatever binary fractions make of it
        ("0.100", "0.105001", WORSE, "+5.0%"),
        ("0.105", "0.100", SAME, "-4.8%"),  # as large a step down as up
        ("0.105001", "0.100", BETTER, "-4.8%"),
        ("0", "0", SAME, ""),
        ("0", "0.0000001", WORSE, "from nothing"),
        ("0.0000001", "0", BETTER, "-100%"),
        (None, "0.1", NOT_COMPARABLE, ""),
        ("0.1", None, NOT_COMPARABLE, ""),
    ],
)
def test_what_the_stand_in_costs_shows_a_change_with_one_run(
    before: str | None, after: str | None, judgement: Judgement, change: str
) -> None:
    [told] = of(runs.compared([costing(before)], [costing(after)]), "cost")
    assert (told.judgement, told.change, told.shift) == (judgement, change, None)


def test_what_neither_side_has_is_not_told() -> None:
    assert of(runs.compared([costing(None)], [costing(None)]), "cost") == []


@pytest.mark.parametrize(
    ("before", "after", "judgement"),
    [(100, 110, SAME), (100, 111, WORSE), (111, 100, BETTER), (None, 100, NOT_COMPARABLE)],
)
def test_an_image_is_larger_by_its_manifest(before: int | None, after: int, judgement: Judgement) -> None:
    sides = [sized(size) for size in (before, after)]
    [told] = of(runs.compared([sides[0]], [sides[1]], llm="provider"), "size")
    assert told.judgement is judgement


@pytest.mark.parametrize(
    ("measure", "before", "after", "judgement"),
    [
        ("init", 0.10, 0.19, SAME),  # under a tenth of a second nobody waits for
        ("init", 0.10, 0.21, WORSE),
        ("memory", 1_000_000, 1_000_000 + (1 << 20), SAME),
        ("memory", 1_000_000, 1_000_001 + (1 << 20), WORSE),
    ],
)
def test_a_trifle_is_no_news_be_it_half_of_everything(
    measure: str, before: float, after: float, judgement: Judgement
) -> None:
    values: list[dict[str, Any]] = [{measure: [value] * 5} for value in (before, after)]
    sides = [[runs.timed(**each)] for each in values]
    [told] = of(runs.compared(sides[0], sides[1]), measure)
    assert told.judgement is judgement


@pytest.mark.parametrize(
    ("threshold", "judgement"), [(0.5, SAME), (0.31, SAME), (0.29, WORSE), (0.0, WORSE), (None, None)]
)
def test_the_policy_sets_the_threshold(threshold: float | None, judgement: Judgement | None) -> None:
    policy = Policy({**Policy().thresholds, "boot": threshold})
    compared = runs.compared([runs.timed(boot=EIGHT)], [runs.timed(boot=times(EIGHT, 1.3))], turns=True)
    assert [one.judgement for one in of(compared, policy=policy)] == ([judgement] if judgement else [])


@pytest.mark.parametrize(
    ("cells", "repeats", "turns", "words"),
    [
        (1, 1, False, "1 run a side; 1 cell needs 4: --repeat 4"),
        (6, 1, False, "1 run a side; 6 cells need 5: --repeat 5"),
        (6, 1, True, "1 run a side; 6 cells need 5: --repeat 5"),
        (6, 4, False, "4 runs a side; 6 cells need 5: --repeat 5"),
        (7, 5, True, "5 runs a side; 7 cells need 6: --repeat 6"),
    ],
)
def test_too_few_runs_are_said_to_be_with_what_is_enough(
    cells: int, repeats: int, turns: bool, words: str
) -> None:
    def judged(runs_each: int) -> list[Difference]:
        sides = [
            [runs.timed(f"v{number}-amd64", boot=times(EIGHT[:runs_each], factor)) for number in range(cells)]
            for factor in (1.0, 1.5)
        ]
        return of(runs.compared(sides[0], sides[1], turns=turns))

    assert {(one.judgement, one.why) for one in judged(repeats)} == {(NOT_ENOUGH, words)}
    assert {one.judgement for one in judged(int(words.split()[-1]))} == {WORSE}  # and that is true


@pytest.mark.parametrize("sides", [(FIVE[:1], FIVE), (FIVE, FIVE[:1])])
def test_the_side_with_fewer_runs_is_what_is_missing(sides: tuple[list[float], list[float]]) -> None:
    told = boots(*sides)
    assert (told.judgement, told.why) == (NOT_ENOUGH, "1 run a side; 1 cell needs 4: --repeat 4")


@pytest.mark.parametrize("cells", [1, 3, 6])
def test_more_runs_are_never_too_few_where_fewer_were_enough(cells: int) -> None:
    """Six pairs of six cells show nothing; five runs that are no pairs do, and so do six."""
    for turns in (False, True):
        enough = False
        for repeats in range(1, 12):
            values = [5.0 + number / 100 for number in range(repeats)]
            sides = [
                [runs.timed(f"v{number}-amd64", boot=times(values, factor)) for number in range(cells)]
                for factor in (1.0, 1.5)
            ]
            found = {one.judgement for one in of(runs.compared(sides[0], sides[1], turns=turns))}
            assert found == ({WORSE} if enough or found == {WORSE} else {NOT_ENOUGH})
            enough = found == {WORSE}
        assert enough


@pytest.mark.parametrize(("cells", "pairs"), [(1, 6), (3, 7), (4, 8), (6, 8), (7, 9)])
def test_pairs_are_taken_from_as_many_on_as_can_answer(cells: int, pairs: int) -> None:
    for repeats in (pairs - 1, pairs):
        values = [5.0 + number / 100 for number in range(repeats)]
        sides = [
            [runs.timed(f"v{number}-amd64", boot=times(values, factor)) for number in range(cells)]
            for factor in (1.0, 1.5)
        ]
        told = of(runs.compared(sides[0], sides[1], turns=True))
        assert {one.shift and one.shift.is_paired for one in told} == {repeats == pairs}


def test_only_repetitions_that_both_have_are_pairs() -> None:
    before = runs.timed(boot=[*EIGHT, None, None])
    after = runs.timed(boot=[None, None, *times([*EIGHT[2:], 5.0, 5.0], 1.5)])
    [told] = of(runs.compared([before], [after], turns=True))
    assert told.runs == (8, 8)
    assert told.shift
    assert (told.shift.is_paired, told.shift.least_p) == (True, 2 / 2**6)
    assert told.judgement is WORSE


def test_a_cell_with_a_single_run_takes_nothing_from_the_others() -> None:
    """It could not show anything, so it is no test that counts."""
    before = [runs.timed("a-amd64", boot=FIVE[:4]), runs.timed("b-amd64", boot=FIVE[:1])]
    after = [runs.timed("a-amd64", boot=times(FIVE[:4], 2)), runs.timed("b-amd64", boot=[10.0])]
    told = of(runs.compared(before, after))
    assert [one.judgement for one in told] == [WORSE, NOT_ENOUGH]
    assert told[1].why == "1 run a side; 2 cells need 5: --repeat 5"


def test_a_weaker_cell_is_told_once_the_stronger_ones_are() -> None:
    """Holm's last step asks for 5% alone: four runs can show that."""
    before = [runs.timed("a-amd64", boot=EIGHT), runs.timed("b-amd64", boot=FIVE[:4])]
    slow = [runs.timed("a-amd64", boot=times(EIGHT, 2)), runs.timed("b-amd64", boot=times(FIVE[:4], 2))]
    assert [one.judgement for one in of(runs.compared(before, slow))] == [WORSE, WORSE]
    alone = [runs.timed("a-amd64", boot=EIGHT), slow[1]]
    assert [one.judgement for one in of(runs.compared(before, alone))] == [SAME, NOT_ENOUGH]


def test_of_many_cells_one_that_stands_out_by_chance_is_not_told() -> None:
    """p is 1.6% in one of six: it would be told alone, and is not among so many."""
    # One of its values lies on the wrong side.
    odd = [*times(FIVE[:4], 1.5), 5.06]
    quiet = [FIVE[-1], *FIVE[:-1]]
    names = [f"v{number}-amd64" for number in range(6)]
    before = [runs.timed(name, boot=FIVE) for name in names]
    after = [runs.timed(name, boot=odd if name == names[0] else quiet) for name in names]
    assert [one.judgement for one in of(runs.compared(before, after))] == [SAME] * 6
    assert [one.judgement for one in of(runs.compared(before[:1], after[:1]))] == [WORSE]


@pytest.mark.parametrize("turns", [False, True])
def test_one_run_that_took_forever_is_no_regression(turns: bool) -> None:
    told = boots(EIGHT, [*EIGHT[:-1], 500.0], turns=turns)
    assert told.judgement is SAME
    assert abs(told.share or 0) < 0.05


def test_where_all_is_zero_nothing_differs_and_where_something_is_nothing_is_a_share() -> None:
    free = runs.timed(cost_usd=[Decimal(0)] * 5)
    paid = runs.timed(cost_usd=[Decimal(0), *[Decimal("0.1")] * 4])
    for after, judgement, why in (
        (free, SAME, ""),
        (paid, NOT_COMPARABLE, "a zero was measured, and nothing is a share of it"),
    ):
        [told] = of(runs.compared([free], [after], llm="provider"), "cost")
        assert (told.judgement, told.why, told.shift) == (judgement, why, None)


def _reused(cell: Cell) -> Cell:
    evidence = Evidence(run="20251101T000000Z-aaaaaa", cell=cell.id, finished_at=samples.START)
    return cell.model_copy(update={"attempts": [], "reused": True, "reused_from": evidence})


@pytest.mark.parametrize(
    ("change", "run", "why"),
    [
        ({"emulated": True}, {}, "native once and emulated once"),
        ({"scenario": "tools"}, {}, "not the same scenario"),
        ({"scenario_version": "2"}, {}, "not the same scenario"),
        ({}, {"llm": Llm(kind="stand-in", model="other")}, "not the same model"),
        ({}, {"llm": Llm(kind="replay", model="openai/gpt-4o")}, "not the same model"),
    ],
)
def test_what_is_not_alike_is_not_compared(
    change: Mapping[str, Any], run: Mapping[str, Any], why: str
) -> None:
    values: dict[str, Any] = {"boot": FIVE, "memory": [1000] * 5, "cost_usd": [Decimal("0.1")] * 5}
    compared = runs.compared([runs.timed(**values)], [runs.timed(changed=change, **values)])
    if run:
        after = compared.candidate_run.model_copy(update=run)
        compared = Comparison("a", "b", compared.baseline_run, after, None, compared.pairs)
    told = {one.measure.name: (one.judgement, one.why) for one in judge(compared, Policy())}
    assert told.pop("size") == (SAME, "")  # what a pull transfers is the same with any model
    assert set(told) == {"boot", "total", "memory", "cost"}
    assert set(told.values()) == {(NOT_COMPARABLE, why)}


@pytest.mark.parametrize(
    ("engine", "words"),
    [({"cpus": 8}, "linux/amd64 with 8 CPUs"), ({"platform": "linux/arm64"}, "linux/arm64 with 2 CPUs")],
)
def test_times_of_another_machine_are_not_compared_and_all_else_is(
    engine: Mapping[str, Any], words: str
) -> None:
    values: dict[str, Any] = {"boot": FIVE, "memory": [1000] * 5, "cost_usd": [Decimal("0.1")] * 5}
    compared = runs.compared([runs.timed(**values)], [runs.timed(**values)])
    machine = compared.candidate_run.engine.model_copy(update=engine)
    after = compared.candidate_run.model_copy(update={"engine": machine})
    told = judge(Comparison("a", "b", compared.baseline_run, after, None, compared.pairs), Policy())
    why = f"not the same machine: linux/amd64 with 2 CPUs, then {words}"
    assert {one.measure.name: one.why for one in told} == {
        "boot": why, "total": why, "cost": "", "memory": "", "size": ""
    }  # fmt: skip


def test_another_script_is_not_compared() -> None:
    cells = [
        scripts.script_cell("python", "amd64", scripts.script_attempt("x", scripts.script_run(sha256=sha)))
        for sha in ("a" * 64, "b" * 64)
    ]
    [told] = of(runs.compared(cells[:1], cells[1:]), "script")
    assert (told.judgement, told.why) == (NOT_COMPARABLE, "not the same script")
    [told] = of(runs.compared(cells[:1], cells[:1]), "script")
    assert told.judgement is NOT_ENOUGH


def test_what_was_not_measured_is_said_to_be_so_and_what_was_reused_as_well() -> None:
    measured, nothing = runs.timed(boot=FIVE), runs.cell(outcome=Outcome.FAILED)
    for before, after, why in (
        (measured, runs.cell(), "nothing was measured in the candidate"),
        (runs.cell(), measured, "nothing was measured in the baseline"),
        (measured, nothing, "the candidate failed there, and what it took is not compared"),
        (nothing, measured, "the baseline failed there, and what it took is not compared"),
        (measured, _reused(measured), "the candidate was reused and not measured"),
        (_reused(measured), measured, "the baseline was reused and not measured"),
    ):
        [told] = of(runs.compared([before], [after]))
        assert (told.judgement, told.why, told.change) == (NOT_COMPARABLE, why, "")


def test_values_of_an_axis_that_chooses_the_model_are_two_models() -> None:
    cells = [
        runs.cell(f"{model}-amd64", [runs.attempt(cost_usd=Decimal("0.1"))], axes={"llm": model})
        for model in ("small", "large")
    ]
    for template, judgement in (("openai/{llm}", NOT_COMPARABLE), ("openai/{size}", SAME), (None, SAME)):
        results = runs.run(cells, settings={"llm.model": SettingValue(value=template, source="file")})
        compared = compare_axis(results, "llm")
        assert {one.judgement for one in of(compared, "cost")} == {judgement}
        warned = "not the same model: the axis llm chooses it" in compared.warnings
        assert warned is (judgement is NOT_COMPARABLE)


def test_a_model_of_each_cells_own_is_compared_by_the_cell() -> None:
    """Another list of models, as --only makes it, is not another model; nor is the same list the same."""

    def cells(**models: str) -> list[Cell]:
        attempts = [runs.attempt(cost_usd=Decimal("0.1"))]
        return [runs.cell(f"{name}-amd64", attempts, model=model) for name, model in models.items()]

    compared = runs.compared(cells(a="small", b="large"), cells(a="small"))
    before = compared.baseline_run.model_copy(update={"llm": Llm(kind="stand-in", model="small, large")})
    compared = replace(compared, baseline_run=before)
    assert {one.judgement for one in of(compared, "cost")} == {SAME}
    assert not any("model" in warning for warning in compared.warnings)
    compared = runs.compared(cells(a="small", b="large"), cells(a="small", b="small"))
    assert [(one.pair.name, one.why) for one in of(compared, "cost") if one.why] == [
        ("b-amd64", "not the same model")
    ]
    assert "not the same model: in 1 cell: b-amd64" in compared.warnings
    other_kind = replace(
        compared, candidate_run=before.model_copy(update={"llm": Llm(kind="replay", model="x")})
    )
    assert {one.why for one in of(other_kind, "cost")} == {"not the same model"}


def test_a_cell_that_one_run_alone_has_is_no_question() -> None:
    cells = [runs.timed(f"v{number}-amd64", boot=FIVE) for number in range(3)]
    told = judge(runs.compared(cells[:2], cells[1:]), Policy())
    assert {one.pair.name for one in told} == {"v1-amd64"}


def test_differences_come_in_the_order_of_the_cells_and_of_the_measures() -> None:
    cells = [runs.timed(f"v{number}-amd64", removal=FIVE, boot=FIVE) for number in range(2)]
    told = judge(runs.compared(cells, cells), Policy())
    assert [(one.pair.name, one.measure.name) for one in told] == [
        (f"v{number}-amd64", name) for number in range(2) for name in ("boot", "removal", "total", "size")
    ]


# --- How often noise is called a regression, and a regression noise ---

ROUNDS = 200
CELLS = ["python-amd64", "java-amd64", "golang-amd64"]


def _simulated(chance: random.Random, turns: bool, slow: float = 1.0) -> Comparison:
    """Repetitions in turns meet a machine that is up to four times as slow for a while, both alike."""
    count = 8 if turns else 5
    drifts = [[4 ** chance.random() for _ in range(count)] if turns else None for _ in CELLS]
    sides = [
        [runs.noisy_cell(chance, name, count, drift, boot) for name, drift in zip(CELLS, drifts, strict=True)]
        for boot in (1.0, slow)
    ]
    return runs.compared(sides[0], sides[1], turns=turns, llm="provider")


@pytest.mark.parametrize("turns", [True, False])
def test_noise_is_called_a_regression_no_more_often_than_promised(turns: bool) -> None:
    """For each measure the level is that of all cells together, with thresholds of zero too."""
    chance = random.Random(20261125 + turns)
    anything = Policy(dict.fromkeys(MEASURES, 0.0))
    by_level, by_policy = Counter[str](), Counter[str]()
    for _ in range(ROUNDS):
        compared = _simulated(chance, turns)
        for policy, counts in ((anything, by_level), (Policy(), by_policy)):
            told = judge(compared, policy)
            assert len(told) == len(CELLS) * 9
            counts.update({one.measure.name for one in told if one.judgement in (WORSE, BETTER)})
    families = ROUNDS * 8  # the noisy ones
    most = LEVEL * families + 3 * math.sqrt(families * LEVEL * (1 - LEVEL))
    assert 0.2 * LEVEL * families < by_level.total() <= most
    assert max(by_level.values()) <= LEVEL * ROUNDS + 4 * math.sqrt(ROUNDS * LEVEL)
    long_times = [by_policy[name] for name in ("boot", "init", "conversation", "removal", "total")]
    assert sum(long_times) <= (
        3 if turns else 10
    )  # of 1000: 20% is four times the estimate's noise, or three
    assert by_policy.total() <= by_level.total()


@pytest.mark.parametrize("turns", [True, False])
def test_a_boot_that_is_30_percent_slower_is_found(turns: bool) -> None:
    chance = random.Random(30 + turns)
    found = Counter[int]()
    for _ in range(ROUNDS):
        told = of(_simulated(chance, turns, slow=1.3))
        assert not any(one.judgement is BETTER for one in told)
        found[sum(one.judgement is WORSE for one in told)] += 1
    assert ROUNDS - found[0] >= 0.98 * ROUNDS
    assert sum(cells * often for cells, often in found.items()) >= 0.75 * ROUNDS * len(CELLS)


# --- The policy as results.json keeps it ---


def settings(**values: Any) -> dict[str, SettingValue]:
    return {
        name.replace("_", "-"): SettingValue(value=value, source="file") for name, value in values.items()
    }


def test_a_run_that_knew_of_no_policy_has_the_default() -> None:
    policy = Policy.recorded({})
    assert policy.fail_on == DEFAULT_FAIL_ON
    assert policy.thresholds == {name: measure.threshold for name, measure in MEASURES.items()}


def test_the_recorded_policy_is_read_back() -> None:
    policy = Policy.recorded(
        settings(regression={"boot": "12.5%", "size": "0%", "init": None, "warmth": "3%"}, fail_on=["cost"])
    )
    assert (policy.thresholds["boot"], policy.thresholds["size"], policy.thresholds["init"]) == (
        0.125,
        0,
        None,
    )
    assert policy.thresholds["cost"] == 0.05  # what is not said is as ever
    assert "warmth" not in policy.thresholds  # of a version that measures more
    assert policy.fail_on == ("cost",)
    assert Policy.recorded(settings(fail_on=[])).fail_on == ()
    assert Policy.recorded(settings(fail_on="cost")).fail_on == ("cost",)


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        (
            {"regression": {"boot": "x"}},
            "settings: regression.boot: cannot be 'x'\n    write a share such as",
        ),
        ({"regression": {"boot": 0.2}}, "settings: regression.boot: cannot be 0.2"),
        ({"regression": {"boot": ["20%"]}}, "settings: regression.boot: cannot be ['20%']"),
        ({"regression": "x"}, "settings: regression: cannot be 'x'"),
        ({"regression": None}, "settings: regression: cannot be None"),
        (
            {"fail_on": ["costs"]},
            "settings: fail-on: there is no 'costs' to fail on\n    did you mean 'cost'?",
        ),
        ({"fail_on": [{"a": 1}]}, "settings: fail-on: there is no {'a': 1} to fail on"),
        ({"fail_on": 3}, "settings: fail-on: there is no 3 to fail on"),
    ],
)
def test_a_policy_that_no_run_wrote_is_refused(recorded: Mapping[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as caught:
        Policy.recorded(settings(**recorded))
    assert words in str(caught.value)
    assert str(caught.value).startswith("results.json: ")


def test_all_that_is_wrong_with_a_policy_is_said_at_once_and_is_harmless() -> None:
    with pytest.raises(BadInput) as caught:
        Policy.recorded(
            settings(regression={"boot": "x" * 9000, "size": "\x1b[31m"}, fail_on=["nothing", "cost"])
        )
    assert len(caught.value.problems) == 3
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)


def test_an_image_is_needed_for_nothing() -> None:
    image = Image(reference="x", platform="linux/amd64")
    bare = runs.timed(boot=FIVE, changed={"image": image})
    assert {one.measure.name for one in judge(runs.compared([bare], [bare]), Policy())} == {"boot", "total"}
