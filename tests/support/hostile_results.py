"""Results in which every string that may come from somewhere else is another one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from e2e_matrix.report.phases import PHASES
from e2e_matrix.results import Results

BASE_LABEL = "org.opencontainers.image.base.name"
# Words that the program itself writes, and looks for.
_OWN = {*PHASES, "checks", "default", BASE_LABEL, "stand-in", "provider", "replay"}
# Random text rarely holds what matters: this is made of what matters.
# fmt: off
_MARKUP = [
    "`", "``", "```", "````", "~~~", "~~", "|", "\\", "*", "**", "_", "$", "$$", "$`", "`$", "^", "--",
    "1.", ">", "#", "===", "---", ":---:", "x^2", "\\(x\\)", "#fff", "rgb(1,2,3)", "[x](y)", "![", "](",
    "[^1]", "[^1]:", "[!NOTE]", "[x]", "<x@y.z>", "<b>", "</td>", "</code>", "</pre>", "</details>",
    "<!--", "-->", "<script>", "<a href='x'>", "&lt;", "&#64;a", "&amp;", "&dollar;",
]
_REFERENCES = [
    "http://e.x", "://", "www.e.x", "ftp://e.x", "mailto:a@b.c", "a@b.c", "xmpp:a@b.c", "//e.x", "@a",
    "@o/t", "#2", "o/r#2", "GH-1", "fixes ", "CVE-2024-1", "GHSA-aaaa-bbbb-cccc", "JIRA-1", ":tada:",
    ":+1:", "deadbee", "0123456789abcdef" * 3,
]
_SPACES = ["\n", "\r\n", "\t", " ", "  \n", "\n\n", "\n- ", "\n```math\n", "\u2028", "\v"]
_UNSAFE = [
    "\x1b[31m", "\x1b]8;;http://e.x\x07", "\u202e", "\u200b", "\x00", "\ud800", "\ufeff", "e\u0301" * 9,
]
# fmt: on
HOSTILE_TEXT = st.lists(
    st.sampled_from(_MARKUP)
    | st.sampled_from(_REFERENCES)
    | st.sampled_from(_SPACES)
    | st.sampled_from(_UNSAFE)
    | st.text(max_size=6),
    max_size=12,
).map("".join)


def replaced(results: Results, texts: Sequence[str]) -> Results:
    """The results with ``texts`` in the place of their strings: equal ones stay equal, others different."""
    known: dict[str, str] = {}

    def other(text: str) -> str:
        if not text or text in _OWN:
            return text
        # What follows the tilde is another number each time, and is seen.
        return known.setdefault(text, f"{texts[len(known) % len(texts)]}~{len(known)}")

    return changed(results, other)


def changed(results: Results, change: Callable[[str], str]) -> Results:
    """The results with ``change`` made of every string; enums and our own words are none."""
    made = _changed(results, change)
    assert isinstance(made, Results)
    return made


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case Enum():
            return value
        case str():
            return change(value)
        case BaseModel():
            fields = type(value).model_fields
            return value.model_copy(update={name: _changed(getattr(value, name), change) for name in fields})
        case dict():
            return {_changed(key, change): _changed(one, change) for key, one in value.items()}
        case list():
            return [_changed(one, change) for one in value]
    return value
