"""The Docker implementation of ``engine.base.Engine``, on the SDK's low-level client.

Everything that the API or the transport can raise leaves here as a ``CellFailure``; docker_errors.py decides
which.
"""

from __future__ import annotations

import ipaddress
import math
import secrets
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from docker import APIClient
from docker.errors import APIError, NotFound
from docker.types import LogConfig
from docker.types import Mount as DockerMount
from docker.utils import version_lt

from e2e_matrix import owner
from e2e_matrix.engine import (
    docker_connection,
    docker_errors,
    docker_images,
    docker_pull,
    docker_streams,
    probe,
)
from e2e_matrix.engine.base import (
    LABEL_ATTEMPT,
    LABEL_CELL,
    LABEL_DEADLINE,
    LABEL_OWNER,
    LABEL_RUN,
    LOG_FILE_BYTES,
    LOG_FILES,
    ContainerSpec,
    ContainerSummary,
    EngineInfo,
    ExecResult,
    ExitState,
    ImageSummary,
    LogSink,
    PlatformProbe,
    ProgressCallback,
    PulledImage,
    is_local,
)
from e2e_matrix.engine.docker_follow import DockerLogFollow
from e2e_matrix.engine.docker_watch import DockerExitWatch
from e2e_matrix.engine.platforms import architecture
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause

_MAX_EXEC_OUTPUT = 1 << 20  # bytes
_LOGS_WITHIN = 30.0  # seconds
_REMOVE_WITHIN = 30.0  # seconds
_PROBE_WITHIN = 30.0  # seconds
_POLL = 0.05  # seconds between two looks at a removal that goes on elsewhere
_EXEC_FAILED_CODES = frozenset(
    {1, 126, 127, 255}
)  # what runc versions end with when the kernel refuses a program


