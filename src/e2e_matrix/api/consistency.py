"""Whether all images of one ref serve the same API: every variant, on every platform.

Of one ref are the cells that the matrix has from the same one:

- a matrix with an axis ``ref`` says it of each cell;
- otherwise the run's ref is in the tag of the image (``repo:1.58.0-python``). Then what the server says of
  its build does not count: an image that was built from something else is just what is to be found;
- where it is in no tag (several releases under names of their own), the server's word is all there is: the
  commit that it was built from, else its version. Servers that say neither are taken for one ref.

The scenario does not matter: whatever is done to an image, it describes itself alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.api.kept import Described, Differences, Told, described_by
from e2e_matrix.results import Cell, Results
from e2e_matrix.script_words import counted
from e2e_matrix.text import one_line

_AXIS = "ref"
_DIGEST = len("sha256:") + 12


@dataclass(frozen=True)
class Finding:
    """Cells of one ref whose servers describe another API than those that most have in common.

    ``told``: what is different for a client of the others. Nothing is where only the documentation is.
    """

    ref: str
    cells: tuple[str, ...]
    digest: str
    others: tuple[str, ...]
    others_digest: str
    told: Told

    @property
    def matters(self) -> bool:
        """Whether anything but the documentation is different, or may be."""
        return self.told.difference is None or bool(self.told.difference)

    @property
    def words(self) -> str:
        """One line: ``java-arm64 describes another API than 5 cells of 1.58.0: 1 breaking change, ...``."""
        these = ", ".join(self.cells[:3]) + (f" and {len(self.cells) - 3} more" if self.cells[3:] else "")
        verb = "describes" if len(self.cells) == 1 else "describe"
        who = self.others[0] if len(self.others) == 1 else counted(len(self.others), "cell")
        what = self.told.words
        if self.told.difference is not None and not self.told.difference:
            what = "only its documentation is different"
        digests = f"{self.digest[:_DIGEST]} instead of {self.others_digest[:_DIGEST]}"
        return one_line(f"{these} {verb} another API than {who} of {self.ref}: {what} ({digests})", 600)


def same_api(
    cells: Sequence[Cell],
    *,
    folder: Path | None = None,
    ref: str | None = None,
    differences: Differences | None = None,
) -> list[Finding]:
    """The cells of one run whose API is not that of the others of their ref; empty where all is well.

    ``folder``: the run's, to say what is different; ``ref``: the run's setting. Of two APIs that are equally
    common the first one met is the reference. ``differences`` are those that were found before.
    """
    described = described_by({cell.id: cell for cell in cells}, folder)
    refs: dict[str, dict[str, list[str]]] = {}
    for cell in cells:
        if cell.id in described:
            digests = refs.setdefault(ref_of(cell, ref), {})
            digests.setdefault(described[cell.id].api.digest, []).append(cell.id)
    differences = differences or Differences()
    return [
        finding
        for name, digests in refs.items()
        for finding in _findings(name, digests, described, differences)
    ]


def of_run(results: Results, folder: Path | None, differences: Differences | None = None) -> list[Finding]:
    """``same_api`` of all the cells of a run."""
    ref = results.run.settings.get("ref")
    return same_api(
        results.cells,
        folder=folder,
        ref=str(ref.value) if ref else None,
        differences=differences or Differences.of(folder),
    )


def ref_of(cell: Cell, ref: str | None) -> str:
    """What the cell's image is of, as this module takes it; ``ref`` is the run's setting."""
    if _AXIS in cell.axes:
        return cell.axes[_AXIS]
    tag = cell.image.reference.partition("@")[0].rpartition(":")[2]
    if ref and (tag == ref or tag.startswith(f"{ref}-")):
        return ref
    build = cell.server.build_git_sha
    if build and build != "unknown":
        return f"commit {build}"
    return f"version {cell.server.version}" if cell.server.version else "an unknown version"


def _findings(
    ref: str, digests: dict[str, list[str]], described: dict[str, Described], differences: Differences
) -> list[Finding]:
    common = max(digests, key=lambda digest: len(digests[digest]))
    reference = described[digests[common][0]]
    return [
        Finding(
            one_line(ref, 80),
            tuple(names),
            digest,
            tuple(digests[common]),
            common,
            differences.between(reference, described[names[0]]),
        )
        for digest, names in digests.items()
        if digest != common
    ]
