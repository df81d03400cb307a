"""What the program says and answers when something is wrong."""

import re
import sys
import tempfile
from pathlib import Path

import click
import pytest

from e2e_matrix import cli
from e2e_matrix.cli import demo, options, plan


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["e2e-matrix", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder without a matrix.yaml, with no engine and no model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    for name in ("LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


MATRIX = "matrix:\n  variant: [python]\n  arch: [amd64]\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "matrix.yaml: "),
        (["run", "--max-parallel", "0"], "0 is not in the range x>=1"),
        (["nonsense"], "No such command 'nonsense'"),
        (["render", "nowhere"], "there is no run 'nowhere'"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    error = capfd.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_no_engine_is_infrastructure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    assert run(monkeypatch, "run") == 3
    assert "no.sock" in capfd.readouterr().err
    assert not (tmp_path / "reports").exists()


def test_a_model_without_its_key_is_bad_input_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    monkeypatch.setenv("LLM_MODEL", "openai/gpt-4o")
    assert run(monkeypatch, "run") == 2
    assert "LLM_API_KEY: not set" in capfd.readouterr().err


def test_a_key_that_a_run_may_do_without_is_not_asked_for_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    monkeypatch.setenv("LLM_MODEL", "openai/gpt-4o")
    assert run(monkeypatch, "run", "--reuse", "7d") == 3  # there is no engine to ask for what changed
    assert "LLM_API_KEY" not in capfd.readouterr().err


def test_the_unforeseen_is_a_message_and_a_file_with_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def surprise(*_: object) -> None:
        raise ZeroDivisionError("a surprise")

    monkeypatch.setattr(plan, "load_all", surprise)
    assert run(monkeypatch, "plan") == 3
    error = capfd.readouterr().err
    assert "unexpected ZeroDivisionError: a surprise" in error
    assert "Traceback" not in error
    [path] = re.findall(r"report it with (\S+)\.\n", error)
    assert Path(path).is_relative_to(tmp_path)
    assert "in surprise" in Path(path).read_text()


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        (".venv/bin/e2e-matrix", ".venv/bin/e2e-matrix"),
        ("{here}/.venv/bin/e2e-matrix", ".venv/bin/e2e-matrix"),
        ("/elsewhere/src/e2e_matrix/__main__.py", "e2e-matrix"),
        ("{here}/on-path/e2e-matrix", "e2e-matrix"),
    ],
)
def test_the_command_is_kept_as_it_can_be_typed_again(
    called: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "on-path" / "e2e-matrix"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "e2e-matrix").touch(0o755)
    monkeypatch.setattr(sys, "argv", [called.format(here=tmp_path), "run", "--only", "a*"])
    assert options.command_line() == [shown, "run", "--only", "a*"]


def context_of(command: click.Command, *arguments: str) -> click.Context:
    return command.make_context("demo", list(arguments))


def test_variables_that_are_set_for_run_change_nothing_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "matrix.yaml").write_text(MATRIX)
    for name in ("E2E_MATRIX_REF", "E2E_MATRIX_MODEL", "LLM_MODEL"):
        monkeypatch.setenv(name, "theirs")
    monkeypatch.setenv("E2E_MATRIX_TIMEOUT", "3m")
    settings, plan = options.load(context_of(demo.command), ours=demo.OURS)
    assert (settings.ref, settings.model, settings.timeout) == ("latest", None, 180)
    settings, plan = options.load(context_of(demo.command, "--model", "openai/gpt-5.5"), ours=demo.OURS)
    assert [cell.model for cell in plan.cells] == ["openai/gpt-5.5"]


def test_a_password_on_the_command_line_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["run", "--base-url", "http://user:pw@host/v1?key=K", "--base-url=http://user:pw@host/v1"]
    monkeypatch.setattr(sys, "argv", ["e2e-matrix", *arguments])
    assert options.command_line()[1:] == ["run", "--base-url", "http://host/v1", "--base-url=http://host/v1"]
