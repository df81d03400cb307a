"""matrix.yaml -> Matrix, or every problem of the file at once.

Read in three passes, each working on what the one before could make sense of: YAML (matrix_yaml.py), the
shape (matrix.py), what the parts mean together (matrix_checks.py). The last two see the file as it is without
a profile, and as each of its profiles makes it (matrix_profiles.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from e2e_matrix.errors import MAX_PROBLEMS, BadInput, Problem
from e2e_matrix.matrix import (
    CostLimits,
    LlmSection,
    Matrix,
    ModelPrice,
    ReportsSection,
    ResourceLimits,
    RetryLimits,
    Thresholds,
)
from e2e_matrix.matrix_checks import check_matrix
from e2e_matrix.matrix_fields import Section, kind_of
from e2e_matrix.matrix_profiles import PROFILES, Family, split
from e2e_matrix.matrix_yaml import Document, Location, read_document
from e2e_matrix.plan import Room
from e2e_matrix.script.settings import Expect, PerScript, ScriptSection
from e2e_matrix.settings import Setting
from e2e_matrix.templates import did_you_mean

_SECTIONS: dict[str, type[BaseModel]] = {
    "llm": LlmSection,
    "resources": ResourceLimits,
    "retries": RetryLimits,
    "max-cost": CostLimits,
    "reports": ReportsSection,
    "regression": Thresholds,
}
_REPORTS = "reports"
# Keys of a script scenario without which the others can be judged.
_SEPARATE = frozenset({"sdk", "timeout", "expect", "environment", "arguments", "cwd"})
# Words under which people write a key into a file.
_SECRET_KEYS = frozenset({"api-key", "api_key", "apikey", "apiKey", "key", "token", "secret", "password"})


class _Reports(Section):
    """What is left of a matrix.yaml where nothing but its reports is asked for."""

    reports: ReportsSection = Field(default_factory=ReportsSection)


def load_matrix(
    path: Path | str,
    environ: Mapping[str, str],
    scenarios: Collection[str] | None = None,
    profile: Setting[str] | None = None,
) -> Matrix:
    """Read and check a file; ``scenarios`` are the names that exist (None: those of this program).

    Raises BadInput with every problem, in the order of the file: also those of a file that it names, and of
    the profiles that were not chosen.
    """
    document = read_document(Path(path), environ)
    family = _family(document)
    check = _Check(_known_scenarios() if scenarios is None else scenarios)
    matrix, problems = check(family.base)
    problems = [*document.problems, *family.problems, *problems]
    chosen = family.base
    for name, overlaid in family.profiles.items():
        is_chosen = profile is not None and name == profile.value
        if len(problems) > MAX_PROBLEMS and not is_chosen:
            continue  # nobody reads more of them at once
        made, found = check(overlaid)
        problems += overlaid.told(found, problems)
        if is_chosen:
            matrix, chosen = made, overlaid
    if profile is not None and chosen is family.base:
        problems += family.unknown(profile.value, profile.place)
    problems += [problem for _, problem in chosen.unset]
    if problems or matrix is None:
        raise BadInput(list(dict.fromkeys(problems)))
    return matrix


def _family(document: Document) -> Family:
    """Raises BadInput where the file is no mapping."""
    if not isinstance(document.tree, dict):
        message = f"must be a mapping, not {kind_of(document.tree)}"
        raise BadInput([document.problem((), message, "begin with `matrix:` and the axes below it")])
    return split(document)


def load_reports(
    path: Path | str, environ: Mapping[str, str], profile: Setting[str] | None = None
) -> ReportsSection:
    """Only what a file says of reports, whatever else in it is wrong, or not set.

    Raises BadInput where that cannot be told: of the file, of this section, and of the profile.
    """
    document = read_document(Path(path), environ)
    family = _family(document)
    chosen, problems = family.base, list[Problem]()
    if profile is not None:
        chosen = family.profiles.get(profile.value, chosen)
        if chosen is family.base:
            problems += [*family.problems, *family.unknown(profile.value, profile.place)]
    assert isinstance(chosen.tree, dict)
    if any(_is_of_reports(where) for where in chosen.broken):
        problems += document.problems
    problems += [problem for where, problem in chosen.unset if _is_of_reports(where)]
    told = {key: value for key, value in chosen.tree.items() if key == _REPORTS}
    try:
        section = _Reports.model_validate(told).reports
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems += [_explain(chosen, one) for one in errors if not _reported(chosen, one)]
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))
    return section


def _is_of_reports(where: Location) -> bool:
    return where[:1] in ((), (_REPORTS,))


class _Check:
    """``check(document)``: what it means, None where that is not to be told, and everything wrong with it.

    A file and its profiles go through one of these: what planning them may cost is theirs together.
    """

    def __init__(self, scenarios: Collection[str]) -> None:
        self._scenarios = scenarios
        self._room = Room()
        self._replies: dict[Path, Sequence[Problem]] = {}

    def __call__(self, document: Document) -> tuple[Matrix | None, list[Problem]]:
        assert isinstance(document.tree, dict)
        matrix, errors = _shape(document, document.tree)
        slips = [where for where in (*document.broken, *map(_place_of, errors)) if where]
        broken = {str(where[0]) for where in slips}
        problems = [_explain(document, error) for error in errors if not _reported(document, error)]
        if broken:  # what is left may be wrong in itself
            matrix, _ = _shape(document, _without(document.tree, slips))
        if matrix is None:
            return None, problems
        problems += check_matrix(matrix, self._scenarios, broken, self._room)
        if matrix.llm.replies:
            problems += self._problems_of_replies(matrix.beside(matrix.llm.replies))
        return matrix, problems

    def _problems_of_replies(self, path: Path) -> Sequence[Problem]:
        if path not in self._replies:
            self._replies[path] = _problems_of_replies(path)
        return self._replies[path]


def _shape(document: Document, tree: Mapping[str, Any]) -> tuple[Matrix | None, list[ErrorDetails]]:
    try:
        return Matrix.of(document, tree), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _without(tree: Mapping[str, Any], slips: Iterable[Location]) -> dict[str, Any]:
    """The tree without what is broken: of scenarios as little as leaves the rest its meaning."""
    scenarios = tree.get("scenarios")
    left = {key: value for key, value in tree.items() if key not in {str(where[0]) for where in slips}}
    if not isinstance(scenarios, dict) or "scenarios" in left:
        return left
    kept = dict(scenarios)
    for where in slips:
        match where:
            case ("scenarios",):
                return left
            case ("scenarios", str(name), str(key), *_) if key in _SEPARATE and name in kept:
                kept[name] = {other: value for other, value in kept[name].items() if other != key}
            case ("scenarios", str(name), *_):
                kept.pop(name, None)
    return {**left, "scenarios": kept} if kept else left


def _place_of(error: ErrorDetails) -> Location:
    """Where the file has it: there the axes stand beside include and exclude."""
    where = tuple(part for part in error["loc"] if part != "[key]")
    return ("matrix", *where[2:]) if where[:2] == ("matrix", "axes") else where


def _reported(document: Document, error: ErrorDetails) -> bool:
    """Whether the reader already said what is wrong there."""
    where = _place_of(error)
    return any(where[: len(place)] == place for place in document.broken)


def _explain(document: Document, error: ErrorDetails) -> Problem:
    """One of pydantic's errors in our words; never with pydantic's, which show the value."""
    where = _place_of(error)
    on_key = "[key]" in error["loc"]
    context = error.get("ctx", {})
    name = _name_of(where)
    match error["type"]:
        case "unusable":
            hint = context["hint"] or _meant_exclude(where)
            return document.problem(where, f"{name}: {context['message']}", hint, key=on_key)
        case "missing":
            whose = f"{where[-2]}: " if len(where) > 1 else ""
            return document.problem(
                where[:-1], f"{whose}has no {where[-1]}", f"add `{where[-1]}:`; see docs/matrix.md"
            )
        case "extra_forbidden":
            return _unknown_key(document, where)
        case "model_type" | "dict_type" | "model_attributes_type":
            message = f"must be a mapping, not {kind_of(error['input'])}"
            return document.problem(where, f"{name}: {message}", "write `key: value` lines below it")
        case "list_type":
            hint = _meant_exclude(where) or "write [one, two], or one `- ` line for each"
            return document.problem(where, f"{name}: must be a list, not {kind_of(error['input'])}", hint)
        case "too_short":
            return document.problem(where, f"{name}: must not be empty", "name at least one in it")
        case "too_long":
            return document.problem(
                where, f"{name}: has more than {context['max_length']} entries", "use globs"
            )
    return document.problem(where, f"{name}: cannot be used ({error['type']})", "see docs/matrix.md")


def _name_of(where: Location) -> str:
    """What a message calls a place: a key of a section with the section's name, an entry with its list's."""
    if isinstance(where[-1], int):
        above = f"{_name_of(where[:-1])}: " if len(where) > 1 else ""
        return f"{above}entry {where[-1] + 1}"
    return ".".join(map(str, where)) if len(where) == 2 and where[0] in _SECTIONS else where[-1]


def _unknown_key(document: Document, where: Location) -> Problem:
    section = ModelPrice if where[:2] == ("llm", "prices") else _section_of(where)
    known = [str(field.alias) for field in section.model_fields.values()]
    if section is Matrix and not document.profile:
        known.append(PROFILES)
    key = str(where[-1])
    if section is LlmSection and key in _SECRET_KEYS:
        hint = "name the variable that holds it: `api-key-env: LLM_API_KEY`, and take the key out of the file"
        return document.problem(where, "a secret is never written into the file", hint, key=True)
    return document.problem(where, f"unknown key {key!r}", did_you_mean(key, known), key=True)


def _section_of(where: Location) -> type[BaseModel]:
    match where:
        case ("scenarios", _, *_, "expect", _):
            return Expect
        case ("scenarios", _, "per-script", *_):
            return PerScript
        case ("scenarios", *_):
            return ScriptSection
    return _SECTIONS.get(str(where[0]), Matrix)


def _meant_exclude(where: Location) -> str:
    """`exlude:` in the matrix is an axis by its syntax, and a slip by its looks."""
    if where[0] == "matrix" and (
        near := difflib.get_close_matches(str(where[1]), ("include", "exclude"), 1, 0.75)
    ):
        return f"did you mean {near[0]!r}?" if near[0] != where[1] else ""
    return ""


def _problems_of_replies(path: Path) -> Sequence[Problem]:
    from e2e_matrix.llm.replies_file import load_replies  # loads the stand-in's server as well

    try:
        load_replies(path)
    except BadInput as error:
        return error.problems
    return ()


def _known_scenarios() -> Collection[str]:
    from e2e_matrix.scenarios import SCENARIOS  # loads the clients that scenarios drive a server with

    return SCENARIOS
