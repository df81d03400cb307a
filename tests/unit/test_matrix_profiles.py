"""What a profile makes of its file, and what a person is told when it cannot."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from e2e_matrix.errors import BadInput
from e2e_matrix.matrix import Matrix
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.matrix_profiles import MAX_PROFILES
from e2e_matrix.plan import Room, make_plan
from e2e_matrix.schemas import schemas
from e2e_matrix.settings import Overrides, Setting, Settings, Source, resolve
from support.matrix_files import SCENARIOS, problem, problems, write

MATRIX = "matrix: {variant: [python, java], arch: [amd64, arm64]}\n"
NO_NIGHTL = "--profile: there is no profile 'nightl' in {file}\n    "


def chosen(folder: Path, text: str, name: str = "p", environ: Mapping[str, str] | None = None) -> Matrix:
    setting = Setting(name, Source.COMMAND_LINE, "--profile")
    return load_matrix(write(folder, text), environ or {}, SCENARIOS, setting)


def with_profile(folder: Path, base: str, profile: str, environ: Mapping[str, str] | None = None) -> Matrix:
    return chosen(folder, f"{MATRIX}{base}\nprofiles: {{p: {profile}}}\n", environ=environ)


def settings_of(matrix: Matrix, overrides: Overrides | None = None) -> Settings:
    profile = Setting(matrix.profile, Source.COMMAND_LINE) if matrix.profile else None
    return resolve(matrix, (overrides or Overrides()).over(Overrides(profile=profile)), {})


def ids(matrix: Matrix) -> list[str]:
    return [cell.id for cell in make_plan(matrix, settings_of(matrix)).cells]


@pytest.mark.parametrize(
    ("base", "profile", "key", "expected"),
    [
        ("timeout: 5m", "{timeout: 1m}", "timeout", 60),
        ("timeout: 5m", "{ref: main}", "timeout", 300),
        ("", "{timeout: 1m}", "timeout", 60),
        ("max-parallel: 3", "{max-parallel: null}", "max_parallel", None),
        ("max-parallel: 3", "", "max_parallel", 3),
        ("max-parallel: 3", "{}", "max_parallel", 3),
        ("fail-fast: true", "{fail-fast: false}", "fail_fast", False),
        ("environment: {A: a, B: b}", "{environment: {B: c, D: d}}", "environment",
         {"A": "a", "B": "c", "D": "d"}),
        ("environment: {A: a}", "{environment: {}}", "environment", {"A": "a"}),
        ("only: [java-*]", "{only: [python-*]}", "only", ["python-*"]),
        # How it takes away.
        ("skip: [java-*]", "{skip: []}", "skip", []),
        ("run-timeout: 1h", "{run-timeout: null}", "run_timeout", None),
        ("only: [java-*]", "{only: []}", "only", []),
        ("scenarios: {deferred-init: {a: 1}, other: }", "{scenarios: {deferred-init: }}", "scenarios",
         {"deferred-init": {}}),
    ],
)  # fmt: skip
def test_a_profile_replaces_what_it_says_and_leaves_the_rest(
    tmp_path: Path, base: str, profile: str, key: str, expected: object
) -> None:
    assert getattr(with_profile(tmp_path, base, profile), key) == expected


def test_sections_are_merged_key_by_key(tmp_path: Path) -> None:
    base = """\
        resources: {memory: 1g, cpus: 1}
        retries: {product: 1, infrastructure: 2}
        max-cost: {cell: 0.1}
        step-timeouts: {dormant: 3m, init: 1m}
        llm:
          model: m
          prices: {"*": {input: 1, output: 2, cached-input: 0}, b: {input: 1, output: 2}}
        """
    profile = """{
        resources: {cpus: 4}, retries: {product: 0}, max-cost: {run: 5}, step-timeouts: {init: 2m},
        llm: {base-url: "http://h", prices: {"*": {input: 3, output: 4}}}}
        """
    lines = "\n".join(line.removeprefix("        ") for line in base.splitlines())
    matrix = with_profile(tmp_path, lines, " ".join(profile.split()))
    assert (matrix.resources.memory, matrix.resources.cpus, matrix.resources.pids) == (1 << 30, 4, 512)
    assert (matrix.retries.product, matrix.retries.infrastructure) == (0, 2)
    assert (matrix.max_cost.cell, matrix.max_cost.run) == (Decimal("0.1"), Decimal(5))
    assert matrix.step_timeouts == {"dormant": 180, "init": 120}
    assert (matrix.llm.model, matrix.llm.base_url) == ("m", "http://h")
    # Half of one price and half of another would be neither.
    assert [(name, str(price.input), price.cached_input) for name, price in matrix.llm.prices.items()] == [
        ("*", "3", None)
    ]


PARTS: dict[str, list[object]] = {
    "ref": ["a", "b"],
    "timeout": ["1m", "2m"],
    "resources": [{"memory": "1g"}, {"cpus": 1}, {"cpus": 2, "pids": None}],
    "llm": [{"model": "m"}, {"prices": {"*": {"input": 1, "output": 2}}}, {"prices": {}, "model": "n"}],
    "environment": [{"A": "a"}, {"A": "b", "B": "{arch}"}, {}],
    "reports": ["out", {"folder": "there"}, {"formats": ["md"], "rows": "arch"}],
    "scenarios": [{"other": None}, {"deferred-init": None, "other": {"rounds": 3}}],
    "matrix": [{"arch": ["amd64"]}, {"more": ["x"], "exclude": [{"variant": "java"}]}, {"exclude": []}],
    "skip": [["python-amd64*"], []],
}


@settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    base=st.fixed_dictionaries({}, optional={key: st.sampled_from(PARTS[key]) for key in PARTS}),
    profile=st.fixed_dictionaries({}, optional={key: st.sampled_from(PARTS[key]) for key in PARTS}),
)
def test_a_file_with_a_profile_is_the_file_that_a_person_would_have_written(
    tmp_path: Path, base: dict[str, Any], profile: dict[str, Any]
) -> None:
    axes = {"variant": ["python", "java"], "arch": ["amd64", "arm64"]}
    base = {**base, "matrix": {**axes, **base.get("matrix", {})}}
    by_hand = dict(base)
    for key, value in profile.items():
        under = base.get(key)
        if key == "reports":
            under, value = ({"folder": one} if isinstance(one, str) else one for one in (under, value))
        if isinstance(under, dict) and isinstance(value, dict) and key != "scenarios":
            value = {**under, **value}
        by_hand[key] = value
    written = Setting("p", Source.COMMAND_LINE)
    assume(dump(tmp_path, base))
    assert dump(tmp_path, {**base, "profiles": {"p": profile}}, written) == dump(tmp_path, by_hand)


def dump(folder: Path, tree: object, profile: Setting[str] | None = None) -> dict[str, Any] | None:
    """What the file comes to; None where it is refused."""
    try:
        return load_matrix(write(folder, json.dumps(tree)), {}, SCENARIOS, profile).model_dump()
    except BadInput:
        return None


@pytest.mark.parametrize(
    ("base", "profile", "folder", "formats"),
    [
        ("reports: out", "{reports: {formats: [junit]}}", "out", ["junit"]),
        ("reports: {formats: [junit]}", "{reports: out}", "out", ["junit"]),
        ("reports: a", "{reports: b}", "b", ["html", "md"]),
        ("", "{reports: b}", "b", ["html", "md"]),
        ("reports: {folder: a, formats: [md]}", "{reports: {folder: b}}", "b", ["md"]),
    ],
)
def test_a_folder_for_the_reports_alone_is_one_key_of_them(
    tmp_path: Path, base: str, profile: str, folder: str, formats: list[str]
) -> None:
    matrix = with_profile(tmp_path, base, profile)
    assert (matrix.reports.folder, matrix.reports.formats) == (folder, formats)
    source = settings_of(matrix).sources()["reports.folder"].source
    assert source == ("profile p" if folder == "b" or base.startswith("reports: {f") else "file")


@pytest.mark.parametrize(
    ("axes", "profile", "cells"),
    [
        ("", "{arch: [amd64]}", "python-amd64 java-amd64"),
        ("", "{variant: [go, a], x: [y]}", "go-amd64-y go-arm64-y a-amd64-y a-arm64-y"),
        (", exclude: [{variant: java}]", "{arch: [amd64]}", "python-amd64"),
        (", exclude: [{variant: java}]", "{exclude: []}", "python-amd64 python-arm64 java-amd64 java-arm64"),
        # It was no slip in the file, and the profile leaves it nothing to do.
        (", exclude: [{variant: java, arch: arm64}]", "{variant: [python]}", "python-amd64 python-arm64"),
        (", include: [{variant: c, arch: amd64}]", "{variant: [a], arch: [amd64]}", "a-amd64 c-amd64"),
        (", include: [{variant: c, arch: amd64}]", "{variant: [a], include: []}", "a-amd64 a-arm64"),
    ],
)  # fmt: skip
def test_an_axis_replaces_that_axis_and_the_others_stay(
    tmp_path: Path, axes: str, profile: str, cells: str
) -> None:
    text = MATRIX.replace("]}", f"]{axes}}}") + f"profiles: {{p: {{matrix: {profile}}}}}"
    assert ids(chosen(tmp_path, text)) == cells.split()


def test_without_a_profile_the_file_is_what_it_says(tmp_path: Path) -> None:
    path = write(tmp_path, MATRIX + "ref: a\nprofiles: {p: {ref: b}}\n")
    matrix = load_matrix(path, {}, SCENARIOS)
    assert (matrix.ref, matrix.profile) == ("a", None)
    assert (
        matrix.model_dump() == load_matrix(write(tmp_path, MATRIX + "ref: a\n"), {}, SCENARIOS).model_dump()
    )


def test_anchors_reach_into_profiles_and_from_one_to_another(tmp_path: Path) -> None:
    text = """\
        matrix: {variant: [python, java], arch: &some [amd64]}
        scenarios: {deferred-init: , other: &other {rounds: 3}}
        profiles:
          a: &a {ref: main, matrix: {variant: *some}}
          b: *a
          c: {scenarios: {other: *other}}
        """
    assert ids(chosen(tmp_path, text, "a")) == ["amd64-amd64-deferred-init", "amd64-amd64-other"]
    assert chosen(tmp_path, text, "b").ref == "main"
    assert chosen(tmp_path, text, "c").scenarios == {"other": {"rounds": 3}}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("profiles: [a]", "2:11 profiles: must be a mapping, not a list | write `name:` lines below it"),
        ("profiles:", "2:10 profiles: must be a mapping, not nothing"),
        ("profiles: {a: 5}", "2:15 a: must be a mapping, not '5' | write `key: value` lines below it"),
        ("profiles: {'a b': }", "2:12 'a b' cannot name a profile | 64 letters, digits"),
        (f"profiles: {{{'a' * 65}: }}", "2:12 'aaaa"),
        ("profiles: {a: {profiles: {}}}", "2:16 a profile cannot have profiles"),
        ("profiles: {a: {timout: 1m}}", "2:16 unknown key 'timout' | did you mean 'timeout'?"),
        ("profiles: {a: {profile: x}}", "2:16 unknown key 'profile' | known here: "),
        ("profile: {a: }", "2:1 unknown key 'profile' | did you mean 'profiles'?"),
        ("profiles: {a: {<<: {ref: b}}}", "2:16 unknown key '<<'"),
        ("profiles: {a: {ref: b, ref: c}}", "2:24 duplicate key 'ref', first on line 2"),
        ("profiles: {a: , a: }", "2:17 duplicate key 'a', first on line 2"),
        ("profiles: {a: {timeout: 1}}", "2:25 timeout: cannot be '1' | the unit is missing"),
        ("profiles: {a: {resources: {cpu: 1}}}", "2:28 unknown key 'cpu' | did you mean 'cpus'?"),
        ("profiles: {a: {resources: }}", "2:26 resources: must be a mapping, not nothing"),
        ("profiles: {a: {resources: 4g}}", "2:27 resources: must be a mapping, not '4g'"),
        ("profiles: {a: {llm: {api-key: sk-1}}}", "2:22 a secret is never written into the file"),
        ("profiles: {a: {llm: {prices: {m: {input: 1}}}}}", "2:34 m: has no output"),
        ("profiles: {a: {ref: ';rm'}}", "2:21 ref: ';rm' is no release, commit or branch"),
        ("profiles: {a: {reports: {rows: x}}}", "2:32 rows: there is no axis 'x'"),
        ("profiles: {a: {image: 'x:{varaint}'}}", "2:23 image: unknown field {varaint}"),
        ("profiles: {a: {scenarios: {othr: }}}", "2:28 unknown scenario 'othr' | did you mean 'other'?"),
        ("profiles: {a: {llm: {replies: none.yaml}}}", ""),
        ("profiles: {a: {only: [rust-*]}}", "2:23 only: 'rust-*' matches no cell | the cells are "),
        ("profiles: {a: {matrix: {arch: [a, a]}}}", "2:35 'a' is in arch twice | remove one"),
        ("profiles: {a: {matrix: {variant: [a, A], arch: [a]}}}", "2:24 two cells have the id A-a"),
        ("profiles: {a: {matrix: {exclude: [{arch: x}]}}}", "2:35 exclude: this matches no cell"),
        ("profiles: {a: {matrix: {exclud: {arch: x}}}}", "2:33 exclud: must be a list, not a mapping"),
        ("profiles: {a: !x }", "2:15 the tag !x means nothing here"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_profile_is_told_at_its_own_line_though_nobody_chose_it(
    tmp_path: Path, line: str, expected: str
) -> None:
    if "replies" in line:  # the other file is at fault
        with pytest.raises(BadInput, match=r"none\.yaml: no such file"):
            load_matrix(write(tmp_path, MATRIX + line), {}, SCENARIOS)
    else:
        assert problem(tmp_path, MATRIX + line + "\n").startswith(expected)


@pytest.mark.parametrize(
    ("base", "profile", "expected"),
    [
        (
            "reports: {rows: arch}",
            "{reports: {columns: arch}}",
            "3:35 columns: 'arch' is already the axis of the rows",
        ),
        (
            "reports: {rows: arch, columns: variant}",
            "{reports: {rows: variant}}",
            "2:32 with the profile p: columns: 'variant' is already the axis of the rows",
        ),
        (
            "only: [java-*]",
            "{matrix: {variant: [python]}}",
            "2:1 with the profile p: only and skip leave no cell",
        ),
        (
            "llm: {model: '{size}'}\nmatrix: {variant: [a], arch: [b], size: [c]}",
            "{matrix: {include: [{variant: b, arch: c}]}}",
            "3:35 the cell (variant: b, arch: c) has no size, which llm.model needs",
        ),
    ],
)  # fmt: skip
def test_what_only_a_profile_makes_wrong_of_the_files_own_words_is_told_with_its_name(
    tmp_path: Path, base: str, profile: str, expected: str
) -> None:
    axes = "" if "matrix:" in base else MATRIX
    assert problem(tmp_path, f"{axes}{base}\nprofiles: {{p: {profile}}}").startswith(expected)


def test_words_of_the_file_to_which_a_profile_leaves_nothing_to_do_are_no_slip(tmp_path: Path) -> None:
    text = """\
        image: "x:{variant}{size}"
        matrix: {variant: [a], arch: [c, d], include: [{size: s}]}
        skip: [a-d]
        step-timeouts: {script: 1m}
        scenarios: {one: {script: one.py}}
        profiles:
          p: {image: "x:{variant}", matrix: {arch: [c]}, scenarios: {deferred-init: }}
        """
    (tmp_path / "one.py").touch()
    matrix = load_matrix(write(tmp_path, text), {}, profile=Setting("p", Source.COMMAND_LINE))
    assert ids(matrix) == ["a-c"]


def test_a_problem_of_the_file_is_told_once_however_many_profiles_have_it(tmp_path: Path) -> None:
    text = """\
        matrix: {variant: [a, a], arch: [x], exclude: [{arch: b}]}
        imagee: x
        timeout: 5
        image: "x:{varaint}"
        profiles:
          one: {repeat: 2}
          two: {matrix: {arch: [y]}, image: "x:{variant}"}
          three: {timeout: 6}
        """
    assert [found.split(" |")[0] for found in problems(tmp_path, text)] == [
        "1:23 'a' is in variant twice",
        "2:1 unknown key 'imagee'",
        "3:10 timeout: cannot be '5'",
        "4:8 image: unknown field {varaint}",
        "8:20 timeout: cannot be '6'",
    ]


def test_two_cells_of_one_name_in_the_file_are_not_told_again_at_a_profile_that_has_them_too(
    tmp_path: Path,
) -> None:
    text = "matrix: {variant: [a, A], arch: [x]}\nprofiles: {p: {matrix: {include: []}}}\n"
    assert problem(tmp_path, text).startswith("1:9 two cells have the id A-x")


def test_every_problem_of_every_profile_comes_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
        profiles:
          a: {timeout: 1}
          b: {ref: '', timout: 1m}
          "c d": {repeat: 0}
          d: [x]
        matrix: {variant: [python], arch: [amd64]}
        max-parallel: 0
        """
    found = problems(tmp_path, text)
    assert [one.split(" ")[0] for one in found] == ["2:16", "3:12", "3:16", "4:3", "4:19", "5:6", "7:15"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("profiles: {nightly: , pr: }", f"{NO_NIGHTL}did you mean 'nightly'?"),
        ("profiles: {a: , b: }", f"{NO_NIGHTL}known here: a, b"),
        ("", f"{NO_NIGHTL}write it below `profiles:`; see docs/matrix.md"),
        ("profiles: {}", f"{NO_NIGHTL}write it below `profiles:`"),
        # What is wrong with it is enough.
        ("profiles: {nightl: 5}", "{file}:2:20: nightl: must be a mapping, not '5'"),
    ],
)  # fmt: skip
def test_a_profile_that_is_not_there_is_refused_with_the_nearest_name(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(BadInput) as caught:
        chosen(tmp_path, MATRIX + text + "\n", "nightl")
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(expected.format(file=tmp_path / "matrix.yaml"))


def test_a_variable_has_to_be_set_only_where_its_value_is_wanted(tmp_path: Path) -> None:
    text = (
        MATRIX
        + "ref: ${REF}\nprofiles: {a: {ref: main}, b: {environment: {T: '${TOKEN}'}}, c: {timeout: 1}}\n"
    )
    text = text.replace(", c: {timeout: 1}", "")
    assert chosen(tmp_path, text, "a").ref == "main"
    assert chosen(tmp_path, text, "b", {"REF": "x", "TOKEN": "t"}).environment == {"T": "t"}
    section = MATRIX + "environment: {T: '${TOKEN}', U: '${USER}'}\nprofiles: {a: {environment: {T: t}}}\n"
    assert chosen(tmp_path, section, "a", {"USER": "u"}).environment == {"T": "t", "U": "u"}
    for name, missing in (("b", ["REF", "TOKEN"]), (None, ["REF"])):
        setting = Setting(name, Source.COMMAND_LINE) if name else None
        with pytest.raises(BadInput) as caught:
            load_matrix(write(tmp_path, text), {}, SCENARIOS, setting)
        assert re.findall(r"the variable (\w+) is not set", str(caught.value)) == missing


def test_an_unset_variable_hides_no_other_problem_of_its_profile(tmp_path: Path) -> None:
    text = MATRIX + "profiles: {a: {ref: '${NOPE}', timeout: 1}}\n"
    assert problem(tmp_path, text).startswith("2:41 timeout: cannot be '1'")


def test_profiles_are_bounded(tmp_path: Path) -> None:
    def text(count: int) -> str:
        return MATRIX + f"profiles: {{{', '.join(f'p{n}: {{repeat: 2}}' for n in range(count))}}}"

    assert chosen(tmp_path, text(MAX_PROFILES), f"p{MAX_PROFILES - 1}").repeat == 2
    more = text(MAX_PROFILES + 1).replace("p10: {repeat: 2}", "p10: {repeat: 0}")  # is not looked at
    assert problem(tmp_path, more).startswith("2:1 11 profiles; 10 is the limit")


def test_what_planning_may_cost_is_that_of_all_profiles_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else ten profiles would make a file of seconds one of a minute."""
    text = MATRIX + f"environment: {{A: '{'{variant}' * 100}'}}\nprofiles:\n"
    for name in "abcdef":
        text += f"  {name}: {{repeat: 2}}\n"
    chosen(tmp_path, text, "f")
    monkeypatch.setattr("e2e_matrix.matrix_load.Room", lambda: Room(8500))  # three of these plans
    found = problem(tmp_path, text)
    assert found.startswith("2:18 with the profile c: environment.A: all cells together have more than")


def test_where_planning_was_cut_short_nothing_is_said_of_what_the_rest_would_have_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = "{s: {script: '{variant}.py', per-script: {java.py: {timeout: 1m}}}}"
    text = f"{MATRIX}scenarios: &s {scripts}\nprofiles: {{a: , b: {{scenarios: *s}}}}"
    for name in ("python.py", "java.py"):
        (tmp_path / name).touch()
    chosen(tmp_path, text, "b")
    monkeypatch.setattr("e2e_matrix.matrix_load.Room", lambda: Room(800))  # one of these plans
    assert "all cells together have more than" in problem(tmp_path, text)


def test_the_source_of_each_setting_has_the_profiles_name(tmp_path: Path) -> None:
    base = "ref: a\ntimeout: 5m\nresources: {cpus: 1}"
    profile = "{ref: b, resources: {memory: 1g}, environment: {A: b}}"
    found = settings_of(with_profile(tmp_path, base, profile))
    sources = {name: setting.source for name, setting in found.sources().items()}
    assert {name: source for name, source in sources.items() if source != "default"} == {
        "profile": "command line",
        "ref": "profile p",
        "timeout": "file",
        "resources.memory": "profile p",
        "resources.cpus": "file",
        "environment": "profile p",
    }
    assert found.sources()["profile"].value == found.profile == "p"


def test_an_option_wins_over_a_profile_and_a_variable_too(tmp_path: Path) -> None:
    matrix = with_profile(tmp_path, "ref: a", "{ref: b, llm: {model: m}}")
    found = resolve(matrix, Overrides(ref=Setting("c", Source.COMMAND_LINE)), {"LLM_MODEL": "n"})
    assert (found.ref, found.model) == ("c", "n")


def profile_schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(schemas()["matrix.schema.json"]))


@pytest.mark.parametrize(
    "profile",
    [
        "",
        "{ref: b, timeout: 1m, only: [a*], reports: out}",
        "{matrix: {arch: [a], exclude: []}}",
        "{resources: {cpus: 1}, llm: {prices: {m: {input: 1, output: 1}}}}",
        "{scenarios: {deferred-init: , x: {script: a.py}}}",
    ],
)
def test_an_editor_takes_a_partial_file(profile: str) -> None:
    profile_schema().validate(yaml.safe_load(f"{MATRIX}profiles: {{p: {profile}}}"))


@pytest.mark.parametrize(
    "profiles",
    [
        "{p: 5}",
        "[p]",
        "{'a b': }",
        "{p: {timout: 1m}}",
        "{p: {timeout: 1}}",
        "{p: {profiles: {}}}",
        "{p: {matrix: {arch: []}}}",
        "{p: {resources: {cpu: 1}}}",
        f"{{{', '.join(f'p{n}: ' for n in range(11))}}}",
    ],
)
def test_an_editor_sees_what_the_program_would_refuse_in_a_profile(profiles: str) -> None:
    assert not profile_schema().is_valid(yaml.safe_load(f"{MATRIX}profiles: {profiles}"))


def test_every_key_of_the_file_may_stand_in_a_profile() -> None:
    schema = json.loads(schemas()["matrix.schema.json"])
    assert {*schema["$defs"]["Profile"]["properties"], "profiles"} == set(schema["properties"])


def test_a_ref_that_is_none_hides_no_other_problem(tmp_path: Path) -> None:
    text = MATRIX + "ref: ';rm'\nprofiles: {a: {ref: '|'}, b: {ref: x, timeout: 1}}\n"
    assert [found.split(" |")[0] for found in problems(tmp_path, text)] == [
        "2:6 ref: ';rm' is no release, commit or branch",
        "3:21 ref: '|' is no release, commit or branch",
        "3:48 timeout: cannot be '1'",
    ]


def test_what_cells_there_are_is_not_asked_where_the_scenarios_are_broken(tmp_path: Path) -> None:
    lines = "scenarios: {deferred-init: , x: {script: 'a{'}}\nonly: ['*-deferred-init']\n"
    assert problem(tmp_path, MATRIX + lines).startswith("2:42 script: braces do not pair")


def test_profiles_wait_where_there_is_more_to_mend_than_anybody_reads(tmp_path: Path) -> None:
    text = MATRIX + "".join(f"x{n}: 1\n" for n in range(150)) + "profiles: {a: {timeout: 1}}\n"
    assert problems(tmp_path, text)[-1].startswith("101:1 and 51 more problems from here on")


def test_a_name_that_no_profile_can_have_does_not_write_to_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        chosen(tmp_path, MATRIX + 'profiles: {"\\e[31mx\\u202e": , b: }\n', "nothing-like-it")
    assert "known here: " in str(caught.value)
    assert not {"\x1b", "\u202e"} & set(str(caught.value))


def test_a_pattern_of_scripts_that_a_profile_leaves_out_is_no_slip(tmp_path: Path) -> None:
    text = """\
        matrix: {variant: [python], arch: [amd64], example: [one, two]}
        scenarios: {s: {script: "{example}.py", per-script: {two.py: {timeout: 1m}}}}
        profiles: {p: {matrix: {example: [one]}}}
        """
    for name in ("one.py", "two.py"):
        (tmp_path / name).touch()
    assert ids(chosen(tmp_path, text)) == ["python-amd64-one"]


@pytest.mark.parametrize("name", ["varient", "varients", "acrh"])
def test_a_profiles_axis_that_reads_like_one_of_the_files_is_a_slip(tmp_path: Path, name: str) -> None:
    meant = "arch" if name == "acrh" else "variant"
    text = f"{MATRIX}profiles:\n  p:\n    matrix: {{{name}: [python]}}\n"
    assert problem(tmp_path, text) == (
        f"4:14 the file has no axis {name!r}, and no template uses {{{name}}} | did you mean {meant!r}?"
    )


@pytest.mark.parametrize(
    "profile",
    [
        "{matrix: {gate: [known]}}",  # another word altogether
        "{matrix: {variants: [a]}, image: 'x:{variants}'}",
        "{matrix: {variant: [golang]}}",
    ],
)
def test_a_profile_may_have_an_axis_of_its_own(tmp_path: Path, profile: str) -> None:
    assert ids(with_profile(tmp_path, "", profile))


def test_axes_of_the_file_may_read_alike(tmp_path: Path) -> None:
    axes = "matrix: {variant: [a], variants: [b], arch: [amd64]}\n"
    assert ids(chosen(tmp_path, axes + "profiles: {p: {matrix: {variants: [c]}}}\n")) == ["a-c-amd64"]


def test_one_profile_at_a_time(tmp_path: Path) -> None:
    text = f"{MATRIX}profiles: {{pr: , nightly: }}\n"
    for name, hint in (("pr,nightly", "one profile at a time; "), ("pr,night", "did you mean 'nightly'?")):
        with pytest.raises(BadInput) as caught:
            chosen(tmp_path, text, name)
        assert hint in str(caught.value)
