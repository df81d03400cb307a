"""Axes, include, exclude, scenarios, --only and --skip -> cells.

The rules of include and exclude are GitHub Actions' (docs.github.com, "Running variations of jobs in a
workflow"), on text: 1.10 and "1.10" are the same value, 1.1 is another.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.matrix import Matrix
from e2e_matrix.matrix_scripts import Script, Scripts, scenarios_of
from e2e_matrix.matrix_yaml import Location
from e2e_matrix.script.settings import RUN_TIME_FIELDS
from e2e_matrix.settings import Settings
from e2e_matrix.templates import Template, did_you_mean, is_image_reference, is_platform, tag_of_ref

MAX_CELLS = 1000
MAX_ID = 100
# Characters of all cells together, in which a short text counts as one of 64: templates multiply.
MAX_TEXT = 64 << 20


@dataclass(frozen=True)
class PlannedCell:
    """One point of the matrix, as plain data. ``axes`` holds what include added, too."""

    id: str
    axes: dict[str, str]
    image: str
    arch_image: str | None
    platform: str
    scenario: str
    scenario_settings: dict[str, Any] = field(repr=False)  # a script's environment may be secret
    ref: str | None = None  # None: the image does not depend on it
    model: str | None = None  # None: the stand-in
    environment: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def script(self) -> str | None:
        """The script's path as matrix.yaml says it; None where the scenario runs none."""
        return self.scenario_settings.get("path") if "script" in self.scenario_settings else None


@dataclass(frozen=True)
class Plan:
    """What would run. ``axes``: every axis with the values that its cells have, in the order of the file."""

    cells: tuple[PlannedCell, ...]
    axes: dict[str, list[str]]
    left_out: int = 0  # by --only and --skip


@dataclass
class Room:
    """What planning may still cost: characters, as MAX_TEXT counts them. Below 0 there is none left."""

    text: int = MAX_TEXT


@dataclass(frozen=True)
class Selector:
    """``selector(cell_id)``: whether --only and --skip leave the cell in. Globs; no --only is all of them."""

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()

    def __call__(self, cell_id: str) -> bool:
        return (not self.only or _matches(cell_id, self.only)) and not _matches(cell_id, self.skip)

    def idle(self, cell_ids: Sequence[str]) -> Iterator[tuple[str, int]]:
        """``only`` or ``skip``, and the index in it of each glob that matches no cell."""
        for key, globs in (("only", self.only), ("skip", self.skip)):
            for index, glob in enumerate(globs):
                if not any(_matches(cell_id, [glob]) for cell_id in cell_ids):
                    yield key, index


@dataclass(frozen=True)
class Combination:
    """One cell's values, before templates; ``include``: the index of the entry that appended it."""

    values: dict[str, str]
    include: int | None = None


def make_plan(matrix: Matrix, settings: Settings) -> Plan:
    """The selected cells, in the file's order. Raises BadInput with every problem."""
    cells, problems = plan_cells(matrix, settings)
    if problems:
        raise BadInput(problems)
    if slips := list(selection_problems(matrix, settings, [cell.id for cell in cells])):
        raise BadInput(slips)
    selector = Selector(settings.only, settings.skip)
    kept = tuple(cell for cell in cells if selector(cell.id))
    return Plan(kept, _axes_of(matrix, cells), left_out=len(cells) - len(kept))


def selection_problems(matrix: Matrix, settings: Settings, cell_ids: Sequence[str]) -> Iterator[Problem]:
    """A glob that matches nothing is a slip, and a selection of nothing tests nothing."""
    chosen = {"only": settings.only, "skip": settings.skip}
    written = {key for key in chosen if settings.origins[key].in_file}
    selector = Selector(**chosen)
    hint = f"the cells are {', '.join(cell_ids)}"
    slips = [
        (key, index)
        for key, index in selector.idle(cell_ids)
        if not (key in written and matrix.inherits(key))
    ]
    for key, index in slips:
        message = f"{chosen[key][index]!r} matches no cell"
        if key in written:
            yield matrix.problem((key, index), f"{key}: {message}", hint)
        else:
            yield Problem(f"--{key}", 0, 0, message, hint)
    if not slips and not any(map(selector, cell_ids)):
        key = "only" if selector.only else "skip"
        if key in written:
            yield matrix.problem((key,), "only and skip leave no cell", hint, key=True)
        else:
            yield Problem("", 0, 0, "--only and --skip leave no cell", hint)


