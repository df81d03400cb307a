"""How `run` and `demo` run a job: the terminal watches, and GitHub; the workflow hears the end."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from e2e_matrix.assessment import Assessment
from e2e_matrix.cli.publish_options import Published
from e2e_matrix.errors import E2EMatrixError
from e2e_matrix.launch import launch
from e2e_matrix.progress import Ending, Several
from e2e_matrix.publish import workflow
from e2e_matrix.question import assessed_in, exit_code_of
from e2e_matrix.record import Job
from e2e_matrix.terminal import make_progress
from e2e_matrix.terminal.comparison import show_after_run, show_standing
from e2e_matrix.terminal.screen import Screen

_P = ParamSpec("_P")


def execute(job: Job, quiet: bool, published: Published, stand_in: bool = False) -> int:
    """Run the job and tell the workflow, if we are a step of one, what it came to.

    The exit code is the run's own; of a run that passed, that of its comparison, where it has a baseline.
    ``stand_in``, and what is raised, are those of ``launch``.
    """
    ending = Ending()
    terminal = make_progress(sys.stdout, quiet, os.environ, sys.stdout.isatty())
    try:
        with published(job.settings, terminal, quiet) as watcher:
            results = launch(job, Several(watcher, ending), stand_in)
        assessed = assessed_in(Path(ending.folder), results)
        if assessed:
            _show(assessed, quiet)
        return exit_code_of(results, assessed)
    except BaseException as error:
        ending.break_off(error)
        if isinstance(error, E2EMatrixError):
            error.told = ending.results is not None
        raise
    finally:
        if ending.results:
            workflow.tell(ending.results, Path(ending.folder), os.environ, sys.stdout, sys.stderr)


def _show(assessed: Assessment, quiet: bool) -> None:
    """Below the summary of the run, which may have passed where this did not."""
    screen = Screen(sys.stdout, os.environ, sys.stdout.isatty())
    if quiet:
        show_standing(screen, assessed, brief=True)
        return
    screen.line("")
    show_after_run(screen, assessed)


def told_to_the_workflow(command: Callable[_P, int]) -> Callable[_P, int]:
    """A command that runs a job: that it could not, the workflow hears as well."""

    @functools.wraps(command)
    def tell(*arguments: _P.args, **options: _P.kwargs) -> int:
        try:
            return command(*arguments, **options)
        except E2EMatrixError as error:
            if not error.told:
                workflow.tell_refusal(error, os.environ, sys.stdout, sys.stderr)
            raise

    return tell
