"""The code that judges a cell. A change of it runs every cell again, also where nobody thought of raising a
scenario's VERSION.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from e2e_matrix.facts import digest_of

_PACKAGE = Path(__file__).parent
#: What runs a cell, what makes an outcome of it, and what launch.py puts into their hands.
_ROOTS = ("cell", "execution", "summary", "engine.docker", "llm.replies_file")
#: What is started by its path, and imported by nothing.
_STARTED = ("script/inside",)
#: What these import and what has no part in an outcome, and why: files, and folders with all in them.
EXEMPT: Mapping[str, str] = MappingProxyType(
    {
        "advice.py": "what a person is told to do afterwards",
        "assessment.py": "compares whole runs, which have been judged",
        "cache.py": "where files are kept",
        "compare.py": "compares whole runs",
        "history": "what remembers runs",
        "image_keeper.py": "what becomes of an image afterwards",
        "matrix.py": "reads the settings, whose values are in the key",
        "matrix_fields.py": "the same",
        "matrix_scripts.py": "the same",
        "matrix_yaml.py": "the same",
        "measures.py": "compares whole runs",
        "owner.py": "who may remove a container",
        "plan.py": "makes the cells, whose parts are in the key",
        "progress.py": "what is shown of a run while it goes on",
        "question.py": "what is asked of a comparison",
        "registry": "finds the digest, which is in the key",
        "regression.py": "compares whole runs",
        "report": "how results are shown",
        "reused_words.py": "words for what was reused",
        "settings.py": "resolves the settings, whose values are in the key",
        "statistics.py": "compares whole runs",
        "trend.py": "what earlier runs came to",
        "units.py": "reads the settings' units, and writes them",
    }
)
#: The packages of others through which a cell is seen.
SEEN_THROUGH = ("docker", "httpcore", "httpx", "pydantic", "requests", "urllib3", "uv", "websockets")


@cache
def code_digest(package: Path = _PACKAGE) -> str:
    """Of all that judges, as it lies on the disk when it is first asked for."""
    listed = {str(file.relative_to(package)): digest_of(file) for file in sorted(judges(package))}
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


@cache
def runtime() -> Mapping[str, str]:
    """The versions of what it runs on; of Python the first two numbers."""
    python = ".".join(map(str, sys.version_info[:2]))
    return MappingProxyType({"python": python} | {name: version(name) for name in SEEN_THROUGH})


def judges(package: Path = _PACKAGE) -> set[Path]:
    """The program's own files that judge a cell."""
    started = {file for name in _STARTED for file in (package / name).rglob("*.py")}
    return started | {file for file in imported(package) if not _is_exempt(file.relative_to(package))}


def imported(package: Path = _PACKAGE) -> set[Path]:
    """The program's own files that the roots import, and those that they import, wherever they do so."""
    to_read = [f"{package.name}.{name}" for name in _ROOTS]
    found: set[Path] = set()
    seen: set[str] = set()
    while to_read:
        module = to_read.pop()
        if module in seen or module.split(".")[0] != package.name:
            continue
        seen.add(module)
        to_read.append(module.rpartition(".")[0])  # a package's own code runs first
        if (file := _file_of(module, package)) is not None:
            found.add(file)
            to_read += _named_in(file)
    return found


def _named_in(file: Path) -> Iterator[str]:
    """The modules, and maybe modules, that a file imports."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def _file_of(module: str, package: Path) -> Path | None:
    place = package.joinpath(*module.split(".")[1:])
    candidates = (place / "__init__.py", place.parent / f"{place.name}.py")
    return next((file for file in candidates if file.is_file()), None)


def _is_exempt(file: Path) -> bool:
    return any(str(place) in EXEMPT for place in (file, *file.parents))
