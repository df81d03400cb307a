import base64
import html
import json
import random
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e_matrix.redaction import (
    HIDDEN,
    Secrets,
    SecretStream,
    plain_urls,
    redact,
    secrets_in_url,
    without_password,
)

SECRET = 'sk-"Zoë/+ 42&=%'


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(json.dumps({"key": SECRET})),
        quote_plus(SECRET),
        quote(SECRET, safe="!'()*"),
        repr(SECRET),
        repr(SECRET.encode()),
        html.escape(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
    ],
)
def test_every_form_of_a_secret_is_hidden(written: str) -> None:
    told = redact(f"before {written} after", [SECRET])
    assert HIDDEN in told
    assert SECRET not in told
    assert told.startswith("before ")
    assert told.endswith(" after")


@given(st.binary(max_size=7), st.binary(max_size=7), st.text("abcdef0123456789", min_size=12, max_size=40))
def test_a_secret_inside_something_encoded_is_hidden_at_any_offset(
    before: bytes, after: bytes, secret: str
) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    assert HIDDEN in redact(f"Authorization: Basic {encoded}", [secret])


def test_ordinary_text_stays_as_it_is() -> None:
    assert redact("a key of x and y", ["x", "sk-123456"]) == "a key of x and y"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pw@host:8/v1?api-key=K#f", "https://host:8/v1"),
        ("http://host/v1", "http://host/v1"),
        ("http://[bad", HIDDEN),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_key(url: str, shown: str) -> None:
    assert without_password(url) == shown


def stream(secrets: Secrets, pieces: list[bytes]) -> bytes:
    redacting = SecretStream(secrets)
    return b"".join([*map(redacting.feed, pieces), redacting.finish()])


def cut(whole: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted(min(place, len(whole)) for place in cuts)
    return [whole[start:end] for start, end in zip([0, *places], [*places, len(whole)], strict=True)]


# Few different characters, so that secrets overlap one another and themselves.
overlapping = st.text("ab\n.", min_size=6, max_size=9)
any_secret = st.text(st.characters(codec="utf-8"), min_size=6, max_size=24)


@given(st.data(), st.lists(overlapping | any_secret, min_size=1, max_size=3), st.lists(st.integers(0, 300)))
def test_a_stream_is_redacted_the_same_wherever_it_is_cut(
    data: st.DataObject, values: list[str], cuts: list[int]
) -> None:
    secrets = Secrets(values)
    pieces = st.sampled_from(secrets.byte_forms) if secrets.byte_forms else st.just(b"")
    parts = data.draw(st.lists(pieces | st.binary(max_size=9) | overlapping.map(str.encode), max_size=8))
    whole = b"".join(parts)
    once = stream(secrets, [whole])
    assert stream(secrets, cut(whole, cuts)) == once
    assert stream(secrets, [whole[at : at + 1] for at in range(len(whole))]) == once
    # What stands between two marks has no secret in it, and never had a part of one.
    for kept in once.split(HIDDEN.encode()):
        assert not any(form in kept for form in secrets.byte_forms)
    if whole.isascii():
        assert redact(whole.decode(), secrets) == once.decode()


@given(
    any_secret.filter(lambda secret: len(secret.strip()) >= 6),
    st.lists(st.integers(0, 400), max_size=6),
    st.sampled_from(
        [
            str,
            quote,
            quote_plus,
            json.dumps,
            lambda secret: json.dumps(secret, ensure_ascii=False),
            lambda secret: base64.b64encode(secret.encode()).decode(),
            lambda secret: base64.urlsafe_b64encode(b"x" + secret.encode()).decode(),
            lambda secret: base64.b64encode(b"xy" + secret.encode() + b"z").decode(),
        ]
    ),
)
def test_every_form_is_hidden_from_a_stream(
    secret: str, cuts: list[int], written: Callable[[str], str]
) -> None:
    whole = f"\udcff< {written(secret)} >\n".encode("utf-8", "surrogateescape")
    told = stream(Secrets([secret]), cut(whole, cuts))
    assert HIDDEN.encode() in told
    assert told.startswith(b"\xff< ")
    assert told.endswith(b" >\n")
    assert secret.encode() not in told


def test_what_overlaps_is_hidden_as_one() -> None:
    assert redact("xabcdefghix", ["abcdef", "defghi"]) == f"x{HIDDEN}x"
    assert stream(Secrets(["abcabc"]), [b"abcabcab", b"cabcabc!"]) == HIDDEN.encode() + b"!"


def test_only_what_may_become_a_secret_is_held_back() -> None:
    redacting = SecretStream(Secrets(["a secret value"]))
    assert redacting.feed(b"a line\nand a sec") == b"a line\nand "
    assert redacting.feed(b"ond one\n") == b"a second one\n"


def test_a_secret_that_becomes_known_on_the_way_is_hidden_from_then_on() -> None:
    secrets = Secrets()
    redacting = SecretStream(secrets)
    assert redacting.feed(b"a late secret, ") == b"a late secret, "
    secrets.add("a late secret")
    assert redacting.feed(b"a late secret.") == HIDDEN.encode() + b"."


def test_a_stream_is_redacted_at_speed() -> None:
    """Tens of megabytes a second; measured on two cores: 300 with four secrets."""
    line = b"2026-01-01 00:00:00 INFO %d GET /api/conversations/%d 200\n"
    pieces = [b"".join(line % (n, random.getrandbits(60)) for n in range(1000)) for _ in range(50)]
    secrets = Secrets([SECRET, *(f"{random.getrandbits(190):x}" for _ in range(3))])
    begin = time.process_time()
    stream(secrets, pieces)
    assert sum(map(len, pieces)) / (time.process_time() - begin) > 20e6


def test_the_parts_of_a_url_that_may_be_keys() -> None:
    assert secrets_in_url("https://user:p%40ss-word@host/v1?api-key=K%2B1&v=2") == [
        "p%40ss-word",
        "K%2B1",
        "2",
        "p@ss-word",
        "K+1",
    ]
    assert secrets_in_url("https://host/v1") == []
    assert secrets_in_url("http://[bad") == []
    assert secrets_in_url(None) == []


def test_urls_inside_a_sentence_are_shown_bare() -> None:
    told = 'Get "https://me:pw@blobs.test/x?Signature=abc&Expires=1": dial tcp: timeout (http://a.test/b)'
    assert plain_urls(told) == 'Get "https://blobs.test/x": dial tcp: timeout (http://a.test/b)'
