"""What is kept of a script's requests, and added up."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.limits import Limits
from e2e_matrix.llm.source import ProviderSource
from e2e_matrix.progress import Silent
from e2e_matrix.redaction import Secrets
from e2e_matrix.scenarios import script
from e2e_matrix.scenarios.base import Session
from e2e_matrix.scenarios.script_account import Account
from e2e_matrix.script.broker import Call
from e2e_matrix.script.settings import ScriptSettings
from e2e_matrix.script.watch import Watched
from e2e_matrix.task import LlmEndpoint
from support.tasks import a_task

SETTINGS = ScriptSettings(script="/s.py", path="s.py")


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


@pytest.mark.parametrize(
    ("counted", "printed", "passes"),
    [
        (["0.01 0.015", "0.02 0.025"], "0.04", True),  # all of them: each by what was counted last
        (["0.01 0.015", "0.02 0.025"], "0.03", True),  # both titles came after the script had looked
        (["0.01 0.015", "0.02 0.025"], "0.035", True),
        (["0.01 0.015", "0.02 0.025"], "0.02", True),
        (["0.01 0.015", "0.02 0.025"], "0.036", False),
        (["0.01 0.015"], "0.005", False),
        (["0.01", "0.02"], "0.03", True),
        (["0.01", "0.02"], "0.02", True),
        (["0.01", "0.02"], "0.04", False),
        (["0"], "0.25", False),  # 0 is a count as well
        (["0"], "0.0", True),
        ([None], "0.25", True),  # nothing that it could be held against
        ([], "0.25", True),
    ],
)
def test_a_printed_cost_is_held_against_every_count_of_the_server(
    tmp_path: Path, counted: list[str | None], printed: str, passes: bool
) -> None:
    endpoint = LlmEndpoint("m", None, None, is_stand_in=False)
    session = Session(
        a_task(endpoint, str(tmp_path)),
        FakeEngine(),
        ProviderSource("m", None, lambda: None).ledger(endpoint),
        Silent(),
        Cancellation(),
        Limits(),
    )
    with closing(Account(session)) as account:
        account.output.write("stdout", f"EXAMPLE_COST: {printed}\n".encode())
        seen = [Watched(str(number), "", 1.0) for number in range(len(counted))]
        for one, costs in zip(seen, counted, strict=True):
            one.learn("finished", _stats(None))
            for cost in costs.split() if costs else ():
                one.learn(None, _stats({"accumulated_cost": Decimal(cost)}))
        total = sum((one.bill.cost or Decimal(0) for one in seen), Decimal(0)) or None
        account.watch = cast(Any, SimpleNamespace(conversations=seen, cost=total, close=lambda: None))
        script._check_cost(session, account, SETTINGS)
    assert (session.findings.failure is None) is passes


def _stats(metrics: Any) -> Any:
    return {"usage_to_metrics": {"agent": metrics}}
