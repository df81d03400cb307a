"""Two refs in turns, and passes that stand for cells, on real containers; two real releases of the server."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from e2e_matrix.local import images, push
from e2e_matrix.local.demo import Served
from support.outside import Outside
from support.real_runs import Runner

OLD, NEW = "session-keys-not-enforced", "none"


@pytest.fixture
def by_ref(outside: Outside, served: Served) -> Outside:
    """The contract server under two tags, each of which is the fault that it has."""
    name = outside.images.build.repository
    document = outside.images.build.index
    with httpx.Client(base_url=f"http://{served.host}/v2/{name}/manifests/", trust_env=False) as registry:
        for tag in (OLD, NEW):
            headers = {"Content-Type": document.media_type}
            registry.put(tag, content=document.content, headers=headers).raise_for_status()
    return outside


def matrix(outside: Outside, cells: int = 1) -> Path:
    return outside.matrix(
        *map(str, range(cells)), ref=NEW, environment={"CONTRACT_FAULT": "{ref}"}, max_parallel=2
    )


def run_folders(outside: Outside) -> list[Path]:
    return sorted(path for path in outside.reports.glob("*Z-*") if path.is_dir())


def test_what_only_the_older_ref_does_wrong_is_fixed_and_the_other_way_round_it_fails(
    by_ref: Outside,
) -> None:
    options = ["--expect", "fixed:*", "--report", "qa"]
    file = matrix(by_ref)
    ended = by_ref.call("run", "--matrix", str(file), "--baseline-ref", OLD, *options)
    assert ended.returncode == 0, ended.stdout
    assert "PASS: fixed: 1 cell; newly failing: none" in ended.stdout
    candidate = (by_ref.reports / "latest").resolve()
    [other] = [folder for folder in run_folders(by_ref) if folder != candidate]
    told = [json.loads((folder / "results.json").read_text()) for folder in (candidate, other)]
    failed = [
        [step["name"] for step in one["cells"][0]["steps"] if step["outcome"] != "passed"] for one in told
    ]
    assert failed == [[], ["session-keys"]]
    assert (candidate / "baseline.json").read_bytes() == (other / "results.json").read_bytes()
    assert "## ✅ PASS" in (candidate / "qa.md").read_text()
    back = by_ref.call("run", "--matrix", str(file), "--ref", OLD, "--baseline-ref", NEW)
    assert back.returncode == 1, back.stdout
    assert "FAIL: newly failing: 0-amd64" in back.stdout
    assert by_ref.left() == []
    listed = by_ref.call("history", "--reports", str(by_ref.reports), "--format", "json")
    assert len(json.loads(listed.stdout)) == 2, "baselines are no part of the history"


def test_a_pair_that_was_killed_goes_on_as_a_pair(by_ref: Outside) -> None:
    file = matrix(by_ref, cells=3)
    run = by_ref.start(file, "--baseline-ref", OLD)
    run.until("the first cell's end", lambda: list(by_ref.reports.glob("*/cells/0-amd64/*/attempt.json")))
    run.process.send_signal(signal.SIGKILL)
    run.process.wait(30)
    ended = by_ref.call("run", "--matrix", str(file), "--resume")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "PASS: fixed: 3 cells; newly failing: none" in ended.stdout
    assert len(run_folders(by_ref)) == 2
    for folder in run_folders(by_ref):
        results = json.loads((folder / "results.json").read_text())
        assert {cell["outcome"] for cell in results["cells"]} in ({"passed"}, {"failed"})
        assert results["run"]["beside"] in {other.name for other in run_folders(by_ref)} - {folder.name}
    assert by_ref.left() == []


def test_a_night_on_unchanged_images_runs_nothing(outside: Outside) -> None:
    file = outside.matrix("none", "wrong-answer", one_at_a_time=True)
    first = outside.run(file, "--reuse", "7d")
    assert [cell["outcome"] for cell in first.results["cells"]] == ["passed", "failed"]
    second = outside.run(file, "--reuse", "7d")
    passed, failed = second.results["cells"]
    assert passed["reused_from"]["run"] == first.results["run"]["id"]
    assert (passed["attempts"], passed["cost_usd"]) == ([], "0")
    assert len(failed["attempts"]) == 1, "a failure is never reused"
    page = (second.folder / "report.html").read_text()
    assert f'href="../{first.results["run"]["id"]}/report.html#cell-none-amd64"' in page
    alone = outside.run(file, "--reuse", "7d", "--only", "none-*")
    assert alone.exit_code == 0
    assert "nothing was run, it cost $0" in alone.results["run"]["reason"]
    changed = outside.run(file, "--reuse", "7d", "--only", "none-*", "--timeout", "9m")
    assert len(changed.cell("none-amd64")["attempts"]) == 1


@pytest.mark.timeout(900)
def test_the_newer_of_two_real_releases_fixes_what_the_behaviour_shows(runner: Runner) -> None:
    """1.29.0 does not enforce session keys given at init, and breaks the events WebSocket after it."""
    for version in ("1.29.0", "1.29.2"):
        push.publish(images.build(["python"], ["amd64"], version, say=print), runner.served.host, print)
    ran = runner.run(
        "--ref", "1.29.2", "--baseline-ref", "1.29.0", "--only", "python-amd64", "--expect", "fixed:*",
        "--report", "qa",
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    assert "PASS: fixed: 1 cell; newly failing: none" in ran.output
    assert [step["outcome"] for step in ran.cell("python-amd64")["steps"]].count("passed") == 19
    baseline = json.loads((ran.folder / "baseline.json").read_text())["cells"]
    [before] = [cell for cell in baseline if cell["id"] == "python-amd64"]
    failed = [step["name"] for step in before["steps"] if step["outcome"] == "failed"]
    assert failed == ["session-keys", "events"]
    told = (ran.folder / "qa.md").read_text()
    assert "asks for credentials that it did not ask for: none → header X-Session-API-Key" in told
