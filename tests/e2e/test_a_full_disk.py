"""Where the run's folder cannot be written: one message, exit code 3, and nothing left running."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e_matrix.engine.base import LABEL_OWNER, LABEL_RUN
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.demo import Served
from support.real_runs import ROOT, Runner

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_in_mid_run(served: Served, engine: DockerEngine, small_disk: Path) -> None:
    runner = Runner(served, engine, small_disk)
    ended = subprocess.run(
        runner.command("--only", "python-amd64"), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert f"cannot write {small_disk}" in ended.stderr
    assert "No space left on device" in ended.stderr
    assert "--reports" in ended.stderr
    assert "Traceback" not in ended.stderr
    runs = {folder.name for folder in small_disk.iterdir()}
    assert len(runs) > 0
    assert [one.name for one in engine.list({LABEL_OWNER: None}) if one.labels[LABEL_RUN] in runs] == []
