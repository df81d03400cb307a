"""What only a real Docker engine can show: pulls, refusals by the kernel, probes, and an engine that dies."""

from __future__ import annotations

import base64
import json
import platform
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from e2e_matrix.engine import docker_watch, probe
from e2e_matrix.engine.base import LABEL_RUN, PullProgress, Support
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from support import tiny_image
from support.engine_proxy import EngineProxy, engine_proxy
from support.engines import World
from support.real_registry import PASSWORD, USER, RealRegistry, real_registry
from support.registry_faults import FaultServer, Reply

AMD64, ARM64 = "linux/amd64", "linux/arm64"


@pytest.fixture
def world(docker_engine: DockerEngine, tiny: str) -> Iterator[World]:
    made = World(docker_engine, tiny)
    yield made
    made.clean()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[EngineProxy]:
    with engine_proxy(tmp_path / "engine.sock") as made:
        yield made


def _random_image(registry: RealRegistry, size: int = 3_000_000) -> str:
    """An image that no engine has seen, and that gzip cannot make small."""
    content = random.randbytes(size)
    return tiny_image.push(registry, "fresh", root=tiny_image.root_tar({"data": content}))


def _pull_failure(engine: DockerEngine, reference: str, wanted: str = AMD64) -> CellFailure:
    with pytest.raises(CellFailure) as caught:
        engine.pull(reference, wanted)
    assert reference in caught.value.message
    return caught.value


def test_a_pull_downloads_once_and_tells_its_progress(
    docker_engine: DockerEngine, tiny_registry: RealRegistry
) -> None:
    reference = _random_image(tiny_registry)
    progress: list[PullProgress] = []
    assert not docker_engine.pull(reference, AMD64, progress.append).was_present
    assert docker_engine.pull(reference, AMD64).was_present
    done = [one.done_bytes for one in progress]
    assert done == sorted(done)
    assert 3_000_000 <= done[-1] == progress[-1].total_bytes < 6_000_000


def test_threads_pull_the_same_image(docker_engine: DockerEngine, tiny_registry: RealRegistry) -> None:
    reference = _random_image(tiny_registry)
    pulled: list[str] = []
    threads = [
        threading.Thread(target=lambda: pulled.append(docker_engine.pull(reference, AMD64).image_id))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pulled) == 4
    assert len(set(pulled)) == 1


def test_two_platforms_of_one_repository_side_by_side(
    docker_engine: DockerEngine, tiny: str, tiny_registry: RealRegistry
) -> None:
    arm = tiny_image.push(tiny_registry, "tiny", ARM64)
    assert docker_engine.pull(arm, ARM64).platform == ARM64
    assert docker_engine.pull(tiny, AMD64).was_present


def test_an_index_without_the_platform(docker_engine: DockerEngine, tiny_registry: RealRegistry) -> None:
    pushed = tiny_registry.image("lacking", AMD64)
    index = tiny_registry.index("lacking", "tag", [(AMD64, pushed)])
    failure = _pull_failure(docker_engine, f"{tiny_registry.host}/lacking@{index.digest}", ARM64)
    assert failure.cause is Cause.PLATFORM_MISSING


def test_an_image_that_is_of_another_platform_than_it_was_pushed_for(
    docker_engine: DockerEngine, tiny_registry: RealRegistry
) -> None:
    wrong = tiny_image.push(tiny_registry, "wrong", ARM64)
    failure = _pull_failure(docker_engine, wrong, AMD64)
    assert failure.cause is Cause.PLATFORM_MISSING
    assert ARM64 in failure.message


def test_an_exception_of_the_watcher_ends_the_pull(
    docker_engine: DockerEngine, tiny_registry: RealRegistry
) -> None:
    class Stop(Exception):
        pass

    def stop(_: PullProgress) -> None:
        raise Stop

    with pytest.raises(Stop):
        docker_engine.pull(_random_image(tiny_registry), AMD64, stop)
    assert docker_engine.info().version


