"""How a registry's 401 is answered.

The challenge is read as in RFC 9110 section 11.6.1; tokens are fetched as the distribution project's
"Token Authentication Specification" and, for identity tokens, its "OAuth2 Token Authentication" say.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import defaultdict
from dataclasses import dataclass
from urllib.request import parse_http_list

import httpx

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.registry.logins import Login, Logins
from e2e_matrix.registry.reference import Reference, is_loopback
from e2e_matrix.registry.transport import Answer, Transport, broken

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9-]*)(?:\s+(?P<first>.*))?", re.DOTALL)
_PARAMETER = re.compile(r"(?P<name>[A-Za-z0-9_-]+)\s*=\s*(?P<value>.*)", re.DOTALL)
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Challenge:
    """One way in that a 401 offers; ``scheme`` and the names of ``parameters`` are lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: list[str]) -> list[Challenge]:
    """Read WWW-Authenticate headers, each of which may offer several schemes; nonsense is left out."""
    challenges: list[Challenge] = []
    for header in headers:
        current: Challenge | None = None
        for part in parse_http_list(header):
            text = part
            if not _PARAMETER.fullmatch(text):
                start = _SCHEME.fullmatch(text)
                if not start:
                    continue
                current = Challenge(start["scheme"].lower(), {})
                challenges.append(current)
                text = start["first"] or ""
            parameter = _PARAMETER.fullmatch(text)
            if parameter and current:
                current.parameters[parameter["name"].lower()] = _unquoted(parameter["value"].strip())
    return challenges


class Authorizer:
    """Turns challenges into Authorization headers, and remembers them per registry and scope. Thread-safe."""

    def __init__(self, transport: Transport, logins: Logins) -> None:
        self._transport = transport
        self._logins = logins
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], str] = {}
        # One at a time per scope, so that concurrent requests for one repository fetch one token.
        self._fetching: defaultdict[tuple[str, str], threading.Lock] = defaultdict(threading.Lock)

    def known(self, reference: Reference) -> str | None:
        with self._lock:
            return self._known.get(_key(reference))

    def answer(
        self, reference: Reference, refusal: Answer, refused: str | None, cancel: threading.Event | None
    ) -> str:
        """A header for the request that got the 401 ``refusal``, ``refused`` being the header that it had.

        Raises REGISTRY_DENIED when there is no way in, REGISTRY_BROKEN when the challenge cannot be trusted.
        """
        if refusal.url.netloc != httpx.URL(reference.api).netloc:
            # Answering another host's challenge would hand it this registry's login.
            raise broken(reference.registry, f"sends the request on to {refusal.url.host}, which refuses it")
        key = _key(reference)
        with self._lock:
            fetching = self._fetching[key]
        with fetching:
            known = self.known(reference)
            if known is None or known == refused:
                known = self._authorization(reference, refusal, cancel)
                with self._lock:
                    self._known[key] = known
            return known

    def denied(self, reference: Reference, answer: Answer) -> CellFailure:
        """The refusal that no login of this machine overcomes."""
        message = (
            f"the registry {reference.registry} refuses access to {reference} ({answer.status}): "
            f"log in with `docker login {reference.registry}`, or check the name"
        )
        if self._logins.problems:
            message += f" ({'; '.join(dict.fromkeys(self._logins.problems))})"
        return CellFailure(Cause.REGISTRY_DENIED, message, detail=answer.excerpt() or None)

    def _authorization(self, reference: Reference, refusal: Answer, cancel: threading.Event | None) -> str:
        headers = refusal.headers.get_list("www-authenticate")
        offers = {offer.scheme: offer.parameters for offer in parse_challenges(headers)}
        login = self._logins.find(reference.registry)
        if login:
            basic = _basic(login).partition(" ")[2]
            self._transport.secrets.add(*filter(None, [login.password, login.identity_token, basic]))
        if "bearer" in offers:
            return "Bearer " + self._token(reference, offers["bearer"], login, cancel)
        if "basic" in offers and login and login.username:
            return _basic(login)
        raise self.denied(reference, refusal)

    def _token(
        self,
        reference: Reference,
        offer: dict[str, str],
        login: Login | None,
        cancel: threading.Event | None,
    ) -> str:
        realm = _trusted_realm(reference, offer.get("realm", ""))
        fields = {"scope": offer.get("scope") or _key(reference)[1]}
        if offer.get("service"):
            fields["service"] = offer["service"]
        if login and login.identity_token:
            grant = {"grant_type": "refresh_token", "refresh_token": login.identity_token}
            answer = self._transport.send(
                "POST", realm, {}, form={**fields, **grant, "client_id": "e2e-matrix"}, cancel=cancel
            )
        else:
            headers = {"Authorization": _basic(login)} if login else {}
            answer = self._transport.send("GET", realm, headers, query=fields, cancel=cancel)
        if answer.status in (400, 401, 403):
            raise self.denied(reference, answer)
        token = _read_token(answer)
        self._transport.secrets.add(*filter(None, [token]))
        if token is None:
            raise broken(reference.registry, f"names {realm} for tokens, which answers without one", answer)
        return token


def _key(reference: Reference) -> tuple[str, str]:
    return reference.registry, f"repository:{reference.repository}:pull"


def _trusted_realm(reference: Reference, realm: str) -> str:
    """The token server that the registry names: it will see the login, so never in clear over a network."""
    try:
        url = httpx.URL(realm)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.host and (url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))):
        return realm
    raise broken(reference.registry, f"names a token server that cannot be used: {realm[:200]!r}")


def _read_token(answer: Answer) -> str | None:
    if answer.status != 200:
        return None
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    token = document.get("token") or document.get("access_token") if isinstance(document, dict) else None
    return token if isinstance(token, str) and _TOKEN.fullmatch(token) else None


def _basic(login: Login) -> str:
    pair = f"{login.username}:{login.password}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value
