"""What the stand-in answers: the rules of a file, the first that matches, then the answers built in here.

An answer is a function of the request alone. Which turn of a rule is due is counted in the request, so runs
can be repeated and conversations that run side by side do not mix. replies_file.py reads a file into rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

OTHER_ANSWER = "This is the stand-in model of e2e-matrix."
# A field that is no group of the rule's regex: what the tools gave since the model's last turn.
OUTPUT = "output"
# By age: agent-servers before 1.0 called theirs execute_bash.
TERMINALS = ("terminal", "execute_bash")

# What is repeated of a tool's output.
_OUTPUT_LINES = 40
_OUTPUT_CHARACTERS = 4000

_NUMBER_ASKED = re.compile(
    r"\breply with (?:just|only) the number (-?\d{1,40}(?:\.\d{1,40})?)", re.IGNORECASE
)
_COMMAND_ASKED = re.compile(r"\brun\s+(?:the\s+command\s+)?`([^`]+)`", re.IGNORECASE)
# A reply is often code: only a bare name in braces is a field, and ${NAME} is the shell's.
_FIELD = re.compile(r"\$\{[^{}]*\}|\{\{(?P<literal>\w+)\}\}|\{(?P<field>\w+)\}")


@dataclass(frozen=True)
class Asked:
    """What a request asks, as far as an answer depends on it."""

    text: str  # of the last user message
    turns: int  # the model's own, since that message
    output: str  # what tools gave since the last of those turns
    tools: tuple[str, ...]  # the names of those it offers


@dataclass(frozen=True)
class Call:
    """A tool with its arguments: any JSON."""

    tool: str
    arguments: Any


@dataclass(frozen=True)
class Usage:
    """Tokens to state in the place of those counted; None: as counted."""

    prompt: int | None = None
    completion: int | None = None


@dataclass(frozen=True)
class Answer:
    """One turn of the model: a text, or calls. ``source`` says where it was written, for messages."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    usage: Usage = Usage()
    source: str = "the stand-in"


@dataclass(frozen=True)
class Turn:
    """An answer with ``{fields}`` in its texts, given ``repeat`` times in a row. ``reply`` None: it calls."""

    reply: str | None = None
    calls: tuple[Call, ...] = ()
    usage: Usage = Usage()
    repeat: int = 1


@dataclass(frozen=True)
class Rule:
    """``turns`` answer a user message that ``when`` is found in."""

    when: re.Pattern[str]
    turns: tuple[Turn, ...]
    source: str

    def due(self, asked: Asked) -> Turn | None:
        """The turn that is; after the last one the last that replies, or None."""
        left = asked.turns
        for turn in self.turns:
            if left < turn.repeat:
                return turn
            left -= turn.repeat
        return next((turn for turn in reversed(self.turns) if turn.reply is not None), None)


class Replies:
    """All that the stand-in may say: ``rules``, then what is built in."""

    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self.rules = rules

    def answer(self, asked: Asked) -> Answer:
        """What is said to it. A tool that the answer calls need not be one that is offered."""
        for rule in self.rules:
            if match := rule.when.search(asked.text):
                turn = rule.due(asked)
                if turn and turn.calls and not asked.tools:
                    continue  # no turn of an agent's: a server wants a title, and quotes the user's message
                if turn:
                    return _filled(turn, match, asked, rule.source)
                return Answer(plain_answer(asked.text))
        return _run_command(asked) or Answer(plain_answer(asked.text))


def plain_answer(prompt: str) -> str:
    """N for a prompt that says "Reply with just the number N."; one fixed sentence for everything else."""
    asked = _NUMBER_ASKED.findall(prompt)
    return str(asked[-1]) if asked else OTHER_ANSWER


def _run_command(asked: Asked) -> Answer | None:
    """For "Run `COMMAND` in the terminal": the call, then what came of it."""
    command = _COMMAND_ASKED.search(asked.text)
    terminal = next((tool for tool in TERMINALS if tool in asked.tools), None)
    if not command or not terminal:
        return None
    if asked.turns == 0:
        return Answer(calls=(Call(terminal, {"command": command[1]}),))
    return Answer(f"The {terminal} says:\n{_bounded(asked.output)}")


def fields(text: str) -> Iterator[str]:
    """The names of the ``{fields}`` in a text."""
    return (match["field"] for match in _FIELD.finditer(text) if match["field"])


def _filled(turn: Turn, match: re.Match[str], asked: Asked, source: str) -> Answer:
    def value_of(found: re.Match[str]) -> str:
        if found["literal"]:
            return f"{{{found['literal']}}}"
        name = found["field"]
        if name is None:
            return found[0]
        if name == OUTPUT:
            return _bounded(asked.output)
        return match[int(name) if name.isdecimal() else name] or ""

    def fill(text: str) -> str:
        return _FIELD.sub(value_of, text)

    return Answer(
        fill(turn.reply or ""),
        tuple(Call(call.tool, _each_text(call.arguments, fill)) for call in turn.calls),
        turn.usage,
        source,
    )


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _each_text(item, change) for key, item in value.items()}
    return [_each_text(item, change) for item in value] if isinstance(value, list) else value


def _bounded(output: str) -> str:
    """Its last lines."""
    return "\n".join(output[-_OUTPUT_CHARACTERS:].split("\n")[-_OUTPUT_LINES:])