def expand(
    axes: Mapping[str, Sequence[str]],
    include: Sequence[Mapping[str, str]] = (),
    exclude: Sequence[Mapping[str, str]] = (),
) -> list[Combination]:
    """The combinations of the axes without the excluded ones, then each include in turn.

    An include is merged into every original combination in which it changes no axis's value (what an earlier
    include added may change); where there is none it becomes a combination of its own.
    """
    products = itertools.product(*axes.values()) if axes else ()
    originals = [dict(zip(axes, values, strict=True)) for values in products]
    kept = [values for values in originals if not any(_covers(entry, values) for entry in exclude)]
    grown = [dict(values) for values in kept]
    appended = []
    for index, entry in enumerate(include):
        unchanged = {name: value for name, value in entry.items() if name in axes}
        fits = [cell for cell, values in zip(grown, kept, strict=True) if _covers(unchanged, values)]
        for cell in fits:
            cell.update(entry)
        if not fits:
            appended.append(Combination(dict(entry), index))
    return [*map(Combination, grown), *appended]


def idle_excludes(axes: Mapping[str, Sequence[str]], exclude: Sequence[Mapping[str, str]]) -> Iterator[int]:
    """Indexes of the entries that match no combination, because an axis has no such value."""
    for index, entry in enumerate(exclude):
        if any(value not in axes.get(name, ()) for name, value in entry.items()):
            yield index


def _covers(entry: Mapping[str, str], values: Mapping[str, str]) -> bool:
    return entry.items() <= values.items()


def plan_cells(
    matrix: Matrix,
    settings: Settings,
    broken: Container[str] = frozenset(),
    room: Room | None = None,
    combinations: Sequence[Combination] | None = None,
) -> tuple[list[PlannedCell], list[Problem]]:
    """Every cell, and everything wrong with them; templates under a key in ``broken`` are left out.

    ``room`` None: as much as there is for one file. ``combinations``: what the matrix expands to, if known.
    """
    room = room or Room()
    planner = _Planner(matrix, settings, broken, room)
    axes = matrix.matrix
    cells = list(planner.cells(combinations or expand(axes.axes, axes.include, axes.exclude)))
    if room.text >= 0:  # else nobody knows what the other cells would have used
        planner.problems += planner.scripts.idle()
    return cells, list(dict.fromkeys(planner.problems))  # two scenarios of a cell have the same ones


def template_problems(matrix: Matrix, settings: Settings, broken: Container[str]) -> list[Problem]:
    """What is wrong with the templates whatever the cells are."""
    return _Planner(matrix, settings, broken, Room()).problems


