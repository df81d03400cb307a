"""Steps that every scenario shares: start the image, see that it is the right one, stop it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
from websockets.exceptions import WebSocketException

from e2e_matrix.agent_server import AgentServer, Reply
from e2e_matrix.engine.base import (
    LABEL_ATTEMPT,
    LABEL_CELL,
    LABEL_DEADLINE,
    LABEL_OWNER,
    LABEL_RUN,
    ContainerSpec,
    ExitState,
    Mount,
)
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.log_signs import Sign
from e2e_matrix.results import Server
from e2e_matrix.scenarios.base import EMULATOR_CRASH, Session, StepRecord
from e2e_matrix.scenarios.started import StartedContainer
from e2e_matrix.text import block, one_line

PORT = 8000
SERVER = "server"  # what the log of a cell's server is called by
# Without it litellm asks the network for its price list at import: 7 s, and once a deadlock.
BASE_ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
# A core without pointer authentication, which QEMU computes in software: ten times faster.
EMULATED_CPU = "cortex-a72"

# Seconds on a native engine; an emulated cell gets them times its slowness.
START_LIMIT = 60.0
CHECK_LIMIT = 60.0
REQUEST_LIMIT = 30.0
STOP_LIMIT = 30.0
STOP_GRACE = 10.0
# A server that is silent for this long is asked about at the engine: it may be paused.
QUIET_LIMIT = 3.0
POLL_SECONDS = 0.05
# A connection breaks before the engine knows that the container has ended: on a busy one, by seconds.
DEATH_PATIENCE = 3.0
# A poll that the step's limit cut off before this, in seconds, says nothing about the server.
FAIR_TIME_TO_ANSWER = 1.0
# Waiting for a turn is worth a word in the step that waited, from here on.
WORTH_SAYING = 0.5
# Exit codes of a server that nobody of ours stopped, and that was not killed for its memory.
_SIGNALS_FROM_OUTSIDE = {137: "KILL", 143: "TERM"}
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}

# What has broken images before: upstream issues 2574 and 2761 (glibc, exec-stack), 514, 2025 and 3229
# (bundled data), 1886 (locale).
_BROKEN_IMAGE = (
    Sign("GLIBC_", r"version `GLIBC_[\d.]+' not found"),
    Sign("cannot enable executable stack", "cannot enable executable stack"),
    Sign("error while loading shared libraries", "error while loading shared libraries"),
    Sign("/tmp/_MEI", "No such file or directory: '/tmp/_MEI"),
    Sign("cannot change locale", "setlocale: .*cannot change locale"),
    Sign("Segmentation fault", "Segmentation fault"),
    Sign("[PYI-", r"\[PYI-\d+:ERROR\]"),
)
LOG_SIGNS = {
    EMULATOR_CRASH: Sign("qemu: uncaught target signal", r"qemu: uncaught target signal[^\n]*"),
    **{f"broken-image-{number}": sign for number, sign in enumerate(_BROKEN_IMAGE)},
}


def arguments(port: int = PORT) -> tuple[str, ...]:
    """What the image's command is given.

    Servers since 1.37.1 bind to 127.0.0.1 without a session key: the address is always said (upstream 4180).
    """
    return "--host", "0.0.0.0", "--port", str(port)


def start(
    session: Session,
    environment: Mapping[str, str],
    *,
    mounts: Sequence[Mount] = (),
    port: int = PORT,
    name: str = SERVER,
) -> None:
    """Create and start a container; the session has its server from here on. Its log is NAME.log."""
    task = session.task
    number = 1 + sum(started.name == name for started in session.containers)
    spec = ContainerSpec(
        image=task.image,
        platform=task.platform,
        name=_numbered(
            f"e2e-matrix-{task.run_id}-{task.cell}-{task.attempt}".lower(), len(session.containers) + 1
        ),
        labels={
            LABEL_RUN: task.run_id,
            LABEL_CELL: task.cell,
            LABEL_ATTEMPT: str(task.attempt),
            LABEL_OWNER: task.owner,
            LABEL_DEADLINE: task.deadline,
        },
        command=arguments(port),
        environment={
            **BASE_ENVIRONMENT,
            **({"QEMU_CPU": EMULATED_CPU} if task.emulated and task.platform == "linux/arm64" else {}),
            **task.environment,
            **environment,
        },
        ports=(port,),
        resources=task.resources,
        mounts=mounts,
    )
    with session.limits.starts.passed(session.cancel) as waited:
        session.restart_limit()  # nobody's fault: the gate is ours
        _start(session, spec, name, number, waited)


def _numbered(name: str, number: int) -> str:
    """The first of an attempt's servers goes without a number: hardly any attempt has a second one."""
    return name if number == 1 else f"{name}-{number}"


