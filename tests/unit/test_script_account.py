"""What is kept of a script's requests, and added up."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from e2e_matrix.redaction import Secrets
from e2e_matrix.scenarios.base import Session
from e2e_matrix.scenarios.script_account import Account
from e2e_matrix.script.broker import Call


class Seen:
    """The parts of a session that an account uses."""

    def __init__(self, folder: Path) -> None:
        self.task = SimpleNamespace(folder=str(folder), slowness=1.0, price=None)
        self.secrets = Secrets()
        self.started = 0.0
        self.redact = self.secrets.redact
        self.hidden: list[str] = []

    def hide(self, *values: str) -> None:
        self.hidden += values


def a_call(session_key: str) -> Call:
    return Call("GET", "/health", 200, 1.0, 1.1, "http://127.0.0.1:1", session_key, None, None)


def test_a_script_that_makes_up_session_keys_has_a_few_of_them_hidden_each_once(tmp_path: Path) -> None:
    seen = Seen(tmp_path)
    with closing(Account(cast(Session, seen))) as account:
        account.add(a_call("k" * 2000))
        for _ in range(2):
            for number in range(1000):
                account.add(a_call(f"session-key-{number}"))
    assert seen.hidden[:2] == ["session-key-0", "session-key-1"]
    assert len(seen.hidden) == len(set(seen.hidden)) <= 100
