"""Writing the reports into a run's folder, and `e2e-matrix render`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from e2e_matrix import store
from e2e_matrix.cli import run
from e2e_matrix.cli.options import load
from e2e_matrix.cli.render import command
from e2e_matrix.errors import BadInput
from e2e_matrix.report import FORMATS, files_of, formats_of, write_reports
from e2e_matrix.results import SettingValue
from support import report_samples as samples
from support.runner_bench import Bench

EVERY_FORMAT = ["report.html", "report.md", "junit.xml", "ctrf.json", "qa.html", "qa.md"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "results.json").write_text(samples.broken().model_dump_json(), encoding="utf-8")
    return tmp_path


def test_the_reports_have_the_names_that_others_rely_on(folder: Path) -> None:
    assert [path.name for path in write_reports(folder)] == ["report.html", "report.md"]
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.md", "results.json"]


def test_rendered_again_from_results_alone_they_are_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in write_reports(folder, list(FORMATS))}
    assert list(first) == EVERY_FORMAT
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "results.json").write_bytes((folder / "results.json").read_bytes())
    assert {path.name: path.read_bytes() for path in write_reports(elsewhere, list(FORMATS))} == first


def test_only_the_formats_asked_for_are_written(folder: Path) -> None:
    result = CliRunner().invoke(command, [str(folder), "--format", "md, md"])
    assert (result.exit_code, result.output) == (0, f"{folder / 'report.md'}\n")
    assert not (folder / "report.html").exists()


def test_every_format_can_be_rendered_from_the_command_line(folder: Path) -> None:
    result = CliRunner().invoke(command, [str(folder), "--report", "html,md,junit,ctrf,qa"])
    assert result.output.splitlines() == [str(folder / name) for name in EVERY_FORMAT]


def test_a_run_writes_the_formats_that_its_matrix_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, monkeypatch)
    results = bench.run("reports: {formats: [html, junit, ctrf]}\n")
    written = {path.name for path in (tmp_path / "reports" / "latest").iterdir() if path.is_file()}
    assert written & set(EVERY_FORMAT) == {"report.html", "junit.xml", "ctrf.json"}
    assert list(formats_of(results)) == ["html", "junit", "ctrf"]


def test_the_formats_of_a_run_may_be_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("matrix.yaml").write_text(
        "matrix:\n  variant: [python]\n  arch: [amd64]\nreports: {formats: [md]}\n"
    )
    context = run.command.make_context("run", ["--report", "html,md", "--report", "junit, ctrf"])
    settings, _ = load(context)
    assert settings.report_formats == ("html", "md", "junit", "ctrf")


def test_an_unknown_format_is_refused_before_anything_is_written(folder: Path) -> None:
    hint = r"no report format 'pdf'\n    Use one of: html, md, junit, ctrf, qa"
    with pytest.raises(BadInput, match=hint) as caught:
        write_reports(folder, ["md", "pdf", "doc"])
    assert len(caught.value.problems) == 2
    assert not (folder / "report.md").exists()


def test_a_folder_without_results_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"results\.json"):
        write_reports(tmp_path)


def test_no_two_formats_write_one_file() -> None:
    names = [filename for form in FORMATS.values() for filename in form.modules]
    assert len(set(names)) == len(names)


def test_a_baseline_that_was_given_once_is_kept(folder: Path) -> None:
    before = folder / "earlier"
    before.mkdir()
    (before / "results.json").write_text(samples.six_passed().model_dump_json(), encoding="utf-8")
    given = CliRunner().invoke(command, [str(folder), "--report", "html", "--baseline", str(before)])
    assert given.exit_code == 0
    page = (folder / "report.html").read_text()
    assert "What changed" in page
    assert write_reports(folder, ["html"])[0].read_text() == page


def test_a_baseline_that_is_not_there_is_bad_input_and_changes_nothing(folder: Path) -> None:
    result = CliRunner().invoke(command, [str(folder), "--baseline", "nowhere"])
    assert isinstance(result.exception, BadInput)
    assert "there is no run 'nowhere'" in str(result.exception)
    assert not (folder / "baseline.json").exists()


def test_a_broken_baseline_says_what_to_do(folder: Path) -> None:
    (folder / "baseline.json").write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match=r"baseline\.json: is not whole.*\n.*Name the baseline again"):
        write_reports(folder)


def test_formats_may_be_given_one_by_one(folder: Path) -> None:
    result = CliRunner().invoke(command, [str(folder), "--report", "junit,ctrf", "--report", "md"])
    assert [Path(line).name for line in result.output.split()] == ["junit.xml", "ctrf.json", "report.md"]


def test_no_format_at_all_is_bad_input(folder: Path) -> None:
    result = CliRunner().invoke(command, [str(folder), "--report", ""])
    assert isinstance(result.exception, BadInput)
    assert "--report: must not be empty" in str(result.exception)


def test_a_run_may_be_named_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("reports/20260101T000000Z-abcdef")
    run.mkdir(parents=True)
    (run / "results.json").write_text(samples.broken().model_dump_json(), encoding="utf-8")
    assert CliRunner().invoke(command, [run.name, "--report", "md"]).output == f"{run / 'report.md'}\n"


def test_a_run_that_was_made_for_a_comparison_has_no_qa_report(folder: Path) -> None:
    results = store.load(folder)
    formats = {"reports.formats": SettingValue(value=["md", "qa"], source="file")}
    for only_for_it, names in ((False, ["report.md", "qa.html", "qa.md"]), (True, ["report.md"])):
        run = results.run.model_copy(update={"for_comparison": only_for_it, "settings": formats})
        changed = results.model_copy(update={"run": run})
        (folder / "results.json").write_text(changed.model_dump_json(), encoding="utf-8")
        assert [path.name for path in write_reports(folder)] == names
        assert [path.name for path in write_reports(folder, ["md", "qa"])] == names
        assert files_of(changed) == names
    assert (folder / "qa.md").exists()  # what was there stays
