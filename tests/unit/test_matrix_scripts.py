"""Scripts as scenarios: what matrix.yaml may say of them, and which cells that makes."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from e2e_matrix.errors import BadInput
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.matrix_scripts import MAX_BYTES
from e2e_matrix.plan import PlannedCell, make_plan
from e2e_matrix.scenarios import find as find_scenario
from e2e_matrix.script.globs import Room, find
from e2e_matrix.script.settings import ScriptSettings
from e2e_matrix.settings import Overrides, resolve
from support.matrix_files import load, problem, problems, write

MATRIX = "matrix: {variant: [python], arch: [amd64]}\n"
FILES = {
    "16_deferred_init.py": "print('EXAMPLE_COST: 0.1')\n",
    "01_convo.py": "x = 1\n",
    "02_docker.py": "import os\nfrom openhands.workspace import DockerWorkspace\n",
    "03_chat.py": "while True:\n    print(input('> '))\n    input()\n",
    "04_broken.py": "def f(:\n",
    "README.md": "",
    ".hidden.py": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for matrix.yaml, beside a folder of examples."""
    examples = tmp_path / "sdk" / "examples"
    (examples / "a_folder.py").mkdir(parents=True)
    for name, text in FILES.items():
        (examples / name).write_text(text)
    here = tmp_path / "here"
    here.mkdir()
    return here


def cells(folder: Path, scenarios: str, matrix: str = MATRIX) -> tuple[PlannedCell, ...]:
    loaded = load(folder, matrix + "scenarios:\n" + textwrap.indent(textwrap.dedent(scenarios), "  "))
    return make_plan(loaded, resolve(loaded, Overrides(), {})).cells


def only(folder: Path, line: str) -> str:
    """The one problem of a scenario `ex` on line 2."""
    return problem(folder, f"{MATRIX}scenarios: {{ex: {line}}}\n")


def test_a_script_is_a_scenario_of_any_name_with_everything_planned(folder: Path) -> None:
    [cell] = cells(
        folder,
        """\
        example-16:
          script: ../sdk/examples/16_deferred_init.py
          sdk: 1.10
          timeout: 3m
          expect: {exit: 3, cost: printed}
          environment: {MODEL: "{variant}", URL: "{base-url}/x", JSON: "{{}}"}
          arguments: [--key, "{session-api-key}", 1.10]
          cwd: scratch
          stdin: empty
        """,
    )
    script = str(folder.parent / "sdk" / "examples" / "16_deferred_init.py")
    assert (cell.id, cell.scenario) == ("python-amd64", "example-16")
    assert cell.script == "../sdk/examples/16_deferred_init.py"
    assert cell.scenario_settings == {
        "script": script,
        "path": "../sdk/examples/16_deferred_init.py",
        "sdk": "1.10",
        "at": None,
        "timeout": 180.0,
        "expect": {"exit": 3, "cost": "printed", "conversations": "finished", "wasted": None},
        "environment": {"MODEL": "python", "URL": "{base-url}/x", "JSON": "{}"},
        "arguments": ["--key", "{session-api-key}", "1.10"],
        "cwd": "scratch",
        "stdin": "empty",
    }
    again = ScriptSettings.model_validate(cell.scenario_settings)
    assert again.model_dump(mode="json", by_alias=True) == cell.scenario_settings
    assert find_scenario(cell.scenario, cell.scenario_settings).NAME == "script"


def test_what_is_not_said_of_a_script_has_a_default(folder: Path) -> None:
    [cell] = cells(folder, "ex: {script: ../sdk/examples/01_convo.py}")
    said = ScriptSettings.model_validate(cell.scenario_settings)
    assert (said.sdk, said.timeout, said.expect.exit, said.expect.cost) == ("server", 600.0, 0, "required")
    assert (said.cwd, said.stdin, said.environment, said.arguments) == ("checkout", "refuse", {}, [])


