"""`run --resume` on the command line: which run, with which options, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from e2e_matrix.cli import execute
from e2e_matrix.cli import run as run_command
from e2e_matrix.errors import BadInput
from e2e_matrix.progress import Progress
from e2e_matrix.record import Job
from e2e_matrix.results import Llm, Results
from e2e_matrix.resume import plan_of

MATRIX = "image: r.test/server:{ref}-{variant}\nmatrix:\n  variant: [python, java]\n  arch: [amd64]\n"


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """What would be run, instead of running it."""
    seen: list[Job] = []

    def launch(job: Job, progress: Progress, stand_in: bool = False) -> Results:
        seen.append(job)
        raise BadInput([])

    monkeypatch.setattr(execute, "launch", launch)
    monkeypatch.chdir(tmp_path)
    Path("matrix.yaml").write_text(MATRIX)
    Path("other.yaml").write_text(MATRIX.replace("java", "golang"))
    return seen


def saved(name: str, matrix: str = "matrix.yaml", **options: object) -> Path:
    folder = Path("reports") / name
    folder.mkdir(parents=True)
    plan = {
        "schema_version": 1,
        "started_at": "2026-11-22T10:00:00Z",
        "matrix_file": matrix,
        "options": options,
        "repeat": 1,
        "cells": {},
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def invoke(*arguments: str) -> str:
    """What the command said; it ends with BadInput in any case."""
    ended = CliRunner().invoke(run_command.command, list(arguments))
    assert isinstance(ended.exception, BadInput), ended.output
    return str(ended.exception)


def test_the_newest_run_is_resumed_with_the_options_that_it_had(jobs: list[Job]) -> None:
    folder = saved("20261122T100000Z-abc", "other.yaml", ref="1.58.0", only=["python-*"], max_cost_run="0.5")
    (folder.parent / "latest").symlink_to(folder.name)
    invoke("--resume")
    [job] = jobs
    assert job.resume == folder
    assert (job.settings.ref, job.settings.matrix_file) == ("1.58.0", "other.yaml")
    assert str(job.settings.max_cost_run) == "0.5"
    assert [cell.id for cell in job.plan.cells] == ["python-amd64"]


def test_the_newest_run_is_the_one_that_began_last_also_where_it_was_killed(jobs: list[Job]) -> None:
    finished, killed = saved("20261122T100000Z-abc"), saved("20261123T100000Z-abc", ref="1.2.3")
    (finished.parent / "latest").symlink_to(finished.name)  # which is set at a run's end
    invoke("--resume")
    assert [job.resume for job in jobs] == [killed]


def test_a_folder_that_somebody_named_himself_is_not_the_newest(jobs: list[Job]) -> None:
    saved("example")
    run = saved("20261122T100000Z-abc")
    invoke("--resume")
    assert [job.resume for job in jobs] == [run]


def test_a_run_is_named_by_its_id_or_its_folder_and_options_given_now_count(jobs: list[Job]) -> None:
    folder = saved("20261122T100000Z-abc", ref="1.58.0")
    invoke("--resume", "20261122T100000Z-abc", "--max-parallel", "7")
    invoke("--resume", str(folder), "--ref", "1.29.0", "--force")
    assert [(job.resume, job.settings.ref, job.settings.max_parallel, job.force) for job in jobs] == [
        (folder, "1.58.0", 7, False),
        (folder, "1.29.0", None, True),
    ]


def test_a_run_that_is_not_there_is_refused_with_those_that_are(jobs: list[Job]) -> None:
    saved("20261122T100000Z-abc")
    said = invoke("--resume", "20991122T100000Z-abc")
    assert "there is no run '20991122T100000Z-abc' that could be resumed" in said
    assert "There are: 20261122T100000Z-abc." in said
    assert jobs == []


def test_force_alone_is_a_slip(jobs: list[Job]) -> None:
    assert "--force: goes with --resume" in invoke("--force")


def test_a_plan_that_was_cut_is_named(jobs: list[Job]) -> None:
    folder = saved("20261122T100000Z-abc")
    (folder / "plan.json").write_text('{"schema_version": 1, "star')
    assert "plan.json: the file: Invalid JSON" in invoke("--resume", folder.name)


PROFILES = "profiles:\n  a: {ref: 1.0.0, only: [python-*]}\n  b: {ref: 2.0.0, reports: elsewhere}\n"


def test_a_run_keeps_the_profile_that_it_was_started_with(
    jobs: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("matrix.yaml").write_text(MATRIX + PROFILES)
    folder = saved("20261122T100000Z-abc", profile="a")
    invoke("--resume")
    invoke("--resume", folder.name, "--ref", "3.0.0")
    invoke("--resume", str(folder), "--profile", "b")
    monkeypatch.setenv("E2E_MATRIX_PROFILE", "b")
    invoke("--resume", str(folder))
    assert [(job.settings.profile, job.settings.ref) for job in jobs] == [
        ("a", "1.0.0"),
        ("a", "3.0.0"),
        ("b", "2.0.0"),
        ("b", "2.0.0"),
    ]
    assert [cell.id for cell in jobs[0].plan.cells] == ["python-amd64"]
    assert jobs[0].settings.sources()["profile"].source == "resumed run"
    assert jobs[0].settings.sources()["ref"].source == "profile a"


def test_a_run_is_looked_for_where_the_profile_that_is_given_keeps_its_reports(jobs: list[Job]) -> None:
    Path("matrix.yaml").write_text(MATRIX + PROFILES)
    folder = saved("20261122T100000Z-abc", profile="b").rename("run")
    Path("elsewhere").mkdir()
    folder = folder.rename("elsewhere/20261122T100000Z-abc")
    invoke("--resume", "--profile", "b")
    assert [job.resume for job in jobs] == [folder]


def test_a_profile_that_the_file_lost_meanwhile_is_named(jobs: list[Job]) -> None:
    saved("20261122T100000Z-abc", profile="gone")
    assert "matrix.yaml: there is no profile 'gone' in matrix.yaml" in invoke("--resume")
    assert jobs == []


def test_what_is_kept_of_a_run_has_its_profile_and_not_what_the_profile_says(jobs: list[Job]) -> None:
    Path("matrix.yaml").write_text(MATRIX + PROFILES)
    invoke("--profile", "a", "--max-parallel", "2")
    llm = Llm(kind="stand-in", model="m", base_url=None)
    plan = plan_of(jobs[0], [], llm, datetime.now(UTC))
    assert plan.options == {"profile": "a", "max_parallel": 2}
