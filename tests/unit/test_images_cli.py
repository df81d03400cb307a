"""What `e2e-matrix images` says; the building itself is tested beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from e2e_matrix.cli.images import command
from e2e_matrix.errors import BadInput


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_list_of_an_empty_cache_says_how_to_fill_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["list"])
    assert result.exit_code == 0
    assert "e2e-matrix images build" in result.output
    assert str(tmp_path) in result.output


def test_choices_that_do_not_exist_are_bad_input_before_anything_is_made(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["build", "--variant", "ruby", "--arch", "s390x"])
    assert isinstance(result.exception, BadInput)
    assert "ruby" in str(result.exception)
    assert "s390x" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_base_is_refused() -> None:
    result = CliRunner().invoke(command, ["build", "--base", "alpine"])
    assert result.exit_code == 2
    assert "published" in result.output
