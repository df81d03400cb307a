"""Since when a cell fails, and what was another then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from e2e_matrix.failures import Outcome
from e2e_matrix.history.points import Point
from e2e_matrix.text import one_line


@dataclass(frozen=True)
class Since:
    """A cell that fails: ``failures`` times in a row by now, from ``first_bad`` to ``last_bad``.

    ``last_good`` is what it did before; None where it is not known to have passed.
    """

    first_bad: Point
    last_good: Point | None
    failures: int
    last_bad: Point

    @property
    def same_image(self) -> bool | None:
        """Whether it passed on the very image on which it then failed; None where nobody knows."""
        good, bad = self.last_good, self.first_bad
        return good.digest == bad.digest if good and good.digest and bad.digest else None

    @property
    def changed(self) -> list[str]:
        """What was another in the first bad run than in the last good one, in words; safe to show."""
        good, bad = self.last_good, self.first_bad
        if good is None:
            return []
        image = {
            True: f"the same image, {short(bad.digest)}",
            False: f"image {short(good.digest)} → {short(bad.digest)}",
            None: "it is not known whether the image was the same",
        }
        others = [
            f"{name} {one_line(before, 60)} → {one_line(after, 60)}"
            for name, before, after in (
                ("server", good.server_version, bad.server_version),
                ("scenario version", good.scenario_version, bad.scenario_version),
            )
            if before and after and before != after
        ]
        return [image[self.same_image], *others]


def short(digest: str | None) -> str:
    """Enough of a digest to tell it from others; safe to show."""
    return one_line(digest.removeprefix("sha256:"), 200)[:12] if digest else "unknown"


def since_when(points: Sequence[Point]) -> Since | None:
    """Of one cell's points, newest last; None where the newest that passed or failed by itself did not fail.

    Only what compares with that one counts, but for the version of the scenario: that may be what changed.
    """
    samples = [one for one in points if one.is_sample]
    if not samples or samples[-1].outcome is not Outcome.FAILED:
        return None
    alike = [one for one in samples if _kind(one) == _kind(samples[-1])]
    streak = 0
    while streak < len(alike) and alike[-1 - streak].outcome is Outcome.FAILED:
        streak += 1
    before = alike[: len(alike) - streak]
    return Since(alike[len(alike) - streak], before[-1] if before else None, streak, alike[-1])


def _kind(point: Point) -> tuple[str, bool, str, str]:
    return point.cell, point.emulated, point.scenario, point.model
