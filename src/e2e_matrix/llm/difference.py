"""Whether a request is the one that was recorded, and where not, how they differ."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

_MONTH = (
    r"(Jan(uary)?|Feb(ruary)?|Mar(ch)?|Apr(il)?|May|June?|July?|Aug(ust)?|Sept?(ember)?|Oct(ober)?"
    r"|Nov(ember)?|Dec(ember)?)"
)
# What differs between two runs of the same thing. The first ones first: a UUID may stand in a path.
_VARYING: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b", "<uuid>"),
        # Python's mkdtemp below an attempt's scratch folder, whatever its prefix.
        (r"/tmp/e2e-matrix-[\w.-]+(/tmp/[^/\s\"'`,;:)]+)?", "/tmp/e2e-matrix-*"),
        (
            r"\b\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?( ?(Z|UTC|GMT|[+-]\d\d:?\d\d))?)?\b",
            "<time>",
        ),
        (
            r"\b((Mon|Tues?|Wed(nes)?|Thu(rs)?|Fri|Sat(ur)?|Sun)(day)?,? )?"
            rf"({_MONTH} +\d{{1,2}}|\d{{1,2}} +{_MONTH} +\d{{4}})\b"
            r"(,? \d\d:\d\d(:\d\d)?( [AP]M)?( (UTC|GMT|[+-]\d{4}))?)?(,? \d{4}\b)?"
            r"(,? \d\d:\d\d(:\d\d)?( [AP]M)?( (UTC|GMT|[+-]\d{4}))?)?",
            "<time>",
        ),
        (r"\b\d\d:\d\d:\d\d([.,]\d+)?\b", "<time>"),
        # Seconds, milliseconds or more since 1970: from 2017 to 2033.
        (r"(?<![\w.])(1[5-9]|20)\d{8}(\d{3}|\d{6}|\d{9})?(\.\d+)?\b(?![.]\d)", "<time>"),
        (
            r"(\blocalhost|\b127\.0\.0\.1|\b0\.0\.0\.0|\[::1?\]|\bhost\.docker\.internal):\d{2,5}\b",
            r"\1:<port>",
        ),
    )
]
_CONTEXT = 1
_LONGEST_LINE = 160
_BEFORE = 40  # characters of a long line shown before the first difference


def normalised(value: Any) -> Any:
    """The JSON value with what always differs replaced by its kind."""
    match value:
        case str():
            for pattern, instead in _VARYING:
                value = pattern.sub(instead, value)
            return value
        case list():
            return [normalised(item) for item in value]
        case dict():
            return {normalised(name): normalised(item) for name, item in value.items()}
    return value


def difference(recorded: Any, asked: Any, lines: int = 50, characters: int = 3500) -> str:
    """A unified diff of two JSON values, of at most so many lines and characters; "" where they are equal."""
    if recorded == asked:
        return ""
    diff = difflib.unified_diff(_lines(recorded), _lines(asked), "recorded", "asked", n=_CONTEXT, lineterm="")
    shown: list[str] = []
    for line in _short(list(diff)):
        if len(shown) == lines or sum(map(len, shown)) + len(line) > characters:
            shown.append("... and more")
            break
        shown.append(line)
    return "\n".join(shown)


def _lines(value: Any) -> list[str]:
    return json.dumps(_unfolded(value), indent=2, sort_keys=True, ensure_ascii=False).split("\n")


def _unfolded(value: Any) -> Any:
    """A text of several lines as the list of them, so that a diff can show the one that differs."""
    match value:
        case str() if "\n" in value:
            return value.split("\n")
        case list():
            return [_unfolded(item) for item in value]
        case dict():
            return {name: _unfolded(item) for name, item in value.items()}
    return value


def _short(diff: list[str]) -> Iterator[str]:
    """The lines cut to a readable length: of a changed one what surrounds the first difference."""
    at = 0
    while at < len(diff):
        removed = _run(diff, at, "-")
        added = _run(diff, at + len(removed), "+")
        if not removed or diff[at].startswith("---"):
            yield _cut(diff[at], 0)
            at += 1
            continue
        pairs = min(len(removed), len(added))
        starts = [_first_difference(removed[pair], added[pair]) for pair in range(pairs)]
        for side in (removed, added):
            for index, line in enumerate(side):
                yield _cut(line, starts[index] if index < pairs else 0)
        at += len(removed) + len(added)


def _run(diff: list[str], at: int, mark: str) -> list[str]:
    end = at
    while end < len(diff) and diff[end].startswith(mark):
        end += 1
    return diff[at:end]


def _first_difference(one: str, other: str) -> int:
    pairs = enumerate(zip(one[1:], other[1:], strict=False), 1)
    return next((at for at, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))


def _cut(line: str, at: int) -> str:
    if len(line) <= _LONGEST_LINE:
        return line
    start = max(1, min(at - _BEFORE, len(line) - _LONGEST_LINE))
    end = start + _LONGEST_LINE
    return f"{line[0]}{'…' if start > 1 else ''}{line[start:end]}{'…' if end < len(line) else ''}"
