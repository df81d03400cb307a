"""What the parts of a matrix.yaml mean together: the checks that a shape alone cannot make."""

from __future__ import annotations

import difflib
import math
import stat
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.matrix import Matrix
from e2e_matrix.matrix_fields import kind_of
from e2e_matrix.matrix_scripts import Scenarios, Script, scenarios_of
from e2e_matrix.plan import (
    MAX_CELLS,
    Room,
    expand,
    idle_excludes,
    plan_cells,
    selection_problems,
    template_problems,
)
from e2e_matrix.script.settings import RUN_TIME_FIELDS, ScriptSection
from e2e_matrix.settings import Overrides, Settings, resolve
from e2e_matrix.templates import FIELD_NAME, Template, did_you_mean

# A template's own words, and what results.json calls the scenario of a cell.
RESERVED_AXES = frozenset({"image", "scenario"})
_NO_KEYS = RESERVED_AXES.union(RUN_TIME_FIELDS)
_SCRIPT_KEYS = frozenset(str(one.alias) for one in ScriptSection.model_fields.values())
# What pydantic's errors call for; see docs.pydantic.dev, "Validation Errors".
_KINDS = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}
_NEAR = 0.75  # as difflib counts: `varient` is, `vendor` is not
_FEWER = "use fewer values, or several files"


def check_matrix(
    matrix: Matrix, scenarios: Collection[str], broken: Set[str], room: Room
) -> Iterator[Problem]:
    """Everything wrong with a file of the right shape.

    Keys in ``broken`` hold defaults in the place of what was reported already: nothing is said about them.
    ``room`` is what planning it may still cost.
    """
    yield from _scenarios(matrix, scenarios)
    # Of a glob as many as it finds; what is wrong with it, the plan says.
    names, _ = scenarios_of(matrix)
    yield from _taken(matrix, scenarios, names)
    if not {"scenarios", "step-timeouts"} & broken:
        yield from _step_timeouts(matrix, scenarios)
    if not {"reports", "matrix"} & broken:
        yield from _grid(matrix)
    if not {"regression", "fail-on"} & broken:
        yield from _fail_on(matrix)
    try:
        settings = resolve(matrix, Overrides(), {})
    except BadInput as error:  # a ref that is none: there are no cells without one
        yield from error.problems
        return
    if "llm" not in broken:
        yield from _recordings(matrix, settings)
    if slips := [*_axes(matrix, len(names)), *_axes_of_profile(matrix), *_entries(matrix, broken)]:
        yield from slips
        yield from template_problems(matrix, settings, broken)
        return  # the cells would only repeat the slips
    axes, include, exclude = matrix.matrix.axes, matrix.matrix.include, matrix.matrix.exclude
    idle = [
        matrix.problem(("matrix", "exclude", index), "exclude: this matches no cell", _values_hint(matrix))
        for index in idle_excludes(axes, exclude)
        if not matrix.inherits("matrix", "exclude")
    ]
    yield from idle
    combinations = expand(axes, include, exclude)
    if not combinations:
        message = "exclude leaves no cell" if exclude else "has no axis: nothing to run"
        hint = "remove an entry of exclude" if exclude else "add one, such as `variant: [python, java]`"
        where = ("matrix", "exclude") if exclude else ("matrix",)
        yield matrix.problem(where, message, hint, key=True)
        return
    cells = len(combinations) * max(1, len(names))
    if cells > MAX_CELLS:
        yield matrix.problem(("matrix", "include"), _too_many("include makes", cells), _FEWER, key=True)
        return
    planned, problems = plan_cells(matrix, settings, broken, room, combinations)
    yield from problems
    if planned and not problems and not {"scenarios", "only", "skip"} & broken:
        yield from selection_problems(matrix, settings, [cell.id for cell in planned])


def _scenarios(matrix: Matrix, known: Collection[str]) -> Iterator[Problem]:
    if not matrix.scenarios:
        yield matrix.problem(("scenarios",), "scenarios: must not be empty", f"known: {', '.join(known)}")
    for name, settings in matrix.scenarios.items():
        if isinstance(settings, ScriptSection):
            continue
        if name not in known:
            where = ("scenarios", name)
            hint = f"{did_you_mean(name, known)}; a script scenario needs `script:`"
            yield matrix.problem(where, f"unknown scenario {name!r}", hint, key=True)
        elif isinstance(known, Mapping):
            yield from _scenario_settings(matrix, name, settings, known[name].Settings)


