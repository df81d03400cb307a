"""Every fault of the contract server through the public command: outcome, cause, words, exit code, files.

A run for each, so that the exit code is that fault's. They mostly wait, so a few run at a time, started when
the first is looked at; the tests look at what they left.
"""

import html
import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.contract import ContractImages
from e2e_matrix.local.demo import Served
from support.contract_faults import EXIT_CODES, LAST_STEP, ROWS, Row
from support.price import GPT_4O
from support.real_runs import Ran, Runner, peak_memory

pytestmark = pytest.mark.timeout(240)

AT_A_TIME = 6
LONGEST_RUN = 90.0  # seconds; none takes 20
# Linux's count of what the runner held at the most, in bytes. It holds 65 MB without a fault.
MOST_MEMORY = 130_000_000
LONGEST_LOG = 7_000_000  # characters, of a server that prints 50 MB
MATRIX = """\
image: {template}
ref: {ref}
matrix:
  fault: [{name}]
platform: linux/amd64
environment: {{CONTRACT_FAULT: "{fault}"}}
{more}"""


@dataclass(frozen=True)
class Faulty:
    """A run on a server with one fault."""

    ran: Ran
    peak_memory: int  # bytes

    @property
    def cell(self) -> dict[str, Any]:
        [cell] = self.ran.results["cells"]
        return dict(cell)

    @property
    def failed(self) -> list[dict[str, Any]]:
        return [step for step in self.cell["steps"] if step["outcome"] != "passed"]


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest,
    served: Served,
    contract_images: ContractImages,
    engine: DockerEngine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Future[Faulty]]]:
    """The runs of the rows that were asked for, by fault, under way or done."""
    images = replace(served, ref=contract_images.ref)
    base = tmp_path_factory.mktemp("faults")
    items = (getattr(item, "callspec", None) for item in request.session.items if item.path == request.path)
    wanted = {spec.params["row"].fault: spec.params["row"] for spec in items if spec and "row" in spec.params}

    def run(row: Row) -> Faulty:
        folder = base / row.name
        folder.mkdir()
        matrix = folder / "matrix.yaml"
        matrix.write_text(
            MATRIX.format(
                template=contract_images.template,
                ref=contract_images.ref,
                name=row.name,
                fault=row.fault,
                more=row.matrix,
            )
        )
        return _watched(Runner(images, engine, folder / "reports"), matrix, contract_images.template)

    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        yield {fault: pool.submit(run, row) for fault, row in wanted.items()}
    finally:
        pool.shutdown(cancel_futures=True)


def _watched(runner: Runner, matrix: Path, template: str) -> Faulty:
    end = time.monotonic() + LONGEST_RUN
    process = runner.start("--matrix", str(matrix), template=template)
    with ThreadPoolExecutor(1) as pool:
        finished = pool.submit(runner.finish, process)
        peak = 0
        while not finished.done():
            peak = max(peak, peak_memory(process.pid))
            if time.monotonic() > end:
                process.terminate()  # it writes its report, which says where it hung
                end = math.inf
            time.sleep(0.1)
    return Faulty(finished.result(), peak)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_fault_is_told_for_what_it_is(runs: dict[str, Future[Faulty]], row: Row) -> None:
    faulty = runs[row.fault].result(timeout=200)
    ran, cell = faulty.ran, faulty.cell
    found = (cell["outcome"], cell["cause"], ran.exit_code, len(cell["attempts"]))
    assert found == (row.outcome, row.cause, EXIT_CODES[row.outcome], row.attempts), ran.output
    check_steps(faulty, row)
    check_money(faulty, row)
    check_attempts(faulty, row)
    check_reports(faulty, row)
    assert "Traceback" not in ran.output
    assert 0 < faulty.peak_memory < MOST_MEMORY


