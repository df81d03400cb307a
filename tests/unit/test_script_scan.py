"""What a script's source shows before it runs."""

import pytest

from e2e_matrix.script.scan import scan


@pytest.mark.parametrize(
    ("source", "line", "what"),
    [
        ("name = input('> ')", 1, "input()"),
        ("def main():\n    while True:\n        input()", 3, "input()"),
        ("import builtins\nbuiltins.input()", 2, "builtins.input()"),
        ("import asyncio\nasyncio.to_thread(input, '> ')", 2, "input()"),
        ("import sys\ntext = sys.stdin.read()", 2, "sys.stdin.read()"),
        ("import sys as s\ndata = s.stdin.buffer.read(4)", 2, "sys.stdin.buffer.read()"),
        ("from sys import stdin\nfor line in stdin: pass", 2, "sys.stdin"),
        ("import sys, json\nx = [json.loads(line) for line in sys.stdin]", 2, "sys.stdin"),
        ("import sys, json\ntry: json.load(sys.stdin)\nexcept ValueError: pass", 2, "sys.stdin"),
        ("import getpass\ngetpass.getpass()", 2, "getpass.getpass()"),
        ("from getpass import getpass as ask\nask()", 2, "getpass.getpass()"),
        ("with open(0) as file: pass", 1, "open(0)"),
        ("import os\nos.read(0, 1)", 2, "os.read(0)"),
        ("open('/dev/tty')", 1, "open('/dev/tty')"),
        ("from rich.prompt import Prompt\nPrompt.ask('name')", 2, "rich.prompt.Prompt.ask()"),
        ("breakpoint()", 1, "breakpoint()"),
        # A guard that guards something else.
        ("import sys\nif not sys.stdin.isatty():\n    print('no')\ninput()", 4, "input()"),
        ("import sys\ndef f():\n    if not sys.stdin.isatty():\n        return\ninput()", 5, "input()"),
        ("x = '1' if DEBUG else input()", 1, "input()"),
        # A chat that ends at once tests nothing: whoever wants that says `stdin: empty`.
        ("try:\n    input()\nexcept EOFError:\n    pass", 2, "input()"),
    ],
)
def test_reading_stdin_is_found(source: str, line: int, what: str) -> None:
    assert [(one.kind, one.line, one.what) for one in scan(source)] == [("stdin", line, what)]


@pytest.mark.parametrize(
    "source",
    [
        "import sys\nif sys.stdin.isatty():\n    input('go on?')",
        "import sys\nif not sys.stdin.isatty():\n    text = ''\nelse:\n    text = input()",
        "import sys\nif not sys.stdin.isatty():\n    data = sys.stdin.read()",
        "import sys\nif not sys.stdin.isatty():\n    sys.exit('needs a terminal')\ninput()",
        "import sys\ndef ask():\n    if not sys.stdin.isatty():\n        return ''\n    return input()",
        "import os\nanswer = input() if os.isatty(0) else 'y'",
        "import sys\ntty = sys.stdin.isatty()\nif tty:\n    input()",
        "import sys\ndef is_tty():\n    return sys.stdin.isatty()\nwhile is_tty():\n    input()",
        "import sys\nsys.stdin.isatty() and input()",
        "import sys\nprint(sys.stdin.encoding, sys.stdin.fileno())",
        "import io, sys\nsys.stdin = io.StringIO('yes')\ninput()",
        "def run(input):\n    return input('x')",
        "from agents import input\ninput()",
        "open(False), open(1), open('0'), print('input()')",
        "stdin = 'x'\nstdin.read()",
    ],
)
def test_what_does_not_wait_for_a_person_is_let_through(source: str) -> None:
    assert scan(source) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from openhands.workspace import DockerWorkspace", ["DockerWorkspace"]),
        (
            "from openhands.workspace import (\n    APIRemoteWorkspace as W,\n    PlatformType,\n)",
            ["APIRemoteWorkspace"],
        ),
        ("from openhands.workspace.docker import DockerDevWorkspace", ["DockerDevWorkspace"]),
        ("def f():\n    from openhands.workspace import ApptainerWorkspace", ["ApptainerWorkspace"]),
        ("import openhands.workspace as w\nw.OpenHandsCloudWorkspace()", ["OpenHandsCloudWorkspace"]),
        ("import openhands.workspace\nopenhands.workspace.DockerWorkspace()", ["DockerWorkspace"]),
        ("from openhands import workspace\nworkspace.DaytonaWorkspace()", ["DaytonaWorkspace"]),
        ("from openhands.sdk.workspace import DockerWorkspace, RemoteWorkspace", ["DockerWorkspace"]),
        (
            "from openhands.sdk import Workspace, LocalWorkspace\nfrom openhands.workspace import TargetType",
            [],
        ),
        ("if TYPE_CHECKING:\n    from openhands.workspace import DockerWorkspace", []),
        ("from mine import DockerWorkspace\nmine.DockerWorkspace", []),
    ],
)
def test_a_server_of_its_own_is_found(source: str, found: list[str]) -> None:
    assert [one.what for one in scan(source) if one.kind == "own-container"] == found
    assert len(scan(source)) == len(found)


def test_findings_come_in_the_order_of_the_lines_each_once() -> None:
    source = "input(); input()\nfrom openhands.workspace import DockerWorkspace\ninput()\n"
    assert [(one.line, str(one)) for one in scan(source)] == [
        (1, "reads its stdin (input())"),
        (2, "starts a server of its own (DockerWorkspace)"),
        (3, "reads its stdin (input())"),
    ]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("x = 1\ndef f(:\n", 2),
        ("a\0b", 1),
        ("(" * 5000 + ")" * 5000, 1),
        ("x = " + "-" * 50_000 + "1", 1),
        ("a" + ".a" * 50_000, 1),
        ("a" + "+a" * 50_000, 1),
    ],
    ids=["syntax", "nul", "brackets", "signs", "dots", "sums"],
)
def test_what_cannot_be_parsed_is_said_and_nothing_else(source: str, line: int) -> None:
    assert [(one.kind, one.line) for one in scan(source)] == [("syntax", line)]


@pytest.mark.filterwarnings("error")
def test_a_scripts_own_slips_are_not_ours_to_show() -> None:
    assert scan("x = '\\d'\nif x is 'a': pass\n") == []
