"""The recorder: between the containers and a model's provider, and writes down what they say to each other.

Containers get a key of ours for each attempt; the provider's takes its place on the way out, and is taken out
of what comes back: it is in no container.
"""

from __future__ import annotations

import secrets
import selectors
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx

from e2e_matrix.llm.local_http import (
    CallerGone,
    LocalServer,
    Reply,
    Request,
    error_body,
)
from e2e_matrix.llm.recording import (
    RecordedCall,
    RecordingWriter,
    request_of,
    text_or_base64,
    without_secrets,
)
from e2e_matrix.llm.usage import Usage, usage_of
from e2e_matrix.redaction import Secrets, SecretStream, secrets_in_url
from e2e_matrix.text import one_line

# RFC 9110, section 7.6.1, and what the two sides have to say anew.
_OF_ONE_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te"}
    | {"trailer", "transfer-encoding", "upgrade", "host", "content-length", "accept-encoding", "expect"}
)
# httpx decodes these; with another the body is passed on as it is.
_DECODED = frozenset({"", "identity", "gzip", "deflate"})
# What a client acts upon: the openai client, litellm and the SDK read no others to decide on a retry.
_KEPT_HEADERS = frozenset(
    {"content-type", "content-encoding", "retry-after", "retry-after-ms", "x-should-retry", "location"}
)
# The caller's own limit comes first: the server's default is 300 s.
_PATIENCE = httpx.Timeout(900.0, connect=30.0)
MAX_KEPT_BYTES = 64 << 20
# A client that has read this has what it wants, and may hang up.
_LAST_EVENT = b"data: [DONE]\n\n"


@dataclass
class RecordedAttempt:
    """Whose calls a key marks."""

    cell: str
    scenario: str
    model: str
    secrets: Secrets
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    order: Iterator[int] = field(default_factory=lambda: count(1))


class Recorder:
    """Listens on ``host``, forwards to ``provider`` (a base URL) and adds every call to ``path``.

    Raises InfrastructureError where it cannot listen or write.
    """

    def __init__(self, host: str, provider: str, api_key: str, path: Path) -> None:
        self._provider = httpx.URL(provider)
        self.base_path = self._provider.path.rstrip("/")
        self._api_key = api_key
        self._secrets = [api_key, *secrets_in_url(provider)]
        self._tls = httpx.create_ssl_context()  # once: reading the certificates takes 15 ms
        self._attempts: dict[str, RecordedAttempt] = {}
        self._writer = RecordingWriter(path)
        try:
            self.server = LocalServer(host, "the recorder of the model's calls", self._answer)
        except BaseException:
            self._writer.close()
            raise

    def issue_key(self, cell: str, scenario: str, model: str, journal: Path | None = None) -> str:
        """A new random API key for one attempt; the calls that carry it are recorded as the attempt's."""
        key = self.server.log.issue_key(journal)
        self._attempts[key] = RecordedAttempt(cell, scenario, model, Secrets([key, *self._secrets]))
        return key

    def hide(self, key: str, *values: str) -> None:
        """Keep these out of what is recorded of the attempt from now on."""
        self._attempts[key].secrets.add(*values)

    def close(self) -> None:
        """Stop listening, and let go of the file. Raises InfrastructureError where calls were not kept."""
        self.server.stop()
        self._writer.close()

    def _answer(self, request: Request, reply: Reply) -> Usage:
        attempt = self._attempts[request.key]
        order = next(attempt.order)
        answer = _Answer()
        try:
            self._forward(request, reply, answer)
        except CallerGone:
            if not answer.body.endswith(_LAST_EVENT):
                answer.broken = "the caller hung up"
            raise
        finally:
            # Before the caller has the end: who has the whole answer may rely on its line.
            self._writer.add(self._line(attempt, order, request, answer))
        if answer.broken:
            reply.hang_up()
        else:
            reply.finish()
        return usage_of(bytes(answer.body)) if answer.status == 200 else Usage()

    def _forward(self, request: Request, reply: Reply, answer: _Answer) -> None:
        url = self._url(request)
        if url is None:
            answer.refuse(
                reply, 404, f"Only paths below {self.base_path or '/'} are recorded.", "unknown_url"
            )
            return
        with _Line(self._tls, reply.connection) as line:
            try:
                response = line.send(request.method, url, self._headers(request), request.body)
                with closing(response):
                    self._pass_back(response, reply, answer)
            except httpx.HTTPError as error:
                if line.caller_is_gone:
                    raise CallerGone from error
                reason = Secrets(self._secrets).redact(f"{type(error).__name__}: {one_line(str(error), 200)}")
                if answer.status is not None:
                    answer.broken = reason
                elif isinstance(error, httpx.TimeoutException):
                    answer.refuse(reply, 504, f"The provider did not answer: {reason}", "provider_timeout")
                else:
                    answer.refuse(reply, 502, f"The provider cannot be reached: {reason}", "provider_lost")

    def _pass_back(self, response: httpx.Response, reply: Reply, answer: _Answer) -> None:
        decoded = response.headers.get("content-encoding", "").lower() in _DECODED
        left_out = _OF_ONE_HOP | {"content-encoding" if decoded else ""}
        secrets = Secrets(self._secrets)
        headers = [
            (name, secrets.redact(value))
            for name, value in response.headers.multi_items()
            if name.lower() not in left_out
        ]
        answer.begin(response.status_code, headers)
        reply.start(response.status_code, headers)
        # A provider that quotes the key would hand it to the container.
        clean = SecretStream(secrets)
        for piece in response.iter_bytes() if decoded else response.iter_raw():
            answer.keep(passed := clean.feed(piece))
            reply.send(passed)
        answer.keep(passed := clean.finish())
        reply.send(passed)

    def _url(self, request: Request) -> httpx.URL | None:
        """Where the call goes: to the path it names, below the provider's base URL and nowhere else."""
        path, _, query = request.target.partition("?")
        parts = unquote(path).split("/")
        below = f"{self.base_path}/"
        if not f"{path}/".startswith(below) or "." in parts or ".." in parts or not path.startswith("/"):
            return None
        own = self._provider.query.decode()
        query = "&".join(part for part in (own, query.replace(request.key, self._api_key)) if part)
        try:
            return self._provider.copy_with(raw_path=f"{path}{'?' if query else ''}{query}".encode("ascii"))
        except (UnicodeEncodeError, httpx.InvalidURL):
            return None

    def _headers(self, request: Request) -> list[tuple[bytes, bytes]]:
        named = [value for name, value in request.headers if name.lower() == "connection"]
        of_one_hop = {name.strip().lower() for name in ",".join(named).split(",")} | _OF_ONE_HOP
        return [
            *(
                (name.encode("latin-1"), value.replace(request.key, self._api_key).encode("latin-1"))
                for name, value in request.headers
                if name.lower() not in of_one_hop
            ),
            (b"Accept-Encoding", b"identity"),
        ]

    def _line(self, attempt: RecordedAttempt, order: int, request: Request, answer: _Answer) -> RecordedCall:
        redact = attempt.secrets.redact
        body = text_or_base64(bytes(answer.body))
        if "body" in body:
            body["body"] = redact(body["body"])
        return RecordedCall(
            cell=attempt.cell,
            scenario=attempt.scenario,
            attempt=attempt.name,
            order=order,
            model=attempt.model,
            base_path=self.base_path,
            received_at=request.received_at,
            method=request.method,
            path=redact(request.target),
            request=without_secrets(request_of(request.body), redact),
            status=answer.status,
            headers={name: redact(value) for name, value in answer.headers.items()},
            broken=answer.broken and redact(answer.broken),
            **body,
        )


