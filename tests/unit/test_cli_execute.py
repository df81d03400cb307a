"""How `run` ends: the workflow hears what it came to, however it ended, and from nobody else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e_matrix import cli
from e2e_matrix.assessment import expectations
from e2e_matrix.cli import execute
from e2e_matrix.errors import BadInput, InfrastructureError, Problem
from e2e_matrix.failures import Cause, Outcome
from e2e_matrix.progress import Progress
from e2e_matrix.question import Asked, keep_question
from e2e_matrix.record import Job
from e2e_matrix.results import Results
from support import report_samples as samples
from support.actions_runner import commands_in, outputs_of
from support.qa_samples import keep
from support.sample_run import tell

INJECTED = "\n::set-output name=verdict::passed\n ##[set-output name=verdict]passed"
RunCommand = Callable[[Results | None, BaseException | None], tuple[int, dict[str, str]]]


@pytest.fixture
def run_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """`e2e-matrix run` as a step, whose run tells what a test says and may end in an error after that.

    Its exit code, and the step's outputs.
    """
    monkeypatch.chdir(tmp_path)
    Path("matrix.yaml").write_text("matrix:\n  variant: [python]\n  arch: [amd64]\n")
    monkeypatch.setattr(sys, "argv", ["e2e-matrix", "run"])
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    for name in ("LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(results: Results | None, error: BaseException | None) -> tuple[int, dict[str, str]]:
        def launch(job: Job, progress: Progress, stand_in: bool = False) -> Results:
            progress.note(f"a server says {INJECTED}")
            if results:
                tell(progress, results)
                progress.run_finished(results, "reports/run")
            if error:
                raise error
            assert results
            return results

        monkeypatch.setattr(execute, "launch", launch)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = tmp_path / "output"
        return int(ended.value.code or 0), outputs_of(output.read_text()) if output.exists() else {}

    return run


def test_a_run_tells_what_it_came_to_and_a_server_cannot(
    run_command: RunCommand, capfd: pytest.CaptureFixture[str]
) -> None:
    code, outputs = run_command(samples.hostile(), None)
    assert (code, outputs["verdict"], outputs["exit-code"]) == (1, "failed", "1")
    shown = capfd.readouterr()
    assert {command.name for command in commands_in(shown.out)} == {"error"}
    assert len(commands_in(shown.out)) == 2
    assert commands_in(shown.err) == []
    assert Path("summary").read_text().startswith("## ❌")


def test_a_run_that_passed_and_broke_off_after_all_is_no_pass(
    run_command: RunCommand, capfd: pytest.CaptureFixture[str]
) -> None:
    error = InfrastructureError(f"cannot write reports/run/results.json: No space{INJECTED}")
    code, outputs = run_command(samples.six_passed(), error)
    assert (code, outputs["verdict"], outputs["exit-code"]) == (3, "error", "3")
    assert outputs["reason"].startswith(
        "All 6 cells passed. Then the run broke off: InfrastructureError: cannot"
    )
    shown = capfd.readouterr()
    assert "e2e-matrix: cannot write" in shown.err
    assert commands_in(shown.err) == commands_in(shown.out) == []
    assert Path("summary").read_text().startswith("## ⚠️ No verdict")


def test_a_run_that_was_interrupted_tells_what_it_knows(run_command: RunCommand) -> None:
    stopped = samples.cell("java", "amd64", [], outcome=Outcome.CANCELLED, cause=Cause.INTERRUPTED)
    results = samples.run([stopped], verdict=Outcome.CANCELLED, exit_code=130)
    for error in (None, KeyboardInterrupt()):
        Path("output").unlink(missing_ok=True)
        code, outputs = run_command(results, error)
        assert (code, outputs["verdict"], outputs["exit-code"]) == (130, "cancelled", "130")


def test_a_run_that_never_began_tells_why(run_command: RunCommand, capfd: pytest.CaptureFixture[str]) -> None:
    problem = Problem("matrix.yaml", 3, 1, f"wrong{INJECTED}", "mend it")
    code, outputs = run_command(None, BadInput([problem]))
    assert (code, outputs["verdict"], outputs["exit-code"]) == (2, "error", "2")
    assert outputs["reason"].startswith("matrix.yaml:3:1: wrong")
    assert [command.name for command in commands_in(capfd.readouterr().out)] == ["error"]


def test_what_the_workflow_does_not_take_leaves_the_exit_code(
    run_command: RunCommand, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", "/dev/null/output")
    code, _ = run_command(samples.six_passed(), None)
    assert code == 0
    assert (
        "e2e-matrix: the workflow's outputs could not be written: NotADirectoryError"
        in capfd.readouterr().err
    )


@pytest.mark.parametrize(
    ("candidate", "baseline", "code", "qa"),
    [
        (samples.six_passed(), samples.six_passed(), 0, "PASS"),
        (samples.six_passed(), samples.broken(), 0, "PASS"),
        (samples.broken(), samples.six_passed(), 1, "FAIL"),
        (
            samples.run([samples.six_passed().cells[1]]),
            samples.run([samples.six_passed().cells[0]]),
            3,
            "INCONCLUSIVE",
        ),
        (samples.run([], verdict=Outcome.CANCELLED, exit_code=130), samples.broken(), 130, "INCONCLUSIVE"),
    ],
)
@pytest.mark.parametrize("quiet", [False, True])
def test_a_run_with_a_baseline_ends_as_its_comparison_does(
    candidate: Results,
    baseline: Results,
    code: int,
    qa: str,
    quiet: bool,
    run_command: RunCommand,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    keep(Path("reports/run"), candidate, baseline)
    monkeypatch.setattr(sys, "argv", ["e2e-matrix", "run", *(["--quiet"] if quiet else [])])
    ended, outputs = run_command(candidate, None)
    assert (ended, outputs["exit-code"], outputs["qa"]) == (code, str(code), qa)
    lines = [line for line in capfd.readouterr().out.splitlines() if not line.startswith("::")]
    told = next(number for number, line in enumerate(lines) if line.startswith(f"{qa}: "))
    if quiet:
        assert len(lines) == 2
    else:
        assert any("report.html" in line for line in lines[:told])
    headline = Path("summary").read_text().splitlines()[0]
    assert headline.startswith("## \u2705") is (code == 0)


def test_an_expectation_that_is_not_met_fails_a_run_that_passed(
    run_command: RunCommand, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = keep(Path("reports/run"), samples.six_passed(), samples.six_passed())
    keep_question(folder, Asked(expected=expectations(["fixed:*"])))
    code, outputs = run_command(samples.six_passed(), None)
    assert (code, outputs["verdict"], outputs["exit-code"], outputs["qa"]) == (1, "passed", "1", "FAIL")
    assert "FAIL: expected fixed:*, but python-amd64 is same" in capfd.readouterr().out
    assert Path("summary").read_text().startswith("## \u274c Not good to ship: worse than the baseline")


def test_without_a_baseline_there_is_no_such_output(run_command: RunCommand) -> None:
    assert "qa" not in run_command(samples.six_passed(), None)[1]
