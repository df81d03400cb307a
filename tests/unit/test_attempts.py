"""Retries, repetitions, limits and resuming, with the engine in memory and cells that do what a test says."""

import json
import threading
import time
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix import schedule, store
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.errors import BadInput, CellFailure, InfrastructureError
from e2e_matrix.failures import Cause, Outcome, Retry
from e2e_matrix.limits import Budget
from e2e_matrix.llm.recording import read_recording
from e2e_matrix.llm.source import ReplaySource, StandInSource
from e2e_matrix.progress import Silent
from e2e_matrix.results import Attempt, Cell, Results
from e2e_matrix.resume import differences, read_plan
from e2e_matrix.task import CellTask
from support import runner_bench
from support.engines import OnThisHost
from support.runner_bench import Bench, outcomes
from unit.test_replay import a_call


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(Retry, "pause", lambda retry, tried, asked=None: 0.0)
    monkeypatch.setattr(schedule, "LOOK_SECONDS", 0.01)
    return Bench(tmp_path, monkeypatch)


def cell(results: Results, name: str):  # type: ignore[no-untyped-def]
    [found] = [cell for cell in results.cells if cell.id == name]
    return found


def fails_first(times: int, cause: Cause, name: str = "java-amd64"):  # type: ignore[no-untyped-def]
    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        return cause if task.cell == name and task.attempt <= times else None

    return behave


def test_the_infrastructure_is_tried_again_and_every_attempt_is_kept(bench: Bench) -> None:
    bench.behave = fails_first(2, Cause.REGISTRY_UNREACHABLE)
    results = bench.run()
    java = cell(results, "java-amd64")
    assert (java.outcome, java.flaky, java.attempt) == (Outcome.PASSED, False, 3)
    assert [attempt.outcome.value for attempt in java.attempts] == ["error", "error", "passed"]
    folder = bench.tmp_path / "reports" / "latest" / "cells" / "java-amd64"
    assert sorted(path.parent.name for path in folder.glob("*/attempt.json")) == [
        "attempt-1",
        "attempt-2",
        "attempt-3",
    ]
    assert results.run.exit_code == 0


def test_a_registry_in_trouble_is_asked_again_before_anything_starts(bench: Bench) -> None:
    key = "registry.test/server:latest-java linux/amd64"
    bench.missing[key] = CellFailure(Cause.REGISTRY_BUSY, "wants fewer requests", retry_after=7.0)
    notes: list[str] = []

    class Watcher(Silent):
        def note(self, message: str) -> None:
            notes.append(message)
            if "asking again" in message:
                bench.missing.clear()

    results = bench.run(progress=Watcher())
    assert [note for note in notes if "again" in note] == ["wants fewer requests; asking again in 0.00 s"]
    assert set(outcomes(results).values()) == {"passed"}
    # What had been answered was not asked again.
    assert (bench.asked[key], sum(bench.asked.values())) == (2, 7)


def test_a_registry_that_wants_an_hour_is_not_waited_for(bench: Bench) -> None:
    key = "registry.test/server:latest-java linux/amd64"
    bench.missing[key] = CellFailure(Cause.REGISTRY_BUSY, "wants fewer requests", retry_after=3600.0)
    assert outcomes(bench.run())["java-amd64"] == "error"
    assert bench.asked[key] == 1


def test_retries_end_and_the_last_failure_stands(bench: Bench) -> None:
    bench.behave = fails_first(99, Cause.REGISTRY_UNREACHABLE)
    java = cell(bench.run(), "java-amd64")
    assert (java.outcome, len(java.attempts)) == (Outcome.ERROR, 3)
    for report in ("report.html", "report.md"):
        assert "3 attempts" in (bench.tmp_path / "reports" / "latest" / report).read_text()


def test_the_product_is_not_tried_again_by_itself(bench: Bench) -> None:
    bench.behave = fails_first(1, Cause.ASSERTION)
    results = bench.run()
    assert len(cell(results, "java-amd64").attempts) == 1
    assert results.run.exit_code == 1


def test_passing_after_the_product_failed_is_flaky_and_says_so(bench: Bench) -> None:
    bench.behave = fails_first(1, Cause.ASSERTION)
    results = bench.run("retries: {product: 1}\n")
    java = cell(results, "java-amd64")
    assert (java.outcome, java.flaky, len(java.attempts)) == (Outcome.PASSED, True, 2)
    assert (results.run.exit_code, results.run.totals.flaky) == (0, 1)
    assert "1 flaky, passed only after a failure" in results.run.reason
    for report in ("report.html", "report.md"):
        assert "flaky" in (bench.tmp_path / "reports" / "latest" / report).read_text()