def test_a_pull_that_hangs_is_let_go_of_at_once(docker_engine: DockerEngine) -> None:
    """Before the engine's first word, while it waits for a registry that does not answer."""

    class Stop(Exception):
        pass

    calls: list[PullProgress] = []

    def stop(progress: PullProgress) -> None:
        calls.append(progress)
        if len(calls) == 3:
            raise Stop

    digest = "0" * 64
    with FaultServer() as registry:
        registry.on("/v2/", Reply(200))
        registry.on(f"/v2/hanging/manifests/sha256:{digest}", Reply(stall=True))
        begin = time.monotonic()
        with pytest.raises(Stop):
            docker_engine.pull(f"{registry.host}/hanging@sha256:{digest}", AMD64, stop)
        assert 0.5 < time.monotonic() - begin < 3
    assert docker_engine.info().version


def test_a_registry_that_wants_a_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, docker_engine: DockerEngine
) -> None:
    with real_registry(tmp_path / "registry", login=True) as registry:
        reference = tiny_image.push(registry, "private")
        assert _pull_failure(docker_engine, reference).cause is Cause.REGISTRY_DENIED
        secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": secret}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with closing(DockerEngine.connect()) as logged_in:
            assert logged_in.pull(reference, AMD64).entrypoint == ("/program",)
        with closing(docker.from_env()) as client:
            client.api.remove_image(reference, force=True)


@pytest.mark.filterwarnings("ignore:docker-credential-not-installed")
def test_credentials_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_registry: RealRegistry
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "not-installed"}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with closing(DockerEngine.connect()) as engine, pytest.raises(CellFailure) as caught:
        engine.pull(_random_image(tiny_registry, 1000), AMD64)
    assert caught.value.cause is Cause.REGISTRY_DENIED
    assert "not-installed" in caught.value.message


def test_a_registry_that_is_down(docker_engine: DockerEngine) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{reserved.getsockname()[1]}"
        failure = _pull_failure(docker_engine, f"{host}/x@sha256:{'0' * 64}")
    assert failure.cause is Cause.REGISTRY_UNREACHABLE


@pytest.mark.parametrize(
    ("path", "content", "explanation"),
    [
        ("foreign", b"\x7fELF\x02\x01\x01" + bytes(60), "another platform"),
        ("script", b"#!/no/such/interpreter\n", "interpreter"),
    ],
)
def test_a_program_that_the_kernel_refuses(
    world: World, tiny_registry: RealRegistry, path: str, content: bytes, explanation: str
) -> None:
    world.image = tiny_image.push(tiny_registry, path, root=tiny_image.root_tar({path: content}))
    world.engine.pull(world.image, AMD64)
    container = world.create(entrypoint=(f"/{path}",))
    raised: list[CellFailure] = []
    try:
        world.engine.start(container)
    except CellFailure as failure:
        raised.append(failure)
    else:  # the engine reported the start before it knew
        with world.watched(container) as ended:
            assert ended(10)
    assert all(one.cause is Cause.NOT_STARTABLE and explanation in one.message for one in raised)
    assert f"exec /{path}: " in world.engine.state(container).error


def test_a_file_that_is_no_program(world: World) -> None:
    container = world.create(entrypoint=("/www",))
    with pytest.raises(CellFailure, match=r"not executable|directory") as caught:
        world.engine.start(container)
    assert caught.value.cause is Cause.NOT_STARTABLE


def test_a_container_that_fails_by_itself_is_no_start_failure(world: World) -> None:
    container = world.finish("exit", "1")
    assert world.engine.state(container).error == ""


def test_a_container_reaches_a_server_on_the_gateway(world: World) -> None:
    gateway = world.engine.host_gateway()
    with socket.create_server((gateway, 0)) as server:
        server.settimeout(10)
        port = str(server.getsockname()[1])
        world.start("host.docker.internal", port, entrypoint=("/bin/nc",))
        connection, _ = server.accept()
        connection.close()


