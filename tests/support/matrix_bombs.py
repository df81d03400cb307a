"""Matrix files that cost more than they are long: each for a size, up to what the limit of 256 KiB allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_CELL = "matrix: {variant: [python], arch: [amd64]}\n"
_AXES = "matrix:\n  variant: [a]\n  arch: [b]\n"


def _many(form: str, size: int, between: str = "") -> str:
    """``form`` with # replaced by 0, 1, 2, ..."""
    return between.join(form.replace("#", str(number)) for number in range(size))


def _cells(size: int, arch: str = "a", rest: str = "") -> str:
    """As many cells as there may be."""
    return f"matrix: {{variant: [{_many('v#', min(size, 999), ', ')}], arch: ['{arch}']}}\n{rest}"


def _environment(text: str) -> str:
    return f"environment: {{A: '{text}'}}\n"


def _laughs(size: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 2 + size % 9)]
    return _CELL + "\n".join(lines)


def _tower(size: int) -> str:
    deep = size % 18
    rungs = (f"a{n}: &a{n} {'[' * deep}*a{n - 1}{']' * deep}\n" for n in range(1, 3 + size % 150))
    return _CELL + "a0: &a0 [x]\n" + "".join(rungs)


def _same_ids(size: int) -> str:
    values = ", ".join(f"'a{'/' * number}'" for number in range(size % 700))
    return f"matrix: {{variant: [{values}], arch: [a]}}\n"


def _template_laughs(size: int) -> str:
    return _cells(1, "a" * size, "platform: linux/a\nimage: 'a:{variant}'\n" + _environment("{arch}" * size))


def _spaces(size: int) -> str:
    return _cells(size, "amd64" + " " * size, "platform: linux/amd64\nimage: 'a:{variant}'\n")


def _profiles(text: str, profile: str = "{repeat: 2}") -> str:
    """The same once for the file and once for each of as many profiles as there may be."""
    return text + "profiles:\n" + _many(f"  p#: {profile}\n", 10)


def _entries(key: str, size: int) -> str:
    entry = {"exclude": "{variant: v1, arch: b}, ", "include": "{variant: v1, ref: b}, "}[key]
    return _cells(size).replace("]}\n", f"], {key}: [{entry * min(size, 1000)}]}}\n")


