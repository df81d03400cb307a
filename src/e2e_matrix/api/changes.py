"""What a comparison of two APIs comes to, for a client that was written for the first and meets the second.

What the client sends breaks where less is accepted than before. What it is sent breaks where more may come
than before, or where something is missing that it may read. Between breaking and compatible lies
``MAY_BREAK``, which counts as compatible and is listed first:

- a response may hold a value, or an object of a kind, that was not among the listed ones. Every release adds
  such (an event, a tool): a client has to expect others.
- a limit of what a response holds (a length, a range, a pattern) is wider: few clients rely on it.
- a request's field is gone, and the server accepts fields that it does not know: what the client says there
  is no longer heeded. Where the server refuses them, that breaks; and so does a parameter that is gone, as no
  description says that unknown parameters are accepted.

Errors need not be described: one more or one less is compatible, a success that is gone breaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from e2e_matrix.text import ELLIPSIS, one_line

MAX_CHANGES = 500  # of each list
_MAX_PLACES = 20
_MAX_VALUE = 160


class Severity(StrEnum):
    BREAKING = "breaking"
    MAY_BREAK = "may break"
    COMPATIBLE = "compatible"


class Kind(StrEnum):
    """What changed, in the order in which it is read; the value is the whole phrase for a person."""

    PATH_REMOVED = "path removed"
    METHOD_REMOVED = "method removed"
    CREDENTIALS_REQUIRED = "asks for credentials that it did not ask for"
    CREDENTIALS_RELAXED = "accepts other credentials too, or none"
    STATUS_REMOVED = "status no longer described"
    MEDIA_TYPE_REMOVED = "media type removed"
    BODY_REMOVED = "body removed"
    PARAMETER_REMOVED = "parameter removed"
    FIELD_REMOVED = "field removed"
    NEWLY_REQUIRED = "newly required"
    NO_LONGER_REQUIRED = "no longer required"
    TYPE_CHANGED = "type changed"
    NULLABLE = "may be null now"
    NOT_NULLABLE = "may no longer be null"
    FORMAT_CHANGED = "format changed"
    ALTERNATIVE_REMOVED = "alternative removed"
    VALUE_REMOVED = "value removed"
    LIMIT_CHANGED = "limit changed"
    CONSTRAINT_CHANGED = "constraint changed"
    CLOSED = "other fields are refused now"
    OPENED = "other fields may stand there now"
    SENT_DIFFERENTLY = "written differently"
    ALTERNATIVE_ADDED = "alternative added"
    VALUE_ADDED = "value added"
    DEFAULT_CHANGED = "default changed"
    DEPRECATED = "deprecated"
    PATH_ADDED = "path added"
    METHOD_ADDED = "method added"
    STATUS_ADDED = "status added"
    MEDIA_TYPE_ADDED = "media type added"
    BODY_ADDED = "body added"
    PARAMETER_ADDED = "parameter added"
    FIELD_ADDED = "field added"


# Raised when the same two descriptions come to other changes: what older rules found is found anew.
RULES = 1

_KINDS = {kind: number for number, kind in enumerate(Kind)}
_SEVERITIES = {severity: number for number, severity in enumerate(Severity)}


@dataclass(frozen=True)
class ApiChange:
    """One change, however many operations and places it shows in; all texts are one line and safe to show.

    ``where`` is the nearest of its places, such as ``request body: agent.llm.model``, in the first of
    ``operations``, which are all whose clients see it. ``also``: the next few places; ``places`` counts all.
    """

    kind: Kind
    severity: Severity
    operations: tuple[str, ...]
    where: str
    before: str | None = None
    after: str | None = None
    also: tuple[str, ...] = ()
    places: int = 1

    @property
    def breaking(self) -> bool:
        return self.severity is Severity.BREAKING

    @property
    def may_break(self) -> bool:
        return self.severity is Severity.MAY_BREAK

    @property
    def operation(self) -> str:
        """The only operation with it; empty where there are several."""
        return self.operations[0] if len(self.operations) == 1 else ""

    @property
    def words(self) -> str:
        """One line: ``response 200: stats.cost: field removed (GET /api/x and 3 more)``."""
        more = f" and {self.places - 1} more places" if self.places > 2 else " and one more place"
        where = self.where + (more if self.places > 1 else "")
        what = f"{where}: {self.kind}" if where else f"{self.kind}"
        if self.before is not None and self.after is not None:
            what += f": {self.before} → {self.after}"
        elif (value := self.before if self.before is not None else self.after) is not None:
            what += f": {value}"
        return f"{what} ({self._operations})" if self.operations else what

    @property
    def _operations(self) -> str:
        others = len(self.operations) - 1
        return self.operations[0] + (f" and {others} more" if others else "")


@dataclass(frozen=True)
class ApiDifference:
    """``compatible`` begins with what may break. ``omitted_…``: so many more were found than are listed."""

    breaking: list[ApiChange] = field(default_factory=list)
    compatible: list[ApiChange] = field(default_factory=list)
    omitted_breaking: int = 0
    omitted_compatible: int = 0

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.breaking or self.compatible)

    @property
    def may_break(self) -> list[ApiChange]:
        """Those of the compatible ones that an unprepared client does not survive."""
        return [change for change in self.compatible if change.may_break]

    @property
    def breaking_total(self) -> int:
        return len(self.breaking) + self.omitted_breaking

    @property
    def compatible_total(self) -> int:
        return len(self.compatible) + self.omitted_compatible

    @property
    def words(self) -> str:
        """One line: ``2 breaking changes, 14 compatible (3 may break a client that expects no others)``."""
        if not self:
            return "the same API"
        count = self.breaking_total
        text = f"{count} breaking change{'' if count == 1 else 's'}, {self.compatible_total} compatible"
        may = len(self.may_break)
        return text + (f" ({may} may break an unprepared client)" if may else "")


@dataclass(frozen=True)
class Sighting:
    """One change at one place: ``side`` and ``leaf`` are what it must share with others to be told with them.

    ``operations`` has a bit for each of them, ``nearest`` is the number of the one that ``where`` is told of.
    """

    kind: Kind
    severity: Severity
    operations: int
    nearest: int
    side: str
    where: str
    leaf: str
    before: str | None = None
    after: str | None = None


def told_once(sightings: Iterable[Sighting], names: list[str]) -> ApiDifference:
    """The sightings as changes, the same ones together. ``names``: of the operations, by number."""
    groups: dict[tuple[object, ...], list[Sighting]] = {}
    for one in sightings:
        key = (one.severity, one.kind, one.side, one.leaf, one.before, one.after)
        groups.setdefault(key, []).append(one)
    order = sorted(groups.values(), key=_order)
    breaking = [group for group in order if group[0].severity is Severity.BREAKING]
    compatible = order[len(breaking) :]
    return ApiDifference(
        [_change(group, names) for group in breaking[:MAX_CHANGES]],
        [_change(group, names) for group in compatible[:MAX_CHANGES]],
        max(len(breaking) - MAX_CHANGES, 0),
        max(len(compatible) - MAX_CHANGES, 0),
    )


def _order(group: list[Sighting]) -> tuple[object, ...]:
    first = min(group, key=_nearest)
    return (
        _SEVERITIES[first.severity],
        _KINDS[first.kind],
        first.where,
        first.before or "",
        first.after or "",
        first.side,
    )


def _nearest(sighting: Sighting) -> tuple[int, str, int]:
    return len(sighting.where), sighting.where, sighting.nearest


def _change(group: list[Sighting], names: list[str]) -> ApiChange:
    group = sorted(group, key=_nearest)
    first, operations = group[0], 0
    for one in group:
        operations |= one.operations
    others = (number for number in range(operations.bit_length()) if operations >> number & 1)
    numbers = dict.fromkeys([first.nearest, *others])
    places = list(dict.fromkeys(one.where for one in group))
    return ApiChange(
        first.kind,
        first.severity,
        tuple(one_line(names[number], _MAX_VALUE) for number in numbers),
        where_words(places[0]),
        _bounded(first.before),
        _bounded(first.after),
        tuple(where_words(place) for place in places[1 : _MAX_PLACES + 1]),
        len(places),
    )


def where_words(place: str) -> str:
    """The place in one line; of a long one the two ends."""
    if len(place) > 2 * _MAX_VALUE:
        place = place[:_MAX_VALUE] + ELLIPSIS + place[-_MAX_VALUE:]
    return one_line(place, 2 * _MAX_VALUE + 1)


def _bounded(text: str | None) -> str | None:
    return None if text is None else one_line(text, _MAX_VALUE)
