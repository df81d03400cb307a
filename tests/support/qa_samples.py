"""Pairs of runs for the tests of the QA report: what was fixed, what broke, what nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from e2e_matrix import store
from e2e_matrix.assessment import Question, assess
from e2e_matrix.compare import compare_runs
from e2e_matrix.failures import Cause
from e2e_matrix.report.qa import QA, build
from e2e_matrix.results import Results
from support import report_samples as samples

KEYS: dict[str, Any] = {
    "fail_at": "session-keys",
    "cause": Cause.ASSERTION,
    "message": "GET /api/conversations/search without a session key",
    "expected": "401",
    "got": "200",
    "log": samples.LOG,
}


def without_keys() -> Results:
    """A release whose servers do not enforce the session keys, on three images."""
    cells = []
    for variant in samples.VARIANTS:
        name = f"{variant}-amd64"
        failed = samples.attempt(name, False, 0, 0.2, **KEYS)
        cells.append(samples.cell(variant, "amd64", [failed], server=samples.server("1.29.0")))
    cells.append(samples.cell("python", "arm64", [samples.attempt("python-arm64", True, 1, 0.2)]))
    return samples.run(cells, id="20251121T081307Z-000001", subject="ghcr.io/x/server:1.29.0-{variant}")


def with_keys() -> Results:
    """The release that mends it."""
    cells = [
        samples.cell(variant, arch, [samples.attempt(f"{variant}-{arch}", arch == "arm64", 0, 0.2)])
        for variant, arch in [*((variant, "amd64") for variant in samples.VARIANTS), ("python", "arm64")]
    ]
    return samples.run(cells, subject="ghcr.io/x/server:1.29.2-{variant}")


def qa(baseline: Results, candidate: Results, question: Question | None = None) -> QA:
    return build(candidate, assess(compare_runs(baseline, candidate), question=question))


def keep(folder: Path, candidate: Results, baseline: Results | None = None) -> Path:
    """The folder of a run, which may keep a baseline."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / store.RESULTS).write_text(candidate.model_dump_json(), encoding="utf-8")
    if baseline:
        (folder / store.BASELINE).write_text(baseline.model_dump_json(), encoding="utf-8")
    return folder
