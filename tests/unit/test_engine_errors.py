"""Which cause the engine's sentences mean."""

from __future__ import annotations

import pytest
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound

from e2e_matrix.engine.docker_errors import (
    engine_errors,
    find_os_error,
    pull_failure,
    refused_by_kernel,
    start_failure,
)
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause

SHIM = "failed to create shim task: OCI runtime create failed: runc create failed: "


@pytest.mark.parametrize(
    ("sentence", "seconds"),
    [
        ("toomanyrequests: retry-after: 502.5ms, allowed: 44000/minute", 0.5025),
        ("error: 429: toomanyrequests: retry-after: 1m0.5s, allowed: 1/hour", 60.5),
        ("toomanyrequests: You have reached your pull rate limit.", None),
        ("toomanyrequests: retry-after: soon", None),
    ],
)
def test_a_registry_that_says_when_to_come_back_is_heard(sentence: str, seconds: float | None) -> None:
    failure = pull_failure("r/i@sha256:0", "linux/amd64", sentence)
    assert failure.retry_after == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("sentence", "cause"),
    [
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", Cause.DISK_FULL),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", Cause.PLATFORM_MISSING),
        (
            "image with reference x was found but does not match the specified platform",
            Cause.PLATFORM_MISSING,
        ),
        (
            "pull access denied for x, repository does not exist or may require 'docker login'",
            Cause.REGISTRY_DENIED,
        ),
        ('Head "https://r/v2/x/manifests/1": no basic auth credentials', Cause.REGISTRY_DENIED),
        ("unauthorized: authentication required", Cause.REGISTRY_DENIED),
        ("toomanyrequests: You have reached your pull rate limit.", Cause.REGISTRY_BUSY),
        ("received unexpected HTTP status: 502 Bad Gateway", Cause.REGISTRY_BROKEN),
        ("filesystem layer verification failed for digest sha256:00", Cause.REGISTRY_BROKEN),
        (
            'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
            Cause.REGISTRY_UNREACHABLE,
        ),
        ('Get "https://r/v2/": dial tcp: lookup r: no such host', Cause.REGISTRY_UNREACHABLE),
        ("net/http: TLS handshake timeout", Cause.REGISTRY_UNREACHABLE),
        ("unexpected EOF", Cause.REGISTRY_UNREACHABLE),
        ("manifest for r/x@sha256:00 not found: manifest unknown: manifest unknown", Cause.PULL_FAILED),
        ("manifest for r/x@sha256:40100502 not found: manifest unknown", Cause.PULL_FAILED),
        ("layers from manifest don't match image configuration", Cause.PULL_FAILED),
    ],
)
def test_the_cause_of_a_pull_that_failed(sentence: str, cause: Cause) -> None:
    failure = pull_failure("r/x@sha256:00", "linux/amd64", sentence)
    assert failure.cause is cause
    assert sentence in failure.message
    assert "r/x@sha256:00" in failure.message


@pytest.mark.parametrize(
    ("sentence", "explanation"),
    [
        (
            SHIM + 'unable to start container process: exec: "/x": permission denied: unknown',
            "not executable",
        ),
        (
            SHIM + 'unable to start container process: exec: "/x": stat /x: no such file or directory',
            "missing",
        ),
        (
            SHIM + 'unable to start container process: exec: "x": executable file not found in $PATH',
            "missing",
        ),
        ("exec /x: exec format error", "another platform"),
        ("exec /x: no such file or directory", "interpreter"),
        ("standard_init_linux.go:228: exec user process caused: exec format error", "another platform"),
        ('standard_init_linux.go:211: exec user process caused "exec format error"', "another platform"),
    ],
)
def test_an_image_that_cannot_be_started(sentence: str, explanation: str) -> None:
    failure = start_failure("r/x", sentence)
    assert failure is not None
    assert failure.cause is Cause.NOT_STARTABLE
    assert sentence in failure.message
    assert explanation in failure.message


@pytest.mark.parametrize(
    "sentence",
    [
        SHIM + "error mounting /var/lib/x: no such file or directory",
        "driver failed programming external connectivity: port is already allocated",
        "No such container: x",
    ],
)
def test_a_start_that_fails_for_another_reason(sentence: str) -> None:
    assert start_failure("r/x", sentence) is None


def test_only_a_log_of_the_refusal_alone_counts() -> None:
    refusal = b"exec /app/server: exec format error\n"
    assert refused_by_kernel(refusal) == "exec /app/server: exec format error"
    assert refused_by_kernel(b"starting\n" + refusal) == ""
    assert refused_by_kernel(refusal + b"retrying\n") == ""
    assert refused_by_kernel(b"") == ""
    assert refused_by_kernel(b"\xff\xfe") == ""


def _api_error(status: int, explanation: str, kind: type[APIError] = APIError) -> APIError:
    response = requests.Response()
    response.status_code = status
    return kind("error", response=response, explanation=explanation)


@pytest.mark.parametrize(
    ("error", "cause", "words"),
    [
        (_api_error(500, "mkdir: no space left on device"), Cause.DISK_FULL, "no space"),
        (_api_error(409, "Container x is not running"), Cause.CONTAINER_EXITED, "not running"),
        (_api_error(404, "No such image: x", NotFound), Cause.PULL_FAILED, "No such image"),
        (_api_error(404, "No such container: x", NotFound), Cause.CONTAINER_GONE, "No such container"),
        (
            _api_error(409, "container is marked for removal and cannot be started"),
            Cause.CONTAINER_GONE,
            "removal",
        ),
        (
            _api_error(409, "can not get logs from container which is dead or marked for removal"),
            Cause.CONTAINER_GONE,
            "dead",
        ),
        (
            _api_error(409, "Container x is paused, unpause the container before exec"),
            Cause.CONTAINER_DISTURBED,
            "paused",
        ),
        (_api_error(500, "it\nbroke"), Cause.ENGINE_REFUSED, "the engine could not do it: it broke"),
        (requests.ConnectionError("gone"), Cause.ENGINE_LOST, "stopped answering when asked to do it: gone"),
        (requests.ReadTimeout("slow"), Cause.ENGINE_LOST, "slow"),
        (urllib3.exceptions.ProtocolError("cut"), Cause.ENGINE_LOST, "cut"),
        (BrokenPipeError(32, "Broken pipe"), Cause.ENGINE_LOST, "Broken pipe"),
        (DockerException("odd"), Cause.ENGINE_REFUSED, "odd"),
    ],
)
def test_nothing_of_the_sdk_leaves(error: Exception, cause: Cause, words: str) -> None:
    with pytest.raises(CellFailure) as caught, engine_errors("unix:///x", "do it"):
        raise error
    assert caught.value.cause is cause
    assert words in caught.value.message
    assert caught.value.__cause__ is error


def test_a_cell_failure_passes_through() -> None:
    with pytest.raises(CellFailure) as caught, engine_errors("unix:///x", "do it"):
        raise CellFailure(Cause.INTERRUPTED, "stop")
    assert caught.value.cause is Cause.INTERRUPTED


def test_the_operating_system_s_error_is_found_inside() -> None:
    wrapped = requests.ConnectionError(
        urllib3.exceptions.ProtocolError("Connection aborted.", PermissionError(13, "Permission denied"))
    )
    assert getattr(find_os_error(wrapped), "errno", None) == 13
    assert find_os_error(ValueError("x")) is None
    circular = ValueError()
    circular.__cause__ = circular
    assert find_os_error(circular) is None