def test_the_matrix_may_forbid_every_retry(bench: Bench) -> None:
    bench.behave = fails_first(1, Cause.REGISTRY_UNREACHABLE)
    assert len(cell(bench.run("retries: {infrastructure: 0}\n"), "java-amd64").attempts) == 1


def test_an_engine_that_comes_back_does_not_end_the_run(bench: Bench) -> None:
    bench.behave = fails_first(2, Cause.ENGINE_LOST, "python-amd64")
    results = bench.run("max-parallel: 1\n")
    assert set(outcomes(results).values()) == {"passed"}


def test_an_engine_that_stays_away_ends_the_run(bench: Bench) -> None:
    bench.behave = lambda task, cancel: Cause.ENGINE_LOST
    results = bench.run("max-parallel: 1\n")
    assert outcomes(results)["python-amd64"] == "error"
    assert len(cell(results, "python-amd64").attempts) == 5
    assert cell(results, "golang-arm64").cause is Cause.RUN_ABORTED


def test_a_pause_holds_no_worker_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    monkeypatch.setattr(Retry, "pause", lambda retry, tried, asked=None: 0.4)
    began: list[tuple[str, int, float]] = []

    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        began.append((task.cell, task.attempt, time.monotonic()))
        return Cause.REGISTRY_UNREACHABLE if (task.cell, task.attempt) == ("python-amd64", 1) else None

    bench.behave = behave
    bench.run("max-parallel: 1\n")
    assert [name for name, _, _ in began][-1] == "python-amd64"  # the others did not wait for it
    first, second = (moment for name, _, moment in began if name == "python-amd64")
    assert second - first >= 0.4


def test_what_is_told_of_an_attempt_that_is_tried_again(bench: Bench) -> None:
    told: list[tuple[str, int, float]] = []

    class Watcher(Silent):
        def attempt_failed(self, cell: str, attempt: Attempt, pause: float) -> None:
            told.append((cell, attempt.number, pause))

    bench.behave = fails_first(1, Cause.PULL_FAILED)
    bench.run(progress=Watcher())
    assert told == [("java-amd64", 1, 0.0)]


def test_repetitions_report_the_pass_rate_and_the_spread(bench: Bench) -> None:
    bench.price = Decimal("0.0095525")
    bench.behave = lambda task, cancel: (
        Cause.ASSERTION if task.cell == "java-amd64" and task.repetition == 2 else None
    )
    results = bench.run("repeat: 3\nmax-parallel: 2\n")
    java, python = cell(results, "java-amd64"), cell(results, "python-amd64")
    assert (java.outcome, java.repeat.runs, java.repeat.passed) == (Outcome.FAILED, 3, 2)
    assert python.repeat.model_dump() == {
        "planned": 3,
        "runs": 3,
        "passed": 3,
        "duration": {"min": 1.0, "median": 1.0, "max": 1.0},
        "cost": dict.fromkeys(("min", "median", "max"), "0.0095525"),
    }
    assert python.cost_usd == Decimal("0.0286575")
    assert sorted(task.attempt for task in bench.tasks if task.cell == "java-amd64") == [1, 2, 3]
    for report in ("report.html", "report.md"):
        assert "2 of 3" in (bench.tmp_path / "reports" / "latest" / report).read_text(), report


def test_the_runs_time_limit_stops_what_runs_and_leaves_the_rest_not_run(bench: Bench) -> None:
    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        if task.cell == "python-amd64":
            return None
        assert cancel.event.wait(10)
        return cancel.failure().cause

    bench.behave = behave
    begin = time.monotonic()
    results = bench.run("max-parallel: 1\nrun-timeout: 1s\n")
    assert time.monotonic() - begin < 5
    assert list(outcomes(results).values()) == ["passed", "cancelled", *["not_run"] * 4]
    assert {one.cause for one in results.cells[1:]} == {Cause.RUN_TIMEOUT, Cause.TIME_WAS_OVER}
    assert (results.run.exit_code, results.run.interrupted) == (3, False)