def _start(session: Session, spec: ContainerSpec, name: str, number: int, waited: float) -> None:
    task = session.task
    with session.step("start", "The container starts", phase="boot", limit=START_LIMIT) as step:
        if waited > WORTH_SAYING:
            step.note(waited_seconds=round(waited, 2))
        started = session.add_container(session.engine.create(spec), name, spec.ports[0])
        log = f"{_numbered(name, number)}.log"
        started.follow_log(session.engine, Path(task.folder), log, session.secrets, LOG_SIGNS)
        session.engine.start(started.id)
        started.watch = session.engine.watch_exit(started.id)
        started.server = AgentServer(_address(session, started), REQUEST_LIMIT * task.slowness)


def _address(session: Session, container: StartedContainer) -> str:
    try:
        return session.engine.address(container.id, container.port)
    except CellFailure:
        state = session.engine.state(container.id)
        if state.running:
            raise
        raise ended(session, state) from None  # it ended before it was asked: its log says more


def check_machine(session: Session) -> None:
    """Ask the container what machine it is, while the server boots."""
    wanted = MACHINES.get(session.task.platform)
    with session.step(
        "machine",
        "The container is of the platform that was asked for",
        phase="boot",
        limit=START_LIMIT,
        go_on=True,
    ) as step:
        try:
            container = session.started_container.id
            result = session.engine.exec(container, ["uname", "-m"], step.deadline.remaining())
        except CellFailure:
            _check_still_running(session)
            raise
        if result.exit_code != 0:
            _check_still_running(session)
        machine = one_line(result.output.decode("utf-8", "replace"), 40)
        session.findings.machine = machine
        step.note(machine=machine, emulated=session.task.emulated)
        if wanted:
            step.expect("`uname -m` in the container", wanted, machine)


def _check_still_running(session: Session) -> None:
    """An exec fails in a container that has ended, and how it ended is the better message.

    Docker gives the failure as the command's own output where the container ended during the exec.
    """
    session.exited.wait(DEATH_PATIENCE)
    check_running(session)


def wait_for_answer(session: Session, step: StepRecord, path: str) -> Reply:
    """Poll ``path`` until the server answers at all, and see at once when the container ends instead."""
    listens = False
    look = time.monotonic() + QUIET_LIMIT
    while True:
        session.cancel.check()
        check_running(session)
        if step.deadline.remaining() <= 0:
            raise _not_up(session, step, path, listens)
        asked_at = time.monotonic()
        try:
            return session.server.get(path, timeout=5.0 * session.task.slowness)
        except httpx.ReadTimeout:
            listens = listens or time.monotonic() - asked_at > FAIR_TIME_TO_ANSWER
        except (httpx.TransportError, OSError):
            listens = False  # not yet
        if time.monotonic() > look:
            session.check_undisturbed()
            look = time.monotonic() + QUIET_LIMIT
        session.exited.wait(POLL_SECONDS)


def _not_up(session: Session, step: StepRecord, path: str, listens: bool) -> CellFailure:
    """Why there was no answer in time: what the server does otherwise says where to look."""
    why = f"nothing listened on port {session.started_container.port}"
    if listens:
        why = f"GET {path} was not answered"
        session.server.not_after = math.inf  # the step's time is over, and this is worth another second
        try:
            why += f", though GET /health was, with {session.server.get('/health', timeout=1).status}"
        except (httpx.TransportError, OSError):
            why += ", nor was GET /health"
    deadline = step.deadline
    return CellFailure(deadline.cause, f"{deadline.what} took longer than {deadline.limit:.0f} s: {why}")


def check_running(session: Session) -> None:
    """Raise if the container ended by itself, with how it ended and what it printed last.

    Its watch gives up, too, where the engine is out of reach: a container that still runs is not to blame.
    """
    if session.exited.is_set():
        state = session.engine.state(session.started_container.id)
        if state.running:
            raise CellFailure(Cause.ENGINE_LOST, "the engine was out of reach while the container ran")
        raise ended(session, state)


def ended(session: Session, state: ExitState) -> CellFailure:
    container = session.started_container
    log = container.read_log()
    crash = container.log_signs().get(EMULATOR_CRASH)
    last = "\n".join(block(log[-8_000:], limit=8_000, lines=10_000).splitlines()[-20:])
    if crash:
        return CellFailure(Cause.EMULATOR_CRASHED, f"the emulator crashed: {one_line(crash)}", detail=last)
    if state.oom_killed:
        allowed = session.task.resources.memory_bytes
        limit = f" at its limit of {allowed >> 20} MiB" if allowed else ""
        message = f"the container was killed for its memory{limit} (exit code {state.exit_code})"
        return CellFailure(Cause.OUT_OF_MEMORY, message, detail=last)
    if "exec " in state.error:
        # A binary of another platform, or none: some engines only say so once the container has "started".
        message = f"the image's command cannot be run: {one_line(state.error)}"
        return CellFailure(Cause.NOT_STARTABLE, message, detail=last)
    if state.exit_code in _SIGNALS_FROM_OUTSIDE:
        message = f"the container was ended from outside, by {_SIGNALS_FROM_OUTSIDE[state.exit_code]}"
        return CellFailure(Cause.CONTAINER_DISTURBED, message, detail=last)
    why = f": {one_line(state.error)}" if state.error else ""
    return CellFailure(
        Cause.CONTAINER_EXITED,
        f"the container ended by itself with exit code {state.exit_code}{why}",
        detail=last,
    )


