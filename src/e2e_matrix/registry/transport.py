"""One HTTP request to a registry, bounded in time and size, tried again where that can help.

httpx bounds each read, not the whole exchange, and nothing interrupts a name look-up; so every exchange runs
in a thread of its own, which is left behind when its time is over or the run is cancelled.
"""

from __future__ import annotations

import concurrent.futures
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import certifi
import httpx

from e2e_matrix import __version__
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.redaction import Secrets, plain_urls
from e2e_matrix.registry.reference import is_loopback

LARGEST_BODY = 4 * 1024 * 1024  # what the OCI distribution spec asks registries to accept for a manifest
_LONGEST_EXCERPT = 500
_MOST_REDIRECTS = 5
_FIRST_PAUSE = 0.5

Sleep = Callable[[float, threading.Event], bool]
"""Wait so many seconds or until the event is set; True when it is."""


@dataclass(frozen=True)
class Answer:
    """A whole response; ``url`` is the one that answered, after redirects."""

    status: int
    headers: httpx.Headers
    body: bytes
    url: httpx.URL
    secrets: Secrets = field(default_factory=Secrets, repr=False, compare=False)

    def excerpt(self) -> str:
        """The start of the body, made safe to show; redacted before it is cut, so that no secret is cut."""
        text = plain_urls(self.secrets.redact(self.body.decode("utf-8", "replace")))[: 4 * _LONGEST_EXCERPT]
        return "".join(sign if sign.isprintable() else " " for sign in text)[:_LONGEST_EXCERPT].strip()


class NoAnswer(CellFailure):
    """Nothing answered at all: other requests to the same host would meet the same."""


@dataclass(frozen=True)
class _Setback:
    """Why a try failed. ``wait`` is what the server asked for, in seconds."""

    failure: CellFailure
    retry: bool = True
    wait: float | None = None


class _TooLate(Exception):
    """The exchange took all of its time."""


class _Truncated(Exception):
    """The connection ended within the body."""


class _Unusable(Exception):
    """The response must not be used, and another try would bring the same."""


