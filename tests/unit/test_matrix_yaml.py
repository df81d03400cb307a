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


def test_an_alias_means_what_it_names(tmp_path: Path) -> None:
    matrix = load(tmp_path, "matrix: {variant: [&p python], arch: [amd64]}\nref: *p\n")
    assert matrix.ref == "python"


@pytest.mark.parametrize(
    "value", ["0x_", '!!int ""', "!!bool maybe", "!!float x", "1e9999999", "9" * 5000, "=", "1:60"]
)
def test_what_only_looks_like_a_number_is_no_crash(tmp_path: Path, value: str) -> None:
    assert "max-parallel: must be a whole number" in problem(tmp_path, MATRIX + f"max-parallel: {value}\n")


def test_variables_are_replaced_and_defaults_apply_to_what_is_unset_or_empty(tmp_path: Path) -> None:
    text = MATRIX + 'ref: "${A}-${B:-b}-${C:-c}-$${A}-$A"\nmax-parallel: ${N}\n'
    matrix = load(tmp_path, text, {"A": "a", "B": "", "N": "3"})
    assert matrix.ref == "a-b-c-${A}-$A"
    assert matrix.max_parallel == 3


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
