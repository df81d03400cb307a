"""What GitHub is told while a run goes on: not too often, never in its way, and in any case how it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.errors import InfrastructureError, PublishError
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.progress import Beside
from e2e_matrix.publish import live as module
from e2e_matrix.publish.body import marker
from e2e_matrix.publish.client import Client, Patience
from e2e_matrix.publish.comment import CommentPlace
from e2e_matrix.publish.live import Board, Live
from e2e_matrix.publish.news import News, State, running
from support.github.description import Answer
from support.github.places import a_client, around, passed, tell
from support.github.server import PULL, Fault, GitHub, a_github
from support.sample_run import FOLDER, a_cell, a_run

ROOT = Path(__file__).parents[2]
RESULTS = a_run(a_cell("python-amd64"), a_cell("java-amd64", Cause.ASSERTION, message="the gate is open"))
CELLS = [cell.id for cell in RESULTS.cells]


@dataclass
class Recorder:
    """A place that writes down what it is told; ``does`` is called before."""

    name: str = "github-comment"
    shows_progress: bool = True
    does: Callable[[News], object] = lambda news: None
    told: list[News] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.changed = threading.Condition()

    def tell(self, client: Client, news: News) -> str:
        with self.changed:
            self.told.append(news)
            self.changed.notify_all()
        self.does(news)
        return "posted"

    def wait_for(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.told) >= number, timeout=20)


@dataclass
class Watched:
    """A Live, and what it said to whom."""

    live: Live
    notes: list[str]
    told: list[str]
    failed: list[str]
    clock: list[float]
    noted: threading.Event


@pytest.fixture
def github() -> Iterator[GitHub]:
    with a_github() as github:
        yield github


def watched(github: GitHub, *places: Any) -> Watched:
    notes: list[str] = []
    told: list[str] = []
    failed: list[str] = []
    clock = [0.0]
    noted = threading.Event()

    def note(words: str) -> None:
        notes.append(words)
        noted.set()

    live = Live(
        places,
        lambda patience: a_client(github, patience),
        "repo:1.0",
        note=note,
        told=told.append,
        failed=failed.append,
        redact=lambda text: text.replace("sesame", "[hidden]"),
        clock=lambda: clock[0],
    )
    return Watched(live, notes, told, failed, clock, noted)


def comment(github: GitHub) -> str:
    (only,) = github.comments[PULL]
    body: str = only["body"]
    return body


def test_a_picture_is_posted_and_replaced_by_the_end(github: GitHub) -> None:
    seen = watched(github, CommentPlace(around(github), "matrix", "on-change"))
    with seen.live as live:
        live.run_started("run-1", CELLS, 2, "stand-in")
        github.wait_for(lambda: PULL in github.comments)
        assert "In progress: 0 of 2 cells done" in comment(github)
        live.run_finished(RESULTS, FOLDER)
    assert comment(github).startswith(marker("matrix"))
    assert "## ❌ Not good to ship" in comment(github)
    assert seen.told == [f"github-comment updated: {github.comments[PULL][0]['html_url']}"]
    assert (seen.notes, seen.failed) == ([], [])


def test_a_picture_shows_the_counts_and_what_broke() -> None:
    board = Board("repo:1.0", lambda: 0.0)
    board.begin("run-1", 6)
    for cell in (*CELLS, "golang-amd64"):
        board.start(cell)
    for ended in RESULTS.cells:
        board.end(ended)
    picture = board.take()
    assert (picture.run_id, picture.cells, picture.running) == ("run-1", 6, 1)
    assert picture.counts == {Outcome.PASSED: 1, Outcome.FAILED: 1}
    text = running(picture).markdown(60_000, None)
    assert "In progress: 2 of 6 cells done" in text
    assert "1 passed, 1 failed, 1 running" in text
    assert "❌ `java-amd64` at dormant: the gate is open" in text


def test_the_cells_of_a_baseline_in_turns_are_none_of_the_run(github: GitHub) -> None:
    place = Recorder()
    beside = [Beside.named("baseline", cell) for cell in CELLS]
    broke = RESULTS.cells[1].model_copy(update={"id": beside[1]})
    with watched(github, place).live as live:
        live.run_started("run-1", [*CELLS, *beside], 2, "stand-in")
        place.wait_for(1)
        live.cell_started(beside[0], 1)
        live.cell_started(CELLS[0], 1)
        live.cell_finished(broke)
        picture = running(live.board.take())
        live.run_finished(RESULTS, FOLDER)
    text = picture.markdown(10_000, None)
    assert picture.title == "In progress: 0 of 2 cells done"
    assert "1 running" in text
    assert "baseline" not in text


def test_there_is_no_picture_before_20_seconds_nor_without_anything_new() -> None:
    now = [100.0]
    board = Board("repo:1.0", lambda: now[0])
    assert board.due() is None
    board.start("python-amd64")
    assert board.due() is None, "the run's id is not known"
    board.begin("run-1", 2)
    assert board.due() == 0
    board.take()
    now[0] += 500
    assert board.due() is None
    board.end(RESULTS.cells[0])
    assert board.due() == 0
    board.take()
    board.end(RESULTS.cells[1])
    for seconds, left in ((0, 20), (12, 8), (7.5, 0.5), (0.5, 0)):
        now[0] += seconds
        assert board.due() == left


def test_what_happens_between_two_pictures_is_in_the_second(github: GitHub) -> None:
    recorder = Recorder()
    seen = watched(github, recorder)
    with seen.live as live:
        live.run_started("run-1", CELLS, 2, "stand-in")
        recorder.wait_for(1)
        for cell in CELLS:
            live.cell_started(cell, 1)
        live.cell_finished(RESULTS.cells[0])
        seen.clock[0] = module.INTERVAL
        live.cell_finished(RESULTS.cells[1])
        recorder.wait_for(2)
        live.run_finished(RESULTS, FOLDER)
    assert [news.title for news in recorder.told[:2]] == [
        "In progress: 0 of 2 cells done",
        "In progress: 2 of 2 cells done",
    ]
    assert [news.state for news in recorder.told] == [State.RUNNING, State.RUNNING, State.FINAL]


def test_nothing_in_the_run_waits_for_github(github: GitHub) -> None:
    go_on = threading.Event()
    recorder = Recorder(does=lambda news: go_on.wait(20))
    seen = watched(github, recorder)
    with seen.live as live:
        live.run_started("run-1", CELLS, 2, "stand-in")
        recorder.wait_for(1)
        for cell in RESULTS.cells:
            live.cell_finished(cell)
        live.run_finished(RESULTS, FOLDER)
        assert len(recorder.told) == 1, "the first is still under way"
        go_on.set()
    assert recorder.told[-1].outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("error", "outcome", "said"),
    [
        (InfrastructureError("no engine answers; key sesame", "start one"), Outcome.ERROR, "start one"),
        (KeyboardInterrupt(), Outcome.CANCELLED, "stopped on request"),
        (RuntimeError("sesame, and who knows what"), Outcome.ERROR, "unexpected RuntimeError"),
    ],
    ids=["infrastructure", "interrupted", "unforeseen"],
)
def test_a_run_that_ends_without_results_is_told_too(
    error: BaseException, outcome: Outcome, said: str, github: GitHub
) -> None:
    recorder = Recorder()
    with pytest.raises(type(error)), watched(github, recorder).live as live:
        live.run_started("run-1", CELLS, 2, "stand-in")
        recorder.wait_for(1)
        raise error
    last = recorder.told[-1]
    assert (last.state, last.outcome, last.run_id) == (State.FINAL, outcome, "run-1")
    text = last.markdown(60_000, None)
    assert said in text
    assert "sesame" not in text + last.title


def test_a_run_that_did_not_begin_is_told(github: GitHub) -> None:
    place = CommentPlace(around(github), "matrix", "on-change")
    with pytest.raises(InfrastructureError), watched(github, place).live:
        raise InfrastructureError("no engine answers")
    assert "No verdict: the run could not be made" in comment(github)
    assert "no engine answers" in comment(github)


def test_what_goes_wrong_after_the_results_does_not_replace_them(github: GitHub) -> None:
    recorder = Recorder()
    with pytest.raises(InfrastructureError), watched(github, recorder).live as live:
        live.run_finished(RESULTS, FOLDER)
        raise InfrastructureError("the recording could not be written")
    assert [news.outcome for news in recorder.told] == [Outcome.FAILED]


def test_a_run_that_broke_off_after_its_cells_had_passed_is_told_as_no_pass(github: GitHub) -> None:
    seen = watched(github, CommentPlace(around(github), "matrix", "on-change"))
    with pytest.raises(InfrastructureError), seen.live as live:
        live.run_finished(a_run(a_cell("python-amd64")), FOLDER)
        raise InfrastructureError("no space, and sesame is shown")
    assert "Good to ship" not in comment(github)
    assert "no space, and" in comment(github)
    assert "sesame" not in comment(github)


def test_a_place_without_pictures_is_told_the_end_alone(github: GitHub) -> None:
    with_pictures, without = Recorder(), Recorder("github-issue", shows_progress=False)
    with watched(github, without, with_pictures).live as live:
        live.run_started("run-1", CELLS, 2, "stand-in")
        with_pictures.wait_for(1)
        live.run_finished(RESULTS, FOLDER)
    assert [news.state for news in without.told] == [State.FINAL]


def fail(error: Exception) -> Callable[[News], object]:
    def does(news: News) -> object:
        raise error

    return does


@pytest.mark.parametrize(
    ("error", "said"),
    [(PublishError("GitHub is away", status=502), "GitHub is away"), (KeyError("x"), "unexpected KeyError")],
)
def test_what_cannot_be_posted_is_said_and_changes_nothing(
    error: Exception, said: str, github: GitHub
) -> None:
    broken, whole = Recorder("github-check", does=fail(error)), Recorder()
    seen = watched(github, broken, whole)
    with seen.live as live:
        live.run_started("run-1", CELLS, 2, "stand-in")
        whole.wait_for(1)
        seen.clock[0] = module.INTERVAL
        live.cell_finished(RESULTS.cells[0])
        whole.wait_for(2)
        live.run_finished(RESULTS, FOLDER)
    assert seen.notes == [f"github-check: {said}"]
    assert seen.failed == [f"github-check was not posted: {said}"]
    assert seen.told == ["github-comment posted"]
    assert [news.state for news in whole.told] == [State.RUNNING, State.RUNNING, State.FINAL]


def test_github_is_left_alone_for_as_long_as_it_asks(github: GitHub) -> None:
    recorder = Recorder(does=fail(PublishError("slow down", status=429, retry_after=120)))
    seen = watched(github, recorder)
    with seen.live as live:
        live.run_started("run-1", CELLS, 2, "stand-in")
        assert seen.noted.wait(20)
        seen.clock[0] = 119
        live.cell_finished(RESULTS.cells[0])
        assert live.board.due() == 1
        seen.clock[0] = 120
        live.cell_finished(RESULTS.cells[1])
        recorder.wait_for(2)
    assert recorder.told[1].title == "In progress: 2 of 2 cells done"


def test_a_picture_whose_answer_is_lost_is_not_posted_twice(github: GitHub) -> None:
    github.faults = [Fault("POST", "comments", lost=True)]
    seen = watched(github, CommentPlace(around(github), "matrix", "always"))
    with seen.live as live:
        live.run_started("run-1", CELLS, 2, "stand-in")
        github.wait_for(lambda: PULL in github.comments)
        live.run_finished(RESULTS, FOLDER)
    assert "Not good to ship" in comment(github)


def test_the_end_bears_with_github_where_a_picture_does_not(github: GitHub) -> None:
    place = CommentPlace(around(github), "matrix", "always")
    busy = Answer(503, {"message": "busy"})
    github.faults = [Fault("GET", "comments", times=3, answer=busy)]
    seen = watched(github, place)
    with seen.live as live:
        live.run_started("run-1", CELLS, 2, "stand-in")
        github.wait_for(lambda: len(github.seen) == 1)
        live.run_finished(RESULTS, FOLDER)
    assert "Not good to ship" in comment(github)
    assert seen.failed == []


def test_a_post_that_hangs_is_given_up(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_UNHEEDED", 0.05)
    monkeypatch.setattr(module, "LAST", Patience(1, 0.01, 0.0))
    go_on = threading.Event()
    seen = watched(github, Recorder(does=lambda news: go_on.wait(20)))
    with seen.live as live:
        live.run_finished(RESULTS, FOLDER)
    assert seen.failed == ["GitHub did not answer in time: the end of the run may not be posted"]
    go_on.set()


def test_ctrl_c_ends_the_waiting_and_not_the_verdict(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    seen = watched(github, Recorder(does=lambda news: go_on.wait(20)))

    def interrupted(self: threading.Thread, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    with seen.live as live:
        live.run_finished(RESULTS, FOLDER)
        monkeypatch.setattr(threading.Thread, "join", interrupted)
    monkeypatch.undo()
    assert seen.failed == ["interrupted before the end of the run was posted"]
    go_on.set()


KILLED = """
import sys, threading
from e2e_matrix.publish.client import Client, Patience
from e2e_matrix.publish.comment import CommentPlace
from e2e_matrix.publish.live import Live
from e2e_matrix.publish.surroundings import Surroundings
url, token, repo, pull = sys.argv[1:]
place = CommentPlace(Surroundings(repo=repo, pull=int(pull), api_url=url), "matrix", "on-change")
live = Live([place], lambda patience: Client(url, token, patience), "repo:1.0",
            note=print, told=print, failed=print, redact=str)
with live:
    live.run_started("killed", ["a", "b"], 2, "stand-in")
    threading.Event().wait()
"""


@pytest.mark.parametrize("healer", ["publish", "run --publish"])
def test_what_a_killed_process_left_is_healed_by_the_next(healer: str, github: GitHub) -> None:
    around_it = around(github)
    arguments = [around_it.api_url, around_it.token or "", around_it.repo or "", str(PULL)]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], env={"PYTHONPATH": str(ROOT / "src"), "NO_PROXY": "*"}
    )
    try:
        github.wait_for(lambda: PULL in github.comments)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert "In progress" in comment(github)
    place = CommentPlace(around_it, "matrix", "on-change")
    if healer == "publish":
        tell(github, place, passed("run-2"))
    else:
        with watched(github, place).live as live:
            live.run_finished(a_run(a_cell("python-amd64")), FOLDER)
    assert "In progress" not in comment(github)
    assert "Good to ship" in comment(github)
