"""``e2e-matrix plan`` as a person runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from e2e_matrix.cli import program
from e2e_matrix.cli.options import load, matrix_options, run_options
from e2e_matrix.errors import BadInput
from e2e_matrix.settings import Overrides, Setting, Source
from support.matrix_files import write

MATRIX = "matrix: {variant: [python, java], arch: [amd64, arm64]}\n"


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LLM_MODEL", "LLM_BASE_URL", "E2E_MATRIX_REF", "E2E_MATRIX_ONLY", "E2E_MATRIX_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def plan(*arguments: str) -> Result:
    return CliRunner().invoke(program, ["plan", *arguments], auto_envvar_prefix="E2E_MATRIX")


def as_json(*arguments: str) -> dict[str, dict[str, dict[str, str]]]:
    result = plan("--format", "json", *arguments)
    assert result.exit_code == 0, result.output
    answer: dict[str, dict[str, dict[str, str]]] = json.loads(result.stdout)
    return answer


def refusal(*arguments: str) -> str:
    result = plan(*arguments)
    assert isinstance(result.exception, BadInput), result.output
    assert result.exception.exit_code == 2
    return str(result.exception)


def test_a_models_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    axes = MATRIX.replace("{variant", r'{m: [a, "\e[31mb\u202e"], variant')
    write(tmp_path, axes + 'llm: {model: "{m}"}\n')
    result = plan()
    assert result.exit_code == 0, result.output
    assert not {"\x1b", "\u202e"} & set(result.stdout)


def test_the_text_is_an_aligned_table_and_what_was_set(tmp_path: Path) -> None:
    write(tmp_path, MATRIX + "timeout: 5m\n")
    result = plan("--ref", "v1.58.2", "--skip", "*-arm64")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "cell          platform     image",
        "python-amd64  linux/amd64  ghcr.io/openhands/agent-server:1.58.2-python",
        "java-amd64    linux/amd64  ghcr.io/openhands/agent-server:1.58.2-java",
        "",
        "2 cells from matrix.yaml",
        "",
        "setting  value    source",
        "ref      1.58.2   command line",
        "timeout  5m       file",
        "skip     *-arm64  command line",
    ]


def test_of_a_section_only_what_was_set_is_shown(tmp_path: Path) -> None:
    text = "regression: {boot: 30%, size: null}\nstep-timeouts: {dormant: 3m}\n"
    write(tmp_path, f"{MATRIX}{text}profiles: {{p: {{regression: {{cost: 1%, size: 2%}}}}}}\n")
    lines = plan("--profile", "p").stdout.splitlines()
    assert [line.split(maxsplit=2) for line in lines[lines.index("") + 4 :]] == [
        ["profile", "p", "command line"],
        ["step-timeouts.dormant", "3m", "file"],
        ["regression.boot", "30%", "file"],
        ["regression.cost", "1%", "profile p"],
        ["regression.size", "2%", "profile p"],
    ]
    assert max(map(len, lines)) < 110
    assert ["regression.size", "null", "file"] in [line.split() for line in plan().stdout.splitlines()]


def test_scripts_are_shown_beside_their_cells_as_the_file_says_them(tmp_path: Path) -> None:
    (tmp_path / "ex").mkdir()
    (tmp_path / "ex" / "1_a.py").touch()
    scenarios = "scenarios: {deferred-init: , ex: {script: ex/*.py, environment: {KEY: sk-hidden}}}\n"
    write(tmp_path, "image: x:{variant}\nmatrix: {variant: [a], arch: [amd64]}\n" + scenarios)
    assert plan().stdout.splitlines()[:3] == [
        "cell                   platform     image  script",
        "a-amd64-deferred-init  linux/amd64  x:a",
        "a-amd64-ex-1_a         linux/amd64  x:a    ex/1_a.py",
    ]
    cells = as_json()["cells"]
    assert [(cell["scenario"], cell["script"]) for cell in cells] == [  # type: ignore[index]
        ("deferred-init", None),
        ("ex-1_a", "ex/1_a.py"),
    ]
    assert "sk-hidden" not in plan("--format", "json").stdout + plan().stdout


def test_json_has_the_cells_and_every_setting_with_its_source(tmp_path: Path) -> None:
    write(tmp_path, MATRIX)
    answer = as_json("--only", "python-amd64, java-arm64", "--only", "java-amd64")
    assert [cell["id"] for cell in answer["cells"]] == ["python-amd64", "java-amd64", "java-arm64"]  # type: ignore[index]
    assert answer["settings"]["timeout"] == {"value": "10m", "source": "default"}
    assert answer["settings"]["only"]["source"] == "command line"


@pytest.mark.parametrize("variable", ["E2E_MATRIX_REF", "E2E_MATRIX_PLAN_REF"])
def test_a_variable_is_told_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    write(tmp_path, MATRIX + "ref: main\n")
    monkeypatch.setenv(variable, "1.0.0")
    assert as_json()["settings"]["ref"] == {"value": "1.0.0", "source": "environment"}
    assert as_json("--ref", "2.0.0")["settings"]["ref"] == {"value": "2.0.0", "source": "command line"}


def test_an_empty_variable_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, MATRIX + "ref: main\n")
    monkeypatch.setenv("E2E_MATRIX_REF", "")
    monkeypatch.setenv("E2E_MATRIX_ONLY", "")
    assert as_json()["settings"]["ref"]["source"] == "file"


def test_options_that_are_not_given_leave_the_file_alone(tmp_path: Path) -> None:
    write(tmp_path, MATRIX + "ref: main\nimage: 'x:{ref}-{variant}'\nfail-fast: true\n")
    settings = as_json()["settings"]
    assert {settings[name]["source"] for name in ("ref", "image", "fail-fast")} == {"file"}


def test_problems_of_options_and_file_come_together(tmp_path: Path) -> None:
    write(tmp_path, MATRIX + "timeout: 5\n")
    assert refusal("--ref", " ").splitlines()[::2] == [
        "--ref: must not be empty",
        "matrix.yaml:2:10: timeout: cannot be '5'",
    ]


def test_a_glob_that_matches_nothing_lists_the_cells(tmp_path: Path) -> None:
    write(tmp_path, MATRIX)
    assert "the cells are python-amd64, python-arm64, java-amd64, java-arm64" in refusal("--only", "rust-*")


def test_no_file_says_how_to_name_one() -> None:
    assert refusal().startswith("matrix.yaml: no such file\n")


def test_secrets_in_the_environment_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "sk-12345")
    write(tmp_path, MATRIX + "environment: {TOKEN: '${TOKEN}'}\n")
    for result in (plan(), plan("--format", "json")):
        assert result.exit_code == 0
        assert "sk-12345" not in result.output


def test_the_program_plans_without_dockers_sdk_and_refuses_with_exit_code_2(tmp_path: Path) -> None:
    path = write(tmp_path, MATRIX)
    code = (
        "import sys; from e2e_matrix.cli import main\n"
        "try: main()\n"
        "finally: print('docker' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "plan", "--matrix", str(path)]
    planned = subprocess.run(command, capture_output=True, text=True, check=False)
    assert planned.returncode == 0, planned.stderr
    assert planned.stderr == "False\n"
    path.write_text("matrix: []\n", encoding="utf-8")
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    assert f"{path}:1:9: matrix: must be a mapping" in refused.stderr


PROFILES = (
    MATRIX
    + """\