class DockerEngine:
    """See ``engine.base.Engine``; made by ``connect``."""

    def __init__(self, endpoint: docker_connection.Endpoint, api_version: str) -> None:
        self._address = endpoint.address
        self._clients = docker_connection.Clients(endpoint, api_version)
        self._lock = threading.Lock()
        self._probes: dict[str, PlatformProbe] = {}

    @classmethod
    def connect(cls, address: str | None = None) -> DockerEngine:
        """The engine at ``address``, else the one that the docker command would use.

        Raises EngineUnavailable: no socket, no permission, nothing listening, too old (API below 1.40).
        """
        endpoint = docker_connection.find(address)
        return cls(endpoint, docker_connection.negotiate(endpoint))

    def info(self) -> EngineInfo:
        with self._clients.borrow("describe itself") as client:
            version, info = client.version(), client.info()
        components = [str(part.get("Name", "")) for part in version.get("Components") or ()]
        return EngineInfo(
            name="podman" if any(name.startswith("Podman") for name in components) else "docker",
            version=str(version["Version"]),
            api_version=self._clients.api_version,
            platform=f"{info.get('OSType', 'linux')}/{architecture(info['Architecture'])}",
            operating_system=str(info.get("OperatingSystem", "")),
            kernel=str(info.get("KernelVersion", "")),
            storage_driver=str(info.get("Driver", "")),
            root_dir=str(info.get("DockerRootDir", "")),
            cpus=int(info.get("NCPU") or 0),
            memory_bytes=int(info.get("MemTotal") or 0),
            address=self._address,
        )

    def probe(self, platform: str) -> PlatformProbe:
        with self._lock:  # eight cells that start together ask once
            if platform not in self._probes:
                self._probes[platform] = self._probe(platform)
            return self._probes[platform]

    def pull(self, reference: str, platform: str, on_progress: ProgressCallback | None = None) -> PulledImage:
        return docker_pull.pull(self._clients, reference, platform, on_progress)

    def list_images(self, labels: Mapping[str, str | None]) -> Sequence[ImageSummary]:
        with self._clients.borrow("list images") as client:
            return docker_images.summaries(client, labels)

    def remove_image(self, reference: str) -> None:
        with self._clients.borrow(f"remove image {reference}", timeout=_REMOVE_WITHIN) as client:
            docker_images.remove(client, reference)

    def create(self, spec: ContainerSpec) -> str:
        with self._clients.borrow(f"create a container from {spec.image}") as client:
            return _create(client, spec)

    def start(self, container: str) -> None:
        with self._clients.borrow(f"start container {container[:12]}") as client:
            try:
                client.start(container)
            except APIError as error:
                failure = docker_errors.start_failure(
                    _image_of(client, container), docker_errors.sentence_of(error)
                )
                raise failure or error from error
            sentence = _why_never_ran(client, container, client.inspect_container(container)["State"])
            if sentence and (failure := docker_errors.start_failure(_image_of(client, container), sentence)):
                raise failure

    def address(self, container: str, port: int) -> str:
        with self._clients.borrow(f"find port {port} of container {container[:12]}") as client:
            found = client.inspect_container(container)
        bindings = found["NetworkSettings"]["Ports"].get(f"{port}/tcp")
        if bindings:
            return f"http://{bindings[0]['HostIp']}:{bindings[0]['HostPort']}"
        if not found["State"]["Running"]:
            raise CellFailure(
                Cause.CONTAINER_EXITED,
                f"the container does not run (exit code {found['State']['ExitCode']}): "
                f"its port {port} leads nowhere",
                detail=self.logs(container, 8192).decode(errors="replace") or None,
            )
        raise CellFailure(Cause.ENGINE_REFUSED, f"port {port} of container {container[:12]} is not published")

    def watch_exit(self, container: str) -> DockerExitWatch:
        return DockerExitWatch(self._clients, container)

    def state(self, container: str) -> ExitState:
        with self._clients.borrow(f"look at container {container[:12]}") as client:
            return _state(client, container)

    def memory(self, container: str) -> int | None:
        with self._clients.borrow(f"ask what container {container[:12]} holds") as client:
            return _memory(client, container)

    def exec(self, container: str, command: Sequence[str], timeout: float = 30.0) -> ExecResult:
        """The command goes on inside after a timeout: the API has no way to end it."""
        shown = " ".join(command)[:200]
        with self._clients.borrow(f"run {shown!r} in container {container[:12]}") as client:
            started = client.exec_create(container, list(command))["Id"]
            try:
                with docker_streams.stream(
                    client,
                    "POST",
                    f"/exec/{started}/start",
                    within=timeout,
                    timeout=timeout + docker_connection.CALL_TIMEOUT,
                    json={"Detach": False, "Tty": False},
                ) as response:
                    output = docker_streams.head(docker_streams.frames(response), _MAX_EXEC_OUTPUT)
            except docker_streams.Overdue:
                raise CellFailure(
                    Cause.STEP_TIMEOUT,
                    f"{shown!r} in container {container[:12]} did not end within {timeout:g} s",
                ) from None
            code = client.exec_inspect(started)["ExitCode"]
        if code is None:
            raise CellFailure(
                Cause.CONTAINER_EXITED, f"container {container[:12]} ended while {shown!r} ran in it"
            )
        return ExecResult(code, output)

    def logs(self, container: str, max_bytes: int) -> bytes:
        with self._clients.borrow(f"read the log of container {container[:12]}") as client:
            return _logs(client, container, max_bytes)

    def follow_logs(self, container: str, sink: LogSink) -> DockerLogFollow:
        return DockerLogFollow(self._clients, container, sink)

    def stop(self, container: str, timeout: float) -> ExitState:
        with self._clients.borrow(f"stop container {container[:12]}") as client:
            client.stop(container, timeout=math.ceil(timeout))
            return _state(client, container)

    def remove(self, container: str) -> None:
        with self._clients.borrow(f"remove container {container[:12]}", timeout=_REMOVE_WITHIN) as client:
            _remove(client, container)

    def list(self, labels: Mapping[str, str | None]) -> Sequence[ContainerSummary]:
        with self._clients.borrow("list containers") as client:
            found = client.containers(all=True, filters={"label": docker_images.label_filter(labels)})
        return [
            ContainerSummary(
                id=one["Id"],
                name=(one.get("Names") or [""])[0].lstrip("/"),
                labels=dict(one.get("Labels") or {}),
                running=one["State"] == "running",
            )
            for one in found
        ]

    def host_gateway(self) -> str:
        """The address of the default bridge, where it is this machine's; "" for an engine elsewhere.

        Also "" for Docker Desktop and rootless engines, whose bridge lies in a machine or a network namespace
        of its own: being able to bind to the address is the test.
        """
        if not self._is_local():
            return ""
        with self._clients.borrow("describe its bridge network") as client:
            try:
                configurations = client.inspect_network("bridge")["IPAM"]["Config"] or []
            except NotFound:
                return ""
        for configuration in configurations:
            network = ipaddress.ip_network(configuration["Subnet"], strict=False)
            # Docker takes a subnet's first address where the configuration leaves the gateway out
            gateway = configuration.get("Gateway") or str(network[1])
            if network.version == 4 and _is_ours(gateway):
                return gateway
        return ""

    def close(self) -> None:
        self._clients.close()

    def _is_local(self) -> bool:
        return is_local(self._address)

    def _probe(self, platform: str) -> PlatformProbe:
        with self._clients.borrow(f"try a {platform} program") as client:
            info = client.info()
            own = f"{info.get('OSType', 'linux')}/{architecture(info['Architecture'])}"
            packed = probe.image_tar(platform)
            if packed is None:
                return probe.unprobed(platform, own)
            tag = f"{probe.tag(platform)}-{secrets.token_hex(4)}"  # another process may probe at this moment
            labels = _probe_labels(tag)
            image = docker_images.load(client, packed, probe.REPOSITORY, tag, labels)
            try:
                return probe.verdict(platform, own, *_run_probe(client, image, tag, labels))
            finally:
                client.remove_image(image, force=True)


