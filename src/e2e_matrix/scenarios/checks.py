"""Everything that is wrong in one step, and not only what was found first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.scenarios import container
from e2e_matrix.scenarios.base import Session, StepRecord


class Checks:
    """What the checks of one step found wrong so far."""

    def __init__(self, session: Session, step: StepRecord) -> None:
        self.session = session
        self.step = step
        self._wrong: list[CellFailure] = []

    @contextmanager
    def one(self) -> Iterator[None]:
        """One check: a product that fails it is noted, and the next check goes on."""
        self.session.cancel.check()
        self.step.deadline.check()
        try:
            with container.transport(self.session, self.step):
                yield
        except CellFailure as failure:
            if failure.cause is not Cause.ASSERTION:
                raise
            self._wrong.append(failure)

    def expect(self, what: str, expected: object, got: object, *, detail: str | None = None) -> None:
        """Note it unless ``got`` equals ``expected``."""
        if got != expected:
            self.wrong(what, str(expected), str(got), detail=detail)

    def wrong(self, what: str, expected: str, got: str, *, detail: str | None = None) -> None:
        self._wrong.append(CellFailure(Cause.ASSERTION, what, expected=expected, got=got, detail=detail))

    def messages(self) -> list[str]:
        """What is wrong so far, for a failure that is worse."""
        return [f"{one.message}: expected {one.expected}, got {one.got}" for one in self._wrong]

    def close(self) -> None:
        """Fail the step where anything was wrong, with all of it."""
        found = {(one.message, one.expected, one.got): one for one in self._wrong}
        if len(found) < 2:
            for failure in found.values():
                raise failure
            return
        # A server that refuses every request is told of once.
        messages = dict.fromkeys(one.message for one in found.values())
        raise CellFailure(
            Cause.ASSERTION,
            "; ".join(messages),
            expected=_listed({one.message: one.expected for one in found.values()}),
            got=_listed({one.message: one.got for one in found.values()}),
            detail=next((one.detail for one in found.values() if one.detail), None),
        )


def _listed(texts: dict[str, str | None]) -> str:
    return "\n".join(f"{what}: {text}" for what, text in texts.items() if text is not None)


@contextmanager
def checks(session: Session, name: str, title: str, *, limit: float) -> Iterator[Checks]:
    """A step of several checks, of at most ``limit`` seconds natively; what follows it goes on."""
    with session.step(name, title, phase="checks", limit=limit, go_on=True) as step:
        found = Checks(session, step)
        try:
            yield found
        except CellFailure as failure:
            failure.detail = "\n".join(filter(None, [failure.detail, *found.messages()])) or None
            raise
        found.close()
