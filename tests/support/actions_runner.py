"""What GitHub's runner makes of a step's output and files, as ActionCommand and the file commands of
actions/runner read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Those that the runner registers; any other name makes a line plain text.
NAMES = frozenset(
    {"error", "warning", "notice", "debug", "group", "endgroup", "echo", "add-mask", "add-path", "set-env"}
    | {"set-output", "save-state", "stop-commands", "add-matcher", "remove-matcher", "internal-set-repo-path"}
)


@dataclass(frozen=True)
class Command:
    name: str
    properties: dict[str, str]
    data: str


def lines_of(output: str) -> list[str]:
    """The lines of a stream as the runner's reader ends them."""
    return re.split(r"\r\n|\n|\r", output)


def commands_in(output: str) -> list[Command]:
    return [command for line in lines_of(output) if (command := _command(line) or _old_command(line))]


def outputs_of(text: str) -> dict[str, str]:
    """What a file of GITHUB_OUTPUT sets. Raises ValueError where the runner would."""
    found: dict[str, str] = {}
    lines = iter(text.split("\n"))
    for line in lines:
        if not line:
            continue
        name, mark, rest = min(
            (parts for parts in (line.partition("="), line.partition("<<")) if parts[1]),
            key=lambda parts: len(parts[0]),
            default=("", "", ""),
        )
        if not name:
            raise ValueError(f"invalid format {line!r}")
        found[name] = rest if mark == "=" else "\n".join(_until(rest, lines))
    return found


def _until(mark: str, lines: Iterator[str]) -> list[str]:
    value: list[str] = []
    for line in lines:
        if line == mark:
            return value
        value.append(line)
    raise ValueError(f"matching delimiter not found {mark!r}")


def _command(line: str) -> Command | None:
    """``::name key=value,key=value::data``, after white space."""
    if not (found := re.match(r"\s*::(.*?)::(.*)", line, re.DOTALL)):
        return None
    name, _, written = found[1].partition(" ")
    pairs = [pair.split("=", 1) for pair in written.strip().split(",") if "=" in pair]
    return _known(name, {key: _unescaped(value, ",:") for key, value in pairs}, _unescaped(found[2]))


def _old_command(line: str) -> Command | None:
    """``##[name key=value;key=value]data``, anywhere."""
    if not (found := re.search(r"##\[(.*?)\](.*)", line, re.DOTALL)):
        return None
    name, _, written = found[1].partition(" ")
    pairs = [pair.split("=", 1) for pair in written.split(";") if "=" in pair]
    return _known(name, {key: _unescaped(value, ";]") for key, value in pairs}, _unescaped(found[2], ";]"))


def _known(name: str, properties: dict[str, str], data: str) -> Command | None:
    return Command(name.lower(), properties, data) if name.lower() in NAMES else None


def _unescaped(text: str, more: str = "") -> str:
    for letter in f"\r\n{more}%":
        text = text.replace(f"%{ord(letter):02X}", letter)
    return text
