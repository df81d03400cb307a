"""`--reuse`, `--no-reuse`, their variables and the file's `reuse`: which word counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from e2e_matrix.cli import execute
from e2e_matrix.cli import run as run_command
from e2e_matrix.errors import BadInput
from e2e_matrix.progress import Progress
from e2e_matrix.record import Job
from e2e_matrix.results import Results

DAY = 86400.0
MATRIX = "image: r.test/server:{ref}-{variant}\nmatrix:\n  variant: [python]\n  arch: [amd64]\n"


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
    return seen


def invoke(*arguments: str, **variables: str) -> str:
    """What the command said; it ends with BadInput in any case."""
    environ = {f"E2E_MATRIX_{name}": value for name, value in variables.items()}
    ended = CliRunner().invoke(run_command.command, list(arguments), env=environ)
    assert isinstance(ended.exception, BadInput), ended.output
    return str(ended.exception)


@pytest.mark.parametrize(
    ("file", "variables", "arguments", "seconds", "source"),
    [
        ("", {}, [], None, "default"),
        ("reuse: 2d\n", {}, [], 2 * DAY, "file"),
        ("reuse: 2d\n", {"REUSE": "3d"}, [], 3 * DAY, "environment"),
        ("reuse: 2d\n", {"REUSE": "3d"}, ["--reuse", "12h"], DAY / 2, "command line"),
        ("reuse: 2d\n", {"REUSE": "3d"}, ["--no-reuse"], None, "command line"),
        ("reuse: 2d\n", {"NO_REUSE": "1"}, [], None, "environment"),
        ("reuse: 2d\n", {"NO_REUSE": "1"}, ["--reuse", "7d"], 7 * DAY, "command line"),
        ("reuse: 2d\n", {"NO_REUSE": "0"}, [], 2 * DAY, "file"),
    ],
)
def test_the_nearest_word_counts_and_is_named(
    file: str,
    variables: dict[str, str],
    arguments: list[str],
    seconds: float | None,
    source: str,
    jobs: list[Job],
) -> None:
    Path("matrix.yaml").write_text(MATRIX + file)
    invoke(*arguments, **variables)
    [job] = jobs
    assert (job.settings.reuse or None) == seconds
    shown = job.settings.sources()["reuse"]
    assert (shown.value is None, shown.source) == (seconds is None, source)


@pytest.mark.parametrize("age", ["7", "7w", "0d", "-1d", "366d", "soon"])
def test_what_is_no_age_is_refused_where_it_was_written(age: str, jobs: list[Job]) -> None:
    assert f"--reuse: cannot be {age!r}" in invoke(f"--reuse={age}")
    assert f"E2E_MATRIX_REUSE: cannot be {age!r}" in invoke(REUSE=age)
    Path("matrix.yaml").write_text(MATRIX + f"reuse: '{age}'\n")
    assert f"matrix.yaml:5:8: reuse: cannot be '{age}'" in invoke().replace('"', "'")
    assert jobs == []


def test_to_reuse_and_not_to_is_a_contradiction(jobs: list[Job]) -> None:
    assert "--no-reuse: contradicts --reuse" in invoke("--reuse", "7d", "--no-reuse")
    assert jobs == []


@pytest.mark.parametrize(
    ("recorded", "seconds"), [({"reuse": 3 * DAY}, 3 * DAY), ({"reuse": 0.0}, None), ({}, 2 * DAY)]
)
def test_a_resumed_run_keeps_the_word_that_it_was_started_with(
    recorded: dict[str, float], seconds: float | None, jobs: list[Job]
) -> None:
    Path("matrix.yaml").write_text(MATRIX + "reuse: 2d\n")
    folder = Path("reports") / "20261122T100000Z-abc"
    folder.mkdir(parents=True)
    plan = {
        "schema_version": 1,
        "started_at": "2026-11-22T10:00:00Z",
        "matrix_file": "matrix.yaml",
        "options": recorded,
        "repeat": 1,
        "cells": {},
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    invoke("--resume")
    invoke("--resume", "--no-reuse")
    assert [job.settings.reuse or None for job in jobs] == [seconds, None]
