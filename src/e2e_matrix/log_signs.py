"""Looking for known texts in a log while it streams by, also in the part of it that nobody keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# A longer line is looked through in pieces that overlap by as much.
_LONGEST_LINE = 4096


@dataclass(frozen=True)
class Sign:
    """A text to look for within a line. ``word`` is a part of every match: a quick search decides mostly."""

    word: str
    pattern: str


class Scan:
    """Keeps the first match of each sign; memory is one piece and one line."""

    def __init__(self, signs: Mapping[str, Sign]) -> None:
        self._signs = {
            name: (sign.word.encode(), re.compile(sign.pattern.encode())) for name, sign in signs.items()
        }
        self._found: dict[str, bytes] = {}
        self._held = b""

    def feed(self, text: bytes) -> None:
        """``text`` is UTF-8, cut anywhere."""
        data = self._held + text
        end = data.rfind(b"\n") + 1
        if len(data) - end > _LONGEST_LINE:
            self._look(data)
            self._held = data[-_LONGEST_LINE:]
        else:
            self._look(data[:end])
            self._held = data[end:]

    def finish(self) -> None:
        self._look(self._held)
        self._held = b""

    def seen(self) -> dict[str, str]:
        return {name: found.decode(errors="replace") for name, found in self._found.items()}

    def _look(self, data: bytes) -> None:
        for name, (word, pattern) in self._signs.items():
            if name not in self._found and word in data and (match := pattern.search(data)):
                self._found[name] = match[0]
