"""The difference between two APIs, each as its server describes it (/openapi.json, OpenAPI 3).

Compared are paths, methods, parameters, request bodies, responses and what they hold, and which credentials
an operation asks for. Not compared: what only documents, ``servers``, callbacks, webhooks, response headers
and links; WebSockets are in no such description. What breaks whom is written in ``changes.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from e2e_matrix.api.changes import ApiDifference, Kind, Sighting, told_once
from e2e_matrix.api.document import Json, checked
from e2e_matrix.api.keywords import ANYTHING
from e2e_matrix.api.operation import Credential, Operation, Parameter, content, operations_of, paired
from e2e_matrix.api.schema_rules import Found, Side, severity
from e2e_matrix.api.shape import Shapes
from e2e_matrix.api.walk import Root, Walk

_JSON = "application/json"


def difference(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> ApiDifference:
    """What is different for a client of ``baseline`` that meets ``candidate``.

    Raises ``BadInput`` where one of them is no OpenAPI 3 description, or too intricate to be compared.
    """
    return _Comparison(checked(baseline, "baseline"), checked(candidate, "candidate")).difference()


class _Comparison:
    def __init__(self, before: Json, after: Json) -> None:
        self._shapes = (Shapes(before), Shapes(after))
        self._before = operations_of(before, self._shapes[0])
        self._after = operations_of(after, self._shapes[1])
        self._names: list[str] = []
        self._found: list[Sighting] = []
        self._roots: dict[Side, list[Root]] = {side: [] for side in Side}

    def difference(self) -> ApiDifference:
        pairs = paired(self._before, self._after)
        for one, other in pairs:
            self._names.append(one.name)
            self._operation(one, other)
        in_both = {one.name for one, _ in pairs}, {other.name for _, other in pairs}
        self._alone(self._before, in_both[0], self._after, (Kind.PATH_REMOVED, Kind.METHOD_REMOVED))
        self._alone(self._after, in_both[1], self._before, (Kind.PATH_ADDED, Kind.METHOD_ADDED))
        for side, roots in self._roots.items():
            self._found += Walk(*self._shapes).sightings(roots, side)
        return told_once(self._found, self._names)

    def _alone(
        self,
        ours: list[Operation],
        in_both: Collection[str],
        theirs: list[Operation],
        kinds: tuple[Kind, Kind],
    ) -> None:
        """The operations that only one of the two has."""
        templates = {one.template for one in theirs}
        for one in ours:
            if one.name not in in_both:
                self._names.append(one.name)
                kind = kinds[one.template in templates]
                self._told(Found(kind, narrowed=kind in _REMOVED), Side.REQUEST, one.path)

    def _operation(self, before: Operation, after: Operation) -> None:
        if after.deprecated and not before.deprecated:
            self._told(Found(Kind.DEPRECATED), Side.REQUEST, "")
        self._credentials(before, after)
        self._parameters(before, after)
        self._body(before.body, after.body)
        self._responses(before.responses, after.responses)

    def _credentials(self, before: Operation, after: Operation) -> None:
        ways, ways_after = before.credentials, after.credentials
        text, text_after = _ways_words(ways), _ways_words(ways_after)
        if not all(_let_in(way, ways_after) for way in ways):
            self._told(
                Found(Kind.CREDENTIALS_REQUIRED, "", text, text_after, narrowed=True), Side.REQUEST, ""
            )
        elif not all(_let_in(way, ways) for way in ways_after):
            self._told(Found(Kind.CREDENTIALS_RELAXED, "", text, text_after), Side.REQUEST, "")

    def _parameters(self, before: Operation, after: Operation) -> None:
        keys = {(one.place, one.key.lower()) for way in after.credentials for one in way}
        for key, one in before.parameters.items():
            if (other := after.parameters.get(key)) is not None:
                self._parameter(one, other)
            elif (one.place, one.name.lower()) not in keys:  # else it has become a credential
                self._told(Found(Kind.PARAMETER_REMOVED, narrowed=True), Side.REQUEST, one.label)
        for key, other in after.parameters.items():
            if key not in before.parameters:
                self._told(_added(Kind.PARAMETER_ADDED, other.required), Side.REQUEST, other.label)

    def _parameter(self, before: Parameter, after: Parameter) -> None:
        self._need(before.required, after.required, before.label)
        if after.own.get("deprecated") is True and before.own.get("deprecated") is not True:
            self._told(Found(Kind.DEPRECATED), Side.REQUEST, before.label)
        if before.style != after.style:
            found = Found(Kind.SENT_DIFFERENTLY, "", before.style, after.style, narrowed=True)
            self._told(found, Side.REQUEST, before.label)
        self._look_into(Side.REQUEST, before.label, before.schema, after.schema)

    def _body(self, before: Json | None, after: Json | None) -> None:
        label = "request body"
        if before is None and after is not None:
            self._told(_added(Kind.BODY_ADDED, after.get("required") is True), Side.REQUEST, label)
        elif before is not None and after is None:
            self._told(Found(Kind.BODY_REMOVED, narrowed=True), Side.REQUEST, label)
        elif before is not None and after is not None:
            self._need(before.get("required") is True, after.get("required") is True, label)
            self._content(Side.REQUEST, label, content(before), content(after))

    def _responses(self, before: Mapping[str, Json], after: Mapping[str, Json]) -> None:
        for code, held in before.items():
            label = f"response {code}"
            covering = next((one for one in (code, f"{code[:1]}XX", "DEFAULT") if one in after), None)
            if covering is not None:
                self._content(Side.RESPONSE, label, content(held), content(after[covering]))
            else:  # a client has to expect errors that are described nowhere, but what it came for only there
                found = Found(Kind.STATUS_REMOVED, widened=code.startswith(("2", "3")))
                self._told(found, Side.RESPONSE, label)
        for code in after:
            if code not in before:
                self._told(Found(Kind.STATUS_ADDED), Side.RESPONSE, f"response {code}")

    def _content(self, side: Side, label: str, before: Mapping[str, Json], after: Mapping[str, Json]) -> None:
        for name, held in before.items():
            place = label if name == _JSON else f"{label} ({name})"
            wider = (name, f"{name.partition('/')[0]}/*", "*/*")
            covering = next((after[one] for one in wider if one in after), None)
            if covering is not None:
                schemas = (each.get("schema", ANYTHING) for each in (held, covering))
                self._look_into(side, place, *schemas)
            else:
                found = Found(Kind.MEDIA_TYPE_REMOVED, before=name, narrowed=True, widened=True)
                self._told(found, side, label)
        for name in after:
            if name not in before:
                self._told(Found(Kind.MEDIA_TYPE_ADDED, after=name), side, label)

    def _need(self, before: bool, after: bool, label: str) -> None:
        if before is not after:
            kind = Kind.NEWLY_REQUIRED if after else Kind.NO_LONGER_REQUIRED
            self._told(Found(kind, narrowed=after), Side.REQUEST, label)

    def _look_into(self, side: Side, label: str, before: object, after: object) -> None:
        self._roots[side].append(Root(len(self._names) - 1, label, before, after))

    def _told(self, found: Found, side: Side, label: str) -> None:
        """Of the operation that is being compared: the last one named."""
        grade = severity(found, side)
        if grade is not None:
            number = len(self._names) - 1
            self._found.append(
                Sighting(
                    found.kind, grade, 1 << number, number, side, label, label, found.before, found.after
                )
            )


_REMOVED = (Kind.PATH_REMOVED, Kind.METHOD_REMOVED)


def _added(kind: Kind, required: bool) -> Found:
    return Found(kind, after="required" if required else "optional", narrowed=required)


def _let_in(has: list[Credential], ways: list[list[Credential]]) -> bool:
    """Whether who has these is let in by one of the ways."""
    return any(all(any(asked.like(held) for held in has) for asked in way) for way in ways)


def _ways_words(ways: list[list[Credential]]) -> str:
    return " or ".join(" with ".join(one.words for one in way) or "none" for way in ways)
