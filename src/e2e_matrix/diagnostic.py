"""What to keep of a failure that nobody foresaw, in a form that can be pasted into a bug report."""

from __future__ import annotations

import os
import platform
import sys
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

from e2e_matrix import __version__
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.redaction import Secrets, secrets_by_name, secrets_in_url
from e2e_matrix.store import write_atomically


def write(path: Path, error: BaseException, about: str, secrets: Iterable[str] = ()) -> None:
    """Write versions, ``about`` and the traceback to ``path``; to stderr where the disk refuses."""
    hidden = Secrets([*secrets, *_secrets_of_environment()])
    text = hidden.redact(
        f"e2e-matrix {__version__}, Python {platform.python_version()}, {platform.platform()}\n{about}\n\n"
        + "".join(traceback.format_exception(error))
    )
    try:
        write_atomically(path, text.encode(errors="replace"))
    except InfrastructureError:
        print(text, file=sys.stderr)


def _secrets_of_environment() -> Iterator[str]:
    """What a bug report must not carry, whoever set it and for whom: a guess by the variables' names."""
    yield from secrets_by_name(os.environ)
    for value in os.environ.values():
        yield from secrets_in_url(value) if "://" in value else ()
