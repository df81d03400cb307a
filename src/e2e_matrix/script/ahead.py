"""Installs what scripts will need before their cells do: beside the pulls, which take as long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from e2e_matrix.cancellation import Cancellation
from e2e_matrix.errors import E2EMatrixError
from e2e_matrix.script import sdk
from e2e_matrix.script.settings import is_release


def prepare(versions: Iterable[str], cancel: Cancellation, note: Callable[[str], None]) -> None:
    """Begin with every version that is known before a server was asked; returns at once.

    What fails here is met again by the cell that needs it, and told there.
    """
    for version in dict.fromkeys(versions):
        if is_release(version):
            threading.Thread(
                target=_prepare, args=(version, cancel, note), name=f"sdk {version}", daemon=True
            ).start()


def _prepare(version: str, cancel: Cancellation, note: Callable[[str], None]) -> None:
    try:
        sdk.prepare(version, cancel, note)
    except E2EMatrixError as failure:
        note(f"openhands-sdk {version} could not be installed ahead: {failure}")
