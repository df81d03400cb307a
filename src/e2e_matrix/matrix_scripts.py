"""Script scenarios: from what matrix.yaml says to each cell's script, and what is wrong with the files.

A glob is matched, and a file is read, when the matrix is. A script ``at`` a revision is not looked at: it
may be another one there, or be there alone.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e_matrix.errors import Problem
from e2e_matrix.matrix import Matrix
from e2e_matrix.matrix_yaml import Location
from e2e_matrix.script.globs import MAX_SCRIPTS, SUFFIX, WILD, Room, find, matcher
from e2e_matrix.script.scan import Finding, scan
from e2e_matrix.script.settings import RUN_TIME_FIELDS, Expected, PerScript, ScriptSection, ScriptSettings
from e2e_matrix.templates import Template, did_you_mean, is_revision

MAX_BYTES = 1 << 20
# What a per-script entry says in the place of the scenario's own words.
_REPLACED = ("sdk", "timeout", "stdin")


@dataclass(frozen=True)
class Script:
    """One script scenario. ``origin`` is its name in the file; ``found`` the path that its glob found."""

    origin: str
    section: ScriptSection
    found: str | None = None


# A built-in scenario is its settings.
Scenarios = Mapping[str, "Script | Mapping[str, Any]"]
# (what it is, for a message; its template) -> its text in a cell, None where that is impossible.
Render = Callable[[str, Template], str | None]


def scenarios_of(matrix: Matrix) -> tuple[Scenarios, list[Problem]]:
    """Every scenario that the cells have, by name and in the order of the file: a glob makes one per file."""
    found: dict[str, Script | Mapping[str, Any]] = {}
    problems: list[Problem] = []
    room = Room()
    for origin, section in matrix.scenarios.items():
        if not isinstance(section, ScriptSection):
            found[origin] = section
            continue
        where = ("scenarios", origin)
        for name, script in _Glob(matrix, origin, section, room, problems).scripts():
            other = found.get(name)
            if other is None:
                found[name] = script
            elif isinstance(other, Script) and other.origin == origin:
                message = f"two scripts make the scenario {name!r}: {other.found} and {script.found}"
                hint = "write a scenario for each of their folders"
                problems.append(matrix.problem((*where, "script"), message, hint))
            else:
                of = f"of {other.origin!r}" if isinstance(other, Script) else "without `script:`"
                message = f"there is a scenario {name!r} already, {of}"
                problems.append(matrix.problem(where, message, "rename one of the two", key=True))
    return found, problems


class _Glob:
    """One script section's scripts: itself, or the files that its glob finds."""

    def __init__(
        self, matrix: Matrix, origin: str, section: ScriptSection, room: Room, problems: list[Problem]
    ) -> None:
        self._matrix = matrix
        self._origin = origin
        self._section = section
        self._room = room
        self._problems = problems

    def scripts(self) -> Iterator[tuple[str, Script]]:
        template = Template.parse(self._section.script)
        if not WILD.search("".join(template.literals)):
            if self._section.exclude:
                self._report("exclude goes with a glob", "leave it out", "exclude", key=True)
            yield self._origin, Script(self._origin, self._section)
        elif template.fields:
            hint = "write either a glob, or a path with {fields} and an axis of file names"
            self._report(f"script: a glob cannot have {{{template.fields[0]}}}", hint, "script")
        else:
            for path in self._found(template.render({})):
                name = f"{self._origin}-{_name(path).removesuffix(SUFFIX)}"
                yield name, Script(self._origin, self._section, path)

    def _found(self, pattern: str) -> list[str]:
        try:
            paths = find(self._matrix.folder, pattern, self._room)
        except ValueError as error:
            self._report(f"script: {error}", "name the files more closely", "script")
            return []
        except OSError as error:
            self._report(f"script: cannot be read: {error.strerror}", "check its permissions", "script")
            return []
        if not paths:
            hint = f"paths begin at {_absolute(self._matrix, '')}; only files that end in {SUFFIX} count"
            self._report(f"script: no file matches {pattern!r}", hint, "script")
            return []
        names = set(map(_name, paths))
        left = set(names)
        for index, glob in enumerate(self._section.exclude):
            out = set(filter(matcher(glob), names))
            left -= out
            if not out:
                self._report(f"exclude: no file matches {glob!r}", _files(names), "exclude", index)
        if not left:
            self._report("exclude leaves no script", "remove an entry of it", "exclude", key=True)
        return [path for path in paths if _name(path) in left]

    def _report(self, message: str, hint: str, *below: str | int, key: bool = False) -> None:
        where = ("scenarios", self._origin, *below)
        self._problems.append(self._matrix.problem(where, message, hint, key=key))


