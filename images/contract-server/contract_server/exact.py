"""JSON with numbers that are written as they are meant: decimals exactly, and where a fault wants it, NaN."""

from __future__ import annotations

import json
import re
import uuid
from decimal import Decimal
from typing import Any

_MARK = uuid.uuid4().hex
_MARKED = re.compile(rf'"{_MARK}([^"]*)"')


class Literal(str):
    """A number's own spelling."""

    __slots__ = ()


def dumps(value: Any) -> str:
    """``value`` as JSON without spaces, as the real server writes it."""
    text = json.dumps(_marked(value), separators=(",", ":"), ensure_ascii=False)
    return _MARKED.sub(r"\1", text)


def _marked(value: Any) -> Any:
    if isinstance(value, Literal):
        return _MARK + value
    if isinstance(value, Decimal):
        return _MARK + (format(value.normalize(), "f") if value else "0.0")
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_marked(item) for item in value]
    return value
