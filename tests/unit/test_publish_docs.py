"""The workflows of docs/publishing.md are YAML, and the commands in them exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from e2e_matrix.cli import publish, run
from e2e_matrix.cli.publish_options import MODES
from e2e_matrix.publish.survey import NEEDS

TEXT = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text()
WORKFLOWS: list[dict[Any, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
]
PERMISSIONS = {"github-comment": "pull-requests", "github-check": "checks", "github-issue": "issues"}


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def commands(workflow: dict[Any, Any]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """The words after e2e-matrix, and the step that they stand in."""
    for step in steps(workflow):
        words = shlex.split(step.get("run", ""))
        if words and words[0] == ".venv/bin/e2e-matrix":
            yield words[1:], step


def places(words: list[str]) -> set[str]:
    return {word for word in words if word in NEEDS}


def test_there_is_one_for_each_need() -> None:
    told = [sorted(set().union(*(places(words) for words, _ in commands(one)))) for one in WORKFLOWS]
    assert told == [["github-check", "github-comment"], [], ["github-comment"], ["github-issue"]]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow["name"])
def test_a_workflow_runs_commands_that_exist_with_what_they_need(workflow: dict[Any, Any]) -> None:
    assert True in workflow, "`on`, as YAML 1.1 reads it"
    found = list(commands(workflow))
    assert found
    for (name, *arguments), step in found:
        command: click.Command = run.command
        if name == "publish":
            command = publish.command.commands[arguments.pop(0)]
        command.make_context(name, list(arguments))  # raises where an option does not exist
        for place in places([*arguments, command.name or ""]):
            assert workflow["permissions"][PERMISSIONS[place]] == "write"
            assert step["env"] == {"GITHUB_TOKEN": "${{ github.token }}"}


def test_the_second_workflow_follows_the_first() -> None:
    first, second = WORKFLOWS[1:3]
    assert second[True]["workflow_run"]["workflows"] == [first["name"]]
    uploaded, downloaded = (
        next(step["with"]["name"] for step in steps(one) if kind in step.get("uses", ""))
        for one, kind in ((first, "upload-artifact"), (second, "download-artifact"))
    )
    assert uploaded == downloaded


def test_every_command_mode_and_permission_is_explained() -> None:
    for place in NEEDS:
        assert f"| `e2e-matrix publish {place}` |" in TEXT
        assert f"`{PERMISSIONS[place]}: write`" in TEXT
    for mode in MODES:
        assert re.search(rf"^\| `{mode}`", TEXT, re.MULTILINE)
