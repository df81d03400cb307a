"""Where a run's model comes from: the stand-in, or a provider. One of each satisfies ``LlmSource``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from e2e_matrix.engine.base import HOST_ALIAS, Engine
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.llm import wire
from e2e_matrix.llm.recorder import Recorder
from e2e_matrix.llm.recording import Recording
from e2e_matrix.llm.replay import Replay
from e2e_matrix.llm.replies import Replies
from e2e_matrix.llm.standin import StandIn
from e2e_matrix.redaction import without_password
from e2e_matrix.results import Llm, LlmCall
from e2e_matrix.scenarios.base import LlmLedger, ReplayDifference
from e2e_matrix.task import LlmEndpoint


class LlmSource(Protocol):
    """Gives every attempt its endpoint, and knows what was served where it can."""

    def describe(self) -> Llm:
        """What answers, also before it is open."""
        ...

    def open(self) -> None:
        """Be ready to answer, before the first endpoint. A run that has nothing to run does without.

        Raises InfrastructureError where containers could not reach it, BadInput where it wants a key that is
        not there.
        """
        ...

    def endpoint(self, cell: str, scenario: str, model: str | None, journal: Path) -> LlmEndpoint:
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
        self._engine = engine
        self._models = ", ".join(models)
        self._replies = replies
        self._opened: StandIn | None = None

    def describe(self) -> Llm:
        return Llm(kind="stand-in", model=self._models or StandIn.model)

    def open(self) -> None:
        gateway = _reachable(self._engine, "the stand-in LLM")
        self._opened = self._opened or StandIn(gateway, replies=self._replies)

    @property
    def _stand_in(self) -> StandIn:
        assert self._opened is not None, "open() comes first"
        return self._opened

    def endpoint(self, cell: str, scenario: str, model: str | None, journal: Path) -> LlmEndpoint:
        return LlmEndpoint(
            model=model or self._stand_in.model,
            base_url=self._stand_in.base_url(HOST_ALIAS),
            api_key=self._stand_in.issue_key(cell, journal),
            is_stand_in=True,
        )

    def ledger(self, endpoint: LlmEndpoint) -> LlmLedger:
        return _StandInLedger(self._stand_in, endpoint.api_key or "")

    def close(self) -> None:
        if self._opened is not None:
            self._opened.stop()


class PlainLedger:
    """What a ledger says of what it has not: a recording to hold calls against, or a file of replies."""

    def difference(self) -> ReplayDifference | None:
        return None

    def unused(self) -> int:
        return 0

    def slips(self) -> list[str]:
        return []

    def hide(self, *values: str) -> None:
        """Nothing of the calls is written down."""


@dataclass(frozen=True)
class _StandInLedger(PlainLedger):
    stand_in: StandIn
    key: str

    def calls(self) -> list[LlmCall] | None:
        return self.stand_in.calls(self.key)

    def is_alive(self) -> bool:
        return self.stand_in.is_alive()

    def slips(self) -> list[str]:
        return self.stand_in.slips(self.key)


class ProviderSource:
    """A real model: LLM_MODEL, LLM_BASE_URL, and the key from the variable that the matrix names.

    ``key`` is asked once something runs.
    """

    def __init__(self, model: str, base_url: str | None, key: Callable[[], str | None]) -> None:
        self._model = model
        self._base_url = base_url
        self._key = key
        self._api_key: str | None = None

    def describe(self) -> Llm:
        shown = without_password(self._base_url) if self._base_url else None
        return Llm(kind="provider", model=self._model, base_url=shown)

    def open(self) -> None:
        """It is there without us, and its key is not."""
        self._api_key = self._key()

    def endpoint(self, cell: str, scenario: str, model: str | None, journal: Path) -> LlmEndpoint:
        return LlmEndpoint(model or self._model, self._base_url, self._api_key, is_stand_in=False)

    def ledger(self, endpoint: LlmEndpoint) -> LlmLedger:
        return _Unknown()

    def close(self) -> None:
        pass


class _Unknown(PlainLedger):
    def calls(self) -> list[LlmCall] | None:
        return None

    def is_alive(self) -> bool:
        return True


class RecordingSource:
    """A real model, reached through the recorder; containers get keys of the recorder's.

    ``key`` is asked once something runs.
    """

    def __init__(
        self, engine: Engine, model: str, base_url: str, key: Callable[[], str | None], path: Path
    ) -> None:
        self._provider = ProviderSource(model, base_url, key)
        self._engine = engine
        self._url = httpx.URL(base_url)
        self._key = key
        self._path = path
        self._opened: Recorder | None = None

    def describe(self) -> Llm:
        return self._provider.describe()

    def open(self) -> None:
        key = self._key() or ""
        gateway = _reachable(self._engine, "the recorder of the model's calls")
        url = self._url
        if url.host == HOST_ALIAS:  # this host, by the name that only containers have for it
            url = url.copy_with(host=gateway)
        self._opened = self._opened or Recorder(gateway, str(url), key, self._path)

    @property
    def _recorder(self) -> Recorder:
        assert self._opened is not None, "open() comes first"
        return self._opened

    def endpoint(self, cell: str, scenario: str, model: str | None, journal: Path) -> LlmEndpoint:
        recorder = self._recorder
        name = model or self._provider.describe().model
        key = recorder.issue_key(cell, scenario, name, journal)
        url = recorder.server.base_url(recorder.base_path, HOST_ALIAS)
        return LlmEndpoint(name, url, key, is_stand_in=False)

    def ledger(self, endpoint: LlmEndpoint) -> LlmLedger:
        return _RecorderLedger(self._recorder, endpoint.api_key or "")

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


@dataclass(frozen=True)
class _RecorderLedger(PlainLedger):
    recorder: Recorder
    key: str

    def calls(self) -> list[LlmCall] | None:
        return self.recorder.server.log.calls(self.key)

    def is_alive(self) -> bool:
        return self.recorder.server.is_alive()

    def hide(self, *values: str) -> None:
        self.recorder.hide(self.key, *values)


class ReplaySource:
    """A recording that answers in the place of the model that it was made with."""

    def __init__(self, engine: Engine, recording: Recording, models: Sequence[str] = ()) -> None:
        """``models`` are the names that the cells ask for by themselves, if they do."""
        self._engine = engine
        self._recording = recording
        self._models = ", ".join(models or recording.models)
        self._opened: Replay | None = None

    def describe(self) -> Llm:
        return Llm(kind="replay", model=self._models)

    def open(self) -> None:
        gateway = _reachable(self._engine, "the replay of the model's calls")
        self._opened = self._opened or Replay(gateway, self._recording)

    @property
    def _replay(self) -> Replay:
        assert self._opened is not None, "open() comes first"
        return self._opened

    def endpoint(self, cell: str, scenario: str, model: str | None, journal: Path) -> LlmEndpoint:
        calls = self._recording.calls_for(cell, scenario)
        recorded = calls[0].model if calls else self._recording.models[0]
        url = self._replay.server.base_url(calls[0].base_path if calls else "/v1", HOST_ALIAS)
        # Not as the stand-in: the recording may hold the provider's bad minutes, and the tries after them.
        return LlmEndpoint(
            model or recorded, url, self._replay.issue_key(cell, scenario, journal), is_stand_in=False
        )

    def ledger(self, endpoint: LlmEndpoint) -> LlmLedger:
        return _ReplayLedger(self._replay, endpoint.api_key or "")

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()


@dataclass(frozen=True)
class _ReplayLedger(PlainLedger):
    replay: Replay
    key: str

    def calls(self) -> list[LlmCall] | None:
        return self.replay.server.log.calls(self.key)

    def is_alive(self) -> bool:
        return self.replay.server.is_alive()

    def difference(self) -> ReplayDifference | None:
        return self.replay.difference(self.key)

    def unused(self) -> int:
        return self.replay.unused(self.key)

    def hide(self, *values: str) -> None:
        self.replay.hide(self.key, *values)


def _reachable(engine: Engine, what: str) -> str:
    """The address at which containers reach this host. Raises InfrastructureError where they do not."""
    if gateway := engine.host_gateway():
        return gateway
    raise InfrastructureError(
        f"{what} runs on this host, and containers of this engine cannot reach it",
        "Use an engine on this machine, or a real model: LLM_MODEL, LLM_API_KEY, LLM_BASE_URL.",
    )
