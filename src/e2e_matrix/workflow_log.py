"""The log of a GitHub workflow, in which a line can be a command to the runner.

The runner takes a line of either stream for one that begins with ``::``, be it after white space, or that has
``##[`` anywhere (actions/runner, src/Runner.Common/ActionCommand.cs). A server's text stands in our lines and
in tracebacks, and with ``::set-output`` in it would speak for us. So each line is made one that is none, and
what we do tell the runner goes past that. ``::stop-commands::`` would not do: the streams are read side by
side, and the last line of one may come after the silence was ended on the other.
"""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TextIO, cast

# A space that everybody sees, and nothing that a comparison by culture, as the runner's is, may pass over.
_COMMAND = re.compile(r"^([^\S\r\n]*:)(?=:)|(##)(?=\[)")
# One for both streams: they may be one pipe, in which a line must not begin in the middle of another.
_LOCK = threading.RLock()


def is_workflow(environ: Mapping[str, str]) -> bool:
    """Whether we are a step of a GitHub workflow."""
    return environ.get("GITHUB_ACTIONS") == "true"


@contextmanager
def without_commands(environ: Mapping[str, str]) -> Iterator[None]:
    """In a workflow, let nothing that this process prints be a command, but by ``write_command``."""
    if not is_workflow(environ):
        yield
        return
    before = sys.stdout, sys.stderr
    # None stays: the stream was closed before we began.
    plain = [stream and _PlainLines(stream) for stream in before]
    sys.stdout, sys.stderr = cast("list[TextIO]", plain)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in filter(None, plain):
            with suppress(OSError, ValueError):  # a reader that left, or a file that is closed
                stream.finish()


def write_command(stream: TextIO, line: str) -> None:
    """Write a line of ours that is a command. Raises OSError where the stream's reader is gone."""
    with _LOCK:
        if isinstance(stream, _PlainLines):
            stream.finish()
            stream = stream.beneath
        stream.write(line + "\n")
        stream.flush()


class _PlainLines(io.TextIOBase):
    """A stream that passes on whole lines, none of them a command. Thread-safe.

    What has no line's end yet is held back: it may become a command, and the runner waits for its end, too.
    """

    def __init__(self, beneath: TextIO) -> None:
        self.beneath = beneath
        self._held = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.beneath.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.beneath.errors

    def isatty(self) -> bool:
        return self.beneath.isatty()

    def fileno(self) -> int:
        return self.beneath.fileno()

    def write(self, text: str) -> int:
        with _LOCK:
            lines = self._held + text
            end = lines.rfind("\n") + 1
            self._held = lines[end:]
            if end:
                self.beneath.write(_plain(lines[:end]))
                self.beneath.flush()
        return len(text)

    def flush(self) -> None:
        self.beneath.flush()

    def finish(self) -> None:
        """Pass on what is held back, as a line."""
        with _LOCK:
            if self._held:
                self.write("\n")


def _plain(lines: str) -> str:
    return "".join(_COMMAND.sub(r"\1\2 ", line) for line in lines.splitlines(keepends=True))
