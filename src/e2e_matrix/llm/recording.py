"""A recording: what a run asked a real model and what it was told, a line of JSON for each call.

Lines of several cells, attempts and runs may lie in one file in any order; ``attempt`` tells them apart. A
line is added whole or not at all, also by several processes. The last line may have been cut by a crash.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from e2e_matrix.errors import BadInput, InfrastructureError, Problem
from e2e_matrix.results import Model

_MOST_PROBLEMS = 10


class RecordedCall(Model):
    """One line: one call of one attempt at a cell, without secrets."""

    recording: Literal[1] = Field(1, description="The version of this shape")
    cell: str
    scenario: str
    attempt: str = Field(description="A random name: the calls of one attempt have the same")
    order: int = Field(ge=1, description="The attempt's calls in the order in which they came")
    model: str = Field(description="As in llm.model")
    base_path: str = Field(description="The path of the provider's base URL, such as /v1")
    received_at: datetime
    method: str
    path: str = Field(description="With the base path and the query")
    request: Any = Field(None, description="The body where it is JSON, else its text; null for none")
    status: int | None = Field(None, description="null: the caller hung up before there was one")
    headers: dict[str, str] = Field({}, description="Those of the answer that a client may act upon")
    body: str = ""
    body_base64: str | None = Field(None, description="In the place of body where it is no text")
    broken: str | None = Field(None, description="Why the answer has no proper end")

    @property
    def answer(self) -> bytes:
        """The answer's body, as it was sent. Raises ``ValueError`` where that cannot be read."""
        if self.body_base64 is None:
            return self.body.encode("utf-8", "surrogatepass")
        return base64.b64decode(self.body_base64, validate=True)


def text_or_base64(body: bytes) -> dict[str, str]:
    """``body`` or ``body_base64`` of a line."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def without_secrets(value: Any, redact: Callable[[str], str]) -> Any:
    """A JSON value with every text in it redacted, the names as well."""
    match value:
        case str():
            return redact(value)
        case list():
            return [without_secrets(item, redact) for item in value]
        case dict():
            return {redact(name): without_secrets(item, redact) for name, item in value.items()}
    return value


def request_of(body: bytes) -> Any:
    """What a request's body says: JSON where it is, else text; None for none."""
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")


class RecordingWriter:
    """Adds calls to a file. Thread-safe, and other processes may add to the same file."""

    def __init__(self, path: Path) -> None:
        """Raises InfrastructureError where the file cannot be written."""
        self._path = path
        self._lock = threading.Lock()
        self._refused: OSError | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _cannot(path, error) from error

    def add(self, call: RecordedCall) -> None:
        """The line is the kernel's when this returns: a process that is killed loses none. Never raises."""
        line = (json.dumps(call.model_dump(mode="json")) + "\n").encode()
        with self._lock:
            if self._file < 0:
                return  # the run is over, and did not wait for this call
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
                self._append(line)
            except OSError as error:
                self._refused = self._refused or error
            finally:
                with suppress(OSError):  # it was not locked
                    fcntl.flock(self._file, fcntl.LOCK_UN)

    def _append(self, line: bytes) -> None:
        end = os.lseek(self._file, 0, os.SEEK_END)
        if end and os.pread(self._file, 1, end - 1) != b"\n":
            line = b"\n" + line  # after what a crash cut
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, end)
            raise

    def close(self) -> None:
        """Raises InfrastructureError where the disk refused a call: money was paid for it. Idempotent."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1
            refused, self._refused = self._refused, None
        if refused:
            raise _cannot(self._path, refused) from refused


def _cannot(path: Path, error: OSError) -> InfrastructureError:
    return InfrastructureError(
        f"cannot record the model's calls in {path}: {error.strerror}", "llm.record in the matrix names it."
    )


class Recording:
    """What was recorded, by cell and scenario: of each the newest attempt."""

    def __init__(self, path: Path, calls: Sequence[RecordedCall]) -> None:
        self.path = path
        newest = {(call.cell, call.scenario): call.attempt for call in calls}
        self._calls: Mapping[tuple[str, str], list[RecordedCall]] = {
            key: sorted((call for call in calls if call.attempt == attempt), key=lambda call: call.order)
            for key, attempt in newest.items()
        }

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(calls[0].model for calls in self._calls.values()))

    @property
    def cells(self) -> list[str]:
        return list(dict.fromkeys(cell for cell, _ in self._calls))

    def calls_for(self, cell: str, scenario: str) -> list[RecordedCall]:
        """The cell's own; where it has none, those of the only cell that has any of the scenario, or none."""
        if own := self._calls.get((cell, scenario)):
            return own
        others = [calls for (_, name), calls in self._calls.items() if name == scenario]
        return others[0] if len(others) == 1 else []


def read_recording(path: Path) -> Recording:
    """Raises BadInput with the lines that cannot be read. What a crash cut is left out."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BadInput([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}")]) from error
    calls: list[RecordedCall] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split(b"\n"), 1):
        if not line.strip() or len(problems) == _MOST_PROBLEMS:
            continue
        try:
            call = RecordedCall.model_validate_json(line)
            call.answer  # noqa: B018 - that it can be read is found out before the run
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            if "EOF while parsing" in first["msg"]:
                continue  # a crash cut it
            where = ".".join(map(str, first["loc"])) or "the line"
            problems.append(Problem(str(path), number, 1, f"{where}: {first['msg']}"))
        except binascii.Error as error:
            problems.append(Problem(str(path), number, 1, f"body_base64: {error}"))
        else:
            calls.append(call)
    if not calls and not problems:
        problems.append(Problem(str(path), 0, 0, "holds no recorded call", "llm.record makes a recording."))
    if problems:
        raise BadInput(problems)
    return Recording(path, calls)
