"""The APIs of two runs, cell by cell: what a client of the baseline's images meets in the candidate's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.api.changes import ApiChange
from e2e_matrix.api.kept import Differences, Told, described_by
from e2e_matrix.results import Cell, Results
from e2e_matrix.script_words import counted
from e2e_matrix.text import one_line


@dataclass(frozen=True)
class ApiPair:
    """Two APIs, and the cells that went from the one to the other."""

    cells: tuple[str, ...]
    baseline_digest: str
    candidate_digest: str
    told: Told

    @property
    def words(self) -> str:
        return f"{counted(len(self.cells), 'cell')}: {self.told.words}"


@dataclass(frozen=True)
class ApiComparison:
    """``undescribed``: of cells that both have, why nothing is known of the API, by name."""

    pairs: list[ApiPair]
    undescribed: dict[str, str]

    @property
    def breaking(self) -> list[tuple[ApiChange, tuple[str, ...]]]:
        """What breaks a client of the baseline, each with the cells in which it does."""
        found: dict[ApiChange, list[str]] = {}
        for pair in self.pairs:
            for change in pair.told.difference.breaking if pair.told.difference else ():
                found.setdefault(change, []).extend(pair.cells)
        return [(change, tuple(cells)) for change, cells in found.items()]

    @property
    def breaks(self) -> str:
        """How much that is and where, such as ``3 breaking changes in 6 cells``; "" where nothing breaks."""
        found = self.breaking
        told = [pair.told.difference for pair in self.pairs if pair.told.difference]
        # Those that are not listed may be the same in several pairs: they are counted where most are.
        number = len(found) + max((difference.omitted_breaking for difference in told), default=0)
        cells = counted(len({cell for _, names in found for cell in names}), "cell")
        return f"{counted(number, 'breaking change')} in {cells}" if found else ""

    @property
    def known(self) -> bool:
        """Whether the API of every cell that both have is known in both."""
        return not self.undescribed and all(pair.told.difference is not None for pair in self.pairs)

    @property
    def words(self) -> str:
        """One line for all cells."""
        parts = [pair.words if len(self.pairs) > 1 else pair.told.words for pair in self.pairs]
        if self.undescribed:
            parts.append(f"not known of {counted(len(self.undescribed), 'cell')}")
        return "; ".join(parts) or "no cell is in both"


def of_runs(
    baseline_folder: Path, baseline: Results, candidate_folder: Path, candidate: Results
) -> ApiComparison:
    """The cells that both runs have, by their ids, compared as their folders keep them. Never raises."""
    before, after = ({cell.id: cell for cell in one.cells} for one in (baseline, candidate))
    return of_cells(before, baseline_folder, after, candidate_folder)


def of_cells(
    baseline: Mapping[str, Cell],
    baseline_folder: Path | None,
    candidate: Mapping[str, Cell],
    candidate_folder: Path | None,
    differences: Differences | None = None,
) -> ApiComparison:
    """The same for cells under names that both have, such as those of two values of an axis.

    ``differences`` are those that were found before.
    """
    before = described_by(baseline, baseline_folder)
    after = described_by(candidate, candidate_folder)
    pairs: dict[tuple[str, str], list[str]] = {}
    undescribed = {}
    for name in baseline:
        if name not in candidate:
            continue
        missing = [
            f"{_why(cells[name])} {side}"
            for cells, known, side in (
                (baseline, before, "in the baseline"),
                (candidate, after, "in the candidate"),
            )
            if name not in known
        ]
        if missing:
            undescribed[name] = "; ".join(missing)
        else:
            pairs.setdefault((before[name].api.digest, after[name].api.digest), []).append(name)
    differences = differences or Differences()
    return ApiComparison(
        [
            ApiPair(tuple(names), *digests, differences.between(before[names[0]], after[names[0]]))
            for digests, names in pairs.items()
        ],
        undescribed,
    )


def _why(cell: Cell) -> str:
    if cell.reused_from is not None:
        return one_line(f"its pass is one of run {cell.reused_from.run}")
    return "no description was kept" if cell.attempts else "it did not run"
