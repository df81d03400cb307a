"""Every schema that two APIs have at the same place, compared once, however many operations lead there.

The pairs of schemas form a graph, which may run in circles. It is walked breadth first from all operations at
once, so that a place is named by the shortest way to it; what reaches it is then handed on along the graph.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from e2e_matrix.api.changes import Sighting
from e2e_matrix.api.document import too_intricate
from e2e_matrix.api.schema_rules import Found, Link, SchemaRules, Side, severity
from e2e_matrix.api.shape import Shapes
from e2e_matrix.text import ELLIPSIS

_MAX_PAIRS = 50_000  # the real ones make 3,000
_MAX_SEEN = 1_000_000
_MAX_HANDINGS = 5_000_000
_MAX_SEGMENTS = 40


@dataclass(frozen=True)
class Root:
    """Where an operation, by its number, has a schema; ``label`` such as ``response 200``."""

    operation: int
    label: str
    before: object
    after: object


@dataclass
class _Pair:
    """Two schemas. ``root``, ``above`` and ``segment``: the nearest way here.

    ``operations`` has a bit for each that reaches them.
    """

    before: object
    after: object
    root: Root
    above: _Pair | None
    segment: str
    operations: int = 0
    found: list[Found] = field(default_factory=list)
    below: list[_Pair] = field(default_factory=list)

    def where(self, segment: str) -> tuple[str, str]:
        """The place, of a long way its end alone, and its last part."""
        segments: list[str] = [segment] if segment else []
        pair = self
        while pair.above is not None and len(segments) < _MAX_SEGMENTS:
            segments += [pair.segment] if pair.segment else []
            pair = pair.above
        path = "".join(reversed(segments)).removeprefix(".")
        if pair.above is not None:
            path = f"{ELLIPSIS}{path}"
        return (f"{self.root.label}: {path}" if path else self.root.label), (segments or [self.root.label])[0]


class Walk:
    """One side's walk over the schemas of two documents."""

    def __init__(self, before: Shapes, after: Shapes) -> None:
        self._rules = SchemaRules(before, after)

    def sightings(self, roots: list[Root], side: Side) -> Iterator[Sighting]:
        """What differs below the roots, as a client sees it. Raises ``BadInput`` where it is too much."""
        pairs = self._compared(roots)
        self._hand_on(pairs)
        for pair in pairs:
            for found in pair.found:
                grade = severity(found, side)
                if grade is None:
                    continue
                where, leaf = pair.where(found.segment)
                yield Sighting(
                    kind=found.kind,
                    severity=grade,
                    operations=pair.operations,
                    nearest=pair.root.operation,
                    side=side,
                    where=where,
                    leaf=leaf,
                    before=found.before,
                    after=found.after,
                )

    def _compared(self, roots: list[Root]) -> list[_Pair]:
        known: dict[tuple[int, int], _Pair] = {}
        waiting: deque[_Pair] = deque()

        def reach(before: object, after: object, root: Root, above: _Pair | None, segment: str) -> _Pair:
            key = (id(before), id(after))  # the pair keeps both: no other value comes to have their identity
            if (pair := known.get(key)) is None:
                pair = known[key] = _Pair(before, after, root, above, segment)
                waiting.append(pair)
                if len(known) > _MAX_PAIRS:
                    too_intricate(f"more than {_MAX_PAIRS:,} pairs of schemas")
            return pair

        for root in roots:
            reach(root.before, root.after, root, None, "").operations |= 1 << root.operation
        seen = 0
        while waiting:
            pair = waiting.popleft()
            for one in self._rules.compare(pair.before, pair.after):
                if isinstance(one, Link):
                    pair.below.append(reach(one.before, one.after, pair.root, pair, one.segment))
                else:
                    pair.found.append(one)
                seen += 1
                if seen > _MAX_SEEN:
                    too_intricate(f"more than {_MAX_SEEN:,} places")
        return list(known.values())

    def _hand_on(self, pairs: list[_Pair]) -> None:
        waiting = deque(pair for pair in pairs if pair.operations)
        handings = 0
        while waiting:
            pair = waiting.popleft()
            for below in pair.below:
                handings += 1
                if pair.operations & ~below.operations:
                    below.operations |= pair.operations
                    waiting.append(below)
            if handings > _MAX_HANDINGS:
                too_intricate("its schemas refer to one another in too many ways")
