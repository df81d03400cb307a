"""Runs of the real runner over cells that do what a test says, with the engine in memory."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix import execution, runner, store
from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.base import Engine, Support
from e2e_matrix.engine.fake import FakeEngine, FakeImage
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import POLICIES, Cause, Outcome
from e2e_matrix.limits import Limits
from e2e_matrix.llm.source import LlmSource, ProviderSource
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.plan import make_plan
from e2e_matrix.progress import Progress, Silent
from e2e_matrix.question import Asked
from e2e_matrix.record import Job
from e2e_matrix.registry import ImageRequest, RegistryClient, ResolvedImage
from e2e_matrix.results import Attempt, Results, Step
from e2e_matrix.scenarios.base import LlmLedger
from e2e_matrix.settings import Overrides, Setting, Source, resolve
from e2e_matrix.task import CellTask

DIGEST = "sha256:" + "a" * 64
LONG_AGO = datetime(2026, 11, 22, tzinfo=UTC)
PINNED = f"registry.test/server@{DIGEST}"
Behaviour = Callable[[CellTask, Cancellation], Cause | None]


def attempt_of(
    task: CellTask,
    cause: Cause | None,
    cost: Decimal | None = None,
    started_at: datetime = LONG_AGO,
    seconds: float = 1.0,
) -> Attempt:
    return Attempt(
        number=task.attempt,
        repetition=task.repetition,
        cost_usd=cost,
        outcome=POLICIES[cause].outcome if cause else Outcome.PASSED,
        cause=cause,
        message=cause and "as the test says",
        started_at=started_at,
        duration_seconds=seconds,
        worker=task.worker,
        run_offset_seconds=task.run_offset_seconds,
        folder=f"cells/{task.cell}/attempt-{task.attempt}",
    )


PULL = Step(
    name="pull",
    title="The image is pulled by its digest",
    phase="pull",
    outcome=Outcome.PASSED,
    start_seconds=0.0,
    duration_seconds=0.1,
    facts={"was_present": False},
)


class Bench:
    """Runs a matrix of six cells; ``behave`` stands in for the scenario, ``images`` for the registry."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tmp_path = tmp_path
        self.cancel = Cancellation()
        self.tasks: list[CellTask] = []
        self.missing: dict[str, CellFailure] = {}
        self.asked: Counter[str] = Counter()  # the registry, by reference and platform
        self.price: Decimal | None = None
        self.when = LONG_AGO  # its attempts started
        self.seconds: dict[str, float] = {}  # that a cell's attempts took, where it is not one
        self.digests: dict[str, str] = {}  # by reference, where it is not DIGEST
        self.limits: dict[str, Limits] = {}  # by the run's id
        self.pulls = False  # whether each attempt downloads the image
        self.llm: LlmSource = ProviderSource("m", None, lambda: "k")
        self.behave: Behaviour = lambda task, cancel: None
        monkeypatch.setattr(runner, "resolve_all", self._resolve)
        monkeypatch.setattr(execution, "run_cell", self._run_cell)

    def _resolve(
        self, requests: Sequence[ImageRequest], client: RegistryClient, cancel: threading.Event
    ) -> dict[ImageRequest, ResolvedImage | CellFailure]:
        return {request: self._answer(request) for request in requests}

    def _answer(self, request: ImageRequest) -> ResolvedImage | CellFailure:
        self.asked[f"{request.reference} {request.platform}"] += 1
        failure = self.missing.get(f"{request.reference} {request.platform}")
        digest = self.digests.get(request.reference, DIGEST)
        pinned = f"registry.test/server@{digest}"
        return failure or ResolvedImage(request.reference, request.platform, digest, digest, 1000, pinned)

    def _run_cell(
        self,
        task: CellTask,
        engine: Engine,
        llm: LlmLedger,
        progress: Progress,
        cancel: Cancellation,
        limits: Limits,
    ) -> Attempt:
        self.tasks.append(task)
        self.limits[task.run_id] = limits
        progress.cell_started(task.cell, task.attempt, task.repetition)
        cause = self.behave(task, cancel)
        if self.price is not None:
            limits.budget.note(task.cell, task.attempt, self.price)
        attempt = attempt_of(task, cause, self.price, self.when, self.seconds.get(task.cell, 1.0))
        return attempt.model_copy(update={"steps": [PULL]}) if self.pulls else attempt

    def run(
        self,
        matrix: str = "",
        support: Support | None = None,
        resume: Path | None = None,
        force: bool = False,
        progress: Progress | None = None,
        baseline: Path | None = None,
        baseline_ref: str | None = None,
        resume_beside: Path | None = None,
        command: Sequence[str] = ("e2e-matrix", "run"),
        asked: Asked | None = None,
    ) -> Results:
        file = self.tmp_path / "matrix.yaml"
        file.write_text(
            "image: registry.test/server:{ref}-{variant}\n"
            "matrix:\n  variant: [python, java, golang]\n  arch: [amd64, arm64]\n" + matrix
        )
        loaded = load_matrix(str(file), {})

        def job_of(overrides: Overrides, resume: Path | None) -> Job:
            settings = resolve(loaded, overrides, {})
            settings = type(settings)(**{**vars(settings), "reports": self.tmp_path / "reports"})
            return Job(make_plan(loaded, settings), settings, command, resume, force, baseline)

        job = job_of(Overrides(), resume)
        if baseline_ref:
            ref = Setting(baseline_ref, Source.COMMAND_LINE, "--baseline-ref")
            beside = replace(job_of(Overrides(ref=ref), resume_beside), for_comparison=True)
            job = replace(job, baseline_job=beside)
        self.engine = FakeEngine(
            {PINNED: FakeImage({}, ())},
            present=[PINNED] if self.pulls else [],
            support={"linux/arm64": support} if support else None,
        )
        with RegistryClient() as registry, closing(self.engine):
            watcher = progress or Silent()
            tools = execution.Tools(self.engine, self.llm, registry, watcher, self.cancel)
            job = replace(job, asked=asked or Asked())
            results, _ = runner.run(job, tools)
        assert store.load(self.tmp_path / "reports" / "latest") == results
        assert (self.tmp_path / "reports" / "latest" / "report.html").exists()
        return results


def outcomes(results: Results) -> dict[str, str]:
    return {cell.id: cell.outcome.value for cell in results.cells}