def _taken(matrix: Matrix, known: Collection[str], names: Scenarios) -> Iterator[Problem]:
    """A scenario's name tells what was done to an image, in every report."""
    for name, script in names.items():
        if isinstance(script, Script) and name in known:
            message = f"the name {name!r} is taken: it is a scenario of e2e-matrix, without `script:`"
            yield matrix.problem(("scenarios", script.origin), message, "rename it", key=True)


def _scenario_settings(
    matrix: Matrix, scenario: str, settings: Mapping[str, Any], model: type[BaseModel]
) -> Iterator[Problem]:
    try:
        model.model_validate(settings)
    except ValidationError as error:
        for item in error.errors():
            setting = str(item["loc"][0])
            unknown = item["type"] == "extra_forbidden" and len(item["loc"]) == 1
            message = f"unknown setting {setting!r}" if unknown else _in_our_words(item)
            names = [field.alias or name for name, field in model.model_fields.items()]
            hint = did_you_mean(setting, names) if unknown else ""
            if unknown and setting in _SCRIPT_KEYS:
                hint = f"only a scenario with `script:` has {setting}"
            yield matrix.problem(("scenarios", scenario, setting), message, hint, key=unknown)


def _in_our_words(error: ErrorDetails) -> str:
    """One of pydantic's errors about a scenario's setting, with the place in it."""
    parts = [part if isinstance(part, str) else f"entry {part + 1}" for part in error["loc"]]
    if error["type"] == "missing":
        return f"{': '.join(parts[:-1])}: has no {parts[-1]}"
    if error["type"] == "extra_forbidden":
        return f"{': '.join(parts[:-1])}: unknown key {parts[-1]!r}"
    context, given = error.get("ctx", {}), kind_of(error["input"])
    wanted = _KINDS.get(error["type"], "")
    if error["type"] == "literal_error":
        wanted = str(context["expected"]).replace("'", "")
    elif error["type"] == "greater_than_equal":
        wanted = f"at least {context['ge']}"
    what = f"must be {wanted}, not {given}" if wanted else f"cannot be {given}"
    return f"{': '.join(parts)}: {what}"


def _step_timeouts(matrix: Matrix, known: Collection[str]) -> Iterator[Problem]:
    """A limit for a step that no scenario of the file has would limit nothing."""
    if not isinstance(known, Mapping):
        return
    steps = {step for name in matrix.scenarios if name in known for step in known[name].STEPS}
    if any(isinstance(settings, ScriptSection) for settings in matrix.scenarios.values()):
        steps.update(_script_steps())
    for name in matrix.step_timeouts:
        if name not in steps and not matrix.inherits("step-timeouts", name):
            hint = did_you_mean(name, sorted(steps))
            yield matrix.problem(("step-timeouts", name), f"there is no step {name!r}", hint, key=True)


def _grid(matrix: Matrix) -> Iterator[Problem]:
    """The grid's rows and columns are two axes."""
    known = [*matrix.matrix.axes, "scenario"]
    reports = matrix.reports
    for key, name in (("rows", reports.rows), ("columns", reports.columns)):
        if name is not None and name not in known:
            message = f"{key}: there is no axis {name!r}"
            yield matrix.problem(("reports", key), message, did_you_mean(name, known))
    if reports.rows is not None and reports.rows == reports.columns:
        message = f"columns: {reports.rows!r} is already the axis of the rows"
        yield matrix.problem(("reports", "columns"), message, "name another, or leave one of them out")


def _fail_on(matrix: Matrix) -> Iterator[Problem]:
    """What is not judged never fails."""
    thresholds = dict(matrix.regression)
    for index, word in enumerate(matrix.fail_on):
        if thresholds.get(word, 0) is None:
            message = f"fail-on: {word} is not judged: regression.{word} is null"
            yield matrix.problem(("fail-on", index), message, "give it a threshold there, or remove it here")


def _script_steps() -> Collection[str]:
    from e2e_matrix.scenarios import script  # loads the clients that scenarios drive a server with

    return script.STEPS


def _recordings(matrix: Matrix, settings: Settings) -> Iterator[Problem]:
    record, replay = settings.record, settings.replay
    if record and replay:
        message = "llm has record and replay: a run does one of them"
        yield matrix.problem(("llm", "replay"), message, "remove one", key=True)
    if record and _mode(record, stat.S_ISDIR):
        yield matrix.problem(("llm", "record"), f"record: {record} is a folder", "name a file in it")
    if replay and not _mode(replay, stat.S_ISREG):
        hint = "it is relative to the matrix file; llm.record makes one"
        yield matrix.problem(("llm", "replay"), f"replay: there is no file {replay}", hint)


