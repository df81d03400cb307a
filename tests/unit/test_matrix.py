"""What matrix.yaml may say, and what a person is told when it says something else."""

from pathlib import Path

import pytest

from e2e_matrix.errors import BadInput
from e2e_matrix.matrix_load import load_matrix
from e2e_matrix.templates import did_you_mean
from support.matrix_files import load, problem, problems, write

ROOT = Path(__file__).parents[2]
MATRIX = "matrix: {variant: [python], arch: [amd64]}\n"


def test_the_committed_file_says_what_the_defaults_are(tmp_path: Path) -> None:
    committed = load_matrix(ROOT / "matrix.yaml", {}).model_dump()
    bare = load(tmp_path, "matrix: {variant: [python, java, golang], arch: [amd64, arm64]}").model_dump()
    assert committed == {**bare, "arch_image": "{image}-{arch}"}


def test_values_keep_their_source_text(tmp_path: Path) -> None:
    text = """\
        matrix: {variant: [1.10, on, no, 0x1F, 1_000, 2024-01-01, "null"], arch: [amd64]}
        ref: 1.10
        environment: {A: 1.0, B: true, C: ""}
        """
    matrix = load(tmp_path, text)
    assert matrix.matrix.axes["variant"] == ["1.10", "on", "no", "0x1F", "1_000", "2024-01-01", "null"]
    assert matrix.ref == "1.10"
    assert matrix.environment == {"A": "1.0", "B": "true", "C": ""}


