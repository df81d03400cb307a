"""What a signal does to a run: the first asks it to stop, the second ends it, the third breaks off."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys

import pytest

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.failures import Cause
from e2e_matrix.launch import cancelled_by_signals
from e2e_matrix.progress import Silent


class Noting(Silent):
    def __init__(self) -> None:
        self.notes: queue.Queue[str] = queue.Queue()

    def note(self, message: str) -> None:
        self.notes.put(message)


@pytest.mark.parametrize("before", [None, Cause.RUN_TIMEOUT, Cause.FAIL_FAST])
def test_the_first_signal_asks_to_stop_whatever_stopped_the_run_before_and_the_second_at_once(
    before: Cause | None,
) -> None:
    cancel, progress = Cancellation(), Noting()
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with cancelled_by_signals(cancel, progress):
        if before:
            cancel.cancel(before)
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            pytest.fail("the first signal ended the run")
        assert "the report follows" in progress.notes.get(timeout=5)
        assert cancel.failure().cause is (before or Cause.INTERRUPTED)
        assert not cancel.is_urgent
        signal.raise_signal(signal.SIGINT)
        assert cancel.is_urgent
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


@pytest.mark.parametrize("module", ["e2e_matrix.launch", "e2e_matrix.llm.replay"])
def test_what_a_library_user_imports_first_is_importable(module: str) -> None:
    """Through the command line another import comes before, and hides a circle."""
    ran = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
    assert ran.stderr == ""