def _mode(path: Path, is_such: Callable[[int], bool]) -> bool:
    try:
        return is_such(path.stat().st_mode)
    except (OSError, ValueError):  # not there, out of reach, or no name that a file can have
        return False


def _axes(matrix: Matrix, scenarios: int) -> Iterator[Problem]:
    axes = matrix.matrix.axes
    has_script = any(isinstance(one, ScriptSection) for one in matrix.scenarios.values())
    reserved = RESERVED_AXES.union(RUN_TIME_FIELDS if has_script else ())
    for name, values in axes.items():
        where = ("matrix", name)
        if not FIELD_NAME.fullmatch(name):
            hint = "begin with a letter; letters, digits, '_' and '-' may follow"
            yield matrix.problem(where, f"{name!r} cannot name an axis", hint, key=True)
        elif name in reserved:
            yield matrix.problem(where, f"{name!r} is taken: it cannot name an axis", "rename it", key=True)
        if not values:
            yield matrix.problem(where, f"the axis {name} is empty", "add a value, or remove it", key=True)
        for index, value in enumerate(values):
            if value in values[:index]:
                yield matrix.problem((*where, index), f"{value!r} is in {name} twice", "remove one")
    cells = math.prod(map(len, axes.values())) * max(1, scenarios)
    if cells > MAX_CELLS:
        yield matrix.problem(("matrix",), _too_many("the axes make", cells), _FEWER, key=True)
    for key, entries in (("include", matrix.matrix.include), ("exclude", matrix.matrix.exclude)):
        if len(entries) > MAX_CELLS:
            message = f"{key} has {len(entries)} entries; {MAX_CELLS} is the limit"
            yield matrix.problem(("matrix", key), message, _FEWER, key=True)


def _axes_of_profile(matrix: Matrix) -> Iterator[Problem]:
    """A profile may have axes of its own; one that nothing uses and that reads like the file's is a slip."""
    said = {name: matrix.said("matrix", name) for name in matrix.matrix.axes}
    new = [name for name, (first, *before) in said.items() if first.profile and not before]
    used = set(_template_fields(matrix)) if new else set()
    known = [name for name in said if name not in new]
    for name in new:
        if name not in used and (near := difflib.get_close_matches(name, known, 1, _NEAR)):
            message = f"the file has no axis {name!r}, and no template uses {{{name}}}"
            yield matrix.problem(("matrix", name), message, f"did you mean {near[0]!r}?", key=True)


def _too_many(what: str, cells: int) -> str:
    number = str(cells) if cells < 10**30 else "more than 10**30"
    return f"{what} {number} cells; {MAX_CELLS} is the limit"


def _entries(matrix: Matrix, broken: Container[str]) -> Iterator[Problem]:
    """Keys of include must be an axis or be used by a template; those of exclude must be an axis."""
    axes = list(matrix.matrix.axes)
    for index, entry in enumerate(matrix.matrix.exclude):
        for name in entry:
            if name not in axes:
                where = ("matrix", "exclude", index, name)
                yield matrix.problem(
                    where, f"exclude: unknown axis {name!r}", did_you_mean(name, axes), key=True
                )
    if any(key in broken for key in ("image", "arch-image", "platform", "llm", "environment", "scenarios")):
        return
    if matrix.inherits("matrix", "include"):
        return
    known = list(dict.fromkeys([*axes, *_template_fields(matrix)]))
    for index, entry in enumerate(matrix.matrix.include):
        for name in entry:
            if name not in known:
                where = ("matrix", "include", index, name)
                message = f"include: unknown axis {name!r}, and no template uses {{{name}}}"
                yield matrix.problem(where, message, did_you_mean(name, known), key=True)


def _template_fields(matrix: Matrix) -> Iterator[str]:
    texts = [matrix.image, matrix.arch_image, matrix.platform, matrix.llm.model, *matrix.environment.values()]
    for settings in matrix.scenarios.values():
        if isinstance(settings, ScriptSection):
            texts += settings.templates()
    for text in texts:
        if text is not None:
            yield from (field for field in Template.parse(text).fields if field not in _NO_KEYS)


def _values_hint(matrix: Matrix) -> str:
    return "; ".join(f"{name} is {', '.join(values)}" for name, values in matrix.matrix.axes.items())
