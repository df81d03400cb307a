"""A registry that says back what it was sent: nothing of it may be told on."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.registry import RegistryClient
from e2e_matrix.registry.reference import parse_reference
from e2e_matrix.registry.transport import NoAnswer

PASSWORD, IDENTITY, TOKEN = "open+sesame/42", "identity-token-42", "bearer-token-0123456789"


class Echo(BaseHTTPRequestHandler):
    """401 with a challenge, and then a refusal that quotes the request."""

    refusing_tokens = False
    padding = 0

    def do_GET(self) -> None:
        sent = self.headers.get("Authorization", "")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.path.startswith("/token") and not self.refusing_tokens:
            self._answer(200, json.dumps({"token": TOKEN}))
        elif self.path.startswith("/token") or sent:
            plain = base64.b64decode(sent.removeprefix("Basic ")).decode() if "Basic" in sent else ""
            self._answer(403, f"{'.' * self.padding}you sent {sent} {plain} {body}, from /x?Signature=abcdef")
        else:
            realm = f'Bearer realm="http://{self.headers["Host"]}/token",service="echo"'
            self._answer(401, "{}", {"WWW-Authenticate": realm})

    do_POST = do_GET

    def _answer(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(text.encode()))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Echoing", (Echo,), {})) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def refusal(server: ThreadingHTTPServer, folder: Path, login: dict[str, str], **faults: object) -> str:
    """Everything that is told of a refused request."""
    for name, value in faults.items():
        setattr(server.RequestHandlerClass, name, value)
    host = f"127.0.0.1:{server.server_address[1]}"
    (folder / "config.json").write_text(json.dumps({"auths": {host: login}}))
    with RegistryClient(retries=0) as client, pytest.raises(CellFailure) as caught:
        client.manifest(parse_reference(f"{host}/some/image:tag"))
    assert caught.value.cause is Cause.REGISTRY_DENIED
    assert "you sent" in (caught.value.detail or "") or faults.get("padding")
    return f"{caught.value} {caught.value.message} {caught.value.detail}"


@pytest.mark.parametrize("padding", [0, *range(440, 500, 7)])
@pytest.mark.parametrize("refusing_tokens", [True, False])
def test_a_login_and_its_token_are_not_told_on(
    registry: ThreadingHTTPServer, tmp_path: Path, padding: int, refusing_tokens: bool
) -> None:
    auth = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    told = refusal(registry, tmp_path, {"auth": auth}, padding=padding, refusing_tokens=refusing_tokens)
    # Not even a part of one, where the excerpt ends in the middle of it.
    for secret in (PASSWORD, TOKEN, auth):
        for at in range(len(secret) - 5):
            assert secret[at : at + 6] not in told


def test_an_identity_token_is_not_told_on(registry: ThreadingHTTPServer, tmp_path: Path) -> None:
    told = refusal(registry, tmp_path, {"auth": "", "identitytoken": IDENTITY}, refusing_tokens=True)
    assert "refresh_token" in told
    assert IDENTITY not in told


def test_a_registry_that_is_silent_stays_told_apart() -> None:
    with RegistryClient(retries=0, timeout=1) as client, pytest.raises(NoAnswer):
        client.manifest(parse_reference("127.0.0.1:1/some/image:tag"))
