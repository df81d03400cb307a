"""What a script and its server find around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e_matrix.script.scratch import Scratch
from e2e_matrix.script.sdk import Interpreter
from e2e_matrix.script.settings import ScriptSettings
from e2e_matrix.script.surroundings import Surroundings


@pytest.mark.parametrize(
    ("folder", "mark", "at", "is_shared"),
    [
        ("checkout", ".git", None, True),
        ("checkout", None, "v1", True),  # what git wrote from a revision has no mark
        ("checkout", None, None, False),  # a lone script's folder: /tmp, or somebody's home
        (".", ".git", None, False),  # what is shared lies in it: /tmp itself would be covered
    ],
)
def test_the_server_sees_a_checkout_and_no_other_folder_of_this_host(
    tmp_path: Path, folder: str, mark: str | None, at: str | None, is_shared: bool
) -> None:
    root = tmp_path / folder
    root.mkdir(exist_ok=True)
    if mark:
        (root / mark).mkdir()
    notes: list[str] = []
    with Scratch(notes.append, tmp_path) as scratch:
        settings = ScriptSettings(script=str(root / "a.py"), path="a.py", at=at)
        python = Interpreter(tmp_path / "bin" / "python", "1.58.0")
        mounts = Surroundings(settings, root / "a.py", root, python, scratch).mounts
        assert [mount.source for mount in mounts if not mount.read_only] == [
            str(scratch.tmp),
            str(scratch.home),
        ]
        assert [mount.source for mount in mounts if mount.read_only] == ([str(root)] if is_shared else [])
    assert notes == []
