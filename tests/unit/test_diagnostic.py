"""What is kept of a surprise can be pasted into a public bug report."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e_matrix import diagnostic
from e2e_matrix.redaction import HIDDEN


def _surprise() -> None:
    try:
        int("a secret value and a key of the environment")
    except ValueError as error:
        raise KeyError("sent through proxy-password") from error


def test_a_diagnostic_has_the_traceback_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "a key of the environment")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxy-password@proxy.test:8080")
    (tmp_path / "file").touch()
    with pytest.raises(KeyError) as caught:
        _surprise()
    for place in (tmp_path / "diagnostic.txt", tmp_path / "file" / "diagnostic.txt"):  # the second cannot be
        diagnostic.write(place, caught.value, "about a secret value", ["a secret value"])
    for text in ((tmp_path / "diagnostic.txt").read_text(), capsys.readouterr().err):
        assert text.count(HIDDEN) >= 4
        assert "Traceback (most recent call last)" in text
        # The lines of this very test that hold them are in the traceback, hidden too.
        for secret in ("a secret value", "a key of the environment", "proxy-password"):
            assert secret not in text
