"""What an agent works with: the shell, the terminal in tmux, the variant's own tools, the workspace.

An agent without tools asks nothing of the image but its server. A locale that breaks tmux (upstream 1886 and
2092), a workspace that the server's user cannot write to or a compiler that is not on the PATH are seen here.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Annotated

import httpx
from pydantic import BaseModel, ConfigDict, Field

from e2e_matrix.scenarios import (
    bill,
    boot,
    container,
    conversation,
    description,
    leftovers,
    shell,
    terminal_tool,
    variant_tools,
)
from e2e_matrix.scenarios.base import Session
from e2e_matrix.scenarios.checks import Checks, checks
from e2e_matrix.scenarios.conversation import WORKING_DIR
from e2e_matrix.scenarios.variant_tools import Tool
from e2e_matrix.text import one_line

NAME = "tools"
VERSION = "2"
STEPS: tuple[str, ...] = (
    *boot.STEPS, "init", "bash", "variant-tools", *conversation.ASK_STEPS, "terminal", "cost", "delete",
    "leftovers", description.STEP, "stop", "log",
)  # fmt: skip

# Seconds on a native engine; an emulated cell gets them times its slowness.
BASH_LIMIT = 90.0
# How long a command may run that is to be ended for its time, and how long it would.
SHORT_TIME, LONG_TIME = 0.5, 60

TEXT = "Grüße, 日本語, e\u0301, 🙂"
# The variable that decides (POSIX, "Internationalization Variables"), and what the system makes of it.
_LOCALE = 'echo "${LC_ALL:-${LC_CTYPE:-$LANG}}"; if command -v locale >/dev/null; then locale charmap; fi'
_UTF8 = re.compile(r"utf-?8", re.IGNORECASE)
_WRITE = """\
printf 42 > {file} || exit 11
[ "$(cat {file})" = 42 ] || exit 12
[ -O {file} ] || exit 13
rm {file} && [ ! -e {file} ] || exit 14
"""
_WRITE_CODES = {
    11: "it cannot be made",
    12: "it cannot be read back",
    13: "it is not the user's own",
    14: "it cannot be removed",
}
_OVERRUN = "sleep {seconds} & echo $$ $! > {file}; wait"
# Up to 3 s, for who was killed has to be buried first.
_ENDED = """\
read -r shell child < {file} || exit 11
rm {file}
tries=0
while kill -0 $shell 2>/dev/null || kill -0 $child 2>/dev/null; do
  tries=$((tries + 1))
  [ $tries -le 30 ] || exit 12
  sleep 0.1
done
"""
_ENDED_CODES = {0: "it has ended, with all that it started", 11: "it never ran", 12: "it still runs"}


class Settings(BaseModel):
    """What matrix.yaml may say under ``scenarios: tools:``."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-")
    )

    user: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        10001, description="The number of the user that the server runs as; null: any"
    )
    tmux: Annotated[bool, Field(strict=True)] = Field(
        True, description="Whether the image must have tmux, and the terminal tool use it"
    )
    variant_tools: dict[str, list[Tool]] = Field(
        {},
        description="By value of the axis `variant`: commands that must end with 0, in the place of those "
        "known here; a command, or `run`, `prints` and `files`",
    )
    own_processes: list[str] = Field(
        list(leftovers.OWN_PROCESSES),
        description="Globs of command lines that the server may start at any time, and keep",
    )
    own_files: list[str] = Field(
        list(leftovers.OWN_FILES), description=f"Globs of what it may keep in {WORKING_DIR} and in /tmp"
    )


def run(session: Session) -> None:
    """Drive one attempt: initialise, use every tool, and see that nothing stays of it."""
    settings = Settings.model_validate(session.task.settings)
    keys = boot.start(session)
    boot.initialise(session, keys)
    name = f"e2e-matrix-{secrets.token_hex(4)}"
    before = _check_bash(session, settings, name)
    _check_variant(session, settings, name)
    identity = conversation.ask(
        session, terminal_tool.ask_for(terminal_tool.COMMAND), tools=[terminal_tool.TOOL]
    )
    title = "The agent's commands run in its terminal: output, UTF-8, exit codes"
    with checks(session, "terminal", title, limit=conversation.terminal_limit(session)) as found:
        terminal_tool.check(found, identity, in_tmux=settings.tmux)
    bill.check(session, identity)
    conversation.delete(session, identity)
    if before is not None:  # else the step `bash` has failed, and says why
        title = "Neither a process nor a file is left behind"
        with checks(session, "leftovers", title, limit=leftovers.LIMIT) as found:
            leftovers.check(found, before, settings.own_processes, settings.own_files)
    description.keep(session)
    container.stop(session)


