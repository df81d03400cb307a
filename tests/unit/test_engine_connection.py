"""Finding an engine, and what is said when there is none."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.engine.docker_connection import Clients, Endpoint, find, negotiate
from e2e_matrix.errors import CellFailure, EngineUnavailable

Answering = Callable[[bytes], str]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """``answering(body)`` is the address of a server that answers every GET with it."""
    servers: list[tuple[HTTPServer, threading.Thread]] = []

    def serve(body: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"tcp://127.0.0.1:{server.server_port}"

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def _unavailable(address: str) -> str:
    with pytest.raises(EngineUnavailable) as caught:
        DockerEngine.connect(address)
    assert caught.value.fix
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_no_socket(tmp_path: Path) -> None:
    said = _unavailable(f"unix://{tmp_path}/none.sock")
    assert f"{tmp_path}/none.sock does not exist" in said
    assert "Install Docker" in said


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", connect)  # root may connect to anything
    said = _unavailable(f"unix://{tmp_path}/closed.sock")
    assert "permission denied" in said
    assert "usermod -aG docker" in said


def test_a_socket_that_nothing_listens_on(tmp_path: Path) -> None:
    path = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    said = _unavailable(f"unix://{path}")
    assert "nothing listens" in said
    assert "systemctl start docker" in said


def test_a_port_that_nothing_listens_on() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        said = _unavailable(f"tcp://127.0.0.1:{reserved.getsockname()[1]}")
    assert "nothing listens" in said
    assert "DOCKER_HOST" in said


def test_a_silent_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2e_matrix.engine.docker_connection.CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "did not answer" in _unavailable(f"tcp://127.0.0.1:{silent.getsockname()[1]}")


def test_an_engine_that_is_too_old(answering: Answering) -> None:
    said = _unavailable(answering(b'{"ApiVersion": "1.39", "MinAPIVersion": "1.12"}'))
    assert "too old" in said
    assert "1.39" in said
    assert "1.40" in said
    assert "19.03" in said


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"{}"])
def test_something_that_is_no_engine(answering: Answering, body: bytes) -> None:
    assert "not a container engine" in _unavailable(answering(body))


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [("1.40", "1.12", "1.40"), ("1.43", "1.12", "1.43"), ("1.99", "1.24", "1.45"), ("1.99", "1.90", "1.90")],
)
def test_the_version_that_both_speak(answering: Answering, newest: str, oldest: str, spoken: str) -> None:
    body = json.dumps({"ApiVersion": newest, "MinAPIVersion": oldest}).encode()
    assert negotiate(Endpoint(answering(body))) == spoken


@pytest.mark.parametrize("address", ["http+nonsense://x", "tcp://", "tcp://host-without-port", "fd://"])
def test_an_address_that_is_none(address: str) -> None:
    said = _unavailable(address)
    assert address in said
    assert "DOCKER_HOST" in said


def test_ssh_without_its_library() -> None:
    assert "docker[ssh]" in _unavailable("ssh://somebody@nowhere.invalid")


def _context(folder: Path, name: str, host: str) -> None:
    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(
        json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}})
    )


def test_where_an_engine_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert find(environment={}).address == "unix:///var/run/docker.sock"

    _context(tmp_path, "current", "tcp://current:1")
    _context(tmp_path, "other", "tcp://other:1")
    (tmp_path / "config.json").write_text('{"currentContext": "current"}')
    assert find(environment={}).address == "tcp://current:1"
    assert find(environment={"DOCKER_CONTEXT": "other"}).address == "tcp://other:1"
    environment = {"DOCKER_HOST": "tcp://host:1", "DOCKER_CONTEXT": "other"}
    assert find(environment=environment).address == "tcp://host:1"
    assert find("unix:///x.sock", environment).address == "unix:///x.sock"


def test_a_context_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(EngineUnavailable, match="'gone' does not exist") as caught:
        find(environment={"DOCKER_CONTEXT": "gone"})
    assert "docker context ls" in caught.value.fix


def test_certificates_that_are_missing(tmp_path: Path) -> None:
    environment = {
        "DOCKER_HOST": "tcp://host:1",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(tmp_path),
    }
    with pytest.raises(EngineUnavailable, match="DOCKER_CERT_PATH"):
        find(environment=environment)


def test_clients_are_lent_to_one_borrower_at_a_time(tmp_path: Path) -> None:
    with closing(Clients(Endpoint(f"unix://{tmp_path}/x.sock"), "1.41")) as clients:
        with clients.borrow("one", timeout=5) as first, clients.borrow("two") as second:
            assert first is not second
            assert first.timeout == 5
        with clients.borrow("three") as again:
            assert again in (first, second)
            assert again.timeout == 60
    with pytest.raises(CellFailure, match="closed"):
        clients.take(1)