def test_probes_run_once_and_leave_nothing(
    docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    image_tar = probe.image_tar

    def counted(wanted: str) -> bytes | None:
        made.append(wanted)
        return image_tar(wanted)

    monkeypatch.setattr(probe, "image_tar", counted)
    with closing(DockerEngine.connect()) as engine:
        found: list[Support] = []
        threads = [
            threading.Thread(target=lambda: found.append(engine.probe(ARM64).support)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert made == [ARM64]
    registered = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists()
    native = platform.machine() == "aarch64"
    expected = Support.NATIVE if native else Support.EMULATED if registered else Support.UNSUPPORTED
    assert found == [expected] * 8
    assert docker_engine.list({LABEL_RUN: "probe"}) == []
    with closing(docker.from_env()) as client:
        assert client.api.images(name=probe.REPOSITORY) == []


def test_a_foreign_program_is_unsupported(
    docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray(probe.program(AMD64) or b"")
    content[18:20] = (0xF00D).to_bytes(2, "little")  # a machine that nobody emulates
    monkeypatch.setattr(probe, "program", lambda _: bytes(content))
    with closing(DockerEngine.connect()) as engine:
        found = engine.probe(ARM64)
    assert found.support is Support.UNSUPPORTED
    assert "exec format error" in found.detail


def test_an_engine_that_dies_is_lost(proxy: EngineProxy, tiny: str) -> None:
    with closing(DockerEngine.connect(proxy.address)) as engine:
        assert engine.info().address == proxy.address
        proxy.cut()
        for call in (engine.info, lambda: engine.list({}), lambda: engine.pull(tiny, AMD64)):
            with pytest.raises(CellFailure, match="stopped answering") as caught:
                call()
            assert caught.value.cause is Cause.ENGINE_LOST
            assert proxy.address in caught.value.message


def test_an_engine_that_dies_during_a_call_is_lost(proxy: EngineProxy, world: World) -> None:
    container = world.start("stay")
    with closing(DockerEngine.connect(proxy.address)) as engine:
        raised: list[CellFailure] = []

        def run() -> None:
            try:
                engine.exec(container, ["/program", "sleep", "20"])
            except CellFailure as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        begin = time.monotonic()
        thread.start()
        thread.join(0.5)
        proxy.cut()
        thread.join()
    assert [error.cause for error in raised] == [Cause.ENGINE_LOST]
    assert time.monotonic() - begin < 5


def test_a_watch_outlives_the_connection(proxy: EngineProxy, world: World) -> None:
    container = world.start("deaf")
    with closing(DockerEngine.connect(proxy.address)) as engine:
        watch = engine.watch_exit(container)
        proxy.cut()
        proxy.listen()
        assert not watch.exited.wait(0.6)
        world.engine.stop(container, 0)
        assert watch.exited.wait(2)
        watch.close()


def test_a_watch_without_an_engine_gives_up(
    proxy: EngineProxy, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_watch, "_GIVE_UP", 0.5)
    container = world.start("stay")
    with closing(DockerEngine.connect(proxy.address)) as engine:
        watch = engine.watch_exit(container)
        proxy.cut()
        assert watch.exited.wait(5)
        watch.close()


def test_a_silent_wait_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_watch, "_REARM", 0.2)
    container = world.start("exit-after", "1", "0")
    with world.watched(container) as ended:
        assert not ended(0.7)
        assert ended(5)


def test_nothing_stays_open(world: World) -> None:
    container = world.start("stay")

    def use() -> None:
        watch = world.engine.watch_exit(container)
        world.engine.exec(container, ["/program", "exit", "0"])
        with pytest.raises(CellFailure):
            world.engine.exec(container, ["/program", "sleep", "3"], 0.05)
        world.engine.logs(container, 10)
        watch.close()

    def count() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    use()
    before = count()
    for _ in range(5):
        use()
    assert count() == before


def test_a_closed_engine_says_so(tiny: str) -> None:
    engine = DockerEngine.connect()
    engine.close()
    engine.close()
    with pytest.raises(CellFailure, match="closed"):
        engine.info()
