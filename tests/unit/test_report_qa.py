"""What the QA report says, before any format writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.assessment import Question, Standing, expectations
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.question import Asked, keep_question
from e2e_matrix.report import write_reports
from e2e_matrix.report.cell_view import command_for
from e2e_matrix.report.comparison import compared_figures
from e2e_matrix.report.qa import QA, build, qa_of
from e2e_matrix.report.qa_evidence import medians_of
from e2e_matrix.report.qa_html import page
from e2e_matrix.results import Api, Cell, Evidence, Repeat, Results, SettingValue
from support import measured_runs
from support import report_samples as samples
from support.qa_samples import KEYS, keep, qa, with_keys, without_keys


def phases(report: QA) -> dict[str, tuple[str, str]]:
    return {phase.name: (phase.outcome.value, phase.found) for phase in report.phases}


def gaps(report: QA) -> str:
    return "\n".join(report.gaps)


def with_cells(results: Results, **changed: Any) -> Results:
    cells = [cell.model_copy(update=changed) for cell in results.cells]
    return results.model_copy(update={"cells": cells})


def with_run(results: Results, **changed: Any) -> Results:
    return results.model_copy(update={"run": results.run.model_copy(update=changed)})


def one(**changed: Any) -> Results:
    """A run of one cell that passed."""
    return samples.run(
        [samples.cell("python", "amd64", [samples.attempt("python-amd64", False, 0, 0)], **changed)]
    )


def test_what_was_fixed_is_told_once_with_both_sides() -> None:
    report = qa(without_keys(), with_keys())
    assert report.standing is Standing.PASS
    assert report.title == "QA of ghcr.io/x/server:1.29.2-{variant} against ghcr.io/x/server:1.29.0-{variant}"
    [told] = report.told
    assert (told.word, told.outcome) == ("fixed", Outcome.PASSED)
    assert [pair.name for pair in told.pairs] == ["python-amd64", "java-amd64", "golang-amd64"]
    [step] = [step for step in told.steps if step.broke]
    assert [side and side.outcome.value for side in step.sides] == ["failed", "passed"]
    assert [step.name for step in told.steps] == samples.NAMES
    [fault] = told.faults
    assert (fault.side, fault.step, fault.expected, fault.got) == ("baseline", "session-keys", "401", "200")
    assert [(log.side, log.text) for log in told.excerpts] == [("baseline", samples.LOG)]
    assert [pair.name for pair in report.others] == ["python-arm64"]
    before, after = told.figures(told.first)
    assert (before.outcome, before.ended, before.tries) == ("failed", "exit code 0", "1 attempt")
    assert after.outcome == "passed"
    # Without the pull, which is the network's.
    assert after.time == "8.62 s"


def test_steps_that_one_side_never_reached_say_so() -> None:
    steps = {step.name: step.sides for step in qa(without_keys(), with_keys()).told[0].steps}
    assert steps["create"][0] is None
    assert steps["create"][1] is not None
    before = {step.name: step.sides for step in qa(with_keys(), without_keys()).told[0].steps}
    assert before["create"][1] is None


def test_other_words_are_other_news() -> None:
    plain = without_keys()
    other = plain.cells[0].model_copy(
        update={
            "steps": [step.model_copy(update={"got": step.got and "500"}) for step in plain.cells[0].steps]
        }
    )
    report = qa(plain.model_copy(update={"cells": [other, *plain.cells[1:]]}), with_keys())
    assert [[pair.name for pair in told.pairs] for told in report.told] == [
        ["python-amd64"],
        ["java-amd64", "golang-amd64"],
    ]


def test_everything_that_is_news_is_told_and_the_rest_is_not() -> None:
    report = qa(samples.six_passed(), samples.broken())
    assert report.standing is Standing.FAIL
    assert [(told.word, told.first.name) for told in report.told] == [
        ("newly failing", "java-amd64"),
        ("newly failing", "java-arm64"),
        ("not comparable", "golang-amd64"),
        ("flaky in the candidate", "python-amd64"),
    ]
    assert report.told[3].faults[0].message.startswith("attempt 1 failed before: 1 of 26 gated routes")
    assert {pair.name for pair in report.others} == {"python-arm64", "golang-arm64", "rust-amd64"}


def test_an_added_cell_that_met_an_error_is_told() -> None:
    lost = samples.cell(
        "rust", "amd64", [], outcome=Outcome.ERROR, cause=Cause.REGISTRY_UNREACHABLE, message="no"
    )
    report = qa(one(), samples.run([*one().cells, lost]))
    assert [(told.word, told.first.name, told.faults[0].message) for told in report.told] == [
        ("error", "rust-amd64", "no")
    ]


def test_the_claim_is_the_title_and_an_expectation_decides() -> None:
    for text, standing in (("fixed:python-amd64", Standing.PASS), ("fixed:*", Standing.FAIL)):
        question = Question("Enforce session keys", expectations([text]))
        report = qa(without_keys(), with_keys(), question)
        assert (report.title, report.standing) == ("Enforce session keys", standing)
    assert "expected fixed:*, but python-arm64 is same" in report.reasons[0].words
    assert phases(report)["comparison"][1].endswith("; expected fixed:*: 3 of 4 cells")


def test_the_phases_say_what_was_found() -> None:
    found = phases(qa(without_keys(), with_keys()))
    assert list(found) == ["images resolved", "environment", "functional verification", "comparison", "API"]
    assert found["images resolved"] == (
        "passed",
        "4 of 4 cells by digest; per-arch tags are the same images; the baseline's image in 4 of 4 cells",
    )
    assert found["environment"] == (
        "passed",
        "the same engine, model and scenarios on both sides; 3 native, 1 emulated; 1 repetition; "
        "one run after the other",
    )
    assert found["functional verification"] == ("passed", "4 passed")
    assert found["comparison"] == ("passed", "fixed: 3 cells; newly failing: none; same: 1 cell")
    assert found["API"] == ("not_run", "not compared")


def test_a_phase_that_found_something_is_marked() -> None:
    found = phases(qa(samples.six_passed(), samples.broken()))
    assert found["environment"][0] == "error"
    assert found["environment"][1].startswith("not the same model: openai/gpt-4o (stand-in), then anthropic")
    assert found["functional verification"] == (
        "failed",
        "2 passed, 2 failed, 1 error, 1 unsupported, 1 cancelled",
    )
    assert found["comparison"][0] == "failed"
    image = samples.image("python", "amd64").model_copy(update={"digest": None, "arch_tag_matches": False})
    found = phases(qa(one(), one(image=image)))
    assert found["images resolved"] == (
        "error",
        "0 of 1 cell by digest; the per-arch tag is another image in python-amd64; "
        "of no cell is it known on what both sides ran",
    )
    untold = samples.run([samples.cell("java", "amd64", [], outcome=Outcome.ERROR)])
    assert phases(build(untold))["functional verification"] == ("error", "1 error")


def test_another_engine_and_another_version_of_the_scenario_are_told() -> None:
    run = one()
    engine = run.run.engine.model_copy(update={"version": "29.1"})
    found = phases(
        qa(
            with_cells(run, scenario_version="1"),
            with_cells(with_run(run, engine=engine), scenario_version="2"),
        )
    )
    mark, words = found["environment"]
    assert mark == "error"
    assert words.startswith("not the same engine: Docker Engine 20.10.24+dfsg1, ")
    assert "another version of the scenario: python-amd64" in words


def test_repetitions_and_turns_are_told() -> None:
    repeat = Repeat(planned=8, runs=8, passed=7)
    before = with_cells(one(), repeat=repeat)
    after = with_cells(with_run(one(), beside=before.run.id), repeat=repeat, flaky=True)
    report = qa(before, after)
    assert phases(report)["environment"][1].endswith("; 8 repetitions; side by side")
    assert report.told[0].figures(report.told[0].first)[1].tries == "7 of 8 passed"
    assert "run only once" not in gaps(report)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (3, 1, "1 of 3 repetitions, and in the baseline 3 repetitions"),
        (2, 3, "3 repetitions, and in the baseline 2 of 3 repetitions"),
    ],
)
def test_a_side_with_fewer_repetitions_than_planned_says_so(before: int, after: int, words: str) -> None:
    baseline, candidate = (
        with_cells(one(), repeat=Repeat(planned=3, runs=runs, passed=runs)) for runs in (before, after)
    )
    mark, found = phases(qa(baseline, candidate))["environment"]
    assert (mark, found.endswith(f"; {words}; one run after the other")) == ("error", True)


def test_where_the_image_names_the_ref_the_title_does_no_more() -> None:
    def of(ref: str | None, image: str = "ghcr.io/x/server:{ref}-{variant}") -> Results:
        settings = {"image": SettingValue(value=image, source="file")}
        if ref:
            settings["ref"] = SettingValue(value=ref, source="command line")
        return with_run(one(), settings=settings, subject=f"x/server:{ref}-{{variant}}")

    assert qa(of("1.29.0"), of("1.29.2")).title == "QA of 1.29.2 against 1.29.0"
    whole = "QA of x/server:1.29.2-{variant} against x/server:"
    assert qa(of(None), of("1.29.2")).title == f"{whole}None-{{variant}}"
    assert qa(of("1.29.2"), of("1.29.2")).title == f"{whole}1.29.2-{{variant}}"  # says nothing
    plain = "ghcr.io/x/server:{variant}"
    assert qa(of("1.29.0", plain), of("1.29.2", plain)).title == f"{whole}1.29.0-{{variant}}"
    assert build(of("1.29.2")).title == "QA of x/server:1.29.2-{variant}"
    claimed = qa(of("1.29.0"), of("1.29.2"), Question("It is mended"))
    assert (claimed.title, claimed.subject) == ("It is mended", "1.29.2 against 1.29.0")
    assert "<b>1.29.2 against 1.29.0</b>" in page(claimed).replace("<wbr>", "")


def test_repetitions_are_told_by_their_median_as_the_measures_have_it() -> None:
    def side(*seconds: float) -> Results:
        attempts = [
            measured_runs.attempt(
                number,
                duration_seconds=value + 2.5,
                pull=0.5,
                cost_usd=Decimal("0.01"),
                steps=[measured_runs.openapi(2.0)],
            )
            for number, value in enumerate(seconds, 1)
        ]
        repeat = Repeat(planned=len(seconds), runs=len(seconds), passed=len(seconds))
        return measured_runs.run(
            [measured_runs.cell(attempts=attempts, cost_usd=Decimal("0.03"), repeat=repeat, flaky=True)]
        )

    report = qa(side(5.0, 90.0, 6.0), side(10.0, 1.0, 12.0))
    assert report.assessed is not None
    [total] = [one for one in report.assessed.differences if one.measure.name == "total"]
    assert (total.before, total.after) == (6.0, 10.0)
    [told] = report.told
    figures = [(one.time, one.cost) for one in told.figures(told.first)]
    assert figures == [("6.00 s", "$0.01"), ("10.0 s", "$0.01")]
    compared = compared_figures(report.assessed.compared, told.first)
    assert [(one.time, one.cost) for one in compared] == figures
    assert medians_of(told.pairs) == "Time and cost: the median of 3."
    assert medians_of(qa(side(5.0), side(5.0)).others) is None
    assert medians_of(qa(side(5.0), side(5.0, 6.0)).told[0].pairs) == "Time and cost: the median of 1 to 2."


def test_servers_that_describe_the_same_have_the_same_api() -> None:
    def serving(*digests: str | None) -> Results:
        made = []
        for variant, digest in zip(samples.VARIANTS, digests, strict=False):
            attempt = samples.attempt(f"{variant}-amd64", False, 0, 0)
            api = Api(digest=digest, file="api/x.json", operations=3) if digest else None
            made.append(samples.cell(variant, "amd64", [attempt.model_copy(update={"api": api})]))
        return samples.run(made)

    same = qa(serving("a", "a"), serving("a", "a"))
    assert phases(same)["API"] == ("passed", "0 breaking, 0 compatible changes")
    assert "API" not in gaps(same)
    unlike = qa(serving("a", "b"), serving("a", "b"))
    assert phases(unlike)["API"] == (
        "failed",
        "0 breaking, 0 compatible changes; 1 image of one ref with another API",
    )
    for before, after, why in (
        (("a", "a"), ("b", "b"), "api/x.json the run's folder is not at hand"),
        (
            (None, None),
            (None, None),
            "no description was kept in the baseline; no description was kept in the candidate",
        ),
    ):
        report = qa(serving(*before), serving(*after))
        assert report.api is None
        assert f"the REST APIs were not compared: {why}" in report.gaps
    half = qa(serving("a", None), serving("a", "a"))
    assert half.api is not None
    assert "the REST API of java-amd64 was not compared: no description was kept in the baseline" in half.gaps


def test_without_a_baseline_the_run_speaks_for_itself() -> None:
    report = build(samples.broken())
    assert (report.standing, report.title) == (
        Standing.FAIL,
        "QA of ghcr.io/openhands/agent-server:1.58.2-{variant}",
    )
    assert phases(report)["comparison"] == ("not_run", "not compared: there is no baseline")
    assert [(told.word, told.first.name) for told in report.told] == [
        ("failed", "java-amd64"),
        ("failed", "java-arm64"),
        ("error", "golang-amd64"),
        ("flaky", "python-amd64"),
    ]
    assert report.told[0].sides == ["candidate"]
    assert "nothing was compared: there is no baseline" in report.gaps
    assert all(fact.baseline is None for fact in report.facts)
    assert build(samples.six_passed()).standing is Standing.PASS
    stopped = samples.run([], verdict=Outcome.CANCELLED)
    assert build(stopped).standing is Standing.INCONCLUSIVE


def test_expectations_that_nothing_can_meet_are_not_forgotten() -> None:
    report = build(one(), question=Question(None, expectations(["fixed:*", "same:x"])))
    assert "without a baseline nobody knows of fixed:*, same:x" in report.gaps


REUSED = {
    "outcome": Outcome.PASSED,
    "reused": True,
    "reused_from": Evidence(
        run="r1", cell="python-amd64", finished_at=datetime(2025, 11, 20, 4, 5, tzinfo=UTC)
    ),
}


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (samples.broken(), "no verdict, for want of infrastructure: golang-amd64 (ghcr.io did not answer"),
        (samples.broken(), "not run, for this engine cannot run the platform: golang-arm64 (this"),
        (samples.broken(), "cancelled: rust-amd64 (stopped on request)"),
        (samples.broken(), "compared with nothing, for it is not in the baseline: rust-amd64"),
        (samples.broken(), "emulated, and not on hardware of its platform: python-arm64, java-arm64"),
        (samples.broken(), "the cost of 1 cell is unknown"),
        (samples.broken(), "not judged: conversation, removal, total, cost, tokens of "),
        (one(), "in the baseline, and not run in the candidate: python-arm64, java-amd64"),
        (one(), "no real model answered: the stand-in did, as openai/gpt-4o"),
        (one(), "run only once, so that what fails now and then may not have shown: python-amd64"),
        (samples.six_passed(), "may not have shown: every cell"),
        (
            samples.run([samples.cell("python", "amd64", [], **REUSED)]),
            "for its pass in run r1 counts (2025-11-20 04:05 UTC): python-amd64",
        ),
        (
            samples.with_log(one(), "python-amd64", 10, 4, complete=False),
            "log not whole: python-amd64 (4 B from the middle",
        ),
    ],
)
def test_what_was_not_verified_is_said(candidate: Results, said: str) -> None:
    assert said in gaps(qa(samples.six_passed(), candidate))


def test_what_the_baseline_could_not_tell_is_said_too() -> None:
    report = qa(samples.broken(), samples.six_passed())
    assert "in the baseline, no verdict, for want of infrastructure: golang-amd64 (" in gaps(report)
    left = one().run.totals.model_copy(update={"left_out": 3})
    assert "left out by --only or --skip: 3 cells of the matrix" in build(with_run(one(), totals=left)).gaps
    failing = samples.run(
        [samples.cell("java", "amd64", [samples.attempt("java-amd64", False, 0, 0, **KEYS)])]
    )
    said = "fails, and whether it failed before nobody knows: it is not in the baseline: java-amd64"
    assert said in gaps(qa(one(), failing))


def test_a_replay_is_no_real_model_and_a_provider_is() -> None:
    llm = one().run.llm
    for kind, said in (("replay", "recorded answers of openai/gpt-4o were replayed"), ("provider", "")):
        run = with_run(one(), llm=llm.model_copy(update={"kind": kind}))
        assert ("no real model" in gaps(build(run))) is bool(said)
        assert said in gaps(build(run))


def pair_of(ref: str, beside: str | None) -> Results:
    command = [
        "e2e-matrix",
        "run",
        "--ref",
        "2",
        "--baseline-ref=1",
        "--only",
        "a",
        "--claim",
        "x",
        "--expect",
        "fixed:*",
    ]
    settings = {"ref": SettingValue(value=ref, source="command line")}
    return with_run(one(), command=command, settings=settings, beside=beside)


def test_each_side_of_two_that_side_by_side_has_a_command_of_its_own() -> None:
    [told] = qa(
        with_cells(pair_of("1", None), outcome=Outcome.FAILED), pair_of("2", "20251122T081307Z-4be1f0")
    ).told
    assert told.commands == [
        ("baseline", "e2e-matrix run --ref 1 --only python-amd64"),
        ("candidate", "e2e-matrix run --ref 2 --only python-amd64"),
    ]
    alone = with_run(one(), command=["e2e-matrix", "run", "--ref=2", "--claim=x"], beside="r")
    assert command_for(alone.run, "a") == "e2e-matrix run --ref 1.58.2 --only a"


def test_it_is_made_from_the_folder_alone_and_always_alike(tmp_path: Path) -> None:
    folder = keep(tmp_path / "a", with_keys(), without_keys())
    keep_question(folder, Asked("Keys", expectations(["fixed:*-amd64"])))
    written = write_reports(folder, ["qa"])
    assert [path.name for path in written] == ["qa.html", "qa.md"]
    assert "PASS: Keys" in (folder / "qa.md").read_text()
    assert "Keys" in (folder / "qa.html").read_text()
    first = {path.name: path.read_bytes() for path in written}
    (tmp_path / "a").rename(tmp_path / "b")
    assert {path.name: path.read_bytes() for path in write_reports(tmp_path / "b", ["qa"])} == first
    assert qa_of(with_keys(), tmp_path / "b").title == "Keys"


def test_a_step_of_the_same_name_twice_is_two_steps() -> None:
    cell = one().cells[0]
    again = cell.steps[-1].model_copy(update={"start_seconds": 900.0, "outcome": Outcome.FAILED})
    twice: Cell = cell.model_copy(update={"steps": [*cell.steps, again], "outcome": Outcome.FAILED})
    [told] = build(samples.run([twice])).told
    assert [step.name for step in told.steps][-2:] == ["removal", "removal"]
    assert [step.broke for step in told.steps][-2:] == [False, True]


def test_a_step_of_the_baseline_alone_stands_where_it_was_done() -> None:
    cell = one().cells[0]
    without = cell.model_copy(update={"steps": [step for step in cell.steps if step.name != "init"]})
    failed = cell.model_copy(update={"outcome": Outcome.FAILED})
    [told] = qa(samples.run([failed]), samples.run([without])).told
    assert [step.name for step in told.steps] == samples.NAMES
    first = cell.model_copy(update={"steps": cell.steps[1:]})
    [told] = qa(samples.run([failed]), samples.run([first])).told
    assert [step.name for step in told.steps] == samples.NAMES


def test_of_what_passed_no_log_is_shown() -> None:
    results = with_keys()
    attempts = [results.cells[0].attempts[0].model_copy(update={"log_excerpt": "all is well"})]
    cells = [results.cells[0].model_copy(update={"attempts": attempts}), *results.cells[1:]]
    [told] = qa(without_keys(), results.model_copy(update={"cells": cells})).told
    assert [log.side for log in told.excerpts] == ["baseline"]


def test_a_side_without_the_cell_has_not_reached_nothing() -> None:
    failing = samples.run(
        [samples.cell("java", "amd64", [samples.attempt("java-amd64", False, 0, 0, **KEYS)])]
    )
    report = qa(one(), failing)
    assert [report.told[0].missing(side) for side in ("baseline", "candidate")] == ["–", "not reached"]
    assert phases(report)["images resolved"][1].endswith("; no cell is in both")