def test_numbers_durations_and_sizes_are_read(tmp_path: Path) -> None:
    text = """\
        timeout: 1h30m
        emulated-timeout-factor: 2.5
        max-parallel: 4
        fail-fast: true
        resources: {memory: 512m, cpus: 1.5, pids: null}
        scenarios: {deferred-init: , other: {rounds: 3, deep: [on, 1.5, {a: null}]}}
        """
    matrix = load(tmp_path, MATRIX + "\n".join(line.strip() for line in text.splitlines()))
    assert (matrix.timeout, matrix.emulated_timeout_factor, matrix.max_parallel) == (5400, 2.5, 4)
    assert matrix.fail_fast is True
    resources = matrix.resources
    assert (resources.memory, resources.cpus, resources.pids) == (512 << 20, 1.5, None)
    assert matrix.scenarios == {
        "deferred-init": {},
        "other": {"rounds": 3, "deep": [True, 1.5, {"a": None}]},
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("timout: 10m", "2:1 unknown key 'timout' | did you mean 'timeout'?"),
        ("max_parallel: 2", "2:1 unknown key 'max_parallel' | did you mean 'max-parallel'?"),
        ("zzz: 1", "2:1 unknown key 'zzz' | known here: image, arch-image, ref,"),
        ("timeout: 10", "2:10 timeout: cannot be '10' | the unit is missing"),
        ("timeout: 1:30", "2:10 timeout: cannot be '1:30' | write a duration such as"),
        ("timeout: soon", "2:10 timeout: cannot be 'soon' | write a duration such as"),
        ("timeout:", "2:9 timeout: must be text, not nothing | write a value, or leave it out"),
        ("ref: [a]", "2:6 ref: must be text, not a list"),
        ("ref: ''", "2:6 ref: must not be empty"),
        ("images: delete", "2:9 images: must be keep or remove, not 'delete'"),
        ("fail-fast: maybe", "2:12 fail-fast: must be true or false, not 'maybe'"),
        ("max-parallel: 0", "2:15 max-parallel: must be a whole number from 1"),
        ("max-parallel: true", "2:15 max-parallel: must be a whole number from 1"),
        ("emulated-timeout-factor: 0.5", "2:26 emulated-timeout-factor: must be at least 1"),
        ("emulated-timeout-factor: .nan", "2:26 emulated-timeout-factor: must be a number above 0"),
        ("resources: 4g", "2:12 resources: must be a mapping, not '4g'"),
        ("resources: {memory: 4}", "2:21 resources.memory: cannot be '4' | the unit is missing"),
        ("resources: {memory: 4m}", "2:21 resources.memory: must be at least 64m"),
        ("resources: {cpu: 2}", "2:13 unknown key 'cpu' | did you mean 'cpus'?"),
        ("llm: {record: ''}", "2:15 llm.record: must not be empty"),
        ("llm: {record: .}", "2:15 record: "),
        ("llm: {replay: none.jsonl}", "2:15 replay: there is no file "),
        ("llm: {record: a, replay: matrix.yaml}", "2:18 llm has record and replay: a run does one of them"),
        ("llm: {prices: {m: {input: 1}}}", "2:19 m: has no output | add `output:`"),
        ("llm: {prices: {m: {input: -1, output: 1}}}", "2:27 input: cannot be '-1' | write US dollars"),
        ("llm: {prices: {m: {input: 1, outptu: 1, output: 1}}}", "2:30 unknown key 'outptu' | did you mean"),
        ("llm: {prices: {m: 1}}", "2:19 m: must be a mapping, not '1'"),
        ("llm: {prices: {'': {input: 1, output: 1}}}", "2:16 : must not be empty"),
        ("llm: {base-url: host}", "2:17 llm.base-url: must be an http:// or https:// URL"),
        ("llm: {base-url: 'http://[x'}", "2:17 llm.base-url: must be an http:// or https:// URL"),
        ("llm: {api-key-env: sk-1}", "2:20 llm.api-key-env: must be the NAME of an environment variable"),
        ("environment: {A-B: c}", "2:15 A-B: must be the NAME of an environment variable"),
        ('environment: {A: "\\0"}', "2:18 must not contain the character U+0000"),
        ("scenarios: {}", "2:12 scenarios: must not be empty | known: deferred-init, other"),
        (
            "scenarios: {defered-init: }",
            "2:13 unknown scenario 'defered-init' | did you mean 'deferred-init'?",
        ),
        ("scenarios: [deferred-init]", "2:12 scenarios: must be a mapping, not a list"),
        ("image: 'x:{varaint}'", "2:8 image: unknown field {varaint} | did you mean 'variant'?"),
        ("image: 'x:{variant'", "2:8 image: braces do not pair"),
        ("image: 'x:{variant}}'", "2:8 image: braces do not pair"),
        ("image: 'x:{}'", "2:8 image: {} is no field"),
        ("image: 'x:{variant!r}'", "2:8 image: {variant} is no field"),
        ("image: 'x:{variant.__class__}'", "2:8 image: {variant.__class__} is no field"),
        (
            "image: 'X:{variant}'",
            "2:8 image: of the cell (variant: python, arch: amd64): 'X:python' is no image reference",
        ),
        ("image: 'x:{image}'", "2:8 image: unknown field {image}"),
        ("arch-image: 'x:a b'", "2:13 arch-image: of the cell (variant: python, arch: amd64)"),
        (
            "platform: '{arch}'",
            "2:11 platform: of the cell (variant: python, arch: amd64): 'amd64' is no platform",
        ),
        ("llm: {model: '{mdoel}'}", "2:14 llm.model: unknown field {mdoel}"),
        ("environment: {A: '{\"b\": 1}'}", '2:18 A: {"b"} is no field'),
        (
            "regression: {boot: 20}",
            "2:20 regression.boot: cannot be '20' | write a share such as 20%, with its sign",
        ),
        ("regression: {boots: 20%}", "2:14 unknown key 'boots' | did you mean 'boot'?"),
        ("fail-on: [costs]", "2:11 fail-on: entry 1: must be newly-failing, still-failing, "),
        (
            "fail-on: [cost, init]\nregression: {init: null}",
            "2:17 fail-on: init is not judged: regression.init is null | give it a threshold there",
        ),
    ],
)
def test_one_wrong_line_is_one_message_at_its_place(tmp_path: Path, line: str, expected: str) -> None:
    assert problem(tmp_path, MATRIX + line + "\n").startswith(expected)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ("{}", "1:1 has no axis: nothing to run"),
        ("[a]", "1:9 matrix: must be a mapping, not a list"),
        ("{variant: [], arch: [a]}", "1:10 the axis variant is empty | add a value"),
        ("{variant: a, arch: [a]}", "1:19 variant: must be a list, not 'a' | write [one, two]"),
        ("{variant: [a, ~], arch: [a]}", "1:23 variant: entry 2: must be text, not nothing"),
        ("{variant: [[a]], arch: [a]}", "1:20 variant: entry 1: must be text, not a list"),
        ("{variant: [a, 'a'], arch: [a]}", "1:23 'a' is in variant twice | remove one"),
        ("{variant: [a], arch: [a], 'a b': [c]}", "1:35 'a b' cannot name an axis"),
        ("{variant: [a], arch: [a], image: [c]}", "1:35 'image' is taken"),
        (
            "{x: [a-b, a], variant: [c, b-c], arch: [d]}",
            "1:9 two cells have the id a-b-c-d: (x: a-b, variant: c, arch: d) and (",
        ),
        ("{variant: [a, A], arch: [a]}", "1:9 two cells have the id A-a"),
        ("{variant: ['+'], arch: ['+']}", "1:9 the cell (variant: +, arch: +) has no id"),
        (
            "{variant: [a], arch: [a], exlude: {a: b}}",
            "1:43 exlude: must be a list, not a mapping | did you mean 'exclude'",
        ),
        (
            "{variant: [a], arch: [a], exclude: [{arch: b}]}",
            "1:45 exclude: this matches no cell | variant is a; arch is a",
        ),
        ("{variant: [a], arch: [a], exclude: [{arch: a}]}", "1:35 exclude leaves no cell"),
        (
            "{variant: [a], arch: [a], exclude: [{arhc: a}]}",
            "1:46 exclude: unknown axis 'arhc' | did you mean 'arch'?",
        ),
        ("{variant: [a], arch: [a], exclude: [{}]}", "1:45 exclude: entry 1: must not be empty"),
        (
            "{variant: [a], arch: [a], include: [{vairant: b}]}",
            "1:46 include: unknown axis 'vairant', and no template uses",
        ),
        (
            "{variant: [a], arch: [a], include: [{variant: b}]}",
            "1:45 the cell (variant: b) has no arch, which platform needs",
        ),
        (
            "{variant: [a], arch: [a], include: [{variant: b, arch: c}, {variant: b, arch: c}]}",
            "1:68 two cells have the id b-c",
        ),
    ],
)
def test_a_matrix_that_makes_no_sense_is_refused_at_its_place(
    tmp_path: Path, matrix: str, expected: str
) -> None:
    assert problem(tmp_path, f"matrix: {matrix}\n").startswith(expected)


