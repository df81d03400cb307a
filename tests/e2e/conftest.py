"""The real agent-server in real containers: the local images, from a real registry, on a real engine."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local import contract, demo
from e2e_matrix.local.contract import ContractImages
from e2e_matrix.local.demo import Served
from support.real_runs import Ran, Runner


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with demo.served(print) as images:
        yield images


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    with closing(DockerEngine.connect()) as connected:
        yield connected


@pytest.fixture(scope="session")
def contract_images(served: Served) -> ContractImages:
    """The contract server in the same registry; its faults are an axis of a test's own matrix.yaml."""
    return contract.publish(served.host, print)


@pytest.fixture
def runner(served: Served, engine: DockerEngine, tmp_path: Path) -> Runner:
    return Runner(served, engine, tmp_path)


@pytest.fixture(scope="session")
def six(served: Served, engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One run of the whole matrix, which several tests look at."""
    return Runner(served, engine, tmp_path_factory.mktemp("six")).run()
