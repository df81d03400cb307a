"""GitHub's REST API, as far as publishing needs it: https://docs.github.com/rest

What may pass is tried again: rate limits (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api),
5xx, timeouts and lost connections. A request that creates something is not repeated blindly where its answer
was lost: whoever sends it says how to see whether it arrived.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from e2e_matrix import __version__
from e2e_matrix.errors import PublishError
from e2e_matrix.publish.answers import Answer, Setback, decoded, judged
from e2e_matrix.redaction import Secrets, plain_urls
from e2e_matrix.registry.reference import is_loopback
from e2e_matrix.registry.transport import is_about_trust
from e2e_matrix.text import one_line

PAGE = 100  # items: the most that GitHub gives at once
_MOST_PAGES = 1000
_MOST_REDIRECTS = 3
_LARGEST_BODY = 64 * 1024 * 1024  # a page of a hundred comments of the greatest length has 26 MB at the most
_FIRST_PAUSE = 1.0


class Item(BaseModel):
    """The fields that we read of something of GitHub's; there are many more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


T = TypeVar("T", bound=Item)


@dataclass(frozen=True)
class Patience:
    """How much to bear: tries at one request; seconds for one exchange, and for all that a client does."""

    tries: int
    exchange: float
    total: float


PATIENT = Patience(tries=6, exchange=30, total=300)


