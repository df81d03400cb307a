"""Run folders for the history's tests: small, each as the test says, written as the runner writes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.results import Cell, Results
from support import report_samples as samples

START = datetime(2026, 11, 1, 2, tzinfo=UTC)
FAILED: Mapping[str, Any] = {"fail_at": "gate", "cause": Cause.ASSERTION, "message": "a gated route answered"}
LOST: Mapping[str, Any] = {
    "fail_at": "pull",
    "outcome": Outcome.ERROR,
    "cause": Cause.REGISTRY_UNREACHABLE,
    "message": "no answer",
}

TRIES: Mapping[str, list[Mapping[str, Any]]] = {
    "passed": [{}],
    "failed": [FAILED],
    "error": [LOST],
    "flaky": [FAILED, {}],
}


def cell(outcome: str = "passed", name: str = "python-amd64", image: str = "one", **changed: Any) -> Cell:
    """A cell that passed, failed, met an error or was flaky, on the image of that name."""
    variant, arch = name.split("-")
    slow = arch == "arm64"
    tries = TRIES[outcome]
    attempts = [
        samples.attempt(name, slow, 0, 10.0 * number, number, **said) for number, said in enumerate(tries, 1)
    ]
    found = samples.image(variant, arch).model_copy(update={"digest": samples.digest(image)})
    if "attempts" in changed:  # what it came to does not follow from them
        attempts = changed.pop("attempts")
        changed["outcome"] = Outcome.PASSED if outcome == "flaky" else Outcome(outcome)
    return samples.cell(variant, arch, attempts, image=found, **changed)


def results(number: int, *cells: Cell, **changed: Any) -> Results:
    """The run of the day ``number``."""
    started = START + timedelta(days=number)
    shift = started - samples.START
    ran = [
        one.model_copy(
            update={
                "attempts": [
                    attempt.model_copy(update={"started_at": attempt.started_at + shift})
                    for attempt in one.attempts
                ]
            }
        )
        for one in cells or [cell()]
    ]
    told = {
        "id": f"{started:%Y%m%dT%H%M%SZ}-{number:06x}",
        "started_at": started,
        "finished_at": started + timedelta(minutes=3),
    }
    return samples.run(ran, **(told | changed))


def put(reports: Path, number: int, *cells: Cell, **changed: Any) -> Path:
    """The run's folder, with its results.json."""
    told = results(number, *cells, **changed)
    folder = reports / told.run.id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(told.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return folder


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that a history's file holds, in an order of its own."""
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: sorted(
                connection.execute(f"SELECT {_columns(connection, table)} FROM {table}").fetchall(), key=repr
            )
            for table in ("runs", "cells", "places")
        }


def _columns(connection: sqlite3.Connection, table: str) -> str:
    return ", ".join(sorted(row[1] for row in connection.execute(f"PRAGMA table_info({table})")))
