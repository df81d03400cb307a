"""The history for programs: raw text, as it came."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import Any

from e2e_matrix.history.flakiness import Flakiness
from e2e_matrix.history.medians import Medians
from e2e_matrix.history.points import Point, RunLine
from e2e_matrix.history.since import Since
from e2e_matrix.results import plain_decimal


def of_run(run: RunLine) -> dict[str, Any]:
    """As ``history list --format json`` says it."""
    return {
        "run": run.id,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat(),
        "duration_seconds": run.duration_seconds,
        "subject": run.subject,
        "verdict": run.verdict.value,
        "model": run.model,
        "cells": {outcome.value: number for outcome, number in run.counts.items()},
        "flaky": run.flaky,
        "reused": run.reused,
        "cost_usd": _money(run.cost_usd),
    }


def of_point(point: Point) -> dict[str, Any]:
    """As ``history cell --format json`` says it."""
    told = asdict(point)
    return told | {
        "started_at": point.started_at.isoformat(),
        "outcome": point.outcome.value,
        "cost_usd": _money(point.cost_usd),
        "phases": point.phases.model_dump(),
    }


def of_medians(found: Medians) -> dict[str, Any]:
    return {
        **_series(found.newest),
        "passes": found.passes,
        "boot_seconds": found.boot,
        "init_seconds": found.init,
        "conversation_seconds": found.conversation,
        "duration_seconds": found.total,
        "cost_usd": _money(found.cost),
    }


def of_flakiness(found: Flakiness, since: Since | None) -> dict[str, Any]:
    """As ``history flaky --format json`` says it."""
    return {
        "cell": found.newest.cell,
        **_series(found.newest),
        "samples": found.samples,
        "flaky": found.flaky,
        "retried": found.retried,
        "mixed": found.mixed,
        "contradicted": found.contradicted,
        "rate": found.rate,
        "interval_95": list(found.interval),
        "failing_since": since and of_since(since),
    }


def of_since(since: Since) -> dict[str, Any]:
    return {
        "failures": since.failures,
        "first_bad": _which(since.first_bad),
        "last_good": since.last_good and _which(since.last_good),
        "same_image": since.same_image,
    }


def _which(point: Point) -> dict[str, Any]:
    return {
        "run": point.run,
        "started_at": point.started_at.isoformat(),
        "digest": point.digest,
        "server_version": point.server_version,
        "scenario_version": point.scenario_version,
        "message": point.message,
    }


def _series(point: Point) -> dict[str, Any]:
    return {
        "emulated": point.emulated,
        "model": point.model,
        "scenario": point.scenario,
        "scenario_version": point.scenario_version,
    }


def _money(amount: Decimal | None) -> str | None:
    return None if amount is None else plain_decimal(amount)
