"""results.json -> what the history keeps of it.

Only the fields that are kept are read, whatever else is there: ten thousand files are read in one go. What
comes from outside is bounded here, so that no file can make the history large or its numbers absurd.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from e2e_matrix.failures import Outcome
from e2e_matrix.results import READABLE_VERSIONS, plain_decimal
from e2e_matrix.store import RESULTS
from e2e_matrix.text import one_line

_LARGEST_FILE = 256_000_000  # bytes: a thousand cells of ten attempts have a tenth of it
_LONGEST_TEXT = 500
_MOST_CELLS = 10_000
_MOST_DOLLARS = Decimal(1_000_000_000)
_MOST_DIGITS = 40
_REPLACED = "\ufffd"


class Unreadable(Exception):
    """A run folder that cannot be taken in; the message says why."""


class Unfinished(Unreadable):
    """The run still goes on, or was killed: what it comes to is not known yet."""


class LeftOut(Unreadable):
    """The run says nothing of what is tested by now: another one was compared with it."""


@dataclass(frozen=True)
class Stamp:
    """What tells whether a file is still the one that was read."""

    size: int  # bytes
    mtime_ns: int


@dataclass(frozen=True)
class Reading:
    """One run: the values of its row in ``runs`` and of its cells in ``cells``, by their columns' names."""

    folder: Path  # absolute
    stamp: Stamp
    run: dict[str, Any]
    cells: list[dict[str, Any]]