def test_a_glob_is_one_scenario_per_file_in_their_order(folder: Path) -> None:
    made = cells(
        folder,
        """\
        deferred-init:
        ex:
          script: ../sdk/examples/*.py
          exclude: ["02_*", "03_chat.py"]
          timeout: 1m
        """,
    )
    assert [cell.id for cell in made] == [
        "python-amd64-deferred-init",
        "python-amd64-ex-01_convo",
        "python-amd64-ex-04_broken",
        "python-amd64-ex-16_deferred_init",
    ]
    assert [cell.script for cell in made][:2] == [None, "../sdk/examples/01_convo.py"]
    assert {cell.scenario_settings.get("timeout") for cell in made} == {None, 60.0}


def test_a_glob_that_finds_one_file_keeps_its_name_for_when_there_are_two(folder: Path) -> None:
    assert [cell.id for cell in cells(folder, 'ex: {script: "../*/*/0[1]_*.py"}')] == [
        "python-amd64-ex-01_convo"
    ]


def test_per_script_changes_what_it_says_and_the_last_match_wins(folder: Path) -> None:
    first, second = cells(
        folder,
        """\
        ex:
          script: ../sdk/examples/*.py
          exclude: ["0[124]_*"]
          expect: {exit: 1, cost: optional}
          environment: {A: base, B: base}
          arguments: [base]
          per-script:
            "*": {sdk: checkout, environment: {B: "any {variant}", C: any}}
            "0*.py": {stdin: empty, expect: {exit: 2}, environment: {B: first}, arguments: []}
            "16_*": {timeout: 1m}
        """,
    )
    assert [Path(cell.scenario_settings["script"]).name for cell in (first, second)] == [
        "03_chat.py",
        "16_deferred_init.py",
    ]
    one, two = (ScriptSettings.model_validate(cell.scenario_settings) for cell in (first, second))
    assert (one.sdk, one.timeout, one.stdin, one.arguments) == ("checkout", 600.0, "empty", [])
    assert (one.expect.exit, one.expect.cost) == (2, "optional")
    assert one.environment == {"A": "base", "B": "first", "C": "any"}
    assert (two.sdk, two.timeout, two.stdin, two.arguments) == ("checkout", 60.0, "refuse", ["base"])
    assert (two.expect.exit, two.environment["B"]) == (1, "any python")


def test_an_axis_of_scripts_reads_each_and_gives_each_its_own(folder: Path) -> None:
    made = cells(
        folder,
        """\
        ex:
          script: ../sdk/examples/{example}.py
          per-script: {"01_*": {environment: {LLM_MODEL: openai/gpt-5.5}}}
        """,
        "matrix: {variant: [python], arch: [amd64, arm64], example: [16_deferred_init, 01_convo]}\n",
    )
    assert [(cell.id, cell.script) for cell in made][:2] == [
        ("python-amd64-16_deferred_init", "../sdk/examples/16_deferred_init.py"),
        ("python-amd64-01_convo", "../sdk/examples/01_convo.py"),
    ]
    assert [len(cell.scenario_settings["environment"]) for cell in made] == [0, 1, 0, 1]


def test_before_and_after_a_fix_is_an_axis_of_revisions_and_no_file_is_looked_at(folder: Path) -> None:
    made = cells(
        folder,
        'ex: {script: ../sdk/not_there_now.py, at: "{commit}"}',
        "matrix: {variant: [python], arch: [amd64], commit: [abc1234, v1.2~1]}\n",
    )
    assert [cell.scenario_settings["at"] for cell in made] == ["abc1234", "v1.2~1"]
    glob = 'ex: {script: "../sdk/examples/03_*.py", at: "v{ref}"}'
    assert [cell.scenario_settings["at"] for cell in cells(folder, glob)] == ["vlatest"]