def test_nothing_starts_once_the_budget_is_spent(bench: Bench) -> None:
    bench.price = Decimal("0.02")
    results = bench.run("max-parallel: 1\nmax-cost: {run: 0.05}\n")
    assert list(outcomes(results).values()) == ["passed"] * 3 + ["not_run"] * 3
    assert results.cells[3].cause is Cause.BUDGET_WAS_SPENT
    assert (results.run.totals.cost_usd, results.run.exit_code) == (Decimal("0.06"), 3)


def interrupted_run(bench: Bench, matrix: str = "max-parallel: 1\n") -> Path:
    """A run that was stopped in its third cell: two are finished."""

    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        if task.cell == "java-amd64":
            cancel.cancel(Cause.INTERRUPTED)
            return Cause.INTERRUPTED
        return Cause.ASSERTION if task.cell == "python-arm64" else None

    bench.behave = behave
    bench.run(matrix)
    bench.cancel = Cancellation()
    bench.tasks.clear()
    bench.behave = lambda task, cancel: None
    return (bench.tmp_path / "reports" / "latest").resolve()


def test_a_resumed_run_runs_only_what_had_not_finished(bench: Bench) -> None:
    bench.price = Decimal("0.01")
    folder = interrupted_run(bench)
    results = bench.run("max-parallel: 1\n", resume=folder)
    unfinished = {"java-amd64", "java-arm64", "golang-amd64", "golang-arm64"}
    assert {task.cell for task in bench.tasks} == unfinished
    assert len(bench.tasks) == 4
    assert outcomes(results)["python-arm64"] == "failed"  # a finding stays one
    assert [one.reused for one in results.cells] == [True, True, False, False, False, False]
    assert [attempt.number for attempt in cell(results, "java-amd64").attempts] == [1, 2]
    assert results.run.id == folder.name
    assert len(results.run.resumed_at) == 1
    assert results.run.totals.cost_usd == Decimal("0.07")
    assert store.load(folder) == results


def test_another_plan_is_refused_with_what_differs(bench: Bench) -> None:
    folder = interrupted_run(bench)
    with pytest.raises(BadInput) as refused:
        bench.run("max-parallel: 1\nref: 1.58.0\n", resume=folder)
    assert "python-amd64: image: registry.test/server:latest-python, now" in str(refused.value)
    assert "--force" in str(refused.value)
    assert bench.tasks == []


def test_a_digest_that_moved_is_refused_and_with_force_its_cells_run_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = interrupted_run(bench)
    plan = json.loads((folder / "plan.json").read_text())
    plan["cells"]["python-amd64"]["digest"] = "sha256:" + "b" * 64
    (folder / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(BadInput, match=r"python-amd64: digest: sha256:bbb.* now sha256:aaa"):
        bench.run("max-parallel: 1\n", resume=folder)
    results = bench.run("max-parallel: 1\n", resume=folder, force=True)
    assert "python-amd64" in [task.cell for task in bench.tasks]
    assert "python-arm64" not in [task.cell for task in bench.tasks]
    # Its first attempt was at another image: it is kept and was paid, and does not count.
    attempts = cell(results, "python-amd64").attempts
    assert [(attempt.number, attempt.superseded) for attempt in attempts] == [(1, True), (2, False)]


def test_an_attempt_in_which_the_runner_died_is_told_and_run_again(bench: Bench) -> None:
    folder = interrupted_run(bench)
    attempt = folder / "cells" / "java-amd64" / "attempt-1"
    (attempt / "attempt.json").unlink()
    call = {
        "path": "/v1/chat/completions",
        "status": 200,
        "streamed": False,
        "prompt_tokens": 3,
        "completion_tokens": 1,
        "received_at": "2026-11-22T00:00:00Z",
        "first_byte_seconds": 0.1,
        "duration_seconds": 0.1,
    }
    (attempt / "llm-calls.jsonl").write_text(json.dumps(call) + "\n" + '{"path": "/v1/ch')  # cut by the kill
    java = cell(bench.run("max-parallel: 1\n", resume=folder), "java-amd64")
    lost, passed = java.attempts
    assert (lost.cause, lost.outcome) == (Cause.RUNNER_DIED, Outcome.CANCELLED)
    assert [one.prompt_tokens for one in lost.llm_calls] == [3]
    assert (passed.outcome, java.outcome, java.flaky) == (Outcome.PASSED, Outcome.PASSED, False)


def test_a_finished_run_that_is_resumed_runs_nothing(bench: Bench) -> None:
    bench.run()
    folder = (bench.tmp_path / "reports" / "latest").resolve()
    bench.tasks.clear()
    results = bench.run(resume=folder)
    assert bench.tasks == []
    assert set(outcomes(results).values()) == {"passed"}


def test_a_run_that_goes_on_cannot_be_resumed(bench: Bench) -> None:
    folder = interrupted_run(bench)
    with store.RunFolder(folder), pytest.raises(BadInput, match="is still running"):
        bench.run("max-parallel: 1\n", resume=folder)


def test_a_cut_attempt_file_is_named(bench: Bench) -> None:
    folder = interrupted_run(bench)
    path = folder / "cells" / "python-amd64" / "attempt-1" / "attempt.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"attempt-1/attempt.json: the file: Invalid JSON"):
        bench.run("max-parallel: 1\n", resume=folder)


def test_a_second_interruption_in_a_pause_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch)
    monkeypatch.setattr(Retry, "pause", lambda retry, tried, asked=None: 60.0)
    bench.behave = lambda task, cancel: Cause.REGISTRY_UNREACHABLE
    timer = threading.Timer(0.5, bench.cancel.cancel, (Cause.INTERRUPTED,))
    timer.start()
    begin = time.monotonic()
    results = bench.run("max-parallel: 6\n")
    timer.join()
    assert time.monotonic() - begin < 10
    assert results.run.exit_code == 130
    assert {one.cause for one in results.cells} == {Cause.REGISTRY_UNREACHABLE}


