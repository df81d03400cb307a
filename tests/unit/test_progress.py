"""Several watchers of one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.progress import Ending, Progress, Several
from support.sample_run import FOLDER, a_cell, a_run, tell


class Recorder:
    """Remembers every call, with its arguments."""

    def __init__(self, calls: list[Any]) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self._calls.append((self, name, arguments))


def test_each_is_told_everything_in_their_order() -> None:
    calls: list[Any] = []
    one, other = Recorder(calls), Recorder(calls)
    both = Several(cast("Progress", one), cast("Progress", other))
    results = a_run(a_cell("python-amd64", Cause.ASSERTION))
    tell(both, results)
    both.note("a word")
    both.attempt_failed("python-amd64", results.cells[0].attempts[0], 2.0)
    both.run_finished(results, FOLDER)
    both.close()
    told = {name for _, name, _ in calls}
    assert told == {name for name in vars(Progress) if not name.startswith("_")}
    assert [call[1:] for call in calls[::2]] == [call[1:] for call in calls[1::2]]
    assert {call[0] for call in calls[::2]} == {one}
    assert {call[0] for call in calls[1::2]} == {other}


@pytest.mark.parametrize(("cause", "verdict"), [(None, Outcome.ERROR), (Cause.ASSERTION, Outcome.FAILED)])
def test_what_a_run_told_that_broke_off_is_no_pass(cause: Cause | None, verdict: Outcome) -> None:
    ending = Ending()
    results = a_run(a_cell("python-amd64", cause))
    ending.run_finished(results, FOLDER)
    assert (ending.results, ending.folder) == (results, FOLDER)
    ending.break_off(OSError("no space"))
    assert ending.results
    run = ending.results.run
    assert run.verdict is verdict
    assert ("Then the run broke off: OSError: no space" in run.reason) is (cause is None)
    assert run.exit_code == (3 if cause is None else 1)


def test_a_run_that_told_nothing_has_nothing_to_break_off() -> None:
    ending = Ending()
    ending.break_off(KeyboardInterrupt())
    assert ending.results is None
