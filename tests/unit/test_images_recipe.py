"""images/ as it is committed, and what is said about one that cannot be used."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from e2e_matrix.errors import BadInput
from e2e_matrix.local import recipe, server_site
from e2e_matrix.local.recipe import ARCHITECTURES, content_key, read_recipe

COMMITTED = read_recipe(recipe.default_folder())


def test_the_committed_recipe_has_the_variants_that_upstream_publishes() -> None:
    assert list(COMMITTED.variants) == ["python", "java", "golang"]
    assert list(ARCHITECTURES) == ["amd64", "arm64"]


def test_the_default_version_is_locked_with_a_hash_for_everything_and_names_no_index() -> None:
    text = COMMITTED.committed_lock(COMMITTED.server.version).read_text()
    pins = re.findall(r"^([a-z0-9._-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z]", text, re.MULTILINE))
    assert dict(pins)["openhands-agent-server"] == COMMITTED.server.version
    assert "://" not in text


def test_the_settings_are_those_of_the_published_images() -> None:
    settings = COMMITTED.container.settings("a" * 40, "local-1.58.0", {})
    assert settings["User"] == "openhands"
    assert settings["WorkingDir"] == "/"
    assert settings["Entrypoint"] == ["tini", "--", "openhands-agent-server"]
    assert "8000/tcp" in settings["ExposedPorts"]  # type: ignore[operator]
    assert f"OPENHANDS_BUILD_GIT_SHA={'a' * 40}" in settings["Env"]  # type: ignore[operator]
    assert "LC_ALL=C.UTF-8" in settings["Env"]  # type: ignore[operator]
    assert not {"Labels", "Healthcheck"} & set(settings)


def test_a_published_base_keeps_its_path_and_what_is_not_ours() -> None:
    base = {"PATH": "/usr/local/go/bin:/bin", "GOPATH": "/go", "LANG": "en_US.UTF-8"}
    env = COMMITTED.container.settings("a" * 40, "local", base)["Env"]
    assert {"PATH=/usr/local/go/bin:/bin", "GOPATH=/go", "LANG=C.UTF-8"} <= set(env)  # type: ignore[call-overload]


def test_every_problem_of_a_recipe_is_said_at_once(tmp_path: Path) -> None:
    shutil.copytree(recipe.default_folder(), tmp_path / "images")
    file = tmp_path / "images" / "images.toml"
    file.write_text(file.read_text().replace("uid = 10001", 'uid = "me"\nshell = "zsh"'))
    with pytest.raises(BadInput) as caught:
        read_recipe(tmp_path / "images")
    said = str(caught.value)
    assert "container.uid" in said
    assert "container.shell" in said
    assert str(file) in said


@pytest.mark.parametrize("text", [None, "repository = ["], ids=["missing", "no TOML"])
def test_a_recipe_that_cannot_be_read_is_bad_input(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "images.toml").write_text(text)
    with pytest.raises(BadInput, match=r"images\.toml"):
        read_recipe(tmp_path)


def test_every_unknown_choice_is_said_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        recipe.check_selection(COMMITTED, ["python", "ruby"], ["s390x"], "alpine", ["debian"])
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize("version", ["", "v1.58.0", "1.58.0 --index x", "../../etc/passwd"])
def test_what_is_no_version_never_becomes_a_path_or_an_argument(tmp_path: Path, version: str) -> None:
    with pytest.raises(BadInput, match="--server-version"):
        server_site.lock(COMMITTED, version, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_was_resolved_before_is_not_resolved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def resolve(*arguments: object) -> str:
        asked.append(arguments)
        return "server==9.9.9\n"

    monkeypatch.setattr(server_site, "resolve", resolve)
    first = server_site.lock(COMMITTED, "9.9.9", tmp_path)
    assert server_site.lock(COMMITTED, "9.9.9", tmp_path) == first
    assert first.read_text() == "server==9.9.9\n"
    assert len(asked) == 1


def test_an_old_server_is_resolved_with_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wanted(version: str) -> list[str]:
        server_site.resolve(COMMITTED, version, tmp_path)
        return (tmp_path / "locks" / f"{version}.in").read_text().splitlines()

    monkeypatch.setattr(server_site, "_uv", lambda *_, **__: "")
    together = ["openhands-agent-server==1.58.0", "openhands-sdk==1.58.0", "openhands-tools==1.58.0"]
    assert wanted("1.58.0") == together
    assert wanted("1.43.1")[3:] == wanted("1.9.0")[3:] == ["fastapi<=0.136.3"]


def test_keys_differ_where_parts_differ() -> None:
    assert content_key({"a": b"12", "b": b"3"}) != content_key({"a": b"1", "b": b"23"})
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