ref: v1.0.0
environment: {TOKEN: sk-file, OTHER: '${HOME}'}
max-cost: {cell: 0.5}
llm: {base-url: 'https://user:pw@host/v1?key=sk-query'}
skip: ['java-*']
profiles:
  nightly:
    ref: main
    max-cost: {run: 5}
    environment: {TOKEN: sk-profile}
    matrix: {arch: [amd64]}
    scenarios: {tools: {user: null}}
    skip: []
  pr: {llm: {base-url: 'https://user:pw@host/v2'}}
"""
)


def explained(*arguments: str) -> dict[str, tuple[object, str, list[tuple[object, str]]]]:
    """By setting: its value, where it comes from, and what it was said over."""
    result = plan("--explain", "--format", "json", *arguments)
    assert result.exit_code == 0, result.output
    return {
        one["setting"]: (
            one["value"],
            f"{one['source']} {one['at']}".strip(),
            [(over["value"], f"{over['source']} {over['at']}") for over in one["over"]],
        )
        for one in json.loads(result.stdout)["explained"]
    }


def test_every_setting_is_explained_by_what_it_was_said_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, PROFILES)
    monkeypatch.setenv("E2E_MATRIX_REF", "v2.0.0")
    monkeypatch.setenv("E2E_MATRIX_PLAN_PROFILE", "pr")
    monkeypatch.setenv("LLM_MODEL", "openai/gpt-5.5")
    said = explained("--profile", "nightly", "--ref", "v3.0.0")
    assert said["profile"] == (
        "nightly",
        "command line --profile",
        [("pr", "environment E2E_MATRIX_PLAN_PROFILE")],
    )
    assert said["ref"] == (
        "3.0.0",
        "command line --ref",
        [
            ("v2.0.0", "environment E2E_MATRIX_REF"),
            ("main", "profile nightly matrix.yaml:9"),
            ("v1.0.0", "file matrix.yaml:2"),
        ],
    )
    assert said["max-cost.cell"] == ("0.5", "file matrix.yaml:4", [])
    assert said["max-cost.run"] == ("5", "profile nightly matrix.yaml:10", [])
    assert said["matrix.variant"] == (["python", "java"], "file matrix.yaml:1", [])
    assert said["matrix.arch"] == (
        ["amd64"],
        "profile nightly matrix.yaml:12",
        [(["amd64", "arm64"], "file matrix.yaml:1")],
    )
    assert said["scenarios"] == (["tools"], "profile nightly matrix.yaml:13", [])
    assert said["skip"] == ([], "profile nightly matrix.yaml:14", [(["java-*"], "file matrix.yaml:6")])
    assert said["llm.model"] == ("openai/gpt-5.5", "environment LLM_MODEL", [])
    assert said["timeout"] == ("10m", "default", [])
    assert not {"matrix.include", "matrix.exclude"} & set(said)
    assert explained("--profile", "nightly")["ref"][1:] == (
        "environment E2E_MATRIX_REF",
        [("main", "profile nightly matrix.yaml:9"), ("v1.0.0", "file matrix.yaml:2")],
    )


def test_of_scenarios_only_the_names_are_explained(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    scenarios = "scenarios: {tools: , ex: {script: a.py, environment: {KEY: sk-hidden}}}\n"
    write(tmp_path, MATRIX + scenarios + "profiles: {p: {scenarios: {deferred-init: }}}\n")
    assert explained("--profile", "p")["scenarios"] == (
        ["deferred-init"],
        "profile p matrix.yaml:3",
        [(["tools", "ex"], "file matrix.yaml:2")],
    )


def test_cells_that_are_named_say_nothing_of_a_skip_that_nobody_wrote(tmp_path: Path) -> None:
    write(tmp_path, MATRIX)
    assert as_json("--only", "java-*")["settings"]["skip"] == {"value": [], "source": "default"}


def test_every_setting_of_the_plan_is_explained(tmp_path: Path) -> None:
    write(tmp_path, PROFILES)
    settings = set(as_json()["settings"]) - {"environment", "regression"}
    parts = {"environment.TOKEN", "environment.OTHER", "regression.boot", "regression.size"}
    assert settings | parts < set(explained())


def test_a_skip_that_only_has_put_aside_is_explained(tmp_path: Path) -> None:
    write(tmp_path, PROFILES)
    assert explained("--only", "java-amd64")["skip"] == (
        [],
        "command line --only",
        [(["java-*"], "file matrix.yaml:6")],
    )


def test_nothing_secret_is_explained(tmp_path: Path) -> None:
    write(tmp_path, PROFILES)
    for arguments in ((), ("--profile", "nightly"), ("--profile", "pr")):
        for form in ("text", "json"):
            output = plan("--explain", "--format", form, *arguments).output
            assert "environment.TOKEN" in output
            assert not {word for word in ("sk-", "pw", "user:") if word in output}
    assert explained("--profile", "pr")["llm.base-url"] == (
        "https://host/v2",
        "profile pr matrix.yaml:15",
        [("https://host/v1", "file matrix.yaml:5")],
    )


def test_what_a_variable_holds_is_not_shown_of_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a secret, as a part of an address or of a file's name."""
    for name in ("REF", "HOST", "LIMIT", "SHARE", "GLOB", "MODEL", "PRICE", "FOLDER"):
        monkeypatch.setenv(name, {"LIMIT": "17m", "SHARE": "17%", "PRICE": "17"}.get(name, "hidden17"))
    monkeypatch.setenv("GLOB", "*amd64")
    said = """\
ref: '${REF}'
llm: {model: openai/m, base-url: 'https://${HOST}/v1', prices: {'openai/m': {input: '${PRICE}', output: 1}}}
step-timeouts: {dormant: '${LIMIT}'}
regression: {boot: '${SHARE}'}
only: ['${GLOB}']
reports: '${FOLDER}'
"""
    write(tmp_path, "image: 'r/server:{variant}'\n" + MATRIX + said)
    for arguments in ((), ("--explain",)):
        for form in ("text", "json"):
            output = plan("--format", form, *arguments).output
            assert "17" not in output
            assert "${REF}" in output
    settings = as_json()["settings"]
    assert settings["llm.base-url"]["value"] == "https://${HOST}/v1"
    assert settings["reports.folder"] == {"value": "${FOLDER}", "source": "file"}
    assert settings["only"] == {"value": ["${GLOB}"], "source": "file"}
    assert settings["reports.history"]["value"] == "${FOLDER}/history.sqlite"
    assert explained()["step-timeouts.dormant"] == ("${LIMIT}", "file matrix.yaml:5", [])
    assert explained("--ref", "x")["ref"] == ("x", "command line --ref", [("${REF}", "file matrix.yaml:3")])


