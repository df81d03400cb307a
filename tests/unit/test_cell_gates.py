"""Cells of one run wait for one another where an engine would be swamped: at pulls and at starts."""

import threading
import time
from contextlib import closing
from pathlib import Path

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.cell import run_cell
from e2e_matrix.engine.base import ContainerSpec, ProgressCallback, PulledImage
from e2e_matrix.engine.fake import FakeEngine, FakeImage, FakeProcess
from e2e_matrix.failures import Cause
from e2e_matrix.limits import Limits
from e2e_matrix.llm.source import ProviderSource
from e2e_matrix.progress import Silent
from e2e_matrix.results import Attempt
from e2e_matrix.task import CellTask, LlmEndpoint
from support.tasks import a_task

CELLS = ("a", "b", "c", "d")


def exits(process: FakeProcess) -> int:
    return 3


class Counts(FakeEngine):
    """Takes a while for pulls and starts, and knows how many of each were under way at the same time."""

    def __init__(self) -> None:
        super().__init__({"i@sha256:0": FakeImage({"server": exits}, ("server",))})
        self.most = {"pull": 0, "create": 0}
        self._now = {"pull": 0, "create": 0}
        self._counting = threading.Lock()

    def pull(self, reference: str, platform: str, on_progress: ProgressCallback | None = None) -> PulledImage:
        self._count("pull")
        return super().pull(reference, platform, on_progress)

    def create(self, spec: ContainerSpec) -> str:
        self._count("create")
        return super().create(spec)

    def _count(self, what: str) -> None:
        with self._counting:
            self._now[what] += 1
            self.most[what] = max(self.most[what], self._now[what])
        time.sleep(0.1)  # what an engine takes: long enough for the others to come here as well
        with self._counting:
            self._now[what] -= 1


def run_together(
    limits: Limits, folder: Path, timeout: float = 60, ended: list[Attempt] | None = None
) -> dict[str, int]:
    """How many pulls and creations were under way at the most; ``ended`` gets the attempts."""
    endpoint = LlmEndpoint("m", None, None, is_stand_in=False)
    tasks = [a_task(endpoint, str(folder / cell), cell=cell, timeout_seconds=timeout) for cell in CELLS]
    ledger = ProviderSource("m", None, lambda: None).ledger(endpoint)
    with closing(Counts()) as engine:
        attempts = [] if ended is None else ended

        def run(task: CellTask) -> None:
            attempts.append(run_cell(task, engine, ledger, Silent(), Cancellation(), limits))

        threads = [threading.Thread(target=run, args=(task,), daemon=True) for task in tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
        return engine.most


def test_pulls_wait_for_one_another(tmp_path: Path) -> None:
    assert run_together(Limits(pulls=1, starts=4), tmp_path)["pull"] == 1


def test_starts_wait_for_one_another(tmp_path: Path) -> None:
    assert run_together(Limits(pulls=4, starts=1), tmp_path)["create"] == 1


def test_without_gates_they_do_not(tmp_path: Path) -> None:
    assert run_together(Limits(pulls=4, starts=4), tmp_path)["pull"] > 1


def test_a_cell_is_not_blamed_for_the_pulls_of_others(tmp_path: Path) -> None:
    ended: list[Attempt] = []
    run_together(Limits(pulls=1, starts=4), tmp_path, timeout=0.25, ended=ended)  # the last waits for 0.3 s
    assert {attempt.cause for attempt in ended} == {Cause.CONTAINER_EXITED}
