"""The probe's program, its verdict, and the names of platforms."""

from __future__ import annotations

import io
import platform
import subprocess
import tarfile
from pathlib import Path

import pytest

from e2e_matrix.engine import probe
from e2e_matrix.engine.base import Support
from e2e_matrix.engine.platforms import architecture, normal

AMD64, ARM64 = "linux/amd64", "linux/arm64"


def test_the_program_of_this_machine_exits_with_42(tmp_path: Path) -> None:
    content = probe.program(f"linux/{architecture(platform.machine())}")
    assert content is not None
    assert len(content) < 200
    path = tmp_path / "exit-42"
    path.write_bytes(content)
    path.chmod(0o755)
    assert subprocess.run([path], check=False).returncode == probe.EXIT_CODE


def test_each_program_is_an_elf_of_its_machine() -> None:
    amd, arm = probe.program(AMD64), probe.program("linux/arm64/v8")
    assert amd is not None
    assert arm is not None
    assert amd[:4] == arm[:4] == b"\x7fELF"
    assert (int.from_bytes(amd[18:20], "little"), int.from_bytes(arm[18:20], "little")) == (62, 183)
    assert probe.program("linux/s390x") is None
    assert probe.image_tar("linux/s390x") is None


def test_the_image_holds_the_program() -> None:
    packed = probe.image_tar(ARM64)
    assert packed is not None
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        (entry,) = tar.getmembers()
        assert entry.mode == 0o755
        assert f"/{entry.name}" == probe.PROGRAM


@pytest.mark.parametrize(
    ("wanted", "own", "code", "said", "support", "words"),
    [
        (AMD64, AMD64, 42, "", Support.NATIVE, "ran"),
        (ARM64, AMD64, 42, "", Support.EMULATED, "emulation"),
        ("linux/arm64/v8", ARM64, 42, "", Support.NATIVE, "ran"),
        (ARM64, AMD64, 1, "exec /exit-42: exec format error", Support.UNSUPPORTED, "exec format error"),
        (ARM64, AMD64, None, "it was refused", Support.UNSUPPORTED, "it was refused"),
        (ARM64, AMD64, 139, "", Support.UNSUPPORTED, "139"),
        (AMD64, AMD64, 0, "", Support.UNSUPPORTED, "0 instead of 42"),
    ],
)
def test_what_a_run_means(
    wanted: str, own: str, code: int | None, said: str, support: Support, words: str
) -> None:
    found = probe.verdict(wanted, own, code, said)
    assert (found.platform, found.support) == (wanted, support)
    assert words in found.detail


def test_without_a_program_the_engine_s_own_platform_decides() -> None:
    assert probe.unprobed("linux/riscv64", "linux/riscv64").support is Support.NATIVE
    other = probe.unprobed("linux/s390x", AMD64)
    assert other.support is Support.UNSUPPORTED
    assert "nothing was run" in other.detail


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("linux/arm64/v8", ARM64),
        ("linux/amd64", AMD64),
        (" Linux/AMD64/v1 ", AMD64),
        ("linux/arm/v7", "linux/arm"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/amd64/v3", "linux/amd64/v3"),
    ],
)
def test_names_of_platforms(written: str, expected: str) -> None:
    assert normal(written) == expected
