"""What the fake engine adds to the protocol, for the tests that script it."""

from __future__ import annotations

import threading

import pytest

from e2e_matrix.engine.base import ContainerSpec, PullProgress, Support
from e2e_matrix.engine.fake import FakeEngine, FakeImage, FakeProcess
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause


def _stay(process: FakeProcess) -> int:
    process.wait_for_term()
    return 0


IMAGE = FakeImage({"/stay": _stay}, ("/stay",))
SPEC = ContainerSpec("r/x@sha256:1", "linux/amd64", "one", {})


def test_a_pull_tells_its_progress_once() -> None:
    engine = FakeEngine({SPEC.image: IMAGE})
    progress: list[PullProgress] = []
    assert not engine.pull(SPEC.image, "linux/amd64", progress.append).was_present
    assert [one.done_bytes for one in progress] == [0, 500, 1000]
    assert FakeEngine({SPEC.image: IMAGE}, present=[SPEC.image]).pull(SPEC.image, "linux/amd64").was_present


def test_a_failure_that_was_asked_for_comes_once() -> None:
    engine = FakeEngine({SPEC.image: IMAGE})
    engine.fail_next("pull", CellFailure(Cause.DISK_FULL, "full"))
    with pytest.raises(CellFailure, match="full"):
        engine.pull(SPEC.image, "linux/amd64")
    engine.pull(SPEC.image, "linux/amd64")
    assert list(engine.calls) == [("pull", SPEC.image)] * 2


def test_a_lost_engine_takes_its_containers_with_it() -> None:
    engine = FakeEngine({SPEC.image: IMAGE}, present=[SPEC.image])
    container = engine.create(SPEC)
    engine.start(container)
    watch = engine.watch_exit(container)
    engine.lose()
    assert watch.exited.is_set()
    with pytest.raises(CellFailure) as caught:
        engine.state(container)
    assert caught.value.cause is Cause.ENGINE_LOST


def test_support_is_as_told() -> None:
    engine = FakeEngine(support={"linux/arm64": Support.UNSUPPORTED})
    assert engine.probe("linux/amd64").support is Support.NATIVE
    assert engine.probe("linux/arm64/v8").support is Support.UNSUPPORTED


def test_closing_leaves_no_thread() -> None:
    before = threading.active_count()
    engine = FakeEngine({SPEC.image: IMAGE}, present=[SPEC.image])
    engine.start(engine.create(SPEC))
    assert threading.active_count() == before + 1
    engine.close()
    assert threading.active_count() == before
