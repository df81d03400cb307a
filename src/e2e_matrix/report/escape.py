"""Text from outside, made harmless in HTML and in GitHub's Markdown.

``text.py`` removes what no page may hold (escape sequences, controls, bidi overrides); here the markup of
each format is taken care of. Markdown has two ways: ``code`` and ``fence`` for what a server, a model or a
log wrote, since GitHub neither links, mentions nor closes anything in code; ``prose`` for short sentences.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from e2e_matrix.text import ELLIPSIS, block, format_bytes, format_seconds, one_line

EXCERPT_LINES = 80
EXCERPT_WIDTH = 400
# Breaks a word for GitHub's filters, which look at the rendered text, and shows nothing to a person.
_BREAK = "&#8203;"
# No text that is safe to show has it: it holds a break's place until the markup is escaped.
_BREAK_HERE = "\0"
# A backslash keeps a dollar from cmark only: the filter for formulas comes later, and reads what cmark wrote.
# https://docs.github.com/en/get-started/writing-on-github/working-with-advanced-formatting/writing-mathematical-expressions
_DOLLAR = "<span>$</span>"
_MARKUP = re.compile(r"([\\`*_\[\]()#!|~])|^([-+=]|\d+(?=[.)]))")
# No word boundaries: what a filter takes for one is its own affair, and a break too many is not seen.
_REFERENCES = re.compile(
    r"(?<=@)"  # people, and addresses of mail
    r"|(?<=#)(?=\d)|(?<=[a-z]-)(?=\d)|(?<=GHSA)(?=-)"  # issues, CVEs, and what a repository makes links of
    r"|(?<=:)(?=//)|(?<=www)(?=\.)"
    r"|(?<=:)(?=[\w+-]+:)",  # emoji
    re.IGNORECASE,
)
# GitHub links a commit from seven digits on.
_COMMIT = re.compile(r"[0-9a-f]{6}(?=[0-9a-f])", re.IGNORECASE)
# In code, these alone get a sample of the colour, unless there is a space beside them.
_COLOUR = re.compile(r"#[0-9a-f]{3,8}|(?:rgb|hsl)a?\(.*\)", re.IGNORECASE)


def excerpt(text: str | None, lines: int = EXCERPT_LINES, width: int = EXCERPT_WIDTH) -> str:
    """A log excerpt or body, safe and bounded: long lines cut, and of too many lines the last ones kept."""
    if not text:
        return ""
    # One line of a megabyte must not push the lines around it out.
    cut = [line if len(line) <= 4 * width else line[: 4 * width] for line in text.splitlines()]
    dropped = max(len(cut) - lines, 0)
    kept = [block(line, width, 1) for line in cut[dropped:]]
    shown = block("\n".join(kept), lines * (width + 2), lines)
    return f"{ELLIPSIS} {dropped:,} more lines before\n{shown}" if dropped else shown


def fact(name: str, value: Any) -> str:
    """A fact's value in a few words; ``name`` may carry its unit (``..._bytes``, ``..._seconds``)."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int() | float() if name.endswith("bytes"):
            return format_bytes(value)
        case int() | float() if name.endswith("seconds"):
            return format_seconds(value)
        case str():
            return one_line(value, 160)
        case None:
            return "none"
    return one_line(json.dumps(value, ensure_ascii=False, default=str), 160)


def relative_link(*parts: str) -> str | None:
    """A link below the report's own folder, or None where it would lead out of it."""
    segments = [segment for part in parts for segment in part.split("/")]
    if not all(segments) or any(segment in {".", ".."} for segment in segments):
        return None
    return "/".join(quote(segment, safe="", errors="replace") for segment in segments)


def prose(text: str, limit: int = 300) -> str:
    """One line of Markdown that shows ``text`` as it is: no markup, link, mention or reference in it."""
    broken = _REFERENCES.sub(_BREAK_HERE, one_line(text, limit))
    broken = _COMMIT.sub(rf"\g<0>{_BREAK_HERE}", broken)
    # The entity first: nothing after it may make a new one.
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        broken = broken.replace(character, entity)
    escaped = _MARKUP.sub(_escaped, broken)
    return escaped.replace("$", _DOLLAR).replace(_BREAK_HERE, _BREAK)


def code(text: str, limit: int = 200) -> str:
    """An inline code span that also survives inside a table's cell."""
    # A pipe ends a table's cell even in code, and renderers differ about a backslash before it.
    shown = one_line(text, limit).replace("|", "¦") or " "
    ticks = "`" * (_longest_run(shown) + 1)
    # Of the spaces one on each side is not shown.
    pad = "  " if _COLOUR.fullmatch(shown) else " " if "`" in (shown[0], shown[-1]) else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def fence(text: str, language: str = "text") -> str:
    """A fenced block of text that is already bounded; its fence is longer than any inside."""
    ticks = "`" * max(3, _longest_run(text) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"


def _escaped(found: re.Match[str]) -> str:
    # A number that would begin a list is told apart after it, by what cannot be seen.
    return f"{found[0]}{_BREAK}" if found[0].isdigit() else f"\\{found[0]}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
