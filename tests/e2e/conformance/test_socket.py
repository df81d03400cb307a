"""What the events socket tells, and to whom."""

from __future__ import annotations

import json
import time

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from e2e_matrix.agent_server import SESSION_HEADER, parse_event
from support.conformance import PATH, SESSION_KEY, Ready, Talk, auth, listen

pytestmark = pytest.mark.timeout(120)


def test_the_socket_tells_a_conversation_from_the_full_state_to_the_end(talk: Talk) -> None:
    [at] = [number for number, event in enumerate(talk.live) if event.get("key") == "full_state"]
    # Seen on a loaded machine: a change comes first that comes while the real server makes up the full state.
    assert {event.get("key") for event in talk.live[:at]} <= {"stats"}
    full, rest = talk.live[at], talk.live[at + 1 :]
    assert full["kind"] == "ConversationStateUpdateEvent"
    assert full["value"]["id"] == talk.id
    assert full["value"]["execution_status"] in ("idle", "running", "finished")
    told = [event["value"] for event in rest if event.get("key") == "execution_status"]
    assert told == ["running", "finished"]
    assert [event["kind"] for event in rest][:2] == ["SystemPromptEvent", "MessageEvent"]
    assert {event["source"] for event in rest} == {"agent", "user", "environment"}
    assert all(event["id"] and event["timestamp"] for event in talk.live)
    parsed = parse_event(json.dumps(talk.live[-1]))
    assert parsed is not None
    assert parsed.status == "finished"


def test_a_late_subscriber_learns_the_end_from_the_full_state(ready: Ready, talk: Talk) -> None:
    frames, code = listen(ready.server, talk.id, auth(), query="", patience=1)
    assert code is None
    [full] = frames
    assert (full["key"], full["value"]["execution_status"]) == ("full_state", "finished")
    assert talk.key not in json.dumps(full)


def test_the_state_that_the_socket_tells_is_the_one_that_rest_tells(ready: Ready, talk: Talk) -> None:
    frames, _ = listen(ready.server, talk.id, auth())
    full = frames[0]["value"]
    info = json.loads(talk.done.text)
    assert full["execution_status"] == info["execution_status"] == "finished"
    [told], [asked] = (one["stats"]["usage_to_metrics"].values() for one in (full, info))
    assert told["accumulated_cost"] == asked["accumulated_cost"] > 0


def test_the_events_over_rest_are_those_of_the_socket(ready: Ready, talk: Talk) -> None:
    where = f"{PATH}/{talk.id}/events"
    end = time.monotonic() + 10
    while True:  # the last event of a conversation may come after its end was told
        frames, _ = listen(ready.server, talk.id, auth())
        page = ready.server.get(f"{where}/search?limit=50").json()
        if len(page["items"]) == len(frames) - 1 or time.monotonic() > end:
            break
    assert [item["id"] for item in page["items"]] == [frame["id"] for frame in frames[1:]]
    assert page["next_page_id"] is None
    assert ready.server.get(f"{where}/count").json() == len(page["items"])
    newest = ready.server.get(f"{where}/search?limit=50&sort_order=TIMESTAMP_DESC").json()
    assert newest["items"] == page["items"][::-1]
    two = ready.server.get(f"{where}/search?limit=2").json()
    assert two["items"] == page["items"][:2]
    rest = ready.server.get(f"{where}/search?limit=50&page_id={two['next_page_id']}").json()
    assert rest["items"] == page["items"][2:]
    for limit in (0, 101, "many"):
        assert ready.server.get(f"{where}/search?limit={limit}").status == 422


@pytest.mark.parametrize(
    "first",
    [auth("wrong"), auth(""), "no JSON", "[]", '{"type": "auth"}', '{"session_api_key": "a-session-key"}'],
)
def test_a_first_frame_without_the_key_closes_the_socket(ready: Ready, talk: Talk, first: str) -> None:
    assert listen(ready.server, talk.id, first) == ([], 4001)


def test_a_socket_whose_first_frame_does_not_come_is_closed_after_ten_seconds(
    ready: Ready, talk: Talk
) -> None:
    begin = time.monotonic()
    assert listen(ready.server, talk.id, None, patience=20) == ([], 4001)
    assert 9 < time.monotonic() - begin < 13


def test_the_key_may_also_come_with_the_handshake(ready: Ready, talk: Talk) -> None:
    by_query = f"?resend_mode=all&session_api_key={SESSION_KEY}"
    for frames, code in (
        listen(ready.server, talk.id, None, headers={SESSION_HEADER: SESSION_KEY}),
        listen(ready.server, talk.id, None, query=by_query),
        listen(ready.server, talk.id, auth(), query=by_query),
    ):
        assert (frames[0]["key"], frames[-1]["value"], code) == ("full_state", "finished", None)
    for wrong in ({SESSION_HEADER: "wrong"}, {SESSION_HEADER: ""}):
        with pytest.raises(InvalidStatus) as refused:
            listen(ready.server, talk.id, auth(), headers=wrong)
        assert refused.value.response.status_code == 403


def test_a_key_that_comes_once_more_changes_nothing_and_nonsense_is_answered(
    ready: Ready, talk: Talk
) -> None:
    url = ready.server.base_url.replace("http", "ws", 1) + f"/sockets/events/{talk.id}"
    with connect(url, proxy=None, max_size=None) as socket:
        socket.send(auth())
        assert json.loads(socket.recv(timeout=5))["key"] == "full_state"
        socket.send(auth())
        socket.send("{}")
        answer = json.loads(socket.recv(timeout=5))
        assert (answer["kind"], answer["source"]) == ("ServerErrorEvent", "environment")
        assert answer["code"]
        socket.ping().wait(5)
