"""Two runs in turns: `run --baseline-ref`, with the engine in memory and cells that do what a test says."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix import preflight, store
from e2e_matrix.assessment import Standing
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.compare import compare_runs
from e2e_matrix.engine.base import Engine
from e2e_matrix.errors import BadInput, CellFailure, InfrastructureError
from e2e_matrix.failures import Cause
from e2e_matrix.progress import Beside, Progress, Silent
from e2e_matrix.question import assessed_in
from e2e_matrix.registry import ResolvedImage
from e2e_matrix.report.cell_view import command_for
from e2e_matrix.report.qa import qa_of
from e2e_matrix.results import Attempt, Cell, Results
from e2e_matrix.resume import newest_begun
from e2e_matrix.store import RunFolder
from e2e_matrix.task import CellTask
from support.runner_bench import PINNED, Bench, outcomes

ONE_AT_A_TIME = "ref: new\nmax-parallel: 1\n"
CELLS = [f"{variant}-{arch}" for variant in ("python", "java", "golang") for arch in ("amd64", "arm64")]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def ref_of(task: CellTask) -> str:
    """`old` of the baseline, `new` of the candidate."""
    return task.build.split()[-1]


def turns(bench: Bench) -> list[str]:
    return [f"{task.cell} {task.repetition} {ref_of(task)}" for task in bench.tasks]


def beside(bench: Bench, candidate: Results) -> Results:
    """The run that took turns with this one."""
    assert candidate.run.beside
    return store.load(bench.tmp_path / "reports" / candidate.run.beside)


class Names(Silent):
    """Hears what the cells are called."""

    def __init__(self) -> None:
        self.planned: list[str] = []
        self.started: list[str] = []
        self.finished: list[str] = []
        self.notes: list[str] = []
        self.ends: list[str] = []

    def run_started(self, run_id: str, cells: object, workers: int, llm: str) -> None:
        assert isinstance(cells, list)
        self.planned = cells

    def note(self, message: str) -> None:
        self.notes.append(message)

    def cell_started(self, cell: str, attempt: int, repetition: int = 1) -> None:
        self.started.append(f"{cell} {repetition}")

    def cell_finished(self, cell: Cell) -> None:
        self.finished.append(cell.id)

    def run_finished(self, results: Results, folder: str) -> None:
        self.ends.append(results.run.id)


def test_both_runs_take_turns_and_who_is_first_alternates(bench: Bench) -> None:
    bench.run(f"{ONE_AT_A_TIME}repeat: 2\n", baseline_ref="old")
    assert turns(bench)[:8] == [
        "python-amd64 1 new",
        "python-amd64 1 old",
        "python-amd64 2 old",
        "python-amd64 2 new",
        "python-arm64 1 new",
        "python-arm64 1 old",
        "python-arm64 2 old",
        "python-arm64 2 new",
    ]
    assert Counter(turns(bench)) == Counter(
        f"{cell} {number} {ref}" for cell in CELLS for number in (1, 2) for ref in ("old", "new")
    )


def test_with_an_odd_number_of_repetitions_neither_is_first_more_often(bench: Bench) -> None:
    bench.run(f"{ONE_AT_A_TIME}repeat: 3\n", baseline_ref="old")
    first = Counter(ref_of(task) for task in bench.tasks[::2])
    assert first == {"new": 9, "old": 9}


def test_each_leaves_a_complete_folder_that_knows_of_the_other(bench: Bench) -> None:
    bench.behave = lambda task, cancel: (
        Cause.ASSERTION if (task.cell, ref_of(task)) == ("java-amd64", "old") else None
    )
    candidate = bench.run(ONE_AT_A_TIME, baseline_ref="old")
    baseline = beside(bench, candidate)
    reports = bench.tmp_path / "reports"
    assert (baseline.run.beside, candidate.run.beside) == (candidate.run.id, baseline.run.id)
    assert (candidate.run.subject, baseline.run.subject) == (
        "registry.test/server:new-{variant}",
        "registry.test/server:old-{variant}",
    )
    assert [cell.id for cell in candidate.cells] == [cell.id for cell in baseline.cells] == CELLS
    assert (candidate.run.exit_code, baseline.run.exit_code) == (0, 1)
    folder = reports / candidate.run.id
    assert (reports / "latest").resolve() == folder.resolve()
    assert store.load_baseline(folder) == baseline
    assert store.load_baseline(reports / baseline.run.id) is None
    for run in (candidate.run.id, baseline.run.id):
        assert (reports / run / "report.html").exists()
        assert len(list((reports / run / "cells").glob("*/attempt-1/attempt.json"))) == 6
    page = (folder / "report.html").read_text()
    assert "fixed: 1 cell; newly failing: none; same: 5 cells." in page
    compared = compare_runs(baseline, candidate)
    assert compared.side_by_side
    assert compare_runs(candidate, baseline).side_by_side
    assert not compare_runs(candidate, candidate).side_by_side


def test_a_run_alone_is_beside_none(bench: Bench) -> None:
    assert bench.run().run.beside is None


def test_what_the_run_may_cost_both_spend(bench: Bench) -> None:
    bench.price = Decimal("0.02")
    candidate = bench.run(f"{ONE_AT_A_TIME}max-cost: {{run: 0.05}}\n", baseline_ref="old")
    assert turns(bench) == ["python-amd64 1 new", "python-amd64 1 old", "python-arm64 1 old"]
    for results, passed in ((candidate, 1), (beside(bench, candidate), 2)):
        assert list(outcomes(results).values()).count("passed") == passed
        left = {cell.message for cell in results.cells if not cell.attempts}
        assert len(left) == 1
        assert "$0.06 spent, of $0.05 that the run may cost" in str(left)
        assert results.run.exit_code == 3


def test_what_one_cell_may_cost_is_not_mixed_up_with_its_namesake(bench: Bench) -> None:
    bench.price = Decimal("0.02")
    candidate = bench.run(f"{ONE_AT_A_TIME}max-cost: {{cell: 0.03}}\n", baseline_ref="old")
    both = (bench.limits[candidate.run.id], bench.limits[beside(bench, candidate).run.id])
    for limits in both:
        limits.budget.check("python-amd64")  # each has spent 2 cents of its 3
        limits.budget.note("python-amd64", 2, Decimal("0.02"))
        with pytest.raises(CellFailure, match=r"\$0\.04 spent, of \$0\.03 that one cell may cost"):
            limits.budget.check("python-amd64")
        assert str(limits.budget).startswith(f"${'0.26' if limits is both[0] else '0.28'} spent")
    assert both[0].pulls is both[1].pulls
    assert both[0].starts is both[1].starts
    assert both[0].sdk_versions is both[1].sdk_versions


def test_a_failure_of_either_stops_no_comparison(bench: Bench) -> None:
    bench.behave = lambda task, cancel: Cause.ASSERTION if task.cell == "python-amd64" else None
    bench.missing["registry.test/server:old-java linux/amd64"] = CellFailure(Cause.TAG_MISSING, "no tag")
    candidate = bench.run(f"{ONE_AT_A_TIME}fail-fast: true\n", baseline_ref="old")
    assert list(outcomes(candidate).values()) == ["failed", *["passed"] * 5]
    assert list(outcomes(beside(bench, candidate)).values()) == [
        "failed",
        "passed",
        "failed",
        *["passed"] * 3,
    ]


def test_ctrl_c_leaves_two_complete_folders(bench: Bench) -> None:
    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        if (task.cell, ref_of(task)) == ("python-arm64", "old"):
            cancel.cancel(Cause.INTERRUPTED)
            return Cause.INTERRUPTED
        return None

    bench.behave = behave
    candidate = bench.run(ONE_AT_A_TIME, baseline_ref="old")
    baseline = beside(bench, candidate)
    for results in (candidate, baseline):
        assert list(outcomes(results).values()) == ["passed", *["cancelled"] * 5]
        assert (results.run.exit_code, results.run.interrupted) == (130, True)
        assert (bench.tmp_path / "reports" / results.run.id / "report.html").exists()
    assert store.load_baseline(bench.tmp_path / "reports" / candidate.run.id) == baseline


def test_the_second_ctrl_c_leaves_them_too(bench: Bench) -> None:
    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        cancel.hurry()
        assert cancel.event.wait(10)  # whoever schedules has left everything
        return Cause.INTERRUPTED

    bench.behave = behave
    with pytest.raises(KeyboardInterrupt):
        bench.run(ONE_AT_A_TIME, baseline_ref="old")
    candidate = store.load(bench.tmp_path / "reports" / "latest")
    for results in (candidate, beside(bench, candidate)):
        assert set(outcomes(results).values()) == {"cancelled"}


@pytest.mark.parametrize("refuses", ["new", "old"])
def test_a_disk_that_refuses_one_of_them_ends_both_and_the_terminal_hears_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    write = RunFolder.write_results

    def full(folder: RunFolder, results: Results) -> None:
        decided = sum(bool(cell.attempts) for cell in results.cells)
        if refuses in results.run.subject and decided > 1:
            raise InfrastructureError(f"cannot write {folder.path}: No space left on device")
        write(folder, results)

    monkeypatch.setattr(RunFolder, "write_results", full)
    names = Names()
    with pytest.raises(InfrastructureError, match="No space left"):
        bench.run(ONE_AT_A_TIME, progress=names, baseline_ref="old")
    [ended] = names.ends
    assert len(bench.tasks) < 6
    if refuses == "old":
        assert store.load(bench.tmp_path / "reports" / ended).run.id == ended
        assert list(outcomes(store.load(bench.tmp_path / "reports" / ended)).values()).count("passed") == 1


def test_an_image_of_both_goes_once_neither_needs_it(bench: Bench) -> None:
    bench.pulls = True
    left: list[int] = []

    def behave(task: CellTask, cancel: Cancellation) -> None:
        left.append(sum(method == "remove_image" for method, _ in bench.engine.calls))

    bench.behave = behave
    bench.run(f"{ONE_AT_A_TIME}images: remove\n", baseline_ref="old")
    assert left == [0] * 12
    assert [name for method, name in bench.engine.calls if method == "remove_image"] == [PINNED]


@pytest.mark.parametrize(("baseline_ref", "at_a_time"), [(None, 2), ("old", 3)])
def test_room_is_asked_for_the_images_of_both_as_they_take_turns(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, baseline_ref: str | None, at_a_time: int
) -> None:
    asked: list[tuple[list[str], int | None]] = []

    def check_images(images: Sequence[ResolvedImage], engine: Engine, removing: int | None) -> None:
        asked.append(([image.reference.rpartition(":")[2] for image in images], removing))

    monkeypatch.setattr(preflight, "check_images", check_images)
    bench.run("ref: new\nmax-parallel: 2\nimages: remove\n", baseline_ref=baseline_ref)
    tags = [f"new-{cell.partition('-')[0]}" for cell in CELLS]
    both = [tag.replace("new", ref) for tag in tags for ref in ("new", "old")]
    assert asked == [(both if baseline_ref else tags, at_a_time)]


def test_the_cells_of_the_baseline_are_called_so(bench: Bench) -> None:
    names = Names()
    bench.run(f"{ONE_AT_A_TIME}repeat: 2\n", progress=names, baseline_ref="old")
    assert names.planned == [*CELLS, *(f"baseline {cell}" for cell in CELLS)]
    assert set(names.planned) == set(names.finished)
    assert len(names.finished) == 12
    assert names.started[:4] == [
        "python-amd64 1",
        "baseline python-amd64 1",
        "baseline python-amd64 2",
        "python-amd64 2",
    ]
    assert names.notes == [
        "testing registry.test/server:new-{variant}",
        "testing registry.test/server:old-{variant} as the baseline",
    ]
    assert len(names.ends) == 1
    assert [Beside.is_named(name) for name in names.planned] == [False] * 6 + [True] * 6


def test_what_is_told_of_a_cell_beside_is_told_under_its_name() -> None:
    heard: list[tuple[str, tuple[object, ...]]] = []

    class Everything:
        def __getattr__(self, name: str) -> object:
            return lambda *arguments: heard.append((name, arguments))

    watcher: Progress = Beside(Everything(), "baseline")  # type: ignore[arg-type]
    told: Iterator[tuple[str, tuple[object, ...]]] = iter(
        [
            ("note", ("a word",)),
            ("cell_started", ("x", 2, 3)),
            ("pulling", ("x", None)),
            ("step_started", ("x", "boot", "It boots")),
            ("step_finished", ("x", None)),
            ("attempt_failed", ("x", None, 2.0)),
            ("run_started", ("run", ["x"], 1, "stand-in")),
            ("run_finished", (None, "folder")),
            ("close", ()),
        ]
    )
    for name, arguments in told:
        getattr(watcher, name)(*arguments)
    assert heard == [
        ("note", ("baseline: a word",)),
        ("cell_started", ("baseline x", 2, 3)),
        ("pulling", ("baseline x", None)),
        ("step_started", ("baseline x", "boot", "It boots")),
        ("step_finished", ("baseline x", None)),
        ("attempt_failed", ("baseline x", None, 2.0)),
    ]  # of the run itself whoever runs both tells


@pytest.mark.parametrize(("missing", "option"), [("old", "--baseline-ref"), ("new", "--ref")])
def test_a_ref_under_which_nothing_was_published_is_named_by_its_option(
    bench: Bench, missing: str, option: str
) -> None:
    for variant in ("python", "java", "golang"):
        for arch in ("amd64", "arm64"):
            tag = f"registry.test/server:{missing}-{variant} linux/{arch}"
            bench.missing[tag] = CellFailure(Cause.TAG_MISSING, "no such tag")
    with pytest.raises(BadInput) as raised:
        bench.run("ref: new\n", baseline_ref="old")
    assert f"registry.test/server:{missing}-golang does not exist\n    Check {option} and image" in str(
        raised.value
    )
    assert bench.tasks == []
    assert not list((bench.tmp_path / "reports").glob("*"))


def test_the_command_to_run_a_cell_again_runs_it_in_its_own_run_alone(bench: Bench) -> None:
    typed = ["e2e-matrix", "run", "--ref=new", "--only", "python-*", "--baseline-ref", "old", "--repeat", "2"]
    candidate = bench.run(f"{ONE_AT_A_TIME}repeat: 2\n", baseline_ref="old", command=typed)
    for results, ref in ((candidate, "new"), (beside(bench, candidate), "old")):
        command = command_for(results.run, "python-amd64")
        assert command == f"e2e-matrix run --repeat 2 --ref {ref} --only python-amd64"


def test_a_retry_of_one_side_keeps_the_number_of_its_repetition(bench: Bench) -> None:
    """Else the pairs would be no pairs."""
    failed: list[CellTask] = []

    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        if (task.cell, ref_of(task), task.repetition) == ("java-amd64", "old", 1) and not failed:
            failed.append(task)
            return Cause.ASSERTION
        return None

    bench.behave = behave
    candidate = bench.run(f"{ONE_AT_A_TIME}repeat: 2\nretries: {{product: 1}}\n", baseline_ref="old")
    [flaky] = [cell for cell in beside(bench, candidate).cells if cell.flaky]
    last: dict[int, Attempt] = {one.repetition: one for one in flaky.attempts}
    assert (flaky.id, sorted(last), len(flaky.attempts)) == ("java-amd64", [1, 2], 3)
    assert all(one.outcome.value == "passed" for one in last.values())
    assert not any(cell.flaky for cell in candidate.cells)


def interrupted_pair(bench: Bench) -> tuple[Path, Path]:
    """The folders of a candidate and its baseline that were stopped when both had passed one cell."""

    def behave(task: CellTask, cancel: Cancellation) -> Cause | None:
        if task.cell == "python-arm64":
            cancel.cancel(Cause.INTERRUPTED)
            return Cause.INTERRUPTED
        return None

    bench.behave = behave
    candidate = bench.run(ONE_AT_A_TIME, baseline_ref="old")
    bench.behave = lambda task, cancel: None
    bench.cancel = Cancellation()
    bench.tasks.clear()
    reports = bench.tmp_path / "reports"
    return reports / candidate.run.id, reports / str(candidate.run.beside)


def test_both_runs_go_on_and_the_comparison_is_of_what_they_came_to(bench: Bench) -> None:
    folder, other = interrupted_pair(bench)
    resumed = bench.run(ONE_AT_A_TIME, resume=folder, baseline_ref="old", resume_beside=other)
    assert (resumed.run.id, resumed.run.beside) == (folder.name, other.name)
    assert len(bench.tasks) == 10
    baseline = store.load_baseline(folder)
    assert baseline == store.load(other)
    assert baseline is not None
    assert (baseline.run.for_comparison, resumed.run.for_comparison) == (True, False)
    assert set(outcomes(baseline).values()) == {"passed"}
    assessed = assessed_in(folder, resumed)
    assert assessed
    assert assessed.standing is Standing.PASS


def test_a_candidate_that_went_on_alone_is_no_pass(bench: Bench) -> None:
    """Its baseline was lost: what it is to be compared with is not there."""
    folder, other = interrupted_pair(bench)
    (folder / "baseline.json").unlink()
    shutil.rmtree(other)
    resumed = bench.run(ONE_AT_A_TIME, resume=folder)
    assert set(outcomes(resumed).values()) == {"passed"}
    assert resumed.run.beside == other.name
    assert assessed_in(folder, resumed) is None
    assert qa_of(resumed, folder).standing is Standing.INCONCLUSIVE


def test_the_newest_run_is_the_candidate_and_never_its_baseline(bench: Bench) -> None:
    for _ in range(4):
        candidate = bench.run(ONE_AT_A_TIME, baseline_ref="old")
        newest = newest_begun(bench.tmp_path / "reports")
        assert newest
        assert newest.name == candidate.run.id
        for folder in (bench.tmp_path / "reports").iterdir():
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)


def test_too_few_repetitions_for_what_the_policy_names_are_said_before_they_are_paid(bench: Bench) -> None:
    names = Names()
    bench.run(f"{ONE_AT_A_TIME}fail-on: [boot, cost]\n", baseline_ref="old", progress=names)
    assert "boot, cost cannot be judged: 6 cells need --repeat 5" in names.notes
    names.notes.clear()
    bench.run(f"{ONE_AT_A_TIME}fail-on: [boot]\nrepeat: 5\n", baseline_ref="old", progress=names)
    bench.run(f"{ONE_AT_A_TIME}fail-on: [boot]\n", progress=names)
    assert not [note for note in names.notes if "cannot be judged" in note]


def test_fail_fast_that_is_off_is_said(bench: Bench) -> None:
    names = Names()
    bench.run(f"{ONE_AT_A_TIME}fail-fast: true\n", baseline_ref="old", progress=names)
    assert any(note.startswith("fail-fast is off") for note in names.notes)
