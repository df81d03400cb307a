"""What the papers link to is there, every key is in them, and the example is what this code makes."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from e2e_matrix.matrix import Cells, Matrix
from e2e_matrix.matrix_fields import Section
from e2e_matrix.report import write_reports
from e2e_matrix.scenarios import SCENARIOS
from e2e_matrix.script.settings import ScriptSection

ROOT = Path(__file__).parents[2]
PAPERS = [path for folder in (".", "docs", "bench", "reports") for path in (ROOT / folder).glob("*.md")]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere_and_nothing_is_left_to_fill_in(paper: Path) -> None:
    text = paper.read_text()
    links = re.findall(r"\]\(([^)#\s]+)\)|(?:src|href)=\"([^\"#]+)\"", text)
    targets = [one or other for one, other in links]
    missing = [link for link in targets if "://" not in link and not (paper.parent / link).exists()]
    assert missing == []
    assert "@@" not in text
    assert "<!--" not in text


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that a file may have, sections unfolded: ``llm.replies``."""
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section) and kind is not Cells:
            yield from keys(kind, f"{key}.")
        else:
            yield key


@pytest.mark.parametrize("model", [Matrix, ScriptSection, *(one.Settings for one in SCENARIOS.values())])
def test_every_key_of_matrix_yaml_is_explained(model: type[BaseModel]) -> None:
    text = (ROOT / "docs" / "matrix.md").read_text()
    assert [key for key in keys(model) if f"| `{key}` |" not in text] == []


@pytest.mark.parametrize(
    ("folder", "reports"),
    [
        ("example", ["ctrf.json", "junit.xml", "report.html", "report.md"]),
        ("example/qa", ["qa.html", "qa.md", "report.html", "report.md"]),
    ],
)
def test_the_example_is_as_this_code_renders_it(tmp_path: Path, folder: str, reports: list[str]) -> None:
    """After a change of a report: ``e2e-matrix render`` for both folders, and docs/screenshots.py."""
    example = ROOT / "reports" / folder
    again = write_reports(shutil.copytree(example, tmp_path / "again"))
    assert sorted(path.name for path in again) == reports
    for path in again:
        assert path.read_bytes() == (example / path.name).read_bytes(), path.name
