"""What a script's source shows before it runs: that it waits for a person, or brings a server of its own."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["stdin", "own-container", "syntax"]

# What a script may ask of sys.stdin without reading it.
_HARMLESS = frozenset(
    {"isatty", "fileno", "close", "closed", "encoding", "errors", "mode", "name", "reconfigure"}
)
_STDIN = re.compile(r"sys\.(?:__)?stdin(?:__)?(?:\.(?P<then>.+))?")
# Functions that wait for what a person types, by their full names; `input` is a builtin and may be renamed.
_PROMPTS = frozenset(
    {
        "getpass.getpass",
        "builtins.input",
        "fileinput.input",
        "click.prompt",
        "click.confirm",
        "click.pause",
        "typer.prompt",
        "typer.confirm",
        "questionary.text",
        "questionary.select",
        "prompt_toolkit.prompt",
        "prompt_toolkit.PromptSession",
        "rich.prompt.Prompt.ask",
        "rich.prompt.Confirm.ask",
        "rich.prompt.IntPrompt.ask",
        "pdb.set_trace",
        "code.interact",
    }
)
_OPENERS = frozenset({"open", "io.open", "os.fdopen", "os.read"})
_TERMINALS = frozenset({"/dev/stdin", "/dev/tty", "/proc/self/fd/0"})
_BUILTIN_PROMPTS = frozenset({"input", "breakpoint"})
# Where upstream's workspaces that start a server live, now and formerly; the others use one, or none.
_WORKSPACES = re.compile(r"openhands\.(workspace|sdk\.workspace)(\..+)?")
_NOT_OF_ITS_OWN = frozenset({"Workspace", "BaseWorkspace", "LocalWorkspace", "RemoteWorkspace"})
_ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_EXITS = frozenset({"sys.exit", "os._exit", "exit", "quit"})


@dataclass(frozen=True)
class Finding:
    """``line`` counts from 1. ``what`` is the expression or the name, for a message."""

    kind: Kind
    line: int
    what: str

    def is_refused(self, stdin: str) -> bool:
        """Whether a script that this was found in is not run, ``stdin`` being what the matrix says of it."""
        return self.kind == "own-container" or (self.kind == "stdin" and stdin == "refuse")

    def __str__(self) -> str:
        match self.kind:
            case "stdin":
                return f"reads its stdin ({self.what})"
            case "own-container":
                return f"starts a server of its own ({self.what})"
        return f"is no Python that this program can read ({self.what})"


def scan(source: str) -> list[Finding]:
    """Everything found, in the order of the lines; a script that cannot be parsed is one ``syntax`` finding.

    Reading stdin does not count where the script itself asks first whether a terminal is there (``isatty``).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the script's own slips, such as "\d"
            tree = ast.parse(source)
        found = list(_Reader(tree).findings())
    except SyntaxError as error:
        return [Finding("syntax", error.lineno or 1, error.msg)]
    except (ValueError, RecursionError, MemoryError):  # a NUL; thousands of levels
        return [Finding("syntax", 1, "no text, or nested too deeply")]
    return sorted(dict.fromkeys(found), key=lambda finding: finding.line)


def _is_own(name: str) -> bool:
    return name.endswith("Workspace") and name not in _NOT_OF_ITS_OWN


