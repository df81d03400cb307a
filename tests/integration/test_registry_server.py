"""The local registry: Debian's program, and the container where that is missing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest

from e2e_matrix.engine.base import LABEL_DEADLINE, LABEL_OWNER, LABEL_RUN
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.local import oci, registry_server
from e2e_matrix.local.images import BuildResult, Image
from e2e_matrix.local.oci import BlobStore, Entry, directory
from e2e_matrix.local.push import publish
from e2e_matrix.local.registry_server import LocalRegistry

ABSENT = "no-such-docker-registry"


def _answers(host: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://{host}/v2/", trust_env=False).status_code == 200
    return False


def test_it_answers_while_the_block_runs_and_keeps_what_was_pushed(tmp_path: Path) -> None:
    for first in (True, False):
        with LocalRegistry(tmp_path / "storage", port=0) as registry:
            assert _answers(registry.host)
            with httpx.Client(base_url=f"http://{registry.host}/v2/a/", trust_env=False) as http:
                if first:
                    place = http.post("blobs/uploads/").headers["Location"]
                    digest = "sha256:" + "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
                    http.put(f"{place}&digest={digest}", content=b"foo").raise_for_status()
                assert http.get(f"blobs/{digest}").content == b"foo"
            host = registry.host
        assert not _answers(host)


def test_a_port_that_is_taken_is_not_used(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with LocalRegistry(tmp_path, port=port) as registry:
            assert registry.host != f"127.0.0.1:{port}"
            assert _answers(registry.host)


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from e2e_matrix.local.registry_server import LocalRegistry\n"
        "with LocalRegistry(Path(sys.argv[1]), port=0) as registry:\n"
        "    print(registry.host, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-c", program, str(tmp_path / "storage")]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        host = parent.stdout.readline().strip()
        assert _answers(host)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        ends = time.monotonic() + 10
        while _answers(host):
            assert time.monotonic() < ends, "the registry outlived its parent"
            time.sleep(0.05)
    assert list(temporary.iterdir()) == []


def test_it_does_not_start_for_a_parent_that_is_gone_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the runner is killed after the fork and before the kernel was told to pass that on."""
    monkeypatch.setattr(os, "getpid", lambda: 1 << 22)  # more than any pid
    with (
        pytest.raises(InfrastructureError, match="ended at once"),
        LocalRegistry(tmp_path / "storage", port=0),
    ):
        pytest.fail("it must not run")


def test_a_program_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    program = tmp_path / "broken-registry"
    program.write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    program.chmod(0o755)
    with (
        pytest.raises(InfrastructureError, match=r"(?s)ended at once.*no room"),
        LocalRegistry(tmp_path / "storage", program=str(program)),
    ):
        pytest.fail("it cannot run")


def test_a_storage_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InfrastructureError, match="XDG_CACHE_HOME"), LocalRegistry(tmp_path / "file" / "x"):
        pytest.fail("it cannot run")


def test_without_the_program_and_an_engine_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with (
        pytest.raises(InfrastructureError, match=r"apt-get install.* docker-registry"),
        LocalRegistry(tmp_path, program=ABSENT),
    ):
        pytest.fail("it cannot run")


def test_without_the_program_and_the_image_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_server, "IMAGE", "127.0.0.1:1/registry:2")
    with (
        pytest.raises(InfrastructureError, match=r"apt-get install.* docker-registry"),
        LocalRegistry(tmp_path, program=ABSENT),
    ):
        pytest.fail("it cannot run")


@pytest.fixture
def registry_image(tmp_path: Path) -> Iterator[str]:
    """An image that behaves as registry:2: Debian's program on port 5000, storage in /var/lib/registry."""
    program = shutil.which("docker-registry")
    assert program, "apt-get install docker-registry"
    linked = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.split()
    libraries = [Path(word) for word in linked if word.startswith("/")]
    settings = (
        "{version: 0.1, storage: {filesystem: {rootdirectory: /var/lib/registry}}, http: {addr: ':5000'}}"
    )
    store = BlobStore(tmp_path / "blobs")
    layer = store.write_layer(
        [
            directory("tmp", 0o1777),
            Entry("registry", mode=0o755, content=Path(program)),
            Entry("config.yml", content=settings.encode()),
            *(Entry(str(path).lstrip("/"), mode=0o755, content=path.resolve()) for path in libraries),
        ]
    )
    arch = {"x86_64": "amd64"}.get(os.uname().machine, "arm64")
    config = oci.config(arch, {"Entrypoint": ["/registry", "serve", "/config.yml"]}, [(layer, "test")])
    image = Image("registry", arch, config, oci.manifest(config, [layer]), (layer,))
    result = BuildResult("0" * 40, "0", "test/registry", (image,), store, 1, 0.0)
    with LocalRegistry(tmp_path / "source", port=0) as registry:
        reference = publish(result, registry.host).reference("registry")
        client = docker.from_env()
        client.images.pull(reference)
        try:
            yield reference
        finally:
            client.images.remove(reference, force=True)
            client.close()


def test_without_the_program_it_runs_in_a_container_with_our_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry_image: str
) -> None:
    monkeypatch.setattr(registry_server, "IMAGE", registry_image)
    said: list[str] = []
    client = docker.from_env()
    try:
        with LocalRegistry(tmp_path / "storage", port=0, program=ABSENT, say=said.append) as registry:
            assert _answers(registry.host)
            [container] = client.containers.list(filters={"ancestor": registry_image})
            assert {LABEL_RUN, LABEL_OWNER, LABEL_DEADLINE} <= set(container.labels)
            host = registry.host
        assert not _answers(host)
        assert client.containers.list(all=True, filters={"ancestor": registry_image}) == []
    finally:
        client.close()
    assert registry_image in said[0]