def test_an_include_gives_one_cell_another_script(folder: Path) -> None:
    made = cells(
        folder,
        'ex: {script: "../sdk/examples/{which}.py"}',
        "matrix: {variant: [python, java], arch: [amd64], "
        "include: [{which: 01_convo}, {variant: java, which: 16_deferred_init}]}\n",
    )
    assert [cell.script for cell in made] == [
        "../sdk/examples/01_convo.py",
        "../sdk/examples/16_deferred_init.py",
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{script: }", "2:25 script: must be text, not nothing | write a value, or leave it out"),
        ("{script: [a]}", "2:26 script: must be text, not a list | write a value, or leave it out"),
        ("{script: a.py, exclde: [b]}", "2:32 unknown key 'exclde' | did you mean 'exclude'?"),
        ("{script: a.py, per_script: {}}", "2:32 unknown key 'per_script' | did you mean 'per-script'?"),
        (
            "{script: '*', per-script: {'*': {tiemout: 1m}}}",
            "2:50 unknown key 'tiemout' | did you mean 'timeout'?",
        ),
        (
            "{script: '*', per-script: {'*': {at: x}}}",
            "2:50 unknown key 'at' | known here: sdk, timeout, expect, environment, arguments, stdin",
        ),
        (
            "{script: '*', per-script: []}",
            "2:43 per-script: must be a mapping, not a list | write `key: value` lines below it",
        ),
        (
            "{script: '*', exclude: a}",
            "2:40 exclude: must be a list, not 'a' | write [one, two], or one `- ` line for each",
        ),
        (
            f"{{script: '*', exclude: [{', '.join(f'a{n}' for n in range(1001))}]}}",
            "2:40 exclude: has more than 1000 entries | use globs",
        ),
        (
            "{script: '{variant'}",
            "2:26 script: braces do not pair: write {name} for a field, {{ for a literal brace | ",
        ),
        ("{script: '{x}*.py', stdin: ask}", "2:44 stdin: must be refuse or empty, not 'ask' | "),
        (
            "{script: '*.py'}",
            "2:26 script: no file matches '*.py' | paths begin at {here}; only files that end in .py count",
        ),
        (
            "{script: '../sdk/**/*.py'}",
            "2:26 script: ** is not for scripts: write a * for each level of folders | "
            "name the files more closely",
        ),
        (
            "{script: '{variant}/*.py'}",
            "2:26 script: a glob cannot have {variant} | "
            "write either a glob, or a path with {fields} and an axis of file names",
        ),
        (
            "{script: ../sdk/examples/1.py}",
            "2:26 script: no such file: '../sdk/examples/1.py' | it was looked for at {examples}/1.py",
        ),
        (
            "{script: ../sdk/examples}",
            "2:26 script: '../sdk/examples' is a folder | "
            "name a script in it, or all of them: ../sdk/examples/*.py",
        ),
        ("{script: /dev/null}", "2:26 script: '/dev/null' is no regular file | name a script"),
        (
            "{script: '../sdk/examples/{variant}.py'}",
            "2:26 script: no such file: '../sdk/examples/python.py' | "
            "it was looked for at {examples}/python.py",
        ),
        (
            f"{{script: {'x' * 300}.py}}",
            f"2:26 script: '{'x' * 300}.py' cannot be read: File name too long | "
            f"check the name and its permissions",
        ),
        (
            "{script: '../sdk/examples/*.py', exclude: ['0[23]_*', '09_*']}",
            "2:71 exclude: no file matches '09_*' | "
            "the files are 01_convo.py, 02_docker.py, 03_chat.py, 04_broken.py, 16_deferred_init.py",
        ),
        (
            "{script: '../sdk/examples/*.py', exclude: ['*']}",
            "2:50 exclude leaves no script | remove an entry of it",
        ),
        (
            "{script: ../sdk/examples/01_convo.py, exclude: [a]}",
            "2:55 exclude goes with a glob | leave it out",
        ),
        (
            "{script: '../sdk/examples/01*.py', per-script: {b.py: {}}}",
            "2:65 per-script: no script matches 'b.py' | it is matched against the scripts' file names",
        ),
        (
            "{script: '../sdk/examples/0[34]*.py'}",
            "2:26 script: ../sdk/examples/03_chat.py:2 reads its stdin (input()) | "
            "add it to exclude, or set `stdin: empty`",
        ),
        (
            "{script: ../sdk/examples/03_chat.py}",
            "2:26 script: ../sdk/examples/03_chat.py:2 reads its stdin (input()) | "
            "leave it out, or set `stdin: empty`",
        ),
        (
            "{script: '../sdk/examples/02*.py', stdin: empty}",
            "2:26 script: ../sdk/examples/02_docker.py:2 starts a server of its own (DockerWorkspace) | "
            "it does not test the cell's image: add it to exclude",
        ),
        (
            "{script: ../sdk/examples/02_docker.py}",
            "2:26 script: ../sdk/examples/02_docker.py:2 starts a server of its own (DockerWorkspace) | "
            "it does not test the cell's image: leave it out",
        ),
        (
            "{script: 'x/{exmaple}.py'}",
            "2:26 scenarios.ex.script: unknown field {exmaple} | known here: ref, variant, arch",
        ),
        (
            "{script: 'x/{base-url}.py'}",
            "2:26 scenarios.ex.script: unknown field {base-url} | "
            "it is known only when the script starts: use it in environment or arguments",
        ),
    ],
)
def test_what_cannot_be_meant_is_said_at_its_place(folder: Path, line: str, expected: str) -> None:
    expected = expected.replace("{here}", str(folder)).replace(
        "{examples}", str(folder.parent / "sdk/examples")
    )
    assert only(folder, line) == expected


