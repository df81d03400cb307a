"""Against Debian's docker-registry: what a real one holds, and how it asks for a login."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e_matrix.errors import BadInput, CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.registry import ImageRequest, RegistryClient, ResolvedImage, parse_reference, resolve_all
from support.real_registry import (
    ATTESTATION,
    DOCKER_IMAGE,
    DOCKER_INDEX,
    PASSWORD,
    PROGRAM,
    USER,
    RealRegistry,
    real_registry,
)

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="docker-registry is not installed")

AMD, ARM = "linux/amd64", "linux/arm64"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRegistry]:
    with real_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient() as asking:
        yield asking


def resolved(client: RegistryClient, *requests: ImageRequest) -> list[ResolvedImage]:
    images = list(resolve_all(requests, client).values())
    assert all(isinstance(image, ResolvedImage) for image in images), images
    return [image for image in images if isinstance(image, ResolvedImage)]


def failure(client: RegistryClient, request: ImageRequest) -> CellFailure:
    found = resolve_all([request], client)[request]
    assert isinstance(found, CellFailure), found
    return found


def test_an_index_gives_the_child_of_each_platform(registry: RealRegistry, client: RegistryClient) -> None:
    amd = registry.image("a/b", AMD, content=b"amd", tag="one-amd64")
    arm = registry.image("a/b", "linux/arm64/v8", content=b"arm64", tag="one-arm64")
    note = registry.image("a/b", "unknown/unknown", content=b"note")
    entries = [("unknown/unknown", note, ATTESTATION), (AMD, amd, {}), ("linux/arm64/v8", arm, {})]
    index = registry.index("a/b", "one", entries)
    text = f"{registry.host}/a/b:one"

    first, second = resolved(
        client, ImageRequest(text, AMD, f"{text}-amd64"), ImageRequest(text, ARM, f"{text}-absent")
    )

    assert first == ResolvedImage(
        reference=text,
        platform=AMD,
        digest=amd.digest,
        index_digest=index.digest,
        size_bytes=amd.content_size,
        pinned=f"{registry.host}/a/b@{amd.digest}",
        arch_tag=f"{text}-amd64",
        arch_tag_matches=True,
        layers=((f"sha256:{hashlib.sha256(b'amd').hexdigest()}", 3),),
    )
    assert (second.digest, second.size_bytes) == (arm.digest, arm.content_size)
    assert (second.arch_tag, second.arch_tag_matches) == (None, None)
    assert pickle.loads(pickle.dumps(first)) == first


def test_docker_media_types_are_understood(registry: RealRegistry, client: RegistryClient) -> None:
    child = registry.image("docker", AMD, media_type=DOCKER_IMAGE)
    index = registry.index("docker", "t", [(AMD, child)], media_type=DOCKER_INDEX)
    (image,) = resolved(client, ImageRequest(f"{registry.host}/docker:t", AMD))
    assert (image.digest, image.index_digest) == (child.digest, index.digest)


def test_a_plain_manifest_has_the_platform_of_its_config(
    registry: RealRegistry, client: RegistryClient
) -> None:
    plain = registry.image("plain", "linux/arm64/v8", tag="t")
    text = f"{registry.host}/plain:t"
    (image,) = resolved(client, ImageRequest(text, ARM))
    assert (image.digest, image.index_digest, image.size_bytes) == (plain.digest, None, plain.content_size)
    missing = failure(client, ImageRequest(text, AMD))
    assert missing.cause is Cause.PLATFORM_MISSING
    assert missing.message == f"{text} is a single image for linux/arm64, not an index, and there is no {AMD}"


def test_an_index_without_the_platform_names_what_it_has(
    registry: RealRegistry, client: RegistryClient
) -> None:
    note = registry.image("half", "unknown/unknown", content=b"note")
    registry.index("half", "t", [(AMD, registry.image("half", AMD)), ("linux/arm64", note, ATTESTATION)])
    text = f"{registry.host}/half:t"
    missing = failure(client, ImageRequest(text, ARM))
    assert missing.cause is Cause.PLATFORM_MISSING
    assert missing.message == f"the index of {text} has no linux/arm64 (it has: linux/amd64)"


def test_a_missing_tag_stops_no_other(registry: RealRegistry, client: RegistryClient) -> None:
    registry.index("some", "here", [(AMD, registry.image("some", AMD))])
    gone, nowhere, here = (f"{registry.host}/{name}" for name in ("some:gone", "nowhere:t", "some:here"))
    found = resolve_all([ImageRequest(text, AMD) for text in (gone, nowhere, here)], client)
    causes = [image.cause for image in found.values() if isinstance(image, CellFailure)]
    assert causes == [Cause.TAG_MISSING, Cause.TAG_MISSING]
    assert isinstance(found[ImageRequest(here, AMD)], ResolvedImage)
    assert str(found[ImageRequest(gone, AMD)]) == f"the registry has no {gone}"


def test_a_per_arch_tag_of_another_build_is_found_out(registry: RealRegistry, client: RegistryClient) -> None:
    child = registry.image("drift", AMD, content=b"new")
    registry.index("drift", "t", [(AMD, child)])
    other = registry.image("drift", AMD, content=b"old", tag="t-amd64")
    text = f"{registry.host}/drift:t"
    differs = failure(client, ImageRequest(text, AMD, f"{text}-amd64"))
    assert differs.cause is Cause.ARCH_TAG_DIFFERS
    assert (differs.expected, differs.got) == (child.digest, other.digest)


def test_a_per_arch_tag_with_attestations_is_compared_by_its_image(
    registry: RealRegistry, client: RegistryClient
) -> None:
    child = registry.image("wrapped", AMD, content=b"same")
    other = registry.image("wrapped", AMD, content=b"other")
    note = registry.image("wrapped", "unknown/unknown", content=b"note")
    registry.index("wrapped", "t", [(AMD, child)])
    registry.index("wrapped", "same", [(AMD, child), ("unknown/unknown", note, ATTESTATION)])
    registry.index("wrapped", "other", [(AMD, other), ("unknown/unknown", note, ATTESTATION)])
    registry.index("wrapped", "arm", [(ARM, child)])
    text = f"{registry.host}/wrapped"
    (same,) = resolved(client, ImageRequest(f"{text}:t", AMD, f"{text}:same"))
    assert same.arch_tag_matches is True
    for tag in ("other", "arm"):
        assert (
            failure(client, ImageRequest(f"{text}:t", AMD, f"{text}:{tag}")).cause is Cause.ARCH_TAG_DIFFERS
        )


def test_a_digest_can_be_asked_for(registry: RealRegistry, client: RegistryClient) -> None:
    child = registry.image("pinned", AMD)
    text = f"{registry.host}/pinned@{child.digest}"
    (image,) = resolved(client, ImageRequest(text, AMD))
    assert image.pinned == text


def test_a_login_is_taken_from_dockers_config(
    tmp_path: Path, client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with real_registry(tmp_path / "registry", login=True) as private:
        child = private.image("secret", AMD)
        private.index("secret", "t", [(AMD, child)])
        request = ImageRequest(f"{private.host}/secret:t", AMD)
        client.ping(private.host)

        refused = failure(client, request)
        assert refused.cause is Cause.REGISTRY_DENIED
        assert f"`docker login {private.host}`" in refused.message

        for password, cause in (("wrong", Cause.REGISTRY_DENIED), (PASSWORD, None)):
            secret = base64.b64encode(f"{USER}:{password}".encode()).decode()
            (tmp_path / "config.json").write_text(json.dumps({"auths": {private.host: {"auth": secret}}}))
            with RegistryClient() as fresh:
                found = resolve_all([request], fresh)[request]
            assert (found.cause if isinstance(found, CellFailure) else None) is cause


def test_nonsense_is_all_reported_before_anything_is_asked(client: RegistryClient) -> None:
    requests = [ImageRequest("https://x/y", AMD), ImageRequest("ghcr.io/A", AMD, "ghcr.io/a:-")]
    with pytest.raises(BadInput) as caught:
        resolve_all(requests, client)
    assert len(caught.value.problems) == 3


def test_a_registry_answers_a_ping(registry: RealRegistry, client: RegistryClient) -> None:
    client.ping(registry.host)
    assert parse_reference(f"{registry.host}/a:t").api == f"http://{registry.host}"
