"""Fuzz of matrix.yaml: thousands of mutated files, each of which must make a plan or problems with places.

    python bench/fuzz.py --examples 25000 --seed 0

The same mutations as tests/unit/test_matrix_fuzz.py, which has a small budget, and here also the large ones.
Prints what they came to. A file that breaks the promise is made as small as it goes and shown.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, given

from e2e_matrix.plan import Plan

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.matrix_mutations import Hostile, hostile_files
from support.matrix_property import Outcome, outcome


class Tally:
    """What the files came to."""

    def __init__(self) -> None:
        self.files: set[bytes] = set()
        self.levels: Counter[str] = Counter()
        self.accepted: Counter[str] = Counter()
        self.commands = self.cells = self.problems = 0
        self.slowest = 0.0

    def add(self, hostile: Hostile, outcome: Outcome) -> None:
        """Count it, unless the same file was there before."""
        digest = hashlib.sha256(hostile.data).digest()
        if digest in self.files:
            return
        self.files.add(digest)
        self.levels[hostile.level] += 1
        self.commands += hostile.in_sample
        self.slowest = max(self.slowest, outcome.seconds)
        if isinstance(outcome.found, Plan):
            self.accepted[hostile.level] += 1
            self.cells += len(outcome.found.cells)
        else:
            self.problems += len(outcome.found)

    def __str__(self) -> str:
        lines = [f"{len(self.files)} different files, {self.commands} of them also through the command"]
        lines.append(f"  {'level':<16}{'files':>8}{'accepted':>10}")
        for level, count in sorted(self.levels.items()):
            lines.append(f"  {level:<16}{count:>8}{self.accepted[level]:>10}")
        lines.append(f"accepted: {self.accepted.total()}, with {self.cells} cells")
        lines.append(f"refused: {len(self.files) - self.accepted.total()}, with {self.problems} problems")
        lines.append(f"slowest: {self.slowest:.2f} s of CPU")
        return "\n".join(lines)


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument(
        "--examples", type=int, default=25_000, help="about three of five are different files"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:

        @hypothesis.seed(options.seed)
        @hypothesis.settings(
            max_examples=options.examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(hostile=hostile_files(any_size=True))
        def fuzz(hostile: Hostile) -> None:
            tally.add(hostile, outcome(hostile, Path(folder)))

        begin = time.monotonic()
        fuzz()
    print(f"{options.examples} examples in {time.monotonic() - begin:.0f} s\n{tally}")


if __name__ == "__main__":
    main()