GOOD = "script: ../sdk/examples/16_deferred_init.py"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("timeout: 180", "cannot be '180' | the unit is missing: write a duration such as 90s, 10m or 1h30m"),
        ("timeout:", "must be text, not nothing | write a value, or leave it out"),
        ("timeout: 0s", "cannot be '0s' | a duration is longer than 0s and at most 7d"),
        (
            "sdk: latest",
            "must be server, checkout, or a version of openhands-sdk, not 'latest' | such as 1.58.0",
        ),
        (
            "sdk: v1.58.0",
            "must be server, checkout, or a version of openhands-sdk, not 'v1.58.0' | such as 1.58.0",
        ),
        ("cwd: tmp", "must be checkout or scratch, not 'tmp' | "),
        ("stdin: yes", "must be refuse or empty, not 'yes' | "),
        ("expect: 0", "must be a mapping, not '0' | write `key: value` lines below it"),
        ("expect: {exit: 256}", "must be a whole number from 0 to 255, not '256' | "),
        ("expect: {exit: -1}", "must be a whole number from 0 to 255, not '-1' | "),
        ("expect: {exit: true}", "must be a whole number from 0 to 255, not 'true' | "),
        ("expect: {cost: yes}", "must be required, printed or optional, not 'yes' | "),
        (
            "environment: {A-B: c}",
            "must be the NAME of an environment variable | "
            "such as LLM_API_KEY: letters, digits and _; the value itself stays in it",
        ),
        ("environment: {A: '{b.c}'}", "{b.c} is no field: write {name}, and {{ for a literal brace | "),
        ("arguments: a b", "must be a list, not 'a b' | write [one, two], or one `- ` line for each"),
        ("arguments: [[a]]", "entry 1: must be text, not a list | write a value, or leave it out"),
        ("environment: {A: '{base_url}'}", "unknown field {base_url} | did you mean 'base-url'?"),
        ("arguments: ['{session-key}']", "unknown field {session-key} | did you mean 'session-api-key'?"),
        (
            "at: '{base-url}'",
            "unknown field {base-url} | "
            "it is known only when the script starts: use it in environment or arguments",
        ),
        ("at: '-x'", "'-x' is no revision | write a commit, a tag or a branch"),
        ("at: a..b", "'a..b' is no revision | write a commit, a tag or a branch"),
    ],
)
def test_a_wrong_value_is_named(folder: Path, words: str, expected: str) -> None:
    found = problem(folder, f"{MATRIX}scenarios:\n  ex:\n    {GOOD}\n    {words}\n")
    place, _, said = found.partition(" ")
    assert place.startswith("5:")
    assert said.partition(": ")[2] == expected


def test_a_template_of_per_script_is_one_too(folder: Path) -> None:
    found = only(folder, f"{{{GOOD}, per-script: {{'*': {{environment: {{A: '{{x}}'}}}}}}}}")
    assert found == (
        "2:99 scenarios.ex.per-script.*.environment.A: unknown field {x} | "
        "known here: ref, variant, arch, base-url, session-api-key"
    )


