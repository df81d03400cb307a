"""The history's file: what is taken in from run folders, and what it answers."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.failures import Outcome
from e2e_matrix.history.database import _VERDICT, History
from e2e_matrix.history.making import rebuild
from e2e_matrix.history.reading import LeftOut, Unfinished, Unreadable
from e2e_matrix.history.writing import run_folders
from e2e_matrix.results import READABLE_VERSIONS, Evidence, Llm, Repeat
from support import history_runs as runs
from support import report_samples as samples
from support.history_runs import START, cell, put


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    return tmp_path / "reports"


@pytest.fixture
def history(reports: Path) -> Any:
    with History.open(reports / "history.sqlite") as opened:
        yield opened


def test_a_point_is_the_cell_as_its_run_left_it(history: History, reports: Path) -> None:
    told = runs.results(0, cell("flaky", key="k", scenario_version="3"))
    attempt = told.cells[0].attempts[-1].model_copy(update={"dormant_memory_bytes": 211_000_000})
    told.cells[0] = told.cells[0].model_copy(update={"attempts": [told.cells[0].attempts[0], attempt]})
    folder = reports / told.run.id
    folder.mkdir()
    (folder / "results.json").write_text(told.model_dump_json())
    assert history.add(folder)
    [point] = history.points()
    ours, phases = told.cells[0], attempt.phases
    assert (point.run, point.started_at, point.subject) == (told.run.id, START, told.run.subject)
    assert (point.cell, point.outcome, point.flaky, point.reused) == (ours.id, Outcome.PASSED, True, False)
    assert (point.emulated, point.platform, point.axes) == (False, "linux/amd64", ours.axes)
    assert (point.scenario, point.scenario_version) == ("deferred-init", "3")
    assert point.model == "openai/gpt-4o (stand-in)"
    assert (point.digest, point.server_version) == (ours.image.digest, "1.58.2")
    assert (point.message, point.cost_usd, point.tokens) == (None, Decimal("0.0000168"), 100)
    assert point.phases == phases
    assert phases.pull is not None
    assert point.duration_seconds == attempt.duration_seconds - phases.pull
    assert (point.memory_bytes, point.size_bytes) == (211_000_000, ours.image.size_bytes)


def test_a_failure_says_why(history: History, reports: Path) -> None:
    history.add(put(reports, 0, cell("failed")))
    [point] = history.points()
    assert (point.outcome, point.message) == (Outcome.FAILED, "a gated route answered")


def test_a_run_is_taken_in_once(history: History, reports: Path) -> None:
    folder = put(reports, 0)
    assert history.add(folder)
    assert not history.add(folder)
    (folder / "results.json").touch()  # it looks changed, and is not
    assert not history.add(folder)
    assert len(history.points()) == 1


def test_what_has_not_changed_is_not_read_again(
    history: History, reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(reports, 0)
    assert history.import_runs(run_folders(reports)).new == 1
    read: list[Path] = []
    monkeypatch.setattr("e2e_matrix.history.writing.read", read.append)
    put(reports, 0)  # written again: another moment
    done = history.import_runs(run_folders(reports / "nothing"))
    assert (done.new, done.unchanged) == (0, 0)
    monkeypatch.undo()
    done = history.import_runs(run_folders(reports))
    assert (done.new, done.unchanged) == (0, 1)
    monkeypatch.setattr("e2e_matrix.history.writing.read", read.append)
    done = history.import_runs(run_folders(reports))
    assert (done.new, done.unchanged, read) == (0, 1, [])


def test_a_run_that_was_resumed_takes_its_own_place(history: History, reports: Path) -> None:
    history.add(put(reports, 0, cell("error"), cell("passed", "java-amd64")))
    later = START + timedelta(hours=5)
    assert history.add(put(reports, 0, cell("passed"), finished_at=later))
    [point] = history.points()
    assert point.outcome is Outcome.PASSED
    assert [run.finished_at for run in history.runs()] == [later]


def test_an_older_copy_takes_no_later_ones_place_though_it_lies_where_that_was_read(
    history: History, reports: Path, tmp_path: Path
) -> None:
    """As on CI, where every machine has the same path: what was merged in is later than what lies there."""
    history.add(put(reports, 0, cell("passed"), finished_at=START + timedelta(hours=1)))
    theirs = tmp_path / "theirs.sqlite"
    kept = (reports / history.runs()[0].id / "results.json").read_bytes()
    with History.open(theirs) as other:
        other.add(put(reports, 0, cell("failed"), finished_at=START + timedelta(hours=2)))
    history.merge(theirs)
    folder = reports / history.runs()[0].id
    (folder / "results.json").write_bytes(kept)
    assert history.import_runs(run_folders(reports)).new == 0
    assert not history.add(folder)
    assert history.points()[0].outcome is Outcome.FAILED
    rebuild(history.path.with_name("anew.sqlite"), run_folders(reports))
    with History.open(history.path.with_name("anew.sqlite")) as anew:
        assert anew.points()[0].outcome is Outcome.PASSED


def test_of_two_copies_of_a_run_the_one_that_ended_later_counts(history: History, tmp_path: Path) -> None:
    early = put(tmp_path / "a", 0, cell("error"))
    late = put(tmp_path / "b", 0, cell("passed"), finished_at=START + timedelta(hours=1))
    for first, second in ((early, late), (late, early)):
        with History.open(tmp_path / f"{first.parent.name}.sqlite") as one:
            assert one.add(first)
            assert one.add(second) is (second is late)
            assert [point.outcome for point in one.points()] == [Outcome.PASSED]


def test_a_run_that_has_not_ended_is_left_for_later(history: History, reports: Path) -> None:
    folder = put(reports, 0, finished_at=None)
    with pytest.raises(Unfinished):
        history.add(folder)
    done = history.import_runs(run_folders(reports))
    assert (done.new, done.unfinished) == (0, [folder])
    assert history.points() == []
    put(reports, 0)
    assert history.import_runs(run_folders(reports)).new == 1


def test_what_was_known_of_a_run_stays_while_it_is_resumed(history: History, reports: Path) -> None:
    history.add(put(reports, 0, cell("error")))
    history.import_runs([put(reports, 0, cell("error"), finished_at=None)])
    assert len(history.points()) == 1


def test_what_cannot_be_read_is_told_and_the_rest_is_taken_in(history: History, reports: Path) -> None:
    put(reports, 0)
    broken = put(reports, 1)
    (broken / "results.json").write_text('{"schema_version": 4, "run": ')
    put(reports, 2)
    done = history.import_runs(run_folders(reports))
    assert (done.new, [folder for folder, _ in done.unreadable]) == (2, [broken])
    assert "EOF" in done.unreadable[0][1]
    with pytest.raises(Unreadable, match="No such file"):
        history.add(reports / "nowhere")


@pytest.mark.parametrize("version", READABLE_VERSIONS)
def test_every_version_of_results_is_read(history: History, reports: Path, version: int) -> None:
    folder = put(reports, 0)
    told = json.loads((folder / "results.json").read_text())
    told["schema_version"] = version
    for one in told["cells"]:
        for name in ("scenario_version", "key", "reused_from", "repeat") if version < 4 else ():
            one.pop(name, None)
        for attempt in one["attempts"]:
            for name in ("dormant_memory_bytes", "api", "script") if version < 4 else ():
                attempt.pop(name, None)
    (folder / "results.json").write_text(json.dumps(told))
    assert history.add(folder)
    assert history.points()[0].phases.boot == 5.29


def test_run_folders_are_found_below_and_links_are_not_followed(tmp_path: Path) -> None:
    first, second = put(tmp_path, 0), put(tmp_path / "downloaded" / "artifact", 1)
    (tmp_path / "latest").symlink_to(first.name)
    put(first / "cells", 2)  # what is inside a run is none
    assert sorted(run_folders(tmp_path)) == sorted([first, second])
    assert list(run_folders(first)) == [first]


def test_points_are_asked_for_by_cell_time_and_number(history: History, reports: Path) -> None:
    for number in range(6):
        history.add(put(reports, number, cell(), cell("passed", "java-arm64")))
    assert [point.cell for point in history.points(limit=3)] == ["java-arm64", "python-amd64", "java-arm64"]
    java = history.points("java-arm64")
    assert [point.started_at for point in java] == [START + timedelta(days=day) for day in range(6)]
    assert history.points("java-arm64", limit=2) == java[-2:]
    assert history.points("java-arm64", since=START + timedelta(days=4)) == java[-2:]
    assert history.points(since=START + timedelta(days=4)) == history.points()[-4:]
    assert history.points("rust-amd64") == history.points("\udcff") == []


def test_the_last_points_of_several_cells_before_a_run(history: History, reports: Path) -> None:
    ids = [put(reports, number, cell(), cell("passed", "java-arm64")).name for number in range(5)]
    history.import_runs(run_folders(reports))
    found = history.last_points(["python-amd64", "java-arm64", "rust-amd64"], 2, before=ids[3])
    assert {name: [point.run for point in points] for name, points in found.items()} == {
        "python-amd64": ids[1:3],
        "java-arm64": ids[1:3],
        "rust-amd64": [],
    }
    unknown = history.last_points(["java-arm64"], 2, before="of another machine")
    assert [point.run for point in unknown["java-arm64"]] == ids[3:]


def test_the_runs_are_listed_with_their_counts(history: History, reports: Path) -> None:
    history.add(put(reports, 0))
    history.add(put(reports, 1, cell("flaky"), cell("failed", "java-amd64"), cell("error", "golang-amd64")))
    run = history.runs()[-1]
    assert {outcome.value: number for outcome, number in run.counts.items() if number} == {
        "passed": 1,
        "failed": 1,
        "error": 1,
    }
    assert (run.flaky, run.reused, run.verdict, run.cost_usd) == (1, 0, Outcome.FAILED, samples.COST)
    assert [one.id for one in history.runs(limit=1)] == [run.id]
    assert history.runs(since=START + timedelta(days=2)) == []


def _evidence(history: History, key: str = "k", hours: float = 0) -> Evidence | None:
    return history.passed(key, START + timedelta(hours=hours))


def test_a_pass_is_found_by_its_key_with_its_folder(history: History, reports: Path) -> None:
    history.add(put(reports, 0, cell(key="k"), cell("passed", "java-amd64", key="other")))
    folder = put(reports, 1, cell(key="k"))
    history.add(folder)
    found = _evidence(history)
    assert found is not None
    assert (found.run, found.cell, found.folder) == (folder.name, "python-amd64", str(folder.absolute()))
    # The attempt's own end, and not the run's.
    took = runs.results(1, cell()).cells[0].attempts[0]
    assert found.finished_at == took.started_at + timedelta(seconds=took.duration_seconds)


@pytest.mark.parametrize(
    "told",
    [
        cell("failed", key="k"),
        cell("error", key="k"),
        cell("flaky", key="k"),
        cell(key="another"),
        cell(key=None),
        cell(
            key="k",
            attempts=[],
            reused=True,
            reused_from=Evidence(run="r", cell="c", finished_at=START, folder=None),
        ),
        cell(key="k", reused=True, attempts=[]),
    ],
    ids=["failed", "error", "flaky", "another key", "no key", "reused itself", "reused from nowhere"],
)
def test_nothing_else_is_a_pass_to_be_used_again(history: History, reports: Path, told: Any) -> None:
    history.add(put(reports, 0, told))
    assert _evidence(history) is None


def test_a_pass_from_before_its_run_was_resumed_is_one(history: History, reports: Path) -> None:
    history.add(put(reports, 0, cell(key="k", reused=True)))
    assert _evidence(history) is not None
    assert not history.points()[0].reused


def test_a_pass_of_a_run_that_goes_on_is_none(history: History, reports: Path) -> None:
    history.import_runs([put(reports, 0, cell(key="k"), finished_at=None)])
    assert _evidence(history) is None


def test_a_pass_that_is_too_old_is_none(history: History, reports: Path) -> None:
    told = cell(key="k")
    attempt = told.attempts[0].model_copy(update={"started_at": samples.START, "duration_seconds": 60.0})
    history.add(put(reports, 0, told.model_copy(update={"attempts": [attempt]})))
    assert history.passed("k", START + timedelta(seconds=60)) is not None
    assert history.passed("k", START + timedelta(seconds=61)) is None


def test_a_run_lies_in_its_own_folder_and_not_at_the_link_to_it(history: History, reports: Path) -> None:
    folder = put(reports, 0, cell(key="k"))
    (reports / "latest").symlink_to(folder.name)
    assert history.add(reports / "latest")
    assert not history.add(folder)
    assert history.import_runs(run_folders(reports / "latest")).unchanged == 1
    found = _evidence(history)
    assert found is not None
    assert found.folder == str(folder)


def test_a_folder_that_is_gone_is_not_named(history: History, reports: Path) -> None:
    folder = put(reports, 0, cell(key="k"))
    history.add(folder)
    shutil.rmtree(folder)
    found = _evidence(history)
    assert found is not None
    assert found.folder is None


def _changed(file: Path) -> None:
    file.write_text("{}")


def _made_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _made_a_circle(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


@pytest.mark.parametrize("change", [_changed, _made_a_folder, _made_a_circle])
def test_a_pass_whose_folder_holds_something_else_by_now_is_none(
    history: History, reports: Path, change: Callable[[Path], None]
) -> None:
    folder = put(reports, 0, cell(key="k"))
    history.add(folder)
    change(folder / "results.json")
    assert _evidence(history) is None


def test_a_copy_that_is_as_it_was_read_is_named_whatever_became_of_the_other(
    history: History, reports: Path, tmp_path: Path
) -> None:
    folder = put(reports, 0, cell(key="k"))
    copy = shutil.copytree(folder, tmp_path / "copy")
    history.import_runs([folder, copy])
    (folder / "results.json").write_text("{}")
    found = _evidence(history)
    assert found is not None
    assert found.folder == str(copy)


_MIXED = cell("failed", key="k", repeat=Repeat(planned=2, runs=2, passed=1))
_REUSED = cell(
    key="k",
    attempts=[],
    reused=True,
    reused_from=Evidence(run="r", cell="c", finished_at=START, folder=None),
)


@pytest.mark.parametrize("told", [cell("failed", key="k"), cell("flaky", key="k"), _MIXED])
def test_no_pass_counts_against_a_newer_verdict_that_is_none(
    history: History, reports: Path, told: Any
) -> None:
    history.import_runs([put(reports, 0, cell(key="k")), put(reports, 1, told)])
    assert _evidence(history) is None


@pytest.mark.parametrize(
    "told",
    [cell("error", key="k"), cell("failed", key="another"), _REUSED],
    ids=["error", "another", "reused"],
)
def test_what_is_no_verdict_on_the_key_takes_no_pass_away(history: History, reports: Path, told: Any) -> None:
    first = put(reports, 0, cell(key="k"))
    history.import_runs([first, put(reports, 1, told)])
    found = _evidence(history)
    assert found is not None
    assert found.run == first.name


def test_a_pass_after_a_failure_counts(history: History, reports: Path) -> None:
    history.import_runs([put(reports, 0, cell("failed", key="k")), put(reports, 1, cell(key="k"))])
    assert _evidence(history) is not None


def test_the_newest_verdict_on_a_key_is_found_by_an_index(history: History, reports: Path) -> None:
    with closing(sqlite3.connect(history.path)) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {_VERDICT}", ("k",)).fetchall()
    assert "verdicts_by_key" in str(plan)


def test_what_a_cell_takes_is_the_median_of_what_compares(history: History, reports: Path) -> None:
    def timed(seconds: float, **changed: Any) -> Any:
        told = cell(**changed)
        attempt = told.attempts[0].model_copy(update={"duration_seconds": seconds + 2.31})  # with its pull
        return told.model_copy(update={"attempts": [attempt]})

    for number, told in enumerate(
        [
            timed(500.0, emulated=True),
            timed(10.0),
            timed(30.0),
            timed(20.0),
            timed(900.0, scenario_version="old"),
            cell("failed"),
            timed(12.0),
        ]
    ):
        history.add(put(reports, number, told))
    assert history.typical_seconds(["python-amd64", "rust-amd64"], 3) == {"python-amd64": pytest.approx(20.0)}


def test_models_are_kept_apart_where_each_cell_has_its_own(history: History, reports: Path) -> None:
    """A run's list of them is another one as soon as --only leaves one out."""
    for number in range(4):
        small, large = (
            cell("passed" if number == 0 or name == "java" else "failed", f"{name}-amd64", model=model)
            for name, model in (("python", "small" if number % 2 else "large"), ("java", "large"))
        )
        cells = [small, large] if number < 3 else [small]
        listed = ", ".join(str(one.model) for one in cells)
        history.add(put(reports, number, *cells, llm=Llm(kind="stand-in", model=listed)))
    assert [point.model for point in history.points("python-amd64")] == [
        "large (stand-in)",
        "small (stand-in)",
        "large (stand-in)",
        "small (stand-in)",
    ]
    assert [point.started_at.day for point in history.samples("python-amd64", 9)] == [2, 4]
    assert len(history.samples("java-amd64", 9)) == 3
    since = history.failing_since("python-amd64")
    assert since is not None
    assert (since.failures, since.last_good) == (2, None)
    assert history.runs()[0].model == "large, large (stand-in)"


def test_a_cell_without_a_model_of_its_own_has_its_runs(history: History, reports: Path) -> None:
    history.add(put(reports, 0, cell(model=None), llm=Llm(kind="provider", model="m")))
    assert history.points()[0].model == "m (provider)"


def test_what_was_made_for_a_comparison_is_left_out(history: History, reports: Path, tmp_path: Path) -> None:
    """It began in the same second as the run that it was made for, and is of another ref."""
    ours = put(reports, 0)
    theirs = put(reports, 1, cell("failed"), started_at=START, for_comparison=True)
    with pytest.raises(LeftOut):
        history.add(theirs)
    done = history.import_runs(run_folders(reports))
    assert (done.new, done.left_out, done.unreadable) == (1, 1, [])
    anew = rebuild(tmp_path / "anew.sqlite", run_folders(reports)).imported
    assert (anew.new, anew.left_out) == (1, 1)
    assert [run.id for run in history.runs()] == [ours.name]
    assert history.failing_since("python-amd64") is None
