"""The runner, with the engine in memory and a cell that does what the test says."""

import threading
from pathlib import Path

import pytest

from e2e_matrix import store
from e2e_matrix.assessment import Question, expectations
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import Support
from e2e_matrix.errors import BadInput, CellFailure
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.question import Asked, load_question
from e2e_matrix.task import CellTask
from e2e_matrix.templates import expected_sha, expected_version
from support.runner_bench import Bench, outcomes


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_every_cell_runs_once_and_the_report_keeps_the_order_of_the_plan(bench: Bench) -> None:
    results = bench.run("max-parallel: 3\n")
    assert list(outcomes(results).items()) == [
        (f"{variant}-{arch}", "passed")
        for variant in ("python", "java", "golang")
        for arch in ("amd64", "arm64")
    ]
    assert sorted(task.cell for task in bench.tasks) == sorted(outcomes(results))
    assert {task.worker for task in bench.tasks} <= {0, 1, 2}


def test_no_more_cells_run_at_a_time_than_max_parallel(bench: Bench) -> None:
    lock, running, most = threading.Lock(), 0, 0
    together = threading.Barrier(2)

    def behave(task: CellTask, cancel: Cancellation) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(10)  # passes only if two really run at the same time
        with lock:
            running -= 1

    bench.behave = behave
    bench.run("max-parallel: 2\n")
    assert most == 2


def test_a_failed_cell_does_not_stop_the_others(bench: Bench) -> None:
    bench.behave = lambda task, cancel: Cause.ASSERTION if task.cell == "java-amd64" else None
    results = bench.run()
    assert outcomes(results)["java-amd64"] == "failed"
    assert list(outcomes(results).values()).count("passed") == 5
    assert results.run.exit_code == 1


def test_fail_fast_cancels_what_runs_and_what_waits(bench: Bench) -> None:
    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        if task.cell == "python-amd64":
            return Cause.ASSERTION
        assert cancel.event.wait(10)
        return cancel.failure().cause

    bench.behave = behave
    results = bench.run("max-parallel: 2\nfail-fast: true\n")
    assert outcomes(results)["python-amd64"] == "failed"
    assert list(outcomes(results).values()).count("cancelled") == 5
    assert {cell.cause for cell in results.cells} == {Cause.ASSERTION, Cause.FAIL_FAST}
    assert results.run.exit_code == 1


def test_a_failure_that_the_rest_would_meet_too_ends_the_run(bench: Bench) -> None:
    bench.behave = lambda task, cancel: Cause.DISK_FULL
    results = bench.run("max-parallel: 1\n")
    assert list(outcomes(results).values()) == ["error"] + ["not_run"] * 5
    assert results.run.exit_code == 3


def test_an_interruption_leaves_a_report_of_what_finished(bench: Bench) -> None:
    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        if task.cell == "python-arm64":
            cancel.cancel(Cause.INTERRUPTED)
            return Cause.INTERRUPTED
        return None

    bench.behave = behave
    results = bench.run("max-parallel: 1\n")
    assert list(outcomes(results).values()) == ["passed"] + ["cancelled"] * 5
    assert (results.run.exit_code, results.run.interrupted) == (130, True)


def test_an_index_without_the_platform_fails_its_cell_and_no_other(bench: Bench) -> None:
    message = "the index of registry.test/server:latest-java has no linux/arm64 (it has: linux/amd64)"
    bench.missing["registry.test/server:latest-java linux/arm64"] = CellFailure(
        Cause.PLATFORM_MISSING, message
    )
    results = bench.run()
    [failed] = [cell for cell in results.cells if cell.outcome is not Outcome.PASSED]
    assert (failed.id, failed.outcome, failed.message) == ("java-arm64", Outcome.FAILED, message)
    assert failed.attempts == []
    assert results.run.exit_code == 1


def test_tags_of_which_not_one_exists_are_bad_input(bench: Bench) -> None:
    for variant in ("python", "java", "golang"):
        for arch in ("amd64", "arm64"):
            tag = f"registry.test/server:latest-{variant}"
            bench.missing[f"{tag} linux/{arch}"] = CellFailure(Cause.TAG_MISSING, "no such tag")
    with pytest.raises(BadInput) as raised:
        bench.run()
    assert len(raised.value.problems) == 3
    assert "registry.test/server:latest-golang does not exist" in str(raised.value)
    assert bench.tasks == []


def test_one_missing_tag_among_others_is_a_finding(bench: Bench) -> None:
    for arch in ("amd64", "arm64"):
        tag = f"registry.test/server:latest-java linux/{arch}"
        bench.missing[tag] = CellFailure(Cause.TAG_MISSING, "no such tag")
    results = bench.run()
    assert [cell.id for cell in results.cells if cell.outcome is Outcome.FAILED] == [
        "java-amd64",
        "java-arm64",
    ]


