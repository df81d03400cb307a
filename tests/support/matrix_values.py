"""What a hostile matrix.yaml may hold: values and names as YAML source, and pieces of text."""

from __future__ import annotations

import re


def _split(block: str) -> tuple[str, ...]:
    """The items of a block, which two spaces or more separate."""
    return tuple(re.split(r"  +|\n", block.strip()))


_NUMBERS = _split(r"""
0   1   -1   1000000   1000001   9223372036854775808   0x1F   0x_   0o17   017   0b1   1_000   1e999
1e-999   -0.0   .inf   -.inf   .nan   1:60   190:20:30.15   +1   1.   .5   1e3
0xffffffffffffffffffffffffffffffffffffffff
""")
_WORDS = _split(r"""
null   ~   true   yes   on   y   maybe   2024-01-01   2001-12-14t21:59:43.10-05:00   2024-99-99   =   <<
-   .   /   ..   latest   server   checkout   optional   empty   scripts
1_one   scripts/1_one.py   scripts/2_chat.py
scripts/*.py   /*/*/*/*.py   **/*.py   scripts/{variant}.py   /dev/stdin   *   [   "[!"   -x   {base-url}
""")
_TEMPLATES = _split(r"""
{   }}   }{   {{   {}   {0}   {a.b}   {a[0]}   {a!r}   {a:>9}   {a:{b}}   {a:}   {variant   {image}
{ref}   {variant}{variant}   {{variant}}   {scenario}   {Ä}   {a!}   {a[}   {variant!s:}   {:}
""")
_VARIABLES = _split(r"""
${N}   ${EMPTY}   ${BIG}   ${LONG}   ${EVIL}   ${SURROGATE}   ${NOPE}   ${NOPE:-d}   ${   ${}   ${N
${N:?x}   ${N:-}   ${N:-${N}}   $${N}   $$$${N}   ${A-B}   $N   ${1}   ${N:-{variant}}
""")
_ESCAPES = _split(r"""
"\0"   "\e[31m"   "\x07"   "\u202e"   "\u2028"   "\ud800"   "\udfff"   "\U0001F600"   "\U00110000"
"\UFFFFFFFF"   "\N\_\L\P"   "\x"   "\q"   "\ufeff"   "\u0130"   "\u0301\u0301\u0301\u0301\u0301"
""")
_TAGGED = _split(r"""
!!int ""   !!int x   !!float .   !!bool maybe   !!null x   !!str 1   !!binary '*'   !!timestamp x
!!set {a, b}   !!omap [a: 1]   !!pairs [a: 1]   !!python/object:os.system [ls]   !!python/name:os.system
!!python/tuple [a]   !!map [a]   !!seq {a: b}   !x y   ! y   !<x> y   !h!x y   !%ff y   !!merge x
""")
_NODES = _split(r"""
{}   []   [[]]   {a: }   {a: b}   [a, [b, {c: d}]]   [{}]   [null]   ""   ''   ' '   [a, a]   {? a}
{? [a] : b}   {? {a: b} : c}   *x   &x a   &x [*x]   {<<: *x}   {<<: {a: b}}   [a,,b]   {a: b, a: c}
[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]   http://[x   https://u:p@h/v1?k=s   linux/amd64   99999999h
0s   1h1h   1.5g   999999t   4 GiB   4mb   10 m   a: b   - a   @a   `a`   %a   a #b   ä
""")
# With line breaks, empty, or long.
_ODD = (
    "",
    "\t",
    "|\n   a\n   b\n",
    ">-\n   a\n",
    "[" * 21 + "]" * 21,
    "[" * 5000,
    "'" + "a" * 5000 + "'",
    "9" * 5000,
    "0x" + "f" * 40,
    "1" + ":1" * 400,
    "a" * 130,
    "[" + ",".join(f"v{n}" for n in range(40)) + "]",
)

#: Source of one node.
VALUES = (*_NUMBERS, *_WORDS, *_TEMPLATES, *_VARIABLES, *_ESCAPES, *_TAGGED, *_NODES, *_ODD)

#: Source of one key.
NAMES = (
    *_split(r"""
variant   arch   ref   image   include   exclude   axes   matrix   platform   scenarios   deferred-init
gate   llm   record   replay   prices   input   output   cached-input   replies
model   base-url   api-key   api-key-env   environment   resources   memory   cpus   pids
profiles   nightly   only   skip   formats
script   sdk   at   expect   exit   cost   arguments   cwd   stdin   per-script
timeout   timout   max_parallel   reports   [key]   <<   ""   "\0"   "\ud800"   "\e[31m"   a b   Ä   {a}
1   null   ~   true   =   !!int a   &a b
"""),
    "? ",
    "k" * 200,
)

_MARKS = ("\n", "\r\n", "\r", "\t", "  ", ": ", "- ", "? ", *":-{}[],'\"#|>%=~!\\")
_YAML = (
    *(
        "&a ",
        "*a",
        "&a [*a]",
        "<<: *a\n",
        "!!int ",
        "!!python/object:os.system ",
        "---\n",
        "...\n",
        "--- a\n",
    ),
    *("%YAML 1.2\n---\n", "%YAML 9.9\n---\n", "%YAML 1." + "9" * 5000 + "\n---\n", "%TAG ! x\n---\n"),
    *("matrix:", "include:", "exclude:", "null", "${X", "${N}", r'"\ud800"', r'"\U00110000"', r'"\x1b"'),
)
_CHARACTERS = (
    *("\0", "\x07", "\x1b[31m", "\x7f", "\x85", "\x9b"),
    *("\u2028", "\u202e", "\ufeff", "\ufffe", "\ud800", "\U0001f600"),
)
_LONG = (*("9" * 5000, "x" * 5000, " " * 5000, "\n" * 3000, "[" * 30, "{a: " * 30, "a" * 1100 + ": b\n"),)

#: Text to be put anywhere.
PIECES = (*_MARKS, *_YAML, *_CHARACTERS, *_LONG)

#: Bytes that are no UTF-8, or not at that place.
BYTES = (b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xfe\xff", b"\xef\xbb\xbf")
