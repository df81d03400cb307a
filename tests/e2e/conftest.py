"""The real agent-server in real containers: the local images, from a real registry, on a real engine."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local import contract, demo
from e2e_matrix.local.contract import ContractImages
from e2e_matrix.local.demo import Served
from support.engine_proxy import EngineProxy, engine_proxy
from support.outside import Outside
from support.private_engine import POSSIBLE, WHY_NOT, PrivateEngine, private_engine
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


@pytest.fixture(scope="session")
def private(
    contract_images: ContractImages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateEngine]:
    """A dockerd that tests may kill and restart; it gives up a download at once, where others take 75 s.

    It has the contract server's layers, so that the time of a pull is what a test makes of it.
    """
    if not POSSIBLE:
        pytest.skip(WHY_NOT)
    folder = tmp_path_factory.mktemp("private")
    with private_engine(folder, "2g", "--max-download-attempts", "1") as opened:
        [image] = [image for image in contract_images.build.images if image.arch == "amd64"]
        with closing(DockerEngine.connect(opened.address)) as engine:
            repository = contract_images.template.partition(":{")[0]
            engine.pull(f"{repository}@{image.manifest.digest}", "linux/amd64")
        yield opened


@pytest.fixture
def on_private(private: PrivateEngine, contract_images: ContractImages, tmp_path: Path) -> Iterator[Outside]:
    """Runs on the private engine."""
    with (
        closing(DockerEngine.connect(private.address)) as engine,
        closing(Outside(contract_images, engine, tmp_path, DOCKER_HOST=private.address)) as opened,
    ):
        yield opened


@pytest.fixture(scope="module")
def module_outside(
    contract_images: ContractImages, engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outside]:
    """For the one run that the tests of a module look at."""
    with closing(Outside(contract_images, engine, tmp_path_factory.mktemp("outside"))) as opened:
        yield opened


@pytest.fixture
def outside(contract_images: ContractImages, engine: DockerEngine, tmp_path: Path) -> Iterator[Outside]:
    """Runs of contract servers on the machine's engine."""
    with closing(Outside(contract_images, engine, tmp_path)) as opened:
        yield opened


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[EngineProxy]:
    with engine_proxy(tmp_path / "engine.sock") as made:
        yield made


@pytest.fixture
def behind(outside: Outside, proxy: EngineProxy) -> Outside:
    """Runs that reach the machine's engine through the proxy."""
    outside.environment["DOCKER_HOST"] = proxy.address
    return outside
