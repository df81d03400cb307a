"""What the server says of its own API: /openapi.json, kept to be compared with that of other images."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from e2e_matrix.agent_server import OPENAPI
from e2e_matrix.errors import CellFailure
from e2e_matrix.failures import Cause
from e2e_matrix.measures import OPENAPI_STEP
from e2e_matrix.results import Api
from e2e_matrix.scenarios import container
from e2e_matrix.scenarios.base import Session
from e2e_matrix.store import write_atomically
from e2e_matrix.text import one_line

STEP = OPENAPI_STEP
FILE = "openapi.json"
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


def keep(session: Session) -> None:
    """Keep the document in the attempt's folder.

    At the end, when every time that is compared has been taken: it takes the server 1.5 s to write, or up to
    25 s under emulation. Of repetitions the first one's is enough.
    """
    if session.task.repetition > 1:
        return
    with container.check(session, STEP, "The server describes its API in /openapi.json") as step:
        reply = session.server.get(OPENAPI, timeout=step.deadline.remaining())
        container.expect_json(step, reply)
        text = session.redact(reply.text)
        document = json.loads(text)
        if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
            what = f"the document of {OPENAPI}"
            raise CellFailure(Cause.ASSERTION, what, expected="an object with paths", got=one_line(text, 200))
        task = session.task
        write_atomically(Path(task.folder) / FILE, text.encode("utf-8", "replace"))
        session.findings.api = Api(
            digest=digest_of(document),
            file=f"cells/{task.cell}/attempt-{task.attempt}/{FILE}",
            operations=_operations(document["paths"]),
        )
        step.note(operations=session.findings.api.operations, bytes=len(text))


def digest_of(document: Any) -> str:
    """The same for two documents exactly if they say the same, in whatever order."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def _operations(paths: dict[str, Any]) -> int:
    return sum(
        method in _METHODS
        for operations in paths.values()
        if isinstance(operations, dict)
        for method in operations
    )
