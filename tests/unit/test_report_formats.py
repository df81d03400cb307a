"""Writing the reports into a run's folder, and `e2e-matrix render`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from e2e_matrix.cli.render import command
from e2e_matrix.errors import BadInput
from e2e_matrix.report import FORMATS, write_reports
from support import report_samples as samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results.json").write_text(samples.broken().model_dump_json(), encoding="utf-8")
    return tmp_path


def test_the_reports_have_the_names_that_others_rely_on(folder: Path) -> None:
    assert [path.name for path in write_reports(folder)] == ["report.html", "report.md"]
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md", "results.json"]


def test_rendered_again_from_results_alone_they_are_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in write_reports(folder)}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "results.json").write_bytes((folder / "results.json").read_bytes())
    assert {path.name: path.read_bytes() for path in write_reports(elsewhere)} == first


def test_only_the_formats_asked_for_are_written(folder: Path) -> None:
    result = CliRunner().invoke(command, [str(folder), "--format", "md, md"])
    assert (result.exit_code, result.output) == (0, f"{folder / 'report.md'}\n")
    assert not (folder / "report.html").exists()


def test_an_unknown_format_is_refused_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"no report format 'pdf'\n    Use one of: html, md") as caught:
        write_reports(folder, ["md", "pdf", "doc"])
    assert len(caught.value.problems) == 2
    assert not (folder / "report.md").exists()


def test_a_folder_without_results_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"results\.json"):
        write_reports(tmp_path)


def test_no_two_formats_write_one_file() -> None:
    assert len({form.filename for form in FORMATS.values()}) == len(FORMATS)