class _Planner:
    def __init__(self, matrix: Matrix, settings: Settings, broken: Container[str], room: Room) -> None:
        self.matrix = matrix
        self.settings = settings
        self.scenarios, self.problems = scenarios_of(matrix)
        axes = matrix.matrix
        self.fields = list(dict.fromkeys(["ref", *itertools.chain(axes.axes, *axes.include)]))
        texts = {
            "image": settings.image,
            "arch-image": settings.arch_image,
            "platform": settings.platform,
            "llm.model": settings.model,
            **{f"environment.{name}": text for name, text in settings.environment.items()},
        }
        self.templates = {
            name: template
            for name, text in texts.items()
            if text is not None and name.split(".")[0] not in broken and (template := self._parse(name, text))
        }
        self.scripts = Scripts(matrix, self.scenarios, self.fields, self.problems)
        self.room = room

    def cells(self, combinations: Sequence[Combination]) -> Iterator[PlannedCell]:
        ids: dict[str, Mapping[str, str]] = {}
        for combination, scenario in itertools.product(combinations, self.scenarios):
            if self.room.text < 0:
                return  # there is a problem already, and each further cell costs
            where = _written_at(combination)
            cell_id = self._id(combination.values, scenario)
            if not cell_id or len(cell_id) > MAX_ID:
                message = (
                    f"the cell ({_shown(combination.values)}) has no id of 1 to {MAX_ID} letters and digits"
                )
                hint = "an id is made of the axes' values: shorten or rename them"
                self.problems.append(self.matrix.problem(where, message, hint))
            elif other := ids.get(cell_id.casefold()):
                both = f"({_shown(other)}) and ({_shown(combination.values)})"
                message = f"two cells have the id {cell_id}: {both}"
                hint = "an id is made of the axes' values: let them differ in letters, digits, '.' or '_'"
                self.problems.append(self.matrix.problem(where, message, hint))
            else:
                # Without case: on some file systems the two would share a folder.
                ids[cell_id.casefold()] = combination.values
                yield self._cell(cell_id, combination, scenario)

    def _id(self, values: Mapping[str, str], scenario: str) -> str:
        axes = self.matrix.matrix.axes or values
        parts = [values[name] for name in axes if name in values]
        script = self.scenarios[scenario]
        # Of a glob also where it finds one: another file more must not rename the cells there are.
        if len(self.scenarios) > 1 or (isinstance(script, Script) and script.found):
            parts.append(scenario)
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(parts)).strip("-._")

    @property
    def _image_has_ref(self) -> bool:
        image = self.templates.get("image")
        return image is not None and "ref" in image.fields

    def _cell(self, cell_id: str, combination: Combination, scenario: str) -> PlannedCell:
        values = {"ref": self.settings.ref, **combination.values}
        if "ref" in combination.values:
            values["ref"] = tag_of_ref(values["ref"])
            if self.settings.origins["ref"].place:
                hint = "leave it out; --only and --skip choose cells"
                self._report(
                    "ref", f"the matrix gives the cell ({_shown(combination.values)}) its own ref", hint
                )
        texts: dict[str, str] = {}
        for name, template in self.templates.items():  # image first: arch-image may contain it
            known = {**values, **texts} if name == "arch-image" else values
            if (text := self._render(name, template, known, combination)) is not None:
                texts[name] = text
                self._check(name, text, combination.values)
        return PlannedCell(
            id=cell_id,
            axes=dict(combination.values),
            image=texts.get("image", ""),
            arch_image=texts.get("arch-image"),
            platform=texts.get("platform", ""),
            scenario=scenario,
            scenario_settings=self._scenario_settings(scenario, values, combination),
            ref=values["ref"]
            if "image" in self.templates and "ref" in self.templates["image"].fields
            else None,
            model=texts.get("llm.model"),
            environment={name: texts.get(f"environment.{name}", "") for name in self.settings.environment},
        )

    def _scenario_settings(
        self, scenario: str, values: Mapping[str, str], combination: Combination
    ) -> dict[str, Any]:
        chosen = self.scenarios[scenario]
        if not isinstance(chosen, Script):
            return dict(chosen)
        known = {**values, **{name: f"{{{name}}}" for name in RUN_TIME_FIELDS}}

        def render(name: str, template: Template) -> str | None:
            return self._render(name, template, known, combination)

        return self.scripts.settings(chosen, render)

    def _render(
        self, name: str, template: Template, known: Mapping[str, str], combination: Combination
    ) -> str | None:
        """The template's text; None, and a problem, where a field has no value in this cell."""
        missing = [field_name for field_name in template.fields if field_name not in known]
        if missing:
            if "image" not in missing:  # without an image its own problem is there already
                message = f"the cell ({_shown(combination.values)}) has no {missing[0]}, which {name} needs"
                where = _written_at(combination)
                self.problems.append(self.matrix.problem(where, message, f"add `{missing[0]}:` to it"))
            return None
        if not self._has_room(name, template.length(known)):
            return None
        return template.render(known)

    def _parse(self, name: str, text: str) -> Template | None:
        known = [*self.fields, "image"] if name == "arch-image" else self.fields
        try:
            template = Template.parse(text)
        except ValueError as error:
            self._report(name, str(error), "")
            return None
        unknown = [name for name in template.fields if name not in known]
        for slip in unknown:
            self._report(name, f"unknown field {{{slip}}}", did_you_mean(slip, known))
        return None if unknown else template

    def _has_room(self, name: str, length: int) -> bool:
        """Whether a text of this length is still within MAX_TEXT; says so once."""
        if self.room.text < 0:
            return False
        self.room.text -= max(64, length)
        if self.room.text < 0:
            self._report(
                name, f"all cells together have more than {MAX_TEXT >> 20} MiB of text", "shorten it"
            )
        return self.room.text >= 0

    def _check(self, name: str, text: str, values: Mapping[str, str]) -> None:
        if name in ("image", "arch-image") and not is_image_reference(text):
            message = f"of the cell ({_shown(values)}): {text[:200]!r} is no image reference"
            self._report(name, message, "write registry/repository:tag; only tags may have capitals")
        elif name == "platform" and not is_platform(text):
            message = f"of the cell ({_shown(values)}): {text[:200]!r} is no platform"
            self._report(name, message, "write os/arch, as linux/arm64")

    def _report(self, name: str, message: str, hint: str) -> None:
        """A problem of a template, where it was written: an option, a variable, or the file."""
        path = name.split(".", 2 if name.startswith("scenarios.") else 1)[:2]
        origin = self.settings.origins.get(name)
        if origin and origin.place:
            self.problems.append(Problem(origin.place, 0, 0, message, hint))
        elif self.matrix.said(*path):
            self.problems.append(self.matrix.problem(tuple(path), f"{name}: {message}", hint))
        else:  # the default does not suit the axes
            problem = self.matrix.problem(("matrix",), f"the default {name}: {message}", hint, key=True)
            self.problems.append(problem)


def _shown(values: Mapping[str, str]) -> str:
    """A cell's values for a message."""
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _written_at(combination: Combination) -> Location:
    return ("matrix",) if combination.include is None else ("matrix", "include", combination.include)


def _axes_of(matrix: Matrix, cells: Iterable[PlannedCell]) -> dict[str, list[str]]:
    """Values that only an include has come last; without axes, everything that the includes give is one."""
    declared = matrix.matrix.axes
    axes = {name: list(values) for name, values in declared.items()}
    for cell in cells:
        for name, value in cell.axes.items():
            if not declared or name in declared:
                values = axes.setdefault(name, [])
                if value not in values:
                    values.append(value)
    return axes


def _matches(cell_id: str, globs: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(cell_id, glob) for glob in globs)
