"""A registry that misbehaves: each fault has its cause, in bounded time, and gives no secret away."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.registry import (
    ImageRequest,
    Login,
    Logins,
    RegistryClient,
    ResolvedImage,
    parse_reference,
    resolve_all,
)
from support.registry_faults import FaultServer, Reply, digest_of, json_reply

IMAGE_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_DIGEST = "sha256:" + "c" * 64
IMAGE: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": IMAGE_TYPE,
    "config": {"digest": CONFIG_DIGEST, "size": 10},
    "layers": [{"digest": "sha256:" + "d" * 64, "size": 32}],
}
CHILD = digest_of(json.dumps(IMAGE).encode())
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": INDEX_TYPE,
    "manifests": [
        {"digest": CHILD, "size": 1, "platform": {"os": "linux", "architecture": "amd64"}},
    ],
}
GOOD = json_reply(IMAGE, IMAGE_TYPE)
PATH = "/v2/a/manifests/t"
SECRET = "Basic " + base64.b64encode(b"me:word").decode()


class FixedLogins(Logins):
    def __init__(self, login: Login | None) -> None:
        super().__init__()
        self._login = login

    def find(self, registry: str) -> Login | None:
        return self._login


class FakeTime:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float, cancel: threading.Event) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return cancel.is_set()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


def make_client(fake_time: FakeTime, login: Login | None = None, timeout: float = 5.0) -> RegistryClient:
    return RegistryClient(timeout=timeout, logins=FixedLogins(login), clock=fake_time, sleep=fake_time.sleep)


@pytest.fixture
def client(fake_time: FakeTime) -> Iterator[RegistryClient]:
    with make_client(fake_time) as asking:
        yield asking


@pytest.fixture
def known_client(fake_time: FakeTime) -> Iterator[RegistryClient]:
    """With a login for every registry."""
    with make_client(fake_time, Login("me", "word")) as asking:
        yield asking


def failure_of(client: RegistryClient, host: str) -> CellFailure:
    with pytest.raises(CellFailure) as caught:
        client.manifest(parse_reference(f"{host}/a:t"))
    return caught.value


def free_host() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_down(client: RegistryClient, fake_time: FakeTime) -> None:
    host = free_host()
    failure = failure_of(client, host)
    assert failure.cause is Cause.REGISTRY_UNREACHABLE
    assert host in failure.message
    assert "(tried 3 times)" in failure.message
    assert fake_time.waits == [0.5, 1.0]


@pytest.mark.parametrize("reply", [Reply(stall=True), Reply(trickle=0.01)], ids=["stalls", "trickles"])
def test_slow_is_bounded_by_the_timeout(server: FaultServer, fake_time: FakeTime, reply: Reply) -> None:
    server.on(PATH, reply)
    with make_client(fake_time, timeout=0.2) as hasty:
        began = time.monotonic()
        failure = failure_of(hasty, server.host)
        assert time.monotonic() - began < 10
    assert failure.cause is Cause.REGISTRY_UNREACHABLE
    assert "did not answer within 0.2 s (tried 3 times)" in failure.message


def test_waiting_can_be_cancelled(server: FaultServer, client: RegistryClient) -> None:
    server.on(PATH, Reply(stall=True))
    cancel = threading.Event()
    request = ImageRequest(f"{server.host}/a:t", "linux/amd64")
    timer = threading.Timer(0.1, cancel.set)
    timer.start()
    began = time.monotonic()
    found = resolve_all([request], client, cancel)[request]
    assert time.monotonic() - began < 5
    timer.join()
    assert isinstance(found, CellFailure)
    assert found.cause is Cause.INTERRUPTED


def test_a_silent_registry_is_not_waited_for_again(
    server: FaultServer, client: RegistryClient, fake_time: FakeTime
) -> None:
    host = free_host()
    requests = [ImageRequest(f"{host}/a:{number}", "linux/amd64") for number in range(40)]
    server.on(PATH, json_reply(INDEX, INDEX_TYPE))
    server.on(f"/v2/a/manifests/{CHILD}", GOOD)
    requests.append(ImageRequest(f"{server.host}/a:t", "linux/amd64"))
    *silent, last = resolve_all(requests, client).values()
    assert {image.cause for image in silent if isinstance(image, CellFailure)} == {Cause.REGISTRY_UNREACHABLE}
    assert len({id(image) for image in silent}) == len(silent) == 40
    assert isinstance(last, ResolvedImage)
    workers, pauses = 4, 2
    assert len(fake_time.waits) <= workers * pauses


def test_a_tag_is_asked_for_once_for_all_of_its_cells(server: FaultServer, client: RegistryClient) -> None:
    server.on(PATH, json_reply(INDEX, INDEX_TYPE))
    server.on(f"/v2/a/manifests/{CHILD}", GOOD)
    text = f"{server.host}/a:t"
    requests = [ImageRequest(text, platform) for platform in ("linux/amd64", "linux/x86_64", "linux/arm64")]
    found = resolve_all(requests, client)
    assert len(server.asked(PATH)) == len(server.asked(f"/v2/a/manifests/{CHILD}")) == 1
    first = found[requests[0]]
    assert isinstance(first, ResolvedImage)
    assert first.size_bytes == 42


def test_without_a_login_a_private_image_is_denied(server: FaultServer, client: RegistryClient) -> None:
    server.on(PATH, Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'}))
    failure = failure_of(client, server.host)
    assert failure.cause is Cause.REGISTRY_DENIED
    assert f"`docker login {server.host}`" in failure.message


def test_basic_login(server: FaultServer, known_client: RegistryClient) -> None:
    server.on(PATH, Reply(401, headers={"WWW-Authenticate": 'Basic realm="x"'}), GOOD)
    known_client.manifest(parse_reference(f"{server.host}/a:t"))
    assert [seen.headers["Authorization"] for seen in server.asked(PATH)] == [None, SECRET]


def bearer(realm: str) -> Reply:
    challenge = f'Bearer realm="{realm}",service="s",scope="repository:a:pull"'
    return Reply(401, headers={"WWW-Authenticate": challenge})


def test_one_token_serves_a_repository_until_it_expires(
    server: FaultServer, known_client: RegistryClient
) -> None:
    server.on(
        "/token", json_reply({"token": "one"}, "application/json"), json_reply({"access_token": "two"}, "x/y")
    )
    refusal = bearer(f"{server.url}/token")
    server.on(PATH, refusal, GOOD, GOOD, refusal, GOOD)
    for _ in range(3):
        known_client.manifest(parse_reference(f"{server.host}/a:t"))
    sent = [seen.headers["Authorization"] for seen in server.asked(PATH)]
    assert sent == [None, "Bearer one", "Bearer one", "Bearer one", "Bearer two"]
    first, _ = server.asked("/token")
    assert first.path == "/token?scope=repository%3Aa%3Apull&service=s"
    assert first.headers["Authorization"] == SECRET


def test_cells_that_start_together_fetch_one_token(server: FaultServer, client: RegistryClient) -> None:
    # The first four requests, one per worker, are all refused.
    server.on("/token", json_reply({"token": "one"}, "application/json"))
    tags = ["t1", "t2", "t3", "t4"]
    for tag in tags:
        server.on(f"/v2/a/manifests/{tag}", bearer(f"{server.url}/token"), json_reply(INDEX, INDEX_TYPE))
    server.on(f"/v2/a/manifests/{CHILD}", GOOD)
    found = resolve_all([ImageRequest(f"{server.host}/a:{tag}", "linux/amd64") for tag in tags], client)
    assert all(isinstance(image, ResolvedImage) for image in found.values()), found
    assert len(server.asked("/token")) == 1


def test_an_identity_token_is_exchanged(server: FaultServer, fake_time: FakeTime) -> None:
    server.on("/token", json_reply({"access_token": "one"}, "application/json"))
    server.on(PATH, bearer(f"{server.url}/token"), GOOD)
    with make_client(fake_time, Login(identity_token="refresh")) as client:
        client.manifest(parse_reference(f"{server.host}/a:t"))
    (seen,) = server.asked("/token")
    assert seen.method == "POST"
    assert b"grant_type=refresh_token&refresh_token=refresh" in seen.body


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_is_a_denial(server: FaultServer, known_client: RegistryClient, status: int) -> None:
    server.on("/token", Reply(status, b'{"details": "incorrect username or password"}'))
    server.on(PATH, bearer(f"{server.url}/token"))
    failure = failure_of(known_client, server.host)
    assert failure.cause is Cause.REGISTRY_DENIED
    assert "incorrect username" in (failure.detail or "")


@pytest.mark.parametrize(
    "reply", [Reply(200, b"<html>"), Reply(200, b'{"token": "a\\r\\nb"}'), Reply(200, b"[]"), Reply(404)]
)
def test_a_token_server_without_a_token_is_broken(
    server: FaultServer, client: RegistryClient, reply: Reply
) -> None:
    server.on("/token", reply)
    server.on(PATH, bearer(f"{server.url}/token"))
    assert failure_of(client, server.host).cause is Cause.REGISTRY_BROKEN


@pytest.mark.parametrize("realm", ["http://tokens.example/token", "", "ftp://127.0.0.1/x", "::", "/token"])
def test_a_login_is_never_sent_in_clear_over_a_network(
    server: FaultServer, known_client: RegistryClient, realm: str
) -> None:
    server.on(PATH, bearer(realm))
    failure = failure_of(known_client, server.host)
    assert failure.cause is Cause.REGISTRY_BROKEN
    assert "token server that cannot be used" in failure.message


@pytest.mark.parametrize("status", [401, 403])
def test_refused_after_login(server: FaultServer, known_client: RegistryClient, status: int) -> None:
    server.on(PATH, Reply(401, headers={"WWW-Authenticate": "Basic"}), Reply(status))
    assert failure_of(known_client, server.host).cause is Cause.REGISTRY_DENIED
    assert len(server.seen) == 2


def test_missing_is_a_finding_unless_no_registry_says_so(server: FaultServer, client: RegistryClient) -> None:
    gone = Reply(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', {"Content-Type": "application/json"})
    server.on(PATH, gone, Reply(404, b"<html>", {"Content-Type": "text/html; charset=utf-8"}))
    assert failure_of(client, server.host).cause is Cause.TAG_MISSING
    assert failure_of(client, server.host).cause is Cause.REGISTRY_BROKEN


def test_retry_after_is_honoured(server: FaultServer, client: RegistryClient, fake_time: FakeTime) -> None:
    server.on(PATH, Reply(429, headers={"Retry-After": "7"}), Reply(500), GOOD)
    client.manifest(parse_reference(f"{server.host}/a:t"))
    assert fake_time.waits == [7.0, 1.0]


@pytest.mark.parametrize("when", ["3600", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_a_long_retry_after_is_not_waited_for(
    server: FaultServer, client: RegistryClient, fake_time: FakeTime, when: str
) -> None:
    server.on(PATH, Reply(429, headers={"Retry-After": when}))
    failure = failure_of(client, server.host)
    assert failure.cause is Cause.REGISTRY_BUSY
    assert failure.retry_after is not None
    assert failure.retry_after >= 3600
    assert "too many requests (429)" in failure.message
    assert "asks to come back in" in failure.message
    assert fake_time.waits == []


def test_a_server_error_that_stays(server: FaultServer, client: RegistryClient) -> None:
    server.on(PATH, Reply(503, b"down\x1b[31m for repair", {"Retry-After": "nonsense"}))
    failure = failure_of(client, server.host)
    assert failure.cause is Cause.REGISTRY_UNREACHABLE
    assert "answered 503 (tried 3 times)" in failure.message
    assert failure.detail == "down [31m for repair"
    assert len(server.seen) == 3


def test_truncated_is_tried_again(server: FaultServer, client: RegistryClient) -> None:
    short = Reply(200, GOOD.body[:20], GOOD.headers, declared_length=len(GOOD.body))
    server.on(PATH, short, GOOD)
    assert client.manifest(parse_reference(f"{server.host}/a:t")).digest == CHILD
    server.on(PATH, short)
    failure = failure_of(client, server.host)
    assert failure.cause is Cause.REGISTRY_BROKEN
    assert "broke off" in failure.message


UNUSABLE = {
    "content type": (Reply(200, GOOD.body, {"Content-Type": "text/html"}), "the content type is text/html"),
    "no content type": (Reply(200, GOOD.body), "the content type is missing"),
    "schema 1": (
        Reply(200, b"{}", {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}),
        "the content type is",
    ),
    "two types": (Reply(200, GOOD.body, {"Content-Type": INDEX_TYPE}), "manifests: Field required"),
    "another type": (json_reply(INDEX | {"mediaType": IMAGE_TYPE}, INDEX_TYPE), "calls itself"),
    "not json": (Reply(200, GOOD.body[:30], GOOD.headers), "Invalid JSON"),
    "deep json": (Reply(200, b"[" * 100_000, GOOD.headers), "Invalid JSON"),
    "schema": (json_reply(IMAGE | {"layers": [{"size": -1}]}, IMAGE_TYPE), "layers.0.digest"),
    "size": (json_reply(IMAGE | {"layers": [{"digest": CHILD, "size": -1}]}, IMAGE_TYPE), "layers.0.size"),
    "other digest": (
        json_reply(IMAGE, IMAGE_TYPE, **{"Docker-Content-Digest": CONFIG_DIGEST}),
        "its digest is",
    ),
    "no digest": (json_reply(IMAGE, IMAGE_TYPE, **{"Docker-Content-Digest": "md5:1"}), "a digest"),
    "huge": (Reply(200, b" " * (4 * 1024 * 1024 + 1), GOOD.headers), "more than the 4 MiB"),
    "compressed": (Reply(200, b"x", {**GOOD.headers, "Content-Encoding": "gzip"}), "compressed"),
    "teapot": (Reply(418), "answered 418"),
    "redirect nowhere": (Reply(302, headers={"Location": "ftp://x/"}), "ftp"),
    "redirect loop": (Reply(302, headers={"Location": PATH}), "redirect"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_used_is_not_tried_again(
    server: FaultServer, client: RegistryClient, name: str
) -> None:
    reply, why = UNUSABLE[name]
    server.on(PATH, reply)
    failure = failure_of(client, server.host)
    assert failure.cause is Cause.REGISTRY_BROKEN
    assert why.lower() in failure.message.lower()
    assert "tried" not in failure.message


def test_another_document_than_the_digest_asked_for(server: FaultServer, client: RegistryClient) -> None:
    server.on(PATH, json_reply(INDEX, INDEX_TYPE))
    server.on(f"/v2/a/manifests/{CHILD}", json_reply(IMAGE | {"layers": []}, IMAGE_TYPE))
    request = ImageRequest(f"{server.host}/a:t", "linux/amd64")
    found = resolve_all([request], client)[request]
    assert isinstance(found, CellFailure)
    assert found.cause is Cause.REGISTRY_BROKEN
    assert CHILD in found.message


def test_a_digest_header_may_be_missing(server: FaultServer, client: RegistryClient) -> None:
    server.on(PATH, GOOD)
    reference = parse_reference(f"{server.host}/a:t")
    assert client.digest(reference) == CHILD
    assert [seen.method for seen in server.seen] == ["HEAD", "GET"]


def test_a_redirect_to_another_host_carries_no_login(
    server: FaultServer, known_client: RegistryClient
) -> None:
    with FaultServer("127.0.0.2") as other:
        other.on("/elsewhere", GOOD)
        moved = Reply(307, headers={"Location": f"{other.url}/elsewhere"})
        server.on(PATH, Reply(401, headers={"WWW-Authenticate": "Basic"}), moved)
        known_client.manifest(parse_reference(f"{server.host}/a:t"))
        assert server.asked(PATH)[1].headers["Authorization"] == SECRET
        assert [seen.headers["Authorization"] for seen in other.seen] == [None]


def test_the_challenge_of_another_host_is_not_answered(
    server: FaultServer, known_client: RegistryClient
) -> None:
    with FaultServer("127.0.0.2") as other:
        other.on("/token", json_reply({"token": "x"}, "application/json"))
        other.on("/elsewhere", bearer(f"{other.url}/token"))
        server.on(PATH, Reply(307, headers={"Location": f"{other.url}/elsewhere"}))
        assert failure_of(known_client, server.host).cause is Cause.REGISTRY_BROKEN
        assert other.asked("/token") == []


def test_an_identity_token_follows_no_redirect(server: FaultServer, fake_time: FakeTime) -> None:
    with FaultServer("127.0.0.2") as other, make_client(fake_time, Login(identity_token="refresh")) as client:
        server.on("/token", Reply(307, headers={"Location": f"{other.url}/steal"}))
        server.on(PATH, bearer(f"{server.url}/token"))
        assert failure_of(client, server.host).cause is Cause.REGISTRY_BROKEN
        assert other.seen == []


def test_a_ping_tells_a_registry_from_another_server(server: FaultServer, client: RegistryClient) -> None:
    server.on("/v2/", Reply(401), Reply(404))
    client.ping(server.host)
    with pytest.raises(CellFailure, match="may be no registry"):
        client.ping(server.host)


def test_loopback_goes_around_the_proxy(
    server: FaultServer, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{free_host()}")
    server.on(PATH, GOOD)
    assert client.manifest(parse_reference(f"{server.host}/a:t")).digest == CHILD


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed, for 127.0.0.2, with its key in the same file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256"
    names = "-subj /CN=test -addext subjectAltName=IP:127.0.0.2"
    subprocess.run(
        [*f"{command} {names}".split(), "-keyout", file, "-out", file], check=True, capture_output=True
    )
    return file


def test_an_unknown_certificate_is_refused_at_once(
    server: FaultServer, known_client: RegistryClient, certificate: Path
) -> None:
    with FaultServer("127.0.0.2", certificate) as other:
        server.on(PATH, bearer(f"{other.url}/token"))
        failure = failure_of(known_client, server.host)
        assert other.seen == []
    assert failure.cause is Cause.REGISTRY_UNREACHABLE
    assert "certificate" in failure.message
    assert "tried" not in failure.message


def test_a_redirect_may_not_leave_tls(
    server: FaultServer, fake_time: FakeTime, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with (
        FaultServer("127.0.0.2", certificate) as other,
        make_client(fake_time, Login("me", "word")) as client,
    ):
        other.on("/token", Reply(302, headers={"Location": f"{server.url}/clear"}))
        server.on("/clear", json_reply({"token": "x"}, "application/json"))
        server.on(PATH, bearer(f"{other.url}/token"))
        failure = failure_of(client, server.host)
        assert other.seen[0].headers["Authorization"] == SECRET
        assert [seen.headers["Authorization"] for seen in server.asked("/clear")] == [None]
    assert failure.cause is Cause.REGISTRY_BROKEN
    assert "without TLS" in failure.message
