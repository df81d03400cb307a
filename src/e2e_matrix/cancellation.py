"""Asking running cells to stop, and why."""

from __future__ import annotations

import threading

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import POLICIES, Cause


class Cancellation:
    """Set once; every wait of a cell looks at it. The first cause stays."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._urgent = threading.Event()
        self._cause = Cause.INTERRUPTED
        self._lock = threading.Lock()

    def cancel(self, cause: Cause) -> None:
        with self._lock:
            if not self.event.is_set():
                self._cause = cause
                self.event.set()

    def hurry(self) -> None:
        """Ask that what was asked for be done at once: whoever schedules leaves everything and removes."""
        self._urgent.set()

    @property
    def is_urgent(self) -> bool:
        return self._urgent.is_set()

    def check_urgent(self) -> None:
        """Raise ``KeyboardInterrupt`` if somebody asked for it at once."""
        if self.is_urgent:
            raise KeyboardInterrupt

    @property
    def is_set(self) -> bool:
        return self.event.is_set()

    def failure(self) -> CellFailure:
        return CellFailure(self._cause, POLICIES[self._cause].what)

    def check(self) -> None:
        """Raise the cause as a ``CellFailure`` if somebody asked to stop."""
        if self.is_set:
            raise self.failure()
