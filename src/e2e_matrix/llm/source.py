"""Where a run's model comes from: the stand-in, or a provider. One of each satisfies ``LlmSource``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from e2e_matrix.engine.base import Engine
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.llm import wire
from e2e_matrix.llm.replies import Replies
from e2e_matrix.llm.standin import StandIn
from e2e_matrix.redaction import without_password
from e2e_matrix.results import Llm, LlmCall
from e2e_matrix.scenarios.base import LlmLedger
from e2e_matrix.task import LlmEndpoint

# The name under which a container reaches the engine's host: see ContainerSpec.host_alias.
HOST_ALIAS = "host.docker.internal"


class LlmSource(Protocol):
    """Gives every attempt its endpoint, and knows what was served where it can."""

    def describe(self) -> Llm: ...

    def endpoint(self, cell: str, model: str | None, journal: Path) -> LlmEndpoint:
        """The endpoint for one attempt at ``cell``; ``model`` overrides the run's.

        Who knows what it serves writes it to ``journal`` at once, a line of JSON for each call.
        """
        ...

    def ledger(self, endpoint: LlmEndpoint) -> LlmLedger: ...

    def close(self) -> None: ...


class StandInSource:
    """The stand-in, listening where the engine's containers reach this host."""

    def __init__(self, engine: Engine, models: Sequence[str] = (), replies: Replies = wire.BUILT_IN) -> None:
        """``models`` are the names that the cells ask for; it answers to any that begins with openai/."""
        self._models = ", ".join(models)
        gateway = engine.host_gateway()
        if not gateway:
            raise InfrastructureError(
                "the stand-in LLM runs on this host, and containers of this engine cannot reach it",
                "Use an engine on this machine, or a real model: LLM_MODEL, LLM_API_KEY, LLM_BASE_URL.",
            )
        self._stand_in = StandIn(gateway, replies=replies)

    def describe(self) -> Llm:
        return Llm(kind="stand-in", model=self._models or self._stand_in.model)

    def endpoint(self, cell: str, model: str | None, journal: Path) -> LlmEndpoint:
        return LlmEndpoint(
            model=model or self._stand_in.model,
            base_url=self._stand_in.base_url(HOST_ALIAS),
            api_key=self._stand_in.issue_key(cell, journal),
            is_stand_in=True,
        )

    def ledger(self, endpoint: LlmEndpoint) -> LlmLedger:
        return _StandInLedger(self._stand_in, endpoint.api_key or "")

    def close(self) -> None:
        self._stand_in.stop()


@dataclass(frozen=True)
class _StandInLedger:
    stand_in: StandIn
    key: str

    def calls(self) -> list[LlmCall] | None:
        return self.stand_in.calls(self.key)

    def is_alive(self) -> bool:
        return self.stand_in.is_alive()


class ProviderSource:
    """A real model: LLM_MODEL, LLM_BASE_URL, and the key from the variable that the matrix names."""

    def __init__(self, model: str, base_url: str | None, api_key: str | None) -> None:
        self._model = model
        self._base_url = base_url
        self._api_key = api_key

    def describe(self) -> Llm:
        shown = without_password(self._base_url) if self._base_url else None
        return Llm(kind="provider", model=self._model, base_url=shown)

    def endpoint(self, cell: str, model: str | None, journal: Path) -> LlmEndpoint:
        return LlmEndpoint(model or self._model, self._base_url, self._api_key, is_stand_in=False)

    def ledger(self, endpoint: LlmEndpoint) -> LlmLedger:
        return _Unknown()

    def close(self) -> None:
        pass


class _Unknown:
    def calls(self) -> list[LlmCall] | None:
        return None

    def is_alive(self) -> bool:
        return True
