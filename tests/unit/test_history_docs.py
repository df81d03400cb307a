"""The workflow in docs/history.md keeps the history of nights on a branch, also of two that end at once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e_matrix.cli.history import command
from e2e_matrix.history.database import History
from support.history_runs import put

PAPER = Path(__file__).parents[2] / "docs" / "history.md"


def _steps() -> dict[str, str]:
    """The scripts of the workflow by their names."""
    [text] = re.findall(r"```yaml\n(name: nightly\n.*?)```", PAPER.read_text(), re.DOTALL)
    steps: list[dict[str, Any]] = yaml.safe_load(text)["jobs"]["matrix"]["steps"]
    return {step["name"]: step["run"] for step in steps if "name" in step}


def test_the_table_has_every_command() -> None:
    told = re.findall(r"^\| (.*?) \|", PAPER.read_text(), re.MULTILINE)
    named = {name for line in told for name in re.findall(r"`history (\w+)", line)}
    assert named == set(command.commands)


class Night:
    """A runner: a fresh clone, in which the steps are run as GitHub runs them."""

    def __init__(self, clone: Path, origin: Path) -> None:
        self.clone = clone
        self._run("git", "clone", "--quiet", str(origin), str(clone), cwd=origin)
        program = clone / ".venv" / "bin" / "e2e-matrix"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m e2e_matrix "$@"\n')
        program.chmod(0o755)

    def fetch(self) -> None:
        self._run("bash", "-e", "-c", _steps()["fetch what earlier nights came to"])

    def runs(self, number: int) -> None:
        with History.open(self.clone / "reports" / "history.sqlite") as history:
            history.add(put(self.clone / "reports", number))

    def keep(self) -> None:
        self._run("bash", "-e", "-c", _steps()["keep what this one came to"])

    def known(self) -> int:
        with History.open(self.clone / "reports" / "history.sqlite") as history:
            return len(history.runs())

    def _run(self, *command: str, cwd: Path | None = None) -> None:
        done = subprocess.run(command, cwd=cwd or self.clone, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_branch_has_every_night_and_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = tmp_path / "origin.git"
    subprocess.run(["git", "init", "--quiet", "--bare", origin], check=True)
    first, second = Night(tmp_path / "first", origin), Night(tmp_path / "second", origin)
    for number, night in enumerate((first, second)):  # both begin with nothing
        night.fetch()
        night.runs(number)
    first.keep()
    # What the second one fetches first is from before the first one's push, as if both ended at once.
    hook = second.clone / ".venv" / "bin" / "git"
    git = shutil.which("git")
    hook.write_text(
        f'#!/bin/sh\nif [ "$1" = fetch ] && mkdir raced 2>/dev/null; then exit 128; fi\nexec {git} "$@"\n'
    )
    hook.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{hook.parent}:{os.environ['PATH']}")
        second.keep()
    assert (second.clone / "raced").exists()
    third = Night(tmp_path / "third", origin)
    third.fetch()
    assert third.known() == 2
    count = ["git", "-C", str(origin), "rev-list", "--count", "history"]
    assert subprocess.run(count, capture_output=True, text=True, check=True).stdout == "1\n"
