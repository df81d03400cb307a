"""What failures.py tells a person to do, for one run: with commands that can be typed as they are."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from e2e_matrix.failures import RESUME
from e2e_matrix.results import Run

RUN_COMMANDS = ("run", "demo")
ONLY_THEN = "Served only while the demo ran; `e2e-matrix images serve` serves such images again."
# Whoever types a command again does not mean to tell GitHub, and `--baseline latest` is another run by then;
# without it there is nothing to expect.
_NOT_AGAIN = (
    *("--publish", "--repo", "--pr", "--sha", "--key", "--mode", "--run-url", "--api-url"),
    *("--baseline", "--claim", "--expect"),
)


def for_run(text: str, run: Run) -> str:
    """``text`` of failures.py, with the command that finishes this very run."""
    return text.replace(RESUME, resume_command(run))


def resume_command(run: Run) -> str:
    """Such as ``e2e-matrix demo --resume 20261122T104624Z-7215ed``."""
    reports = run.settings.get("reports.folder") or run.settings.get("reports")  # the earlier name
    folder = str(reports.value) if reports else "reports"
    name = run.id if folder == "reports" else f"{folder}/{run.id}"
    return shlex.join([program_of(run), next(iter(words_of(run.command)), "run"), "--resume", name])


def was_demo(run: Run) -> bool:
    """Whether its images came from the registry of the demo, which is gone."""
    return words_of(run.command)[:1] == ["demo"]


def program_of(run: Run) -> str:
    return run.command[0] if run.command and run.command[0].endswith("e2e-matrix") else "e2e-matrix"


def words_of(command: Sequence[str]) -> list[str]:
    """A command line from `run` or `demo` on, as it can be typed again."""
    for index, word in enumerate(command):
        if word in RUN_COMMANDS:
            return _to_type(command[index:])
    return _to_type(command[1:])


def _to_type(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    value = False
    for word, following in zip(words, [*words[1:], "-"], strict=False):
        if value:
            value = False
        elif word in _NOT_AGAIN:
            value = not following.startswith("-")  # --publish may stand alone
        elif word.partition("=")[0] not in _NOT_AGAIN:
            kept.append(word)
    return kept