class _Change:
    """What a per-script entry says; of its texts, where they stand."""

    def __init__(self, glob: str, entry: PerScript) -> None:
        above: Location = ("per-script", glob)
        self.values = {name: value for name in _REPLACED if (value := getattr(entry, name)) is not None}
        self.expect = entry.expect.model_dump(exclude_unset=True) if entry.expect else {}
        self.environment = {name: (*above, "environment", name) for name in entry.environment}
        self.arguments: list[Location] | None = None
        if entry.arguments is not None:
            self.arguments = [(*above, "arguments", index) for index in range(len(entry.arguments))]


@dataclass
class _Parsed:
    """A section's templates by their place below it, and its per-script patterns."""

    templates: dict[Location, Template] = field(default_factory=dict)
    broken: bool = False  # one has an unknown field
    per_script: list[tuple[str, Callable[[str], object], _Change]] = field(default_factory=list)
    matching: dict[str, list[_Change]] = field(default_factory=dict)  # by file name
    idle: set[str] = field(default_factory=set)  # patterns that have matched no script yet


class Scripts:
    """The script scenarios of a plan. ``fields``: what a template may use beside RUN_TIME_FIELDS.

    What is wrong is added to ``problems``.
    """

    def __init__(
        self, matrix: Matrix, scenarios: Scenarios, fields: Collection[str], problems: list[Problem]
    ) -> None:
        self._problems = problems
        self._matrix = matrix
        self._fields = list(fields)
        self._sections: dict[str, _Parsed] = {}
        self._looked_at: set[tuple[str, str, str]] = set()
        for script in scenarios.values():
            if isinstance(script, Script):
                if script.origin not in self._sections:
                    self._sections[script.origin] = self._parse(script)
                path = script.found or Template.parse(script.section.script)
                if isinstance(path, str) or not path.fields:
                    self._look_at(script, path if isinstance(path, str) else path.render({}))

    def settings(self, script: Script, render: Render) -> dict[str, Any]:
        """A cell's, as plain data; empty where there is a problem with them."""
        parsed = self._sections[script.origin]
        if parsed.broken:
            parsed.idle.clear()  # nobody knows what they would match
            return {}

        def text(*place: str | int) -> str | None:
            return render(_label(script.origin, place), parsed.templates[place])

        path = script.found or text("script")
        at = None if script.section.at is None else text("at")
        if path is None:
            parsed.idle.clear()
            return {}
        if at is not None and not is_revision(at):
            hint = "write a commit, a tag or a branch"
            self._report(script, ("at",), f"at: {at[:100]!r} is no revision", hint)
        self._look_at(script, path)
        values: dict[str, Any] = {name: getattr(script.section, name) for name in (*_REPLACED, "cwd")}
        expect: dict[str, Any] = script.section.expect.model_dump()
        environment: dict[str, Location] = {
            name: ("environment", name) for name in script.section.environment
        }
        arguments: list[Location] = [("arguments", index) for index in range(len(script.section.arguments))]
        for change in self._changes(script, path):
            values |= change.values
            expect |= change.expect
            environment |= change.environment
            arguments = arguments if change.arguments is None else change.arguments
        filled = ScriptSettings(
            script=_absolute(self._matrix, path),
            path=path,
            at=at,
            expect=Expected.model_validate(expect),
            environment={name: text(*place) or "" for name, place in environment.items()},
            arguments=[text(*place) or "" for place in arguments],
            **values,
        )
        return filled.model_dump(mode="json", by_alias=True)

    def idle(self) -> Iterator[Problem]:
        """After every cell: a per-script pattern that matches nothing is a slip."""
        for origin, parsed in self._sections.items():
            for glob in parsed.idle:
                if self._matrix.inherits("scenarios", origin, "per-script", glob):
                    continue
                where = ("scenarios", origin, "per-script", glob)
                hint = "it is matched against the scripts' file names"
                yield self._matrix.problem(where, f"per-script: no script matches {glob!r}", hint, key=True)

    def _parse(self, script: Script) -> _Parsed:
        parsed = _Parsed()
        section = script.section
        if script.found is None:
            self._add(script, parsed, ("script",), section.script)
        if section.at is not None:
            self._add(script, parsed, ("at",), section.at)
        self._add_all(script, parsed, (), section)
        for glob, entry in section.per_script.items():
            self._add_all(script, parsed, ("per-script", glob), entry)
            parsed.per_script.append((glob, matcher(glob), _Change(glob, entry)))
            parsed.idle.add(glob)
        return parsed

    def _add_all(
        self, script: Script, parsed: _Parsed, above: Location, words: ScriptSection | PerScript
    ) -> None:
        for name, text in words.environment.items():
            self._add(script, parsed, (*above, "environment", name), text)
        for index, text in enumerate(words.arguments or ()):
            self._add(script, parsed, (*above, "arguments", index), text)

    def _add(self, script: Script, parsed: _Parsed, place: Location, text: str) -> None:
        template = parsed.templates[place] = Template.parse(text)
        early = place in (("script",), ("at",))
        known = self._fields if early else [*self._fields, *RUN_TIME_FIELDS]
        for slip in template.fields:
            if slip not in known:
                parsed.broken = True
                hint = did_you_mean(slip, known)
                if early and slip in RUN_TIME_FIELDS:
                    hint = "it is known only when the script starts: use it in environment or arguments"
                message = f"{_label(script.origin, place)}: unknown field {{{slip}}}"
                self._report(script, place, message, hint)

    def _changes(self, script: Script, path: str) -> list[_Change]:
        """What per-script says of a script, in the order of the file."""
        parsed = self._sections[script.origin]
        name = _name(path)
        if name not in parsed.matching:
            found = [(glob, change) for glob, matches, change in parsed.per_script if matches(name)]
            parsed.matching[name] = [change for _, change in found]
            parsed.idle -= {glob for glob, _ in found}
        return parsed.matching[name]

    def _look_at(self, script: Script, path: str) -> None:
        """Report what is wrong with the file, once."""
        stdin = script.section.stdin
        for change in self._changes(script, path):
            stdin = change.values.get("stdin", stdin)
        if script.section.at is not None or (script.origin, path, stdin) in self._looked_at:
            return
        self._looked_at.add((script.origin, path, stdin))
        for message, hint in _slips(_absolute(self._matrix, path), path, stdin, script.found is not None):
            self._report(script, ("script",), f"script: {message}", hint)

    def _report(self, script: Script, place: Location, message: str, hint: str) -> None:
        self._problems.append(self._matrix.problem(("scenarios", script.origin, *place), message, hint))


