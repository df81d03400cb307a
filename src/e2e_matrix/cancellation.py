"""Asking running cells to stop, and why."""

from __future__ import annotations

import threading

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import POLICIES, Cause


class Cancellation:
    """Set once; every wait of a cell looks at it. The first cause stays."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._cause = Cause.INTERRUPTED
        self._lock = threading.Lock()

    def cancel(self, cause: Cause) -> None:
        with self._lock:
            if not self.event.is_set():
                self._cause = cause
                self.event.set()

    @property
    def is_set(self) -> bool:
        return self.event.is_set()

    def failure(self) -> CellFailure:
        return CellFailure(self._cause, POLICIES[self._cause].what)

    def check(self) -> None:
        """Raise the cause as a ``CellFailure`` if somebody asked to stop."""
        if self.is_set:
            raise self.failure()
