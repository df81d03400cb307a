"""Whether what a run will write has room, found out before the first pull.

A pull that fills the engine's disk takes everything else on it down too. The registry's manifests tell the
compressed sizes; what they come to unpacked is an estimate, and a generous one.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from e2e_matrix.engine.base import Engine, is_local
from e2e_matrix.errors import CellFailure, InfrastructureError
from e2e_matrix.registry import ResolvedImage
from e2e_matrix.text import format_bytes

# Bytes on the disk (overlay2 on ext4) for each compressed one. Measured on the six demo images it is 2.7 to
# 3.3; docs/engine.md has the table.
UNPACKED_FACTOR = 3.3
# A run of six cells writes about 1 MB of records; its servers' logs may be long.
LITTLE = 50_000_000

Free = Callable[[Path], int | None]
Say = Callable[[str], None]


def free_bytes(folder: Path) -> int | None:
    """Free for anybody on the file system of ``folder``; None where it does not tell (statvfs(3))."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize if found.f_blocks else None


def check_reports(reports: Path, say: Say, free: Free = free_bytes) -> None:
    """Raises InfrastructureError where nothing is free for the run's folder; says so where it is little."""
    place = next(folder for folder in (reports, *reports.absolute().parents) if folder.exists())
    left = free(place)
    if left == 0:
        raise InfrastructureError(
            f"nothing is free at {place}, where the results go",
            "Free space there, or choose another folder with --reports.",
        )
    if left is not None and left < LITTLE:
        say(f"only {format_bytes(left)} is free at {place}, where the results go")


def check_images(
    cells: Sequence[ResolvedImage], engine: Engine, removing: int | None, free: Free = free_bytes
) -> None:
    """Raises InfrastructureError where the engine's disk has no room for the images that it lacks.

    ``cells`` are the images of the cells that will run, in the order in which they start. ``removing`` is
    how many cells run at a time where each image goes after its last cell; None where they stay. Silent
    where the engine or its disk is out of sight: then a full disk is found out by the pull.
    """
    root = _store(engine)
    if root is None or (left := free(root)) is None:
        return
    try:
        present = _present(engine)
    except CellFailure:
        return  # an engine that does not answer fails the cells, in its own words
    there = {layer for image in cells if image.digest in present for layer in image.layers}
    wanted = [frozenset(image.layers) - there for image in cells]
    compressed = _size(wanted) if removing is None else _at_one_time(wanted, cells, removing)
    needed = round(compressed * (1 + UNPACKED_FACTOR))  # while it pulls, an engine has both
    if needed > left:
        raise InfrastructureError(
            f"the images need about {format_bytes(needed)} of disk ({format_bytes(compressed)} to download), "
            f"and {format_bytes(left)} is free at {root}",
            "Free some (`docker system df` shows what the engine keeps), run fewer cells at once with --only"
            + (", or fewer at a time with --max-parallel." if removing else ", or set images: remove."),
        )


_Layers = frozenset[tuple[str, int]]


def _size(images: Iterable[_Layers]) -> int:
    return sum(size for _, size in frozenset().union(*images))


def _at_one_time(wanted: Sequence[_Layers], cells: Sequence[ResolvedImage], workers: int) -> int:
    """The most that is on the disk at once when an image goes with its last cell.

    Whenever a cell starts, there are the images that cells before and after it share, its own, and those of
    at most ``workers - 1`` others, which are still running: the largest, for who knows which are slow.
    """
    digests = [image.digest for image in cells]
    last = {digest: place for place, digest in enumerate(digests)}
    layers = dict(zip(digests, wanted, strict=True))
    alone = {digest: _size([layers[digest]]) for digest in layers}
    most = 0
    for place in range(len(cells)):
        so_far = dict.fromkeys(digests[: place + 1])
        kept = [digest for digest in so_far if last[digest] >= place]
        gone = [digest for digest in so_far if last[digest] < place]
        running = heapq.nlargest(workers - 1, gone, key=lambda digest: alone[digest])
        most = max(most, _size(layers[digest] for digest in (*kept, *running)))
    return most


def _store(engine: Engine) -> Path | None:
    """Where the engine keeps images, where that is a folder that this process sees."""
    info = engine.info()
    root = Path(info.root_dir)
    return root if is_local(info.address) and root.is_absolute() and root.is_dir() else None


def _present(engine: Engine) -> set[str]:
    """The digests of the manifests that the engine has; the repository does not matter to the layers."""
    return {
        reference.partition("@")[2] for image in engine.list_images({}) for reference in image.references
    } - {""}
