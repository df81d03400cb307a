"""Passes that stand for cells: which do, which never do, and what a run of them says and needs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix import execution, reuse, store
from e2e_matrix.api import canonical_digest, of_runs, same_api
from e2e_matrix.api.document import operations
from e2e_matrix.api.kept import Described
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import Support
from e2e_matrix.errors import BadInput, CellFailure, Problem
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.history.database import History
from e2e_matrix.llm.source import ProviderSource, StandInSource
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.plan import Plan
from e2e_matrix.progress import Silent
from e2e_matrix.record import Job
from e2e_matrix.results import Api, Attempt, Cell, Evidence, Results, ScriptRun, Server
from e2e_matrix.settings import Overrides, Settings, resolve
from e2e_matrix.task import CellTask
from support.engines import OnThisHost
from support.openapi_samples import Json, an_object, received
from support.runner_bench import Bench, outcomes

REUSE = "reuse: 7d\n"
OLD = received(an_object(name={"type": "string"}))
NEW = received(an_object(name={"type": "integer"}))
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path, monkeypatch)
    bench.when = datetime.now(UTC) - timedelta(hours=40)
    return bench


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []
        self.finished: list[Cell] = []

    def note(self, message: str) -> None:
        self.said.append(message)

    def cell_finished(self, cell: Cell) -> None:
        self.finished.append(cell)


def ran(bench: Bench) -> list[str]:
    """The cells that ran since this was last asked."""
    cells = sorted(task.cell for task in bench.tasks)
    bench.tasks.clear()
    return cells


def reports(bench: Bench) -> Path:
    return bench.tmp_path / "reports"


def the(results: Results, cell: str) -> Cell:
    return next(one for one in results.cells if one.id == cell)


def test_a_run_of_unchanged_images_runs_nothing_costs_nothing_and_says_so(bench: Bench) -> None:
    bench.price = Decimal("0.5")
    first = bench.run("max-cost: {run: 9}\n")
    assert len(ran(bench)) == 6
    notes = Notes()
    second = bench.run("max-cost: {run: 9}\n" + REUSE, progress=notes)
    assert ran(bench) == []
    assert {call for call, _ in bench.engine.calls} <= {"info", "probe", "list"}
    assert second.run.reason == (
        f"All 6 cells passed; all 6 reused from an earlier run ({first.run.id}, at most 2 days old): "
        "nothing was run, it cost $0."
    )
    totals = second.run.totals
    assert (totals.passed, totals.reused, totals.cost_usd, totals.cost_unknown_cells) == (6, 6, Decimal(0), 0)
    assert (second.run.exit_code, second.run.verdict) == (0, Outcome.PASSED)
    assert [cell.id for cell in notes.finished] == [cell.id for cell in second.cells]
    before = the(first, "java-arm64")
    cell = the(second, "java-arm64")
    assert cell.reused_from == Evidence(
        run=first.run.id,
        cell="java-arm64",
        finished_at=bench.when + timedelta(seconds=1),
        folder=f"../{first.run.id}",
    )
    assert (cell.reused, cell.attempts, cell.cost_usd, cell.duration_seconds) == (True, [], Decimal(0), 0)
    assert (cell.image.digest, cell.key, cell.emulated) == (before.image.digest, before.key, before.emulated)
    page = (reports(bench) / second.run.id / "report.html").read_text()
    assert f'<a href="../{first.run.id}/report.html#cell-java-arm64">{first.run.id}</a>' in page
    assert "Good to ship" in page


def test_every_cell_that_ran_has_a_key_and_the_version_of_its_scenario(bench: Bench) -> None:
    results = bench.run()
    assert len({cell.key for cell in results.cells}) == 6
    assert all(len(cell.key or "") == 64 and cell.scenario_version for cell in results.cells)


def test_without_being_asked_nothing_is_reused(bench: Bench) -> None:
    bench.run()
    ran(bench)
    results = bench.run()
    assert len(ran(bench)) == 6
    assert "reused" not in results.run.reason


def test_only_the_cells_whose_image_changed_are_run(bench: Bench) -> None:
    first = bench.run()
    ran(bench)
    bench.digests["registry.test/server:latest-java"] = "sha256:" + "b" * 64
    results = bench.run(REUSE)
    assert ran(bench) == ["java-amd64", "java-arm64"]
    assert results.run.reason == (
        f"All 6 cells passed; 4 reused from an earlier run ({first.run.id}, at most 2 days old)."
    )
    assert the(results, "java-amd64").reused_from is None


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("timeout: 9m\n", "timeout"),
        ("environment: {A: b}\n", "environment"),
        ("scenarios: {deferred-init: {gate: all}}\n", "scenario settings"),
        ("resources: {cpus: 1}\n", "resources"),
        ("max-cost: {cell: 5}\nstep-timeouts: {dormant: 2m}\n", "step-timeouts, max-cost.cell"),
    ],
)
def test_a_change_of_what_decides_runs_the_cells_again_and_says_what_it_is(
    changed: str, told: str, bench: Bench
) -> None:
    first = bench.run()
    ran(bench)
    notes = Notes()
    bench.run(REUSE + changed, progress=notes)
    assert len(ran(bench)) == 6
    [said] = [note for note in notes.said if "not reused" in note]
    assert said.startswith(f"not reused, for since {first.run.id} {told} changed: python-amd64, ")
    assert said.endswith(" and 1 more")


def test_many_changes_are_told_in_a_few_lines(bench: Bench) -> None:
    for number, cell in enumerate(["python-amd64", "python-arm64", "java-amd64", "java-arm64", "golang-*"]):
        bench.run(f"timeout: {number + 1}m\nonly: [{cell}]\n")
    notes = Notes()
    bench.run(REUSE, progress=notes)
    said = [note for note in notes.said if "not reused" in note]
    assert [note.split(" changed: ")[-1] for note in said] == [
        *("python-amd64", "python-arm64", "java-amd64"),
        "not reused either, for other changes: java-arm64, golang-amd64, golang-arm64",
    ]


def test_a_pass_that_was_reused_tells_what_changed_since_as_well(bench: Bench) -> None:
    bench.run()
    reused = bench.run(REUSE)
    notes = Notes()
    bench.run(REUSE + "timeout: 9m\n", progress=notes)
    [said] = [note for note in notes.said if "not reused" in note]
    assert said.startswith(f"not reused, for since {reused.run.id} timeout changed: ")


def test_where_an_image_lies_is_no_change_to_tell_of(bench: Bench) -> None:
    bench.run()
    plan = next(reports(bench).glob("2*/plan.json"))
    plan.write_text(plan.read_text().replace("registry.test/", "elsewhere.test/"))
    notes = Notes()
    bench.run(REUSE + "timeout: 9m\n", progress=notes)
    [said] = [note for note in notes.said if "not reused" in note]
    assert " timeout changed: " in said
    assert "image" not in said


def test_why_cells_run_again_is_told_of_each_change_once(bench: Bench) -> None:
    bench.run("environment: {A: a}\n")
    first = bench.run()
    bench.digests["registry.test/server:latest-java"] = "sha256:" + "b" * 64
    notes = Notes()
    bench.run(REUSE, progress=notes)
    assert [note for note in notes.said if "not reused" in note] == [
        f"not reused, for since {first.run.id} image changed: java-amd64, java-arm64"
    ]
    notes = Notes()
    bench.run(REUSE, progress=notes)  # all of them are reused by now
    assert [note for note in notes.said if "not reused" in note] == []


def test_what_no_folder_tells_is_told_in_general(bench: Bench) -> None:
    first = bench.run("environment: {A: a}\n")
    notes = Notes()
    bench.run(REUSE + "environment: {A: b}\n", progress=notes)
    [said] = [note for note in notes.said if "not reused" in note]
    untold = "a variable's value, what lies around a script, or e2e-matrix itself"
    assert said.startswith(f"not reused, for since {first.run.id} {untold} changed: python-amd64, ")


def test_a_pass_that_is_too_old_has_no_change_to_tell_of(bench: Bench) -> None:
    bench.run()
    notes = Notes()
    bench.run("reuse: 1h\ntimeout: 9m\n", progress=notes)
    assert [note for note in notes.said if "not reused" in note] == []


def test_changed_code_of_a_scenario_runs_the_cells_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run()
    ran(bench)
    monkeypatch.setattr("e2e_matrix.cell_key.code_digest", lambda: "changed")
    bench.run(REUSE)
    assert len(ran(bench)) == 6


def test_another_version_of_a_scenario_runs_the_cells_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run()
    ran(bench)
    monkeypatch.setattr("e2e_matrix.scenarios.deferred_init.VERSION", "another")
    bench.run(REUSE)
    assert len(ran(bench)) == 6


def test_a_pass_is_as_old_as_the_attempt_and_stays_so_however_often_it_is_reused(bench: Bench) -> None:
    first = bench.run()
    again = bench.run("reuse: 2d\n")
    assert {cell.reused_from.run for cell in again.cells if cell.reused_from} == {first.run.id}
    ran(bench)
    assert len(bench.run("reuse: 2d\n").cells) == 6
    assert ran(bench) == []  # 40 hours: of the first run, not of the second
    results = bench.run("reuse: 39h\n")
    assert len(ran(bench)) == 6
    assert results.run.totals.reused == 0


@pytest.mark.parametrize("cause", [Cause.ASSERTION, Cause.DISK_FULL, Cause.PULL_FAILED])
def test_neither_a_failure_nor_an_error_is_reused(cause: Cause, bench: Bench) -> None:
    bench.behave = lambda task, cancel: cause if task.cell == "golang-arm64" else None
    first = bench.run("max-parallel: 1\nretries: {infrastructure: 0}\n")
    assert outcomes(first)["golang-arm64"] != "passed"
    ran(bench)
    bench.behave = lambda task, cancel: None
    bench.run(REUSE)
    assert ran(bench) == ["golang-arm64"]


def test_a_flaky_pass_is_not_reused(bench: Bench) -> None:
    bench.behave = lambda task, cancel: (
        Cause.ASSERTION if (task.cell, task.attempt) == ("java-amd64", 1) else None
    )
    first = bench.run("retries: {product: 1}\n")
    assert (the(first, "java-amd64").outcome, the(first, "java-amd64").flaky) == (Outcome.PASSED, True)
    ran(bench)
    bench.run(REUSE)
    assert ran(bench) == ["java-amd64"]


def test_a_cell_with_a_repetition_that_failed_is_not_reused_and_one_without_is(bench: Bench) -> None:
    bench.behave = lambda task, cancel: (
        Cause.ASSERTION if (task.cell, task.repetition) == ("java-amd64", 2) else None
    )
    bench.run("repeat: 3\n")
    ran(bench)
    bench.behave = lambda task, cancel: None
    bench.run(REUSE)
    assert ran(bench) == ["java-amd64"]


def test_what_a_stopped_run_passed_before_is_reused_and_the_rest_is_run(bench: Bench) -> None:
    def stopped(task: CellTask, cancel: Cancellation) -> Cause | None:
        if task.cell == "java-amd64":
            cancel.cancel(Cause.INTERRUPTED)
            return Cause.INTERRUPTED
        return None

    bench.behave = stopped
    bench.run("max-parallel: 1\n")
    ran(bench)
    bench.cancel, bench.behave = Cancellation(), lambda task, cancel: None
    bench.run(REUSE)
    assert ran(bench) == ["golang-amd64", "golang-arm64", "java-amd64", "java-arm64"]


def test_a_run_that_was_killed_is_not_reused(bench: Bench) -> None:
    first = bench.run()
    folder = reports(bench) / first.run.id
    cut = json.loads((folder / "results.json").read_text())
    cut["run"]["finished_at"] = None
    (folder / "results.json").write_text(json.dumps(cut))
    (reports(bench) / "history.sqlite").unlink()
    ran(bench)
    bench.run(REUSE)
    assert len(ran(bench)) == 6


def test_repeating_runs_every_cell_and_says_so(bench: Bench) -> None:
    bench.run()
    ran(bench)
    notes = Notes()
    bench.run(REUSE + "repeat: 2\n", progress=notes)
    assert len(ran(bench)) == 12
    assert "nothing is reused: each cell is to run 2 times" in notes.said


def test_recording_the_model_runs_every_cell_and_says_so(bench: Bench) -> None:
    bench.run()
    ran(bench)
    notes = Notes()
    model = "llm: {model: openai/m, base-url: 'https://model.test/v1', record: calls.jsonl}\n"
    bench.run(REUSE + model, progress=notes)
    assert len(ran(bench)) == 6
    assert "nothing is reused: the calls of each cell are to be recorded" in notes.said


def test_two_runs_that_are_compared_run_every_cell_and_say_so_once(bench: Bench) -> None:
    bench.run()
    ran(bench)
    notes = Notes()
    bench.run(REUSE, progress=notes, baseline_ref="1.58.1")
    assert len(ran(bench)) == 12
    assert [note for note in notes.said if "reused" in note] == ["nothing is reused: two runs are compared"]


def test_a_cell_that_cannot_run_is_not_passed_by_an_earlier_run(bench: Bench) -> None:
    bench.run()
    tag = "registry.test/server:latest-java linux/arm64"
    bench.missing[tag] = CellFailure(Cause.PLATFORM_MISSING, "it is gone")
    results = bench.run(REUSE)
    assert outcomes(results)["java-arm64"] == "failed"
    assert results.run.totals.reused == 5


def test_a_pass_natively_does_not_stand_for_an_emulated_cell(bench: Bench) -> None:
    bench.run(support=Support.NATIVE)
    ran(bench)
    notes = Notes()
    bench.run(REUSE, support=Support.EMULATED, progress=notes)
    assert ran(bench) == ["golang-arm64", "java-arm64", "python-arm64"]
    assert [note.split(maxsplit=5)[5] for note in notes.said if "not reused" in note] == [
        "emulation changed: python-arm64, java-arm64, golang-arm64"
    ]


def test_runs_of_folders_that_the_history_has_not_seen_are_known(bench: Bench) -> None:
    bench.run()
    ran(bench)
    (reports(bench) / "history.sqlite").unlink()
    bench.run(REUSE)
    assert ran(bench) == []


def test_evidence_out_of_reach_is_named_and_not_linked(bench: Bench) -> None:
    first = bench.run()
    ran(bench)
    shutil.rmtree(reports(bench) / first.run.id)
    results = bench.run(REUSE)
    assert ran(bench) == []
    evidence = results.cells[0].reused_from
    assert evidence is not None
    assert (evidence.run, evidence.folder) == (first.run.id, None)
    page = (reports(bench) / results.run.id / "report.html").read_text()
    assert f"reused from {first.run.id}" in page
    assert f'href="../{first.run.id}' not in page


def test_a_run_that_says_otherwise_than_the_history_is_believed(bench: Bench) -> None:
    """Its results were changed by hand since, to the same size and time."""
    first = bench.run()
    file = reports(bench) / first.run.id / "results.json"
    results = json.loads(file.read_text())
    told = file.stat()
    results["cells"][0]["outcome"] = "failed"  # as long as "passed"
    file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))
    if file.stat().st_size != told.st_size:
        pytest.skip("json writes it otherwise")
    ran(bench)
    bench.run(REUSE)
    assert ran(bench) == ["python-amd64"]


class TestTroubleWithTheHistory:
    """It is a note, and never keeps a run from running."""

    def test_a_damaged_one_is_made_again_and_used(self, bench: Bench) -> None:
        bench.run()
        ran(bench)
        history = reports(bench) / "history.sqlite"
        history.write_bytes(b"not a database" * 1000)
        notes = Notes()
        bench.run(REUSE, progress=notes)
        assert ran(bench) == []
        assert any("is damaged" in note for note in notes.said)

    def test_one_of_another_program_is_left_alone(self, bench: Bench) -> None:
        bench.run()
        ran(bench)
        history = reports(bench) / "history.sqlite"
        history.unlink()
        with closing(sqlite3.connect(history)) as connection:
            connection.execute("CREATE TABLE theirs (a)")
        notes = Notes()
        results = bench.run(REUSE, progress=notes)
        assert len(ran(bench)) == 6
        assert results.run.exit_code == 0
        assert any("nothing is known of earlier runs, and every cell runs" in note for note in notes.said)

    def test_one_that_somebody_holds_is_not_waited_for_for_ever(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.run()
        ran(bench)
        monkeypatch.setattr(reuse, "_PATIENCE", 0.2)
        monkeypatch.setattr("e2e_matrix.history.remember._PATIENCE", 0.2)
        shutil.copytree(next(reports(bench).glob("2*")), reports(bench) / "another")  # something to import
        notes = Notes()
        with closing(sqlite3.connect(reports(bench) / "history.sqlite", isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            bench.run(REUSE, progress=notes)
        assert len(ran(bench)) == 6
        assert any("nothing is known of earlier runs" in note for note in notes.said)


def test_runs_side_by_side_do_not_disturb_each_other(bench: Bench) -> None:
    first = bench.run()
    settings = _settings(bench)
    keys = {cell.id: cell.key for cell in first.cells if cell.key}

    def look(_: int) -> dict[str, reuse.Reused]:
        with History.open(settings.history, reports=settings.reports) as history:
            history.import_runs([reports(bench) / first.run.id])
            return dict(reuse.passes(_job(settings), keys, history, datetime.now(UTC)))

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(look, range(32)))
    assert all(one == found[0] and len(one) == 6 for one in found)


def _settings(bench: Bench) -> Settings:
    settings = resolve(load_matrix(str(bench.tmp_path / "matrix.yaml"), {}), Overrides(), {})
    return replace(settings, reports=reports(bench), reuse=7 * 86400.0)


def _job(settings: Settings, resume: Path | None = None) -> Job:
    return Job(Plan((), {}), settings, [], resume)


class OneRun:
    """A history that knows one pass of every key."""

    def __init__(self, finished_at: datetime, **more: Any) -> None:
        self.evidence = Evidence(run="r", cell="c", finished_at=finished_at, **more)

    def passed(self, key: str, not_before: datetime) -> Evidence | None:
        return self.evidence


@pytest.mark.parametrize(
    ("ago", "stands"),
    [
        (timedelta(days=6, hours=23), True),
        (timedelta(days=7), True),
        (timedelta(days=7, seconds=1), False),
        (timedelta(0), True),
        (timedelta(minutes=-4), True),  # the clock of the machine that it ran on is fast
        (timedelta(minutes=-6), False),  # nobody knows when that was
        (timedelta(days=-400), False),
    ],
)
def test_only_a_pass_of_a_known_age_within_the_limit_stands(
    ago: timedelta, stands: bool, bench: Bench
) -> None:
    bench.run()
    settings = _settings(bench)
    found = dict(reuse.passes(_job(settings), {"c": "k"}, OneRun(NOW - ago), NOW))
    assert bool(found) is stands


def test_a_run_that_cannot_be_read_any_more_stands_for_nothing(bench: Bench) -> None:
    first = bench.run()
    folder = reports(bench) / first.run.id
    (folder / "results.json").write_text("{cut")
    history = OneRun(NOW, folder=str(folder))
    assert dict(reuse.passes(_job(_settings(bench)), {"c": "k"}, history, NOW)) == {}


@pytest.mark.parametrize("say", ["failed", "{cut"])
def test_a_run_that_was_changed_since_it_was_read_stands_for_nothing(say: str, bench: Bench) -> None:
    first = bench.run()
    results = reports(bench) / first.run.id / "results.json"
    results.write_text(results.read_text().replace('"passed"', '"failed"') if say == "failed" else say)
    ran(bench)
    bench.run(REUSE)
    assert len(ran(bench)) == 6


def test_a_pass_is_not_reused_over_a_newer_failure(bench: Bench) -> None:
    bench.run()
    bench.when += timedelta(hours=1)
    bench.behave = lambda task, cancel: Cause.ASSERTION if task.cell == "java-amd64" else None
    bench.run()
    ran(bench)
    bench.behave = lambda task, cancel: None
    notes = Notes()
    bench.run(REUSE, progress=notes)
    assert ran(bench) == ["java-amd64"]
    assert [note for note in notes.said if "not reused" in note] == []  # nothing has changed since the pass


def test_a_run_that_many_cells_are_reused_from_is_read_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bench.run()
    history = OneRun(NOW, folder=str(reports(bench) / first.run.id))
    read: list[Path] = []

    def load(folder: Path) -> Results:
        read.append(folder)
        return first

    monkeypatch.setattr(store, "load", load)
    keys = dict.fromkeys(outcomes(first), "k")
    assert dict(reuse.passes(_job(_settings(bench)), keys, history, NOW)) == {}  # it has no cell `c`
    assert len(read) == 1


def test_a_reused_cell_keeps_what_is_known_of_its_server(bench: Bench) -> None:
    first = bench.run()
    folder = reports(bench) / first.run.id
    server = Server(version="1.58.2", build_git_sha="abc")
    cells = [cell.model_copy(update={"server": server}) for cell in first.cells]
    store.RunFolder(folder).write_results(first.model_copy(update={"cells": cells}))
    results = bench.run(REUSE)
    assert {cell.server for cell in results.cells} == {server}


def _put_outside(file: Path) -> None:
    file.rename(file.parents[2] / "else.json")
    file.symlink_to("../../else.json")


def _made_a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


class TestWhatItsServerDescribed:
    """A reused cell keeps it, so that the images of a ref are held against each other."""

    @pytest.fixture
    def apis(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> dict[str, Json]:
        """What the server of each cell describes; by the cell's id."""
        plain = vars(execution)["run_cell"]
        described: dict[str, Json] = {}

        def run_cell(task: CellTask, *rest: Any) -> Attempt:
            attempt: Attempt = plain(task, *rest)
            document = described.get(task.cell, OLD)
            (Path(task.folder) / "openapi.json").write_text(json.dumps(document, indent=1))
            file = f"{attempt.folder}/openapi.json"
            api = Api(digest=canonical_digest(document), file=file, operations=1)
            return attempt.model_copy(update={"api": api})

        monkeypatch.setattr(execution, "run_cell", run_cell)
        return described

    def changed(self, bench: Bench, apis: dict[str, Json]) -> Results:
        """A run in which only the image of java/amd64 is another one, and describes another API."""
        bench.digests["registry.test/server:latest-java"] = "sha256:" + "b" * 64
        apis["java-amd64"] = NEW
        return bench.run(REUSE)

    def test_it_is_this_runs_own_and_the_image_that_changed_is_found(
        self, bench: Bench, apis: dict[str, Json]
    ) -> None:
        first = bench.run()
        results = self.changed(bench, apis)
        shutil.rmtree(reports(bench) / first.run.id)
        folder = reports(bench) / results.run.id
        assert {path.stem for path in (folder / "api").iterdir()} == {
            canonical_digest(document)[7:23] for document in (OLD, NEW)
        }
        [finding] = same_api(results.cells, folder=folder, ref="latest")
        assert (finding.cells, len(finding.others)) == (("java-amd64",), 5)
        assert finding.told.difference
        evidence = the(results, "python-amd64").reused_from
        assert evidence is not None
        assert evidence.api is not None
        assert evidence.api.operations == operations(OLD)

    def test_it_is_compared_with_a_baseline(self, bench: Bench, apis: dict[str, Json]) -> None:
        first = bench.run()
        results = self.changed(bench, apis)
        compared = of_runs(reports(bench) / first.run.id, first, reports(bench) / results.run.id, results)
        assert compared.undescribed == {}
        assert compared.known
        assert [pair.cells for pair in compared.pairs if pair.told.difference] == [("java-amd64",)]

    def test_a_document_is_read_once_for_all_cells_that_share_it(
        self, bench: Bench, apis: dict[str, Json], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.run()
        asked: list[Path] = []
        plain = Described.kept_in

        def kept_in(self: Described, folder: Path) -> Api | None:
            asked.append(folder)
            return plain(self, folder)

        monkeypatch.setattr(Described, "kept_in", kept_in)
        assert {bool(cell.reused_from and cell.reused_from.api) for cell in bench.run(REUSE).cells} == {True}
        assert len(asked) == 1

    @pytest.mark.parametrize(
        "spoil",
        [
            Path.unlink,
            lambda file: file.write_text("{cut"),
            lambda file: file.write_text(json.dumps(NEW)),
            lambda file: os.truncate(file, 20_000_000),
            _put_outside,
            _made_a_pipe,
        ],
        ids=["gone", "cut", "another", "large", "outside", "pipe"],
    )
    def test_one_that_cannot_be_trusted_is_left_out(
        self, spoil: Callable[[Path], object], bench: Bench, apis: dict[str, Json]
    ) -> None:
        first = bench.run()
        ran(bench)
        [file] = (reports(bench) / first.run.id / "api").iterdir()
        spoil(file)
        results = bench.run(REUSE)
        assert ran(bench) == []
        assert [cell.reused_from and cell.reused_from.api for cell in results.cells] == [None] * 6
        assert not (reports(bench) / results.run.id / "api").exists()


class TestWithResume:
    """A run that goes on keeps what it did itself; for the rest other runs may stand."""

    def interrupted(self, bench: Bench, matrix: str = "max-parallel: 1\n") -> Path:
        def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
            if task.cell == "python-arm64":
                cancel.cancel(Cause.INTERRUPTED)
                return Cause.INTERRUPTED
            return None

        bench.behave = behave
        results = bench.run(matrix)
        bench.cancel, bench.behave = Cancellation(), lambda task, cancel: None
        ran(bench)
        return reports(bench) / results.run.id

    def test_a_cell_that_it_has_not_begun_may_be_reused(self, bench: Bench) -> None:
        first = bench.run()
        folder = self.interrupted(bench)
        results = bench.run("max-parallel: 1\n" + REUSE, resume=folder)
        assert ran(bench) == ["python-arm64"]  # begun, and not finished
        assert {cell.id: cell.reused_from.run for cell in results.cells if cell.reused_from} == dict.fromkeys(
            ["java-amd64", "java-arm64", "golang-amd64", "golang-arm64"], first.run.id
        )
        assert (the(results, "python-amd64").reused, len(the(results, "python-amd64").attempts)) == (True, 1)
        assert results.run.reason.startswith("All 6 cells passed; 4 reused from an earlier run")

    def test_what_it_has_failed_is_not_passed_by_another_run(self, bench: Bench) -> None:
        bench.run()
        folder = self.interrupted(bench)
        attempt = folder / "cells" / "python-amd64" / "attempt-1" / "attempt.json"
        told = json.loads(attempt.read_text()) | {"outcome": "failed", "cause": "assertion", "message": "no"}
        attempt.write_text(json.dumps(told))
        results = bench.run("max-parallel: 1\n" + REUSE, resume=folder)
        assert outcomes(results)["python-amd64"] == "failed"

    def test_what_ran_under_another_key_gets_none(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = self.interrupted(bench)
        monkeypatch.setattr("e2e_matrix.cell_key.code_digest", lambda: "changed since")
        results = bench.run("max-parallel: 1\n", resume=folder)
        keyless = [cell.id for cell in results.cells if cell.key is None]
        assert keyless == ["python-amd64", "python-arm64"]  # these had attempts by the code before
        ran(bench)
        bench.run(REUSE)
        assert ran(bench) == ["python-amd64", "python-arm64"]

    def test_what_ran_under_the_same_key_keeps_it(self, bench: Bench) -> None:
        folder = self.interrupted(bench)
        before = store.load(folder)
        results = bench.run("max-parallel: 1\n", resume=folder)
        assert [cell.key for cell in results.cells] == [cell.key for cell in before.cells]
        assert None not in {cell.key for cell in results.cells}


def test_a_script_that_was_changed_while_others_ran_has_no_key(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.tmp_path / "example.py").write_text("pass\n")
    plain = vars(execution)["run_cell"]

    def run_cell(task: CellTask, *rest: Any) -> Attempt:
        attempt: Attempt = plain(task, *rest)
        held = "pass\n" if task.cell.startswith("java") else "changed\n"
        script = ScriptRun(path="example.py", sha256=hashlib.sha256(held.encode()).hexdigest())
        return attempt.model_copy(update={"script": script})

    monkeypatch.setattr(execution, "run_cell", run_cell)
    results = bench.run("scenarios:\n  example: {script: example.py}\n")
    assert [cell.id for cell in results.cells if cell.key] == ["java-amd64", "java-arm64"]


def test_the_stand_in_is_opened_only_where_something_runs(bench: Bench) -> None:
    with closing(StandInSource(OnThisHost())) as llm:
        bench.llm = llm
        bench.run()
    ran(bench)
    with closing(StandInSource(Unreachable())) as llm:
        bench.llm = llm
        bench.run(REUSE)
        assert ran(bench) == []


def test_the_models_key_is_asked_for_only_where_something_runs(bench: Bench) -> None:
    model = "llm: {model: openai/m}\n"
    bench.run(model)
    ran(bench)

    def missing() -> str | None:
        raise BadInput([Problem("LLM_API_KEY", 0, 0, "not set")])

    bench.llm = ProviderSource("m", None, missing)
    bench.run(model + REUSE)
    assert ran(bench) == []
    before = set(reports(bench).iterdir())
    bench.digests["registry.test/server:latest-java"] = "sha256:" + "b" * 64
    with pytest.raises(BadInput, match="LLM_API_KEY: not set"):
        bench.run(model + REUSE)
    assert ran(bench) == []
    assert set(reports(bench).iterdir()) == before  # nothing was begun
    assert {call for call, _ in bench.engine.calls} <= {"info", "probe", "list"}


class Unreachable(OnThisHost):
    """An engine whose containers cannot reach this host."""

    def host_gateway(self) -> str:
        return ""


def test_the_disk_is_asked_for_no_room_where_nothing_runs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def check_images(cells: Sequence[object], *_: object) -> None:
        asked.append(len(cells))

    monkeypatch.setattr("e2e_matrix.preflight.check_images", check_images)
    bench.run()
    bench.digests["registry.test/server:latest-java"] = "sha256:" + "b" * 64
    bench.run(REUSE)
    bench.run(REUSE)
    assert asked == [6, 2]
