"""YAML -> a plain tree that knows where everything was written.

Nodes are composed, not constructed: a scalar keeps its source text (``1.10`` stays 1.10, ``no`` stays no)
beside the value that YAML gives it, and every key and value keeps its line and column. What a file can do to
its reader is bounded: size, depth and the number of nodes, each as written and as aliases unfold it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.text import one_line

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_NODES = 10_000
# Characters that variables put into one file: their names are shorter than what they hold.
MAX_EXPANSION = 1 << 20

_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset(
    _TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value")
)
# YAML 1.1, section 5.4: what ends a line, for the marks of the scanner too.
_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
# What an escape may write, or an environment that is not UTF-8 hold, and no process can be given.
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
# No setting is as long a number, and reading YAML's 1:60:60... takes time that grows with its square.
_LONGEST_NUMBER = 100
_SMALLER = "no file that a person wrote is as large: is it the right one?"
_BOM = b"\xef\xbb\xbf"
_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[^}:]*)(?::-(?P<default>[^}]*))?(?P<end>\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

Location = tuple[str | int, ...]
Place = tuple[int, int]


@dataclass(frozen=True)
class Scalar:
    """One value. ``written`` is the text before ``${...}`` was replaced, and all that messages show: a
    variable may hold a secret."""

    text: str
    value: str | int | float | bool
    written: str

    def __str__(self) -> str:
        return self.written


Tree = dict[str, "Tree"] | list["Tree"] | Scalar | None


@dataclass(frozen=True)
class Said:
    """What a file says somewhere, as it is written there. ``profile`` is the one that says it; "": none."""

    profile: str
    line: int
    tree: Tree


@dataclass
class Document:
    """A file's tree, the place of every key and value in it, and the problems that left a tree to read.

    Beside them ``unset``: the variables that are not set, each wrong only where its value is wanted.
    """

    file: str
    tree: Tree = None
    keys: dict[Location, Place] = field(default_factory=dict)
    values: dict[Location, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[Location] = field(default_factory=set)
    unset: list[tuple[Location, Problem]] = field(default_factory=list)
    profile: str = ""

    def said(self, where: Location) -> tuple[Said, ...]:
        """What is written at ``where``: what counts first, then what it took the place of."""
        if where not in self.values:
            return ()
        tree = self.tree
        for key in where:
            tree = tree[key]  # type: ignore[index]
        return (Said(self.profile, self.keys.get(where, self.values[where])[0], tree),)

    def problem(self, where: Location, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A Problem at the value (or the key) at ``where``, or at the nearest thing above that exists."""
        for length in range(len(where), -1, -1):
            table = self.keys if key and length == len(where) else self.values
            if place := table.get(where[:length]):
                return self.problem_at(place, message, hint)
        return self.problem_at((1, 1), message, hint)

    def problem_at(self, place: Place, message: str, hint: str) -> Problem:
        """A Problem at a line and column."""
        # Names and values of the file stand in messages, and these go to a terminal.
        return Problem(self.file, *place, one_line(message, 400), one_line(hint, 1000))

    def report(self, where: Location, message: str, hint: str = "", *, key: bool = False) -> None:
        self.problems.append(self.problem(where, message, hint, key=key))
        self.broken.add(where)


@dataclass(frozen=True)
class Advice:
    """What to do where there is no such file, or a folder (FOLDER in the text), or nothing in it."""

    missing: str
    folder: str
    empty: str


MATRIX_ADVICE = Advice(
    missing="name one with --matrix FILE; e2e-matrix comes with a matrix.yaml",
    folder="name the file in it: --matrix FOLDER/matrix.yaml",
    empty="copy the matrix.yaml that e2e-matrix comes with",
)


def read_document(path: Path, environ: Mapping[str, str] | None, advice: Advice = MATRIX_ADVICE) -> Document:
    """The tree of ``path`` with ``${NAME}`` replaced from ``environ``; None leaves it as it is.

    Raises BadInput if there is no tree.
    """
    return _Reader(str(path), _read_text(path, advice), environ, advice).document()


