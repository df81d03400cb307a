"""What ``engine.base.Engine`` promises, asked of Docker and of the fake alike."""

from __future__ import annotations

import dataclasses
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e_matrix.engine.base import (
    LABEL_OWNER,
    LABEL_RUN,
    ContainerSpec,
    Engine,
    Mount,
    PullProgress,
    Resources,
    Support,
)
from e2e_matrix.engine.fake import FakeEngine
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from support import tiny_image
from support.engines import FAKE_IMAGE, World
from support.tiny_image import PORT

AMD64 = "linux/amd64"
NO_IMAGE = "127.0.0.1:1/none@sha256:" + "0" * 64
SEEN_WITHIN = 0.1  # seconds: the protocol's promise


@pytest.fixture(params=["fake", "docker"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    engine: Engine
    if request.param == "fake":
        engine = FakeEngine({"registry.test/tiny@sha256:1": FAKE_IMAGE})
        made = World(engine, "registry.test/tiny@sha256:1")
        engine.pull(made.image, AMD64)
    else:
        engine = request.getfixturevalue("docker_engine")
        made = World(engine, request.getfixturevalue("tiny"))
    yield made
    made.clean()
    if request.param == "fake":
        engine.close()


@pytest.fixture
def own(world: World, request: pytest.FixtureRequest) -> tuple[str, dict[str, str | None]]:
    """The reference of an image that no other test uses, not pulled yet, and its labels."""
    token = secrets.token_hex(4)
    labels = {"own": token}
    if isinstance(world.engine, FakeEngine):
        reference = f"registry.test/own@sha256:{token}"
        world.engine.images[reference] = dataclasses.replace(FAKE_IMAGE, labels=labels)
    else:
        registry = request.getfixturevalue("tiny_registry")
        reference = tiny_image.push(registry, f"own-{token}", config={"Labels": labels})
    return reference, {**labels}


def failure(world: World, call: object, *arguments: object) -> CellFailure:
    with pytest.raises(CellFailure) as caught:
        getattr(world.engine, str(call))(*arguments)
    return caught.value


def test_a_present_image_is_described_and_not_pulled_again(world: World) -> None:
    progress: list[PullProgress] = []
    pulled = world.engine.pull(world.image, AMD64, progress.append)
    assert pulled.was_present
    assert progress == []
    assert pulled.reference == world.image
    assert pulled.platform == AMD64
    assert pulled.size_bytes > 0
    assert pulled.labels == {"tiny": "yes"}
    assert pulled.environment == {"PATH": "/bin", "GREETING": "hello"}
    assert pulled.user == "1234"
    assert pulled.entrypoint == ("/program",)


def test_images_are_found_by_label(world: World, own: tuple[str, dict[str, str | None]]) -> None:
    reference, labels = own
    assert list(world.engine.list_images(labels)) == []
    pulled = world.engine.pull(reference, AMD64)
    [found] = world.engine.list_images(labels)
    assert (found.id, found.references, found.labels) == (pulled.image_id, (reference,), labels)
    assert [one.id for one in world.engine.list_images({"own": None}) if one.id == found.id] == [found.id]
    assert reference in {name for one in world.engine.list_images({}) for name in one.references}
    assert list(world.engine.list_images({**labels, "tiny": "yes"})) == []
    world.engine.remove_image(reference)


def test_a_removed_image_is_gone_and_can_be_pulled_again(
    world: World, own: tuple[str, dict[str, str | None]]
) -> None:
    reference, labels = own
    assert not world.engine.pull(reference, AMD64).was_present
    world.engine.remove_image(reference)
    world.engine.remove_image(reference)  # gone already is fine
    assert list(world.engine.list_images(labels)) == []
    again = world.engine.pull(reference, AMD64)
    assert not again.was_present
    world.engine.remove_image(again.image_id)  # also by its id
    assert list(world.engine.list_images(labels)) == []


@pytest.mark.parametrize("command", [("stay",), ("exit", "0"), None], ids=["running", "ended", "created"])
def test_an_image_that_a_container_uses_is_not_removed(
    world: World, own: tuple[str, dict[str, str | None]], command: tuple[str, ...] | None
) -> None:
    reference, labels = own
    world.engine.pull(reference, AMD64)
    container = world.create(*(command or ()), image=reference)
    if command:
        world.engine.start(container)
    raised = failure(world, "remove_image", reference)
    assert raised.cause is Cause.ENGINE_REFUSED
    assert reference in raised.message
    assert len(world.engine.list_images(labels)) == 1
    world.engine.remove(container)
    world.engine.remove_image(reference)


def test_a_missing_image_is_a_pull_that_fails(world: World) -> None:
    repository = world.image.partition("@")[0]
    raised = failure(world, "pull", f"{repository}@sha256:{'0' * 64}", AMD64)
    assert raised.cause is Cause.PULL_FAILED
    assert repository in raised.message


def test_another_platform_than_the_image_has_is_missing(world: World) -> None:
    assert failure(world, "pull", world.image, "linux/arm64").cause is Cause.PLATFORM_MISSING


def test_creating_from_an_image_that_is_not_there(world: World) -> None:
    assert failure(world, "create", world.spec(image=NO_IMAGE)).cause is Cause.PULL_FAILED


def test_creating_for_another_platform(world: World) -> None:
    assert failure(world, "create", world.spec(platform="linux/arm64")).cause is Cause.PLATFORM_MISSING


def test_a_created_container_has_not_ended(world: World) -> None:
    state = world.engine.state(world.create("exit", "0"))
    assert (state.running, state.exit_code) == (False, None)


def test_a_published_port_answers_here(world: World) -> None:
    container = world.start("serve", ports=(PORT,))
    address = world.engine.address(container, PORT)
    assert address.startswith("http://127.0.0.1:")
    with httpx.Client(transport=httpx.HTTPTransport(retries=20), trust_env=False) as http:
        assert _get(http, address) == "hello\n"
    assert failure(world, "address", container, PORT + 1).cause is Cause.ENGINE_REFUSED


def _get(http: httpx.Client, address: str) -> str:
    # Docker's proxy accepts before the server inside listens, and then resets
    ends = time.monotonic() + 10
    while True:
        try:
            return http.get(address).text
        except httpx.TransportError:
            assert time.monotonic() < ends
            time.sleep(0.02)


def test_the_address_of_a_container_that_ended(world: World) -> None:
    container = world.finish("exit", "3", ports=(PORT,))
    assert failure(world, "address", container, PORT).cause is Cause.CONTAINER_EXITED


def test_an_exit_is_seen_at_once_and_its_code_kept(world: World) -> None:
    container = world.start("deaf")
    seen: list[float] = []
    with world.watched(container) as ended:
        assert not ended(0.2)

        def see() -> None:
            if ended(20):
                seen.append(time.monotonic())

        thread = threading.Thread(target=see)
        thread.start()
        state = world.engine.stop(container, 0)
        stopped = time.monotonic()
        thread.join()
    assert seen[0] - stopped < SEEN_WITHIN
    assert (state.running, state.exit_code, state.oom_killed) == (False, 137, False)


def test_an_exit_by_itself_is_seen(world: World) -> None:
    container = world.start("exit-after", "0.3", "7")
    with world.watched(container) as ended:
        assert ended(20)
    state = world.engine.state(container)
    assert (state.running, state.exit_code) == (False, 7)


def test_an_exit_before_the_watch_is_seen(world: World) -> None:
    container = world.finish("exit", "3")
    with world.watched(container) as ended:
        assert ended(1)


def test_a_watch_of_a_container_that_starts_later(world: World) -> None:
    container = world.create("exit", "0")
    with world.watched(container) as ended:
        assert not ended(0.2)
        world.engine.start(container)
        assert ended(20)


def test_a_removed_container_ends_its_watch(world: World) -> None:
    container = world.start("deaf")
    with world.watched(container) as ended:
        world.engine.remove(container)
        assert ended(5)


def test_closing_a_watch_leaves_no_thread_and_no_exit(world: World) -> None:
    container = world.start("stay")
    before = threading.active_count()
    watch = world.engine.watch_exit(container)
    watch.close()
    watch.close()
    assert threading.active_count() == before
    assert not watch.exited.is_set()


def test_memory_beyond_the_limit_is_told(world: World) -> None:
    container = world.finish("eat", resources=Resources(memory_bytes=16 << 20, cpus=0.5, pids=20))
    state = world.engine.state(container)
    assert (state.exit_code, state.oom_killed) == (137, True)


def test_what_a_running_container_holds_and_one_that_ended_does_not(world: World) -> None:
    running, ended = world.start("stay"), world.finish("exit", "0")
    held = world.engine.memory(running)
    assert held is not None
    assert 0 < held < 64 << 20
    assert world.engine.memory(ended) is None


def test_a_program_that_is_missing(world: World) -> None:
    container = world.create(entrypoint=("/nothing",))
    raised = failure(world, "start", container)
    assert raised.cause is Cause.NOT_STARTABLE
    assert "/nothing" in raised.message
    assert "missing" in raised.message


def test_arguments_environment_and_the_image_s_own(world: World) -> None:
    assert world.engine.logs(world.finish("environment"), 100) == b"hello"
    assert world.engine.logs(world.finish("environment", environment={"GREETING": "hi"}), 100) == b"hi"
    other = world.finish("1", "2", entrypoint=("/program", "print"))
    assert sorted(world.engine.logs(other, 100).split()) == [b"1", b"2"]


def test_a_mount_is_one_folder_for_both_sides(world: World, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)  # the image's user is another
    (tmp_path / "a: b,c").mkdir(mode=0o777)
    (tmp_path / "a: b,c").chmod(0o777)
    (tmp_path / "asked").write_text("from the host")
    mounts = [Mount(str(tmp_path), "/shared"), Mount(f"{tmp_path}/a: b,c", f"{tmp_path}/a: b,c")]
    written = world.finish("write", f"{tmp_path}/a: b,c/answer", "from inside", mounts=mounts)
    assert world.engine.state(written).exit_code == 0, world.engine.logs(written, 1000)
    assert (tmp_path / "a: b,c" / "answer").read_text() == "from inside"
    assert world.engine.logs(world.finish("read", "/shared/asked", mounts=mounts), 100) == b"from the host"


def test_a_read_only_mount_can_be_read_and_refuses_a_write(world: World, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "asked").write_text("from the host")
    mounts = [Mount(str(tmp_path), "/shared", read_only=True)]
    assert world.engine.logs(world.finish("read", "/shared/asked", mounts=mounts), 100) == b"from the host"
    refused = world.finish("write", "/shared/answer", "from inside", mounts=mounts)
    assert world.engine.state(refused).exit_code != 0
    assert b"Read-only file system" in world.engine.logs(refused, 1000)
    assert [one.name for one in tmp_path.iterdir()] == ["asked"]


def test_a_mount_of_a_folder_that_is_missing_is_refused_and_nothing_made(
    world: World, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    raised = failure(world, "create", world.spec("stay", mounts=[Mount(str(missing), "/shared")]))
    assert raised.cause is Cause.ENGINE_REFUSED
    assert str(missing) in raised.message
    assert not missing.exists()


def test_a_log_has_both_streams_and_a_limit(world: World) -> None:
    container = world.finish("print", "out", "err")
    assert sorted(world.engine.logs(container, 1000).splitlines()) == [b"err", b"out"]
    flood = world.finish("flood", "300000")
    tail = world.engine.logs(flood, 100_000)
    assert len(tail) == 100_000
    assert tail.endswith(b"xx\nend\n")
    assert world.engine.logs(flood, 4) == b"end\n"


def test_the_log_of_a_running_container_is_not_followed(world: World) -> None:
    container = world.start("print-and-stay", "there")
    begin = time.monotonic()
    while world.engine.logs(container, 100) != b"there\n":
        assert time.monotonic() - begin < 10
    begin = time.monotonic()
    world.engine.logs(container, 100)
    assert time.monotonic() - begin < 10


class Heard:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.content = b""
        self.more = threading.Condition()

    def __call__(self, piece: bytes) -> None:
        with self.more:
            self.content += piece
            self.more.notify_all()

    def wait_for(self, text: bytes) -> None:
        with self.more:
            assert self.more.wait_for(lambda: text in self.content, 20), self.content


def counted(number: int, first: int = 0) -> list[bytes]:
    return [f"{word} {n}".encode() for word in ("error", "line") for n in range(first, number)]


def by_stream(content: bytes) -> list[bytes]:
    """The lines of `count`: the order of each stream is kept, and theirs to one another need not be."""
    lines = content.splitlines()
    return [line for word in (b"error", b"line") for line in lines if line.startswith(word)]


def test_a_log_that_is_followed_from_before_the_start_comes_whole_and_ends(world: World) -> None:
    container, heard = world.create("count", "300", "0"), Heard()
    follow = world.engine.follow_logs(container, heard)
    assert not follow.ended.wait(0.2)
    world.engine.start(container)
    assert follow.ended.wait(20)
    follow.close(0)
    assert by_stream(heard.content) == counted(300)
    assert follow.complete


def test_a_log_comes_while_the_container_runs_also_what_was_printed_before(world: World) -> None:
    container, heard = world.start("print-and-stay", "there"), Heard()
    follow = world.engine.follow_logs(container, heard)
    heard.wait_for(b"there\n")
    assert not follow.ended.is_set()
    begin = time.monotonic()
    follow.close(0.3)
    assert 0.3 <= time.monotonic() - begin < 10
    assert heard.content == b"there\n"
    assert follow.ended.is_set()


def test_the_log_of_a_container_that_has_ended_is_followed_to_its_end(world: World) -> None:
    container, heard = world.finish("count", "3", "0"), Heard()
    follow = world.engine.follow_logs(container, heard)
    assert follow.ended.wait(5)
    follow.close(0)
    assert by_stream(heard.content) == counted(3)


@pytest.mark.parametrize("started", [True, False])
def test_closing_waits_for_the_end_of_the_log(world: World, started: bool) -> None:
    container, heard = world.create("count", "3", "0.2"), Heard()
    if started:
        world.engine.start(container)
    follow = world.engine.follow_logs(container, heard)
    if not started:
        world.engine.start(container)
    follow.close(20)
    assert by_stream(heard.content) == counted(3)


def test_closing_what_is_followed_leaves_no_thread_and_takes_what_there_is(world: World) -> None:
    container, heard = world.create("print-and-stay", "there"), Heard()
    before = threading.active_count()
    follow = world.engine.follow_logs(container, heard)
    assert threading.active_count() == before + 1
    world.engine.start(container)
    heard.wait_for(b"there")
    follow.close(0)
    follow.close(0)
    assert threading.active_count() <= before + 1  # the fake's container has a thread of its own
    assert not any(thread.name.startswith("log of") for thread in threading.enumerate())


def test_removal_ends_what_is_followed(world: World) -> None:
    container, heard = world.create("print-and-stay", "there"), Heard()
    follow = world.engine.follow_logs(container, heard)
    world.engine.start(container)
    heard.wait_for(b"there")
    world.engine.remove(container)
    assert follow.ended.wait(5)
    follow.close(0)
    assert heard.content == b"there\n"
    assert follow.complete
    never = world.create("exit", "0")
    follow = world.engine.follow_logs(never, heard)
    world.engine.remove(never)
    follow.close(1)
    assert follow.ended.is_set()


def test_exec_gives_the_output_and_the_code(world: World) -> None:
    container = world.start("stay")
    result = world.engine.exec(container, ["/program", "print", "out", "err"])
    assert (result.exit_code, sorted(result.output.splitlines())) == (0, [b"err", b"out"])
    assert world.engine.exec(container, ["/program", "exit", "5"]).exit_code == 5
    assert world.engine.exec(container, ["uname", "-m"]).output == b"x86_64\n"
    assert world.engine.exec(container, ["/nothing"]).exit_code in (126, 127)


def test_exec_drops_what_is_too_much(world: World) -> None:
    container = world.start("stay")
    result = world.engine.exec(container, ["/program", "flood", "1500000"])
    assert result.exit_code == 0
    assert result.output == b"x" * (1 << 20)


def test_exec_ends_in_time(world: World) -> None:
    container = world.start("stay")
    begin = time.monotonic()
    raised = failure(world, "exec", container, ["/program", "sleep", "20"], 0.3)
    assert raised.cause is Cause.STEP_TIMEOUT
    assert time.monotonic() - begin < 10


def test_exec_in_a_container_that_ended(world: World) -> None:
    container = world.finish("exit", "0")
    assert failure(world, "exec", container, ["/program", "exit", "0"]).cause is Cause.CONTAINER_EXITED


def test_stop_asks_before_it_kills(world: World) -> None:
    polite, deaf = world.start("stay"), world.start("deaf")
    _until_trapped(world, polite)
    assert world.engine.stop(polite, 10).exit_code == 0
    begin = time.monotonic()
    assert world.engine.stop(deaf, 1).exit_code == 137
    assert 0.9 < time.monotonic() - begin < 9
    assert world.engine.stop(deaf, 1).exit_code == 137  # again is fine


def _until_trapped(world: World, container: str) -> None:
    # a shell that is the first process ignores TERM until its trap is set; an exec comes back after that
    world.engine.exec(container, ["/program", "exit", "0"])


def test_remove_is_idempotent_and_quick(world: World) -> None:
    container = world.start("deaf")
    begin = time.monotonic()
    world.engine.remove(container)
    world.engine.remove(container)
    world.engine.remove("0" * 64)
    assert time.monotonic() - begin < 10
    assert world.engine.list({LABEL_RUN: world.run}) == []


def test_removing_from_two_threads_at_once(world: World) -> None:
    container = world.start("deaf")
    raised: list[CellFailure] = []

    def remove() -> None:
        try:
            world.engine.remove(container)
        except CellFailure as error:
            raised.append(error)

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert world.engine.list({LABEL_RUN: world.run}) == []


def test_list_wants_every_label(world: World) -> None:
    running, ended = world.start("stay"), world.finish("exit", "0")
    found = {one.id: one for one in world.engine.list({LABEL_RUN: world.run, LABEL_OWNER: None})}
    assert set(found) == {running, ended}
    assert found[running].running
    assert not found[ended].running
    assert found[running].name == f"{world.run}-0"
    assert found[running].labels[LABEL_RUN] == world.run
    assert world.engine.list({LABEL_RUN: world.run, "no.such": None}) == []
    assert world.engine.list({LABEL_RUN: "another"}) == []


def test_an_unknown_container_is_a_failure_and_not_a_lost_engine(world: World) -> None:
    for method, *rest in (
        ("start",),
        ("state",),
        ("address", PORT),
        ("watch_exit",),
        ("logs", 10),
        ("follow_logs", print),
        ("stop", 1.0),
        ("exec", ["true"]),
    ):
        raised = failure(world, method, "0" * 64, *rest)
        assert raised.cause is Cause.CONTAINER_GONE, method
        assert "No such container" in raised.message


def test_a_name_is_used_once(world: World) -> None:
    spec: ContainerSpec = world.spec("stay", name=f"{world.run}-twice")
    world.create(name=spec.name)
    assert failure(world, "create", spec).cause is Cause.ENGINE_REFUSED


def test_probe_and_gateway(world: World) -> None:
    assert world.engine.probe(AMD64).support is Support.NATIVE
    assert world.engine.probe("linux/s390x").support is Support.UNSUPPORTED
    assert world.engine.info().platform == AMD64
    assert world.engine.host_gateway()
