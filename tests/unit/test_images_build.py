"""What is built, what is not built again, and what a build that was broken off leaves: with tiny parts."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.errors import InfrastructureError
from e2e_matrix.local import bytecode, contract, images, published, recipe, rootfs, server_site
from e2e_matrix.local.images import BuildResult
from e2e_matrix.local.oci import BlobStore
from e2e_matrix.local.published import Base


@dataclass
class Workshop:
    """A cache, a recipe and stand-ins for what downloads: they write two files each and keep count."""

    cache: Path
    images: Path
    calls: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    broken: str = ""

    def build(self, **choices: Any) -> BuildResult:
        return images.build(say=self.said.append, cache=self.cache, images=self.images, **choices)

    def call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.broken:
            raise InfrastructureError(f"{name} is broken")


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    shop = Workshop(tmp_path / "cache", tmp_path / "images")
    shutil.copytree(recipe.default_folder(), shop.images)

    def unpack(plan: recipe.Recipe, arch: str, target: Path) -> None:
        shop.call(f"debian {arch}")
        for name in ("base", *plan.variants):
            (target / name / "usr/share/libc-bin").mkdir(parents=True)
            (target / name / "usr/share/base-passwd").mkdir(parents=True)
            (target / name / "content").write_text(f"{name} {arch}")
        for name in ("libc-bin/nsswitch.conf", "base-passwd/passwd.master", "base-passwd/group.master"):
            (target / "base/usr/share" / name).touch()
        python = target / "base/usr/lib" / recipe.ARCHITECTURES[arch][1] / "ld-linux-x.so.2"
        python.parent.mkdir(parents=True)
        python.touch()

    def install(plan: recipe.Recipe, locked: Path, arch: str, target: Path) -> None:
        shop.call(f"server {arch}")
        target.mkdir()
        (target / "server.py").write_text(f"{arch} {locked.read_text()[:20]}")

    monkeypatch.setattr(rootfs, "unpack", unpack)
    monkeypatch.setattr(server_site, "install", install)
    monkeypatch.setattr(bytecode.Interpreter, "compile", lambda *_: None)
    return shop


def test_six_images_are_built_with_upstreams_tags(workshop: Workshop) -> None:
    result = workshop.build()
    assert result.built == len(result.images) == 6
    assert len(result.sha) == 40
    short, version = result.sha[:7], result.server_version
    for name in (short, result.sha, version):
        assert result.tags[f"{name}-java"] == result.indexes["java"]
    assert result.tags["latest-java"] == result.indexes["java"]
    assert "latest-java-amd64" not in result.tags
    for image in result.images:
        assert result.tags[f"{short}-{image.variant}-{image.arch}"] == image.manifest
        assert image.manifest.digest.encode() in result.indexes[image.variant].content
    assert len(result.tags) == 3 * (6 + 3) + 3


def test_the_layers_below_the_tools_are_shared(workshop: Workshop) -> None:
    result = workshop.build()
    shared = {image.layers[:2] for image in result.images if image.arch == "arm64"}
    assert len(shared) == 1
    assert len({image.layers[2].digest for image in result.images}) == 6


def test_a_second_build_builds_nothing(workshop: Workshop) -> None:
    first = workshop.build()
    workshop.calls.clear()
    second = workshop.build()
    assert second.built == 0
    assert workshop.calls == []
    assert second.tags == first.tags


def test_one_image_needs_one_architecture_and_the_next_build_completes_the_index(workshop: Workshop) -> None:
    one = workshop.build(variants=["java"], arches=["amd64"])
    assert [(image.variant, image.arch) for image in one.images] == [("java", "amd64")]
    assert sorted(workshop.calls) == ["debian amd64", "server amd64"]
    other = workshop.build(variants=["java"], arches=["arm64"])
    assert other.built == 1
    assert [image.arch for image in other.images] == ["amd64", "arm64"]


def test_what_changes_the_images_changes_their_sha_and_no_other_layer(workshop: Workshop) -> None:
    before = workshop.build()
    script = workshop.images / "openhands-agent-server"
    script.write_text(script.read_text() + "# changed\n")
    workshop.calls.clear()
    after = workshop.build()
    assert after.sha != before.sha
    assert sorted(workshop.calls) == ["server amd64", "server arm64"]
    assert after.images[0].layers[0] == before.images[0].layers[0]


def test_what_was_made_before_a_failure_is_kept_and_the_rest_is_made_next_time(workshop: Workshop) -> None:
    workshop.build(arches=["amd64"])
    workshop.broken = "server arm64"
    with pytest.raises(InfrastructureError, match="server arm64"):
        workshop.build()
    workshop.broken = ""
    workshop.calls.clear()
    assert workshop.build().built == 3
    assert sorted(workshop.calls) == ["debian arm64", "server arm64"]


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(workshop: Workshop) -> None:
    first = workshop.build(arches=["amd64"])
    folder = workshop.cache / "images"
    (folder / "work-killed").mkdir()
    (folder / "blobs" / "partial-killed").write_bytes(b"half")
    for layer in first.images[0].layers:
        first.blobs.path(layer.digest).write_bytes(b"")
    again = workshop.build(arches=["amd64"])
    assert again.built == 3
    assert all(map(again.blobs.has, again.images[0].layers))
    assert list(folder.glob("work-*")) == list(folder.glob("blobs/partial-*")) == []


def test_two_builds_at_once_build_once(workshop: Workshop) -> None:
    results: list[BuildResult] = []
    threads = [threading.Thread(target=lambda: results.append(workshop.build())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.built for result in results) == [0, 6]
    assert len(workshop.calls) == 4


def test_the_list_of_what_is_built_builds_nothing(workshop: Workshop) -> None:
    assert images.cached(images=workshop.images, cache=workshop.cache).images == ()
    built = workshop.build(arches=["arm64"])
    workshop.calls.clear()
    assert images.cached(images=workshop.images, cache=workshop.cache).images == built.images
    assert workshop.calls == []


def test_images_on_published_bases_carry_a_runtime_between_base_and_server(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pull(reference: str, arch: str, blobs: BlobStore, work: Path) -> Base:
        workshop.call(f"pull {reference} {arch}")
        layer = blobs.write_layer([])
        return Base(reference, (layer,), {"PATH": "/base/bin"}, {"etc/passwd": b"root:x:0:0::/:/bin/sh\n"})

    def install_python(plan: recipe.Recipe, arch: str, target: Path) -> None:
        (target / "bin").mkdir(parents=True)
        (target / "bin" / "python3.13").write_text(arch)

    monkeypatch.setattr(published, "pull_base", pull)
    monkeypatch.setattr(published, "_read_file", lambda *_: b"tini")
    monkeypatch.setattr(server_site, "install_python", install_python)
    debian = workshop.build(variants=["golang"], arches=["amd64"])
    workshop.calls.clear()
    result = workshop.build(variants=["golang"], arches=["amd64"], base="published")
    assert workshop.calls == ["pull golang:1.21-bookworm amd64"]
    assert result.sha != debian.sha
    [image] = result.images
    assert image.layers[2] == debian.images[0].layers[1]
    assert b"PATH=/base/bin" in image.config.content
    assert workshop.build(variants=["golang"], arches=["amd64"], base="published").built == 0


def test_a_base_that_cannot_be_pulled_stops_the_build_before_anything_is_built(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pull(reference: str, *_: object) -> Base:
        raise InfrastructureError(f"the base image {reference} cannot be had", "Build with --base debian.")

    monkeypatch.setattr(published, "pull_base", pull)
    with pytest.raises(InfrastructureError, match=r"eclipse-temurin:17-jdk.*\n.*--base debian"):
        workshop.build(variants=["java"], base="published")
    assert workshop.calls == []


def test_the_contract_server_lies_on_the_same_base_and_has_a_sha_of_its_own(workshop: Workshop) -> None:
    def build() -> contract.ContractBuild:
        return contract.build(workshop.said.append, folder=workshop.images, cache=workshop.cache)

    local, made = workshop.build(), build()
    bases = {image.arch: image.layers[0] for image in local.images}
    assert {image.arch: image.layers[0] for image in made.images} == bases
    assert len({image.layers[1].digest for image in made.images}) == 1
    assert list(made.tags) == [f"{made.ref}-amd64", f"{made.ref}-arm64", made.ref, "latest"]
    assert all(image.manifest.digest.encode() in made.index.content for image in made.images)
    assert made.sha.encode() in made.images[0].config.content
    assert b'"Entrypoint":["tini","--","contract-server"]' in made.images[0].config.content
    assert build().tags == made.tags
    module = workshop.images / "contract-server/contract_server/server.py"
    module.write_text(module.read_text() + "# changed\n")
    assert build().sha != made.sha
    assert workshop.build().tags == local.tags