def _read_text(path: Path, advice: Advice) -> str:
    name = str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _unusable(name, "no such file", advice.missing) from None
    except IsADirectoryError:
        raise _unusable(name, "is a folder", advice.folder.replace("FOLDER", name)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _unusable(name, f"cannot be read: {reason}", "check its permissions") from None
    if len(data) > MAX_BYTES:
        raise _unusable(name, f"is larger than {MAX_BYTES // 1024} KiB", _SMALLER) from None
    data = data.removeprefix(_BOM)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _place_after(data[: error.start].decode("utf-8"))
        message = f"not UTF-8: byte 0x{data[error.start]:02x}"
        raise BadInput([Problem(name, line, column, message, "save the file as UTF-8")]) from None


def _unusable(file: str, message: str, hint: str) -> BadInput:
    return BadInput([Problem(file, 0, 0, message, hint)])


def _place(mark: Any) -> Place:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _place_after(before: str) -> Place:
    """The place of what comes after ``before``, the beginning of a file."""
    lines = _LINE_BREAK.split(before)
    return len(lines), len(lines[-1]) + 1


class _Reader:
    def __init__(self, file: str, text: str, environ: Mapping[str, str] | None, advice: Advice) -> None:
        self.file = file
        self.text = text
        self.environ = environ
        self.advice = advice
        self.found = Document(file)
        self.resolver = yaml.SafeLoader("")
        self.nodes = 0
        self.room = MAX_EXPANSION

    def document(self) -> Document:
        try:
            self._check_shape()
            node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            raise BadInput([self._not_yaml(error)]) from None
        if node is None:
            raise self._stop(1, 1, "the file is empty", self.advice.empty)
        self.found.tree = self._tree(node, (), ())
        return self.found

    def _stop(self, line: int, column: int, message: str, hint: str) -> BadInput:
        return BadInput([*self.found.problems, self.found.problem_at((line, column), message, hint)])

    def _check_shape(self) -> None:
        """Depth, length and the number of documents, before anything recursive looks at the file."""
        depth = documents = nodes = 0
        for event in self._events():
            line, column = _place(event.start_mark)
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
            nodes += isinstance(event, yaml.NodeEvent)
            if depth > MAX_DEPTH:
                raise self._stop(line, column, f"nested more than {MAX_DEPTH} levels deep", "flatten it")
            if nodes > 2 * MAX_NODES:  # keys are nodes, too
                raise self._stop(line, column, f"more than {2 * MAX_NODES} keys and values", _SMALLER)
            if documents > 1:
                raise self._stop(line, column, "a second document", "remove the `---`: a file holds one")

    def _events(self) -> Iterator[yaml.Event]:
        loader = yaml.SafeLoader(self.text)
        try:
            while loader.check_event():
                yield loader.get_event()  # type: ignore[no-untyped-call]
        except (ValueError, OverflowError):  # "\UFFFFFFFF", and %YAML with thousands of digits
            place = (loader.line + 1, loader.column + 1)
            raise self._stop(
                *place, "not YAML: a number that is too large", "there is no such character or version"
            ) from None

    def _not_yaml(self, error: yaml.YAMLError) -> Problem:
        if isinstance(error, yaml.reader.ReaderError):  # knows an index, not a line
            place = _place_after(self.text[: int(error.position)])
            message = f"not YAML: the control character U+{ord(self.text[int(error.position)]):04X}"
            return self.found.problem_at(
                place, message, "remove it, or write it as an escape in double quotes"
            )
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line, column = _place(mark)
        problem = str(getattr(error, "problem", None) or error)
        if "'\\t'" in problem:
            return self.found.problem_at((line, column), "not YAML: a tab", "indent with spaces")
        context = getattr(error, "context", None)
        message = f"not YAML: {f'{context}, ' if context else ''}{problem}"
        return self.found.problem_at((line, column), message, self._yaml_hint(line, problem))

    def _yaml_hint(self, line: int, problem: str) -> str:
        lines = _LINE_BREAK.split(self.text)
        if 0 < line <= len(lines) and ("${" in lines[line - 1] or re.search(r":\s*\{\w", lines[line - 1])):
            return "put quotes around text with braces"
        if "alias" in problem or "anchor" in problem:
            return "write the value out; text that begins with * or & needs quotes"
        return "check indentation and quotes on this line and the one before"

    def _tree(self, node: yaml.Node, where: Location, above: tuple[int, ...]) -> Tree:
        place = _place(node.start_mark)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self._stop(*place, f"unfolds to more than {MAX_NODES} values", "use fewer aliases (*name)")
        if len(above) > MAX_DEPTH:  # an alias in an alias in an alias
            raise self._stop(*place, f"unfolds to more than {MAX_DEPTH} levels", "use fewer aliases (*name)")
        if id(node) in above:
            raise self._stop(*place, "an alias that contains itself", "write the value out")
        self.found.values[where] = place
        above = (*above, id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return {key: self._tree(value, (*where, key), above) for key, value in self._entries(node, where)}
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._tree(item, (*where, index), above) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALAR_TAGS:
            return self._scalar(node, where)
        self.found.report(where, f"the tag {node.tag.replace(_TAG, '!!')} means nothing here", "remove it")
        return None

    def _entries(self, node: yaml.MappingNode, where: Location) -> Iterator[tuple[str, yaml.Node]]:
        for key_node, value in node.value:
            place = _place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                hint = "put quotes around text with braces" if where else "write `key: value`"
                self.found.problems.append(self.found.problem_at(place, "a key must be plain text", hint))
                self.found.broken.add(where)
            elif bad := _NO_TEXT.search(key_node.value):
                message = f"a key must not contain the character U+{ord(bad[0]):04X}"
                self.found.problems.append(self.found.problem_at(place, message, "remove it"))
                self.found.broken.add(where)
            elif first := self.found.keys.get((*where, key_node.value)):
                message = f"duplicate key {key_node.value!r}, first on line {first[0]}"
                self.found.problems.append(self.found.problem_at(place, message, "remove one of the two"))
                self.found.broken.add((*where, key_node.value))
            else:
                self.found.keys[(*where, key_node.value)] = place
                yield key_node.value, value

    def _scalar(self, node: yaml.ScalarNode, where: Location) -> Scalar | None:
        text = self._expand(node.value, where)
        if bad := _NO_TEXT.search(text):
            self.found.report(where, f"must not contain the character U+{ord(bad[0]):04X}", "remove it")
            return None
        tag = node.tag
        if text != node.value and node.style is None:  # a variable's number is one, as if it stood here
            tag = self.resolver.resolve(  # type: ignore[no-untyped-call]
                yaml.ScalarNode, text, (True, False)
            )
        if tag == _TAG + "null":
            return None
        return Scalar(text, self._value(tag, text), node.value)

    def _value(self, tag: str, text: str) -> str | int | float | bool:
        if tag not in (_TAG + "int", _TAG + "float", _TAG + "bool") or len(text) > _LONGEST_NUMBER:
            return text
        try:
            value = self.resolver.construct_object(yaml.ScalarNode(tag, text))
        except (ValueError, OverflowError, LookupError):  # "0x_" has the looks of a number; so has `!!int ""`
            return text
        return value if isinstance(value, int | float) else text

    def _expand(self, text: str, where: Location) -> str:
        if (environ := self.environ) is None:
            return text

        def replace(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if name is None:
                return "${"
            if not match["end"] or not _NAME.fullmatch(name):
                self.found.report(
                    where,
                    f"broken variable {match[0]}",
                    "write ${NAME} or ${NAME:-default}; $${ is a literal ${",
                )
                return ""
            if value := environ.get(name):
                self.room -= len(value)
                if self.room < 0:
                    limit = f"{MAX_EXPANSION >> 20} MiB"
                    self.found.report(where, f"the variables hold more than {limit}", "use fewer of them")
                    return ""
                return value
            if default is not None:
                return default
            if name not in environ:
                message = f"the variable {name} is not set"
                hint = f"export {name}=..., or give a default: ${{{name}:-...}}"
                self.found.unset.append((where, self.found.problem(where, message, hint)))
                self.found.broken.add(where)
            return ""

        return _VARIABLE.sub(replace, text)