def test_what_is_explained_cannot_write_to_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("E2E_MATRIX_REF", "\x1b[31m")
    file = tmp_path / "\u202ematrix.yaml"
    lines = r'only: ["[!\e]*"]' + "\nprofiles:\n  p: {only: ['*']}\n"
    file.write_text(MATRIX + lines, encoding="utf-8")
    for explain in ([], ["--explain"], ["--explain", "--profile", "p"]):
        result = plan("--matrix", str(file), "--ref", "x", *explain)
        assert result.exit_code == 0, result.output
        assert not {"\x1b", "\u202e"} & set(result.stdout.replace(f"from {file}", ""))


def test_the_docs_show_what_the_program_says(tmp_path: Path) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "matrix.md").read_text(encoding="utf-8")
    section = docs[docs.index("## Profiles") :]
    file, shown = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)[0] for kind in ("yaml", "text"))
    (tmp_path / "matrix.yaml").write_text(file, encoding="utf-8")
    command, *lines = shown.splitlines()
    said = iter(plan(*command.split()[3:]).stdout.splitlines())
    for line in lines:
        assert line == "..." or line in said, line  # in their order
    assert next(said, None) is None


def test_a_profile_is_chosen_by_option_or_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, PROFILES)
    assert as_json()["settings"]["profile"] == {"value": None, "source": "default"}
    monkeypatch.setenv("E2E_MATRIX_PROFILE", "pr")
    settings = as_json()["settings"]
    assert settings["profile"] == {"value": "pr", "source": "environment"}
    assert (settings["ref"]["source"], settings["llm.base-url"]["source"]) == ("file", "profile pr")
    settings = as_json("--profile", "nightly")["settings"]
    assert settings["ref"] == {"value": "main", "source": "profile nightly"}
    [shown] = re.findall(r"^profile +(.*)$", plan("--profile", "nightly").stdout, re.MULTILINE)
    assert shown.split() == ["nightly", "command", "line"]


