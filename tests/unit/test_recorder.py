"""What stands between a container and its model: it passes everything on, and keeps it without secrets."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e_matrix.errors import BadInput, InfrastructureError
from e2e_matrix.llm.recorder import Recorder
from e2e_matrix.llm.recording import RecordedCall, RecordingWriter, read_recording
from e2e_matrix.llm.source import RecordingSource
from e2e_matrix.llm.standin import StandIn
from support.engines import OnThisHost
from support.faulty_llm import Fault, FaultyLlm

KEY = "sk-of-the-provider/with+signs"
ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Reply with just the number 42."}]}


class Provider:
    """Quotes the call it got, or sends two pieces with a gate between them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.gate = threading.Event()
        self.hung_up = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/team/v1"

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            provider.calls.append((self.path, dict(self.headers.items()), body))
            if self.path.endswith("/hang"):
                provider.hung_up.set() if not self.connection.recv(1) else None
                self.close_connection = True
                return
            self.send_response(418)
            self.send_header("X-Quoted", self.headers.get("Authorization", ""))
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.piece(b"data: one\n\n")
            provider.gate.wait(5)
            self.piece(
                f"data: {dict(self.headers.items())} {base64.b64encode(KEY.encode()).decode()}".encode()
            )
            self.piece(b"")

        do_GET = do_POST

        def piece(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def provider() -> Iterator[Provider]:
    with closing(Provider()) as opened:
        yield opened


Record = Callable[[str], Recorder]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    opened: list[Recorder] = []

    def start(base_url: str) -> Recorder:
        opened.append(Recorder("127.0.0.1", base_url, KEY, tmp_path / "calls.jsonl"))
        return opened[-1]

    yield start
    for recorder in opened:
        recorder.close()


def url(recorder: Recorder, path: str = "/chat/completions") -> str:
    return recorder.server.base_url(recorder.base_path) + path


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def lines(folder: Path) -> list[RecordedCall]:
    return [
        RecordedCall.model_validate_json(line) for line in (folder / "calls.jsonl").read_text().splitlines()
    ]


def test_the_providers_key_is_in_no_container_and_in_no_file(
    provider: Provider, record: Record, tmp_path: Path
) -> None:
    provider.gate.set()
    recorder = record(provider.base_url)
    key = recorder.issue_key("python-amd64", "deferred-init", "openai/m")
    recorder.hide(key, "session-secret")
    said = {"said": f"{KEY} session-secret {key}", KEY: [1, None]}
    headers = {**bearer(key), "X-Api-Key": key, "X-Other": "kept"}
    answer = httpx.post(url(recorder, f"/chat?key={key}&a=b"), json=said, headers=headers)
    [(path, got, body)] = provider.calls
    assert (path, got["Authorization"]) == (f"/team/v1/chat?key={KEY}&a=b", f"Bearer {KEY}")
    assert (got["X-Api-Key"], got["X-Other"]) == (KEY, "kept")
    assert json.loads(body)["said"] == said["said"]
    assert answer.status_code == 418
    assert answer.headers["X-Quoted"] == "Bearer [hidden]"
    encoded = base64.b64encode(KEY.encode()).decode()[:-4]
    for text in (answer.text, (tmp_path / "calls.jsonl").read_text()):
        assert "[hidden]" in text
        assert not [
            secret for secret in (KEY, encoded, key[-20:], "sk-of-the") if secret in text.replace(key, "")
        ]
    [line] = lines(tmp_path)
    assert line.request == {"said": "[hidden] [hidden] [hidden]", "[hidden]": [1, None]}
    assert line.path == "/team/v1/chat?key=[hidden]&a=b"
    assert (line.cell, line.scenario, line.model, line.base_path, line.order, line.status) == (
        "python-amd64", "deferred-init", "openai/m", "/team/v1", 1, 418,
    )  # fmt: skip


def test_a_stream_is_passed_on_as_it_comes(provider: Provider, record: Record, tmp_path: Path) -> None:
    recorder = record(provider.base_url)
    key = recorder.issue_key("c", "s", "m")
    with httpx.stream("POST", url(recorder), json=ASK, headers=bearer(key)) as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: one\n\n"
        assert not (tmp_path / "calls.jsonl").read_text()
        provider.gate.set()
        rest = b"".join(pieces)
    assert lines(tmp_path)[0].body == "data: one\n\n" + rest.decode()


@pytest.mark.parametrize(
    ("fault", "status", "kept"),
    [
        (Fault.UNAUTHORIZED, 401, None),
        (Fault.RATE_LIMITED, 429, "7"),
        (Fault.SERVER_ERROR, 500, None),
        (Fault.CUT, 502, None),
    ],
)
def test_what_the_provider_refuses_is_passed_on_and_recorded(
    record: Record, tmp_path: Path, fault: Fault, status: int, kept: str | None
) -> None:
    with FaultyLlm("127.0.0.1", fault, retry_after=7) as llm:
        recorder = record(llm.base_url())
        key = recorder.issue_key("c", "s", "m")
        answer = httpx.post(url(recorder), json=ASK, headers=bearer(key))
    [line] = lines(tmp_path)
    assert (answer.status_code, line.status, line.broken) == (status, status, None)
    assert answer.headers.get("Retry-After") == line.headers.get("retry-after") == kept
    assert answer.text == line.body
    assert [call.status for call in recorder.server.log.calls(key)] == [status]


def test_a_stream_that_breaks_breaks_for_the_caller_too(record: Record, tmp_path: Path) -> None:
    with FaultyLlm("127.0.0.1", Fault.HALF) as llm:
        recorder = record(llm.base_url())
        key = recorder.issue_key("c", "s", "m")
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(url(recorder), json={**ASK, "stream": True}, headers=bearer(key))
    [line] = lines(tmp_path)
    assert (line.status, line.body[:5]) == (200, "data:")
    assert (line.broken or "").startswith("RemoteProtocolError")


def test_the_provider_is_let_go_when_the_caller_is_gone(
    provider: Provider, record: Record, tmp_path: Path
) -> None:
    recorder = record(provider.base_url)
    key = recorder.issue_key("c", "s", "m")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url(recorder, "/hang"), json=ASK, headers=bearer(key), timeout=0.3)
    assert provider.hung_up.wait(5)
    assert [call.status for call in recorder.server.log.calls(key)] == [499]
    [line] = lines(tmp_path)
    assert (line.status, line.broken) == (None, "the caller hung up")