BOMBS: Mapping[str, Callable[[int], str]] = {
    # YAML
    "billion laughs": _laughs,
    "alias tower": _tower,
    "deep": lambda n: _CELL + "a: " + "[" * n,
    "deep blocks": lambda n: "\n".join(" " * i + "a:" for i in range(n % 700)),
    "long list": lambda n: _CELL + f"z: [{'a,' * n}]",
    "long text": lambda n: _CELL + f"ref: '{'a ' * n}'",
    "long plain": lambda n: _CELL + f"ref: {'a ' * n}",
    "long key": lambda n: "a" * n + ": b\n" + _CELL,
    "long alias": lambda n: _CELL + f"ref: *{'a' * n}",
    "long tag": lambda n: _CELL + f"ref: !<{'a' * n}> x",
    "long handle": lambda n: _CELL + f"ref: !{'a' * n}!x x",
    "long comment": lambda n: _CELL + "#" * n,
    "lines": lambda n: _CELL + "\n" * n,
    "version": lambda n: f"%YAML 1.{'9' * n}\n---\n" + _CELL,
    "doubled keys": lambda n: _CELL + "ref: a\n" * n,
    # numbers
    "sexagesimal": lambda n: _CELL + f"max-parallel: 1{':1' * n}",
    "digits": lambda n: _CELL + f"max-parallel: {'9' * n}",
    "hexadecimal": lambda n: _CELL + f"max-parallel: 0x{'f' * n}",
    # variables and templates
    "variables": lambda n: _CELL + _environment("${N}" * n),
    "large variables": lambda n: _CELL + _environment("${LONG}" * n),
    "unset variables": lambda n: _CELL + _environment("${X}" * n),
    "open variables": lambda n: _CELL + _environment("${X" * n),
    "braces": lambda n: _CELL + _environment("{" * n),
    "fields": lambda n: _CELL + f"image: '{_many('{f#}', n)}'\n",
    "environment": lambda n: _cells(n) + "environment:\n" + _many("  A#: b\n", n),
    "long templates": lambda n: _cells(n) + _environment("{variant}" * n),
    "template laughs": _template_laughs,
    "spaces": _spaces,
    # words to be compared
    "unknown keys": lambda n: _CELL + _many("max-paralel#: 1\n", n),
    "one long unknown key": lambda n: _CELL + f'? "{"max-parallel" * n}"\n: 1\n',
    "scenarios": lambda n: _CELL + "scenarios:\n" + _many("  s#: \n", n),
    "scenario settings": lambda n: _CELL + "scenarios:\n  deferred-init:\n" + _many("    s#: 1\n", n),
    # axes
    "cells": lambda n: f"matrix: {{variant: [{_many('v#', n, ', ')}], arch: [amd64]}}\n",
    "two axes": lambda n: f"matrix: {{variant: [{_many('v#', n, ',')}], arch: [{_many('v#', n, ',')}]}}\n",
    "many axes": lambda n: _AXES + _many("  x#: [a]\n", n),
    "two by two": lambda n: _AXES + _many("  x#: [a, b]\n", n),
    "same values": lambda n: f"matrix: {{variant: [{'a, ' * n}], arch: [amd64]}}\n",
    "same ids": _same_ids,
    "includes": lambda n: _AXES + "  include:\n" + _many("  - {variant: v#, arch: b}\n", n),
    "includes alone": lambda n: "matrix:\n  include:\n" + _many("  - {variant: v#, arch: b}\n", n),
    "wide include": lambda n: _AXES + f"  include:\n  - {{arch: b, {_many('x#: b', n, ', ')}}}\n",
    "axes and includes": lambda n: (
        _AXES + _many("  axis#: [a]\n", n) + f"  include: [{{{_many('axs#: a', n, ', ')}}}]\n"
    ),
    "excludes": lambda n: _cells(n).replace("]}\n", f"], exclude: [{'{variant: v1}, ' * n}]}}\n"),
    "idle excludes": lambda n: _AXES + f"  exclude: [{'{variant: v1}, ' * n}]\n",
    # profiles
    "profiles": lambda n: _CELL + "profiles:\n" + _many("  p#: {repeat: 2}\n", n),
    "empty profiles": lambda n: _CELL + "profiles:\n" + _many("  p#:\n", n),
    "profiles in profiles": lambda n: _CELL + "profiles: {p: {" * n,
    "profiles of cells": lambda n: _profiles(_cells(n)),
    "profiles of cells of their own": lambda n: _profiles(_cells(n), "{matrix: {x: [p#]}}"),
    "profiles of aliases": lambda n: (
        _CELL + f"profiles: {{p: &p {{only: &o [{'a*, ' * (n % 1000)}]}}, {_many('q#: *p', 9, ', ')}}}\n"
    ),
    "profiles of an environment": lambda n: _profiles(_cells(n) + "environment:\n" + _many("  A#: b\n", n)),
    "profiles of long templates": lambda n: _profiles(_cells(n) + _environment("{variant}" * n)),
    "profiles of excludes": lambda n: _profiles(_entries("exclude", n), "{matrix: {x: [p#]}}"),
    "profiles of includes": lambda n: _profiles(_entries("include", n), "{matrix: {x: [p#]}}"),
    "profiles of unknown keys": lambda n: _profiles(_CELL, f"{{{_many('max-paralel_#: 1', n // 10, ', ')}}}"),
    "profiles of globs": lambda n: _profiles(_cells(n) + f"only: [{'v*, ' * min(n, 100)}]\n"),
    "profiles of a broken file": lambda n: _profiles(_CELL + _many("max-paralel#: 1\n", n)),
}
