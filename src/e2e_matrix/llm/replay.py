"""The replay: answers containers from a recording, call by call, with no network and no key.

A call is answered by the first recorded one that asks the same and was not used yet: in the order of the
recording, but calls that were made at the same time may come in another order.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from e2e_matrix.llm.difference import difference, normalised
from e2e_matrix.llm.local_http import LocalServer, Reply, Request
from e2e_matrix.llm.recording import RecordedCall, Recording, request_of, without_secrets
from e2e_matrix.llm.usage import Usage, usage_of
from e2e_matrix.redaction import Secrets
from e2e_matrix.scenarios.base import ReplayDifference
from e2e_matrix.text import one_line

# The server gives up at once on a 400 (1.58.0); the header tells the openai client not to ask again either.
# The words are fixed: the SDK reads some meanings out of an error's text.
_STATUS = 400
_MESSAGE = "e2e-matrix replays a recording, and this request is not in it."


@dataclass
class _Expected:
    call: RecordedCall

    @cached_property
    def what(self) -> Any:
        """What the call asked, to be compared; once for all attempts: a request may be long."""
        return _what(self.call.method, self.call.path, self.call.request)


@dataclass
class _Attempt:
    cell: str
    left: list[_Expected]  # not asked for yet
    secrets: Secrets
    asked: int = 0
    difference: ReplayDifference | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Replay:
    """Listens on ``host`` and answers from ``recording``. Raises InfrastructureError where it cannot."""

    def __init__(self, host: str, recording: Recording) -> None:
        self._recording = recording
        self._expected: dict[tuple[str, str], list[_Expected]] = {}
        self._attempts: dict[str, _Attempt] = {}
        self.server = LocalServer(host, "the replay of the model's calls", self._answer)

    def issue_key(self, cell: str, scenario: str, journal: Path | None = None) -> str:
        """A new random API key for one attempt, to which the cell's recording is replayed from its start."""
        key = self.server.log.issue_key(journal)
        calls = self._recording.calls_for(cell, scenario)
        expected = self._expected.setdefault((cell, scenario), [_Expected(call) for call in calls])
        self._attempts[key] = _Attempt(cell, list(expected), Secrets([key]))
        return key

    def hide(self, key: str, *values: str) -> None:
        """What the recorder would have kept out of the recording has to be out of the requests as well."""
        self._attempts[key].secrets.add(*values)

    def difference(self, key: str) -> ReplayDifference | None:
        """Of the first call that was not the recorded one."""
        attempt = self._attempts[key]
        with attempt.lock:
            return attempt.difference

    def unused(self, key: str) -> int:
        """How many recorded calls were not asked for."""
        attempt = self._attempts[key]
        with attempt.lock:
            return len(attempt.left)

    def close(self) -> None:
        self.server.stop()

    def _answer(self, request: Request, reply: Reply) -> Usage:
        attempt = self._attempts[request.key]
        with attempt.lock:
            attempt.asked += 1
            call = self._take(attempt, request)
        if call is None:
            reply.error(_STATUS, _MESSAGE, "replay_differs", x_should_retry="false")
            return Usage()
        if call.status is not None:
            reply.start(call.status, call.headers.items())
            reply.send(call.answer)
        if call.status is None or call.broken:
            reply.hang_up()
        else:
            reply.finish()
        return usage_of(call.answer) if call.status == 200 else Usage()

    def _take(self, attempt: _Attempt, request: Request) -> RecordedCall | None:
        """The recorded call that answers this one; where there is none, the difference is kept."""
        redact = attempt.secrets.redact
        body = without_secrets(request_of(request.body), redact)
        asked = _what(request.method, redact(request.target), body)
        for index, expected in enumerate(attempt.left):
            if expected.what == asked:
                return attempt.left.pop(index).call
        attempt.difference = attempt.difference or self._explain(attempt, asked)
        return None

    def _explain(self, attempt: _Attempt, asked: Any) -> ReplayDifference:
        what = f"call {attempt.asked} to the model, {one_line(asked['call'], 100)},"
        if attempt.left:
            nearest = _nearest(attempt.left, asked).what
            return ReplayDifference(f"{what} is not the recorded one", difference(nearest, asked))
        recorded = f"no more than {attempt.asked - 1} recorded"
        if attempt.asked == 1:
            cells = one_line(", ".join(self._recording.cells), 200)
            recorded = f"none recorded for {attempt.cell}; {self._recording.path} has {cells}"
        return ReplayDifference(f"{what} was not recorded: {recorded}", difference(None, asked))


def _what(method: str, path: str, request: Any) -> Any:
    return normalised({"call": f"{method} {path}", "request": request})


def _nearest(left: Sequence[_Expected], asked: Any) -> _Expected:
    """The call to compare with: the next one to the same path, else the next one."""
    return next((expected for expected in left if expected.what["call"] == asked["call"]), left[0])
