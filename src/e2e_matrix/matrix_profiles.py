"""``profiles:`` of a matrix.yaml: the file as it is without one, and as each of them makes it.

A profile is laid over the tree before anybody asks what the tree means: a key that matrix.yaml learns works
in a profile with no more code, and what is wrong with it is told at the profile's own line.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from e2e_matrix.errors import Problem
from e2e_matrix.matrix_fields import kind_of
from e2e_matrix.matrix_yaml import Document, Location, Place, Said, Scalar, Tree
from e2e_matrix.templates import did_you_mean
from e2e_matrix.text import one_line

PROFILES = "profiles"
# Each is checked as the whole file that it makes.
MAX_PROFILES = 10
NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
# Mappings that mean something as a whole, as a list does: these are what is run. Every other one that stands
# at the top of a file is merged key by key.
_WHOLE = frozenset({"scenarios"})
# Sections of which one key may stand alone, as `reports: FOLDER`.
_ALONE = {"reports": "folder"}


@dataclass
class Overlaid(Document):
    """The file as a profile makes it. What the profile says has its places there, all else the file's."""

    own: Document = field(default_factory=lambda: Document(""))
    base: Document = field(default_factory=lambda: Document(""))
    merged: Mapping[Place, Place] = field(default_factory=dict)  # of mappings: in the profile -> in the file

    def said(self, where: Location) -> tuple[Said, ...]:
        return (*self.own.said(where), *self.base.said(where))

    def told(self, found: Sequence[Problem], already: Collection[Problem]) -> Iterator[Problem]:
        """What the profile alone has made wrong; where the file's own words are, with the profile's name."""
        # Without the hint, which may list what the profile has changed.
        known = {(problem.line, problem.column, problem.message) for problem in already}
        own = {*self.own.keys.values(), *self.own.values.values()}
        for problem in found:
            place = (problem.line, problem.column)
            if known & {(*place, problem.message), (*self.merged.get(place, place), problem.message)}:
                continue
            if place in own or problem.file != self.file:
                yield problem
            else:
                yield replace(problem, message=f"with the profile {self.profile}: {problem.message}")


@dataclass
class Family:
    """A file without its profiles, what each of these makes of it, and what is wrong with `profiles:`."""

    base: Document
    profiles: dict[str, Overlaid] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def unknown(self, name: str, place: str) -> Iterator[Problem]:
        """The problem with a name that somebody chose at ``place``, an option or a variable."""
        if name in self.names:
            return  # what is wrong with it was said
        file = self.base.file
        hint = "write it below `profiles:`; see docs/matrix.md"
        if self.names:
            hint = one_line(did_you_mean(name, self.names), 1000)
            if all(one.strip() in self.names for one in name.split(",")):
                hint = "one profile at a time; what two have in common may be a third"
        yield Problem(place or file, 0, 0, f"there is no profile {name!r} in {file}", hint)


def split(document: Document) -> Family:
    """The parts of a file whose tree is a mapping."""
    assert isinstance(document.tree, dict)
    base = _part(document, (), "")
    if PROFILES not in document.tree:
        return Family(base)
    written = document.tree[PROFILES]
    family = Family(base)
    if not isinstance(written, dict):
        if (PROFILES,) not in document.broken:
            message = f"{PROFILES}: must be a mapping, not {kind_of(written)}"
            family.problems.append(document.problem((PROFILES,), message, "write `name:` lines below it"))
        return family
    family.names = list(written)
    if len(written) > MAX_PROFILES:
        message = f"{len(written)} profiles; {MAX_PROFILES} is the limit"
        family.problems.append(document.problem((PROFILES,), message, "use several files", key=True))
    for name in family.names[:MAX_PROFILES]:
        where = (PROFILES, name)
        family.problems += _slips(document, where, written[name])
        if isinstance(written[name], dict | None):
            family.profiles[name] = _overlaid(base, _part(document, where, name))
    return family


def _slips(document: Document, where: Location, written: Tree) -> Iterator[Problem]:
    name = str(where[-1])
    if not re.fullmatch(NAME_PATTERN, name):
        hint = "64 letters, digits, '.', '_' and '-' at the most, a letter or a digit first"
        yield document.problem(where, f"{name!r} cannot name a profile", hint, key=True)
    if isinstance(written, dict):
        if PROFILES in written:
            hint = "write each beside the others"
            yield document.problem((*where, PROFILES), "a profile cannot have profiles", hint, key=True)
    elif written is not None:
        message = f"{name}: must be a mapping, not {kind_of(written)}"
        yield document.problem(where, message, "write `key: value` lines below it, as in the file itself")


def _part(document: Document, above: Location, profile: str) -> Document:
    """What is written below ``above``, as a document of its own, without profiles."""
    length = len(above)

    def is_in(where: Location) -> bool:
        return where[:length] == above and where[length : length + 1] != (PROFILES,)

    whole = document.tree
    for key in above:
        assert isinstance(whole, dict)
        whole = whole[str(key)]
    tree = {key: value for key, value in whole.items() if key != PROFILES} if isinstance(whole, dict) else {}
    part = Document(
        document.file,
        tree,
        {where[length:]: place for where, place in document.keys.items() if is_in(where)},
        {where[length:]: place for where, place in document.values.items() if is_in(where)},
        broken={where[length:] for where in document.broken if is_in(where)},
        unset=[(where[length:], problem) for where, problem in document.unset if is_in(where)],
        profile=profile,
    )
    for section, key in _ALONE.items():
        if isinstance(word := tree.get(section), Scalar):
            tree[section] = {key: word}
            for places in (part.keys, part.values):
                places[section, key] = places[section,]
    return part


def _overlaid(base: Document, own: Document) -> Overlaid:
    assert isinstance(base.tree, dict)
    assert isinstance(own.tree, dict)
    tree = dict(base.tree)
    merged: list[Location] = [()]
    replaced: set[Location] = set()
    for key, value in own.tree.items():
        under = tree.get(key)
        if isinstance(under, dict) and isinstance(value, dict) and key not in _WHOLE:
            tree[key] = {**under, **value}
            merged.append((key,))
            replaced.update((key, name) for name in value)
        else:
            tree[key] = value
            replaced.add((key,))

    def stays(where: Location) -> bool:
        return where[:1] not in replaced and where[:2] not in replaced

    return Overlaid(
        base.file,
        tree,
        {where: place for where, place in base.keys.items() if stays(where)} | own.keys,
        {where: place for where, place in base.values.items() if stays(where)} | own.values,
        broken={where for where in base.broken if stays(where)} | own.broken,
        unset=[one for one in base.unset if stays(one[0])] + own.unset,
        profile=own.profile,
        own=own,
        base=base,
        merged={
            places[where]: below[where]
            for places, below in ((own.keys, base.keys), (own.values, base.values))
            for where in merged
            if where in places and where in below
        },
    )
