"""The places by the names of their commands, what each has to know, and the key that tells several apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.publish.body import KEY
from e2e_matrix.publish.check import CheckPlace
from e2e_matrix.publish.comment import CommentPlace, Mode
from e2e_matrix.publish.issue import IssuePlace
from e2e_matrix.publish.place import Place
from e2e_matrix.publish.surroundings import (
    TOKENS,
    Given,
    Need,
    Surroundings,
    a_commit,
    a_pull_number,
    a_pull_request,
    a_repository,
    a_token,
    look_around,
    missing,
)
from e2e_matrix.text import one_line

NEEDS: dict[str, tuple[Need, ...]] = {
    CommentPlace.name: (a_repository, a_pull_request),
    CheckPlace.name: (a_repository, a_commit),
    IssuePlace.name: (a_repository,),
}


def survey(
    names: tuple[str, ...],
    given: Given,
    key: str | None,
    environ: Mapping[str, str],
    *,
    dry_run: bool = False,
) -> Surroundings:
    """What is known, if it is enough for the places of ``names``. Raises BadInput with all that is wrong."""
    found, problems = look_around(given, environ)
    broken = {problem.file for problem in problems}
    needs = tuple(need for name in names for need in NEEDS[name])
    if not dry_run and broken.isdisjoint(TOKENS):
        needs += (a_token,)
    if dry_run and not found.token and CommentPlace.name in names:
        needs += (a_pull_number,)
    problems += [problem for problem in missing(found, needs) if problem.file not in broken]
    if key is not None and not KEY.fullmatch(key):
        hint = "use letters, digits, and single dots, dashes and underscores between them; 60 at the most"
        problems.append(Problem("--key", 0, 0, f"cannot be {one_line(key)!r}", hint))
    if problems:
        raise BadInput(problems)
    return found


def place(name: str, found: Surroundings, key: str, mode: Mode) -> Place:
    """The place that ``name``, one of NEEDS, stands for."""
    if name == CommentPlace.name:
        return CommentPlace(found, key, mode)
    return CheckPlace(found, key) if name == CheckPlace.name else IssuePlace(found, key)


def key_of(matrix_file: str) -> str:
    """The key where none is given: the name of the matrix's file without its ending."""
    words = re.findall(r"[A-Za-z0-9]+", PurePath(matrix_file).stem)
    return "-".join(words)[:60].rstrip("-") or "default"
