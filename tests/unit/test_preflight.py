"""Whether there is room: the sizes are those that the test says, and so is what is free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from e2e_matrix.engine.base import EngineInfo
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import EXIT_INFRASTRUCTURE, CellFailure, InfrastructureError
from e2e_matrix.failures import Cause
from e2e_matrix.preflight import UNPACKED_FACTOR, check_images, check_reports, free_bytes
from e2e_matrix.registry import ResolvedImage
from support.engines import FAKE_IMAGE

MB = 1_000_000


class LocalEngine(FakeEngine):
    """One whose images lie in a folder here."""

    def __init__(self, root: Path, address: str = "unix:///var/run/docker.sock", present: str = "") -> None:
        super().__init__({present: FAKE_IMAGE} if present else {}, present=[present] if present else [])
        self.root, self.address_here = root, address

    def info(self) -> EngineInfo:
        return replace(super().info(), root_dir=str(self.root), address=self.address_here)


def image(name: str, *layers: tuple[str, int]) -> ResolvedImage:
    size = sum(size for _, size in layers)
    return ResolvedImage(
        name, "linux/amd64", f"sha256:{name}", None, size, f"r/{name}@sha256:{name}", layers=layers
    )


BASE = ("base", 100 * MB)
PYTHON = image("python", BASE, ("python", 10 * MB))
JAVA = image("java", BASE, ("java", 50 * MB))
GOLANG = image("golang", BASE, ("golang", 20 * MB))


def least(check: Callable[[int], None]) -> int:
    """The fewest compressed bytes for which there must be room, in MB: found by trying."""
    low, high = 0, 1000
    while low < high:
        middle = (low + high) // 2
        try:
            check(round(middle * MB * (1 + UNPACKED_FACTOR)))
            high = middle
        except InfrastructureError:
            low = middle + 1
    return low


def needed(engine: FakeEngine, *cells: ResolvedImage, removing: int | None = None) -> int:
    return least(lambda free: check_images(cells, engine, removing, lambda _: free))


def test_layers_that_images_share_count_once(tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path)
    assert needed(engine, PYTHON) == 110
    assert needed(engine, PYTHON, JAVA, GOLANG, PYTHON, JAVA) == 180
    assert needed(engine) == 0


def test_what_the_engine_has_needs_nothing_also_under_another_name(tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path, present="mirror/elsewhere@sha256:python")
    assert needed(engine, PYTHON) == 0
    assert needed(engine, PYTHON, JAVA) == 50  # the base is there with it


@pytest.mark.parametrize(
    ("cells", "workers", "compressed"),
    [
        ([PYTHON, JAVA, GOLANG], 1, 150),  # java alone
        ([PYTHON, JAVA, GOLANG], 2, 170),  # java may still run when golang starts
        ([PYTHON, JAVA, GOLANG], 3, 180),
        ([PYTHON, JAVA, GOLANG], 9, 180),
        ([PYTHON, JAVA, GOLANG, PYTHON], 1, 160),  # python waits for its second cell
        ([PYTHON, PYTHON, PYTHON], 2, 110),
    ],
)
def test_with_remove_only_what_is_there_at_one_time_counts(
    tmp_path: Path, cells: list[ResolvedImage], workers: int, compressed: int
) -> None:
    assert needed(LocalEngine(tmp_path), *cells, removing=workers) == compressed


def test_the_message_says_how_much_and_where_and_what_to_do(tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path)
    with pytest.raises(InfrastructureError) as caught:
        check_images([PYTHON, JAVA], engine, None, lambda _: 300 * MB)
    assert caught.value.exit_code == EXIT_INFRASTRUCTURE
    assert "the images need about 688 MB of disk (160 MB to download)" in str(caught.value)
    assert f"300 MB is free at {tmp_path}" in str(caught.value)
    for advice in ("docker system df", "--only", "images: remove"):
        assert advice in caught.value.fix
    with pytest.raises(InfrastructureError) as caught:
        check_images([PYTHON], engine, 2, lambda _: 1)
    assert "--max-parallel" in caught.value.fix
    assert "images: remove" not in caught.value.fix


def test_where_the_disk_is_out_of_sight_nothing_is_said(tmp_path: Path) -> None:
    def nothing(_: Path) -> int:
        return 0

    for engine in (
        LocalEngine(tmp_path / "inside-another-machine"),
        LocalEngine(tmp_path, address="tcp://build.example:2376"),
        LocalEngine(tmp_path, address="ssh://build.example"),
        LocalEngine(Path()),
    ):
        check_images([PYTHON], engine, None, nothing)
    check_images([PYTHON], LocalEngine(tmp_path), None, lambda _: None)
    with pytest.raises(InfrastructureError):
        check_images([PYTHON], LocalEngine(tmp_path), None, nothing)


def test_an_engine_that_does_not_answer_is_left_to_the_cells(tmp_path: Path) -> None:
    engine = LocalEngine(tmp_path)
    engine.fail_next("list_images", CellFailure(Cause.ENGINE_LOST, "gone"))
    check_images([PYTHON], engine, None, lambda _: 0)


def test_the_folder_of_the_results_wants_a_little(tmp_path: Path) -> None:
    said: list[str] = []
    asked: list[Path] = []

    def free(size: int | None) -> Callable[[Path], int | None]:
        def at(folder: Path) -> int | None:
            asked.append(folder)
            return size

        return at

    reports = tmp_path / "not" / "yet"
    check_reports(reports, said.append, free(50 * MB))
    check_reports(reports, said.append, free(None))
    assert said == []
    check_reports(reports, said.append, free(3 * MB))
    assert said == [f"only 3.00 MB is free at {tmp_path}, where the results go"]
    with pytest.raises(InfrastructureError, match=f"nothing is free at {tmp_path}") as caught:
        check_reports(reports, said.append, free(0))
    assert "--reports" in caught.value.fix
    assert set(asked) == {tmp_path}


def test_what_is_free_is_what_the_file_system_says(tmp_path: Path) -> None:
    assert (free_bytes(tmp_path) or 0) > 0
    assert free_bytes(tmp_path / "nowhere") is None
    assert free_bytes(Path("/proc")) is None  # it has no blocks at all
