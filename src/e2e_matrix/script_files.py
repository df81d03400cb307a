"""What lies around a script, and what it may import or read: a part of the keys of its cells.

What it reads elsewhere, by a path of its own or over the network, nobody knows.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NoReturn

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.facts import digest_of
from e2e_matrix.script import checkout

# Below the folder of a script that lies in no checkout: it may be somebody's home.
_MOST_ENTRIES = 2000
_MOST_BYTES = 64 << 20
# What is made again from what counts, or is installed beside it, and never read by a script itself.
_MADE = frozenset({"__pycache__", ".venv", ".git"})
_BYTECODE = ".pyc"


class ScriptFiles:
    """What lies around scripts, found once for each checkout."""

    def __init__(self, reports: Path, history: Path) -> None:
        """This program's own folder and file, which may lie there and count for nothing."""
        self._reports, self._history = reports.resolve(), history.resolve()
        self._commit_of = cache(_commit_of)
        self._state_of = cache(self._find_state)
        self._digest_below = cache(self._find_digest)

    def around(self, script: Path, revision: str | None, *, in_root: bool) -> str | None:
        """The commit that the script's checkout has at ``revision`` (None: as it lies there).

        Of a script outside of every checkout a digest of all that lies in its folder and below. ``in_root``:
        it runs in the root of its checkout. None where nobody can tell, where it is too much, or where what
        it may import or read there is not of the commit.
        """
        script = script.resolve()
        root = checkout.root_of(script)
        if revision is not None:
            return self._commit_of(root, revision)
        if not checkout.is_checkout(root):
            return self._digest_below(script.parent)
        if (state := self._state_of(root)) is None:
            return None
        read = root if in_root else script.parent
        others = state.differing | {file for file in state.unknown if file.is_relative_to(read)}
        return None if others - {script} else state.commit

    def _find_state(self, root: Path) -> checkout.State | None:
        """With all among what differs that a script may import from anywhere: it has the root on its path."""
        if (state := checkout.state_of(root)) is None:
            return None
        unknown = {file for file in state.unknown if not self._is_left_out(file, root)}
        importable = {file for file in unknown if file.suffix == ".py" or file.is_dir()}
        return replace(state, differing=state.differing | importable, unknown=frozenset(unknown - importable))

    def _find_digest(self, folder: Path) -> str | None:
        try:
            listed = {str(file.relative_to(folder)): digest_of(file) for file in self._files_below(folder)}
        except _TooMuch:
            return None
        if None in listed.values():
            return None
        return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()

    def _files_below(self, top: Path) -> Iterator[Path]:
        """Raises _TooMuch where there are too many, or one that is no file, or a folder that is elsewhere."""
        entries = size = 0
        for place, folders, names in os.walk(top, onerror=_refuse):
            here = Path(place)
            folders[:] = [name for name in folders if not self._is_left_out(here / name, top)]
            files = [here / name for name in names if not self._is_left_out(here / name, top)]
            entries += len(folders) + len(files)
            if entries > _MOST_ENTRIES or any((here / name).is_symlink() for name in folders):
                raise _TooMuch
            for file in files:
                if not file.is_file():
                    raise _TooMuch
                size += file.stat().st_size
                if size > _MOST_BYTES:
                    raise _TooMuch
                yield file

    def _is_left_out(self, file: Path, top: Path) -> bool:
        parts = file.relative_to(top).parts
        return bool(_MADE & set(parts)) or file.suffix == _BYTECODE or self._is_ours(file)

    def _is_ours(self, file: Path) -> bool:
        beside = file.name.removeprefix(".").startswith(self._history.name)  # its log, its lock
        return file.is_relative_to(self._reports) or (beside and file.parent == self._history.parent)


class _TooMuch(Exception):
    """What lies there cannot be taken in as a whole."""


def _refuse(error: OSError) -> NoReturn:
    raise _TooMuch from error


def _commit_of(root: Path, revision: str) -> str | None:
    try:
        return checkout.commit_of(root, revision)
    except (InfrastructureError, ValueError):
        return None