@pytest.mark.parametrize("axes", ["variant: [a], arch: [a], ", ""])
def test_include_cannot_make_more_cells_than_the_axes(tmp_path: Path, axes: str) -> None:
    def text(entries: int) -> str:
        return (
            f"matrix: {{{axes}include: [{', '.join(f'{{variant: v{n}, arch: a}}' for n in range(entries))}]}}"
        )

    made = 1 if axes else 0
    assert "the limit" in problem(tmp_path, text(1001))
    if axes:
        found = problem(tmp_path, text(1000))
        assert found.startswith("1:35 include makes 1001 cells; 1000 is the limit")
    assert len(load(tmp_path, text(1000 - made)).matrix.include) == 1000 - made


def test_entries_of_exclude_are_bounded(tmp_path: Path) -> None:
    text = f"matrix: {{variant: [a, b], arch: [a], exclude: [{'{variant: a}, ' * 1001}]}}"
    assert "exclude has 1001 entries; 1000 is the limit" in problem(tmp_path, text)


def test_templates_cannot_unfold_without_end(tmp_path: Path) -> None:
    cells = f"matrix: {{variant: [{', '.join(f'v{n}' for n in range(999))}], arch: [a]}}\n"
    found = problem(tmp_path, cells + f"environment: {{A: '{'{variant}' * 20_000}'}}\n")
    assert found.startswith("2:18 environment.A: all cells together have more than 64 MiB of text")


