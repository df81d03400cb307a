"""Two runs whose cells took what a test says, for what is made of them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from e2e_matrix.compare import Comparison, compare_runs
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.results import OPENAPI_STEP, Attempt, Cell, Llm, Phases, Results, SettingValue, Step, Tokens
from support import report_samples as samples

PHASES = ("boot", "init", "conversation", "removal")
BASELINE, CANDIDATE = "20251122T081307Z-4be1f0", "20251123T081307Z-0a9c3d"
# What sides are like where a test does not say otherwise: all the same, so that nothing differs.
USUAL = {"boot": 5.0, "init": 0.5, "conversation": 3.0, "removal": 1.0}


def attempt(repetition: int = 1, outcome: Outcome = Outcome.PASSED, **changed: Any) -> Attempt:
    """Of phases and other measures what ``changed`` names; ``memory`` and ``tokens`` are numbers."""
    phases = {name: changed.pop(name) for name in (*PHASES, "pull") if name in changed}
    tokens, memory = changed.pop("tokens", None), changed.pop("memory", None)
    values: dict[str, Any] = {
        "number": repetition,
        "repetition": repetition,
        "outcome": outcome,
        "cause": Cause.ASSERTION if outcome is Outcome.FAILED else None,
        "started_at": samples.START,
        "duration_seconds": 10.0,
        "worker": 0,
        "run_offset_seconds": 0.0,
        "phases": Phases(**phases),
        "tokens": None if tokens is None else Tokens(total=tokens),
        "dormant_memory_bytes": memory,
        "folder": f"cells/x/attempt-{repetition}",
    }
    return Attempt(**(values | changed))


def openapi(seconds: float) -> Step:
    """The step in which a server is asked for its API."""
    return Step(
        name=OPENAPI_STEP,
        title="The server describes its API",
        phase="checks",
        outcome=Outcome.PASSED,
        start_seconds=0.0,
        duration_seconds=seconds,
    )


def cell(name: str = "python-amd64", attempts: Sequence[Attempt] = (), **changed: Any) -> Cell:
    """A cell of these attempts, whose id says its axes."""
    variant, _, arch = name.partition("-")
    values = {"id": name, "axes": {"variant": variant, "arch": arch}, "emulated": False}
    return samples.cell("python", "amd64", list(attempts), **(values | changed))


def timed(
    name: str = "python-amd64", changed: Mapping[str, Any] | None = None, **values: Sequence[Any]
) -> Cell:
    """A cell that was repeated, with a value of each named measure for each repetition."""
    rows = zip(*values.values(), strict=True)
    attempts = [
        attempt(number, **{key: value for key, value in zip(values, row, strict=True) if value is not None})
        for number, row in enumerate(rows, 1)
    ]
    return cell(name, attempts, **(changed or {}))


def run(cells: Sequence[Cell], **changed: Any) -> Results:
    return samples.run(list(cells), **changed)


def compared(
    before: Sequence[Cell],
    after: Sequence[Cell],
    *,
    turns: bool = False,
    llm: str = "stand-in",
    settings: Mapping[str, Any] | None = None,
    **candidate: Any,
) -> Comparison:
    """Two runs of these cells; ``candidate`` changes what its run is like."""
    model = Llm(kind=llm, model="openai/gpt-4o")
    told = {name: SettingValue(value=value, source="file") for name, value in (settings or {}).items()}
    values = {"llm": model, "settings": told, "beside": BASELINE if turns else None}
    return compare_runs(run(before, id=BASELINE, llm=model), run(after, id=CANDIDATE, **(values | candidate)))


def noise(
    chance: random.Random, count: int, typical: float, drift: Sequence[float] | None = None
) -> list[float]:
    """So many values around one, 10% apart, each times its share of ``drift``."""
    drift = drift or [1.0] * count
    return [typical * share * chance.lognormvariate(0, 0.1) for share in drift]


def noisy_cell(
    chance: random.Random, name: str, count: int, drift: Sequence[float] | None = None, slow_boot: float = 1.0
) -> Cell:
    """A cell with every measure that an attempt has, all noisy."""

    def values(typical: float) -> list[float]:
        return noise(chance, count, typical, drift)

    return timed(
        name,
        boot=values(5.0 * slow_boot),
        init=values(5.0),
        conversation=values(5.0),
        removal=values(5.0),
        duration_seconds=values(20.0),
        memory=[int(value) for value in values(3e8)],
        tokens=[int(value) for value in values(1e5)],
        cost_usd=[Decimal(repr(value)) for value in values(0.02)],
    )
