"""Taking an interrupted run up again: what it was made from, and what it has finished.

``plan.json`` in the run's folder is written before the first attempt, and compared when the run is resumed. A
cell counts as finished when it passed or failed; what met the infrastructure, was cancelled or never started
is run again.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from e2e_matrix.errors import BadInput, InfrastructureError, Problem
from e2e_matrix.facts import PlannedFacts, answers_digest, facts_of
from e2e_matrix.failures import POLICIES, Cause, Outcome, Retry, pause_before
from e2e_matrix.record import Job, Prepared
from e2e_matrix.redaction import without_password
from e2e_matrix.results import Attempt, Llm, LlmCall, Model
from e2e_matrix.settings import Overrides, Setting, Settings, Source
from e2e_matrix.store import (
    ATTEMPT,
    CALL_JOURNAL,
    STARTED,
    RunFolder,
    age,
    look_for,
    newest_runs,
    other_version,
    write_atomically,
)
from e2e_matrix.task import CellTask

PLAN = "plan.json"
PLAN_VERSIONS = (1,)
_M = TypeVar("_M", bound=Model)
FINISHED = (Outcome.PASSED, Outcome.FAILED)
NEWEST = ""
_NO_RUN = "Runs lie where --reports or matrix.yaml says; or name the run's folder."
_MOST_DIFFERENCES = 20
# A registry on this machine is another port each time; what it serves is told by the digest.
_LOCAL_PORT = re.compile(r"^127\.0\.0\.1:\d+/")
_CHOSEN = (Source.COMMAND_LINE, Source.ENVIRONMENT, Source.RESUMED)

# What a person chose beside the file: the setting's name -> the field of Overrides.
_OPTIONS = {
    "profile": "profile",
    "ref": "ref",
    "image": "image",
    "arch-image": "arch_image",
    "repeat": "repeat",
    "reuse": "reuse",
    "images": "images",
    "max-parallel": "max_parallel",
    "fail-fast": "fail_fast",
    "timeout": "timeout",
    "run-timeout": "run_timeout",
    "max-cost.run": "max_cost_run",
    "llm.model": "model",
    "llm.base-url": "base_url",
    "reports.formats": "report_formats",
    "fail-on": "fail_on",
    "only": "only",
    "skip": "skip",
}


class PlanFile(Model):
    """plan.json."""

    schema_version: int = PLAN_VERSIONS[-1]
    started_at: datetime
    resumed_at: list[datetime] = Field([])
    matrix_file: str
    command: list[str] = Field([])  # that started it
    options: dict[str, Any]
    first_attempts: dict[str, int] = Field({})  # by cell: lower numbers were another plan's or image's
    repeat: int
    cells: dict[str, PlannedFacts]
    keys: dict[str, str] = Field({})  # by cell, those of which nothing was run under another key
    beside: str | None = None  # the run whose cells take turns with these
    for_comparison: bool = False  # it is there for that one's sake


class Started(Model):
    """started.json of an attempt: enough to tell of it where the runner died before its end."""

    number: int
    repetition: int
    started_at: datetime
    worker: int
    run_offset_seconds: float


@dataclass(frozen=True)
class Earlier:
    """What a run that goes on has done already. ``seconds`` is how long it took up to then.

    ``plan`` is what the run is made from now, to be written down.
    """

    plan: PlanFile
    attempts: Mapping[str, Sequence[Attempt]]
    seconds: float


def plan_of(
    job: Job,
    prepared: Sequence[Prepared],
    llm: Llm,
    started_at: datetime,
    keys: Mapping[str, str] = MappingProxyType({}),
    beside: str | None = None,
) -> PlanFile:
    """What a run is made from, for the record; ``keys`` are those of its cells, ``beside`` is the run that
    takes turns with it."""
    settings = job.settings
    answers = answers_digest(settings, llm)
    return PlanFile(
        started_at=started_at,
        matrix_file=settings.matrix_file,
        command=list(job.command),
        options=dict(_options(settings)),
        repeat=settings.repeat,
        cells={cell.planned.id: facts_of(cell, settings, llm, answers) for cell in prepared},
        keys=dict(keys),
        beside=beside,
        for_comparison=job.for_comparison,
    )


def write_plan(folder: RunFolder, plan: PlanFile) -> None:
    write_atomically(folder.path / PLAN, (plan.model_dump_json(indent=2) + "\n").encode())


def write_started(task: CellTask) -> None:
    """Put down that an attempt begins, before it can cost anything."""
    started = Started(
        number=task.attempt,
        repetition=task.repetition,
        started_at=datetime.now(UTC),
        worker=task.worker,
        run_offset_seconds=round(task.run_offset_seconds, 4),
    )
    write_atomically(Path(task.folder) / STARTED, (started.model_dump_json(indent=2) + "\n").encode())


def _options(settings: Settings) -> Iterator[tuple[str, Any]]:
    for name, field in _OPTIONS.items():
        origin = settings.origins[name]
        if origin.source not in _CHOSEN or origin.value is None:
            continue
        if field == "base_url" and origin.value != without_password(origin.value):
            continue  # it may hold a key: it has to be given again
        yield field, str(origin.value) if isinstance(origin.value, Decimal) else origin.value


def find(name: str, reports: Path) -> Path:
    """The folder of a run that a person names: a path, or a run's id below ``reports``; NEWEST is the newest.

    Raises ``BadInput`` where there is no such run.
    """
    if name == NEWEST:
        # Not `latest`: that is the newest which came to its end, and a killed one did not.
        if newest := newest_begun(reports):
            return newest
        raise BadInput([Problem("--resume", 0, 0, f"{reports} has no run that could be resumed", _NO_RUN)])
    if found := look_for(name, reports, PLAN):
        return found
    known = newest_runs(reports, PLAN)
    there = f"There are: {known}." if known else f"{reports} has none."
    raise BadInput([Problem("--resume", 0, 0, f"there is no run {name!r} that could be resumed", there)])


def newest_begun(reports: Path) -> Path | None:
    """The folder of the run that began last, also where it was killed; None where there is none.

    A run that is there for the sake of another is never meant.
    """
    begun = [path.parent for path in reports.glob(f"*/{PLAN}") if not path.parent.is_symlink()]
    newest_first = sorted(begun, key=lambda folder: age(folder.name), reverse=True)
    return next((folder for folder in newest_first if not _is_for_comparison(folder)), None)


def _is_for_comparison(folder: Path) -> bool:
    with suppress(BadInput):  # who asks for it hears what is wrong with it
        return read_plan(folder).for_comparison
    return False


def read_plan(folder: Path) -> PlanFile:
    """Raises ``BadInput`` where plan.json cannot be read."""
    path = folder / PLAN
    try:
        content = path.read_bytes()
        if other := other_version(path, content, PLAN_VERSIONS):
            raise BadInput([other])
        return PlanFile.model_validate_json(content)
    except OSError as error:
        problem = Problem(str(path), 0, 0, f"cannot be read: {error.strerror}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        problem = Problem(str(path), 0, 0, f"{where}: {first['msg']}", "Start a new run.")
    raise BadInput([problem])


def overrides(plan: PlanFile) -> Overrides:
    """The options that the run was started with; those that are given now take their place."""
    values = dict(plan.options)
    for name in ("only", "skip", "report_formats", "fail_on"):
        if name in values:
            values[name] = tuple(values[name])
    if "max_cost_run" in values:
        values["max_cost_run"] = Decimal(values["max_cost_run"])
    known = {name: value for name, value in values.items() if name in _OPTIONS.values()}
    # As from a file: they are no option of this command line, so no message may name one.
    return Overrides(**{name: Setting(value, Source.RESUMED) for name, value in known.items()})


def differences(before: PlanFile, now: PlanFile) -> dict[str, list[str]]:
    """What differs, by cell; "" is the run itself. A digest that nobody could tell differs from nothing."""
    found: dict[str, list[str]] = defaultdict(list)
    if before.repeat != now.repeat:
        found[""].append(f"repeat: {before.repeat}, now {now.repeat}")
    for cell in sorted(before.cells.keys() | now.cells.keys()):
        old, new = before.cells.get(cell), now.cells.get(cell)
        if old is None or new is None:
            found[cell].append("was not planned, now it is" if old is None else "was planned, now it is not")
            continue
        for name in PlannedFacts.model_fields:
            was, is_now = getattr(old, name), getattr(new, name)
            if name == "image":
                was, is_now = _LOCAL_PORT.sub("", was), _LOCAL_PORT.sub("", is_now)
            if was != is_now and not (name == "digest" and None in (was, is_now)):
                found[cell].append(f"{name.replace('_', ' ')}: {was}, now {is_now}")
    return dict(found)


def go_on(folder: RunFolder, now: PlanFile, force: bool) -> Earlier:
    """What ``folder`` has done, to be reused; ``now`` is the plan of this command.

    Raises ``BadInput`` with the differences where the plans are not the same, unless ``force``: then what was
    done for a cell that differs is superseded, now and whenever the run is resumed again.
    """
    before = read_plan(folder.path)
    changed = differences(before, now)
    if changed and not force:
        lines = [f"{f'{cell}: ' if cell else ''}{what}" for cell, whats in changed.items() for what in whats]
        more = len(lines) - _MOST_DIFFERENCES
        shown = [*lines[:_MOST_DIFFERENCES], *([f"and {more} more"] if more > 0 else [])]
        hint = "Start a new run, or say --force: what differs is run again, the rest is kept."
        message = f"{folder.run_id} was another plan:\n    " + "\n    ".join(shown)
        raise BadInput([Problem("--resume", 0, 0, message, hint)])
    first = {
        cell: folder.next_attempt(cell) if cell in changed else before.first_attempts.get(cell, 1)
        for cell in now.cells
    }
    attempts = {
        cell: [
            attempt.model_copy(update={"superseded": attempt.number < first[cell]})
            for attempt in _attempts(folder, cell)
        ]
        for cell in now.cells
    }
    ends = [
        attempt.run_offset_seconds + attempt.duration_seconds
        for tried in attempts.values()
        for attempt in tried
    ]
    plan = now.model_copy(
        update={
            "started_at": before.started_at,
            "resumed_at": [*before.resumed_at, now.started_at],
            "command": before.command or now.command,
            "beside": before.beside,
            "for_comparison": before.for_comparison,
            "first_attempts": {cell: number for cell, number in first.items() if number > 1},
            "keys": {
                cell: key
                for cell, key in now.keys.items()
                if key == before.keys.get(cell) or all(one.superseded for one in attempts[cell])
            },
            "cells": {cell: _with_digest(facts, before.cells.get(cell)) for cell, facts in now.cells.items()},
        }
    )
    return Earlier(plan, attempts, max(ends, default=0.0))


def _with_digest(now: PlannedFacts, before: PlannedFacts | None) -> PlannedFacts:
    """A digest that the registry did not tell this time is still the one to compare with the next time."""
    if now.digest is not None or before is None:
        return now
    return now.model_copy(update={"digest": before.digest})


def is_finished(attempts: Sequence[Attempt], repetition: int, retry: Callable[[Cause], Retry | None]) -> bool:
    """Whether a repetition came to its end: it passed, or failed as often as ``retry`` lets it be tried."""
    ends = [one for one in attempts if one.repetition == repetition and not one.superseded]
    if not ends or ends[-1].outcome not in FINISHED:
        return False
    if (cause := ends[-1].cause) is None:
        return True
    failed = sum(one.outcome is Outcome.FAILED for one in ends)
    return pause_before(retry(cause), failed) is None


def _attempts(folder: RunFolder, cell: str) -> Iterator[Attempt]:
    """Every attempt at a cell that was begun, in their order; of one that never ended what is known."""
    for path in folder.attempts(cell):
        if (path / ATTEMPT).is_file():
            yield _read(path / ATTEMPT, Attempt)
        elif (path / STARTED).is_file():
            yield _lost(folder, path)


def _lost(folder: RunFolder, path: Path) -> Attempt:
    """An attempt during which the runner died."""
    started = _read(path / STARTED, Started)
    journal = path / CALL_JOURNAL
    calls: list[LlmCall] | None = None
    if journal.is_file():
        # The last line may have been cut by the end of the process.
        whole = journal.read_text(errors="replace").rpartition("\n")[0].splitlines()
        calls = [call for line in whole if (call := _call(line))]
    return Attempt(
        number=started.number,
        repetition=started.repetition,
        outcome=POLICIES[Cause.RUNNER_DIED].outcome,
        cause=Cause.RUNNER_DIED,
        message=POLICIES[Cause.RUNNER_DIED].what,
        started_at=started.started_at,
        duration_seconds=0.0,
        worker=started.worker,
        run_offset_seconds=started.run_offset_seconds,
        llm_calls=calls,
        folder=str(path.relative_to(folder.path)),
    )


def _call(line: str) -> LlmCall | None:
    try:
        return LlmCall.model_validate_json(line)
    except ValidationError:
        return None  # a full disk cut it: the attempt is lost in any case


def _read(path: Path, model: type[_M]) -> _M:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InfrastructureError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        hint = "Move its folder away to run that attempt's cell again."
        raise BadInput([Problem(str(path), 0, 0, f"{where}: {first['msg']}", hint)]) from error