def written(moment: datetime) -> str:
    """A moment as the database holds it: in UTC, and as text in the order of time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def place_of(folder: Path) -> Path:
    """The run folder's own path: `latest` is another run's tomorrow."""
    return folder.resolve() if folder.is_symlink() else folder.absolute()


def stamp_of(folder: Path) -> Stamp:
    """Of the results.json in ``folder``. Raises Unreadable where there is none."""
    try:
        found = os.stat(folder / RESULTS)  # noqa: PTH116 - asked of ten thousand folders at a time
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable("is no file")
    return Stamp(found.st_size, found.st_mtime_ns)


def read(folder: Path) -> Reading:
    """Read the run in ``folder``. Raises Unreadable, Unfinished where it has no end yet, or LeftOut."""
    place = place_of(folder)
    if not str(place).isprintable():  # bytes that are no UTF-8, or an escape sequence
        raise Unreadable("its folder's name cannot be written down")
    stamp = stamp_of(folder)
    if stamp.size > _LARGEST_FILE:
        raise Unreadable(f"is larger than {_LARGEST_FILE // 1_000_000} MB")
    try:
        text = (folder / RESULTS).read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from error
    try:
        results = _Results.model_validate_json(text)
    except ValidationError as error:
        raise Unreadable(_why(text, error)) from error
    if results.run.finished_at is None:
        raise Unfinished("the run has not ended")
    if results.run.for_comparison:
        raise LeftOut("the run was made for a comparison")
    digest = hashlib.sha256(text).hexdigest()
    cells = [_cell(results, cell, number) for number, cell in enumerate(results.cells)]
    return Reading(place, stamp, _run(results, digest), cells)


def _why(text: bytes, error: ValidationError) -> str:
    try:
        version = json.loads(text)["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        version = None
    if version is not None and version not in READABLE_VERSIONS:
        shown = one_line(str(version), 40)
        return f"schema_version is {shown}; this program reads up to {max(READABLE_VERSIONS)}"
    first = error.errors(include_url=False, include_input=False)[0]
    where = one_line(".".join(map(str, first["loc"])), 100) or "the file"
    return f"{where}: {one_line(first['msg'], 200)}"


def _moment(value: datetime) -> datetime:
    if not 1970 <= value.year < 3000:
        raise ValueError("is no moment of a run")
    return value.astimezone(UTC)


def _short(text: str) -> str:
    return text[:_LONGEST_TEXT].replace("\0", _REPLACED)


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL")
    return text


def _readable(version: int) -> int:
    if version not in READABLE_VERSIONS:
        raise ValueError("is of another version")
    return version


def _plausible(amount: Decimal) -> Decimal:
    exponent = amount.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -_MOST_DIGITS or not 0 <= amount <= _MOST_DOLLARS:
        raise ValueError("is no amount of US dollars")
    return amount


_Name = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_without_nul)]
_Text = Annotated[str, AfterValidator(_short)]
_Moment = Annotated[AwareDatetime, AfterValidator(_moment)]
_Dollars = Annotated[Decimal, AfterValidator(_plausible)]
_Whole = Annotated[int, Field(ge=0, lt=2**63)]
_Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Phases(_Part):
    pull: _Seconds | None = None
    boot: _Seconds | None = None
    init: _Seconds | None = None
    first_token: _Seconds | None = None
    conversation: _Seconds | None = None
    removal: _Seconds | None = None


class _Image(_Part):
    digest: _Name | None = None
    size_bytes: _Whole | None = None


class _Tokens(_Part):
    total: _Whole = 0


class _Server(_Part):
    version: _Text | None = None


class _Attempt(_Part):
    number: int
    started_at: _Moment
    duration_seconds: _Seconds
    phases: _Phases = _Phases()
    dormant_memory_bytes: _Whole | None = None


class _Repeat(_Part):
    passed: int


class _Evidence(_Part):
    run: _Name


class _Cell(_Part):
    id: _Name
    axes: Annotated[dict[_Name, _Name | Annotated[str, Field(max_length=0)]], Field(max_length=50)]
    scenario: _Name
    scenario_version: _Name | None = None
    key: _Name | None = None
    model: _Text | None = None
    outcome: Outcome
    flaky: bool = False
    reused: bool = False
    reused_from: _Evidence | None = None
    message: _Text | None = None
    emulated: bool
    platform: _Name
    image: _Image
    cost_usd: _Dollars | None = None
    tokens: _Tokens | None = None
    phases: _Phases = _Phases()
    attempt: int | None = None
    attempts: list[_Attempt] = []
    repeat: _Repeat | None = None
    server: _Server = _Server()

    @property
    def counted_attempt(self) -> _Attempt | None:
        counts = next((one for one in self.attempts if one.number == self.attempt), None)
        return counts or (self.attempts[-1] if self.attempts else None)


class _Llm(_Part):
    kind: _Name
    model: _Text


class _Totals(_Part):
    cost_usd: _Dollars | None = None


class _Run(_Part):
    id: _Name
    started_at: _Moment
    finished_at: _Moment | None = None
    duration_seconds: _Seconds
    verdict: Outcome
    subject: _Text
    llm: _Llm
    for_comparison: bool = False
    totals: _Totals

    def model_of(self, model: str | None) -> str:
        return f"{model or self.llm.model} ({self.llm.kind})"


def _told_apart(cells: list[_Cell]) -> list[_Cell]:
    if len({cell.id for cell in cells}) < len(cells):
        raise ValueError("has two cells of one id")
    return cells


class _Results(_Part):
    schema_version: Annotated[int, AfterValidator(_readable)]
    run: _Run
    cells: Annotated[list[_Cell], Field(max_length=_MOST_CELLS), AfterValidator(_told_apart)]


def _run(results: _Results, digest: str) -> dict[str, Any]:
    run, cells = results.run, results.cells
    assert run.finished_at is not None
    counts = {outcome.value: 0 for outcome in Outcome}
    for cell in cells:
        counts[cell.outcome] += 1
    return {
        "id": run.id,
        "started_at": written(run.started_at),
        "finished_at": written(run.finished_at),
        "duration": run.duration_seconds,
        "subject": run.subject,
        "verdict": run.verdict.value,
        "model": run.model_of(None),
        "cells": len(cells),
        **counts,
        "flaky": sum(cell.flaky for cell in cells),
        "reused": sum(cell.reused for cell in cells),
        "cost": _amount(run.totals.cost_usd),
        "sha256": digest,
    }


def _cell(results: _Results, cell: _Cell, number: int) -> dict[str, Any]:
    counts, run = cell.counted_attempt, results.run
    assert run.finished_at is not None
    ended = run.finished_at
    if counts:
        # No later than the run, whatever an attempt says of itself.
        ended = min(ended, counts.started_at + timedelta(seconds=counts.duration_seconds))
    return {
        "run": run.id,
        "position": number,
        "cell": cell.id,
        "started_at": written(run.started_at),
        "finished_at": written(ended),
        "outcome": cell.outcome.value,
        "flaky": cell.flaky,
        # What was finished before its run was resumed is marked too, and is a sample all the same.
        "reused": cell.reused_from is not None or (cell.reused and not cell.attempts),
        "emulated": cell.emulated,
        "platform": cell.platform,
        "scenario": cell.scenario,
        "scenario_version": cell.scenario_version,
        "key": cell.key,
        "model": run.model_of(cell.model),
        "axes": json.dumps(cell.axes, ensure_ascii=False),
        "digest": cell.image.digest,
        "server_version": cell.server.version,
        "message": cell.message,
        "cost": _amount(cell.cost_usd),
        "tokens": cell.tokens.total if cell.tokens else None,
        "duration": max(counts.duration_seconds - (counts.phases.pull or 0.0), 0.0) if counts else 0.0,
        **{name: getattr(cell.phases, name) for name in _Phases.model_fields},
        "memory": counts.dormant_memory_bytes if counts else None,
        "size": cell.image.size_bytes,
        "mixed": cell.outcome is Outcome.FAILED and bool(cell.repeat and cell.repeat.passed),
    }


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else plain_decimal(amount)
