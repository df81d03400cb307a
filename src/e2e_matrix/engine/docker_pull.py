"""Pulling one platform's image by digest, with the engine's errors raised and its progress added up.

API: POST /images/create, a stream of JSON objects; one with ``error`` ends it.
"""

from __future__ import annotations

import base64
import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import requests
import urllib3
from docker.auth import get_config_header, resolve_repository_name
from docker.errors import APIError, DockerException, NotFound, StreamParseError
from docker.utils import parse_repository_tag
from docker.utils.json_stream import json_stream

from e2e_matrix.engine import docker_streams
from e2e_matrix.engine.base import ProgressCallback, PulledImage, PullProgress
from e2e_matrix.engine.docker_connection import Clients
from e2e_matrix.engine.docker_errors import one_sentence, pull_failure
from e2e_matrix.engine.platforms import architecture, normal
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.redaction import Secrets

_STALLED = 300.0  # seconds without any event: a large layer is verified in silence
_LOOK = 0.25  # seconds of silence after which the watcher is told the same again


class Layers:
    """Adds the layers' progress up; a layer's size is known once its download starts."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}

    def take(self, event: Mapping[str, Any]) -> PullProgress:
        layer, status = str(event.get("id", "")), str(event.get("status", ""))
        detail = event.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self._total[layer] = int(detail["total"])
            self._done[layer] = int(detail.get("current", 0))
        elif status in ("Verifying Checksum", "Download complete", "Extracting", "Pull complete"):
            self._done[layer] = self._total.get(layer, 0)
        return PullProgress(sum(self._done.values()), sum(self._total.values()), status)


def pull(
    clients: Clients, reference: str, platform: str, on_progress: ProgressCallback | None = None
) -> PulledImage:
    """See ``engine.base.Engine.pull``. An image that is there is not asked for again: a digest cannot change.

    ``on_progress`` is called every 0.25 s at the least, also while the engine or the registry hangs: an
    exception from it ends the pull and comes out of here.
    """
    with clients.borrow(f"look for {reference}") as client:
        found = _inspect(client, reference)
    present = found is not None and _platform(found) == normal(platform)
    if not present:
        _attend(_Download(clients, reference, platform), on_progress)
        with clients.borrow(f"look at {reference} after the pull") as client:
            found = _inspect(client, reference)
    if found is None:
        raise pull_failure(reference, platform, "the engine reported success and has no such image")
    if _platform(found) != normal(platform):
        raise CellFailure(
            Cause.PLATFORM_MISSING,
            f"{reference} was pulled for {platform} and says that it is for {_platform(found)}",
        )
    return _describe(found, reference, platform, was_present=present)


class _Download(threading.Thread):
    """A download on a thread of its own, so that who waits for it may stop waiting: see ``_attend``.

    The engine may say nothing for minutes: before its first word it waits for the registry's manifest.
    """

    def __init__(self, clients: Clients, reference: str, platform: str) -> None:
        super().__init__(name=f"pull of {reference}", daemon=True)
        self.told: queue.SimpleQueue[PullProgress | BaseException | None] = queue.SimpleQueue()
        self._what = (clients, reference, platform)
        self._lock = threading.Lock()
        self._response: requests.Response | None = None
        self._abandoned = False

    def run(self) -> None:
        try:
            _download(*self._what, self.told.put, self._answered)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the waiting thread's
            self.told.put(error)
        else:
            self.told.put(None)

    def abandon(self) -> None:
        """End it, for the engine stops a pull whose client is gone; before its first word, with that word."""
        with self._lock:
            self._abandoned = True
            if self._response is not None:
                docker_streams.cut(self._response)
        self.join(timeout=_LOOK)

    def _answered(self, response: requests.Response) -> None:
        with self._lock:
            self._response = response
            if self._abandoned:
                docker_streams.cut(response)


def _attend(download: _Download, on_progress: ProgressCallback | None) -> None:
    """Wait for the end of a download; raises what ended it, or what ``on_progress`` raises."""
    progress = PullProgress(0, 0, "waiting for the engine")
    download.start()
    try:
        while True:
            try:
                told = download.told.get(timeout=_LOOK)
            except queue.Empty:
                told = progress
            if told is None:
                return
            if isinstance(told, BaseException):
                raise told
            progress = told
            if on_progress is not None:
                on_progress(progress)
    finally:
        if download.is_alive():
            download.abandon()


def _download(
    clients: Clients,
    reference: str,
    platform: str,
    on_progress: ProgressCallback,
    answered: Callable[[requests.Response], None],
) -> None:
    repository, tag = parse_repository_tag(reference)
    registry, _ = resolve_repository_name(repository)
    layers = Layers()
    with clients.borrow(f"pull {reference}", timeout=_STALLED) as client:
        try:
            credentials = get_config_header(client, registry)
        except DockerException as error:
            raise CellFailure(
                Cause.REGISTRY_DENIED, f"the Docker credentials for {registry} cannot be read: {error}"
            ) from error
        secrets = Secrets(_secrets_in(credentials))

        def failed(text: str) -> CellFailure:
            # The engine quotes the registry, which may say what it was sent.
            return pull_failure(reference, platform, one_sentence(secrets.redact(text)))

        try:
            response = docker_streams.open_stream(
                client,
                "POST",
                "/images/create",
                params={"fromImage": repository, "tag": tag or "latest", "platform": platform},
                headers={"X-Registry-Auth": credentials} if credentials else {},
            )
        except APIError as error:
            raise failed(str(error.explanation or error)) from None
        with response:
            answered(response)
            try:
                for event in _events(docker_streams.chunks(response)):
                    if "error" in event:
                        raise failed(str(event["error"]))
                    on_progress(layers.take(event))
            except urllib3.exceptions.ReadTimeoutError as error:
                raise CellFailure(
                    Cause.PULL_FAILED, f"the pull of {reference} made no progress for {_STALLED:.0f} s"
                ) from error


def _secrets_in(credentials: bytes | None) -> Iterator[str]:
    """What proves who asks, in the X-Registry-Auth header (base64 of JSON), and the header itself."""
    if not credentials:
        return
    header = credentials.decode()
    yield header
    for name, value in json.loads(base64.urlsafe_b64decode(header)).items():
        if value and name.lower() in ("password", "identitytoken", "registrytoken", "auth"):
            yield str(value)


def _events(chunks: Iterator[bytes]) -> Iterator[Mapping[str, Any]]:
    try:
        yield from json_stream(chunks)
    except StreamParseError as error:
        raise ConnectionError("the engine's answer broke off in the middle of an event") from error


def _inspect(client: Any, reference: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = client.inspect_image(reference)
    except NotFound:
        return None
    return found


def _platform(image: Mapping[str, Any]) -> str:
    parts = (image.get("Os", ""), architecture(image.get("Architecture", "")), image.get("Variant", ""))
    return normal("/".join(part for part in parts if part))


def _describe(image: Mapping[str, Any], reference: str, platform: str, *, was_present: bool) -> PulledImage:
    config = image.get("Config") or {}
    return PulledImage(
        reference=reference,
        image_id=image["Id"],
        size_bytes=int(image.get("Size") or 0),
        platform=platform,
        labels=dict(config.get("Labels") or {}),
        environment=dict(entry.partition("=")[::2] for entry in config.get("Env") or ()),
        user=config.get("User") or "",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        was_present=was_present,
    )
