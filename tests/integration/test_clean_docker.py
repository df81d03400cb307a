"""Clean on the real engine: containers of a living process, of a dead one, and of somebody else."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import docker
import pytest
from docker import DockerClient

from e2e_matrix import owner
from e2e_matrix.clean import clean
from e2e_matrix.engine import docker_images, probe
from e2e_matrix.engine.base import (
    LABEL_DEADLINE,
    LABEL_OWNER,
    LABEL_RUN,
    ContainerSpec,
    ContainerSummary,
    ImageSummary,
)
from e2e_matrix.engine.docker import DockerEngine
from support import tiny_image

TEST_LABEL = "e2e-matrix-test"  # not one of the product's: it keeps tests that run at the same time apart


class OnlyThisTests(DockerEngine):
    """Docker, with nothing on it but this test's containers: other runs may be going on."""

    token = ""

    def list(self, labels: Mapping[str, str | None]) -> Sequence[ContainerSummary]:
        return super().list({**labels, TEST_LABEL: self.token})

    def list_images(self, labels: Mapping[str, str | None]) -> Sequence[ImageSummary]:
        return super().list_images({**labels, TEST_LABEL: self.token})


@pytest.fixture(scope="module")
def client() -> Iterator[DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def image(client: DockerClient) -> Iterator[str]:
    tag = f"clean-{secrets.token_hex(4)}"
    client.api.import_image_from_data(tiny_image.root_tar(), repository="e2e-matrix-test", tag=tag)
    yield f"e2e-matrix-test:{tag}"
    client.images.remove(f"e2e-matrix-test:{tag}", force=True)


@pytest.fixture
def engine(client: DockerClient) -> Iterator[OnlyThisTests]:
    engine = OnlyThisTests.connect()
    assert isinstance(engine, OnlyThisTests)
    engine.token = secrets.token_hex(4)
    yield engine
    for container in client.containers.list(all=True, filters={"label": f"{TEST_LABEL}={engine.token}"}):
        container.remove(force=True, v=True)
    engine.close()


def add(engine: OnlyThisTests, image: str, name: str, labels: Mapping[str, str]) -> str:
    """A container that runs until it is removed; its full name."""
    full = f"{name}-{engine.token}"
    spec = ContainerSpec(
        image,
        "linux/amd64",
        full,
        {**labels, TEST_LABEL: engine.token},
        entrypoint=["/program", "deaf"],
        host_alias=None,
    )
    engine.start(engine.create(spec))
    return full


def left(engine: OnlyThisTests) -> set[str]:
    return {container.name for container in engine.list({})}


def of(owner_label: str, deadline: float = 600) -> dict[str, str]:
    return {
        LABEL_RUN: "test-clean",
        LABEL_OWNER: owner_label,
        LABEL_DEADLINE: owner.deadline_label(deadline),
    }


def ended_process() -> str:
    code = "from e2e_matrix import owner; print(owner.current())"
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_only_what_is_abandoned_goes_and_all_takes_the_living(engine: OnlyThisTests, image: str) -> None:
    dead = add(engine, image, "dead", of(ended_process()))
    alive = add(engine, image, "alive", of(owner.current(), deadline=-60))
    overdue = add(engine, image, "overdue", of("elsewhere:1:x.1.1", deadline=-60))
    foreign = add(engine, image, "foreign", {})

    assert clean(engine, dry_run=True) == [dead, overdue]
    assert left(engine) == {dead, alive, overdue, foreign}

    assert clean(engine) == [dead, overdue]
    assert left(engine) == {alive, foreign}

    assert clean(engine, everything=True) == [alive]
    assert left(engine) == {foreign}


def test_what_a_killed_probe_imported_goes_and_an_image_with_a_name_of_its_own_stays(
    engine: OnlyThisTests, client: DockerClient
) -> None:
    labels = {**of(ended_process()), LABEL_RUN: probe.RUN, TEST_LABEL: engine.token}

    def add_image(repository: str, labels: Mapping[str, str]) -> str:
        packed = probe.image_tar("linux/amd64")
        assert packed is not None
        docker_images.load(client.api, packed, repository, engine.token, labels)
        return f"{repository}:{engine.token}"

    dead = add_image(probe.REPOSITORY, labels)
    mine = add_image("e2e-matrix-test", {**labels, "somebody": "else"})
    alive = add_image(probe.REPOSITORY + "-not", {**labels, LABEL_OWNER: owner.current()})
    try:
        assert clean(engine) == [dead]
        assert {name for image in engine.list_images({}) for name in image.references} == {mine, alive}
    finally:
        for image in engine.list_images({}):
            client.api.remove_image(image.id, force=True)


def test_what_a_probe_imports_says_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[ImageSummary] = []
    docker_engine = DockerEngine.connect()
    load = docker_images.load

    def watched(*arguments: Any) -> str:
        image = load(*arguments)
        seen.extend(one for one in docker_engine.list_images({LABEL_RUN: probe.RUN}) if one.id == image)
        return image

    monkeypatch.setattr(docker_images, "load", watched)
    docker_engine.probe("linux/amd64")
    docker_engine.close()
    [image] = seen
    assert image.labels[LABEL_OWNER] == owner.current()
    assert not owner.is_past(image.labels[LABEL_DEADLINE])
    assert all(name.startswith(f"{probe.REPOSITORY}:") for name in image.references)
