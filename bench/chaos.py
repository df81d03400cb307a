"""Kill runs at random moments, resume them until they are complete, and hold each to an undisturbed one.

    .venv/bin/python bench/chaos.py --rounds 100

What is held is in tests/support/chaos.py; `make test` does five rounds of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local import contract, demo, setup
from support import chaos


def main() -> int:
    parser = argparse.ArgumentParser(description="kill and resume, again and again")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each has its own")
    options = parser.parse_args()
    setup.ensure(print)
    with (
        demo.served(print) as served,
        closing(DockerEngine.connect()) as engine,
        tempfile.TemporaryDirectory() as folder,
    ):
        images = contract.publish(served.host, print)
        return chaos.main(images, engine, Path(folder), options.rounds, options.seed)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
