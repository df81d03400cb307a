"""`e2e-matrix compare`: two runs, or two values of one axis."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from e2e_matrix.assessment import assess
from e2e_matrix.cli.compare import command
from e2e_matrix.compare import SCENARIO, Change, compare_axis, compare_runs
from e2e_matrix.errors import BadInput
from e2e_matrix.failures import Outcome
from e2e_matrix.report.comparison import as_markdown
from e2e_matrix.results import Cell, Results
from support import report_samples as samples
from support import script_samples as scripts
from support.github_markdown import shown


def _cell(outcome: Outcome, **changed: Any) -> Cell:
    return samples.cell("java", "amd64", [], outcome=outcome, **changed)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("passed", "failed", Change.NEWLY_FAILING),
        ("error", "failed", Change.NEWLY_FAILING),
        (None, "failed", Change.NEWLY_FAILING),
        ("failed", "passed", Change.FIXED),
        ("failed", "failed", Change.STILL_FAILING),
        ("passed", "passed", Change.SAME),
        ("passed", "error", Change.UNDECIDED),
        ("failed", "cancelled", Change.UNDECIDED),
        ("not_run", "passed", Change.UNDECIDED),
        ("passed", "unsupported", Change.UNSUPPORTED),
        ("unsupported", "unsupported", Change.UNSUPPORTED),
        ("unsupported", "passed", Change.UNDECIDED),
        ("failed", None, Change.REMOVED),
        (None, "passed", Change.ADDED),
    ],
)
def test_what_became_of_a_cell(before: str | None, after: str | None, change: Change) -> None:
    sides = [samples.run([_cell(Outcome(outcome))] if outcome else []) for outcome in (before, after)]
    [pair] = compare_runs(*sides).pairs
    assert pair.change is change


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (118.0, 2.4, Change.WASTES_LESS),
        (0.4, 118.0, Change.WASTES_MORE),
        (10.0, 5.0, Change.WASTES_LESS),
        (9.9, 5.0, Change.SAME),  # a turn or two of its own polling
        (118.0, 70.0, Change.SAME),
        (118.0, None, Change.SAME),  # nobody knows
    ],
)
def test_scripts_that_passed_differ_by_what_they_wasted(
    before: float, after: float | None, change: Change
) -> None:
    def cell(wasted: float | None, emulated: bool = False) -> Cell:
        attempt = scripts.script_attempt("x", scripts.script_run(wasted_seconds=wasted))
        return scripts.script_cell("python", "amd64", attempt).model_copy(update={"emulated": emulated})

    [pair] = compare_runs(samples.run([cell(before)]), samples.run([cell(after)])).pairs
    assert pair.change is change
    [pair] = compare_runs(samples.run([cell(before)]), samples.run([cell(after, emulated=True)])).pairs
    assert pair.change is Change.SAME  # what takes long under emulation is no waste


@pytest.mark.parametrize(
    ("before", "after", "mark"),
    [
        ("failed", "passed", "✅"),
        ("failed", "failed", "❌"),
        ("passed", "error", "⚠️"),
        ("passed", "failed", "❌"),
    ],
)
def test_no_news_is_not_taken_for_good_news(before: str, after: str, mark: str) -> None:
    sides = [samples.run([_cell(Outcome(outcome))]) for outcome in (before, after)]
    assert as_markdown(assess(compare_runs(*sides))).startswith(f"## {mark} ")


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("passed", "error", 3),
        ("failed", "not_run", 3),
        ("passed", "cancelled", 3),
        ("passed", None, 3),  # nothing is in both
        ("error", "passed", 3),
        ("failed", "failed", 1),
        ("unsupported", "unsupported", 0),
        ("passed", "unsupported", 3),
        ("passed", "failed", 1),
    ],
)
def test_a_candidate_that_has_no_verdict_is_no_pass(before: str, after: str | None, code: int) -> None:
    sides = [samples.run([_cell(Outcome(outcome))] if outcome else []) for outcome in (before, after)]
    assert assess(compare_runs(*sides)).exit_code == code


def test_cells_of_other_axes_are_not_taken_for_one_another() -> None:
    """`include` gives a cell axes of its own: their values may be in the same places."""
    cells = [
        _cell(Outcome.PASSED, id=f"{arch}-{name}", axes={"arch": arch, name: "x"})
        for name in ("variant", "flavour")
        for arch in ("amd64", "arm64")
    ]
    compared = compare_axis(samples.run(cells), "arch")
    assert [
        (pair.baseline and pair.baseline.id, pair.candidate and pair.candidate.id) for pair in compared.pairs
    ] == [
        ("amd64-variant", "arm64-variant"),
        ("amd64-flavour", "arm64-flavour"),
    ]


def test_what_is_worst_comes_first_and_the_verdict_counts() -> None:
    compared = compare_runs(samples.six_passed(), samples.broken())
    assert [pair.name for pair in compared.pairs][:3] == ["java-amd64", "java-arm64", "golang-amd64"]
    assert compared.verdict == (
        "fixed: none; newly failing: 2 cells; not comparable: 1 cell; unsupported: 1 cell; added: 1 cell; "
        "same: 2 cells"
    )
    assert compared.images == "the same images in 6 cells"
    assert "not the same model" in compared.warnings[0]


@pytest.mark.parametrize(("unknown", "which"), [(1, "1 of 6 cells it is"), (6, "6 cells it is")])
def test_images_that_nobody_knows_are_counted(unknown: int, which: str) -> None:
    run = samples.six_passed()
    cells = [
        cell.model_copy(update={"image": cell.image.model_copy(update={"digest": None})})
        if place < unknown
        else cell
        for place, cell in enumerate(run.cells)
    ]
    compared = compare_runs(run, run.model_copy(update={"cells": cells}))
    assert compared.images == f"of {which} not known whether the image is the same"


def test_another_image_is_said_clearly_wherever_it_is_read() -> None:
    before, after = samples.six_passed(), samples.six_passed()
    cells = list(after.cells)
    other = cells[0].image.model_copy(update={"digest": samples.digest("another")})
    unknown = cells[1].image.model_copy(update={"digest": None})
    cells[:2] = [
        cell.model_copy(update={"image": image}) for cell, image in zip(cells, (other, unknown), strict=False)
    ]
    compared = compare_runs(before, after.model_copy(update={"cells": cells}))
    assert [pair.same_image for pair in compared.pairs] == [False, None, True, True, True, True]
    assert not compared.same_images
    said = "not the same images: 1 of 6 cells ran on another: python-amd64"
    assert compared.images == said
    text = as_markdown(assess(compared))
    assert f"- ⚠️ **{said}**" in text
    assert text.count("**another**") == 1
    [unsure] = compare_runs(samples.run([before.cells[1]]), samples.run([cells[1]])).pairs
    assert unsure.same_image is None


def test_two_values_of_an_axis_are_matched_by_all_else() -> None:
    compared = compare_axis(scripts.commits("aaa", "bbb"), "commit")
    assert [(pair.name, pair.change) for pair in compared.pairs] == [
        ("python-amd64", Change.FIXED),
        ("java-amd64", Change.FIXED),
    ]
    assert (compared.baseline, compared.candidate) == ("commit aaa", "commit bbb")
    assert compared.verdict == "fixed: 2 cells; newly failing: none"
    assert [pair.same_script for pair in compared.pairs] == [False, False]
    back = compare_axis(scripts.commits("aaa", "bbb"), "commit", candidate="aaa")
    assert back.verdict == "fixed: none; newly failing: 2 cells"


def test_a_comparison_of_a_script_with_itself_is_not_taken_for_news() -> None:
    results = scripts.commits()
    twice = [
        cell.model_copy(update={"axes": cell.axes | {"commit": commit}, "id": f"{cell.id}-{commit}"})
        for cell in results.cells[:1]
        for commit in ("a", "b")
    ]
    compared = compare_axis(samples.run(twice), "commit")
    assert compared.warnings == ["the script is the same, byte for byte, in 1 cell"]


def test_cells_of_another_scenario_or_sdk_are_told() -> None:
    """The id of a cell says nothing of its scenario where a run has only one."""
    sides = [samples.run([_cell(Outcome.PASSED, scenario=name)]) for name in ("deferred-init", "tools")]
    assert compare_runs(*sides).warnings == ["1 cell was of another scenario: java-amd64"]
    same = compare_axis(scripts.with_scripts(), SCENARIO)
    assert not any("another scenario" in warning for warning in same.warnings)
    ran = [scripts.script_run(sdk_version=version) for version in ("1.58.0", "1.58.2")]
    cells = [scripts.script_cell("python", "amd64", scripts.script_attempt("x", one)) for one in ran]
    found = compare_runs(*(samples.run([cell]) for cell in cells)).warnings
    assert found == ["the scripts of 1 cell ran with another SDK: python-amd64-example-16"]


def test_scenarios_can_be_compared_like_an_axis() -> None:
    compared = compare_axis(scripts.with_scripts(), SCENARIO)
    assert len(compared.pairs) == 4
    assert [pair.name for pair in compared.of(Change.NEWLY_FAILING)] == ["java-amd64"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("size",), "has no axis 'size'"),
        (("variant",), "has 3 values, and two are compared"),
        (("arch", "s390x"), "'s390x' is no value of the axis 'arch'\n    The values are amd64, arm64."),
        (("arch", "amd64", "amd64"), "--candidate: is the baseline, 'amd64'"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        compare_axis(samples.six_passed(), *arguments)
    assert said in str(caught.value)


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    runs: dict[str, Results] = {
        "good": samples.six_passed(),
        "bad": samples.broken(),
        "fix": scripts.commits(),
        "haste": scripts.commits(gives_up=False),
        "evil": scripts.hostile(),
    }
    for name, results in runs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(results.model_dump_json(), encoding="utf-8")
    (tmp_path / "latest").symlink_to("bad")
    return tmp_path


def _invoke(reports: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--reports", str(reports)], standalone_mode=False)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["good", "latest"], 1),
        (["bad", "good"], 0),
        (["fix", "--axis", "commit"], 0),
        (["fix", "--axis", "commit", "--baseline", "9d04e77"], 1),
        (["haste", "--axis", "commit"], 0),
        (["haste", "--axis", "commit", "--baseline", "9d04e77"], 0),  # `expect.wasted` makes a failure of it
    ],
)
def test_only_what_is_newly_failing_is_a_failure(reports: Path, arguments: list[str], code: int) -> None:
    for form in ("text", "md", "json"):
        assert _invoke(reports, *arguments, "--format", form).return_value == code


@pytest.mark.parametrize(
    "arguments", [["good"], ["good", "bad", "--axis", "arch"], ["good", "bad", "--baseline", "x"], []]
)
def test_a_question_that_is_none_is_refused(reports: Path, arguments: list[str]) -> None:
    assert "Error" in CliRunner().invoke(command, [*arguments, "--reports", str(reports)]).output


def test_a_run_that_is_not_there_is_refused_with_those_that_are(reports: Path) -> None:
    refused = _invoke(reports, "good", "nothing").exception
    assert isinstance(refused, BadInput)
    assert str(refused) == "there is no run 'nothing'\n    There are: haste, good, fix, evil, bad."


def test_the_terminal_shows_both_sides_and_ends_with_the_verdict(reports: Path) -> None:
    lines = _invoke(reports, "fix", "--axis", "commit").output.splitlines()
    at = lines.index("fixed: python-amd64")
    assert [" ".join(line.split()) for line in lines[at + 1 : at + 5]] == [
        "outcome ended time wasted API calls cost",
        "baseline failed exit code 1 2 min 06 s 1 min 56 s 64 $0.0000168",
        "the script ended with exit code 1",
        "candidate passed exit code 0 9.98 s 0.42 s 6 $0.0000168",
    ]
    assert lines[-1] == "PASS: fixed: 2 cells; newly failing: none"
    plain = _invoke(reports, "good", "good").output
    assert "wasted" not in plain  # a run without scripts has no columns for them


def test_a_comment_has_the_table_the_words_and_the_commands(reports: Path) -> None:
    text = _invoke(reports, "fix", "--axis", "commit", "--format", "md").output
    order = [
        "## ✅ PASS: fixed: 2 cells; newly failing: none",
        "- baseline: `commit 31c5a2e`",
        "- the same images in 2 cells",
        "| `python-amd64` | **fixed** | failed → passed | exit code 1 → exit code 0 | 2 min 06 s → 9.98 s |",
        "#### `python-amd64` fixed",
        "baseline:  the script ended with exit code 1",
        "<details><summary>The end of the script's output</summary>",
        "TimeoutError: never completed",
        "e2e-matrix run --ref 1.58.2 --only python-amd64-31c5a2e-example-16",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_two_minutes_that_are_no_longer_wasted_are_news(reports: Path) -> None:
    """A script of upstream's passes all the same: it waits in vain for two minutes, and goes on."""
    verdict = "fixed: none; newly failing: none; wastes less time: 2 cells"
    why = "the conversation ended (finished) 2.71 s after the script's first request; the script went on for"
    lines = _invoke(reports, "haste", "--axis", "commit").output.splitlines()
    at = lines.index("wastes less time: python-amd64")
    told = [" ".join(line.split()) for line in lines[at + 2 : at + 5]]
    assert told[0] == "baseline passed exit code 0 2 min 06 s 1 min 56 s 64 $0.0000168"
    assert told[1].startswith(f"{why} 1 min 56 s")
    assert told[2] == "candidate passed exit code 0 9.98 s 0.42 s 6 $0.0000168"
    assert lines[-1] == f"PASS: {verdict}"
    text = _invoke(reports, "haste", "--axis", "commit", "--format", "md").output
    assert text.startswith(f"## ✅ PASS: {verdict}\n")
    assert "| `python-amd64` | **wastes less time** | passed | exit code 0 | 2 min 06 s → 9.98 s |" in text
    assert f"baseline:  passed, but {why}" in text
    assert "candidate: passed\n" in text
    program = json.loads(_invoke(reports, "haste", "--axis", "commit", "--format", "json").output)
    assert program["counts"]["wastes less time"] == 2
    assert program["cells"][0]["baseline"]["message"] is None  # it passed


def test_what_a_script_wrote_is_only_ever_text(reports: Path) -> None:
    assert shown(_invoke(reports, "good", "evil", "--format", "md").output).problems == []
    assert not set(_invoke(reports, "good", "evil").output) & {"\x00", "\x1b", "\u202e"}


def test_a_program_gets_the_same(reports: Path) -> None:
    told = json.loads(_invoke(reports, "good", "bad", "--format", "json").output)
    assert told["counts"]["newly failing"] == 2
    first = told["cells"][0]
    assert (first["name"], first["change"], first["same_image"]) == ("java-amd64", "newly failing", True)
    assert first["candidate"]["message"].startswith("the conversation ended in error")
    assert first["baseline"]["cost_usd"] == "0.0000168"
