"""Finding scripts by globs, within bounds."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Of all globs of a file together: how many scripts they find, and how many entries of folders they look at.
MAX_SCRIPTS = 1000
MAX_ENTRIES = 20_000
SUFFIX = ".py"
WILD = re.compile(r"[*?[]")


@dataclass
class Room:
    """What a file's globs may still do."""

    scripts: int = MAX_SCRIPTS
    entries: int = MAX_ENTRIES


def find(folder: Path, pattern: str, room: Room) -> list[str]:
    """The scripts that a glob finds, sorted, each path as the pattern writes it; none begins with a dot.

    ``*``, ``?`` and ``[...]`` in any part of the path. Raises ValueError with a message for a person where
    there is no ``room``, OSError for a folder that cannot be read.
    """
    parts = pattern.split("/")
    if "**" in parts:
        raise ValueError("** is not for scripts: write a * for each level of folders")
    paths = [""]
    for number, part in enumerate(parts):
        bases = [f"{path}/" if number else "" for path in paths]
        if not WILD.search(part):
            paths = [f"{base}{part}" for base in bases]
            continue
        matches = matcher(part)
        paths = []
        for base in bases:
            names = _entries(folder / base, room)
            visible = (name for name in names if part.startswith(".") or not name.startswith("."))
            paths += [f"{base}{name}" for name in visible if matches(name)]
    found = sorted(path for path in paths if path.endswith(SUFFIX) and (folder / path).is_file())
    if len(found) > room.scripts:
        raise ValueError(f"the globs of this file find more than {MAX_SCRIPTS} scripts")
    room.scripts -= len(found)
    for path in found:
        if not path.isprintable():
            raise ValueError(f"the name {path!r} cannot be shown: rename the file")
    return found


def matcher(glob: str) -> Callable[[str], object]:
    """Whether a name matches: compiled once, fnmatch keeps the last 256 only."""
    return re.compile(fnmatch.translate(glob)).match


def _entries(folder: Path, room: Room) -> list[str]:
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if room.entries <= 0:
                    raise ValueError(
                        f"the globs of this file look at more than {MAX_ENTRIES} files and folders"
                    )
                room.entries -= 1
                names.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return names
