"""In which order the cells of a run start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from e2e_matrix.record import Prepared


def longest_first(cells: Sequence[Prepared], seconds: Mapping[str, float]) -> list[Prepared]:
    """The cells by how long they are expected to take, so that no worker waits for a last long one.

    ``seconds`` is what each of those took that are known from earlier runs; where none is, the order stays.
    One that is not known is taken to be as long as those of its scenario, natively or emulated, which is
    better than to start it first or last (bench/schedule.py); where there are none of them it starts first,
    for it may be the longest. What is expected to take the same keeps its order, as the repetitions of a cell
    do. Where the times come true, a run takes at most a third longer than in the best order (Graham, SIAM J.
    Appl. Math. 17, 1969).
    """
    alike: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for cell in cells:
        if (known := seconds.get(cell.planned.id)) is not None:
            alike[cell.planned.scenario, cell.emulated].append(known)
    if not alike:
        return list(cells)

    def expected(cell: Prepared) -> float:
        known = seconds.get(cell.planned.id)
        others = alike.get((cell.planned.scenario, cell.emulated))
        return known if known is not None else median(others) if others else float("inf")

    return sorted(cells, key=expected, reverse=True)
