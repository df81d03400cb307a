"""Durations, sizes and money as people write them: ``10m``, ``1h30m``, ``7d``, ``4g``, ``0.25``."""

from __future__ import annotations

import re
from decimal import Decimal

_DURATION_PARTS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_DURATION = re.compile(r"(?=\d)(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_SIZE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?(k|m|g|t)(?:i?b)?", re.ASCII | re.IGNORECASE)
_MONEY = re.compile(r"(?=.*[1-9])\d{1,6}(\.\d{1,12})?", re.ASCII)
_PRICE = re.compile(r"\d{1,6}(\.\d{1,12})?", re.ASCII)
_SHARE = re.compile(r"(\d{1,4}(?:\.\d{1,3})?) ?%", re.ASCII)
_LONGEST = 7 * 24 * 3600
_OLDEST = 365 * 24 * 3600
_SIZE_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}

#: The same rules for editors, in docs/matrix.schema.json.
DURATION_PATTERN = r"^(?=[0-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$"
SIZE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?[kKmMgGtT]([iI]?[bB])?$"
MONEY_PATTERN = r"^(?=.*[1-9])[0-9]+(\.[0-9]+)?$"
PRICE_PATTERN = r"^[0-9]+(\.[0-9]+)?$"
SHARE_PATTERN = r"^[0-9]+(\.[0-9]+)? ?%$"


def parse_duration(text: str) -> float:
    """Seconds in ``90s``, ``10m`` or ``1h30m``, at most a week. Raises ValueError; its message says how to
    write one."""
    return _parse_time(text, _LONGEST, "a duration", "90s, 10m or 1h30m")


def parse_age(text: str) -> float:
    """As ``parse_duration``, up to a year: how old something may be, such as ``7d``. Raises ValueError."""
    return _parse_time(text, _OLDEST, "an age", "7d or 12h")


def _parse_time(text: str, longest: int, what: str, such_as: str) -> float:
    written = text.strip()
    match = _DURATION.fullmatch(written)
    if match is None:
        missing = "the unit is missing: " if _NUMBER.fullmatch(written) else ""
        raise ValueError(f"{missing}write {what} such as {such_as}")
    numbers = (int(number or 0) for number in match.groups())
    seconds = sum(number * unit for number, (_, unit) in zip(numbers, _DURATION_PARTS, strict=True))
    if not 0 < seconds <= longest:
        raise ValueError(f"{what} is longer than 0s and at most {format_duration(longest)}")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """The shortest way to write it so that parse_duration reads it back: 600 -> ``10m``."""
    left, parts = round(seconds), []
    for name, unit in _DURATION_PARTS:
        number, left = divmod(left, unit)
        if number:
            parts.append(f"{number}{name}")
    return "".join(parts) or "0s"


def parse_size(text: str) -> int:
    """Bytes in ``4g``, ``512m`` or ``1.5GiB`` (powers of 1024, as Docker counts). Raises ValueError."""
    written = text.strip()
    match = _SIZE.fullmatch(written)
    if match is None:
        missing = "the unit is missing: " if _NUMBER.fullmatch(written) else ""
        raise ValueError(f"{missing}write a size such as 512m or 4g")
    number, unit = match.groups()
    return int(float(number) * _SIZE_UNITS[unit.lower()])


def format_size(size: int) -> str:
    """The largest unit that divides it: 4294967296 -> ``4g``; plain bytes where none does."""
    for name in ("t", "g", "m", "k"):
        if size and size % _SIZE_UNITS[name] == 0:
            return f"{size // _SIZE_UNITS[name]}{name}"
    return str(size)


def parse_money(text: str) -> Decimal:
    """US dollars in ``0.25`` or ``5``, exact. Raises ValueError; its message says how to write it."""
    if _MONEY.fullmatch(text.strip()) is None:
        raise ValueError(
            "write US dollars above 0, such as 0.25 or 5, without a sign and without an exponent"
        )
    return Decimal(text.strip())


def parse_price(text: str) -> Decimal:
    """As ``parse_money``, and ``0`` for what costs nothing. Raises ValueError."""
    if _PRICE.fullmatch(text.strip()) is None:
        raise ValueError("write US dollars, such as 2.5 or 0, without a sign and without an exponent")
    return Decimal(text.strip())


def parse_share(text: str) -> float:
    """A share in ``20%``: 0.2. Raises ValueError; its message says how to write it."""
    if match := _SHARE.fullmatch(text.strip()):
        return float(match[1]) / 100
    raise ValueError("write a share such as 20%" + ("" if "%" in text else ", with its sign"))


def format_share(share: float) -> str:
    """The way to write it that parse_share reads back: 0.2 -> ``20%``."""
    return f"{share * 100:.3f}".rstrip("0").rstrip(".") + "%"
