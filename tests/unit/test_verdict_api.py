"""The REST APIs in the verdict over two runs: `compare`, its formats, the QA report, from real folders."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from e2e_matrix import store
from e2e_matrix.api import canonical_digest
from e2e_matrix.cli import compare, render
from e2e_matrix.errors import BadInput
from e2e_matrix.question import assessed_in, keep_baseline
from e2e_matrix.report.qa import build, qa_of
from e2e_matrix.results import Api
from support import report_samples as samples
from support.openapi_samples import Json, a_document, an_object, answering
from support.qa_samples import keep

BOTH = a_document({"/a": {"get": answering(an_object())}, "/b": {"get": answering(an_object())}})
WITHOUT_B = a_document({"/a": {"get": answering(an_object())}})
REMOVED = "/b: path removed"


def serving(folder: Path, documents: dict[str, Json | None], default: Json | None) -> Path:
    """A run in its folder, whose servers described themselves so."""
    run = samples.six_passed()
    cells = []
    for cell in run.cells:
        document = documents.get(cell.id, default)
        api = None if document is None else _kept(folder, document)
        attempts = [one.model_copy(update={"api": api}) for one in cell.attempts]
        image = cell.image.model_copy(update={"digest": samples.digest(f"{folder.name} {cell.id}")})
        cells.append(cell.model_copy(update={"attempts": attempts, "image": image}))
    return keep(folder, run.model_copy(update={"cells": cells}))


def _kept(folder: Path, document: Json) -> Api:
    digest = canonical_digest(document)
    place = folder / store.api_file(digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(document))
    return Api(digest=digest, file=store.api_file(digest), operations=len(document["paths"]))


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    serving(tmp_path / "reports" / "old", {}, BOTH)
    serving(tmp_path / "reports" / "new", {}, WITHOUT_B)
    return tmp_path / "reports"


def compared(*arguments: str) -> Result:
    result = CliRunner().invoke(compare.command, list(arguments), standalone_mode=False)
    assert result.exception is None, result.exception
    return result


def api_phase(folder: Path) -> tuple[str, str]:
    [phase] = [one for one in qa_of(store.load(folder), folder).phases if one.name == "API"]
    return phase.outcome.value, phase.found


def test_a_path_that_is_gone_fails_where_the_policy_says_so_and_is_told_anyway(reports: Path) -> None:
    result = compared("old", "new")
    assert result.return_value == 0
    assert "API: 1 breaking change, 0 compatible" in result.output
    result = compared("old", "new", "--fail-on", "breaking-api", "--report", "qa")
    assert result.return_value == 1
    assert "FAIL: the API breaks a client of the baseline: 1 breaking change in 6 cells" in result.output
    text = (reports / "new" / "qa.md").read_text()
    assert text.startswith("## ❌ FAIL")
    assert "❌ API | 1 breaking, 0 compatible changes" in text
    assert REMOVED in text


def test_every_format_tells_it(reports: Path) -> None:
    assert f"- {REMOVED}" in compared("old", "new", "--format", "md").output
    told = json.loads(compared("old", "new", "--format", "json").output)["api"]
    assert [len(pair["cells"]) for pair in told["pairs"]] == [6]
    assert REMOVED in told["pairs"][0]["breaking"][0]
    assert (told["not_known"], told["unlike"]) == ({}, [])
    keep_baseline(reports / "new", reports / "old")
    CliRunner().invoke(render.command, [str(reports / "new")], standalone_mode=False)
    for name in ("report.html", "report.md"):
        assert "API: 1 breaking change" in (reports / "new" / name).read_text()


def test_a_report_says_the_same_where_the_descriptions_were_not_carried_along(reports: Path) -> None:
    keep_baseline(reports / "new", reports / "old")
    for again in (False, True):
        CliRunner().invoke(render.command, [str(reports / "new"), "--report", "qa"], standalone_mode=False)
        text = (reports / "new" / "qa.md").read_text()
        assert REMOVED in text
        if not again:
            for document in (reports / "new" / "api").iterdir():
                document.unlink()
    (reports / "new" / "api-differences.json").write_text("{")
    CliRunner().invoke(render.command, [str(reports / "new"), "--report", "qa"], standalone_mode=False)
    assert "not compared" in (reports / "new" / "qa.md").read_text()


def test_what_is_not_known_of_some_cells_is_no_pass_of_the_phase(tmp_path: Path) -> None:
    folder = serving(tmp_path / "new", {"java-amd64": None}, BOTH)
    keep_baseline(folder, serving(tmp_path / "old", {}, BOTH))
    assert api_phase(folder) == ("error", "0 breaking, 0 compatible changes; not known of 1 cell")


def test_an_image_unlike_the_others_fails_also_where_the_baseline_described_nothing(tmp_path: Path) -> None:
    folder = serving(tmp_path / "new", {"java-amd64": WITHOUT_B}, BOTH)
    keep_baseline(folder, serving(tmp_path / "old", {}, None))
    assessed = assessed_in(folder, store.load(folder))
    assert assessed
    assert (assessed.exit_code, assessed.why.partition(" another")[0]) == (1, "java-amd64 describes")
    assert api_phase(folder)[0] == "failed"


def test_without_a_baseline_it_is_told_in_the_report_and_the_qa_report(tmp_path: Path) -> None:
    folder = serving(tmp_path / "new", {"java-amd64": WITHOUT_B}, BOTH)
    assert api_phase(folder) == (
        "failed",
        "0 breaking, 0 compatible changes; 1 image of one ref with another API",
    )
    assert build(store.load(folder)).api is None


def test_another_text_about_the_same_api_fails_nothing(tmp_path: Path) -> None:
    other = {**BOTH, "info": {"title": "Another", "version": "2"}}
    folder = serving(tmp_path / "new", {"java-amd64": other}, BOTH)
    keep_baseline(folder, serving(tmp_path / "old", {}, BOTH))
    assessed = assessed_in(folder, store.load(folder))
    assert assessed
    assert assessed.exit_code == 0
    assert "only its documentation is different" in assessed.headline


@pytest.mark.parametrize("kind", ["link", "folder", "other", "pipe"])
def test_nothing_but_what_the_baseline_described_is_carried_along(kind: str, tmp_path: Path) -> None:
    baseline = serving(tmp_path / "old", {}, BOTH)
    [document] = (baseline / "api").iterdir()
    content = document.read_bytes()
    document.unlink()
    match kind:
        case "link":
            (tmp_path / "secret.json").write_bytes(content)
            document.symlink_to(tmp_path / "secret.json")
        case "folder":
            document.mkdir()
        case "other":
            document.write_text(json.dumps(WITHOUT_B))
        case "pipe":
            os.mkfifo(document)
    (baseline / "api" / "more.json").write_text("secret")
    folder = serving(tmp_path / "new", {}, None)
    keep_baseline(folder, baseline)
    assert not (folder / "api").exists()
    assert store.load_baseline(folder) == store.load(baseline)


def test_a_baseline_without_results_is_one_clear_error(tmp_path: Path) -> None:
    folder = serving(tmp_path / "new", {}, None)
    with pytest.raises(BadInput, match="cannot be read"):
        keep_baseline(folder, tmp_path)
