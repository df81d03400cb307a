"""Keeping secrets out of everything that is written down or shown."""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import AnyStr
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit, urlunsplit

HIDDEN = "[hidden]"
# Shorter values would hide ordinary words, and are no secrets.
_SHORTEST = 6
_HIDDEN_BYTES = HIDDEN.encode()
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_URL = re.compile(r"(?P<scheme>\bhttps?://)(?:[^\s/?#@\"'<>]+@)?(?P<rest>[^\s?#\"'<>]*)(?:\?[^\s\"'<>]*)?")


class Secrets:
    """The values to keep out, in every form in which they are known to be printed. Thread-safe.

    More may be added while others redact; iterating gives the values themselves.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._values: tuple[str, ...] = ()
        self.text_forms: tuple[str, ...] = ()
        self.byte_forms: tuple[bytes, ...] = ()
        self.beginnings: frozenset[bytes] = frozenset()
        self.add(*values)

    def add(self, *values: str) -> None:
        with self._lock:
            self._values = tuple(dict.fromkeys([*self._values, *values]))
            texts = {form for secret in self._values for form in _forms(secret)}
            encoded = {form.encode("utf-8", "surrogateescape") for form in texts if _is_encodable(form)}
            self.text_forms = tuple(sorted(texts))
            # The beginnings first: a form that another thread finds must have been held back.
            self.beginnings = frozenset(form[:end] for form in encoded for end in range(1, len(form)))
            self.byte_forms = tuple(sorted(encoded))

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def redact(self, text: str) -> str:
        """The text without the secrets; where two overlap, both are hidden as one."""
        spans = _spans(text, self.text_forms)
        return "".join(_replaced(text, spans, HIDDEN, 0, len(text))[0]) if spans else text


class SecretStream:
    """Redacts bytes that come in pieces, the same wherever they are cut.

    What may be the beginning of a secret is held back until the next piece: memory is one piece and the
    longest form of a secret.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._held = b""
        self._hidden = 0  # so many bytes of what is held belong to a secret that was replaced already

    def feed(self, piece: bytes) -> bytes:
        data = self._held + piece if self._held else piece
        return self._pass(data, self._open_end(data))

    def finish(self) -> bytes:
        """What was held back: no more comes."""
        return self._pass(self._held, len(self._held))

    def _pass(self, data: bytes, end: int) -> bytes:
        spans = [span for span in _spans(data, self._secrets.byte_forms) if span[0] < end]
        pieces, at = _replaced(data, spans, _HIDDEN_BYTES, self._hidden, end)
        self._held, self._hidden = data[end:], at - end
        return b"".join(pieces)

    def _open_end(self, data: bytes) -> int:
        """Where the longest end of ``data`` begins that a secret may begin with."""
        beginnings = self._secrets.beginnings
        longest = max(map(len, self._secrets.byte_forms), default=1) - 1
        for start in range(max(0, len(data) - longest), len(data)):
            if data[start:] in beginnings:
                return start
        return len(data)


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, raw and in the forms of ``Secrets``."""
    return (secrets if isinstance(secrets, Secrets) else Secrets(secrets)).redact(text)


def names_a_secret(name: str) -> bool:
    """Whether an environment variable's name says that its value is secret, as that of GITHUB_TOKEN."""
    return _SECRET_NAME.search(name) is not None


def secrets_by_name(variables: Mapping[str, str]) -> list[str]:
    """The values of the environment variables whose names say that they are secret."""
    return [value for name, value in variables.items() if names_a_secret(name)]


def secrets_in_url(url: str | None) -> list[str]:
    """What may be a key in a URL: its password and the values of its query, as written and decoded."""
    try:
        parts = urlsplit(url or "")
        password = parts.password
    except ValueError:
        return []
    written = [password or "", *(pair.partition("=")[2] for pair in parts.query.split("&"))]
    decoded = [unquote(password or ""), *(value for _, value in parse_qsl(parts.query))]
    return list(dict.fromkeys(value for value in (*written, *decoded) if value))


def without_password(url: str) -> str:
    """A URL without user, password and query, each of which may hold a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def plain_urls(text: str) -> str:
    """The text with every URL in it bare: registries sign the addresses of blobs, and proxies have logins."""
    return _URL.sub(lambda found: found["scheme"] + found["rest"], text)


def _forms(secret: str) -> Iterator[str]:
    """The secret as logs, URLs, JSON documents, Python's and HTML's quoting and headers show it."""
    for value in {secret, secret.strip()}:  # a key from a file may end in a newline, which a server drops
        if len(value) >= _SHORTEST:
            yield from (form for form in _written_forms(value) if len(form) >= _SHORTEST)


def _written_forms(secret: str) -> Iterator[str]:
    yield secret
    raw = secret.encode("utf-8", "surrogateescape" if _is_encodable(secret) else "surrogatepass")
    for escaped in (
        quote(raw),
        quote(raw, safe=""),
        quote(raw, safe="!'()*"),  # JavaScript's encodeURIComponent
        quote_plus(raw),
    ):
        yield escaped
        yield _PERCENT.sub(lambda found: found[0].lower(), escaped)
    for ascii_only in (True, False):
        escaped = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield escaped
        yield escaped.replace("/", "\\/")
        # Go escapes what means something in HTML.
        yield escaped.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        yield json.dumps(escaped, ensure_ascii=ascii_only)[1:-1]  # a document inside a document
    yield repr(secret)[1:-1]
    yield repr(raw)[2:-1]
    yield html.escape(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for offset in range(3):
            # A character is the secret's own where all of its six bits are.
            first, last = -(-8 * offset // 6), 8 * (offset + len(raw)) // 6
            yield encode(bytes(offset) + raw).decode()[first:last]


def _is_encodable(text: str) -> bool:
    """Not so for a lone surrogate that stands for no byte: no stream of bytes can hold it."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _spans(text: AnyStr, forms: Iterable[AnyStr]) -> list[tuple[int, int]]:
    """Where the forms stand, in the order of their beginnings."""
    found: list[tuple[int, int]] = []
    for form in forms:
        # One quick search for each: faster than one expression for all of them.
        start = text.find(form)
        while start >= 0:
            found.append((start, start + len(form)))
            start = text.find(form, start + 1)
    return sorted(found)


def _replaced(
    text: AnyStr, spans: Iterable[tuple[int, int]], mark: AnyStr, at: int, end: int
) -> tuple[list[AnyStr], int]:
    """``text[at:end]`` with each span replaced, and where that ends: a span may reach further."""
    pieces: list[AnyStr] = []
    for start, stop in spans:
        if start >= at:
            pieces += [text[at:start], mark]
        at = max(at, stop)
    if at < end:
        pieces.append(text[at:end])
        at = end
    return pieces, at
