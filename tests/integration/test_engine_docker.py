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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest

from e2e_matrix.engine import docker as docker_engine_module
from e2e_matrix.engine import docker_follow, docker_watch, probe
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
        assert 0.5 < time.monotonic() - begin < 10
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


def test_what_the_engine_says_of_a_refused_pull_has_no_login_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = "open+sesame/42"

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.headers.get("Authorization", "").removeprefix("Basic ")
            plain = base64.b64decode(sent).decode()
            message = f"you sent {sent} {plain} to https://blobs.test/x?Signature=abcdef"
            body = json.dumps({"errors": [{"code": "DENIED", "message": message}]}).encode()
            self.send_response(403 if sent else 401)
            self.send_header("WWW-Authenticate", "Basic realm=echo")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        host = f"127.0.0.1:{server.server_address[1]}"
        secret = base64.b64encode(f"{USER}:{password}".encode()).decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"auth": secret}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        try:
            with closing(DockerEngine.connect()) as engine:
                failure = _pull_failure(engine, f"{host}/x@sha256:{'0' * 64}")
        finally:
            server.shutdown()
            thread.join()
    assert failure.cause is Cause.REGISTRY_DENIED
    assert "you sent" in failure.message
    for hidden in (password, secret[4:-4], "abcdef"):
        assert hidden not in failure.message


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


def _numbers(heard: list[bytes], word: bytes = b"line ") -> list[int]:
    lines = b"".join(heard).splitlines()
    return [int(line.removeprefix(word)) for line in lines if line.startswith(word)]


@pytest.mark.parametrize("attached", [True, False])
def test_a_log_is_followed_through_silence(
    world: World, monkeypatch: pytest.MonkeyPatch, attached: bool
) -> None:
    monkeypatch.setattr(docker_follow, "_REREAD", 0.2)
    monkeypatch.setattr(docker_follow, "_CALL", 0.4)
    heard: list[bytes] = []
    container = world.create("count", "3", "0.9")
    if not attached:
        world.engine.start(container)
    follow = world.engine.follow_logs(container, heard.append)
    if attached:
        world.engine.start(container)
    assert follow.ended.wait(20)
    follow.close(0)
    assert _numbers(heard) == _numbers(heard, b"error ") == [0, 1, 2]
    assert follow.complete


def test_a_log_is_followed_over_lost_connections(proxy: EngineProxy, world: World) -> None:
    heard: list[bytes] = []
    container = world.create("count", "60", "0.05")
    with closing(DockerEngine.connect(proxy.address)) as engine:
        follow = engine.follow_logs(container, heard.append)
        world.engine.start(container)
        for count in (5, 25):
            while len(_numbers(heard)) < count:
                assert not follow.ended.wait(0.02)
            proxy.cut()
            assert not follow.ended.wait(0.5)
            proxy.listen()
        assert follow.ended.wait(20)
        follow.close(0)
    assert _numbers(heard) == _numbers(heard, b"error ") == list(range(60))
    assert follow.complete


def test_bytes_that_are_no_text_are_not_told_twice_either(proxy: EngineProxy, world: World) -> None:
    heard: list[bytes] = []
    container = world.create("not-text")
    with closing(DockerEngine.connect(proxy.address)) as engine:
        follow = engine.follow_logs(container, heard.append)
        world.engine.start(container)
        while b"2" not in b"".join(heard):
            assert not follow.ended.wait(0.02)
        proxy.cut()
        proxy.listen()
        assert follow.ended.wait(20)
        follow.close(0)
    lines = b"".join(heard).decode(errors="replace").splitlines()
    assert lines == [f"\ufffd {n} \ufffd" for n in range(1, 7)]
    assert heard[0].startswith(b"\xff 1")


def test_a_container_that_ends_while_the_engine_is_away(proxy: EngineProxy, world: World) -> None:
    heard: list[bytes] = []
    container = world.create("count", "10", "0.3")
    with closing(DockerEngine.connect(proxy.address)) as engine:
        follow = engine.follow_logs(container, heard.append)
        world.engine.start(container)
        while not _numbers(heard):
            assert not follow.ended.wait(0.02)
        proxy.cut()
        with world.watched(container) as ended:
            assert ended(20)
        assert not follow.ended.is_set()
        proxy.listen()
        follow.close(10)
    assert _numbers(heard) == list(range(10))
    assert follow.complete


def test_an_engine_that_stays_away_ends_what_is_followed_and_it_is_said(
    proxy: EngineProxy, world: World
) -> None:
    container = world.create("stay")
    with closing(DockerEngine.connect(proxy.address)) as engine:
        follow = engine.follow_logs(container, lambda _: None)
        world.engine.start(container)
        proxy.cut()
        begin = time.monotonic()
        follow.close(0.5)
    assert time.monotonic() - begin < 5
    assert follow.ended.is_set()
    assert not follow.complete


@pytest.fixture
def small_log(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(docker_engine_module, "LOG_FILE_BYTES", 100_000)
    return 2 * 100_000


def test_more_than_the_engine_keeps_is_followed_without_a_loss(world: World, small_log: int) -> None:
    heard: list[bytes] = []
    container = world.create("gush", "20000000", "x" * 99)
    follow = world.engine.follow_logs(container, heard.append)
    world.engine.start(container)
    assert follow.ended.wait(60)
    follow.close(0)
    assert b"".join(heard) == (b"x" * 99 + b"\n") * 200_000
    assert follow.complete
    assert 10_000 < len(world.engine.logs(container, 10**9)) < small_log


def test_a_flood_that_is_followed_too_late_is_said_to_be_incomplete(world: World, small_log: int) -> None:
    """The engine's own follower skips what rotates twice while it reads, and says nothing."""
    heard: list[bytes] = []
    container = world.start("gush", "20000000", "x" * 99)
    follow = world.engine.follow_logs(container, heard.append)
    assert follow.ended.wait(60)
    follow.close(0)
    assert sum(map(len, heard)) < 20_000_000
    assert not follow.complete


def test_what_rotated_away_while_the_engine_was_away_is_said_to_be_lost(
    proxy: EngineProxy, world: World, small_log: int
) -> None:
    heard: list[bytes] = []
    container = world.create("count", "60000", "0")
    with closing(DockerEngine.connect(proxy.address)) as engine:
        follow = engine.follow_logs(container, heard.append)
        world.engine.start(container)
        while not _numbers(heard):
            assert not follow.ended.wait(0.001)
        proxy.cut()
        with world.watched(container) as ended:
            assert ended(60)
        proxy.listen()
        assert follow.ended.wait(60)
        follow.close(0)
    numbers = _numbers(heard)
    assert not follow.complete
    assert numbers == sorted(set(numbers))


def test_nothing_stays_open(world: World) -> None:
    container = world.start("stay")

    def use() -> None:
        watch = world.engine.watch_exit(container)
        world.engine.follow_logs(container, lambda _: None).close(0)
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