def _probe_labels(tag: str) -> dict[str, str]:
    return {
        LABEL_RUN: probe.RUN,
        LABEL_CELL: tag,
        LABEL_ATTEMPT: "1",
        LABEL_OWNER: owner.current(),
        LABEL_DEADLINE: owner.deadline_label(10 * _PROBE_WITHIN),
    }


def _run_probe(client: APIClient, image: str, tag: str, labels: Mapping[str, str]) -> tuple[int | None, str]:
    """The exit code, and what was said when there is none that counts."""
    created = client.create_container(
        image,
        entrypoint=[probe.PROGRAM],
        name=f"{probe.REPOSITORY}-{tag}",
        labels=dict(labels),
        host_config=client.create_host_config(network_mode="none"),
        use_config_proxy=False,
    )["Id"]
    try:
        try:
            client.start(created)
        except APIError as error:
            sentence = docker_errors.sentence_of(error)
            if docker_errors.start_failure(image, sentence) is None:
                raise
            return None, sentence
        code = int(client.wait(created, timeout=_PROBE_WITHIN)["StatusCode"])
        return code, docker_errors.refused_by_kernel(_logs(client, created, 4096))
    finally:
        _remove(client, created)


def _create(client: APIClient, spec: ContainerSpec) -> str:
    limits = spec.resources
    # `platform` came to this call with API 1.41: before it, the digest alone decides
    platform = {} if version_lt(client.api_version, "1.41") else {"platform": spec.platform}
    created = client.create_container(
        spec.image,
        command=list(spec.command) or None,
        entrypoint=None if spec.entrypoint is None else list(spec.entrypoint),
        name=spec.name,
        labels=dict(spec.labels),
        environment=dict(spec.environment),
        ports=list(spec.ports),
        host_config=client.create_host_config(
            port_bindings=dict.fromkeys(spec.ports, ("127.0.0.1",)),
            extra_hosts={spec.host_alias: "host-gateway"} if spec.host_alias else None,
            mem_limit=limits.memory_bytes,
            nano_cpus=None if limits.cpus is None else round(limits.cpus * 1e9),
            pids_limit=limits.pids,
            # not `binds`, which makes a folder of root's where the source is missing
            mounts=[
                DockerMount(one.target, one.source, type="bind", read_only=one.read_only)
                for one in spec.mounts
            ],
            log_config=LogConfig(
                type=LogConfig.types.JSON,
                config={"max-size": str(LOG_FILE_BYTES), "max-file": str(LOG_FILES)},
            ),
        ),
        **platform,
    )
    return str(created["Id"])


