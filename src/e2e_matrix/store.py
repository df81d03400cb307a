"""The run folder: the one place where a run's results lie.

    reports/<run-id>/
        plan.json                what the run is made from: see resume.py
        results.json             the truth: see results.py; written again, atomically, whenever a cell ends
        baseline.json            results.json of the run that it is compared with, where it is with one
        trend.json               what the history knows of its cells, where there is one: see trend.py
        question.json            what is asked of that comparison, where anything is: see question.py
        report.html, report.md   rendered from these alone, and the logs below
        cells/<cell-id>/attempt-<n>/
            started.json         that it began; without attempt.json beside it the runner died
            attempt.json         this attempt, durable the moment it exists
            openapi.json         while it runs; then it lies in api/
            server.log           what the container printed
            llm-calls.json       what the stand-in served to it; while it runs a line each in llm-calls.jsonl
        api/<digest>.json        what servers said of their API, also the baseline's and those of the passes
                                 that are reused, each document once
    reports/latest               a link to the newest run

Files are written beside their place, synced and renamed: a reader sees the old one or the new, never half.
What a writer that was killed leaves is a hidden ``.results.json.<random>.part``, which nobody reads;
``sweep`` removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pydantic import ValidationError

from e2e_matrix.errors import BadInput, InfrastructureError, Problem
from e2e_matrix.results import READABLE_VERSIONS, Attempt, Results

RESULTS = "results.json"
BASELINE = "baseline.json"
API = "api"
ATTEMPT = "attempt.json"
STARTED = "started.json"
CALLS = "llm-calls.json"
CALL_JOURNAL = "llm-calls.jsonl"
_LOCK = ".lock"
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-\w+")
PART = ".part"  # how the name of a file ends that is being written
_PART_AGE = 3600.0  # seconds: no file of ours takes so long to write


def write_atomically(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, durably. Raises ``InfrastructureError`` where the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            Path(name).replace(path)
            _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise InfrastructureError(
            f"cannot write {path}: {error.strerror}",
            "Free space there, or choose another folder with --reports.",
        ) from error


def _sync_folder(folder: Path) -> None:
    """A rename is durable once the folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class RunFolder:
    """One run's folder while it is being written, and by nobody else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Hold the folder; the kernel lets go of it however this process ends.

        Raises ``BadInput`` where another process has it.
        """
        try:
            self._lock = (self.path / _LOCK).open("wb")
        except OSError as error:
            raise _refused(f"cannot hold {self.path}", error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            hint = "Wait for it, or stop it; `e2e-matrix run` without --resume starts another."
            raise BadInput([Problem("--resume", 0, 0, f"{self.run_id} is still running", hint)]) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    @classmethod
    def create(cls, reports: Path, now: datetime) -> RunFolder:
        """A new folder ``<reports>/<UTC time>-<random>``; its name is the run's id."""
        run_id = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        path = reports / run_id
        latest = reports / "latest"
        if latest.is_dir() and not latest.is_symlink():
            raise InfrastructureError(
                f"{latest} is a folder, not our link to the newest run", "Move it away."
            )
        try:
            path.mkdir(parents=True)
        except OSError as error:
            raise _refused(f"cannot make the run's folder {path}", error) from error
        return cls(path)

    @property
    def run_id(self) -> str:
        return self.path.name

    def attempt_folder(self, cell: str, number: int) -> Path:
        folder = self.path / "cells" / cell / f"attempt-{number}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(f"cannot make {folder}", error) from error
        return folder

    def next_attempt(self, cell: str) -> int:
        """The number for a new attempt: folders of earlier ones are never written to again."""
        return max((_number(path) for path in self.attempts(cell)), default=0) + 1

    def attempts(self, cell: str) -> list[Path]:
        """The folders of a cell's attempts, by number."""
        found = (self.path / "cells" / cell).glob("attempt-*")
        return sorted((path for path in found if _number(path)), key=_number)

    def write_attempt(self, attempt: Attempt) -> Attempt:
        """Make an attempt durable, with what the stand-in served to it beside it; the attempt as kept."""
        folder = self.path / attempt.folder
        attempt = self._share_api(attempt)
        if attempt.llm_calls is not None:
            calls = ",\n  ".join(call.model_dump_json() for call in attempt.llm_calls)
            write_atomically(folder / CALLS, (f"[\n  {calls}\n]\n" if calls else "[]\n").encode())
        write_atomically(folder / ATTEMPT, (attempt.model_dump_json(indent=2) + "\n").encode())
        (folder / CALL_JOURNAL).unlink(missing_ok=True)
        return attempt

    def _share_api(self, attempt: Attempt) -> Attempt:
        """Keep a document of half a megabyte once, for all the cells whose servers gave it."""
        if (api := attempt.api) is None:
            return attempt
        shared = api_file(api.digest)
        try:
            (self.path / shared).parent.mkdir(exist_ok=True)
            (self.path / api.file).replace(self.path / shared)
        except OSError as error:
            raise _refused(f"cannot keep {shared}", error) from error
        return attempt.model_copy(update={"api": api.model_copy(update={"file": shared})})

    def write_results(self, results: Results) -> None:
        write_atomically(self.path / RESULTS, (results.model_dump_json(indent=2) + "\n").encode())

    def point_latest_here(self) -> None:
        """Let ``reports/latest`` name this run."""
        link = self.path.parent / "latest"
        fresh = self.path.parent / f".latest.{secrets.token_hex(4)}{PART}"
        try:
            fresh.symlink_to(self.path.name)
            fresh.replace(link)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise _refused(f"cannot let {link} name this run", error) from error


def api_file(digest: str) -> str:
    """Where a run keeps the description of that digest, relative to its folder."""
    return f"{API}/{digest.removeprefix('sha256:')[:16]}.json"


def _number(folder: Path) -> int:
    """Of an attempt's folder; 0 for one that is none."""
    number = folder.name.removeprefix("attempt-")
    return int(number) if number.isascii() and number.isdecimal() else 0


def _refused(what: str, error: OSError) -> InfrastructureError:
    return InfrastructureError(
        f"{what}: {error.strerror}", "Free space there, or choose another folder with --reports."
    )


def sweep(reports: Path, dry_run: bool = False) -> list[Path]:
    """Remove the half-written files of runs that were killed; which ones, and with ``dry_run`` no more.

    Never raises: they are in nobody's way. Anybody's file that is being written now is newer and stays.
    """
    runs = [path for path in reports.glob("*") if path.is_dir() and not path.is_symlink()]
    half = f".*{PART}"
    found = [*reports.glob(half)]
    found += [path for run in runs for where in (half, f"cells/*/*/{half}") for path in run.glob(where)]
    removed: list[Path] = []
    for path in found:
        with contextlib.suppress(OSError):
            if time.time() - path.lstat().st_mtime > _PART_AGE:
                if not dry_run:
                    path.unlink()
                removed.append(path)
    return removed


def find(name: str, reports: Path) -> Path:
    """The folder of a run that a person names: a path, or below ``reports`` the run's id, or `latest`.

    Raises ``BadInput`` where there is none with results.
    """
    if found := look_for(name, reports, RESULTS):
        return found
    known = newest_runs(reports, RESULTS)
    there = f"There are: {known}." if known else f"{reports} has none; see --reports."
    raise BadInput([Problem("", 0, 0, f"there is no run {name!r}", there)])


def look_for(name: str, reports: Path, holding: str) -> Path | None:
    """The folder that a path, or below ``reports`` an id, names, if the file ``holding`` is in it."""
    for folder in (reports / name, Path(name)):
        if (folder / holding).is_file():
            return folder.parent / folder.resolve().name  # what `latest` names, not the link
    return None


def newest_runs(reports: Path, holding: str) -> str:
    """The ids of the five newest runs with the file ``holding``, for a message; empty where there is none."""
    known = {path.parent.resolve().name for path in reports.glob(f"*/{holding}")}
    return ", ".join(sorted(known, key=age, reverse=True)[:5])


def age(run_id: str) -> tuple[bool, str]:
    """What sorts runs from the oldest to the newest; one that somebody named himself before all."""
    return _RUN_ID.fullmatch(run_id) is not None, run_id


def load(folder: Path) -> Results:
    """Read a run's results.json. Raises ``BadInput`` where there is none, or none that this version reads."""
    return _read(
        folder / RESULTS, f"`e2e-matrix run --resume {folder}` makes it again, from the attempts' files."
    )


def keep_baseline(folder: Path, baseline: Path) -> None:
    """Put the results of the run in ``baseline`` beside those of ``folder``, which is compared with them from
    now on. Raises ``BadInput`` as ``load``."""
    if baseline.resolve() != folder.resolve():
        write_atomically(folder / BASELINE, _bytes(baseline / RESULTS))


def load_baseline(folder: Path) -> Results | None:
    """What the run in ``folder`` is compared with; None: with nothing. Raises ``BadInput`` as ``load``."""
    path = folder / BASELINE
    return _read(path, "Name the baseline again, with --baseline.") if path.is_file() else None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "Name a run's folder, such as reports/latest."
        raise BadInput([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}", hint)]) from error


def _read(path: Path, mend: str) -> Results:
    """``mend``: what to do where the file was cut short."""
    text = _bytes(path)
    if problem := other_version(path, text, READABLE_VERSIONS):
        raise BadInput([problem])
    try:
        return Results.model_validate_json(text)
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            what = f"is not whole: {error.errors()[0]['msg']}"
            raise BadInput([Problem(str(path), 0, 0, what, mend)]) from error
        problems = [
            Problem(str(path), 0, 0, f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}")
            for item in error.errors()[:10]
        ]
        raise BadInput(problems) from error


def other_version(path: Path, text: bytes, readable: Sequence[int]) -> Problem | None:
    """What is wrong with a file of ours that names a schema_version which is not among the readable ones."""
    try:
        version = json.loads(text)["schema_version"]
    except (ValueError, KeyError, TypeError):
        return None  # not ours at all: the models say what is wrong
    if version in readable:
        return None
    message = f"schema_version is {version}; this program reads up to {max(readable)}"
    return Problem(str(path), 0, 0, message, "Use the version of e2e-matrix that wrote it.")
