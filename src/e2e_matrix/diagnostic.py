"""What to keep of a failure that nobody foresaw, in a form that can be pasted into a bug report."""

from __future__ import annotations

import platform
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from e2e_matrix import __version__
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.redaction import redact
from e2e_matrix.store import write_atomically


def write(path: Path, error: BaseException, about: str, secrets: Iterable[str] = ()) -> None:
    """Write versions, ``about`` and the traceback to ``path``; to stderr where the disk refuses."""
    text = redact(
        f"e2e-matrix {__version__}, Python {platform.python_version()}, {platform.platform()}\n{about}\n\n"
        + "".join(traceback.format_exception(error)),
        secrets,
    )
    try:
        write_atomically(path, text.encode(errors="replace"))
    except InfrastructureError:
        print(text, file=sys.stderr)
