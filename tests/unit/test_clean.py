"""What clean removes, keeps and says; on an engine in memory."""

from __future__ import annotations

import pytest

from e2e_matrix import owner
from e2e_matrix.clean import clean, sweep
from e2e_matrix.engine import probe
from e2e_matrix.engine.base import LABEL_CELL, LABEL_DEADLINE, LABEL_OWNER, LABEL_RUN, ContainerSpec
from e2e_matrix.engine.fake import FakeEngine, FakeImage
from e2e_matrix.errors import EXIT_INFRASTRUCTURE, CellFailure, InfrastructureError
from e2e_matrix.failures import Cause
from support.engines import FAKE_IMAGE

LATER = owner.deadline_label(3600)
PAST = owner.deadline_label(-3600)
DEAD = owner.current().rpartition(".")[0] + ".1"  # our pid, but started with the machine
ELSEWHERE = "elsewhere:1:x.1.1"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine({"image": FAKE_IMAGE}, present=["image"])


def add(engine: FakeEngine, name: str, **labels: str) -> None:
    names = {"run": LABEL_RUN, "cell": LABEL_CELL, "owner": LABEL_OWNER, "deadline": LABEL_DEADLINE}
    ours = {names[key]: value for key, value in labels.items()}
    engine.create(ContainerSpec("image", "linux/amd64", name, ours))


def left(engine: FakeEngine) -> set[str]:
    return {container.name for container in engine.list({})}


def test_the_dead_and_what_is_overdue_elsewhere_go_and_everything_else_stays(engine: FakeEngine) -> None:
    add(engine, "dead", run="r", owner=DEAD, deadline=LATER)
    add(engine, "alive-and-overdue", run="r", owner=owner.current(), deadline=PAST)
    add(engine, "overdue-and-nobodys", run="r", deadline=PAST)
    add(engine, "overdue-elsewhere", run="r", owner=ELSEWHERE, deadline=PAST)
    add(engine, "alive", run="r", owner=owner.current(), deadline=LATER)
    add(engine, "elsewhere", run="r", owner=ELSEWHERE, deadline=LATER)
    add(engine, "bare", run="r")
    add(engine, "foreign", deadline=PAST)
    assert clean(engine) == ["dead", "overdue-and-nobodys", "overdue-elsewhere"]
    assert left(engine) == {"alive", "alive-and-overdue", "elsewhere", "bare", "foreign"}


def test_everything_means_everything_of_ours(engine: FakeEngine) -> None:
    add(engine, "alive", run="r", owner=owner.current(), deadline=LATER)
    add(engine, "owned", owner=ELSEWHERE)
    add(engine, "foreign")
    assert clean(engine, everything=True) == ["alive", "owned"]
    assert left(engine) == {"foreign"}


def test_a_dry_run_removes_nothing_and_says_what_would_go(engine: FakeEngine) -> None:
    add(engine, "dead", run="r", cell="python-amd64", owner=DEAD)
    said: list[str] = []
    assert clean(engine, dry_run=True, say=said.append) == ["dead"]
    assert said == ["would remove dead (r python-amd64; the process that started it is gone)"]
    assert left(engine) == {"dead"}


def test_every_container_of_ours_is_accounted_for(engine: FakeEngine) -> None:
    add(engine, "a-dead", owner=DEAD)
    add(engine, "b-alive", owner=owner.current())
    add(engine, "c-elsewhere", owner=ELSEWHERE, deadline=LATER)
    said: list[str] = []
    clean(engine, say=said.append)
    assert said == [
        "removed a-dead (the process that started it is gone)",
        "kept b-alive (its run is alive)",
        f"kept c-elsewhere (started on another machine and its deadline is {LATER})",
    ]


def test_one_that_cannot_be_removed_does_not_stop_the_others(engine: FakeEngine) -> None:
    for name in ("one", "two", "three"):
        add(engine, name, owner=DEAD)
    engine.fail_next("remove", CellFailure(Cause.INTERNAL, "device or resource busy"))
    said: list[str] = []
    with pytest.raises(InfrastructureError, match="could not remove 1 of 3: one") as caught:
        clean(engine, say=said.append)
    assert caught.value.exit_code == EXIT_INFRASTRUCTURE
    assert any("device or resource busy" in line for line in said)
    assert left(engine) == {"one"}


def test_nothing_of_ours_is_nothing_to_do(engine: FakeEngine) -> None:
    add(engine, "foreign")
    assert clean(engine) == []
    assert left(engine) == {"foreign"}


def add_image(engine: FakeEngine, reference: str, **labels: str) -> None:
    names = {"run": LABEL_RUN, "owner": LABEL_OWNER, "deadline": LABEL_DEADLINE}
    ours = {names[key]: value for key, value in labels.items()}
    engine.images[reference] = FakeImage(FAKE_IMAGE.programs, FAKE_IMAGE.entrypoint, labels=ours)
    engine.pull(reference, "linux/amd64")


def images_left(engine: FakeEngine) -> set[str]:
    return {name for image in engine.list_images({}) for name in image.references}


def test_what_a_probe_imported_goes_after_its_container(engine: FakeEngine) -> None:
    name = f"{probe.REPOSITORY}:linux-arm64-1"
    add_image(engine, name, run=probe.RUN, owner=DEAD)
    engine.create(
        ContainerSpec(name, "linux/amd64", "z-container", {LABEL_RUN: probe.RUN, LABEL_OWNER: DEAD})
    )
    said: list[str] = []
    assert clean(engine, say=said.append) == ["z-container", name]
    assert said[1] == f"removed image {name} (probe; the process that started it is gone)"
    assert images_left(engine) == {"image"}


def test_an_image_of_a_living_probe_and_one_that_somebody_made_of_our_container_stay(
    engine: FakeEngine,
) -> None:
    alive = f"{probe.REPOSITORY}:linux-arm64-2"
    add_image(engine, alive, run=probe.RUN, owner=owner.current(), deadline=LATER)
    add_image(engine, "my/evidence:1", run="20260101T000000Z-abc", owner=DEAD, deadline=PAST)
    add_image(engine, "my/probe:1", run=probe.RUN, owner=DEAD, deadline=PAST)
    assert clean(engine) == []
    assert clean(engine, everything=True) == [alive]
    assert images_left(engine) == {"image", "my/evidence:1", "my/probe:1"}


def test_a_run_sweeps_what_is_abandoned_and_says_no_more_than_that(engine: FakeEngine) -> None:
    add(engine, "dead", run="r", cell="python-amd64", owner=DEAD)
    add(engine, "alive", run="r", owner=owner.current(), deadline=LATER)
    said: list[str] = []
    sweep(engine, said.append)
    assert said == ["removed dead (r python-amd64; the process that started it is gone)"]
    assert left(engine) == {"alive"}
    sweep(engine, said.append)
    assert len(said) == 1


def test_a_sweep_that_fails_is_a_line_and_no_end_of_the_run(engine: FakeEngine) -> None:
    add(engine, "one", owner=DEAD)
    add(engine, "two", owner=DEAD)
    engine.fail_next("remove", CellFailure(Cause.ENGINE_REFUSED, "device or resource busy"))
    said: list[str] = []
    sweep(engine, said.append)
    assert said == [
        "could not remove one (the process that started it is gone): device or resource busy",
        "removed two (the process that started it is gone)",
    ]
    engine.fail_next("list", CellFailure(Cause.ENGINE_LOST, "no answer"))
    sweep(engine, said.append)
    assert said[2] == "could not look for what ended runs left: no answer"
