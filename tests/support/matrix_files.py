"""Writing a matrix.yaml for a test, and reading what is wrong with it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from e2e_matrix.errors import BadInput
from e2e_matrix.matrix import Matrix
from e2e_matrix.matrix_load import load_matrix

SCENARIOS = ("deferred-init", "other")


def write(folder: Path, text: str) -> Path:
    path = folder / "matrix.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def load(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Matrix:
    return load_matrix(write(folder, text), environ or {}, SCENARIOS)


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """Every problem as ``line:column message | hint``."""
    with pytest.raises(BadInput) as caught:
        load(folder, text, environ)
    assert all(problem.file == str(folder / "matrix.yaml") for problem in caught.value.problems)
    return [f"{p.line}:{p.column} {p.message} | {p.hint}" for p in caught.value.problems]


def problem(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> str:
    """The only problem."""
    found = problems(folder, text, environ)
    assert len(found) == 1, found
    return found[0]
