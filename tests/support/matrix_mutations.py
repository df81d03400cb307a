"""Hostile matrix files for hypothesis: the committed one and the docs' examples, mutated on three levels.

Text and bytes (what an editor, a merge or a broken disk does), the tree (a node of another kind, moved,
renamed, doubled), and single values. Besides, the files of matrix_bombs.py.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from support.matrix_bombs import BOMBS
from support.matrix_values import BYTES, NAMES, PIECES, VALUES

ROOT = Path(__file__).parents[2]

#: The variables that a mutated file may name.
ENVIRON: Mapping[str, str] = {
    "HOME": "/root",
    "EMPTY": "",
    "N": "3",
    "BIG": "9" * 5000,
    "LONG": "x" * 20_000,
    "EVIL": "\x1b[31m{variant}\n\u202e${N} }{",
    "SURROGATE": "\udcff",
}

_EVERY_KEY = """\
image: "registry.example:5000/{team}/server:{ref}-{variant}"
arch-image: "{image}-{arch}"
ref: ${REF:-v1.58.2}
platform: linux/{arch}
matrix: &axes
  variant: [python, &slim python-slim, 1.10]
  arch: [amd64, arm64]
  team: [openhands]
  exclude:
    - {variant: 1.10, arch: arm64}
  include:
    - variant: *slim
      arch: amd64
      extra: a
    - {variant: java, arch: amd64, team: other, extra: b}
scenarios:
  deferred-init: {gate: all}
  one: {script: "scripts/{team}.py", at: "{ref}", sdk: 1.10, cwd: scratch, stdin: empty}
  all:
    script: scripts/[12]_*.py
    timeout: 3m
    expect: {exit: 3, cost: printed}
    environment: {MODEL: "{variant}", URL: "{base-url}"}
    arguments: [--key, "{session-api-key}"]
    exclude: ["*_chat.py"]
    per-script: {"1_*": {environment: {A: b}, expect: {cost: optional}, stdin: empty}}
max-parallel: 2
fail-fast: true
timeout: 1h30m
emulated-timeout-factor: 2.5
resources: {memory: 512m, cpus: 1.5, pids: null}
llm:
  model: "openai/{extra}"
  base-url: https://host.example/v1
  record: calls/${N}.jsonl
  prices: {"openai/*": {input: 2.5, output: 10, cached-input: 0}}
  api-key-env: LLM_API_KEY
environment:
  A: "{variant} {{x}} $${HOME} ${HOME}"
reports: out/${N}
only: ["*slim*", "java-*"]
skip: [nothing-else*]
profiles:
  pr: &pr
    matrix: {variant: [python], exclude: [], include: []}
    scenarios: {deferred-init: }
    only: [python-*]
    skip: []
  nightly:
    ref: ${NIGHTLY}
    matrix: {team: [openhands, other]}
    resources: {cpus: 4}
    llm: {prices: {"*": {input: 1, output: 2}}}
    environment: {B: "{arch}"}
    reports: {formats: [junit], rows: arch}
  weekly: *pr
  empty:
"""


def _sources() -> tuple[str, ...]:
    docs = (ROOT / "docs" / "matrix.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", docs, re.DOTALL)
    return ((ROOT / "matrix.yaml").read_text(encoding="utf-8"), *examples, _EVERY_KEY)


SOURCES = _sources()
_TREES = tuple(yaml.safe_load(text) for text in SOURCES)


@dataclass(frozen=True)
class Hostile:
    """A file, and on which level it was mutated."""

    level: str
    data: bytes

    @property
    def in_sample(self) -> bool:
        """Whether it is one of the fifth that goes through the command, too."""
        return hashlib.sha256(self.data).digest()[0] < 52

    def __repr__(self) -> str:
        shown = repr(self.data[:4000]) + (f"... {len(self.data)} bytes" if len(self.data) > 4000 else "")
        return f"Hostile({self.level!r}, {shown})"


class _Raw(str):
    """A key or a scalar that is written into the file as it stands."""

    __slots__ = ()


_raw_values = (st.sampled_from(VALUES) | st.text(max_size=12).map(json.dumps)).map(_Raw)
_quoted_values = st.sampled_from(VALUES).map(lambda text: _Raw(json.dumps(text, ensure_ascii=False)))
_values = _raw_values | _quoted_values | st.integers() | st.floats() | st.booleans() | st.none() | st.dates()
_names = st.sampled_from(NAMES).map(_Raw) | st.text(max_size=6).map(json.dumps).map(_Raw)


# The tree.

_Path = tuple[Any, ...]


def _paths(tree: Any, at: _Path = ()) -> list[_Path]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [at, *(path for key, value in items for path in _paths(value, (*at, key)))]


def _get(tree: Any, path: _Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _put(tree: Any, path: _Path, node: Any) -> Any:
    """A copy with this node at ``path``."""
    if not path:
        return node
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = _put(tree[path[0]], path[1:], node)
    return copy


def _without(node: Any, key: Any) -> Any:
    if isinstance(node, dict):
        return {name: value for name, value in node.items() if name != key}
    return [value for index, value in enumerate(node) if index != key]


def _renamed(node: Any, key: Any, name: str) -> Any:
    if isinstance(node, dict):
        return {name if old == key else old: value for old, value in node.items()}
    return {name: node[key]}


def _with(node: Any, name: str, value: Any) -> Any:
    if isinstance(node, dict):
        return {**node, name: value}
    return [*node, value] if isinstance(node, list) else {name: value}


def _children(node: Any) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []


@st.composite
def _mutated_tree(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> Any:
    tree = draw(st.sampled_from(_TREES))
    for _ in range(draw(st.integers(1, 4))):
        paths = _paths(tree)
        path = draw(st.sampled_from(paths))
        node, above = _get(tree, path), path[:-1]
        match draw(st.sampled_from(("value", "value", "remove", "rename", "add", "wrap", "unwrap", "move"))):
            case "remove" if path:
                tree = _put(tree, above, _without(_get(tree, above), path[-1]))
            case "rename" if path:
                tree = _put(tree, above, _renamed(_get(tree, above), path[-1], draw(_names)))
            case "add":
                tree = _put(tree, path, _with(node, draw(_names), draw(values)))
            case "wrap":
                tree = _put(tree, path, [node] if draw(st.booleans()) else {draw(_names): node})
            case "unwrap" if below := _children(node):
                tree = _put(tree, path, draw(st.sampled_from(below)))
            case "move":
                tree = _put(tree, path, _get(tree, draw(st.sampled_from(paths))))
            case _:
                tree = _put(tree, path, draw(values))
    return tree


_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./-]*")


def _scalar(value: Any) -> str:
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value)
    return "null" if value is None else str(value)


def _flow(node: Any) -> str:
    if isinstance(node, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(_flow, node)) + "]"
    return _scalar(node)


def _lines(node: Any, indent: str, flow_from: int) -> str:
    """The node as block YAML; as flow YAML from the given depth on."""
    deep = len(indent) // 2 >= flow_from
    if isinstance(node, dict) and node and not deep:
        parts = (f"{_scalar(key)}:{_below(value, indent, flow_from)}" for key, value in node.items())
        return "".join(f"{indent}{part}" for part in parts)
    if isinstance(node, list) and node and not deep:
        return "".join(f"{indent}-{_below(value, indent, flow_from)}" for value in node)
    return f"{indent}{_flow(node)}\n"


def _below(value: Any, indent: str, flow_from: int) -> str:
    if isinstance(value, dict | list) and value and len(indent) // 2 + 1 < flow_from:
        return "\n" + _lines(value, indent + "  ", flow_from)
    return f" {_flow(value)}\n"


# Text and bytes.

_EDIT = st.tuples(
    st.sampled_from(("insert", "insert", "delete", "duplicate", "swap", "cut", "newlines", "line", "bom")),
    st.integers(0, 4000),
    st.integers(0, 60),
    st.sampled_from(PIECES) | st.text(max_size=3),
)


def _edit_text(text: str, edit: tuple[str, int, int, str]) -> str:
    kind, start, length, piece = edit
    start %= len(text) + 1
    head, middle, tail = text[:start], text[start : start + length], text[start + length :]
    match kind:
        case "insert":
            return head + piece + middle + tail
        case "delete":
            return head + tail
        case "duplicate":
            return head + middle * 2 + tail
        case "swap":
            return head + tail[:length] + middle + tail[length:]
        case "cut":
            return head
        case "newlines":
            return text.replace("\n", piece if piece in ("\r\n", "\r", "\x85", "\u2028") else "\r\n")
        case "line":
            lines = text.splitlines(keepends=True) or [""]
            at = start % len(lines)
            return "".join([*lines[:at], *[lines[at]] * 2, *lines[at + 1 :]])
    return "\ufeff" + text


_BYTES = st.lists(
    st.tuples(
        st.integers(0, 4000),
        st.integers(0, 3),
        st.binary(max_size=3) | st.sampled_from(BYTES),
    ),
    min_size=1,
    max_size=2,
)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@st.composite
def _mutated_text(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> bytes:
    text = draw(texts)
    for edit in draw(st.lists(_EDIT, min_size=1, max_size=5)):
        text = _edit_text(text, edit)
    data = _encode(text)
    if draw(st.integers(0, 5)) == 0:
        for start, length, piece in draw(_BYTES):
            start %= len(data) + 1
            data = data[:start] + piece + data[start + length :]
    return data


@st.composite
def _written_tree(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> str:
    tree = draw(_mutated_tree(values))
    return _lines(tree, "", draw(st.sampled_from((0, 1, 2, 9))))


_SMALL = st.integers(1, 40)
_ANY_SIZE = st.integers(1, 2500) | st.sampled_from((999, 1001, 5000, 9000, 20_000, 60_000, 120_000))


def _bombs(sizes: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    return st.builds(lambda name, size: _encode(BOMBS[name](size)), st.sampled_from(sorted(BOMBS)), sizes)


_scalars_only = _raw_values | _quoted_values
_trees = _written_tree(_values)
_LEVELS: Mapping[str, st.SearchStrategy[bytes]] = {
    "text": _mutated_text(st.sampled_from(SOURCES)),
    "tree": _trees.map(_encode),
    "value": _written_tree(_scalars_only).map(_encode),
    "tree and text": _mutated_text(_trees),
}


def _hostile(level: str, data: st.SearchStrategy[bytes]) -> st.SearchStrategy[Hostile]:
    return st.builds(Hostile, st.just(level), data)


def hostile_files(any_size: bool = False) -> st.SearchStrategy[Hostile]:
    """Mutated files. ``any_size``: also those that take a second or two each."""
    levels = [_hostile(level, data) for level, data in _LEVELS.items()]
    bombs = _hostile("size", _bombs(_ANY_SIZE if any_size else _SMALL))
    # one_of gives every branch the same share: the costly ones get one of thirteen.
    return st.one_of(*levels, *levels, *levels, bombs)