def check_steps(faulty: Faulty, row: Row) -> None:
    """The steps that fail are those that meet the fault, and what they say names it."""
    wanted = row.steps.split()
    failed = faulty.failed
    assert len(failed) == len(wanted), [step["name"] for step in failed]
    assert [step["name"] in one.split("|") for step, one in zip(failed, wanted, strict=True)] == [
        True for _ in wanted
    ], [step["name"] for step in failed]
    last = faulty.cell["steps"][-1]["name"]
    assert last == (LAST_STEP if row.goes_on else failed[-1]["name"])
    if failed:
        first = failed[0]
        told = f"{first['message']}\nexpected: {first['expected']}\ngot: {first['got']}\n{first['detail']}"
        for words in row.words:
            assert words in told
        assert (first["cause"], faulty.cell["message"]) == (row.cause, first["message"])
    for name, facts in row.facts.items():
        known = faulty.ran.step(faulty.cell["id"], name)["facts"]
        assert {key: known.get(key) for key in facts} == facts


def check_money(faulty: Faulty, row: Row) -> None:
    """What a cell cost is exact or unknown, and the run's total says which."""
    totals = faulty.ran.results["run"]["totals"]
    talked = any(attempt["llm_calls"] for attempt in faulty.cell["attempts"])
    if row.billed:
        assert Decimal(faulty.cell["cost_usd"]) == Decimal(totals["cost_usd"]) == served(faulty) > 0
    else:
        assert faulty.cell["cost_usd"] is None
        assert totals["cost_usd"] == (None if talked else "0")
    assert totals["cost_unknown_cells"] == (talked and not row.billed)


def served(faulty: Faulty) -> Decimal:
    """The price of what the model was asked and said, by the contract server's own list."""
    calls = [call for attempt in faulty.cell["attempts"] for call in attempt["llm_calls"]]
    prompt, completion = (sum(call[f"{what}_tokens"] for call in calls) for what in ("prompt", "completion"))
    return Decimal(prompt * GPT_4O.prompt + completion * GPT_4O.completion)


def check_attempts(faulty: Faulty, row: Row) -> None:
    """Each attempt keeps its folder, and of a server that ended how it did."""
    for number, attempt in enumerate(faulty.cell["attempts"], 1):
        assert (attempt["number"], attempt["outcome"], attempt["cause"]) == (number, row.outcome, row.cause)
        folder = faulty.ran.folder / attempt["folder"]
        assert {"attempt.json", "llm-calls.json", "server.log", "started.json"} == {
            path.name for path in folder.iterdir()
        }
        assert json.loads((folder / "attempt.json").read_text()) == attempt
        assert isinstance(json.loads((folder / "llm-calls.json").read_text()), list)
        assert len((folder / "server.log").read_text(encoding="utf-8")) < LONGEST_LOG
        if row.ended is not None:
            assert attempt["exit_code"] == row.ended
        assert attempt["oom_killed"] is (row.cause == "out-of-memory")


def check_reports(faulty: Faulty, row: Row) -> None:
    """A person reads it on the terminal, in the page and in the comment."""
    ran, message = faulty.ran, faulty.cell["message"]
    page = html.unescape((ran.folder / "report.html").read_text())
    comment = (ran.folder / "report.md").read_text()
    assert row.name in page
    assert row.name in comment
    if message is None:
        return
    for shown in (page, comment.replace("\\", ""), " ".join(ran.output.split())):
        assert message in shown
    step = faulty.failed[0]
    assert f"failed at step `{step['name']}`" in comment or row.outcome == "error"


CONTROL = set(map(chr, range(32))) - {"\n"} | {"\x7f"} | set(map(chr, range(0x80, 0xA0)))


@pytest.mark.parametrize("row", [row for row in ROWS if row.fault == "log-garbage"], ids=lambda row: row.name)
def test_no_control_character_of_a_log_is_shown(runs: dict[str, Future[Faulty]], row: Row) -> None:
    ran = runs[row.fault].result(timeout=200).ran
    [attempt] = ran.results["cells"][0]["attempts"]
    log = (ran.folder / attempt["folder"] / "server.log").read_text(encoding="utf-8")
    assert "not UTF-8: \ufffd" in log
    shown = [ran.output, (ran.folder / "report.html").read_text(), (ran.folder / "report.md").read_text()]
    assert all("not UTF-8: " in text for text in shown[1:])
    for text in shown:
        assert CONTROL & set(text) == set()
        assert "[31m" not in text
