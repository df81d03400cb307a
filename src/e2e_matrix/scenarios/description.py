"""What the server says of its own API: /openapi.json, kept to be compared with that of other images."""

from __future__ import annotations

from pathlib import Path

from e2e_matrix.agent_server import OPENAPI
from e2e_matrix.api import canonical_digest, operations, read
from e2e_matrix.errors import BadInput, CellFailure, InfrastructureError
from e2e_matrix.failures import Cause
from e2e_matrix.results import OPENAPI_STEP, Api
from e2e_matrix.scenarios import container
from e2e_matrix.scenarios.base import Session
from e2e_matrix.store import write_atomically
from e2e_matrix.text import one_line

STEP = OPENAPI_STEP
FILE = "openapi.json"


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
        content = text.encode("utf-8", "replace")
        try:
            document = read(content)
        except BadInput as error:
            what = f"the document of {OPENAPI}"
            got = one_line(f"{error}: {text}", 200)
            raise CellFailure(Cause.ASSERTION, what, expected="an OpenAPI description", got=got) from error
        count = operations(document)
        if not count:
            what = f"the operations in {OPENAPI}"
            raise CellFailure(Cause.ASSERTION, what, expected="one at least", got=one_line(text, 200))
        task = session.task
        try:
            write_atomically(Path(task.folder) / FILE, content)
        except InfrastructureError as error:
            raise CellFailure(
                Cause.DISK_FULL, f"{OPENAPI} could not be kept: {one_line(str(error))}"
            ) from error
        session.findings.api = Api(
            digest=canonical_digest(document),
            file=f"cells/{task.cell}/attempt-{task.attempt}/{FILE}",
            operations=count,
        )
        step.note(operations=count, bytes=len(text))
