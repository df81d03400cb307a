"""One cell in one run: what trends, flake rates and the order of cells are made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from e2e_matrix.failures import Outcome
from e2e_matrix.results import Phases


@dataclass(frozen=True)
class Point:
    """One cell in one run, as far as trends need it. Texts may be hostile, but are short."""

    run: str  # the run's id
    started_at: datetime  # of the run, UTC
    subject: str
    cell: str
    outcome: Outcome
    flaky: bool
    reused: bool  # from another run: no sample of its own
    emulated: bool
    platform: str
    scenario: str
    scenario_version: str | None
    model: str  # such as "openai/gpt-4o (stand-in)"
    axes: dict[str, str]
    digest: str | None  # the child digest that ran
    server_version: str | None
    message: str | None  # why it did not pass
    cost_usd: Decimal | None
    tokens: int | None
    duration_seconds: float  # of the attempt that counts without its pull; seconds
    phases: Phases  # of the attempt that counts
    memory_bytes: int | None  # of the dormant server
    size_bytes: int | None  # compressed
    mixed: bool = False  # it failed, while some of its repetitions passed
    key: str | None = None  # of everything that can change the outcome

    @property
    def is_sample(self) -> bool:
        """Whether it says something of the product: it ran, and passed or failed."""
        return self.outcome in (Outcome.PASSED, Outcome.FAILED) and not self.reused

    @property
    def series(self) -> tuple[str, bool, str, str | None, str]:
        """What two points have in common that may be compared in time."""
        return self.cell, self.emulated, self.scenario, self.scenario_version, self.model


@dataclass(frozen=True)
class RunLine:
    """One run, for a list of them. Texts may be hostile, but are short."""

    id: str
    started_at: datetime  # UTC
    finished_at: datetime
    duration_seconds: float
    subject: str
    verdict: Outcome
    model: str  # as of a Point
    counts: dict[Outcome, int]  # of its cells
    flaky: int  # of the passed ones
    reused: int
    cost_usd: Decimal | None
