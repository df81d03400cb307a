"""What a script prints: kept like a server's log, and looked through for the cost that it tells."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

from e2e_matrix.log_file import LogFile
from e2e_matrix.redaction import Secrets
from e2e_matrix.text import block
from e2e_matrix.usage import MOST_PLAUSIBLE_COST

LOG = "script.log"
# What upstream's example runner looks for on stdout; of several lines it takes the first.
COST_MARK = b"EXAMPLE_COST:"
_LONGEST_COST = 200
_LAST_LINES, _LAST_BYTES = 20, 8_000
_NUMBER = re.compile(r"\d{1,20}(\.\d{1,40})?([eE][+-]?\d{1,3})?", re.ASCII)


class Output:
    """The sink of a script's streams: see ``ScriptProcess``."""

    def __init__(self, folder: Path, secrets: Secrets) -> None:
        self.log = LogFile(folder, secrets, {}, name=LOG)
        self.cost: str | None = None  # as it was printed; hostile
        self._errors = b""  # the end of stderr
        self._within_line = False  # of stdout: the rest of a line that is too long to come at once
        self._secrets = secrets

    def write(self, stream: Literal["stdout", "stderr"], piece: bytes) -> None:
        self.log.write(piece)
        if stream == "stdout":  # from one thread
            if self.cost is None and COST_MARK in piece:
                self._look_for_cost(piece)
            self._within_line = not piece.endswith(b"\n")
        else:
            self._errors = (self._errors + piece)[-_LAST_BYTES:]

    def _look_for_cost(self, piece: bytes) -> None:
        lines = piece.splitlines()
        for line in lines[1:] if self._within_line else lines:
            if line.startswith(COST_MARK):
                told = line.removeprefix(COST_MARK)[:_LONGEST_COST].decode("utf-8", "replace").strip()
                self.cost = self._secrets.redact(told)
                return

    def close(self) -> None:
        """Finish the file. Raises CellFailure (DISK_FULL) where the disk refused any of it."""
        self.log.close()

    def last_lines(self) -> str:
        """The end of what was printed, redacted; hostile."""
        latest = self._secrets.redact(self.log.latest())  # some may be known only since
        lines = block(latest[-_LAST_BYTES:], limit=_LAST_BYTES, lines=10_000).splitlines()
        return "\n".join(lines[-_LAST_LINES:])

    def last_word(self) -> str:
        """The last line with text in it, of stderr if that has any; of a traceback, the exception's first."""
        errors = block(self._secrets.redact(self._errors.decode("utf-8", "replace")), _LAST_BYTES, 10_000)
        lines = [line for line in (errors.strip() or self.last_lines()).splitlines() if line.strip()]
        if any(line.startswith("Traceback ") for line in lines):
            # Its frames are indented; an exception's message may go on over several lines.
            below = max(number for number, line in enumerate(lines) if line.startswith((" ", "Traceback ")))
            lines = lines[: below + 2]
        return lines[-1].strip() if lines else ""


def read_cost(printed: str) -> Decimal | None:
    """A printed cost in US dollars; None for what can be none: text, nan, a negative or an absurd number."""
    written = printed.removeprefix("$").strip()
    if not _NUMBER.fullmatch(written):
        return None
    try:
        cost = Decimal(written)
    except InvalidOperation:
        return None
    return cost if cost <= MOST_PLAUSIBLE_COST else None


def agree(printed: Decimal, counted: Decimal) -> bool:
    """Whether a printed cost is the counted one, as exactly as it was printed; something is never nothing."""
    if (printed == 0) != (counted == 0):
        return False
    exponent = printed.as_tuple().exponent
    last_digit = Decimal(1).scaleb(exponent if isinstance(exponent, int) else 0)
    # A float's last digits are noise: 0.1 + 0.2.
    return abs(printed - counted) <= max(last_digit / 2, counted * Decimal("1e-9"))