def _check_bash(session: Session, settings: Settings, name: str) -> leftovers.Snapshot | None:
    """Ask the server's bash API for everything that a shell is there for; what was there before."""
    before = None
    title = "The bash API runs commands, in UTF-8, as the right user, in a workspace to write to"
    with checks(session, "bash", title, limit=BASH_LIMIT) as found:
        with found.one():
            before = leftovers.look(session, found.step)
        _check_results(found)
        _check_locale(found)
        _check_user(found, settings.user)
        _check_workspace(found, f"{WORKING_DIR}/{name}")
        if settings.tmux:
            _check_tmux(found)
        _check_time_limit(found, f"/tmp/{name}")
    return before


def _check_results(found: Checks) -> None:
    with found.one():
        output = shell.run(found.session, found.step, "echo out; echo err >&2; exit 7")
        found.expect("the exit code of a command that ends with 7", 7, output.exit_code)
        found.expect("what a command prints to stdout", "'out\\n'", repr(output.stdout))
        found.expect("what a command prints to stderr", "'err\\n'", repr(output.stderr))
    with found.one():
        escaped = "".join(f"\\{byte:03o}" for byte in TEXT.encode())
        output = shell.run(found.session, found.step, f"printf '%s|{escaped}' '{TEXT}'")
        sent, _, made = output.stdout.partition("|")
        found.expect("UTF-8 in a command, as it is printed again", TEXT, one_line(sent))
        found.expect("UTF-8 in the output of a command", TEXT, one_line(made))


def _check_locale(found: Checks) -> None:
    with found.one():
        output = shell.run(found.session, found.step, _LOCALE)
        named, charmap = (one_line(line) for line in (output.stdout + "\n\n").split("\n")[:2])
        if not _UTF8.search(named):
            found.wrong("the locale of a command (LC_ALL, LC_CTYPE, LANG)", "one of UTF-8", named or "none")
        if charmap and not _UTF8.fullmatch(charmap):
            # A name that the image has no locale for: all of it falls back to C.
            found.wrong(f"the character map of the locale {named}", "UTF-8", charmap, detail=output.stderr)
        found.step.note(locale=named, charmap=charmap or "no `locale` to ask")


def _check_user(found: Checks, user: int | None) -> None:
    with found.one():
        output = shell.run(found.session, found.step, "id -u; id -un")
        number, name = (one_line(line, 40) for line in (output.stdout + "\n\n").split("\n")[:2])
        found.step.note(user=f"{number} {name}")
        if user is not None:
            found.expect("the user that commands run as", str(user), number)
        # Without a name in /etc/passwd git, Java and ssh refuse to work, or work for "?".
        found.expect(
            "the user has a name", "exit code 0", f"exit code {output.exit_code}", detail=output.shown
        )


def _check_workspace(found: Checks, file: str) -> None:
    with found.one():
        output = shell.run(found.session, found.step, _WRITE.format(file=file))
        if output.exit_code:
            why = _WRITE_CODES.get(output.exit_code, "it fails")
            found.wrong(
                f"a file in {WORKING_DIR}", "it can be made, read and removed", f"{why}: {output.shown}"
            )


def _check_tmux(found: Checks) -> None:
    with found.one():
        output = shell.run(found.session, found.step, "tmux -V")
        found.expect("`tmux -V`, which the terminal tool needs", 0, output.exit_code, detail=output.shown)
        found.step.note(tmux=output.stdout)


def _check_time_limit(found: Checks, file: str) -> None:
    """A command over its time is ended with what it has started. 1.58.0 gives -1, and what it printed."""
    session, step = found.session, found.step
    with found.one():
        begin = time.monotonic()
        command = _OVERRUN.format(seconds=LONG_TIME, file=file)
        try:
            code: int | None = shell.run(session, step, command, SHORT_TIME).exit_code
        except httpx.TimeoutException:
            session.cancel.check()
            container.check_running(session)
            code = None
        step.note(overrun_seconds=round(time.monotonic() - begin, 2))
        if code in (0, None):
            got = "success" if code == 0 else "no answer"
            found.wrong("the answer to a command that takes longer than it may", "a failure", got)
    with found.one():
        output = shell.run(session, step, _ENDED.format(file=file))
        ended = _ENDED_CODES.get(output.exit_code, output.shown)
        found.expect("a command that takes longer than it may", _ENDED_CODES[0], ended)


def _check_variant(session: Session, settings: Settings, folder: str) -> None:
    """The commands of matrix.yaml for this cell's variant, or those that are known of it."""
    title = "The variant's own tools work"
    with checks(session, "variant-tools", title, limit=variant_tools.LIMIT) as found:
        variant = session.task.axes.get("variant")
        known = {**variant_tools.DEFAULTS, **settings.variant_tools}
        tools = known.get(variant or "", ())
        if not tools:
            found.step.note(tools=f"none known of the variant {variant}" if variant else "no axis `variant`")
            return
        variant_tools.check(found, tools, folder)
