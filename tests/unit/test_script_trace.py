"""What a script's requests say about where its time went."""

from e2e_matrix.redaction import Secrets
from e2e_matrix.script.broker import Call
from e2e_matrix.script.trace import Trace

CONVERSATION = "/api/conversations/0772d7c0-97eb-4305-9113-775047677f85"


def a_call(method: str, path: str, at: float, status: int | None = 200, took: float = 0.1) -> Call:
    return Call(
        method=method,
        path=path,
        status=status,
        started=at,
        ended=at + took,
        base_url="http://127.0.0.1:1",
        session_key=None,
        conversation=None,
        execution_status=None,
    )


def test_the_phases_are_seen_in_the_requests() -> None:
    trace = Trace(100.0, str)
    for call in (
        a_call("GET", "/health", 101),
        a_call("POST", "/api/init", 102, status=401),
        a_call("POST", "/api/init", 103, took=0.25),
        a_call("POST", "/api/conversations", 104, status=201),
        a_call("POST", "/api/conversations", 109, status=201),
    ):
        trace.add(call)
    assert trace.first_request_seconds == 1.0
    assert trace.init_seconds == 0.25
    assert trace.conversation_at == 104
    assert [(call.path, call.status, call.start_seconds) for call in trace.calls()][1] == (
        "/api/init",
        401,
        2.0,
    )


def test_questions_after_the_end_are_counted_and_nothing_else_is() -> None:
    trace = Trace(0.0, str)
    for second in range(10):
        trace.add(a_call("GET", CONVERSATION, second + 0.5))
    trace.add(a_call("GET", f"{CONVERSATION}/events/search", 9))
    trace.add(a_call("POST", f"{CONVERSATION}/events", 9))
    trace.add(a_call("GET", "/api/conversations/search", 9))
    assert trace.questions_after(4.0) == 6
    assert trace.questions_after(100.0) == 0


def test_of_many_requests_the_first_and_the_last_are_kept_and_all_are_counted() -> None:
    trace = Trace(0.0, str)
    for second in range(1000):
        trace.add(a_call("GET", f"/{second}", second))
    paths = [call.path for call in trace.calls()]
    assert trace.total == 1000
    assert paths == [f"/{n}" for n in [*range(100), *range(900, 1000)]]


def test_a_secret_in_a_path_is_hidden_also_where_it_is_learned_later() -> None:
    secrets = Secrets()
    trace = Trace(0.0, secrets.redact)
    trace.add(a_call("GET", f"/{'x' * 190}/s3cret-key-of-the-session", 1))
    secrets.add("s3cret-key-of-the-session")
    [call] = trace.calls()
    assert "s3cret" not in call.path
