"""What is asked of a run, as its folder keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e_matrix.assessment import Question, Standing, expectations
from e2e_matrix.errors import BadInput
from e2e_matrix.question import QUESTION, Asked, assessed_in, keep_question, load_question
from e2e_matrix.report.view import view_of
from support import qa_samples
from support import report_samples as samples

FIXED = expectations(["fixed:python-*"])


def test_what_is_asked_is_kept_and_what_is_asked_anew_takes_its_place(tmp_path: Path) -> None:
    assert load_question(tmp_path) == Question()
    keep_question(tmp_path, Asked())
    assert not (tmp_path / QUESTION).exists()
    keep_question(tmp_path, Asked("It boots", FIXED, ("cost",)))
    assert load_question(tmp_path) == Question("It boots", FIXED, ("cost",))
    keep_question(tmp_path, Asked(expected=expectations(["same:*"])))
    assert load_question(tmp_path) == Question("It boots", expectations(["same:*"]), ("cost",))
    keep_question(tmp_path, Asked(claim=""))
    assert load_question(tmp_path).claim is None
    assert [path.name for path in tmp_path.iterdir()] == [QUESTION]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "the file: Invalid JSON"),
        ("[]", "the file: "),
        ('{"claim": 3}', "claim: "),
        ('{"claim": "' + "x" * 2001 + '"}', "claim: String should have at most 2000 characters"),
        ('{"expect": ["fixd:*", "python"]}', "cannot be 'fixd:*'"),
        ('{"fail_on": ["csot"]}', "there is no 'csot' to fail on"),
        ('{"schema_version": 2}', "schema_version: "),
        ('{"more": 1}', "more: "),
        ("\udcff", "the file: "),
    ],
)
def test_a_file_that_is_none_of_ours_is_bad_input(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / QUESTION).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput) as caught:
        load_question(tmp_path)
    assert f"{QUESTION}: {said}" in str(caught.value)


def test_everything_wrong_with_the_expectations_of_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / QUESTION).write_text('{"expect": ["fixd:*", "python"]}')
    with pytest.raises(BadInput) as caught:
        load_question(tmp_path)
    assert len(caught.value.problems) == 2


def test_every_report_of_the_folder_goes_by_it(tmp_path: Path) -> None:
    results = qa_samples.with_keys()
    folder = qa_samples.keep(tmp_path, results, qa_samples.without_keys())
    assessed = assessed_in(folder, results)
    assert assessed
    assert assessed.standing is Standing.PASS
    keep_question(folder, Asked(expected=expectations(["newly-failing:python-amd64"])))
    changed = view_of(results, folder).changed
    assert changed
    assert changed.standing is Standing.FAIL
    assert changed.why == "expected newly-failing:python-amd64, but python-amd64 is fixed"


def test_another_policy_is_kept_with_it(tmp_path: Path) -> None:
    results = samples.broken()
    folder = qa_samples.keep(tmp_path, results, results)
    for words, standing in ((("still-failing",), Standing.FAIL), (("cost",), Standing.INCONCLUSIVE)):
        keep_question(folder, Asked(fail_on=words))
        assessed = assessed_in(folder, results)
        assert assessed
        assert (assessed.standing, assessed.policy.fail_on) == (standing, words)


def test_without_a_baseline_nothing_is_assessed(tmp_path: Path) -> None:
    results = samples.six_passed()
    assert assessed_in(qa_samples.keep(tmp_path, results), results) is None
