"""Words for people: hostile text made safe to show; money, durations and sizes written one way everywhere.

Text from a server, a registry or a log may hold anything. ``one_line`` and ``block`` make it safe for a
terminal and for a page (which still has to escape its own markup): no escape sequences, no control
characters, nothing that reorders or hides what stands beside it, and never more than asked for.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Iterable
from decimal import Context, Decimal

ELLIPSIS = "…"
UNKNOWN = "unknown"
NO_VALUE = "–"
REPLACEMENT = "\ufffd"

# ECMA-48: control strings (OSC, DCS, SOS, PM, APC) with their terminator, control sequences, other escapes.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
# More marks than this on one letter are there to climb over the neighbouring lines.
_MARK_FLOOD = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{3})"
    "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
)
_SPACES = re.compile(r"\s+")
_TAB = "    "
# Money beyond this is the noise of the server's binary floating point, not a price.
_MONEY_DIGITS = Context(prec=12)


class _Safe(dict[int, str | None]):
    """``str.translate`` table: what a character becomes; asked once per character that is not plain ASCII."""

    def __missing__(self, codepoint: int) -> str | None:
        match unicodedata.category(chr(codepoint)):
            case "Cc" | "Cs" | "Co" | "Cn":  # controls, lone surrogates, private and unassigned
                return REPLACEMENT
            case "Cf":  # bidi overrides, zero-width characters, byte order marks
                return None
            case "Zl" | "Zp":
                return "\n"
        return chr(codepoint)


_SAFE = _Safe({code: chr(code) for code in range(0x20, 0x7F)} | {0x0A: "\n", 0x09: _TAB})


def block(text: str, limit: int = 4000, lines: int = 60) -> str:
    """Several lines, safe to show: the first ``limit`` characters and ``lines`` lines, then an ellipsis."""
    cleaned, cut = _cleaned(text, limit)
    kept = [line.rstrip() for line in cleaned.strip("\n").split("\n")]
    if len(kept) > lines:
        kept, cut = kept[:lines], True
    shown = "\n".join(kept).rstrip()
    if len(shown) > limit:
        shown, cut = shown[:limit].rstrip(), True
    return shown + ELLIPSIS if cut else shown


def one_line(text: str, limit: int = 200) -> str:
    """One line, safe to show, of at most ``limit`` characters: runs of white space become one space."""
    cleaned, cut = _cleaned(text, limit * 2)
    shown = _SPACES.sub(" ", cleaned).strip()
    if len(shown) > limit or cut:
        return shown[: max(limit - 1, 0)].rstrip() + ELLIPSIS
    return shown


def told_apart(names: Iterable[str]) -> list[str]:
    """The names, each another one: where one comes again it has a number, as in ``name (2)``."""
    found: dict[str, None] = {}
    for name in names:
        other = name
        for number in itertools.count(2):
            if other not in found:
                break
            other = f"{name} ({number})"
        found[other] = None
    return list(found)


def format_money(amount: Decimal | None) -> str:
    """US dollars with every digit that means something: ``$0.0000168``, ``$12.50``; "unknown" for None.

    At least two decimals; beyond twelve significant digits there is only floating-point noise: dropped.
    """
    if amount is None or not amount.is_finite():
        return UNKNOWN
    digits = format(abs(amount).normalize(_MONEY_DIGITS), "f")
    whole, _, fraction = digits.partition(".")
    return f"{'-' if amount < 0 else ''}${int(whole):,}.{fraction:0<2}"


def format_seconds(seconds: float | None) -> str:
    """A duration in seconds: ``0.08 s``, ``42.1 s``, ``3 min 05 s``, ``2 h 07 min``; a dash for None."""
    if seconds is None or not math.isfinite(seconds):
        return NO_VALUE
    seconds = max(seconds, 0.0)
    if 0 < seconds < 0.005:
        return "<0.01 s"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3599.5:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def format_age(seconds: float) -> str:
    """How old something is at the most, roughly: ``1 minute``, ``5 hours``, ``2 days``."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds > length or unit == "minute":
            break
    number = max(math.ceil(seconds / length), 1)
    return f"{number} {unit}{'s' if number > 1 else ''}"


def format_bytes(size: float | None) -> str:
    """Bytes in powers of 1000, as `docker images` counts: ``87.4 MB``, ``1.64 GB``; a dash for None."""
    if size is None or not math.isfinite(size):
        return NO_VALUE
    size = max(size, 0)
    if size < 999.5:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5 or unit == "TB":
            break
    return f"{size:.{2 if size < 9.995 else 1 if size < 99.95 else 0}f} {unit}"


def _cleaned(text: str, limit: int) -> tuple[str, bool]:
    """The text without anything dangerous, and whether some of it was left unread."""
    # Escape sequences take room and show nothing: look further than is wanted, but not at all of a flood.
    reach = limit * 4
    head, cut = text[:reach], len(text) > reach
    head = _ESCAPES.sub("", head).replace("\r\n", "\n").replace("\r", "\n")
    return _MARK_FLOOD.sub(r"\1", head.translate(_SAFE)), cut
