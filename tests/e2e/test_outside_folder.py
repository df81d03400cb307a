"""The run's folder and the machine's clock: full, read-only, cut files, other schemas, a clock that steps."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.outside import Disturbed, Outside, attempts, evidence

pytestmark = pytest.mark.timeout(120)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
LONG, SHORT = "runs-for:2", "none"
LONG_CELL, SHORT_CELL = "runs-for-2-amd64", "none-amd64"


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A tmpfs over ``folder`` while the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def half_done(outside: Outside) -> tuple[Disturbed, Path]:
    """A run whose first cell has passed and whose second talks; its folder."""
    run = outside.start(outside.matrix(SHORT, LONG, one_at_a_time=True))
    run.talking(LONG_CELL)
    assert run.folder
    return run, run.folder


def cells(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "results.json").read_text())["cells"]
    return {cell["id"]: cell for cell in found}


def resumed(outside: Outside, folder: Path) -> None:
    """Going on with the run: what had passed is kept, what had not is run, and everything is well."""
    ended = outside.call("run", "--matrix", str(outside.folder / "matrix.yaml"), "--resume", folder.name)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    now = cells(folder)
    assert (now[SHORT_CELL]["outcome"], now[SHORT_CELL]["reused"]) == ("passed", True)
    assert len(now[SHORT_CELL]["attempts"]) == 1
    assert (now[LONG_CELL]["outcome"], now[LONG_CELL]["reused"]) == ("passed", False)
    assert outside.left() == []


def end_badly(outside: Outside, run: Disturbed, *words: str) -> None:
    """The run ends with one message, exit code 3, and no container."""
    output, _ = run.process.communicate(timeout=60)
    assert run.process.returncode == 3, output
    assert "Traceback" not in output
    assert all(word in output for word in words), output
    assert output.count("e2e-matrix: ") == 1
    assert outside.left() == []


@needs_root
def test_a_disk_that_fills_in_mid_run_keeps_what_had_finished(outside: Outside) -> None:
    with mounted(outside.reports, "size=2m"):
        run, folder = half_done(outside)
        with (
            (outside.reports / "filler").open("wb", buffering=0) as filler,
            pytest.raises(OSError, match="No space"),
        ):
            while True:
                filler.write(bytes(4096))
        end_badly(outside, run, f"cannot write {folder}", "No space left on device", "--reports")
        assert cells(folder)[SHORT_CELL]["outcome"] == "passed"
        (outside.reports / "filler").unlink()
        assert outside.call("render", str(folder)).returncode == 0
        resumed(outside, folder)


@needs_root
def test_a_run_folder_that_turns_read_only_in_mid_run(outside: Outside) -> None:
    """As when the kernel gives up on a file system; what had finished is there when it is back."""
    run, folder = half_done(outside)
    with mounted(folder, "ro"):
        end_badly(outside, run, str(folder), "Read-only file system", "--reports")
    assert cells(folder)[SHORT_CELL]["outcome"] == "passed"
    resumed(outside, folder)


@needs_root
def test_reports_in_a_read_only_place(outside: Outside) -> None:
    with mounted(outside.reports, "ro"):
        ended = outside.call("run", "--matrix", str(outside.matrix()))
        assert ended.returncode == 3, ended.stdout
        assert "cannot make the run's folder" in ended.stderr
        assert "Read-only file system" in ended.stderr
        assert "--reports" in ended.stderr


@pytest.fixture(scope="module")
def finished(module_outside: Outside) -> Path:
    """A complete run of one cell, which tests copy and spoil."""
    ran = module_outside.run(module_outside.matrix())
    assert ran.exit_code == 0, ran.output
    return ran.folder


@pytest.fixture
def spoiled(finished: Path, outside: Outside) -> Path:
    """A copy of it, below the folder of this test's own."""
    outside.matrix()
    return Path(shutil.copytree(finished, outside.reports / finished.name))


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def refused(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    """Bad input, told in one message."""
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert all(word in ended.stderr for word in words), ended.stderr
    assert len(ended.stderr.splitlines()) <= 3, ended.stderr


def resume(outside: Outside, folder: Path) -> subprocess.CompletedProcess[str]:
    return outside.call("run", "--matrix", str(outside.folder / "matrix.yaml"), "--resume", folder.name)


def test_a_results_file_cut_in_half(outside: Outside, spoiled: Path) -> None:
    """It cannot be rendered, and resuming the run makes it again from the attempts."""
    before = cells(spoiled)
    cut(spoiled / "results.json")
    refused(outside.call("render", str(spoiled)), f"{spoiled}/results.json", "--resume")
    ended = resume(outside, spoiled)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    after = cells(spoiled)
    assert after[SHORT_CELL]["reused"]
    assert after[SHORT_CELL]["attempts"] == before[SHORT_CELL]["attempts"]
    assert outside.call("render", str(spoiled)).returncode == 0


@pytest.mark.parametrize("name", ["plan.json", f"cells/{SHORT_CELL}/attempt-1/attempt.json"])
def test_another_file_of_a_run_cut_in_half(outside: Outside, spoiled: Path, name: str) -> None:
    cut(spoiled / name)
    refused(resume(outside, spoiled), f"{spoiled}/{name}")
    assert outside.call("render", str(spoiled)).returncode == 0  # which needs neither


def versioned(path: Path, version: int) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))


def test_results_of_an_older_schema_and_of_a_newer_one(outside: Outside, spoiled: Path) -> None:
    results = spoiled / "results.json"
    versioned(results, 1)
    (spoiled / "report.html").unlink()
    assert outside.call("render", str(spoiled)).returncode == 0
    assert SHORT_CELL in (spoiled / "report.html").read_text()
    versioned(results, 99)
    refused(
        outside.call("render", str(spoiled)), f"{results}", "schema_version is 99", "version of e2e-matrix"
    )


def test_a_plan_of_a_newer_schema(outside: Outside, spoiled: Path) -> None:
    versioned(spoiled / "plan.json", 99)
    refused(resume(outside, spoiled), "plan.json", "schema_version is 99", "version of e2e-matrix")


FAKE_CLOCK = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.mark.skipif(FAKE_CLOCK is None, reason="libfaketime is missing: apt install faketime")
def test_a_clock_that_steps_back_in_mid_run(outside: Outside) -> None:
    clock = outside.folder / "clock"
    clock.write_text("+0")
    outside.environment |= {
        "LD_PRELOAD": str(FAKE_CLOCK),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    run, _ = half_done(outside)
    clock.write_text("-3d")
    ran = run.finish()
    assert ran.exit_code == 0, ran.output
    began, ended = (ran.results["run"][name][:10] for name in ("started_at", "finished_at"))
    assert ended < began
    assert 2 < ran.results["run"]["duration_seconds"] < 60
    for cell in (SHORT_CELL, LONG_CELL):
        assert attempts(ran, cell) == [("passed", None)]
        evidence(ran, cell)
        [attempt] = ran.cell(cell)["attempts"]
        assert 0 < attempt["duration_seconds"] < 60
        seconds = [value for value in attempt["phases"].values() if value is not None]
        assert all(0 <= value < 60 for value in seconds)
    outside.environment.clear()
    assert outside.call("render", str(ran.folder)).returncode == 0
