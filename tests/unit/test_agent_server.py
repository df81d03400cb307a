import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal

import httpx
import pytest

from e2e_matrix.agent_server import MAX_BODY_BYTES, AgentServer, Reply, parse_event, parse_version


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


def test_a_refusal_of_the_models_provider_is_told_in_the_users_name() -> None:
    text = "Your previous response was blocked by the model's content filter."
    message = {"role": "user", "content": [{"type": "text", "text": text}]}
    events = [
        parse_event(json.dumps({"kind": "MessageEvent", "source": source, "llm_message": message}))
        for source in ("user", "agent")
    ]
    assert [event and event.refused for event in events] == [True, False]


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


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@contextmanager
def serving(answer: Callable[[socket.socket], object], timeout: float = 0.5) -> Iterator[AgentServer]:
    """A client of a server that does this with the only connection that it accepts."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        with AgentServer(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=timeout) as server:
            yield server
        thread.join(5)
        assert not thread.is_alive()


def trickle(data: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        for at in range(len(data)):
            connection.sendall(data[at : at + 1])
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize("beginning", [b"", HEAD % 1000], ids=["headers", "body"])
def test_an_answer_that_comes_byte_by_byte_is_cut_off_at_the_request_s_limit(beginning: bytes) -> None:
    rest = HEAD % 1000 if not beginning else b" " * 1000

    def answer(connection: socket.socket) -> None:
        connection.sendall(beginning)
        trickle(rest)(connection)

    with serving(answer) as server:
        begin = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            server.get("/x")
        assert 0.4 < time.monotonic() - begin < 10  # where every byte was waited for: 50


def test_no_request_waits_past_the_moment_that_bounds_them_all() -> None:
    with serving(lambda connection: str(connection.recv(1)), timeout=20) as server:  # silent until it is left
        begin = time.monotonic()
        server.not_after = begin + 0.1
        with pytest.raises(httpx.ReadTimeout):
            server.get("/x")
        with pytest.raises(httpx.TimeoutException):
            server.get("/x")  # nothing is left
        assert time.monotonic() - begin < 10


def test_of_an_answer_that_is_too_large_only_the_beginning_is_kept() -> None:
    size = MAX_BODY_BYTES + (1 << 20)

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD % size + b"[" + b" " * (size - 2) + b"]")

    with serving(answer) as server:
        reply = server.get("/x", timeout=10)
    assert reply.not_json == "more than 8 MB: the rest was not read"
    assert len(reply.text) == 64 * 1024


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"state":"dormant"}', None),
        (b'{"state":"dorm', "not JSON: Unterminated string starting at"),
        (b'{"state":"\xff\xfe"}', "not UTF-8: 'utf-8' codec can't decode byte 0xff in position 10"),
        (b"", "nothing"),
        (b"[" * 100_000, "not JSON: "),
    ],
)
def test_what_is_wrong_with_a_body_is_told(body: bytes, told: str | None) -> None:
    with serving(lambda connection: connection.sendall(HEAD % len(body) + body)) as server:
        wrong = server.get("/x").not_json
    assert wrong == told if told is None else (wrong or "").startswith(told)


def test_json_by_another_name_is_no_json() -> None:
    assert Reply("GET", "/x", 200, "{}", "application/json; charset=utf-8").not_json is None
    assert Reply("GET", "/x", 200, "{}", "text/html").not_json == "JSON, but called text/html"
    assert Reply("GET", "/x", 200, "{}", "").not_json == "JSON, but called nothing"
