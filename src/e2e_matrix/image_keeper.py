"""Lets the engine go of the images that a run itself pulled, as soon as no cell needs them.

What was there before the run stays, and so does what a container uses: the engine refuses to remove that, and
removing is never forced. Another run that finds an image gone pulls it again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

from e2e_matrix.engine.base import Engine
from e2e_matrix.errors import CellFailure
from e2e_matrix.results import Attempt

Say = Callable[[str], None]


def downloaded(attempt: Attempt) -> bool:
    """Whether this attempt's pull fetched the image, as its step says."""
    return any(step.name == "pull" and step.facts.get("was_present") is False for step in attempt.steps)


class ImageKeeper:
    """Knows which images this run pulled, and how many cells still need each. Thread-safe.

    ``needed`` has the reference of every cell's image, as it is pulled, once for each cell. Where not
    ``removing``, everything stays. A removal that fails is a line on ``say`` and changes no outcome.
    """

    def __init__(self, engine: Engine, removing: bool, needed: Iterable[str], say: Say) -> None:
        self._engine = engine
        self._removing = removing
        self._cells = Counter(needed)
        self._say = say
        self._pulled: set[str] = set()
        self._lock = threading.Lock()

    def pulled(self, reference: str) -> None:
        """This run downloaded it."""
        with self._lock:
            self._pulled.add(reference)

    def done(self, reference: str) -> None:
        """One cell has come to its end: no further attempt of it will want this image."""
        with self._lock:
            self._cells[reference] -= 1
            unwanted = self._cells[reference] <= 0 and reference in self._pulled
        if unwanted:
            self._remove(reference)

    def close(self) -> None:
        """The run has come to its end: also what cells that never started would have used is not needed."""
        with self._lock:
            pulled = sorted(self._pulled)
        for reference in pulled:
            self._remove(reference)

    def _remove(self, reference: str) -> None:
        with self._lock:
            if not self._removing or reference not in self._pulled:
                return
            self._pulled.remove(reference)  # whoever comes second has nothing to do
        try:
            self._engine.remove_image(reference)
        except CellFailure as failure:
            self._say(f"the image stays: {failure.message}")
