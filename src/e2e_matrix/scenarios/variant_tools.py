"""The tools that a variant of the image is there for, each tried on the smallest file that shows it works."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from e2e_matrix.scenarios import shell
from e2e_matrix.scenarios.base import Session
from e2e_matrix.scenarios.checks import Checks
from e2e_matrix.scenarios.conversation import WORKING_DIR
from e2e_matrix.text import one_line

# Seconds on a native engine. Under emulation, on two cores, Go builds one file in 23 s, javac takes 4 s.
LIMIT = 300.0
# The server ends a command before the step's time is over, so that the step can say which it was.
_MARGIN = 2.0


class Tool(BaseModel):
    """A command that must end with 0, in a folder of its own; a text alone is ``run``."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    run: str
    prints: str | None = None  # all that it prints to stdout, but for white space around it
    files: dict[str, str] = {}  # what lies in the folder, by name

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"run": value} if isinstance(value, str) else value


# Nothing is fetched, and all that Go keeps lies in the folder. `println` needs no package but the runtime,
# which Go 1.20 and later have to compile first; it prints to stderr.
_GO = "export GOCACHE=$PWD/cache GOPROXY=off GOFLAGS= GOTOOLCHAIN=local CGO_ENABLED=0\n"

DEFAULTS: Mapping[str, Sequence[Tool]] = {
    "python": (
        Tool(run="python3 hello.py", prints="42", files={"hello.py": "print(6 * 7)\n"}),
        Tool(run="node hello.js", prints="42", files={"hello.js": "console.log(6 * 7)\n"}),
    ),
    "java": (
        Tool(run="java -version"),
        Tool(
            run="javac Hello.java && java -cp . Hello",
            prints="42",
            files={
                "Hello.java": "class Hello { public static void main(String[] a)"
                " { System.out.println(6 * 7); } }\n"
            },
        ),
    ),
    "golang": (
        Tool(run="go version"),
        Tool(
            run=f"{_GO}go build -o hello hello.go && ./hello 2>&1",
            prints="42",
            files={"hello.go": "package main\n\nfunc main() { println(6 * 7) }\n"},
        ),
    ),
}


def check(found: Checks, tools: Sequence[Tool], folder: str) -> None:
    """Try every tool in ``folder``, a name in the workspace that is free, and remove that again."""
    session, step = found.session, found.step
    place = f"{WORKING_DIR}/{folder}"
    for number, tool in enumerate(tools, 1):
        name = one_line(tool.run.strip().split("\n")[-1], 80)  # what is set up comes before
        with found.one():
            output = shell.run(session, step, _command(tool, f"{place}/{number}"), _limit(session, found))
            found.expect(f"`{name}`", 0, output.exit_code, detail=output.shown)
            if output.exit_code == 0 and tool.prints is not None:
                found.expect(f"what `{name}` prints", tool.prints.strip(), output.stdout.strip())
            step.note(**{name: output.shown})
    with found.one():
        output = shell.run(session, step, f"rm -r {shlex.quote(place)}")
        found.expect(f"the removal of {place}", 0, output.exit_code, detail=output.shown)


def _command(tool: Tool, place: str) -> str:
    lines = [f"mkdir -p {shlex.quote(place)} && cd {shlex.quote(place)} || exit 1"]
    lines += [
        f"printf %s {shlex.quote(content)} > {shlex.quote(name)} || exit 1"
        for name, content in tool.files.items()
    ]
    return "\n".join([*lines, tool.run])


def _limit(session: Session, found: Checks) -> float:
    """What is left of the step, in native seconds."""
    return max(1.0, found.step.deadline.remaining() / session.task.slowness - _MARGIN)