def test_a_script_that_is_larger_than_any_is_not_read(folder: Path) -> None:
    (folder / "big.py").write_bytes(b"#" * (MAX_BYTES + 1))
    assert only(folder, "{script: big.py}") == (
        "2:26 script: 'big.py' is larger than 1 MiB | this is hardly a script: leave it out"
    )


def test_a_script_of_another_encoding_or_of_none_is_left_to_python(folder: Path) -> None:
    (folder / "latin.py").write_bytes("# coding: latin-1\nx = 'ä'; input()\n".encode("latin-1"))
    assert "latin.py:2 reads its stdin" in only(folder, "{script: latin.py}")
    (folder / "none.py").write_bytes(b"x = '\xe4'; input()\n")
    assert [cell.script for cell in cells(folder, "ex: {script: none.py}")] == ["none.py"]


def test_names_are_given_once(folder: Path) -> None:
    (folder / "init.py").touch()
    (folder / "sub").mkdir()
    (folder / "sub" / "16_deferred_init.py").touch()
    found = problems(
        folder,
        """\
        matrix: {variant: [python], arch: [amd64]}
        scenarios:
          deferred-init: {script: init.py}
          ex: {script: "../sdk/examples/16*.py"}
          ex-16_deferred_init: {script: init.py}
          deferred: {script: "i*.py"}
          b: {script: "../*/*/16*.py"}
        """,
    )
    assert found == [
        "3:3 the name 'deferred-init' is taken: it is a scenario of e2e-matrix, without `script:` | "
        "rename it",
        "5:3 there is a scenario 'ex-16_deferred_init' already, of 'ex' | rename one of the two",
        "6:3 there is a scenario 'deferred-init' already, of 'deferred-init' | rename one of the two",
        "7:15 two scripts make the scenario 'b-16_deferred_init': ../here/sub/16_deferred_init.py and "
        "../sdk/examples/16_deferred_init.py | write a scenario for each of their folders",
    ]


def test_a_glob_cannot_make_the_name_of_a_built_in_scenario(folder: Path) -> None:
    (folder / "init.py").touch()
    scenario = "deferred: {script: 'i*.py'}"
    assert problem(folder, f"{MATRIX}scenarios: {{{scenario}}}\n").startswith(
        "2:13 the name 'deferred-init' is taken"
    )
    assert problem(folder, f"{MATRIX}scenarios: {{deferred-init: , {scenario}}}\n") == (
        "2:30 there is a scenario 'deferred-init' already, without `script:` | rename one of the two"
    )


def test_an_axis_must_not_have_the_name_of_what_a_script_is_told_later(folder: Path) -> None:
    matrix = "matrix: {variant: [python], arch: [amd64], base-url: [x]}\n"
    assert problem(folder, f"{matrix}scenarios: {{ex: {{{GOOD}}}}}\n") == (
        "1:44 'base-url' is taken: it cannot name an axis | rename it"
    )
    assert load(folder, matrix).matrix.axes["base-url"] == ["x"]


def test_a_scenario_without_script_is_told_what_a_script_needs(folder: Path) -> None:
    assert only(folder, "{scrpt: a.py}") == (
        "2:13 unknown scenario 'ex' | known here: deferred-init, other; a script scenario needs `script:`"
    )


def test_the_keys_of_a_script_belong_to_scripts(folder: Path) -> None:
    file = write(folder, MATRIX + "scenarios: {deferred-init: {timeout: 1m}}\n")
    with pytest.raises(BadInput) as caught:
        load_matrix(file, {})
    assert str(caught.value) == (
        f"{file}:2:29: unknown setting 'timeout'\n    only a scenario with `script:` has timeout"
    )


def test_the_steps_of_a_script_may_have_limits(folder: Path) -> None:
    script = f"{MATRIX}scenarios: {{ex: {{{GOOD}}}}}\n"
    assert load_matrix(write(folder, script + "step-timeouts: {script: 3m}\n"), {}).step_timeouts == {
        "script": 180
    }
    with pytest.raises(BadInput, match="there is no step 'dormant'"):
        load_matrix(write(folder, script + "step-timeouts: {dormant: 3m}\n"), {})


