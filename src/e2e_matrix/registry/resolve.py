"""From the tags of a plan to the exact images that will run.

A tag is asked for once per run, so that all cells of it test the same push even if it moves meanwhile.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from e2e_matrix.errors import BadInput, CellFailure, Problem
from e2e_matrix.failures import Cause
from e2e_matrix.registry.client import Manifest, RegistryClient
from e2e_matrix.registry.manifest import Index, normal_platform
from e2e_matrix.registry.reference import Reference, parse_reference
from e2e_matrix.registry.transport import NoAnswer

_WORKERS = 4  # enough for six cells of three tags, and polite to a registry
_T = TypeVar("_T")


@dataclass(frozen=True)
class ImageRequest:
    """One image of the plan. ``arch_reference``, a per-arch tag, must be the same image if it exists."""

    reference: str
    platform: str
    arch_reference: str | None = None


@dataclass(frozen=True)
class ResolvedImage:
    """What a tag holds for one platform. ``size_bytes`` is compressed: config and layers."""

    reference: str
    platform: str
    digest: str
    index_digest: str | None  # None where the tag is one platform's manifest and no index
    size_bytes: int
    pinned: str  # registry/repository@digest, to pull exactly this
    arch_tag: str | None = None  # as requested; None where it was not, or does not exist
    arch_tag_matches: bool | None = None
    layers: tuple[tuple[str, int], ...] = ()  # digest and compressed bytes


def resolve_all(
    requests: Sequence[ImageRequest], client: RegistryClient, cancel: threading.Event | None = None
) -> dict[ImageRequest, ResolvedImage | CellFailure]:
    """Resolve every request; one that cannot be has its CellFailure as the value and stops no other.

    Raises BadInput, before anything is asked, with every reference that is none.
    """
    references = _parse_all(requests)
    stop = cancel or threading.Event()
    run = _Resolution(client, references, stop)
    distinct = list(dict.fromkeys(requests))
    with concurrent.futures.ThreadPoolExecutor(_WORKERS, "resolve") as pool:
        try:
            return dict(zip(distinct, pool.map(run.outcome, distinct), strict=True))
        except KeyboardInterrupt:
            stop.set()  # or leaving the pool would wait for every request still to come
            raise


def _parse_all(requests: Sequence[ImageRequest]) -> dict[str, Reference]:
    references: dict[str, Reference] = {}
    problems: list[Problem] = []
    texts = [
        text
        for request in requests
        for text in (request.reference, request.arch_reference)
        if text is not None
    ]
    for text in dict.fromkeys(texts):
        try:
            references[text] = parse_reference(text)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(problems)
    return references


class _Resolution:
    """One call of resolve_all: what was asked is remembered, failures too."""

    def __init__(
        self, client: RegistryClient, references: dict[str, Reference], cancel: threading.Event
    ) -> None:
        self._client = client
        self._references = references
        self._cancel = cancel
        self._lock = threading.Lock()
        self._asked: dict[tuple[str, Reference], concurrent.futures.Future[Any]] = {}
        self._silent: dict[str, CellFailure] = {}  # registries that gave no answer at all

    def outcome(self, request: ImageRequest) -> ResolvedImage | CellFailure:
        try:
            return self._resolve(request)
        except CellFailure as failure:
            # A plain one of its own for each cell: several may share a tag, and so a failure.
            return CellFailure(
                failure.cause,
                failure.message,
                expected=failure.expected,
                got=failure.got,
                detail=failure.detail,
                retry_after=failure.retry_after,
            )

    def _resolve(self, request: ImageRequest) -> ResolvedImage:
        reference = self._references[request.reference]
        top = self._manifest(reference)
        digest = self._child(reference, top, request.platform)
        child = self._manifest(reference.at(digest)) if isinstance(top.content, Index) else top
        if isinstance(child.content, Index):
            raise CellFailure(
                Cause.REGISTRY_BROKEN,
                f"the index of {reference} has an index for {request.platform}, not an image",
            )
        arch_tag = request.arch_reference if self._has_same(request, digest) else None
        return ResolvedImage(
            reference=request.reference,
            platform=request.platform,
            digest=digest,
            index_digest=top.digest if isinstance(top.content, Index) else None,
            size_bytes=child.content.size_bytes,
            pinned=str(reference.at(digest)),
            arch_tag=arch_tag,
            arch_tag_matches=True if arch_tag else None,
            layers=tuple((layer.digest, layer.size) for layer in child.content.layers),
        )

    def _child(self, reference: Reference, manifest: Manifest, platform: str) -> str:
        """The digest of the platform's manifest; PLATFORM_MISSING says what there is instead."""
        wanted = normal_platform(platform)
        if isinstance(manifest.content, Index):
            found = manifest.content.platforms()
            if wanted in found:
                return found[wanted].digest
            names = ", ".join(found) or "no platform at all"
            message = f"the index of {reference} has no {platform} (it has: {names})"
        else:
            image = manifest.content
            names = self._once(
                "platform", reference, lambda: self._client.platform(reference, image, self._cancel)
            )
            if names == wanted:
                return manifest.digest
            message = f"{reference} is a single image for {names}, not an index, and there is no {platform}"
        raise CellFailure(Cause.PLATFORM_MISSING, message, expected=platform, got=names)

    def _has_same(self, request: ImageRequest, digest: str) -> bool:
        """Does the per-arch tag exist? Raises ARCH_TAG_DIFFERS when it does and is another image."""
        if request.arch_reference is None:
            return False
        reference = self._references[request.arch_reference]
        found = self._once("digest", reference, lambda: self._client.digest(reference, self._cancel))
        if found is None:
            return False
        if found == digest:
            return True
        # BuildKit wraps even one platform in an index when it attests to it: then its child is what counts.
        try:
            found = self._child(reference, self._manifest(reference), request.platform)
        except CellFailure as failure:
            if failure.cause is not Cause.PLATFORM_MISSING:
                raise
            found = failure.got
        if found == digest:
            return True
        raise CellFailure(
            Cause.ARCH_TAG_DIFFERS,
            f"{reference} is {found}, and {request.reference} has {digest} for {request.platform}",
            expected=digest,
            got=found,
        )

    def _manifest(self, reference: Reference) -> Manifest:
        return self._once("manifest", reference, lambda: self._client.manifest(reference, self._cancel))

    def _once(self, what: str, reference: Reference, ask: Callable[[], _T]) -> _T:
        """The first to want something asks for it; the others wait for its answer."""
        with self._lock:
            silent = self._silent.get(reference.registry)
            future = self._asked.get((what, reference))
            first = future is None
            if future is None:
                future = self._asked[what, reference] = concurrent.futures.Future()
        if first:
            if silent:
                future.set_exception(silent)
            else:
                self._ask(reference, ask, future)
        return cast(_T, future.result())

    def _ask(
        self, reference: Reference, ask: Callable[[], _T], future: concurrent.futures.Future[Any]
    ) -> None:
        try:
            future.set_result(ask())
        except NoAnswer as failure:
            # Every other tag would wait as long for the same nothing.
            with self._lock:
                self._silent[reference.registry] = failure
            future.set_exception(failure)
        except BaseException as error:  # noqa: BLE001 - raised again by everybody who waits for it
            future.set_exception(error)
