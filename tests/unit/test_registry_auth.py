"""Challenges and logins: what is read, and what is survived."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from e2e_matrix.registry import Login, Logins
from e2e_matrix.registry.auth import Challenge, parse_challenges


def test_reads_a_token_challenge_with_a_comma_in_its_scope() -> None:
    header = 'Bearer realm="https://a/token?x=1,2",service="a",scope="repository:b/c:pull,push"'
    (challenge,) = parse_challenges([header])
    assert challenge == Challenge(
        "bearer",
        {"realm": "https://a/token?x=1,2", "service": "a", "scope": "repository:b/c:pull,push"},
    )


def test_reads_several_schemes_and_skips_nonsense() -> None:
    headers = ['Basic realm="a \\"b\\"", Bearer realm=c', "Negotiate", "=,;", 'x="1"']
    assert parse_challenges(headers) == [
        Challenge("basic", {"realm": 'a "b"'}),
        Challenge("bearer", {"realm": "c"}),
        Challenge("negotiate", {}),
    ]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


def test_a_login_of_config_json_is_found_and_never_printed(config: Path) -> None:
    secret = base64.b64encode(b"me:pass:word").decode()
    config.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": secret}}}))
    login = Logins().find("docker.io")
    assert login == Login("me", "pass:word")
    assert "word" not in repr(login)
    assert Logins().find("ghcr.io") is None


def test_an_identity_token_is_found(config: Path) -> None:
    config.write_text(json.dumps({"auths": {"a.example": {"auth": "", "identitytoken": "t"}}}))
    assert Logins().find("a.example") == Login(identity_token="t")


def test_a_helper_is_asked_for_its_own_registry(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "docker-credential-fake"
    answer = json.dumps({"Username": "h", "Secret": "s"})
    helper.write_text(f"#!/bin/sh\n[ \"$(cat)\" = a.example ] || exit 1\necho '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config.write_text(json.dumps({"credHelpers": {"a.example": "fake"}}))
    logins = Logins()
    assert logins.find("a.example") == Login("h", "s")
    assert logins.find("b.example") is None
    assert logins.problems == []


def test_a_missing_or_failing_helper_is_remembered_not_fatal(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "docker-credential-broken"
    broken.write_text("#!/bin/sh\necho boom\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config.write_text(json.dumps({"credHelpers": {"a.example": "absent", "b.example": "broken"}}))
    logins = Logins()
    assert logins.find("a.example") is None
    assert logins.find("b.example") is None
    assert "docker-credential-absent is not installed" in logins.problems[0]
    assert "docker-credential-broken failed" in logins.problems[1]


@pytest.mark.parametrize("text", ["[]", '{"auths": {"a": {"auth": "!"}}}', '{"auths": {"a": 5}}', "\xff"])
def test_an_unreadable_config_means_no_login(config: Path, text: str) -> None:
    config.write_bytes(text.encode("latin-1"))
    logins = Logins()
    assert logins.find("a") is None