def _slips(file: str, path: str, stdin: str, is_found: bool) -> Iterator[tuple[str, str]]:
    """What is wrong with a script, and what to do."""
    leave = "add it to exclude" if is_found else "leave it out"
    try:
        if Path(file).is_dir():
            yield (
                f"{path!r} is a folder",
                f"name a script in it, or all of them: {path.rstrip('/')}/*{SUFFIX}",
            )
            return
        if not Path(file).exists():
            yield f"no such file: {path!r}", f"it was looked for at {file}"
            return
        if not Path(file).is_file():
            yield f"{path!r} is no regular file", "name a script"
            return
        with Path(file).open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        yield f"{path!r} cannot be read: {error.strerror}", "check the name and its permissions"
        return
    if len(data) > MAX_BYTES:
        yield f"{path!r} is larger than {MAX_BYTES >> 20} MiB", f"this is hardly a script: {leave}"
        return
    hints = {
        "stdin": f"{leave}, or set `stdin: empty`",
        "own-container": f"it does not test the cell's image: {leave}",
    }
    for finding in _findings(data):
        if finding.is_refused(stdin):
            yield f"{path}:{finding.line} {finding}", hints[finding.kind]


@functools.lru_cache(maxsize=MAX_SCRIPTS)
def _findings(data: bytes) -> tuple[Finding, ...]:
    """The first of each kind; a plan is made more than once from the same files."""
    try:
        source = importlib.util.decode_source(data)
    except (SyntaxError, UnicodeDecodeError):
        return ()  # Python will refuse it as well, and that is the script's failure
    found = scan(source)
    return tuple(
        next(finding for finding in found if finding.kind == kind)
        for kind in dict.fromkeys(finding.kind for finding in found)
    )


def _absolute(matrix: Matrix, path: str) -> str:
    return str(Path(os.path.abspath(matrix.folder / path)))  # noqa: PTH100 - a link to a script stays one


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _files(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:20])
    return f"the files are {shown}" + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _label(origin: str, place: Location) -> str:
    """A template's name for a message."""
    parts = [f"entry {part + 1}" if isinstance(part, int) else part for part in place]
    return f"scenarios.{origin}.{'.'.join(parts)}"
