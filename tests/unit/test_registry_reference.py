"""References: what Docker accepts is accepted, and read as Docker reads it."""

from __future__ import annotations

import pytest

from e2e_matrix.errors import BadInput
from e2e_matrix.registry import Reference, normal_platform, parse_reference
from e2e_matrix.registry.reference import api_url, is_loopback

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ghcr.io/openhands/agent-server:latest-python",
            Reference("ghcr.io", "openhands/agent-server", "latest-python"),
        ),
        ("debian", Reference("docker.io", "library/debian", "latest")),
        ("docker.io/debian:13", Reference("docker.io", "library/debian", "13")),
        ("index.docker.io/a/b", Reference("docker.io", "a/b", "latest")),
        ("a/b:1", Reference("docker.io", "a/b", "1")),
        ("localhost/a", Reference("localhost", "a", "latest")),
        ("127.0.0.1:5000/a/b:c", Reference("127.0.0.1:5000", "a/b", "c")),
        ("[::1]:5000/a:c", Reference("[::1]:5000", "a", "c")),
        (f"ghcr.io/a@{DIGEST}", Reference("ghcr.io", "a", None, DIGEST)),
        (f"ghcr.io/a:t@{DIGEST}", Reference("ghcr.io", "a", "t", DIGEST)),
        ("ghcr.io/a__b/c---d/e.f:_x", Reference("ghcr.io", "a__b/c---d/e.f", "_x")),
    ],
)
def test_reads(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected
    assert parse_reference(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("https://ghcr.io/a", "a scheme (https://)"),
        ("ghcr.io/a b", "a space"),
        ("ghcr.io/ä", "plain ASCII"),
        ("ghcr.io/OpenHands/agent-server", "'OpenHands' cannot be part"),
        ("ghcr.io//a", "between two slashes is empty"),
        ("ghcr.io/a/", "between two slashes is empty"),
        ("ghcr.io/a:", "'' is not a tag"),
        ("ghcr.io/a:-x", "'-x' is not a tag"),
        ("ghcr.io/a:" + "x" * 129, "is not a tag"),
        ("ghcr.io/a@sha256:beef", "is not a digest"),
        ("ghcr.io/a@", "is not a digest"),
        ("-bad.io/a", "'-bad.io' is not a host"),
        ("ghcr.io:99999/a", "not a host"),
        ("[::zz]:5000/a", "not a"),
        ("[1.2]/a", "not an IPv6"),
        ("ghcr.io/../a", "'..' cannot be part"),
        ("ghcr.io/a?x=1", "'a?x=1' cannot be part"),
        ("ghcr.io/" + "a" * 255, "longer than 255"),
        ("${sha}-python", "cannot be part"),
    ],
)
def test_refuses_and_says_why(text: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_reference(text)
    (problem,) = caught.value.problems
    assert why in problem.message
    assert problem.hint


def test_http_is_for_loopback_only() -> None:
    assert api_url("127.9.8.7:5000") == "http://127.9.8.7:5000"
    assert api_url("[::1]:5000") == "http://[::1]:5000"
    assert api_url("localhost") == "http://localhost"
    assert api_url("10.0.0.1:5000") == "https://10.0.0.1:5000"
    assert api_url("127.0.0.1.example.com") == "https://127.0.0.1.example.com"
    assert api_url("docker.io").startswith("https://registry-1.")
    assert not is_loopback("localhost.example.com")


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/v8", "linux/arm/v8"),
    ],
)
def test_platforms_have_one_name(text: str, normal: str) -> None:
    assert normal_platform(text) == normal
