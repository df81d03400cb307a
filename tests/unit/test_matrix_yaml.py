"""What a person gets for a file that is no YAML, or YAML that says nothing usable."""

from pathlib import Path

import pytest

from e2e_matrix.errors import BadInput
from e2e_matrix.matrix_yaml import Scalar, read_document
from support.matrix_files import load, problem, problems

MATRIX = "matrix: {variant: [python], arch: [amd64]}\n"


def refused(path: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read_document(path, {})
    return caught.value


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    assert "no such file" in str(refused(tmp_path / "matrix.yaml"))
    assert "--matrix FILE" in str(refused(tmp_path / "matrix.yaml"))


def test_a_folder_says_which_file_was_probably_meant(tmp_path: Path) -> None:
    assert f"--matrix {tmp_path}/matrix.yaml" in str(refused(tmp_path))


def test_a_name_that_no_file_can_have_is_refused() -> None:
    assert "cannot be read" in str(refused(Path("a\0b")))


def test_a_file_that_never_ends_is_read_to_a_limit() -> None:
    assert "larger than 256 KiB" in str(refused(Path("/dev/zero")))


def test_what_is_not_utf_8_is_shown_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_bytes("ref: a\nreports: ä".encode("latin-1"))
    assert str(refused(path)).startswith(f"{path}:2:10: not UTF-8: byte 0xe4")


def test_a_byte_order_mark_is_no_column(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_bytes(b"\xef\xbb\xbfa\xff: b")
    assert str(refused(path)).startswith(f"{path}:1:2: not UTF-8: byte 0xff")


@pytest.mark.parametrize("line_break", ["\r", "\r\n", "\x85", "\u2028"])
def test_lines_end_where_yaml_says(tmp_path: Path, line_break: str) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_bytes(f"ref: a{line_break}reports: ä".encode() + b"\xff")
    assert str(refused(path)).startswith(f"{path}:2:11: not UTF-8")
    path.write_bytes(f"ref: a{line_break}reports: \x07".encode())
    assert str(refused(path)).startswith(f"{path}:2:10: not YAML: the control character U+0007")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_bytes(b"\xef\xbb\xbfref: a")
    assert read_document(path, {}).tree == {"ref": Scalar("a", "a", "a")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1 the file is empty"),
        ("# nothing\n", "1:1 the file is empty"),
        ("- a\n", "1:1 must be a mapping, not a list"),
        ("just words\n", "1:1 must be a mapping, not 'just words'"),
        ("matrix:\n\tvariant: [a]\n", "2:1 not YAML: a tab | indent with spaces"),
        ("matrix: [a\nref: b\n", "2:4 not YAML: while parsing a flow sequence"),
        ("ref: 'open\n", "2:1 not YAML: while scanning a quoted scalar"),
        ("ref: \x07\n", "1:6 not YAML: the control character U+0007 | remove it"),
        ("ref: *nothing\n", "1:6 not YAML: found undefined alias 'nothing'"),
        ("image: {ref}-{variant}\n", "1:13 not YAML: while parsing a block mapping"),
        (MATRIX + "---\n" + MATRIX, "2:1 a second document"),
        ("ref: &a [*a]\n", "1:6 an alias that contains itself"),
        ("ref: " + "[" * 30 + "\n", "1:25 nested more than 20 levels deep"),
        (MATRIX + "ref: a\nref: b\n", "3:1 duplicate key 'ref', first on line 2 | remove one"),
        (MATRIX + "ref: !!python/name:os.system\n", "2:6 the tag !!python/name:os.system means nothing here"),
        (MATRIX + "? [a]\n: b\n", "2:3 a key must be plain text"),
        (r'ref: "\U00110000"', "1:9 not YAML: a number that is too large"),
        (r'ref: "\UFFFFFFFF"', "1:9 not YAML: a number that is too large"),
        (f"%YAML 1.{'9' * 5000}\n---\n" + MATRIX, "1:9 not YAML: a number that is too large"),
        (MATRIX + r'"\ud800": a', "2:1 a key must not contain the character U+D800"),
        (MATRIX + r'environment: {A: "\ud800"}', "2:18 must not contain the character U+D800"),
        (MATRIX + r'reports: "a\0b"', "2:10 must not contain the character U+0000"),
        (MATRIX + f"z: [{'a,' * 20_000}]", "2:39983 more than 20000 keys and values"),
        (MATRIX + f"ref: '{'a' * 4097}'", "2:6 ref: must be at most 4096 characters long"),
    ],
)
def test_what_cannot_be_read_has_a_place_and_a_remedy(tmp_path: Path, text: str, expected: str) -> None:
    found = problem(tmp_path, text)
    assert found.startswith(expected)
    assert not found.endswith("| ")


def test_braces_without_quotes_are_recognised(tmp_path: Path) -> None:
    assert "put quotes" in problem(tmp_path, "image: {ref}-{variant}\n")
    assert "put quotes" in problem(tmp_path, MATRIX + "platform: {arch}\n")


def test_aliases_that_unfold_without_end_are_stopped(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "unfolds to more than 10000 values" in problem(tmp_path, "\n".join(lines))


def test_aliases_cannot_be_deeper_than_what_is_written(tmp_path: Path) -> None:
    rungs = [f"a{n}: &a{n} {'[' * 17}*a{n - 1}{']' * 17}" for n in range(1, 33)]
    assert "unfolds to more than 20 levels" in problem(tmp_path, "\n".join(["a0: &a0 [x]", *rungs]))


@pytest.mark.parametrize("text", ["ref: *{}", "ref: !{}!x x", "ref: !<{}> x", "? {0}\n: 1\n? {0}\n: 1"])
def test_a_message_has_one_bounded_line(tmp_path: Path, text: str) -> None:
    found = problem(tmp_path, MATRIX + text.format("a" * 100_000))
    assert len(found) < 600
    assert "\n" not in found


def test_of_many_problems_the_first_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    found = problems(tmp_path, MATRIX + "".join(f"z{n}: a\n" for n in range(250)))
    assert len(found) == 100
    assert found[98].startswith("100:1 unknown key 'z98'")
    assert found[99] == "101:1 and 151 more problems from here on | mend these first"


def test_an_alias_means_what_it_names(tmp_path: Path) -> None:
    matrix = load(tmp_path, "matrix: {variant: [&p python], arch: [amd64]}\nref: *p\n")
    assert matrix.ref == "python"


@pytest.mark.parametrize(
    "value",
    ["0x_", '!!int ""', "!!bool maybe", "!!float x", "1e9999999", "9" * 5000, "=", "1:60"],
)
def test_what_only_looks_like_a_number_is_no_crash(tmp_path: Path, value: str) -> None:
    assert "max-parallel: must be a whole number" in problem(tmp_path, MATRIX + f"max-parallel: {value}\n")


def test_variables_are_replaced_and_defaults_apply_to_what_is_unset_or_empty(tmp_path: Path) -> None:
    text = MATRIX + 'ref: "${A}-${B:-b}-${C:-c}-$${A}-$A"\nmax-parallel: ${N}\n'
    matrix = load(tmp_path, text, {"A": "a", "B": "", "N": "3"})
    assert matrix.ref == "a-b-c-${A}-$A"
    assert matrix.max_parallel == 3


def test_what_variables_put_into_a_file_is_bounded(tmp_path: Path) -> None:
    text = MATRIX + f"environment: {{A: '{'${BIG}' * 60}'}}\n"
    assert problem(tmp_path, text, {"BIG": "x" * 20_000}).startswith(
        "2:18 the variables hold more than 1 MiB"
    )
    assert load(tmp_path, text, {"BIG": "x" * 1000}).environment["A"] == "x" * 60_000


def test_a_variable_that_is_not_utf_8_is_refused_and_not_shown(tmp_path: Path) -> None:
    found = problem(tmp_path, MATRIX + "environment: {A: '${RAW}'}\n", {"RAW": "secret\udcff"})
    assert found == "2:18 must not contain the character U+DCFF | remove it"


def test_a_quoted_variable_stays_text(tmp_path: Path) -> None:
    text = MATRIX + 'max-parallel: "${N}"\n'
    assert "must be a whole number" in problem(tmp_path, text, {"N": "3"})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${NOPE}", "2:6 the variable NOPE is not set | export NOPE=..., or give a default: ${NOPE:-...}"),
        ("${A B}", "2:6 broken variable ${A B} | write ${NAME} or ${NAME:-default}"),
        ("${A", "2:6 broken variable ${A"),
        ("${A:?x}", "2:6 broken variable"),
    ],
)
def test_a_variable_that_is_not_set_or_not_one_is_refused(tmp_path: Path, value: str, expected: str) -> None:
    assert problem(tmp_path, MATRIX + f"ref: {value}\n", {"A": "a"}).startswith(expected)


def test_what_a_variable_holds_is_never_shown(tmp_path: Path) -> None:
    text = """\
        matrix: {variant: [python], arch: [amd64]}
        timeout: ${SECRET}
        max-parallel: ${SECRET}
        llm: {base-url: "${SECRET}", api-key-env: "${SECRET}"}
        environment: {TOKEN: "${SECRET}{oops}"}
        """
    found = problems(tmp_path, text, {"SECRET": "sk-12345"})
    assert len(found) == 5
    assert "sk-12345" not in "\n".join(found)


def test_a_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    assert "\x1b" not in problem(tmp_path, '"\\e[31mref": a\n' + MATRIX)
    assert "\x1b" not in problem(tmp_path, 'matrix: {"\\e[31mred": x}\n')
