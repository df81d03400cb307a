import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e_matrix.redaction import HIDDEN, redact, without_password

SECRET = 'sk-"Zoë/+ 42&=%'


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=True),
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
