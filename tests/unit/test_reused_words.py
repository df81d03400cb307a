"""How a run says what it reused: in its verdict, on the terminal, in every report."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from e2e_matrix.report import FORMATS
from e2e_matrix.report.cell_view import command_for
from e2e_matrix.results import Cell, Evidence, Results, Server, SettingValue
from e2e_matrix.reused_words import reused_in_all
from e2e_matrix.terminal import make_progress
from e2e_matrix.terminal.live import LiveProgress
from e2e_matrix.terminal.screen import Screen
from support.sample_run import a_cell, a_run, tell

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)
EARLIER = "20260301T120000Z-abc123"
HOSTILE = '\x1b[2J"><script>alert(1)</script>../../etc\u202e'


def reused(name: str, run: str = EARLIER, ago: timedelta = timedelta(days=2), **changed: Any) -> Cell:
    evidence = {"run": run, "cell": name, "finished_at": NOW - ago, "folder": f"../{run}"} | changed
    return a_cell(
        name,
        reused=True,
        reused_from=Evidence(**evidence),
        cost_usd=Decimal(0),
        duration_seconds=0,
        attempts=[],
        steps=[],
        tokens=None,
        server=Server(version="1.58.2"),
    )


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ([a_cell("a")], None),
        ([a_cell("a", reused=True)], None),  # of a run that goes on: its own
        (
            [reused("a")],
            f"reused from an earlier run ({EARLIER}, at most 2 days old): nothing was run, it cost $0",
        ),
        (
            [reused("a", ago=timedelta(minutes=3)), a_cell("b")],
            f"1 reused from an earlier run ({EARLIER}, at most 3 minutes old)",
        ),
        (
            [reused("a"), reused("b", "20260302T120000Z-abc123", timedelta(hours=1))],
            f"all 2 reused from earlier runs (20260302T120000Z-abc123, {EARLIER}, at most 2 days old): "
            "nothing was run, it cost $0",
        ),
        (
            [
                *(reused(f"c{number}", f"2026030{number}T120000Z-abc123") for number in range(1, 6)),
                a_cell("z"),
            ],
            "5 reused from earlier runs (20260305T120000Z-abc123, 20260304T120000Z-abc123, "
            "20260303T120000Z-abc123 and 2 more, at most 2 days old)",
        ),
        (
            [reused("a", ago=timedelta(minutes=-4)), a_cell("b")],  # by a clock that is fast
            f"1 reused from an earlier run ({EARLIER}, at most 1 minute old)",
        ),
    ],
)
def test_the_verdict_says_how_much_from_which_runs_and_how_old(cells: list[Cell], words: str | None) -> None:
    assert reused_in_all(cells, NOW) == words


def half_reused(**changed: Any) -> Results:
    return a_run(reused("python-amd64", **changed), a_cell("java-amd64"))


class TestOnTheTerminal:
    def shown(self, results: Results, folder: str = "reports/20260303T120000Z-000000") -> str:
        stream = io.StringIO()
        progress = make_progress(stream, False, {"COLUMNS": "200"}, False)
        tell(progress, results)
        progress.run_finished(results, folder)
        progress.close()
        return stream.getvalue()

    def test_a_line_names_the_run_and_the_end_where_it_lies(self) -> None:
        shown = self.shown(half_reused())
        assert f"python-amd64: passed (reused from {EARLIER}), $0.00 [1/2]" in shown
        assert "passed (reused)" in shown
        assert f"python-amd64 from reports/{EARLIER}\n" in shown

    def test_a_run_out_of_reach_is_only_named(self) -> None:
        assert f"python-amd64 from {EARLIER}\n" in self.shown(half_reused(folder=None))

    def test_what_a_resumed_run_had_done_itself_is_told_apart(self) -> None:
        shown = self.shown(a_run(a_cell("python-amd64", reused=True)))
        assert "passed before, and is not run again" in shown
        assert "reused" not in shown

    def test_the_live_picture_names_the_run(self) -> None:
        stream = io.StringIO()
        progress = LiveProgress(Screen(stream, {"TERM": "xterm", "COLUMNS": "120"}, terminal=True))
        results = half_reused()
        progress.run_started(results.run.id, [cell.id for cell in results.cells], 2, "m")
        progress.cell_finished(results.cells[0])
        progress.close()
        assert f"passed (reused from {EARLIER})" in stream.getvalue()

    def test_a_hostile_name_of_a_run_is_harmless(self) -> None:
        shown = self.shown(half_reused(run=HOSTILE))
        assert "\x1b" not in shown
        assert "\u202e" not in shown


class TestInReports:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """The run's, beside that of the earlier run."""
        (tmp_path / EARLIER).mkdir()
        (tmp_path / EARLIER / "report.html").touch()
        folder = tmp_path / "20260303T120000Z-000000"
        folder.mkdir()
        return folder

    LINK = f"../{EARLIER}/report.html#cell-python-amd64"

    def test_the_page_links_the_evidence(self, folder: Path) -> None:
        page = FORMATS["html"].render(half_reused(), folder)["report.html"]
        assert f'<a href="{self.LINK}">{EARLIER}</a>, of 2026-03-01' in page
        assert page.count(f"reused from {EARLIER}") == 2  # in the grid, and in the cell's line
        assert "did not run" not in page
        assert "Nothing was run." not in page
        assert (
            "Nothing was run." in FORMATS["html"].render(a_run(reused("python-amd64")), folder)["report.html"]
        )

    def test_so_does_markdown_where_the_page_is_there(self, folder: Path) -> None:
        text = FORMATS["md"].render(half_reused(), folder)["report.md"]
        assert f"passed (reused from [`{EARLIER}`]({self.LINK}))" in text
        (folder.parent / EARLIER / "report.html").unlink()
        text = FORMATS["md"].render(half_reused(), folder)["report.md"]
        assert f"passed (reused from `{EARLIER}`)" in text

    def test_so_does_junit(self, folder: Path) -> None:
        case = ElementTree.fromstring(FORMATS["junit"].render(half_reused(), folder)["junit.xml"]).find(
            ".//testcase"
        )
        assert case is not None
        facts = {one.get("name"): one.get("value") for one in case.iter("property")}
        assert (facts["reused"], facts["reused-from"], facts["evidence"]) == ("true", EARLIER, self.LINK)
        assert case.findtext("system-out") == f"passed (reused from {EARLIER}), see {self.LINK}"
        assert facts["cost-usd"] == "0"

    def test_so_does_ctrf(self, folder: Path) -> None:
        [test, other] = json.loads(FORMATS["ctrf"].render(half_reused(), folder)["ctrf.json"])["results"][
            "tests"
        ]
        assert (test["status"], test["message"]) == ("passed", f"passed (reused from {EARLIER})")
        assert "reused" in test["tags"]
        assert test["extra"]["evidence"] == self.LINK
        assert test["extra"]["reused_from"]["run"] == EARLIER
        assert "message" not in other

    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize(
        "evidence",
        [
            {"folder": None},
            {"folder": "../../elsewhere"},
            {"run": "../../etc", "folder": "../../../etc"},
            {"run": "..", "folder": "../.."},
            {"run": HOSTILE},
            {"run": "javascript:alert(1)"},
        ],
    )
    def test_no_report_links_what_is_not_a_run_beside_it(
        self, name: str, evidence: dict[str, Any], folder: Path
    ) -> None:
        (folder.parent / "report.html").touch()
        text = FORMATS[name].render(half_reused(**evidence), folder)
        assert "report.html#" not in text
        assert name in ("md", "ctrf") or "<script>alert" not in text  # there it stands in code, or in JSON
        assert "\x1b" not in text

    def test_a_page_of_many_cells_says_it_too(self, folder: Path) -> None:
        cells = [reused(f"python-{number}") for number in range(150)]
        page = FORMATS["html"].render(a_run(*cells), folder)["report.html"]
        assert f"reused from {EARLIER}" in page
        assert "reused</a>" in page


@pytest.mark.parametrize(
    ("command", "setting", "again"),
    [
        (["e2e-matrix", "run", "--reuse", "7d"], "7d", "e2e-matrix run --no-reuse --only a-b"),
        (["e2e-matrix", "run", "--reuse=7d", "-q"], "7d", "e2e-matrix run -q --no-reuse --only a-b"),
        (["e2e-matrix", "run"], "7d", "e2e-matrix run --no-reuse --only a-b"),  # the file says so
        (["e2e-matrix", "run", "--no-reuse"], None, "e2e-matrix run --no-reuse --only a-b"),
        (["e2e-matrix", "run"], None, "e2e-matrix run --only a-b"),
    ],
)
def test_the_command_to_run_a_cell_again_reuses_nothing(
    command: list[str], setting: str | None, again: str
) -> None:
    settings = {"reuse": SettingValue(value=setting, source="file")}
    run = a_run(a_cell("a-b"), command=command, settings=settings).run
    assert command_for(run, "a-b") == again
