import json
from decimal import Decimal

import pytest

from e2e_matrix.agent_server import Reply, parse_event, parse_version


def test_a_status_is_read_from_its_own_event_and_from_the_full_state() -> None:
    own = {"kind": "ConversationStateUpdateEvent", "key": "execution_status", "value": "finished"}
    late = {
        "kind": "ConversationStateUpdateEvent",
        "key": "full_state",
        "value": {"execution_status": "error"},
    }
    other = {"kind": "ConversationStateUpdateEvent", "key": "title", "value": "finished"}
    statuses = [event and event.status for event in map(parse_event, map(json.dumps, (own, late, other)))]
    assert statuses == ["finished", "error", None]


def test_an_error_event_carries_code_and_detail() -> None:
    event = parse_event(
        json.dumps({"kind": "ConversationErrorEvent", "code": "LLMTimeoutError", "detail": "60 s"})
    )
    assert event is not None
    assert event.error == "LLMTimeoutError: 60 s"


@pytest.mark.parametrize("frame", ["", "nonsense", "[1]", b"\xff\xfe", '{"kind": 3, "value": []}'])
def test_a_malformed_frame_tells_nothing_and_breaks_nothing(frame: str | bytes) -> None:
    event = parse_event(frame)
    assert event is None or (event.status, event.error) == (None, None)


def test_versions_compare_as_numbers() -> None:
    assert parse_version("1.58.0") == (1, 58, 0)
    assert parse_version("1.9") < parse_version("1.29.2")  # type: ignore[operator]
    assert parse_version("unknown") is None
    assert parse_version(None) is None


def test_money_in_a_reply_stays_exact() -> None:
    reply = Reply("GET", "/x", 200, '{"stats": {"cost": 0.0000168}}')
    assert reply.field("stats", "cost") == Decimal("0.0000168")
    assert reply.field("stats", "cost", "deeper") is None
    assert Reply("GET", "/x", 200, "<html>").json() is None
