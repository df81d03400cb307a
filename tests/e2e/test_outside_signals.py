"""Being told to stop, by a person and by the run's own limit, in the middle of conversations."""

import signal
import time

import pytest

from support.engine_proxy import EngineProxy
from support.outside import PATIENCE, Outside, attempts, evidence

pytestmark = pytest.mark.timeout(120)

FAULT, CELL = "runs-for:60", "runs-for-60-amd64"


def test_a_second_interrupt_ends_the_run_at_once(behind: Outside, proxy: EngineProxy) -> None:
    run = behind.start(behind.matrix(FAULT, "stuck", one_at_a_time=True))
    run.talking(CELL)
    # Obeying the first hangs in the cell's own removal, until the second one's removal is asked for.
    hangs = proxy.hold_up(b"DELETE ")
    run.process.send_signal(signal.SIGINT)
    assert hangs.wait(PATIENCE)
    begin = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    ran = run.finish()
    assert time.monotonic() - begin < 5
    assert ran.exit_code == 130, ran.output
    assert ran.output.endswith("\ninterrupted\n")  # what only the second one prints
    assert (ran.cell(CELL)["outcome"], ran.cell(CELL)["cause"]) == ("cancelled", "interrupted")
    assert ran.cell("stuck-amd64")["attempts"] == []
    # What the first one began goes on where the run is resumed.
    resumed = behind.call(
        "run", "--matrix", str(behind.matrix("none")), "--resume", ran.folder.name, "--force"
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr


def test_the_runs_limit_stops_what_runs_and_reports_in_time(outside: Outside) -> None:
    matrix = outside.matrix(FAULT, "none", one_at_a_time=True)
    run = outside.start(matrix, "--run-timeout", "4s")
    run.talking(CELL)
    ran = run.finish(within=20)
    assert ran.exit_code == 3, ran.output
    assert 4 <= ran.results["run"]["duration_seconds"] < 15
    assert attempts(ran, CELL) == [("cancelled", "run-timeout")]
    rest = ran.cell("none-amd64")
    assert (rest["outcome"], rest["cause"], rest["attempts"]) == ("not_run", "time-was-over", [])
    evidence(ran, CELL)
    assert (ran.folder / ran.cell(CELL)["attempts"][0]["folder"] / "server.log").stat().st_size
    assert "`--run-timeout` gives it more" in ran.output
    for report in ("report.html", "report.md"):
        assert "time limit" in (ran.folder / report).read_text()
