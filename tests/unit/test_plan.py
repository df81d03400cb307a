"""From axes to cells: GitHub Actions' rules, ids, templates, selection."""

from pathlib import Path
from typing import TypeVar

import pytest

from e2e_matrix.errors import BadInput
from e2e_matrix.plan import Plan, expand, make_plan
from e2e_matrix.settings import Overrides, Setting, Source, resolve
from e2e_matrix.templates import is_image_reference
from support.matrix_files import load, problem

T = TypeVar("T")

MATRIX = "matrix: {variant: [python, java], arch: [amd64, arm64]}\n"


def plan_of(folder: Path, text: str, overrides: Overrides | None = None) -> Plan:
    matrix = load(folder, text)
    return make_plan(matrix, resolve(matrix, overrides or Overrides(), {}))


def given(value: T, place: str = "--option") -> Setting[T]:
    return Setting(value, Source.COMMAND_LINE, place)


def ids(plan: Plan) -> list[str]:
    return [cell.id for cell in plan.cells]


def test_includes_do_what_github_documents() -> None:
    # docs.github.com, "Running variations of jobs in a workflow", "Expanding or adding matrix configurations"
    cells = expand(
        {"fruit": ["apple", "pear"], "animal": ["cat", "dog"]},
        include=[
            {"color": "green"},
            {"color": "pink", "animal": "cat"},
            {"fruit": "apple", "shape": "circle"},
            {"fruit": "banana"},
            {"fruit": "banana", "animal": "cat"},
        ],
    )
    assert [cell.values for cell in cells] == [
        {"fruit": "apple", "animal": "cat", "color": "pink", "shape": "circle"},
        {"fruit": "apple", "animal": "dog", "color": "green", "shape": "circle"},
        {"fruit": "pear", "animal": "cat", "color": "pink"},
        {"fruit": "pear", "animal": "dog", "color": "green"},
        {"fruit": "banana"},
        {"fruit": "banana", "animal": "cat"},
    ]


def test_excludes_match_partially_as_github_documents() -> None:
    # The same page, "Excluding matrix configurations": 12 combinations, one and then two excluded.
    cells = expand(
        {
            "os": ["macos-latest", "windows-latest"],
            "version": ["12", "14", "16"],
            "environment": ["staging", "production"],
        },
        exclude=[
            {"os": "macos-latest", "version": "12", "environment": "production"},
            {"os": "windows-latest", "version": "16"},
        ],
    )
    assert len(cells) == 9
    assert not any(cell.values["os"] == "windows-latest" and cell.values["version"] == "16" for cell in cells)


def test_excludes_come_before_includes() -> None:
    cells = expand({"a": ["1", "2"]}, include=[{"a": "1"}], exclude=[{"a": "1"}])
    assert [(cell.values, cell.include) for cell in cells] == [({"a": "2"}, None), ({"a": "1"}, 0)]


def test_includes_alone_are_a_matrix() -> None:
    assert [cell.values for cell in expand({}, [{"a": "1"}, {"a": "2"}])] == [{"a": "1"}, {"a": "2"}]


def test_cells_are_complete_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = MATRIX + 'arch-image: "{image}-{arch}"\nref: v1.58.2\n'
    plan = plan_of(tmp_path, text)
    assert ids(plan) == ["python-amd64", "python-arm64", "java-amd64", "java-arm64"]
    assert plan.axes == {"variant": ["python", "java"], "arch": ["amd64", "arm64"]}
    cell = plan.cells[1]
    assert cell.axes == {"variant": "python", "arch": "arm64"}
    assert cell.image == "ghcr.io/openhands/agent-server:1.58.2-python"
    assert cell.arch_image == "ghcr.io/openhands/agent-server:1.58.2-python-arm64"
    assert (cell.platform, cell.scenario, cell.scenario_settings) == ("linux/arm64", "deferred-init", {})


