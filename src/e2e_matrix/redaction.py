"""Keeping secrets out of everything that is written down or shown."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

HIDDEN = "[hidden]"
# Shorter values would hide ordinary words, and are no secrets.
_SHORTEST = 6


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, raw, URL-encoded, JSON-escaped and in base64 (alone, at any offset)."""
    for form in sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True):
        text = text.replace(form, HIDDEN)
    return text


def _forms(secret: str) -> Iterable[str]:
    if len(secret) < _SHORTEST:
        return
    yield secret
    yield quote(secret)
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    raw = secret.encode(errors="replace")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # What stands before and after shares the outer groups: those in between are the secret's own.
            start, end = (-offset) % 3, len(raw)
            end -= (end - start) % 3
            if len(inner := encode(raw[start:end]).decode()) >= _SHORTEST:
                yield inner


def without_password(url: str) -> str:
    """A URL without user, password and query, each of which may hold a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
