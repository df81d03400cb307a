"""Images of one ref that describe another API than the others, in the reports of their run alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e_matrix.report import FORMATS
from e2e_matrix.results import Api, Results
from support import report_samples as samples

WORDS = "java-arm64 describes another API than 5 cells of"


def serving(digests: dict[str, str]) -> Results:
    """Six cells that passed and described an API: `a`, where ``digests`` names no other."""
    run = samples.six_passed()
    cells = []
    for cell in run.cells:
        digest = f"sha256:{digests.get(cell.id, 'a') * 64}"
        api = Api(digest=digest, file=f"api/{digest[7:23]}.json", operations=3)
        attempts = [one.model_copy(update={"api": api}) for one in cell.attempts]
        cells.append(cell.model_copy(update={"attempts": attempts}))
    return run.model_copy(update={"cells": cells})


@pytest.mark.parametrize(("name", "file"), [("html", "report.html"), ("md", "report.md")])
def test_an_image_that_differs_is_a_finding(name: str, file: str, tmp_path: Path) -> None:
    assert WORDS in FORMATS[name].render(serving({"java-arm64": "b"}), tmp_path)[file]
    assert "another API" not in FORMATS[name].render(serving({}), tmp_path)[file]