@contextmanager
def transport(session: Session, step: StepRecord) -> Iterator[None]:
    """Say what a broken connection means: the container ended, time is over, or the server broke it."""
    try:
        yield
    except (httpx.HTTPError, WebSocketException, OSError) as error:
        session.cancel.check()
        in_time = not isinstance(error, httpx.TimeoutException | TimeoutError)
        if in_time:
            session.exited.wait(DEATH_PATIENCE)
        check_running(session)
        session.cancel.check()
        request = _request_of(error)
        if in_time:
            message = f"the server broke the connection{request and f' of {request}'}"
            message += f": {type(error).__name__}: {one_line(str(error))}"
            raise CellFailure(Cause.ASSERTION, message) from error
        message = f"{request or 'a request'} was not answered in full"
        deadline = step.deadline
        if deadline.remaining() > 0:
            raise CellFailure(Cause.STEP_TIMEOUT, f"{message} in time") from error
        message = f"{deadline.what} took longer than {deadline.limit:.0f} s: {message}"
        raise CellFailure(deadline.cause, message) from error


def _request_of(error: Exception) -> str:
    """The request that an error of httpx was met in, such as ``GET /api/init``; nothing for other errors."""
    try:
        return (
            f"{error.request.method} {error.request.url.path}"
            if isinstance(error, httpx.RequestError)
            else ""
        )
    except RuntimeError:  # it was raised before there was one
        return ""


def expect_json(step: StepRecord, reply: Reply, status: int = 200) -> None:
    """Fail the step unless a request was answered with this status and JSON."""
    step.expect(f"{reply.request} answers", status, reply.status, detail=reply.text)
    if wrong := reply.not_json:
        what = f"the body of the answer to {reply.request}"
        raise CellFailure(
            Cause.ASSERTION, what, expected="JSON, as application/json", got=wrong, detail=reply.text
        )


@contextmanager
def check(session: Session, name: str, title: str) -> Iterator[StepRecord]:
    """A step that asks the server and asserts; what it finds wrong does not end the scenario."""
    with (
        session.step(name, title, phase="checks", limit=CHECK_LIMIT, go_on=True) as step,
        transport(session, step),
    ):
        yield step


def describe_server(session: Session, sdk_version: str | None = None) -> None:
    """Read /server_info, and hold its build against the one that was asked for, and ``sdk_version``."""
    title = "The server says what build it is: the one asked for, where the ref names one"
    with check(session, "server-info", title) as step:
        reply = session.server.get("/server_info")
        expect_json(step, reply)
        info = reply.json()
        info = info if isinstance(info, dict) else {}
        told = {name: session.redact(str(info[name])) for name in Server.model_fields if info.get(name)}
        known = {name: one_line(text, 200) for name, text in told.items()}
        session.findings.server = Server(**known)
        step.note(version=known.get("version"))
        sha, wanted = known.get("build_git_sha", "unknown"), session.task.expected_sha
        if wanted and sha != "unknown":
            step.note(build_git_sha=sha)
            step.expect("the commit that /server_info names", wanted, sha[: len(wanted)])
        if release := session.task.expected_version:
            parts = release.split(".")
            version = ".".join(known.get("version", "unknown").split(".")[: len(parts)])
            step.expect("the version that /server_info names", release, version)
        if sdk_version:
            what = "the sdk_version that /server_info names, against that of the script"
            step.expect(what, sdk_version, known.get("sdk_version"))


def stop(session: Session) -> None:
    """TERM, and a clean end within the grace; then look through the log for what has broken images before."""
    container = session.started_container
    grace = session.task.step_timeouts.get("stop", STOP_GRACE) * session.task.slowness
    with session.step(
        "stop", "The server ends cleanly when it is stopped", phase="removal", limit=STOP_LIMIT, go_on=True
    ) as step:
        check_running(session)
        session.check_undisturbed()  # afterwards it cannot be seen why the server was deaf
        state = session.engine.stop(container.id, grace)
        container.exit_state = state
        step.note(exit_code=state.exit_code)
        # 143 is TERM itself: uvicorn ends its work and then dies of the signal that it was sent.
        if state.exit_code not in (0, 143):
            raise CellFailure(
                Cause.ASSERTION,
                "the server did not end cleanly"
                + (f" within {grace:.0f} s of TERM" if state.exit_code == 137 else ""),
                expected="exit code 0 or 143",
                got=f"exit code {state.exit_code}",
            )
    with session.step(
        "log", "The log shows no known sign of a broken image", phase="removal", limit=STOP_LIMIT, go_on=True
    ) as step:
        container.read_log()
        log, signs = container.log, container.log_signs()
        if crash := signs.pop(EMULATOR_CRASH, None):
            raise CellFailure(Cause.EMULATOR_CRASHED, f"the emulator crashed: {one_line(crash)}")
        step.note(bytes=log.total_bytes if log else 0)
        step.expect(
            "known signs of a broken image in the log", [], [one_line(text) for text in signs.values()]
        )
