"""Environments made by the real uv; that of the release is kept between runs, beside the images."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
import uv

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.script import sdk

RELEASE = "1.58.0"
_MEMBER = """
[project]
name = "{name}"
version = "3.2.1"
requires-python = ">=3.12"
dependencies = [{needs}]
[build-system]
requires = ["setuptools", "wheel"]
build-backend = "setuptools.build_meta"
[tool.setuptools.packages.find]
include = ["openhands.*"]
namespaces = true
"""
_WORKSPACE = """
[tool.uv.workspace]
members = ["openhands-*"]
[tool.uv.sources]
openhands-sdk = { workspace = true }
openhands-agent-server = { workspace = true }
"""


def output_of(python: Path, code: str, home: Path) -> list[str]:
    # As bare as it can be: what comes from this machine's own settings must not be needed.
    environment = {
        "HOME": str(home),
        "OPENHANDS_SUPPRESS_BANNER": "1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    }
    done = subprocess.run(
        [python, "-c", code], env=environment, cwd=home, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def release() -> sdk.Interpreter:
    return sdk.prepare(RELEASE, Cancellation(), print)


def test_the_release_that_the_local_images_have_can_be_imported(
    release: sdk.Interpreter, tmp_path: Path
) -> None:
    began = time.monotonic()
    assert sdk.prepare(RELEASE, Cancellation()) == release
    assert time.monotonic() - began < 5  # installing takes 20 s and more
    code = (
        "import sys, openhands.sdk, importlib.metadata as m, importlib.util as u\n"
        "print(*map(m.version, ('openhands-sdk', 'openhands-agent-server')), sys.version_info >= (3, 12))\n"
        "print(openhands.sdk.__cached__)\n"
        "print(*(u.find_spec(f'openhands.{name}').origin for name in ('tools', 'workspace')))"
    )
    *_, versions, bytecode, others = output_of(release.python, code, tmp_path)
    assert versions == f"{RELEASE} {RELEASE} True"
    assert release.sdk_version == RELEASE
    assert Path(bytecode).is_file()
    assert all(path.startswith(str(release.python.parents[1])) for path in others.split())


def test_a_checkouts_packages_are_installed_with_its_lock_and_it_is_not_written_to(
    release: sdk.Interpreter, tmp_path: Path
) -> None:
    root = tmp_path / "checkout"
    for name, needs in (
        ("openhands-sdk", "'idna>=3.7'"),
        ("openhands-tools", "'openhands-sdk', 'openhands-agent-server'"),
        ("openhands-agent-server", "'openhands-sdk'"),
    ):
        code = root / name / "openhands" / name.removeprefix("openhands-").replace("-", "_")
        code.mkdir(parents=True)
        (code / "__init__.py").write_text("where = __file__\n")
        (root / name / "pyproject.toml").write_text(_MEMBER.format(name=name, needs=needs))
    (root / "pyproject.toml").write_text(_WORKSPACE)
    # As if it was made long ago: newer ones have come out since.
    lock = [uv.find_uv_bin(), "lock", "--quiet", "--resolution=lowest-direct", f"--python={release.python}"]
    subprocess.run(lock, cwd=root, check=True)
    before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}

    made = sdk.prepare(root, Cancellation(), print, tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before
    assert made.sdk_version.startswith("3.2.1+checkout.")
    code_of_script = (
        "import importlib.metadata as m, openhands.sdk, openhands.tools, openhands.agent_server as server\n"
        "print(m.version('idna'))\nprint(openhands.sdk.where)\nprint(server.where)"
    )
    idna, *places = output_of(made.python, code_of_script, tmp_path)
    assert idna == "3.7"
    assert all("/site-packages/openhands/" in place for place in places)

    (root / "openhands-sdk" / "openhands" / "sdk" / "__init__.py").write_text("where = 'changed'\n")
    changed = sdk.prepare(root, Cancellation(), print, tmp_path / "cache")
    assert output_of(changed.python, "import openhands.sdk; print(openhands.sdk.where)", tmp_path) == [
        "changed"
    ]