class Client:
    """One sitting with GitHub: ``patience.total`` counts from here.

    Every method raises ``PublishError``. The token is sent to ``api_url``'s host and to no other, and stands
    in no message and no repr.
    """

    def __init__(
        self,
        api_url: str,
        token: str,
        patience: Patience = PATIENT,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._base = api_url.rstrip("/")
        self._host = httpx.URL(api_url).netloc.decode("ascii")
        self._secrets = Secrets([token])
        self._patience = patience
        self._clock, self._sleep, self._now = clock, sleep, now
        self._ends = clock() + patience.total
        self._http = httpx.Client(
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {token}",
                "User-Agent": f"e2e-matrix/{__version__}",
                "X-GitHub-Api-Version": "2022-11-28",
            },
            trust_env=not is_loopback(httpx.URL(api_url).host),
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def read(self, path: str, model: type[T]) -> T:
        """What lies at ``path``."""
        return self._understood(model, self._persist("GET", path))

    def pages(
        self, path: str, model: type[T], query: Mapping[str, str] | None = None, *, key: str | None = None
    ) -> Iterator[T]:
        """The items of a list over all of its pages; ``key`` names it where it lies inside an object."""
        asked = {"per_page": str(PAGE), **(query or {})}
        for _ in range(_MOST_PAGES):
            answer = self._persist("GET", path, query=asked)
            items = answer.value.get(key) if key and isinstance(answer.value, dict) else answer.value
            if not isinstance(items, list):
                raise PublishError(f"{self._host} answered GET {path} with something that is no list")
            for item in items:
                yield self._understood(model, answer.holding(item))
            if answer.next_page is None:
                return
            # Only its query is taken: the token goes to no address that an answer names.
            asked |= dict(parse_qsl(urlsplit(answer.next_page).query))
        raise PublishError(f"{self._host} has more than {_MOST_PAGES} pages at {path}")

    def change(self, path: str, body: Mapping[str, Any], model: type[T]) -> T:
        """PATCH with whole values: to repeat it does no harm."""
        return self._understood(model, self._persist("PATCH", path, body))

    def delete(self, path: str) -> None:
        """What is not there any more counts as deleted."""
        try:
            self._persist("DELETE", path)
        except PublishError as error:
            if error.status not in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                raise

    def add(
        self,
        path: str,
        body: Mapping[str, Any],
        model: type[T],
        arrived: Callable[[], T | None],
        method: str = "POST",
    ) -> T:
        """Send what would be there twice if it were sent twice.

        ``arrived`` looks whether it is there; it is asked where the answer was lost, before another try.
        """
        found: list[T] = []

        def look() -> bool:
            if (there := arrived()) is not None:
                found.append(there)
            return there is not None

        answer = self._persist(method, path, body, look=look)
        return found[0] if found else self._understood(model, answer)

    def viewer(self) -> str | None:
        """Whose token this is, from GraphQL: it also tells Apps, to which ``GET /user`` is closed."""
        url = self._base.removesuffix("/v3") + "/graphql"  # GitHub Enterprise Server: /api/v3, /api/graphql
        answer = self._persist("POST", url, {"query": "query { viewer { login } }"})
        try:
            login = answer.value["data"]["viewer"]["login"]
        except (KeyError, TypeError):
            return None
        return login if isinstance(login, str) else None

    def _persist(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        look: Callable[[], bool] | None = None,
    ) -> Answer:
        pause, number = _FIRST_PAUSE, 0
        while True:
            number += 1
            try:
                return self._try(method, path, body, query)
            except Setback as setback:
                wait = max(pause, setback.wait or 0)
                may_be_there = setback.uncertain and look is not None
                if not setback.passes or self._clock() + wait >= self._ends:
                    raise self._error(setback, number) from None
                if number >= self._patience.tries and not may_be_there:
                    raise self._error(setback, number) from None
                self._sleep(wait)
                if may_be_there and look and look():
                    return Answer.nothing()
                if number >= self._patience.tries:
                    raise self._error(setback, number) from None
            pause *= 2

    def _try(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, str] | None
    ) -> Answer:
        what = f"{method} {urlsplit(path).path}"
        left = self._ends - self._clock()
        if left <= 0:
            raise Setback(f"{self._host} took too long", passes=False)
        try:
            request = self._http.build_request(
                method,
                path if "://" in path else self._base + path,
                params=query,
                json=body,
                timeout=min(self._patience.exchange, left),
            )
            response = self._follow(request)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            said = self._safe(str(error))
            raise Setback(
                f"{self._host} cannot be reached: {said}", passes=not is_about_trust(error)
            ) from None
        except httpx.TimeoutException:
            raise Setback(f"{self._host} did not answer {what} in time", uncertain=True) from None
        except httpx.InvalidURL:
            raise Setback(f"{self._host} sends {what} on to nowhere", passes=False) from None
        except httpx.RequestError as error:
            said = self._safe(str(error))
            raise Setback(f"{self._host} broke off its answer to {what}: {said}", uncertain=True) from None
        return decoded(judged(response, what, self._host, self._safe, self._now()), what, self._host)

    def _follow(self, request: httpx.Request) -> httpx.Response:
        """A renamed repository answers with its new address; the request is repeated there as it was."""
        origin = request.url.copy_with(raw_path=b"/")
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._whole(request)
            if not response.has_redirect_location:
                return response
            target = request.url.join(response.headers["location"])
            if target.copy_with(raw_path=b"/", fragment=None) != origin:
                raise Setback(
                    f"{self._host} sends {request.method} {request.url.path} on to {target.host}; "
                    "the token is not taken there",
                    passes=False,
                    fix="Check --api-url.",
                )
            request = self._http.build_request(
                request.method,
                target,
                content=request.content or None,
                headers={"Content-Type": "application/json"} if request.content else None,
                timeout=request.extensions["timeout"]["read"],
            )
        raise Setback(f"{self._host} redirects in a circle", passes=False)

    def _whole(self, request: httpx.Request) -> httpx.Response:
        """The response with its body, within the request's time and a bounded size."""
        ends = self._clock() + request.extensions["timeout"]["read"]
        response = self._http.send(request, stream=True)
        try:
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _LARGEST_BODY:
                    raise Setback(f"{self._host} sent more than can be a sensible answer", passes=False)
                if self._clock() > ends:
                    raise httpx.ReadTimeout("the answer drips", request=request)
        finally:
            response.close()
        # Decoded already: what said how it was packed no longer holds.
        headers = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
        ]
        return httpx.Response(response.status_code, headers=headers, content=bytes(body), request=request)

    def _understood(self, model: type[T], answer: Answer) -> T:
        try:
            return model.model_validate(answer.value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise PublishError(
                f"{self._host} answered {answer.what} as GitHub does not: {where}: {first['msg']}",
                "Check --api-url.",
            ) from None

    def _error(self, setback: Setback, tries: int) -> PublishError:
        tried = f" (tried {tries} times)" if tries > 1 else ""
        asked = f"; it asks to be left alone for {setback.wait:.0f} s" if setback.wait else ""
        return PublishError(
            f"{setback}{tried}{asked}", setback.fix, status=setback.status, retry_after=setback.wait
        )

    def _safe(self, text: str) -> str:
        return one_line(plain_urls(self._secrets.redact(text)), 300)
