"""A client of the OCI distribution API (spec 1.1): as much of it as finding an image takes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.registry.auth import Authorizer
from e2e_matrix.registry.logins import Logins
from e2e_matrix.registry.manifest import ACCEPT, Image, Index, read_config_platform, read_manifest
from e2e_matrix.registry.reference import DIGEST, Reference, api_url
from e2e_matrix.registry.transport import Answer, Sleep, Transport, broken


@dataclass(frozen=True)
class Manifest:
    """A document whose bytes have the digest ``digest``."""

    digest: str
    content: Index | Image


class RegistryClient:
    """Asks registries about images and changes nothing in them. Thread-safe; close it, or use ``with``.

    ``timeout`` is seconds for one exchange, from the name look-up to the last byte; ``budget`` is seconds for
    one request with its ``retries``. Methods raise CellFailure: TAG_MISSING, REGISTRY_UNREACHABLE,
    REGISTRY_DENIED, REGISTRY_BROKEN, and INTERRUPTED within 100 ms of ``cancel`` being set.
    """

    def __init__(
        self,
        *,
        timeout: float = 10.0,
        retries: int = 2,
        budget: float = 20.0,
        logins: Logins | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep | None = None,
    ) -> None:
        self._transport = Transport(timeout, retries, budget, clock, sleep)
        self._authorizer = Authorizer(self._transport, logins or Logins())

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections; idempotent."""
        self._transport.close()

    def ping(self, registry: str, cancel: threading.Event | None = None) -> None:
        """Raise unless a registry answers at ``host[:port]``; one that asks for a login does answer."""
        with self._without_secrets():
            answer = self._transport.send("GET", f"{api_url(registry)}/v2/", {}, cancel=cancel)
            if answer.status not in (200, 401):
                what = f"answered GET /v2/ with {answer.status}: it may be no registry"
                raise broken(registry, what, answer)

    def manifest(self, reference: Reference, cancel: threading.Event | None = None) -> Manifest:
        """The manifest or index that a tag or digest names (GET /v2/<name>/manifests/<reference>)."""
        with self._without_secrets():
            answer = self._ask("GET", reference, f"manifests/{reference.version}", ACCEPT, cancel)
            self._check_status(reference, answer)
            digest = _checked_digest(reference, answer)
            try:
                content = read_manifest(answer.headers.get("content-type", ""), answer.body)
            except ValueError as error:
                raise _unreadable(reference, "manifest", error, answer) from None
            return Manifest(digest, content)

    def digest(self, reference: Reference, cancel: threading.Event | None = None) -> str | None:
        """What a tag points to, None where there is no such tag.

        By HEAD, which Docker Hub does not count against its limit.
        """
        with self._without_secrets():
            answer = self._ask("HEAD", reference, f"manifests/{reference.version}", ACCEPT, cancel)
        if answer.status == 404:
            return None
        digest: str = answer.headers.get("docker-content-digest", "")
        if answer.status == 200 and DIGEST.fullmatch(digest):
            return digest
        # The header is optional, and so is HEAD in some proxies: ask for the whole.
        try:
            return self.manifest(reference, cancel).digest
        except CellFailure as failure:
            if failure.cause is Cause.TAG_MISSING:
                return None
            raise

    def platform(self, reference: Reference, image: Image, cancel: threading.Event | None = None) -> str:
        """The platform of an image that no index describes, from its config blob."""
        with self._without_secrets():
            config = reference.at(image.config.digest)
            answer = self._ask("GET", config, f"blobs/{config.digest}", "*/*", cancel)
            if answer.status == 404:
                raise broken(
                    reference.registry, f"has {reference} but not its config {config.digest}", answer
                )
            self._check_status(config, answer)
            _checked_digest(config, answer)
            try:
                return read_config_platform(answer.body)
            except ValueError as error:
                raise _unreadable(reference, "config", error, answer) from None

    @contextmanager
    def _without_secrets(self) -> Iterator[None]:
        """A registry may say what it was sent: no login or token is in what leaves here."""
        try:
            yield
        except CellFailure as failure:
            raise failure.redacted(self._transport.secrets.redact) from None

    def _ask(
        self, method: str, reference: Reference, path: str, accept: str, cancel: threading.Event | None
    ) -> Answer:
        """A 401 is answered once; the second one stands."""
        url = f"{reference.api}/v2/{reference.repository}/{path}"
        headers = {"Accept": accept}
        known = self._authorizer.known(reference)
        if known:
            headers["Authorization"] = known
        answer = self._transport.send(method, url, headers, cancel=cancel)
        if answer.status != 401:
            return answer
        headers["Authorization"] = self._authorizer.answer(reference, answer, known, cancel)
        return self._transport.send(method, url, headers, cancel=cancel)

    def _check_status(self, reference: Reference, answer: Answer) -> None:
        if answer.status == 200:
            return
        if answer.status in (401, 403):
            raise self._authorizer.denied(reference, answer)
        # A web server that is no registry says 404 to everything, and that is no finding about the tag.
        if answer.status == 404 and "html" not in answer.headers.get("content-type", ""):
            raise CellFailure(
                Cause.TAG_MISSING, f"the registry has no {reference}", detail=answer.excerpt() or None
            )
        raise broken(reference.registry, f"answered {answer.status} when asked for {reference}", answer)


def _checked_digest(reference: Reference, answer: Answer) -> str:
    """The digest of the body, which must be the one asked for and the one that the registry says."""
    said = answer.headers.get("docker-content-digest")
    if said is not None and not DIGEST.fullmatch(said):
        raise broken(reference.registry, f"calls {said[:100]!r} a digest")
    for expected in (reference.digest, said):
        if expected and expected != _digest(answer.body, expected.partition(":")[0]):
            raise broken(
                reference.registry,
                f"sent something else for {reference}: its digest is {_digest(answer.body)}, not {expected}",
                answer,
            )
    return reference.digest or said or _digest(answer.body)


def _digest(body: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def _unreadable(reference: Reference, what: str, why: ValueError, answer: Answer) -> CellFailure:
    return broken(reference.registry, f"sent a {what} of {reference} that cannot be used: {why}", answer)
