"""Which conversations of a script are watched, and until when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from e2e_matrix.script import watch
from e2e_matrix.script.broker import Call
from e2e_matrix.script.watch import Watch, Watched
from support.script_stage import CONVERSATION, http_server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with http_server() as opened:
        yield opened


def a_call(url: str, conversation: str, status: int | None) -> Call:
    return Call(
        method="GET",
        path=f"/api/conversations/{conversation}",
        status=status,
        started=1.0,
        ended=1.1,
        base_url=url,
        session_key=None,
        conversation=conversation,
        execution_status=None,
    )


def test_a_conversation_is_watched_from_when_the_server_has_it(url: str) -> None:
    with closing(Watch(1.0)) as watching:
        # A client that chooses the id asks first whether it is there already, as the SDK's does.
        for status in (404, 401, None):
            watching.see(a_call(url, CONVERSATION, status))
        assert watching.conversations == []
        watching.see(a_call(url, CONVERSATION, 201))
        until = time.monotonic() + 10
        while watching.conversations[0].ended_at is None and time.monotonic() < until:
            time.sleep(0.01)
        assert watching.conversations[0].status == "finished"


def test_what_was_counted_before_a_conversation_went_on_is_no_cost_of_it() -> None:
    one = Watched("x", "", 1.0)

    def counted(cost: str) -> dict[str, Any]:
        return {"usage_to_metrics": {"agent": {"accumulated_cost": Decimal(cost)}}}

    one.learn("running", counted("0.01"))
    assert one.counts == []
    one.learn("finished", None)
    one.learn(None, counted("0.02"))
    one.learn(None, counted("0.02"))
    assert one.counts == [Decimal("0.01"), Decimal("0.02")]
    one.learn("running", None)
    one.learn("finished", counted("0.03"))
    assert one.counts == [Decimal("0.03")]


def test_a_server_that_counts_without_end_has_its_last_counts_remembered() -> None:
    one = Watched("x", "", 1.0)
    for number in range(1_000):
        one.learn("finished", {"usage_to_metrics": {"agent": {"accumulated_cost": number}}})
    assert len(one.counts) <= 100
    assert one.counts[-1] == 999


def test_a_script_with_endless_conversations_has_the_first_ones_watched(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MOST_WATCHED", 3)
    with closing(Watch(1.0)) as watching:
        for _ in range(10):
            watching.see(a_call(url, str(uuid4()), 200))
        assert len(watching.conversations) == 3


def test_the_last_look_asks_once_more_and_a_second_one_does_not(url: str) -> None:
    with closing(Watch(1.0)) as watching:
        watching.see(a_call(url, CONVERSATION, 200))
        watching.last_look(url)
        [seen] = watching.conversations
        assert seen.status == "finished"
        seen.status = None
        watching.last_look(url)
        assert seen.status is None