def stop_in(bench: Bench, name: str) -> None:
    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        if task.cell == name:
            cancel.cancel(Cause.INTERRUPTED)
            return Cause.INTERRUPTED
        return None

    bench.cancel = Cancellation()
    bench.tasks.clear()
    bench.behave = behave


def let_run(bench: Bench) -> None:
    stop_in(bench, "")


def latest(bench: Bench) -> Path:
    return (bench.tmp_path / "reports" / "latest").resolve()


OTHER_DIGEST = "sha256:" + "c" * 64


def test_an_attempt_at_another_image_never_counts_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.price = Decimal("0.02")
    stop_in(bench, "golang-arm64")
    bench.run("max-parallel: 1\n")
    monkeypatch.setattr(runner_bench, "DIGEST", OTHER_DIGEST)  # the images are pushed again
    stop_in(bench, "python-amd64")
    bench.run("max-parallel: 1\n", resume=latest(bench), force=True)
    let_run(bench)
    results = bench.run("max-parallel: 1\n", resume=latest(bench))
    assert len(bench.tasks) == 6
    assert [one.reused for one in results.cells] == [False] * 6
    # Six before, the one that was stopped, six now: paid is paid.
    assert results.run.totals.cost_usd == Decimal("0.26")


def test_a_digest_that_nobody_could_tell_once_is_still_compared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_in(bench, "golang-arm64")
    bench.run("max-parallel: 1\n")
    let_run(bench)
    for variant in ("python", "java", "golang"):
        for arch in ("amd64", "arm64"):
            away = CellFailure(Cause.REGISTRY_DENIED, "no")
            bench.missing[f"registry.test/server:latest-{variant} linux/{arch}"] = away
    results = bench.run("max-parallel: 1\n", resume=latest(bench))
    assert results.cells[0].image.digest == runner_bench.DIGEST
    bench.missing.clear()
    let_run(bench)
    monkeypatch.setattr(runner_bench, "DIGEST", OTHER_DIGEST)
    with pytest.raises(BadInput, match="python-amd64: digest: sha256:aaa"):
        bench.run("max-parallel: 1\n", resume=latest(bench))


def test_nothing_more_is_spent_on_a_cell_whose_budget_is_gone() -> None:
    budget = Budget(per_cell=Decimal("0.01"))
    budget.check_before("a")
    budget.note("a", 1, Decimal("0.01"))
    budget.check("a")
    with pytest.raises(CellFailure) as spent:
        budget.check_before("a")
    assert spent.value.cause is Cause.CELL_BUDGET


def test_a_hiccup_of_the_infrastructure_takes_no_try_from_the_product(bench: Bench) -> None:
    ends = iter([Cause.REGISTRY_UNREACHABLE, Cause.ASSERTION, None])
    bench.behave = lambda task, cancel: next(ends) if task.cell == "java-amd64" else None
    java = cell(bench.run("retries: {product: 1}\n"), "java-amd64")
    assert (java.outcome, java.flaky, len(java.attempts)) == (Outcome.PASSED, True, 3)