def test_a_platform_that_the_engine_cannot_run_is_unsupported_and_not_failed(bench: Bench) -> None:
    results = bench.run(support=Support.UNSUPPORTED)
    assert {cell.id: cell.outcome.value for cell in results.cells if cell.outcome is not Outcome.PASSED} == {
        f"{variant}-arm64": "unsupported" for variant in ("python", "java", "golang")
    }
    assert results.run.verdict is Outcome.PASSED
    assert "3 not tested: unsupported" in results.run.reason


def test_an_emulated_cell_is_marked_and_gets_longer(bench: Bench) -> None:
    results = bench.run("timeout: 100s\nemulated-timeout-factor: 6\n", support=Support.EMULATED)
    limits = {task.cell: (task.emulated, task.timeout_seconds, task.slowness) for task in bench.tasks}
    assert limits["python-amd64"] == (False, 100.0, 1.0)
    assert limits["python-arm64"] == (True, 600.0, 6)
    assert [cell.emulated for cell in results.cells] == [False, True] * 3
    assert results.run.emulated_cpu == "cortex-a72"


def test_a_script_reaches_its_own_limit_before_its_cell_does(bench: Bench) -> None:
    (bench.tmp_path / "example.py").write_text("pass\n")
    bench.run(
        "timeout: 100s\nemulated-timeout-factor: 6\n"
        "scenarios:\n  example: {script: example.py, timeout: 100s}\n"
        "  short: {script: example.py, timeout: 1s}\n",
        support=Support.EMULATED,
    )
    for task in bench.tasks:
        assert task.timeout_seconds >= 100 * task.slowness
        assert task.timeout_seconds - task.settings["timeout"] * task.slowness >= 99 * task.slowness


def test_a_results_file_is_there_before_the_run_has_ended(bench: Bench) -> None:
    seen: list[dict[str, str]] = []

    def behave(task: CellTask, cancel: Cancellation) -> None:
        for file in (bench.tmp_path / "reports").glob("*/results.json"):
            partial = store.load(file.parent)
            assert partial.run.verdict is Outcome.NOT_RUN
            seen.append(outcomes(partial))

    bench.behave = behave
    bench.run("max-parallel: 1\n")
    assert [list(each.values()).count("passed") for each in seen] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("ref", "version"),
    [("1.58.2", "1.58.2"), ("1.58", "1.58"), ("1", "1"), ("latest", None), ("0123456", None), ("main", None)],
)
def test_a_release_is_known_from_the_ref_only_where_it_is_one(ref: str, version: str | None) -> None:
    assert expected_version(ref) == version


@pytest.mark.parametrize(
    ("ref", "sha"),
    [
        ("latest", None),
        ("1.58.2", None),
        ("main", None),
        ("0f1e2d3", "0f1e2d3"),
        ("ab" * 20, "ab" * 20),
        ("ab" * 21, None),
    ],
)
def test_a_commit_is_known_from_the_ref_only_where_it_is_one(ref: str, sha: str | None) -> None:
    assert expected_sha(ref) == sha


def test_a_cell_with_a_ref_of_its_own_is_held_against_that_one(bench: Bench) -> None:
    bench.run("  ref: [ef2fc43, 1.58.2]\nref: aaaaaaa\n")
    told = {(task.expected_sha, task.expected_version) for task in bench.tasks}
    assert told == {("ef2fc43", None), (None, "1.58.2")}


def test_the_report_says_what_changed_since_the_baseline(bench: Bench) -> None:
    before = bench.run()
    bench.behave = lambda task, cancel: Cause.ASSERTION if task.cell == "java-amd64" else None
    folder = bench.tmp_path / "reports"
    after = bench.run(baseline=folder / before.run.id)
    page = (folder / after.run.id / "report.html").read_text()
    assert "FAIL: fixed: none; newly failing: 1 cell; same: 5 cells." in page
    assert before.run.id in page


def test_what_is_asked_is_kept_before_the_report_is_written(bench: Bench) -> None:
    before = bench.run()
    asked = Asked("It boots", expectations(["fixed:java-*"]))
    after = bench.run(
        "reports: {formats: [html, qa]}\n", baseline=bench.tmp_path / "reports" / before.run.id, asked=asked
    )
    folder = bench.tmp_path / "reports" / after.run.id
    assert load_question(folder) == Question("It boots", expectations(["fixed:java-*"]))
    assert (folder / "qa.md").read_text().startswith("## ❌ FAIL: It boots\n")
    assert "FAIL against the baseline: expected fixed:java-*" in (folder / "report.html").read_text()