@pytest.mark.parametrize(
    ("ref", "tag"),
    [
        ("v1.58.2", "1.58.2"),
        ("v1", "1"),
        ("v1.58.2-rc.1", "1.58.2-rc.1"),
        ("1.58.2", "1.58.2"),
        ("version-2", "version-2"),
        ("v2-rewrite", "v2-rewrite"),
        ("feature/deferred init#2", "feature-deferred-init-2"),
        ("0123456789abcdef0123456789abcdef01234567", "0123456789abcdef0123456789abcdef01234567"),
    ],
)
def test_a_ref_becomes_what_the_tags_begin_with(tmp_path: Path, ref: str, tag: str) -> None:
    plan = plan_of(tmp_path, MATRIX, Overrides(ref=given(ref)))
    assert plan.cells[0].image == f"ghcr.io/openhands/agent-server:{tag}-python"


def test_an_axis_of_ones_own_reaches_the_image_the_model_and_the_environment(tmp_path: Path) -> None:
    text = """\
        matrix: {variant: [python], arch: [amd64], model: [openai/gpt-4o, openai/gpt-5.5]}
        llm: {model: "{model}"}
        environment: {MODEL: "is {model}", JSON: "{{}}"}
        """
    cells = plan_of(tmp_path, text).cells
    assert [cell.id for cell in cells] == ["python-amd64-openai-gpt-4o", "python-amd64-openai-gpt-5.5"]
    assert [cell.model for cell in cells] == ["openai/gpt-4o", "openai/gpt-5.5"]
    assert cells[1].environment == {"MODEL": "is openai/gpt-5.5", "JSON": "{}"}


def test_what_an_include_adds_feeds_templates_and_leaves_ids_alone(tmp_path: Path) -> None:
    text = """\
        image: "x/{variant}:{ref}{suffix}"
        matrix:
          variant: [python]
          arch: [amd64, arm64]
          include:
            - suffix: ""
            - {arch: arm64, suffix: -slow}
            - {variant: java, arch: riscv64, suffix: -new, ref: v2.0.0}
        """.replace('suffix: ""', "suffix: -std")
    plan = plan_of(tmp_path, text)
    assert [(cell.id, cell.image) for cell in plan.cells] == [
        ("python-amd64", "x/python:latest-std"),
        ("python-arm64", "x/python:latest-slow"),
        ("java-riscv64", "x/java:2.0.0-new"),
    ]
    assert plan.axes == {"variant": ["python", "java"], "arch": ["amd64", "arm64", "riscv64"]}


def test_without_axes_the_includes_give_the_ids(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path, "matrix: {include: [{variant: python, arch: amd64}, {variant: java, arch: arm64}]}"
    )
    assert ids(plan) == ["python-amd64", "java-arm64"]
    assert plan.axes == {"variant": ["python", "java"], "arch": ["amd64", "arm64"]}


def test_several_scenarios_multiply_the_cells_and_stand_in_the_ids(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, MATRIX + "scenarios: {deferred-init: , other: {rounds: 2}}\n")
    assert ids(plan)[:2] == ["python-amd64-deferred-init", "python-amd64-other"]
    assert len(plan.cells) == 8
    assert plan.cells[1].scenario_settings == {"rounds": 2}


def test_a_ref_of_the_matrix_is_not_silently_kept_from_the_command_line(tmp_path: Path) -> None:
    text = "matrix: {variant: [python], arch: [amd64], ref: [1.0.0, 2.0.0]}\n"
    assert [cell.image[-12:] for cell in plan_of(tmp_path, text).cells] == ["1.0.0-python", "2.0.0-python"]
    with pytest.raises(BadInput, match=r"--ref: the matrix gives the cell .* its own ref"):
        plan_of(tmp_path, text, Overrides(ref=given("3.0.0", "--ref")))


@pytest.mark.parametrize(
    ("reference", "good"),
    [
        ("localhost:5000/a/b-c__d.e:Tag_1", True),
        ("[::1]:5000/a:b", True),
        ("a", True),
        ("host/a@sha256:" + "0" * 64, True),
        ("host/A:b", False),
        ("https://host/a:b", False),
        ("host/a:b:c", False),
        ("host/a:-b", False),
        ("host//a:b", False),
        ("host/a:b\n", False),
        ("host/a:" + "b" * 129, False),
        ("a-" * 300, False),
    ],
)
def test_an_image_reference_is_one_that_a_registry_can_be_asked_for(reference: str, good: bool) -> None:
    assert is_image_reference(reference) is good


