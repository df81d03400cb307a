"""Folders in the cache that threads and processes share: whoever comes first makes one, the others wait."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.text import format_seconds

Note = Callable[[str], None]

# Longer than everything that is done under such a lock may take.
LONGEST_WAIT = 1800.0
_LOOK_AGAIN = 0.1


@contextmanager
def locked(
    file: Path, what: str, cancel: Cancellation, note: Note, longest: float = LONGEST_WAIT
) -> Iterator[int]:
    """Hold the lock ``file`` while ``what`` is made; its descriptor, which a child may inherit and hold too.

    The kernel lets go of it once every process that has the descriptor is gone, however they end. Errors:
    ``CellFailure`` when asked to stop while waiting, and after ``longest`` seconds; ``OSError``.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _taken(descriptor):
            note(f"another run is making {what}; waiting for it")
            give_up = time.monotonic() + longest
            while not _taken(descriptor):
                if cancel.event.wait(_LOOK_AGAIN):
                    raise cancel.failure()
                if time.monotonic() > give_up:
                    raise CellFailure(
                        Cause.SCRIPT_ENVIRONMENT,
                        f"another run has been making {what} for {format_seconds(longest)}: "
                        f"end the process that holds {file}",
                    )
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
