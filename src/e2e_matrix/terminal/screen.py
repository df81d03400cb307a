"""The terminal that is written to: its width, colours, alphabet, and what happens when it goes away."""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Callable, Mapping
from typing import Concatenate, ParamSpec, TextIO, TypeVar, cast

from rich.console import Console
from rich.text import Text

from e2e_matrix.failures import Outcome

_LOGGER = logging.getLogger(__name__)
# Without a terminal nobody knows the width: a log viewer's, wide enough for the final table.
_WIDTH_OF_A_LOG = 120

STYLES: Mapping[Outcome, str] = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "bold red",
    Outcome.ERROR: "bold yellow",
    Outcome.UNSUPPORTED: "cyan",
    Outcome.CANCELLED: "yellow",
    Outcome.NOT_RUN: "dim",
}
_PLAIN_LETTERS = str.maketrans("–…", "-~")
_MARKS = {
    Outcome.PASSED: "✓+",
    Outcome.FAILED: "✗x",
    Outcome.ERROR: "!!",
    Outcome.UNSUPPORTED: "–-",
    Outcome.CANCELLED: "■#",
    Outcome.NOT_RUN: "··",
}

_P = ParamSpec("_P")
_S = TypeVar("_S")


def harmless(method: Callable[Concatenate[_S, _P], None]) -> Callable[Concatenate[_S, _P], None]:
    """A watcher that fails must not end what it watches: the failure is logged, the call returns."""

    @functools.wraps(method)
    def guarded(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception:
            _LOGGER.exception("the progress display failed in %s", method.__name__)

    return guarded


def outcome_words(outcome: Outcome) -> str:
    return outcome.value.replace("_", " ")


class Screen:
    """A rich console on ``stream``; texts given to it are ``Text``, so that no markup is ever read."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str], terminal: bool) -> None:
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
        self.only_ascii = not encoding.startswith("utf")
        self.console = Console(
            file=cast("TextIO", _Sink(stream, encoding)),
            force_terminal=terminal,
            no_color=bool(environ.get("NO_COLOR")),  # https://no-color.org: set and not empty
            width=None if terminal or environ.get("COLUMNS") else _WIDTH_OF_A_LOG,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
            _environ=environ,
        )

    @property
    def width(self) -> int:
        return self.console.width

    def mark(self, outcome: Outcome) -> Text:
        return Text(_MARKS[outcome][self.only_ascii], STYLES[outcome])

    def letters(self, fine: str, plain: str) -> str:
        """``fine`` where the terminal's encoding has it, else ``plain``."""
        return plain if self.only_ascii else fine

    def line(self, *parts: str | Text | tuple[str, str]) -> None:
        """One line as it is: the terminal may wrap it, but a path in it stays whole when it is copied."""
        self.console.print(Text.assemble(*parts), soft_wrap=True)


class _Sink(io.TextIOBase):
    """The stream, made safe: letters that it lacks become "?", and a reader that left is not an error."""

    def __init__(self, stream: TextIO, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding
        self._gone = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return not self._gone and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        if not self._gone:
            if not self._encoding.startswith("utf"):
                text = text.translate(_PLAIN_LETTERS)
            safe = text.encode(self._encoding, "replace").decode(self._encoding)
            try:
                self._stream.write(safe)
            except (OSError, ValueError):  # a closed pipe or file
                self._gone = True
        return len(text)

    def flush(self) -> None:
        if not self._gone:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._gone = True