class Transport:
    """``timeout`` bounds one exchange, ``budget`` one request with its retries and pauses (seconds)."""

    def __init__(
        self,
        timeout: float,
        retries: int,
        budget: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep | None = None,
    ) -> None:
        self.secrets = Secrets()  # kept out of every message; whoever learns one adds it
        self._timeout = timeout
        self._tries = retries + 1
        self._budget = budget
        self._clock = clock
        self._sleep: Sleep = sleep or (lambda seconds, cancel: cancel.wait(seconds))
        self._lock = threading.Lock()
        self._clients: dict[bool, httpx.Client] = {}
        self._certificates: ssl.SSLContext | None = None
        self._closed = False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            clients = list(self._clients.values())
        for client in clients:
            client.close()

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        form: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        cancel: threading.Event | None = None,
    ) -> Answer:
        """The first answer that is neither 429 nor 5xx.

        Raises CellFailure: REGISTRY_UNREACHABLE, REGISTRY_BUSY, REGISTRY_BROKEN for an answer that cannot be
        received whole, INTERRUPTED; ``retry_after`` is what the server asked for last. A form is never sent
        on to where a redirect points.
        """
        stop = cancel or threading.Event()
        host = httpx.URL(url).netloc.decode("ascii")
        ends = self._clock() + self._budget
        pause = _FIRST_PAUSE
        for number in range(1, self._tries + 1):
            setback = self._try(method, url, headers, form, query, ends - self._clock(), stop)
            if isinstance(setback, Answer):
                return setback
            wait = pause if setback.wait is None else setback.wait
            if not setback.retry or number == self._tries:
                raise _counted(setback, number)
            if self._clock() + wait >= ends:
                asked = f"; it asks to come back in {setback.wait:.0f} s" if setback.wait else ""
                raise _counted(setback, number, asked)
            if self._sleep(wait, stop):
                raise _interrupted(host)
            pause *= 2
        raise AssertionError("the last try either answered or raised")

    def _try(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        form: Mapping[str, str] | None,
        query: Mapping[str, str] | None,
        left: float,
        stop: threading.Event,
    ) -> Answer | _Setback:
        host = httpx.URL(url).netloc.decode("ascii")
        seconds = min(self._timeout, left)
        ends = time.monotonic() + seconds
        client = self._client(httpx.URL(url).host)
        # Asked for without compression: a manifest is small, and its bytes are what the digest is made of.
        request = client.build_request(
            method,
            url,
            params=query,
            data=form,
            headers={"Accept-Encoding": "identity", "User-Agent": f"e2e-matrix/{__version__}", **headers},
            timeout=seconds,
        )
        try:
            answer = _bounded(
                lambda: _exchange(client, request, follow=form is None, ends=ends), seconds, stop, host
            )
            answer = replace(answer, secrets=self.secrets)
        except (_TooLate, httpx.TimeoutException):
            return _Setback(_unreachable(NoAnswer, host, f"did not answer within {seconds:.3g} s"))
        except (_Unusable, httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            return _Setback(broken(host, str(error)), retry=False)
        except _Truncated as error:
            return _Setback(broken(host, f"broke off in the middle of its answer ({error})"))
        except httpx.TransportError as error:
            failure = _unreachable(NoAnswer, host, f"cannot be reached: {error}")
            return _Setback(failure, retry=not is_about_trust(error))
        if answer.status == 429:
            message = f"the registry {host} has had too many requests (429)"
            failure = CellFailure(Cause.REGISTRY_BUSY, message, detail=answer.excerpt() or None)
            return _Setback(failure, wait=_retry_after(answer.headers))
        if answer.status >= 500:
            failure = _unreachable(CellFailure, host, f"answered {answer.status}", answer.excerpt())
            return _Setback(failure, wait=_retry_after(answer.headers))
        return answer

    def _client(self, host: str) -> httpx.Client:
        """Loopback goes around the proxies of the environment, as the engine's own pull does."""
        loopback = is_loopback(host)
        with self._lock:
            if self._closed:
                raise CellFailure(Cause.INTERRUPTED, "the registry client is closed")
            if loopback not in self._clients:
                self._certificates = self._certificates or _certificates()
                self._clients[loopback] = httpx.Client(
                    verify=self._certificates,
                    trust_env=not loopback,
                    max_redirects=_MOST_REDIRECTS,
                )
            return self._clients[loopback]


def _exchange(client: httpx.Client, request: httpx.Request, *, follow: bool, ends: float) -> Answer:
    # httpx itself drops Authorization when a redirect leaves the origin; the tests hold it to that.
    response = client.send(request, stream=True, follow_redirects=follow)
    try:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise _Unusable("compressed its answer though it was asked not to")
        hops = [hop.url for hop in response.history] + [response.url]
        if hops[0].scheme == "https" and any(hop.scheme != "https" for hop in hops):
            raise _Unusable(f"sends the request on without TLS, by way of {response.url.host}")
        body = bytearray()
        for piece in response.iter_raw():
            body += piece
            if len(body) > LARGEST_BODY:
                raise _Unusable(f"sent more than the {LARGEST_BODY // 1024**2} MiB that a manifest may have")
            if time.monotonic() > ends:
                raise _TooLate
    except httpx.TimeoutException:
        raise
    except httpx.TransportError as error:
        raise _Truncated(str(error)) from error
    finally:
        response.close()
    return Answer(response.status_code, response.headers, bytes(body), response.url)


def _bounded(call: Callable[[], Answer], seconds: float, stop: threading.Event, host: str) -> Answer:
    future: concurrent.futures.Future[Answer] = concurrent.futures.Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            future.set_exception(error)

    threading.Thread(target=work, name=f"registry {host}", daemon=True).start()
    ends = time.monotonic() + seconds
    while not future.done():
        left = ends - time.monotonic()
        if stop.is_set():
            raise _interrupted(host)
        if left <= 0:
            raise _TooLate
        concurrent.futures.wait([future], timeout=min(left, 0.05))
    return future.result()


def _certificates() -> ssl.SSLContext:
    """What this machine trusts, which may include a company's own authority, and httpx's set besides."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds, from either form of the header (RFC 9110 section 10.2.3); None where it makes no sense."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def _unreachable(kind: type[CellFailure], host: str, what: str, detail: str = "") -> CellFailure:
    return kind(Cause.REGISTRY_UNREACHABLE, f"the registry {host} {what}", detail=detail or None)


def broken(host: str, what: str, answer: Answer | None = None) -> CellFailure:
    """The failure of an answer that came and cannot be used; of ``answer`` the start is kept."""
    detail = answer.excerpt() if answer else ""
    return CellFailure(Cause.REGISTRY_BROKEN, f"the registry {host} {what}", detail=detail or None)


def _interrupted(host: str) -> CellFailure:
    return CellFailure(Cause.INTERRUPTED, f"stopped while asking the registry {host}")


def _counted(setback: _Setback, tries: int, more: str = "") -> CellFailure:
    failure = setback.failure
    message = failure.message + (f" (tried {tries} times)" if tries > 1 else "") + more
    return type(failure)(failure.cause, message, detail=failure.detail, retry_after=setback.wait)


def is_about_trust(error: BaseException | None) -> bool:
    """Whether a certificate that is not trusted is behind it: another try would meet the same."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None
