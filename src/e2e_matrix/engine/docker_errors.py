"""What the Docker API and SDK say, as the causes that failures.py knows.

Docker has no error codes: causes are read from its sentences, here and nowhere else. The sentences are
its own (20.10 to 29) and those of the registries that it quotes.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from docker.errors import APIError, DockerException

from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.redaction import plain_urls

_MAX_SENTENCE = 2000  # characters of the engine's own text in a message

# The first match decides, so the narrower sentence stands before the wider one.
_PULL_CAUSES: tuple[tuple[str, Cause], ...] = (
    (r"no space left on device|disk quota exceeded", Cause.DISK_FULL),
    (
        r"no matching manifest|does not match the specified platform|does not provide the specified platform",
        Cause.PLATFORM_MISSING,
    ),
    (
        r"toomanyrequests|too many requests|\b429\b",
        Cause.REGISTRY_BUSY,
    ),
    (
        r"denied|unauthorized|authentication required|no basic auth credentials|forbidden|\b40[13]\b",
        Cause.REGISTRY_DENIED,
    ),
    (
        r"verification failed|unexpected http status|\b50[0234]\b|invalid character|digest mismatch"
        r"|invalid checksum",
        Cause.REGISTRY_BROKEN,
    ),
    (
        r"connection refused|connection reset|no such host|server misbehaving|timeout|timed out"
        r"|deadline exceeded|network is unreachable|no route to host|failure in name resolution"
        r"|proxyconnect|\bEOF\b",
        Cause.REGISTRY_UNREACHABLE,
    ),
)

_ANY_CAUSES: tuple[tuple[str, Cause], ...] = (
    (r"no space left on device|disk quota exceeded", Cause.DISK_FULL),
    (r"does not match the specified platform|cannot be used on this platform", Cause.PLATFORM_MISSING),
    (r"no such image", Cause.PULL_FAILED),
    # Logs and a start are refused with the second while a removal goes on.
    (r"no such container|marked for removal", Cause.CONTAINER_GONE),
    (r"container \S+ is paused", Cause.CONTAINER_DISTURBED),
    (r"is not running", Cause.CONTAINER_EXITED),
)

# runc writes this to the container's own log: the kernel refused the program after the start had succeeded.
_REFUSED_BY_KERNEL = re.compile(
    r"^(?:exec (?P<program>/\S+): |standard_init_linux\.go:\d+: exec user process caused:? )"
    r"\"?(?P<why>exec format error|no such file or directory|permission denied)\"?$"
)

_RETRY_AFTER = re.compile(r"retry-after: ((?:[\d.]+(?:h|ms|µs|us|ns|m|s))+)", re.IGNORECASE)
_GO_DURATION = re.compile(r"([\d.]+)(h|ms|µs|us|ns|m|s)")
_GO_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}

_START_EXPLANATIONS: tuple[tuple[str, str], ...] = (
    ("exec format error", "Its binary is for another platform, or is not a program at all."),
    (
        "no such file or directory",
        "The program, or the interpreter that it names, is missing from the image.",
    ),
    ("executable file not found", "The program is missing from the image."),
    ("permission denied", "The program is there and not executable."),
)


@contextmanager
def engine_errors(address: str, doing: str) -> Iterator[None]:
    """Turn every error of the SDK and of the transport below it into a ``CellFailure``.

    ``doing`` completes "the engine could not ...".
    """
    try:
        yield
    except APIError as error:
        raise refusal(error, doing) from error
    except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
        # requests' exceptions are OSErrors too
        raise CellFailure(
            Cause.ENGINE_LOST,
            f"the engine at {address} stopped answering when asked to {doing}: {innermost(error)}",
        ) from error
    except (DockerException, ValueError) as error:
        raise CellFailure(
            Cause.ENGINE_REFUSED, f"the engine could not {doing}: {str(error)[:_MAX_SENTENCE]}"
        ) from error


def refusal(error: APIError, doing: str) -> CellFailure:
    """The failure for an HTTP error status of the API."""
    sentence = sentence_of(error)
    return CellFailure(
        _cause(sentence, _ANY_CAUSES, Cause.ENGINE_REFUSED), f"the engine could not {doing}: {sentence}"
    )


def pull_failure(reference: str, platform: str, sentence: str) -> CellFailure:
    """The failure for a pull that ended with the engine's ``sentence``."""
    cause = _cause(sentence, _PULL_CAUSES, Cause.PULL_FAILED)
    message = f"cannot pull {reference} for {platform}: {sentence[:_MAX_SENTENCE]}"
    return CellFailure(cause, message, retry_after=_retry_after(sentence))


def _retry_after(sentence: str) -> float | None:
    """Seconds in what registries such as GitHub's say: ``toomanyrequests: retry-after: 1m0.5s, ...``.

    A duration as Go writes it (time.Duration.String).
    """
    if (found := _RETRY_AFTER.search(sentence)) is None:
        return None
    return sum(float(number) * _GO_UNITS[unit] for number, unit in _GO_DURATION.findall(found[1]))


def start_failure(image: str, sentence: str) -> CellFailure | None:
    """The failure for an image whose command cannot run; None when ``sentence`` is about another thing.

    ``sentence`` comes from the API or, where the kernel refused later, from ``refused_by_kernel``.
    """
    lowered = sentence.lower()
    about_program = "exec: " in lowered or _REFUSED_BY_KERNEL.match(sentence.strip()) is not None
    for words, explanation in _START_EXPLANATIONS:
        if words in lowered and about_program:
            return CellFailure(Cause.NOT_STARTABLE, f"{image} cannot be started: {sentence}. {explanation}")
    return None


def refused_by_kernel(log: bytes) -> str:
    """The line of a container's log that says that its program never ran, or "".

    Only a log of that one line counts: a program that ran may print the same words.
    """
    text = log.decode(errors="replace").strip()
    return text if _REFUSED_BY_KERNEL.match(text) else ""


def sentence_of(error: APIError) -> str:
    """What the engine itself says, on one line."""
    return one_sentence(str(error.explanation or error))[:_MAX_SENTENCE]


def one_sentence(text: str) -> str:
    """The engine's text on one line; the URLs in it bare, for a registry signs those of its blobs."""
    return " ".join(plain_urls(text).split())


def innermost(error: BaseException) -> str:
    """The operating system's words at the bottom of the SDK's wrapping."""
    found = find_os_error(error)
    if found is not None and found.strerror:
        return str(found.strerror)
    return str(error)[:_MAX_SENTENCE] or type(error).__name__


def find_os_error(error: BaseException) -> OSError | None:
    """The operating system's error inside an SDK exception: in its causes, its reason or its arguments."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno is not None and not isinstance(current, APIError):
            return current
        waiting += [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
    return None


def _cause(sentence: str, table: tuple[tuple[str, Cause], ...], otherwise: Cause) -> Cause:
    for pattern, cause in table:
        if re.search(pattern, sentence, re.IGNORECASE):
            return cause
    return otherwise
