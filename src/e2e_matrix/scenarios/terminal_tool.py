"""An agent that uses the terminal: its commands, as the events of the conversation tell of them.

The terminal runs its shell in tmux where there is one. In a locale that is not UTF-8 tmux gives "_" for what
it cannot show (upstream 1886), and libtmux cannot read its answers: 1.58.0 then answers 500 to the creation
of the conversation (upstream 2092).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from e2e_matrix.agent_server import Reply
from e2e_matrix.errors import CellFailure
from e2e_matrix.scenarios import bill, container, conversation
from e2e_matrix.scenarios.base import Session
from e2e_matrix.scenarios.checks import Checks
from e2e_matrix.scenarios.conversation import WORKING_DIR
from e2e_matrix.text import one_line

TOOL = "terminal"
TEXT = "Grüße, 日本語 🙂"
COMBINED = "e\u0301"
# The marks around what is printed are not in the command as the terminal echoes it.
COMMAND = f"printf '<%s>\\n' '{TEXT}' \"$(printf 'e\\314\\201')\" \"dir=$PWD\" \"tmux=${{TMUX%%,*}}\""
FAILING = "(exit 7)"
FAILING_CODE = 7

_SHOWN = 300


def ask_for(command: str) -> str:
    """Plain English, for a model that has the tool; the stand-in knows it by the words around the command."""
    return (
        f"Run `{command}` in the terminal, once and exactly as it is written. "
        "Then tell me what it printed, and do nothing else."
    )


@dataclass(frozen=True)
class Observation:
    """What the agent was told of one command. ``text`` is hostile."""

    text: str
    exit_code: object
    working_dir: object

    @property
    def shown(self) -> str:
        printed = one_line(self.text, _SHOWN) or "and nothing printed"
        return one_line(f"exit code {self.exit_code}, {printed}", _SHOWN)


def check(found: Checks, identity: str, *, in_tmux: bool) -> None:
    """Look at what came of COMMAND in a conversation that has finished, then have another one run."""
    session, step = found.session, found.step
    with found.one():
        _check_output(found, list(_observations(found, identity)), in_tmux)
    with found.one():
        if session.task.llm.is_stand_in:  # what a real model makes of it is its own
            answer = session.server.final_response(identity).field("response")
            if not isinstance(answer, str) or TEXT not in answer:
                found.wrong("the tool's output, as the model had it", TEXT, _told(session, answer))
    try:
        conversation.ask_more(session, step, identity, ask_for(FAILING))
    except CellFailure:
        bill.note_what_it_cost(session, identity)
        raise
    with found.one():
        observed = list(_observations(found, identity))
        if not any(one.exit_code == FAILING_CODE for one in observed):
            got = _shown(observed[:-1]) if len(observed) > 1 else "no observation of it"
            found.wrong(f"the exit code of `{FAILING}` in the terminal", str(FAILING_CODE), got)


def _check_output(found: Checks, observed: list[Observation], in_tmux: bool) -> None:
    step = found.step
    step.note(observations=len(observed))
    # A model may look around before: that of the command is the one with its marks.
    last = next((one for one in observed if "<" in one.text), observed[0] if observed else None)
    if last is None:
        found.wrong(f"what the {TOOL} gave", "an observation", "no observation")
        return
    text, got = last.text, last.shown
    for what, wanted in (("the output of", f"<{TEXT}>"), ("a combining character from", f"<{COMBINED}>")):
        if wanted not in text:
            found.wrong(f"{what} a command in the terminal", wanted, got)
    found.expect("the exit code of a command in the terminal", 0, last.exit_code)
    found.expect("the directory that the terminal says it is in", WORKING_DIR, last.working_dir)
    directory, tmux = (_marked(name, text) for name in ("dir", "tmux"))
    if text.strip():
        found.expect("the directory that the shell in the terminal is in", WORKING_DIR, directory)
        step.note(terminal="tmux" if tmux else "no tmux")
        if in_tmux and not tmux:
            found.wrong("what the terminal runs its shell in", "tmux", "no tmux")


def _marked(name: str, text: str) -> str:
    """The value of ``<name=value>`` in an output, which a terminal may have wrapped."""
    match = re.search(rf"<{name}=([^<>]*)>", text)
    return one_line(match[1]).replace(" ", "") if match else ""


def _observations(found: Checks, identity: str) -> Iterator[Observation]:
    """Those of the terminal, and the errors in the place of one, the newest first."""
    reply: Reply = found.session.server.events_so_far(identity)
    container.expect_json(found.step, reply)
    items = reply.field("items")
    for item in items if isinstance(items, list) else ():
        seen = item.get("observation") if isinstance(item, dict) else None
        if isinstance(seen, dict) and item.get("tool_name") == TOOL:
            metadata = seen.get("metadata")
            place = metadata.get("working_dir") if isinstance(metadata, dict) else None
            text = found.session.redact(_text(seen.get("content")))  # before anything is cut
            yield Observation(text, seen.get("exit_code"), place)
        elif isinstance(item, dict) and item.get("kind") == "AgentErrorEvent":
            yield Observation(found.session.redact(str(item.get("error"))), None, None)


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _shown(observed: list[Observation]) -> str:
    return "; ".join(one.shown for one in observed[:3])


def _told(session: Session, value: object) -> str:
    return repr(one_line(session.redact(str(value)), 200))