def test_problems_of_an_override_name_the_option(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        plan_of(tmp_path, MATRIX, Overrides(image=given("x:{flavour}", "--image")))
    assert str(caught.value) == "--image: unknown field {flavour}\n    known here: ref, variant, arch"
    with pytest.raises(BadInput, match=r"--image: of the cell .* 'x:a b' is no image reference"):
        plan_of(tmp_path, MATRIX, Overrides(image=given("x:a b", "--image")))


def test_a_default_that_does_not_suit_the_axes_is_called_the_default(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"matrix.yaml:1:1: the default image: unknown field \{variant\}"):
        load(tmp_path, "matrix: {arch: [amd64]}")


def test_an_id_longer_than_a_name_may_be_is_refused(tmp_path: Path) -> None:
    assert len(plan_of(tmp_path, f"matrix: {{variant: [{'a' * 94}], arch: [amd64]}}").cells[0].id) == 100
    with pytest.raises(BadInput, match="has no id of 1 to 100"):
        load(tmp_path, f"matrix: {{variant: [{'a' * 95}], arch: [amd64]}}")


@pytest.mark.parametrize(
    ("only", "skip", "selected"),
    [
        ((), (), "python-amd64 python-arm64 java-amd64 java-arm64"),
        (("python-*",), (), "python-amd64 python-arm64"),
        (("python-*", "java-amd64"), ("*-arm64",), "python-amd64 java-amd64"),
        ((), ("*-arm64", "java-*"), "python-amd64"),
    ],
)
def test_only_and_skip_are_globs_on_the_id(
    tmp_path: Path, only: tuple[str, ...], skip: tuple[str, ...], selected: str
) -> None:
    plan = plan_of(tmp_path, MATRIX, Overrides(only=given(only), skip=given(skip)))
    assert ids(plan) == selected.split()
    assert plan.axes == {"variant": ["python", "java"], "arch": ["amd64", "arm64"]}


@pytest.mark.parametrize(
    ("only", "skip", "expected"),
    [
        (("rust-*", "java-*"), (), "--only: 'rust-*' matches no cell"),
        ((), ("rust-*",), "--skip: 'rust-*' matches no cell"),
        (("java-*",), ("java-*",), "--only and --skip leave no cell"),
        (("JAVA-amd64",), (), "--only: 'JAVA-amd64' matches no cell"),
    ],
)
def test_a_selection_of_nothing_lists_what_there_is(
    tmp_path: Path, only: tuple[str, ...], skip: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(BadInput) as caught:
        plan_of(tmp_path, MATRIX, Overrides(only=given(only), skip=given(skip)))
    hint = "the cells are python-amd64, python-arm64, java-amd64, java-arm64"
    assert str(caught.value) == f"{expected}\n    {hint}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("only: ['java-*', rust-*]", "2:18 only: 'rust-*' matches no cell | the cells are python-amd64,"),
        ("skip: [rust-*]", "2:8 skip: 'rust-*' matches no cell"),
        ("skip: ['*']", "2:1 only and skip leave no cell | the cells are"),
        ("only: java-*", "2:7 only: must be a list, not 'java-*'"),
        ("skip: ['']", "2:8 skip: entry 1: must not be empty"),
        (f"skip: [{'java-*, ' * 101}]", "2:7 skip: has more than 100 entries"),
    ],
)
def test_what_is_wrong_with_the_files_own_selection_is_told_at_its_line(
    tmp_path: Path, line: str, expected: str
) -> None:
    assert problem(tmp_path, MATRIX + line).startswith(expected)


@pytest.mark.parametrize(
    ("only", "skip", "selected"),
    [
        ((), (), "python-amd64"),
        ((), ("java-amd64",), "python-amd64 python-arm64"),
        # Who names cells means them, also those that the file leaves out.
        (("*-arm64",), (), "python-arm64 java-arm64"),
        (("*-arm64",), ("java-*",), "python-arm64"),
    ],
)
def test_options_take_the_place_of_the_files_selection(
    tmp_path: Path, only: tuple[str, ...], skip: tuple[str, ...], selected: str
) -> None:
    chosen = Overrides(only=given(only) if only else None, skip=given(skip) if skip else None)
    assert (
        ids(plan_of(tmp_path, MATRIX + "only: [python-*]\nskip: ['*-arm64']\n", chosen)) == selected.split()
    )