def test_a_number_of_cells_with_thousands_of_digits_is_not_written_out(tmp_path: Path) -> None:
    axes = ", ".join(f"a{n}: [b, c]" for n in range(3000))
    assert "more than 10**30 cells" in problem(tmp_path, f"matrix: {{variant: [a], arch: [a], {axes}}}")


def test_what_is_close_is_looked_for_among_the_first_hundred() -> None:
    known = [*map(str, range(100)), "timeout"]
    assert did_you_mean("timout", known[1:]) == "did you mean 'timeout'?"
    hint = did_you_mean("timout", known)
    assert hint.startswith("known here: 0, 1, ")
    assert hint.endswith(", 99")


def test_too_many_cells_are_refused_before_they_are_made(tmp_path: Path) -> None:
    axes = ", ".join(f"a{n}: [{', '.join(map(str, range(100)))}]" for n in range(10))
    assert "make 100000000000000000000 cells; 1000 is the limit" in problem(
        tmp_path, f"matrix: {{variant: [a], arch: [a], {axes}}}"
    )


def test_a_file_without_a_matrix_is_told_so(tmp_path: Path) -> None:
    assert problem(tmp_path, "ref: main\n").startswith("1:1 has no matrix | add `matrix:`")


@pytest.mark.parametrize("key", ["api-key", "api_key", "token"])
def test_a_key_in_the_file_is_refused_without_repeating_it(tmp_path: Path, key: str) -> None:
    found = problem(tmp_path, MATRIX + f"llm: {{{key}: sk-12345}}\n")
    assert found.startswith("2:7 a secret is never written into the file")
    assert "api-key-env" in found
    assert "sk-12345" not in found


def test_every_problem_is_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
        imagee: x
        image: "ghcr.io/x:{varaint}"
        timeout: 10
        matrix:
          variant: [a, a]
          arch: []
          exclude:
            - arhc: b
        scenarios: {deffered-init: }
        environment:
          A-B: c
          T: ${NOPE}
        max-parallel: 1
        max-parallel: 2
        """
    places = [found.split(" ")[0] for found in problems(tmp_path, text)]
    assert places == ["1:1", "2:8", "3:10", "5:16", "6:3", "8:7", "9:13", "11:3", "12:6", "14:1"]


def test_nothing_is_said_twice_about_what_could_not_be_read(tmp_path: Path) -> None:
    text = "matrix: {variant: ['${NOPE}'], arch: [amd64], exclude: [{variant: x}]}\nplatform: [a]\n"
    assert [found[:5] for found in problems(tmp_path, text)] == ["1:20 ", "2:11 "]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("gat: all", "4:5 unknown setting 'gat' | did you mean 'gate'?"),
        ("gate: some", "4:11 gate: must be known or all, not 'some' | "),
    ],
)
def test_a_scenarios_own_settings_are_checked_too(tmp_path: Path, line: str, complaint: str) -> None:
    file = write(
        tmp_path, f"matrix: {{variant: [python], arch: [amd64]}}\nscenarios:\n  deferred-init:\n    {line}\n"
    )
    with pytest.raises(BadInput) as caught:
        load_matrix(file, {})
    assert [f"{p.line}:{p.column} {p.message} | {p.hint}" for p in caught.value.problems] == [complaint]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{formats: [html, pdf]}", "2:27 reports.formats: entry 2: must be "),
        ("{formats: []}", "2:20 reports.formats: must not be empty | name at least one in it"),
        ("{rows: varient}", "2:17 rows: there is no axis 'varient' | did you mean 'variant'?"),
        ("{rows: arch, columns: arch}", "2:32 columns: 'arch' is already the axis of the rows"),
        ("{format: [html]}", "2:11 unknown key 'format' | did you mean 'formats'?"),
        ("", "2:9 reports: must be a mapping, not nothing"),
    ],
)
def test_what_is_wrong_with_reports_is_said_where_it_stands(
    tmp_path: Path, written: str, message: str
) -> None:
    assert message in problem(tmp_path, f"{MATRIX}reports: {written}")