def test_everything_that_is_wrong_with_scripts_is_said_at_once(folder: Path) -> None:
    found = problems(
        folder,
        """\
        matrix: {variant: [python], arch: [amd64], dead: []}
        scenarios:
          a:
            script: ../sdk/examples/0[123]_*.py
            timeout: 10
            sdk: newest
          b: {script: b.py, exclud: [x]}
          c: {script: c.py, environment: {A: "${NOPE}", B: "{nope}"}}
          d: {script: d.py}
          e:
        """,
    )
    assert [one.partition(" | ")[0] for one in found] == [
        "1:44 the axis dead is empty",
        "4:13 script: ../sdk/examples/02_docker.py:2 starts a server of its own (DockerWorkspace)",
        "4:13 script: ../sdk/examples/03_chat.py:2 reads its stdin (input())",
        "5:14 timeout: cannot be '10'",
        "6:10 sdk: must be server, checkout, or a version of openhands-sdk, not 'newest'",
        "7:21 unknown key 'exclud'",
        "8:15 script: no such file: 'c.py'",
        "8:38 the variable NOPE is not set",
        "9:15 script: no such file: 'd.py'",
        "10:3 unknown scenario 'e'",
    ]


def test_a_value_from_a_variable_is_not_shown(folder: Path) -> None:
    secret = "environment: {KEY: '${SECRET}'}, arguments: ['${SECRET}']"
    text = f"{MATRIX}scenarios: {{ex: {{{GOOD}, {secret}}}}}\n"
    matrix = load(folder, text, {"SECRET": "sk-hidden"})
    plan = make_plan(matrix, resolve(matrix, Overrides(), {}))
    assert plan.cells[0].scenario_settings["environment"] == {"KEY": "sk-hidden"}
    assert "sk-hidden" not in repr(plan)
    assert "sk-hidden" not in repr(resolve(matrix, Overrides(), {}))


def test_globs_look_at_so_many_files_and_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = "a: {script: '../sdk/examples/0[14]*'}, b: {script: '../sdk/examples/16*'}"
    text = f"{MATRIX}scenarios: {{{both}}}\n"
    entries = len(FILES) + 1  # with the folder
    monkeypatch.setattr("e2e_matrix.matrix_scripts.Room", lambda: Room(3, 2 * entries))
    load(folder, text)
    monkeypatch.setattr("e2e_matrix.matrix_scripts.Room", lambda: Room(2, 2 * entries))
    assert problem(folder, text) == (
        "2:64 script: the globs of this file find more than 1000 scripts | name the files more closely"
    )
    monkeypatch.setattr("e2e_matrix.matrix_scripts.Room", lambda: Room(3, 2 * entries - 1))
    assert problem(folder, text) == (
        "2:64 script: the globs of this file look at more than 20000 files and folders | "
        "name the files more closely"
    )


def test_a_glob_keeps_the_path_as_it_was_written(folder: Path) -> None:
    def found(pattern: str) -> list[str]:
        return find(folder, pattern, Room(9, 99))

    examples = folder.parent / "sdk" / "examples"
    assert found(f"{examples}/1*.py") == [f"{examples}/16_deferred_init.py"]
    assert found("../*dk/./e*/../examples/1?_*") == ["../sdk/./examples/../examples/16_deferred_init.py"]
    assert found("../sdk/examples/.h*") == ["../sdk/examples/.hidden.py"]
    assert found("not/there/*.py") == []
    (examples / "17_\udcff.py").touch()
    with pytest.raises(ValueError, match="cannot be shown: rename the file"):
        found("../sdk/examples/1*.py")


def test_more_cells_than_there_may_be_are_counted_before_they_are_planned(folder: Path) -> None:
    axis = ", ".join(map(str, range(500)))
    ex = "ex: {script: '../sdk/examples/*.py', exclude: ['0[23]*']}"
    assert problem(folder, f"matrix: {{variant: [{axis}], arch: [a]}}\nscenarios: {{{ex}}}\n") == (
        "1:1 the axes make 1500 cells; 1000 is the limit | use fewer values, or several files"
    )
