"""Killed at random moments and resumed: nothing is lost, nothing is done twice, nothing is left behind.

A hundred rounds: bench/chaos.py.
"""

from pathlib import Path

import pytest

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.contract import ContractImages
from support.chaos import Chaos


@pytest.mark.timeout(600)
def test_runs_that_are_killed_and_resumed_end_as_an_undisturbed_one(
    contract_images: ContractImages, engine: DockerEngine, tmp_path: Path
) -> None:
    chaos = Chaos(contract_images, engine, tmp_path)
    rounds = [chaos.round(seed) for seed in range(5)]
    assert [this for this in rounds if this.faults] == []
    assert all(this.kills for this in rounds)