def _without_type_checking(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below, without what only a type checker reads."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _dotted(child.test).rpartition(".")[2] == "TYPE_CHECKING":
            for statement in child.orelse:
                yield from _without_type_checking(statement)
        else:
            yield from _without_type_checking(child)


class _Reader:
    """One module, with what its names mean."""

    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._full: dict[str, str] = {}  # a name here -> what it is, by imports
        self._own: set[str] = set()  # names that the module gives a meaning of its own
        self._told: set[str] = set()  # variables and functions that say whether a terminal is there
        self._replaced = False
        for node in ast.walk(tree):
            self._learn(node)

    def findings(self) -> Iterator[Finding]:
        yield from self._own_containers()
        if not self._replaced:
            yield from self._block(self._tree.body)

    def _own_containers(self) -> Iterator[Finding]:
        for node in _without_type_checking(self._tree):
            if isinstance(node, ast.ImportFrom) and _WORKSPACES.fullmatch(node.module or ""):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.Attribute) and _WORKSPACES.fullmatch(self._imported(node.value)):
                names = [node.attr]
            else:
                continue
            yield from (Finding("own-container", node.lineno, name) for name in names if _is_own(name))

    def _learn(self, node: ast.AST) -> None:
        match node:
            case ast.Import(names=names):
                for alias in names:
                    top = alias.name.partition(".")[0]
                    self._full[alias.asname or top] = alias.name if alias.asname else top
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    self._full[alias.asname or alias.name] = f"{module}.{alias.name}"
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self._own.add(name)
                returns = (child for child in ast.walk(node) if isinstance(child, ast.Return))
                if any(one.value is not None and self._asks(one.value) for one in returns):
                    self._told.add(name)
            case ast.Assign(targets=targets, value=value):
                own = [target.id for target in targets if isinstance(target, ast.Name)]
                self._own.update(own)
                if self._asks(value):
                    self._told.update(own)
                self._replaced |= any(self._name(target) == "sys.stdin" for target in targets)
            case ast.arg(arg=name):
                self._own.add(name)

    def _name(self, node: ast.AST) -> str:
        """The dotted name, by what was imported; "" where it is no plain name."""
        first, dot, rest = _dotted(node).partition(".")
        return self._full.get(first, first) + dot + rest if first else ""

    def _imported(self, node: ast.AST) -> str:
        """The same; "" where its first part was not imported."""
        return self._name(node) if _dotted(node).partition(".")[0] in self._full else ""

    def _asks(self, test: ast.AST) -> bool:
        """Whether an expression depends on a terminal being there."""
        return any(
            (isinstance(node, ast.Attribute) and node.attr == "isatty")
            or (isinstance(node, ast.Name) and (node.id in self._told or self._name(node) == "os.isatty"))
            for node in ast.walk(test)
        )

    def _block(self, statements: Iterable[ast.stmt]) -> Iterator[Finding]:
        for statement in statements:
            if isinstance(statement, ast.If | ast.While) and self._asks(statement.test):
                if isinstance(statement, ast.If) and self._leaves(statement.body):
                    return  # what follows is reached only where the question was answered
                continue
            yield from self._node(statement)

    def _leaves(self, body: list[ast.stmt]) -> bool:
        match body[-1]:
            case ast.Expr(value=ast.Call(func=func)):
                return self._name(func) in _EXITS
        return isinstance(body[-1], _ENDS)

    def _node(self, node: ast.AST) -> Iterator[Finding]:
        if isinstance(node, ast.IfExp | ast.BoolOp) and self._asks(node):
            return
        if what := self._reads(node):
            yield Finding("stdin", getattr(node, "lineno", 1), what)
        if _dotted(node):
            return  # its parts were looked at with it
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield from self._block(value)
                continue
            for child in value if isinstance(value, list) else (value,):
                if isinstance(child, ast.AST):
                    yield from self._node(child)

    def _reads(self, node: ast.AST) -> str:
        match node:
            case ast.Name(id=name, ctx=ast.Load()) if name in _BUILTIN_PROMPTS:
                return f"{name}()" if name not in self._own | self._full.keys() else ""
            case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()):
                name = self._imported(node)
                if stdin := _STDIN.fullmatch(name):
                    return "" if stdin["then"] in _HARMLESS else f"{name}()" if stdin["then"] else name
                return f"{name}()" if name in _PROMPTS else ""
            case ast.Call(func=func, args=[ast.Constant(value=first), *_]) if self._name(func) in _OPENERS:
                # Not False, which is equal to 0.
                if first in _TERMINALS if isinstance(first, str) else type(first) is int and first == 0:
                    return f"{self._name(func)}({first!r})"
        return ""


def _dotted(node: ast.AST) -> str:
    """``a.b.c`` as it is written; "" for anything else."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""
