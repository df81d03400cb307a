"""CTRF, the Common Test Report Format: JSON that reporters of many CI systems read (ctrf.io).

Its schema knows nothing of images, platforms or money: what is ours stands under ``extra``, by the names of
results.json. An error of the infrastructure is ``other``: it tells nothing of the product.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from e2e_matrix.failures import BROKEN, Outcome
from e2e_matrix.report.account import (
    advice_for,
    earlier,
    message_of,
    names_of,
    output_of,
    room_for_each,
    trace_of,
)
from e2e_matrix.report.cell_view import evidence_link
from e2e_matrix.report.escape import relative_link
from e2e_matrix.results import Attempt, Cell, Results, Run
from e2e_matrix.reused_words import reused_from
from e2e_matrix.text import one_line

_SPEC_VERSION = "0.0.0"
_STATUSES = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.ERROR: "other",
    Outcome.UNSUPPORTED: "skipped",
    Outcome.CANCELLED: "skipped",
    Outcome.NOT_RUN: "pending",
}


def render(results: Results, folder: Path) -> str:
    """The run as one document."""
    run, room = results.run, room_for_each(results)
    tests = [
        _test(name, cell, run, folder, room)
        for name, cell in zip(names_of(results.cells), results.cells, strict=True)
    ]
    document = {
        "reportFormat": "CTRF",
        "specVersion": _SPEC_VERSION,
        "runId": one_line(run.id) or "run",
        "generatedBy": f"e2e-matrix {one_line(run.program_version)}",
        "results": {
            "tool": {"name": "e2e-matrix", "version": one_line(run.program_version)},
            "summary": _summary(results),
            "tests": tests,
            "environment": _environment(run),
        },
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _summary(results: Results) -> dict[str, Any]:
    run = results.run
    counts = dict.fromkeys(("passed", "failed", "skipped", "pending", "other"), 0)
    for cell in results.cells:
        counts[_STATUSES[cell.outcome]] += 1
    start, duration = _moment(run.started_at), _milliseconds(run.duration_seconds)
    return {
        "tests": len(results.cells),
        **counts,
        "flaky": sum(cell.flaky for cell in results.cells),
        "suites": len({cell.scenario for cell in results.cells}),
        "start": start,
        "stop": _moment(run.finished_at) if run.finished_at else start + duration,
        "duration": duration,
        "extra": _safe(
            run.model_dump(mode="json", include={"verdict", "reason", "exit_code", "interrupted", "totals"})
        ),
    }


def _environment(run: Run) -> dict[str, Any]:
    engine, ref = run.engine, run.settings.get("ref")
    return {
        "reportName": one_line(run.subject),
        "appName": "agent-server",
        **({"appVersion": one_line(str(ref.value))} if ref else {}),
        "osPlatform": one_line(engine.platform.partition("/")[0]),
        "osRelease": one_line(engine.kernel),
        "osVersion": one_line(engine.operating_system),
        "testEnvironment": one_line(f"{engine.name} {engine.version}"),
        "healthy": run.verdict is Outcome.PASSED,
        "extra": _safe(
            run.model_dump(
                mode="json",
                include={"subject", "matrix_file", "command", "engine", "llm", "workers", "emulated_cpu"},
            )
        ),
    }


def _test(name: str, cell: Cell, run: Run, folder: Path, room: int) -> dict[str, Any]:
    counts = cell.counted_attempt
    before = [_attempt(one, room) for one in earlier(cell)]
    told, evidence = reused_from(cell), evidence_link(cell, folder)
    return {
        "testId": name,
        "name": name,
        "suite": [one_line(cell.scenario)],
        "type": "e2e",
        "filePath": one_line(run.matrix_file),
        "status": _STATUSES[cell.outcome],
        "rawStatus": cell.outcome.value,
        **(_times(counts) if counts else {"duration": 0}),
        **_said(cell, counts, room, advice_for(cell, run)),
        **({"message": one_line(f"passed ({told})", 300)} if told else {}),
        "flaky": cell.flaky,
        "retries": len(before),
        **({"retryAttempts": before} if before else {}),
        "tags": list(_tags(cell)),
        "parameters": _safe(cell.axes),
        "steps": [
            {
                "name": one_line(step.name),
                "status": _STATUSES[step.outcome],
                "extra": {"duration": _milliseconds(step.duration_seconds)},
            }
            for step in cell.steps
        ],
        "attachments": list(_attachments(counts)) if counts else [],
        "extra": _extra(cell) | ({"evidence": evidence} if evidence else {}),
    }


def _attempt(attempt: Attempt, room: int) -> dict[str, Any]:
    """One that is not what the test is judged by."""
    return {
        "attempt": attempt.number,
        "status": _STATUSES[attempt.outcome],
        **_times(attempt),
        **_said(attempt, attempt, room),
        "attachments": list(_attachments(attempt)),
        "extra": {"outcome": attempt.outcome.value, "repetition": attempt.repetition},
    }


def _said(told: Cell | Attempt, attempt: Attempt | None, room: int, advice: str = "") -> dict[str, Any]:
    """What is to be said of one that did not pass."""
    if told.outcome is Outcome.PASSED:
        return {}
    said: dict[str, Any] = {"message": message_of(told)}
    if told.outcome in BROKEN:
        said["trace"] = "\n".join(filter(None, [trace_of(told, room), advice]))
    if printed := output_of(attempt, room):
        said["stdout"] = printed.split("\n")
    return said


def _times(attempt: Attempt) -> dict[str, int]:
    start, duration = _moment(attempt.started_at), _milliseconds(attempt.duration_seconds)
    return {"duration": duration, "start": start, "stop": start + duration}


def _tags(cell: Cell) -> Iterator[str]:
    if cell.outcome is not Outcome.UNSUPPORTED:  # which is neither
        yield "emulated" if cell.emulated else "native"
    if cell.reused:
        yield "reused"


def _attachments(attempt: Attempt) -> Iterator[dict[str, str]]:
    """The logs beside the report."""
    script = attempt.script
    for name, size in (("server.log", attempt.log_bytes), ("script.log", script and script.output_bytes)):
        if size is not None and (path := relative_link(attempt.folder, name)):
            yield {"name": name, "contentType": "text/plain", "path": path}


def _extra(cell: Cell) -> dict[str, Any]:
    fields = {
        *("cause", "emulated", "platform", "image", "server", "cost_usd", "tokens", "phases"),
        *("duration_seconds", "repeat", "reused", "reused_from", "attempt"),
    }
    extra: dict[str, Any] = _safe(cell.model_dump(mode="json", include=fields, exclude={"image": {"labels"}}))
    return extra


def _safe(value: Any) -> Any:
    """The same, with every text in it made safe and short, and without what is not known."""
    match value:
        case str():
            return one_line(value, 300)
        case dict():
            return {one_line(name): _safe(item) for name, item in value.items() if item is not None}
        case list():
            return [_safe(item) for item in value]
    return value


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _moment(when: datetime) -> int:
    """Milliseconds since the epoch."""
    return _milliseconds(when.timestamp())
