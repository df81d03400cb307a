"""Everything that this package raises on purpose.

    E2EMatrixError            exit 3
    ├── BadInput              exit 2   what a person wrote cannot be used; carries every Problem found
    ├── InfrastructureError   exit 3   the engine, a registry, this machine
    │   ├── EngineUnavailable
    │   └── PublishError    GitHub refused what was to be posted, or did not answer
    └── CellFailure           (an outcome, not an exit code: see failures.py)

A message says what happened, where, and what to do next; it is shown without a traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Self

from e2e_matrix.failures import Cause

EXIT_PASSED = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INFRASTRUCTURE = 3
EXIT_INTERRUPTED = 130

MAX_PROBLEMS = 100


class E2EMatrixError(Exception):
    """Base of the tree; ``str()`` is the whole message for a person."""

    exit_code = EXIT_INFRASTRUCTURE
    told = False  # whether what the run came to before it was told to the workflow already


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with the input: ``line`` and ``column`` count from 1, 0 where there is none."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = (
            f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        )
        return f"{place}{self.message}" + (f"\n    {self.hint}" if self.hint else "")


class BadInput(E2EMatrixError):
    """A file, option or variable cannot be used. Raised once, with all the problems, or the first 100."""

    exit_code = EXIT_BAD_INPUT

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(_first(sorted(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def _first(problems: Sequence[Problem]) -> Sequence[Problem]:
    """As many as a person may read; the last one counts the rest."""
    if len(problems) <= MAX_PROBLEMS:
        return problems
    first, rest = problems[: MAX_PROBLEMS - 1], problems[MAX_PROBLEMS - 1 :]
    more = replace(rest[0], message=f"and {len(rest)} more problems from here on", hint="mend these first")
    return [*first, more]


class InfrastructureError(E2EMatrixError):
    """The machine, the engine or a registry kept the run from happening. ``fix`` says what to do."""

    def __init__(self, message: str, fix: str = "") -> None:
        self.fix = fix
        super().__init__(message + (f"\n    {fix}" if fix else ""))


class EngineUnavailable(InfrastructureError):
    """No container engine answers, or one that cannot be used."""


class PublishError(InfrastructureError):
    """Nothing was posted. ``status`` is GitHub's, None where no answer came; ``retry_after``: seconds that it
    asks to be left alone for."""

    def __init__(
        self, message: str, fix: str = "", *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        self.status = status
        self.retry_after = retry_after
        super().__init__(message, fix)

    @property
    def for_good(self) -> bool:
        """Whether the token may not do this, or not even see it; a limit, which passes, is no such thing."""
        return self.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND) and self.retry_after is None


class CellFailure(E2EMatrixError):
    """What ends one cell. The cause decides the outcome, in failures.py and nowhere else.

    ``expected`` and ``got`` are set where an assertion failed; ``detail`` is text from outside
    (a log excerpt, an error body): hostile, bounded by whoever sets it. ``retry_after``: seconds that
    whoever refused asks to be left alone for.
    """

    def __init__(
        self,
        cause: Cause,
        message: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        detail: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.cause = cause
        self.message = message
        self.expected = expected
        self.got = got
        self.detail = detail
        self.retry_after = retry_after
        super().__init__(message)

    def redacted(self, redact: Callable[[str], str]) -> Self:
        """The same, with every text as ``redact`` lets it be written down."""
        return type(self)(
            self.cause,
            redact(self.message),
            expected=self.expected and redact(self.expected),
            got=self.got and redact(self.got),
            detail=self.detail and redact(self.detail),
            retry_after=self.retry_after,
        )
