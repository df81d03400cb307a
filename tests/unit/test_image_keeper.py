"""Which images go, and when; on an engine in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from e2e_matrix.engine.base import ContainerSpec
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.image_keeper import ImageKeeper, downloaded
from e2e_matrix.results import Step
from support.engines import FAKE_IMAGE
from support.sample_run import a_cell, a_step

PYTHON, JAVA = "r/server@sha256:1", "r/server@sha256:2"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine({PYTHON: FAKE_IMAGE, JAVA: FAKE_IMAGE}, present=[PYTHON, JAVA])


@pytest.fixture
def said() -> list[str]:
    return []


def keeper_of(
    engine: FakeEngine, said: list[str], needed: Sequence[str], removing: bool = True
) -> ImageKeeper:
    return ImageKeeper(engine, removing, needed, said.append)


def left(engine: FakeEngine) -> set[str]:
    return {name for image in engine.list_images({}) for name in image.references}


def test_an_image_goes_with_the_last_cell_that_uses_it(engine: FakeEngine, said: list[str]) -> None:
    keeper = keeper_of(engine, said, [PYTHON, JAVA, PYTHON])
    keeper.pulled(PYTHON)
    keeper.pulled(JAVA)
    keeper.done(PYTHON)
    assert left(engine) == {PYTHON, JAVA}
    keeper.done(JAVA)
    assert left(engine) == {PYTHON}
    keeper.done(PYTHON)
    assert left(engine) == set()
    keeper.close()
    assert [name for method, name in engine.calls if method == "remove_image"] == [JAVA, PYTHON]
    assert said == []


def test_what_was_there_before_the_run_stays(engine: FakeEngine, said: list[str]) -> None:
    keeper = keeper_of(engine, said, [PYTHON, JAVA])
    keeper.pulled(JAVA)
    keeper.done(PYTHON)
    keeper.done(JAVA)
    keeper.close()
    assert left(engine) == {PYTHON}


def test_everything_stays_where_images_are_kept(engine: FakeEngine, said: list[str]) -> None:
    keeper = keeper_of(engine, said, [PYTHON], removing=False)
    keeper.pulled(PYTHON)
    keeper.done(PYTHON)
    keeper.close()
    assert left(engine) == {PYTHON, JAVA}
    assert "remove_image" not in {method for method, _ in engine.calls}


def test_the_end_of_a_run_that_was_stopped_takes_the_images_of_cells_that_never_ran(
    engine: FakeEngine, said: list[str]
) -> None:
    keeper = keeper_of(engine, said, [PYTHON, PYTHON, JAVA])
    keeper.pulled(PYTHON)
    keeper.done(PYTHON)
    keeper.close()
    keeper.close()
    assert left(engine) == {JAVA}


def test_an_image_that_a_container_uses_stays_and_is_a_line(engine: FakeEngine, said: list[str]) -> None:
    engine.create(ContainerSpec(PYTHON, "linux/amd64", "of-another-run", {}))
    keeper = keeper_of(engine, said, [PYTHON])
    keeper.pulled(PYTHON)
    keeper.done(PYTHON)
    keeper.close()
    assert left(engine) == {PYTHON, JAVA}
    [line] = said
    assert line.startswith("the image stays: ")
    assert PYTHON in line


def test_an_engine_that_is_gone_is_a_line(engine: FakeEngine, said: list[str]) -> None:
    engine.fail_next("remove_image", CellFailure(Cause.ENGINE_LOST, "the engine is gone"))
    keeper = keeper_of(engine, said, [PYTHON])
    keeper.pulled(PYTHON)
    keeper.done(PYTHON)
    assert said == ["the image stays: the engine is gone"]


def test_cells_that_end_together_remove_it_once(engine: FakeEngine, said: list[str]) -> None:
    for _ in range(50):
        engine.calls.clear()
        engine.pull(PYTHON, "linux/amd64")
        keeper = keeper_of(engine, said, [PYTHON] * 8)
        keeper.pulled(PYTHON)
        together = threading.Barrier(8)

        def end(keeper: ImageKeeper = keeper, together: threading.Barrier = together) -> None:
            together.wait()
            keeper.done(PYTHON)

        threads = [threading.Thread(target=end) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [name for method, name in engine.calls if method == "remove_image"] == [PYTHON]


def test_an_attempt_says_whether_it_downloaded_the_image() -> None:
    [attempt] = a_cell("python-amd64").attempts

    def after(*steps: Step) -> bool:
        return downloaded(attempt.model_copy(update={"steps": list(steps)}))

    assert after(a_step("pull", facts={"was_present": False}), a_step("dormant"))
    assert not after(a_step("pull", facts={"was_present": True}), a_step("dormant"))
    assert not after(a_step("pull"))  # one that failed
    assert not after()