def test_only_paths_below_the_base_url_and_calls_with_a_key_get_out(
    provider: Provider, record: Record
) -> None:
    recorder = record(provider.base_url)
    key = recorder.issue_key("c", "s", "m")
    assert httpx.post(url(recorder), json=ASK, headers=bearer("sk-e2e-" + "x" * 32)).status_code == 401
    assert httpx.post(url(recorder), json=ASK).status_code == 401
    host = ("127.0.0.1", recorder.server.port)
    for path in ("/other", "/team/v1x", "/team/v1/../x", "/team/v1/%2e%2e/x", "http://elsewhere/team/v1/x"):
        with closing(socket.create_connection(host, timeout=5)) as line:
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\nX-Api-Key: {key}\r\n\r\n".encode())
            assert line.recv(100).startswith(b"HTTP/1.1 404 "), path
    assert not provider.calls


def test_calls_of_parallel_cells_are_whole_lines_in_their_cells_order(tmp_path: Path) -> None:
    with StandIn("127.0.0.1") as llm:
        recorder = Recorder("127.0.0.1", llm.base_url(), llm.issue_key("provider"), tmp_path / "calls.jsonl")

        def talk(cell: int) -> None:
            key = recorder.issue_key(f"cell-{cell}", "s", "m")
            for number in range(5):
                ask = {**ASK, "user": f"{number}" + "x" * 20_000, "stream": bool(number % 2)}
                assert httpx.post(url(recorder), json=ask, headers=bearer(key)).status_code == 200

        with closing(recorder), ThreadPoolExecutor(6) as pool:
            list(pool.map(talk, range(6)))
    found = lines(tmp_path)
    assert len(found) == 30
    for cell in range(6):
        calls = [call for call in found if call.cell == f"cell-{cell}"]
        assert [call.order for call in calls] == list(range(1, 6))
        assert [int(call.request["user"][0]) for call in calls] == list(range(5))


def test_an_attempt_gets_the_recorder_for_its_model_wherever_the_provider_is(tmp_path: Path) -> None:
    with StandIn("127.0.0.1") as llm:
        provider_key = llm.issue_key("provider")
        base_url = llm.base_url("host.docker.internal")  # as containers, and only they, may call this host
        source = RecordingSource(
            OnThisHost(), "openai/a, openai/b", base_url, lambda: provider_key, tmp_path / "calls.jsonl"
        )
        with closing(source):
            source.open()
            journal = tmp_path / "journal.jsonl"
            endpoint = source.endpoint("python-amd64", "s", "openai/b", journal)
            assert (endpoint.model, endpoint.is_stand_in, source.describe().kind) == (
                "openai/b",
                False,
                "provider",
            )
            assert provider_key not in (endpoint.api_key or "")
            here = str(endpoint.base_url).replace("host.docker.internal", "127.0.0.1")
            answer = httpx.post(f"{here}/chat/completions", json=ASK, headers=bearer(endpoint.api_key or ""))
            calls = source.ledger(endpoint).calls()
    assert answer.status_code == 200
    assert [call.status for call in calls or ()] == [200]
    assert len(journal.read_text().splitlines()) == 1
    assert lines(tmp_path)[0].model == "openai/b"


def a_call(**changes: Any) -> RecordedCall:
    values: dict[str, Any] = {
        "cell": "c", "scenario": "s", "attempt": "a", "order": 1, "model": "openai/m", "base_path": "/v1",
        "received_at": "2026-01-01T00:00:00Z", "method": "POST", "path": "/v1/chat/completions",
        "request": ASK, "status": 200, "headers": {"content-type": "application/json"}, "body": "{}",
    }  # fmt: skip
    return RecordedCall(**values | changes)


def test_a_line_that_a_crash_cut_is_left_out_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "calls.jsonl"
    for cut in (None, 40):
        with closing(RecordingWriter(path)) as writer:
            writer.add(a_call(cell="cut" if cut else "first"))
        if cut:
            path.write_bytes(path.read_bytes()[:-cut])
    assert read_recording(path).cells == ["first"]
    with closing(RecordingWriter(path)) as writer:
        writer.add(a_call(cell="last"))
    assert read_recording(path).cells == ["first", "last"]


def test_a_file_that_is_no_recording_says_where(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    line = a_call().model_dump_json()
    path.write_text(f'{line}\n{{"a": 1}}\n{line.replace("200", "[]")}\n')
    with pytest.raises(BadInput) as caught:
        read_recording(path)
    assert {problem.line for problem in caught.value.problems} == {2, 3}
    path.write_text("\n")
    with pytest.raises(BadInput, match="holds no recorded call"):
        read_recording(path)


def test_a_disk_that_refuses_is_told_at_the_end() -> None:
    writer = RecordingWriter(Path("/dev/full"))
    writer.add(a_call())
    with pytest.raises(InfrastructureError, match="No space left"):
        writer.close()


def test_a_call_that_ends_after_the_recorder_was_closed_harms_nobody(tmp_path: Path) -> None:
    writer = RecordingWriter(tmp_path / "calls.jsonl")
    writer.close()
    writer.add(a_call())
