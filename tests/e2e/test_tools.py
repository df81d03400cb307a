"""The scenario ``tools`` on the real agent-server: three good images, and a locale that breaks tmux."""

from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix.scenarios import tools
from support.price import GPT_4O
from support.real_runs import Ran, Runner

pytestmark = pytest.mark.timeout(600)

MATRIX = """\
matrix:
  variant: [python, java, golang]
  locale: [C.UTF-8]
  include:
    - {variant: python, locale: C}
platform: linux/amd64
environment: {LC_ALL: "{locale}"}
scenarios: {tools: {}}
"""
GOOD = {
    "python-C.UTF-8": {"python3 hello.py", "node hello.js"},
    "java-C.UTF-8": {"java -version", "javac Hello.java && java -cp . Hello"},
    "golang-C.UTF-8": {"go version", "go build -o hello hello.go && ./hello 2>&1"},
}


def test_the_tools_of_real_images(runner: Runner, tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text(MATRIX)
    ran = runner.run("--matrix", str(matrix))
    for cell, commands in GOOD.items():
        _check_good(ran, cell, commands)
    _check_locale(ran, "python-C")


def _check_good(ran: Ran, name: str, commands: set[str]) -> None:
    cell = ran.cell(name)
    assert (cell["outcome"], [step["name"] for step in cell["steps"]]) == ("passed", list(tools.STEPS)), (
        ran.output
    )
    facts = {step["name"]: step["facts"] for step in cell["steps"]}
    assert facts["bash"] | {"user": "10001 openhands", "charmap": "UTF-8"} == facts["bash"]
    assert set(facts["variant-tools"]) == commands
    assert facts["terminal"]["terminal"] == "tmux"
    [attempt] = cell["attempts"]
    # A call for each command, and one for what the agent says of it.
    assert len(attempt["llm_calls"]) == 4
    price = sum(
        call["prompt_tokens"] * GPT_4O.prompt + call["completion_tokens"] * GPT_4O.completion
        for call in attempt["llm_calls"]
    )
    # The server adds its costs up in binary floating point.
    assert Decimal(cell["cost_usd"]) == pytest.approx(price, rel=Decimal("1e-12"))


def _check_locale(ran: Ran, name: str) -> None:
    """Upstream 1886 and 2092: libtmux cannot read what a tmux without UTF-8 answers."""
    failed = [step for step in ran.cell(name)["steps"] if step["outcome"] != "passed"]
    bash, conversation = failed
    assert (bash["name"], conversation["name"]) == ("bash", "conversation")
    assert "the locale of a command (LC_ALL, LC_CTYPE, LANG): one of UTF-8" in bash["expected"]
    assert (conversation["expected"], conversation["got"]) == ("201", "500")