class _Answer:
    """What is kept of an answer while it passes."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.broken: str | None = None

    def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers if name.lower() in _KEPT_HEADERS}

    def keep(self, piece: bytes) -> None:
        room = MAX_KEPT_BYTES - len(self.body)
        self.body += piece[:room]
        if len(piece) > room:
            self.broken = f"longer than the {MAX_KEPT_BYTES >> 20} MiB that are recorded"

    def refuse(self, reply: Reply, status: int, message: str, code: str) -> None:
        """Answer ourselves; the end is left to ``finish``."""
        headers = [("Content-Type", "application/json")]
        self.begin(status, headers)
        self.keep(error_body(message, code))
        reply.start(status, headers)
        reply.send(bytes(self.body))


class _Line:
    """One exchange with the provider. It ends when the caller hangs up: what none reads costs, too."""

    def __init__(self, tls: Any, caller: socket.socket) -> None:
        self.caller_is_gone = False
        self._caller = caller
        self._client = httpx.Client(verify=tls, timeout=_PATIENCE)
        self._provider: socket.socket | None = None
        self._lock = threading.Lock()
        self._done, self._wake = socket.socketpair()
        self._watch = threading.Thread(target=self._watch_caller, name="recorder-watch", daemon=True)

    def __enter__(self) -> _Line:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake.close()
        self._watch.join()
        self._done.close()
        self._client.close()

    def send(
        self, method: str, url: httpx.URL, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> httpx.Response:
        extensions = {"trace": self._connected}
        request = self._client.build_request(
            method, url, headers=headers, content=body or None, extensions=extensions
        )
        return self._client.send(request, stream=True)

    def _connected(self, event: str, facts: dict[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._provider = facts["return_value"].get_extra_info("socket")
            if self.caller_is_gone:
                self._cut()

    def _watch_caller(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._done, selectors.EVENT_READ)
            selector.register(self._caller, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select()}
        if self._done in ready:
            return
        # A caller that sends its next request already is not gone: no client of a model does that.
        with suppress(OSError):
            if self._caller.recv(1, socket.MSG_PEEK):
                return
        self.caller_is_gone = True
        self._cut()

    def _cut(self) -> None:
        with self._lock, suppress(OSError):  # the provider may have hung up first
            if self._provider is not None:
                self._provider.shutdown(socket.SHUT_RDWR)
