"""The file of replies -> ``Replies``, or every problem of it at once. docs/llm.md describes the format."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from e2e_matrix.errors import BadInput
from e2e_matrix.llm.replies import OUTPUT, Call, Replies, Rule, Turn, Usage, fields
from e2e_matrix.matrix_fields import kind_of
from e2e_matrix.matrix_yaml import Advice, Document, Location, Scalar, Tree, read_document
from e2e_matrix.templates import did_you_mean

_ADVICE = Advice(
    missing="llm.replies is relative to the matrix file's folder",
    folder="name the file in it",
    empty="write a rule, such as `- {when: hello, reply: Hi.}`; docs/llm.md shows more",
)
_KINDS = ("reply", "call", "calls", "do")
_TURN = ("reply", "call", "arguments", "calls", "repeat", "usage")
_RULE = ("when", *_TURN, "do")
_MOST_REPEATS = 10_000
_MOST_TOKENS = 1_000_000_000
_Pattern = re.Pattern[str] | None  # None: it is none, and that was told


def load_replies(path: Path | str) -> Replies:
    """Read and check a file. Raises BadInput with every problem, in the order of the file.

    ``${NAME}`` is left as it is: what a reply has of it is meant for a shell.
    """
    document = read_document(Path(path), None, _ADVICE)
    rules = _Reader(document).rules()
    if document.problems:
        raise BadInput(list(dict.fromkeys(document.problems)))
    return Replies(rules)


class _Reader:
    """Reads what it can, and reports the rest: what it returns is whole where nothing was reported."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def rules(self) -> tuple[Rule, ...]:
        tree = self.document.tree
        if not isinstance(tree, list) or not tree:
            message = f"must be a list of rules, not {kind_of(tree) if tree != [] else 'an empty one'}"
            self._report((), message, "begin each rule with `- when: REGEX`")
            return ()
        return tuple(self._rule((index,), item, len(tree)) for index, item in enumerate(tree))

    def _rule(self, where: Location, tree: Tree, count: int) -> Rule:
        rule = self._mapping(where, tree, _RULE, "a rule")
        when = self._pattern((*where, "when"), rule)
        index = int(where[-1])
        if rule and rule == tree and "when" not in rule and index < count - 1:
            hint = "add `when: REGEX`, or make it the last one"
            self._report(where, "a rule without `when` answers everything: those below are never used", hint)
        line, _ = self.document.values.get(where, (0, 0))
        source = f"{Path(self.document.file).name}:{line}"
        return Rule(when or re.compile(""), self._turns(where, rule, when), source)

    def _pattern(self, where: Location, rule: Mapping[str, Tree]) -> _Pattern:
        text = self._text(where, rule["when"]) if "when" in rule else ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # "[[" may mean something else some day
                pattern = re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            hint = "Python's syntax; a backslash before ( [ . * ? takes it as it is"
            self._report(where, f"when: no regular expression: {error}", hint)
            return None
        if OUTPUT in pattern.groupindex:
            self._report(
                where, f"when: the name {OUTPUT!r} is taken: it is what tools gave", "rename the group"
            )
        return pattern

    def _turns(self, where: Location, rule: Mapping[str, Tree], when: _Pattern) -> tuple[Turn, ...]:
        if "do" not in rule:
            return (self._turn(where, rule, when, Usage()),) if rule else ()
        usage = self._usage(where, rule)
        for name in (*_KINDS[:-1], "arguments", "repeat"):
            if name in rule:
                self._report(
                    (*where, name), f"{name}: beside `do`", "write it in a turn below `do`", key=True
                )
        turns = rule["do"]
        if not isinstance(turns, list) or not turns:
            told = kind_of(turns) if turns != [] else "an empty one"
            self._report((*where, "do"), f"do: must be a list of turns, not {told}", "write `- reply: TEXT`")
            return ()
        return tuple(
            self._turn(
                (*where, "do", index),
                self._mapping((*where, "do", index), turn, _TURN, "a turn"),
                when,
                usage,
            )
            for index, turn in enumerate(turns)
        )

    def _turn(self, where: Location, turn: Mapping[str, Tree], when: _Pattern, usage: Usage) -> Turn:
        said = [name for name in _KINDS if name in turn]
        if not said and turn:
            self._report(where, "says nothing", "add `reply: TEXT`, or `call: TOOL` with `arguments`")
        if len(said) > 1:
            hint = "a turn either replies or calls: write one turn for each below `do`"
            self._report((*where, said[1]), f"{said[1]}: beside {said[0]!r}", hint, key=True)
        if "arguments" in turn and "call" not in turn:
            self._report((*where, "arguments"), "arguments: of no call", "add `call: TOOL`", key=True)
        reply = self._template((*where, "reply"), turn["reply"], when) if "reply" in turn else None
        calls: tuple[Call, ...] = ()
        if "call" in turn:
            calls = (self._call(where, turn, when),)
        elif "calls" in turn:
            calls = self._calls((*where, "calls"), turn["calls"], when)
        repeat = self._number((*where, "repeat"), turn["repeat"], 1, _MOST_REPEATS) if "repeat" in turn else 1
        return Turn(reply, calls, self._usage(where, turn) if "usage" in turn else usage, repeat)

    def _calls(self, where: Location, tree: Tree, when: _Pattern) -> tuple[Call, ...]:
        if not isinstance(tree, list) or not tree:
            told = kind_of(tree) if tree != [] else "an empty one"
            self._report(
                where, f"calls: must be a list, not {told}", "write `- {call: TOOL, arguments: {...}}`"
            )
            return ()
        found = []
        for index, item in enumerate(tree):
            call = self._mapping((*where, index), item, ("call", "arguments"), "a call")
            if call and "call" not in call:
                self._report((*where, index), "names no tool", "add `call: TOOL`")
            elif call:
                found.append(self._call((*where, index), call, when))
        return tuple(found)

    def _call(self, where: Location, tree: Mapping[str, Tree], when: _Pattern) -> Call:
        tool = self._text((*where, "call"), tree["call"])
        if not tool.strip():
            self._report((*where, "call"), "call: must not be empty", "name a tool")
        return Call(tool, self._json((*where, "arguments"), tree.get("arguments", {}), when))

    def _usage(self, where: Location, tree: Mapping[str, Tree]) -> Usage:
        if "usage" not in tree:
            return Usage()
        at = (*where, "usage")
        usage = self._mapping(at, tree["usage"], ("prompt", "completion"), "usage")
        counts = {name: self._number((*at, name), value, 0, _MOST_TOKENS) for name, value in usage.items()}
        return Usage(**counts)

    def _template(self, where: Location, tree: Tree, when: _Pattern) -> str:
        text = self._text(where, tree)
        self._check_fields(where, text, when)
        return text

    def _check_fields(self, where: Location, text: str, when: _Pattern) -> None:
        if when is None:
            return
        known = dict.fromkeys([OUTPUT, *when.groupindex, *map(str, range(when.groups + 1))])
        for name in set(fields(text)).difference(known):
            hint = f"known here: {', '.join(known)}; {{{{{name}}}}} is the text {{{name}}} itself"
            self._report(where, f"{{{name}}}: `when` has no such group", hint)

    def _mapping(self, where: Location, tree: Tree, known: Collection[str], what: str) -> dict[str, Tree]:
        """Its known keys; nothing where it is no mapping, and that is reported."""
        if not isinstance(tree, dict) or not tree:
            told = kind_of(tree) if tree != {} else "an empty one"
            self._report(where, f"{what} must be a mapping, not {told}", f"its keys: {', '.join(known)}")
            return {}
        for key in tree:
            if key not in known:
                self._report((*where, key), f"unknown key {key!r}", did_you_mean(key, known), key=True)
        return {key: value for key, value in tree.items() if key in known}

    def _text(self, where: Location, tree: Tree) -> str:
        if isinstance(tree, Scalar):
            return tree.text
        hint = "put quotes around text with braces" if isinstance(tree, dict) else "write a text"
        self._report(where, f"{where[-1]}: must be text, not {kind_of(tree)}", hint)
        return ""

    def _number(self, where: Location, tree: Tree, least: int, most: int) -> int:
        value = tree.value if isinstance(tree, Scalar) else None
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        message = f"{where[-1]}: must be a whole number from {least} to {most}, not {kind_of(tree)}"
        self._report(where, message)
        return least

    def _json(self, where: Location, tree: Tree, when: _Pattern) -> Any:
        if isinstance(tree, dict):
            return {key: self._json((*where, key), value, when) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self._json((*where, index), value, when) for index, value in enumerate(tree)]
        if tree is None:
            return None
        if isinstance(tree.value, float) and not math.isfinite(tree.value):
            self._report(where, f"JSON has no number {tree.written}", "put quotes around it")
        if isinstance(tree.value, str):
            self._check_fields(where, tree.value, when)
        return tree.value

    def _report(self, where: Location, message: str, hint: str = "", *, key: bool = False) -> None:
        """Unless the YAML itself is wrong there: that was told."""
        if not any(where[: len(place)] == place for place in self.document.broken):
            self.document.problems.append(self.document.problem(where, message, hint, key=key))
