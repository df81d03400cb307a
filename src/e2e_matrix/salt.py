"""A random number that only this user of this machine has.

With it a value that may be secret is told from another one by a hash that tells the value to nobody else,
however short it is.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from e2e_matrix.store import PART

_NAME = "salt"
_BYTES = 32


def salt_in(folder: Path) -> bytes | None:
    """The number that ``folder`` keeps; made where there is none yet.

    None where it can be neither read nor written, or others could have read or written it.
    """
    try:
        return _read(folder / _NAME)
    except FileNotFoundError:
        pass
    except OSError:
        return None
    try:
        _make(folder / _NAME)
        return _read(folder / _NAME)
    except OSError:
        return None


def _read(path: Path) -> bytes | None:
    """None where it is not ours alone, or not whole."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe is not waited for
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            return None
        content = file.read(_BYTES + 1)
    return content if len(content) == _BYTES else None


def _make(path: Path) -> None:
    """Whole or not at all; where several do so at once, the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        Path(part).unlink()
