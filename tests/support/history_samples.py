"""Points as the history would hand them out: of nightly runs of the six images, arm64 emulated."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from e2e_matrix.failures import Outcome
from e2e_matrix.history.points import Point, RunLine
from e2e_matrix.results import Phases, Results
from e2e_matrix.trend import Trend, trend_of
from support import report_samples

NATIVE = {"boot": 5.3, "init": 0.58, "conversation": 1.5, "removal": 0.83}
EMULATED = {"boot": 32.0, "init": 3.7, "conversation": 9.7, "removal": 1.9}
CHECKS = 0.36
CELLS = [(variant, arch) for variant in report_samples.VARIANTS for arch in report_samples.ARCHES]
# How many times as long a phase takes in a run of a cell: by the run's number, the cell and the phase.
Factor = Callable[[int, str, str], float]


def run_id(number: int) -> str:
    moment = report_samples.START - timedelta(days=1000 - number)
    return f"{moment:%Y%m%dT%H%M%SZ}-{number:06x}"


def point(number: int, variant: str, arch: str, factor: Factor | None = None, **changed: Any) -> Point:
    """A cell in the ``number``-th run, a day after the one before; ``changed`` replaces fields."""
    cell, emulated = f"{variant}-{arch}", arch == "arm64"
    spent = {
        name: seconds * (factor(number, cell, name) if factor else 1.0)
        for name, seconds in (EMULATED if emulated else NATIVE).items()
    }
    image = report_samples.image(variant, arch)
    values: dict[str, Any] = {
        "run": run_id(number),
        "started_at": report_samples.START - timedelta(days=1000 - number),
        "subject": "ghcr.io/openhands/agent-server:main-{variant}",
        "cell": cell,
        "outcome": Outcome.PASSED,
        "flaky": False,
        "reused": False,
        "emulated": emulated,
        "platform": f"linux/{arch}",
        "scenario": "deferred-init",
        "scenario_version": None,
        "model": "openai/gpt-4o (stand-in)",
        "axes": {"variant": variant, "arch": arch},
        "digest": image.digest,
        "server_version": "1.58.2",
        "message": None,
        "cost_usd": report_samples.COST,
        "tokens": 100,
        "duration_seconds": sum(spent.values()) + CHECKS,
        "phases": Phases(**spent, pull=2.3),
        "memory_bytes": 210_000_000,
        "size_bytes": image.size_bytes,
    }
    return Point(**(values | changed))


def nightly(runs: int, factor: Factor | None = None) -> list[Point]:
    """Six cells a run, all of them passed; the newest run last."""
    return [point(number, *cell, factor) for number in range(runs) for cell in CELLS]


def noise(spread: float = 0.06, seed: int = 1) -> Factor:
    """Gaussian, ``spread`` being a share; one in forty is an outlier, as on a busy machine."""
    chance = random.Random(seed)

    def factor(number: int, cell: str, phase: str) -> float:
        outlier = 1.8 if chance.random() < 0.025 else 1.0
        return max(chance.gauss(1.0, spread), 0.1) * outlier

    return factor


def stepped(at: int, by: float, base: Factor, phase: str = "boot", cells: str = "") -> Factor:
    """As ``base``, and from run ``at`` on a phase takes ``by`` times as long, where the id has ``cells``."""
    return lambda number, cell, name: (
        base(number, cell, name) * (by if number >= at and name == phase and cells in cell else 1.0)
    )


def failed(number: int, variant: str, arch: str, message: str = "a gated route answered 200") -> Point:
    return point(
        number, variant, arch, outcome=Outcome.FAILED, message=message, cost_usd=None, duration_seconds=3.1
    )


def eventful() -> list[Point]:
    """With everything that the page can tell: failing, fixed, flaky, an error, slower and faster."""
    steps = stepped(55, 1.3, stepped(25, 0.75, noise(0.05), "conversation"), "boot", "java")
    points = nightly(80, steps)
    for index, point in enumerate(points):
        number = index // len(CELLS)
        match point.cell:
            case "java-arm64" if number >= 77:
                points[index] = failed(number, "java", "arm64")
            case "golang-amd64" if number in (40, 60, 61):
                points[index] = failed(number, "golang", "amd64")
            case "python-arm64" if number % 17 == 3:
                points[index] = replace(point, flaky=True)
            case "golang-arm64" if number == 70:
                points[index] = replace(point, outcome=Outcome.ERROR, message="no answer")
    return points


def by_cell(points: Iterable[Point]) -> dict[str, list[Point]]:
    cells: dict[str, list[Point]] = {}
    for one in points:
        cells.setdefault(one.cell, []).append(one)
    return cells


def trend(results: Results, points: Iterable[Point]) -> Trend:
    return trend_of(results, by_cell(points))


def like(results: Results, points: Iterable[Point]) -> list[Point]:
    """The points, as if the model of these results had answered."""
    llm = results.run.llm
    return [replace(point, model=f"{llm.model} ({llm.kind})") for point in points]


def lines(points: Iterable[Point]) -> list[RunLine]:
    """The runs of the points, the newest last."""
    runs: dict[str, list[Point]] = {}
    for one in points:
        runs.setdefault(one.run, []).append(one)
    return [_line(run, cells) for run, cells in runs.items()]


def _line(run: str, cells: list[Point]) -> RunLine:
    counts = {outcome: sum(one.outcome is outcome for one in cells) for outcome in Outcome}
    verdict = next(
        (outcome for outcome in (Outcome.FAILED, Outcome.ERROR) if counts[outcome]), Outcome.PASSED
    )
    took = sum(one.duration_seconds for one in cells)
    return RunLine(
        id=run,
        started_at=cells[0].started_at,
        finished_at=cells[0].started_at + timedelta(seconds=took),
        duration_seconds=took,
        subject=cells[0].subject,
        verdict=verdict,
        model=cells[0].model,
        counts=counts,
        flaky=sum(one.flaky for one in cells),
        reused=sum(one.reused for one in cells),
        cost_usd=sum((one.cost_usd or Decimal(0) for one in cells), Decimal(0)),
    )
