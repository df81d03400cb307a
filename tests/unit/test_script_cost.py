"""What a script printed, held against what the servers of its conversations counted."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.limits import Limits
from e2e_matrix.llm.source import ProviderSource
from e2e_matrix.prices import Price
from e2e_matrix.progress import Silent
from e2e_matrix.scenarios import script
from e2e_matrix.scenarios.base import Session
from e2e_matrix.scenarios.script_account import Account
from e2e_matrix.script.settings import Expect, ScriptSettings
from e2e_matrix.script.watch import Watch, Watched
from support.tasks import a_task

FREE = Price(Decimal(0), Decimal(0))

SETTINGS = ScriptSettings(script="/s.py", path="s.py")


@pytest.mark.parametrize(
    ("counted", "printed", "price", "expected", "known", "wrong"),
    [
        (["0.5"], "0.50", None, "required", "0.5", None),
        (["0"], "0.00", None, "required", None, None),  # a price that the server does not know
        (["0"], "0.00", FREE, "required", "0", None),
        (["0"], "0.5", None, "required", "0.5", "the cost that the script printed is not the server's"),
        (["0"], "0.5", None, "printed", "0.5", None),
        ([None], "0.5", None, "required", "0.5", None),  # nothing to hold it against
        ([], "0.5", None, "required", "0.5", None),
        ([], "0.00", None, "required", None, None),
    ],
)
def test_what_a_script_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: list[str | None], printed: str,
    price: Price | None, expected: str, known: str | None, wrong: str | None,
) -> None:  # fmt: skip
    source = ProviderSource("m", None, lambda: "k")
    source.open()
    endpoint = source.endpoint("c", "s", None, tmp_path / "calls")
    session = Session(
        a_task(endpoint, str(tmp_path), price=price), FakeEngine(), source.ledger(endpoint),
        Silent(), Cancellation(), Limits(),
    )  # fmt: skip
    tokens = {"prompt_tokens": 3, "completion_tokens": 1}
    held = [
        Watched("c", "http://s", 0.0, price, stats={"usage_to_metrics": {"agent": {
            "accumulated_cost": None if cost is None else Decimal(cost), "accumulated_token_usage": tokens}}})
        for cost in counted
    ]  # fmt: skip
    monkeypatch.setattr(Watch, "conversations", held)
    with closing(Account(session)) as account:
        account.output.write("stdout", f"EXAMPLE_COST: {printed}\n".encode())
        account.note_totals()
        script._check_cost(session, account, SETTINGS.model_copy(update={"expect": Expect(cost=expected)}))
    [step] = session.findings.steps
    assert step.message == wrong
    assert session.findings.cost_usd == (None if known is None else Decimal(known))