def test_a_product_try_that_was_still_owed_is_made_after_resuming(bench: Bench) -> None:
    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        if task.cell == "python-amd64":
            cancel.cancel(Cause.INTERRUPTED)
        return Cause.ASSERTION

    bench.behave = behave
    bench.run("max-parallel: 1\nretries: {product: 1}\n")
    let_run(bench)
    python = cell(bench.run("retries: {product: 1}\n", resume=latest(bench)), "python-amd64")
    assert (python.outcome, python.flaky, len(python.attempts)) == (Outcome.PASSED, True, 2)


def test_of_repetitions_the_flaky_one_is_told(bench: Bench) -> None:
    bench.behave = fails_first_of_repetition_two
    java = cell(bench.run("repeat: 2\nmax-parallel: 1\nretries: {product: 1}\n"), "java-amd64")
    assert (java.flaky, java.attempt) == (True, 3)
    for report in ("report.html", "report.md"):
        text = (latest(bench) / report).read_text()
        assert "passed only at attempt 3" in text
        assert "as the test says" in text


def fails_first_of_repetition_two(task: CellTask, cancel: Cancellation) -> Cause | None:
    return Cause.ASSERTION if (task.cell, task.attempt) == ("java-amd64", 2) else None


def test_a_disk_that_refuses_a_record_is_not_called_a_wish(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store.RunFolder.write_attempt

    def write(folder: store.RunFolder, attempt: Attempt) -> Attempt:
        if "java-amd64" in attempt.folder:
            raise InfrastructureError("cannot write attempt.json: No space left on device")
        return real(folder, attempt)

    monkeypatch.setattr(store.RunFolder, "write_attempt", write)
    with pytest.raises(InfrastructureError):
        bench.run("max-parallel: 1\n")
    run = store.load(latest(bench)).run
    assert (run.exit_code, run.interrupted) == (3, False)


def test_fail_fast_also_heeds_a_cell_that_could_not_start(bench: Bench) -> None:
    missing = CellFailure(Cause.TAG_MISSING, "no such tag")
    bench.missing["registry.test/server:latest-java linux/amd64"] = missing
    ends = outcomes(bench.run("max-parallel: 1\nfail-fast: true\n"))
    assert ends["java-amd64"] == "failed"
    assert sorted({end for name, end in ends.items() if name != "java-amd64"}) == ["cancelled"]


def test_every_cell_is_told_to_be_over_also_one_that_waited_for_another_try(bench: Bench) -> None:
    over: list[str] = []

    class Watcher(Silent):
        def cell_finished(self, cell: Cell) -> None:
            over.append(cell.id)

    bench.behave = lambda task, cancel: Cause.CONTAINER_GONE if task.cell == "java-amd64" else None
    bench.run("retries: {infrastructure: 20}\nrun-timeout: 1s\n", progress=Watcher())
    assert len(over) == len(set(over)) == 6


def test_what_a_killed_attempt_cost_at_a_provider_is_unknown(bench: Bench) -> None:
    bench.price = Decimal("0.01")
    folder = interrupted_run(bench)
    (folder / "cells" / "java-amd64" / "attempt-1" / "attempt.json").unlink()
    totals = bench.run("max-parallel: 1\n", resume=folder).run.totals
    assert (totals.cost_usd, totals.cost_unknown_cells) == (Decimal("0.06"), 1)


def test_a_run_that_cost_more_than_it_may_says_so_though_it_passed(bench: Bench) -> None:
    bench.price = Decimal("0.02")
    together = threading.Barrier(6)  # all have begun before one has cost anything

    def behave(task: CellTask, cancel: Cancellation) -> None:
        together.wait(10)

    bench.behave = behave
    run = bench.run("max-parallel: 6\nmax-cost: {run: 0.05}\n").run
    assert run.exit_code == 0
    assert run.reason == "All 6 cells passed. It cost $0.12, more than the $0.05 that it may."


def test_what_a_limit_of_the_run_ended_is_told_with_the_sums(bench: Bench) -> None:
    bench.price = Decimal("0.02")
    results = bench.run("max-parallel: 1\nmax-cost: {run: 0.05}\n")
    assert results.run.reason.endswith(
        "3 not run: the run had spent what it may. It cost $0.06, more than the $0.05 that it may."
    )
    assert "$0.06 spent, of $0.05 that the run may cost" in (results.cells[-1].message or "")


def test_the_port_of_a_registry_on_this_machine_is_no_difference(bench: Bench) -> None:
    folder = interrupted_run(bench)
    plan = read_plan(folder)
    before, now = (
        plan.model_copy(
            update={
                "cells": {
                    cell: facts.model_copy(update={"image": f"127.0.0.1:{port}/server:x"})
                    for cell, facts in plan.cells.items()
                }
            }
        )
        for port in (5055, 40123)
    )
    assert differences(before, now) == {}
    assert differences(plan, now)


def test_a_script_that_was_changed_is_another_plan(bench: Bench) -> None:
    script = bench.tmp_path / "ex.py"
    script.write_text("x = 1\n")
    scenario = "scenarios: {ex: {script: ex.py, environment: {KEY: sk-hidden}}}\n"
    bench.run(scenario)
    folder = (bench.tmp_path / "reports" / "latest").resolve()
    assert "sk-hidden" not in (folder / "plan.json").read_text()
    assert read_plan(folder).cells["java-amd64"].scenario_settings["environment"] == ["KEY"]
    bench.run(scenario.replace("sk-hidden", "sk-other"), resume=folder)
    script.write_text("x = 2\n")
    with pytest.raises(BadInput, match=r"java-amd64: script digest: sha256:\w+, now sha256:"):
        bench.run(scenario, resume=folder)
    bench.run(scenario.replace("ex.py", "ex.py, at: v1"), resume=folder, force=True)
    assert read_plan(folder).cells["java-amd64"].script_digest is None
    script.write_text("x = 3\n")
    bench.run(scenario.replace("ex.py", "ex.py, at: v1"), resume=folder)


@pytest.mark.parametrize("key", ["replies", "replay"])
def test_other_answers_of_the_model_are_another_plan(bench: Bench, key: str) -> None:
    file = bench.tmp_path / "answers"
    answers = ["- {when: a, reply: b}\n", "- {when: a, reply: c}\n"]
    if key == "replay":
        answers = [f"{a_call(text).model_dump_json()}\n" for text in ("one", "two")]
    file.write_text(answers[0])
    model = f"llm: {{{key}: answers}}\n"
    bench.run(model)  # a real model: the file says nothing to it
    folder = (bench.tmp_path / "reports" / "latest").resolve()
    assert read_plan(folder).cells["java-amd64"].answers_digest is None
    with closing(StandInSource(OnThisHost()) if key == "replies" else replay_of(file)) as bench.llm:
        bench.run(model)
        folder = (bench.tmp_path / "reports" / "latest").resolve()
        bench.run(model, resume=folder)
        file.write_text(answers[1])
        with pytest.raises(BadInput, match=r"java-amd64: answers digest: sha256:\w+, now sha256:"):
            bench.run(model, resume=folder)


def test_another_price_of_its_model_is_another_plan_of_a_cell(bench: Bench) -> None:
    """The costs of what was done would be added to those at the new price."""
    prices = "llm: {prices: {m: {input: 2.5, output: 10}, other: {input: 1, output: 1}}}\n"
    bench.run(prices)
    folder = (bench.tmp_path / "reports" / "latest").resolve()
    bench.run(prices.replace("output: 1}", "output: 7}"), resume=folder)
    with pytest.raises(BadInput, match=r"java-amd64: price: input 2\.5, .*, now input 3, output 10"):
        bench.run(prices.replace("2.5", "3"), resume=folder)


def replay_of(file: Path) -> ReplaySource:
    return ReplaySource(OnThisHost(), read_recording(file))


def test_a_run_that_is_not_over_says_how_to_finish_it(bench: Bench) -> None:
    seen: list[Results] = []

    def behave(task: CellTask, cancel: Cancellation) -> None:
        seen.extend(store.load(file.parent) for file in (bench.tmp_path / "reports").glob("2*/results.json"))

    bench.behave = behave
    bench.run("max-parallel: 1\n")
    assert cell(seen[0], "golang-arm64").cause is Cause.UNFINISHED


def test_what_is_asked_for_at_once_does_not_wait_for_the_cells(bench: Bench) -> None:
    release = threading.Event()

    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        cancel.cancel(Cause.INTERRUPTED)
        cancel.hurry()
        release.wait(0.5)  # what a cell takes to end once its container is gone
        return Cause.INTERRUPTED

    bench.behave = behave
    with pytest.raises(KeyboardInterrupt):
        bench.run("max-parallel: 1\n")
    run = store.load(latest(bench)).run
    assert (run.exit_code, run.interrupted) == (130, True)