def test_a_profile_that_is_not_there_comes_with_the_problems_of_file_and_options(tmp_path: Path) -> None:
    write(tmp_path, PROFILES + "timeout: 5\n")
    assert refusal("--profile", "nightl", "--image", " ").splitlines()[:6] == [
        "--image: must not be empty",
        "    give it a value, or leave it out",
        "--profile: there is no profile 'nightl' in matrix.yaml",
        "    did you mean 'nightly'?",
        "matrix.yaml:16:10: timeout: cannot be '5'",
        "    the unit is missing: write a duration such as 90s, 10m or 1h30m",
    ]
    assert refusal("--profile", "").startswith("--profile: must not be empty")


@click.command()
@matrix_options
@run_options
@click.pass_context
def run(ctx: click.Context, /, **_options: object) -> None:
    """Stands for `run` and `demo`: the second has words of its own."""
    demo = Overrides(image=Setting("x:{variant}", Source.DEFAULT), model=Setting(None, Source.DEFAULT))
    settings, plan = load(ctx, demo)
    sources = {name: value.model_dump() for name, value in settings.sources().items()}
    click.echo(json.dumps([sources, settings.timeout, [cell.image for cell in plan.cells]]))


def test_the_options_of_a_run_win_over_what_the_command_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, MATRIX + "fail-fast: true\nmax-parallel: 1\n")
    monkeypatch.setenv("LLM_MODEL", "unwanted")
    monkeypatch.setenv("E2E_MATRIX_MAX_PARALLEL", "3")
    arguments = ["--timeout", "2m", "--no-fail-fast", "--base-url", "http://host", "--reports", "r"]
    result = CliRunner().invoke(run, arguments)
    assert result.exit_code == 0, result.output
    sources, timeout, images = json.loads(result.stdout)
    assert timeout == 120
    assert images == ["x:python", "x:python", "x:java", "x:java"]
    assert sources["timeout"] == {"value": "2m", "source": "command line"}
    assert sources["fail-fast"] == {"value": False, "source": "command line"}
    assert sources["max-parallel"] == {"value": 3, "source": "environment"}
    assert sources["llm.model"] == {"value": None, "source": "default"}
    assert sources["reports.folder"]["value"] == "r"
    result = CliRunner().invoke(run, ["--image", "y:{arch}", "--model", "real"])
    sources, _, images = json.loads(result.stdout)
    assert images == ["y:amd64", "y:arm64", "y:amd64", "y:arm64"]
    assert sources["llm.model"] == {"value": "real", "source": "command line"}
    assert sources["fail-fast"] == {"value": True, "source": "file"}


def test_an_option_that_cannot_be_is_refused_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, MATRIX)
    result = CliRunner().invoke(run, ["--timeout", "5", "--base-url", "host"])
    assert str(result.exception).splitlines()[::2] == [
        "--base-url: must be an http:// or https:// URL",
        "--timeout: cannot be '5'",
    ]
    assert CliRunner().invoke(run, ["--max-parallel", "0"]).exit_code == 2