def _state(client: APIClient, container: str) -> ExitState:
    found = client.inspect_container(container)
    state = found["State"]
    if state["Status"] in ("removing", "dead"):  # never ours: who removes a container does not ask any more
        raise CellFailure(Cause.CONTAINER_GONE, f"somebody is removing container {container[:12]}")
    running = bool(state["Running"])
    return ExitState(
        running=running,
        exit_code=None if running or state["Status"] == "created" else int(state["ExitCode"]),
        oom_killed=bool(state["OOMKilled"]),
        error=str(state.get("Error") or "") or _why_never_ran(client, container, state),
        paused=bool(state.get("Paused")),
        connected=bool(found["NetworkSettings"].get("Networks")),
    )


def _memory(client: APIClient, container: str) -> int | None:
    """Anonymous memory. What the kernel caches of files varies with all else that the machine does.

    One sample: without ``one-shot`` (API 1.41) the daemon waits a second for another, to compare CPU times.
    """
    url = client._url("/containers/{0}/stats", container)
    stats = client._result(client._get(url, params={"stream": 0, "one-shot": 1}), json=True)
    counted = (stats.get("memory_stats") or {}).get("stats") or {}
    # cgroup v2 calls it anon, v1 rss; with total_ it has that of groups below this one, too
    found = next((counted[name] for name in ("anon", "total_rss", "rss") if counted.get(name)), None)
    return None if found is None else int(found)


def _why_never_ran(client: APIClient, container: str, state: Mapping[str, Any]) -> str:
    """The kernel's refusal of the program, which runc reports only in the log, after the start; or ""."""
    if state["Status"] != "exited" or state["ExitCode"] not in _EXEC_FAILED_CODES:
        return ""
    return docker_errors.refused_by_kernel(_logs(client, container, 4096))


def _image_of(client: APIClient, container: str) -> str:
    return str(client.inspect_container(container)["Config"]["Image"])


def _logs(client: APIClient, container: str, max_bytes: int) -> bytes:
    # a line is one byte or more, so that many lines hold what is wanted
    asked = {"stdout": 1, "stderr": 1, "follow": 0, "tail": max_bytes}
    try:
        with docker_streams.stream(
            client, "GET", f"/containers/{container}/logs", within=_LOGS_WITHIN, params=asked
        ) as response:
            return docker_streams.tail(docker_streams.frames(response), max_bytes)
    except docker_streams.Overdue:
        raise TimeoutError(f"the log did not end within {_LOGS_WITHIN:.0f} s") from None


def _remove(client: APIClient, container: str) -> None:
    deadline = time.monotonic() + _REMOVE_WITHIN
    while True:
        try:
            client.remove_container(container, v=True, force=True)
        except NotFound:
            return
        except APIError as error:
            # 409 "already in progress" ends by itself, 500 "device or resource busy" when the mount is let go
            if error.status_code not in (409, 500) or time.monotonic() > deadline:
                raise
            time.sleep(_POLL)
        else:
            return


def _is_ours(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probing:
        try:
            probing.bind((address, 0))
        except OSError:
            return False
    return True
