"""What a script prints, and what is read from it."""

from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix.redaction import Secrets
from e2e_matrix.script.output import Output, agree, read_cost


@pytest.mark.parametrize(
    ("printed", "cost"),
    [
        ("0.0095525", "0.0095525"),
        ("0", "0"),
        ("1.68e-05", "0.0000168"),
        ("$0.25", "0.25"),
        ("None", None),
        ("nan", None),
        ("inf", None),
        ("-0.1", None),
        ("1e999", None),
        ("12345678901234567890", None),
        ("0.1 USD", None),
        ("٣", None),
        ("", None),
    ],
)
def test_a_printed_cost_is_a_number_of_dollars_or_none(printed: str, cost: str | None) -> None:
    assert read_cost(printed) == (None if cost is None else Decimal(cost))


@pytest.mark.parametrize(
    ("printed", "counted", "do"),
    [
        ("0.0095525", "0.0095525", True),
        ("0.009552500000000001", "0.0095525", True),  # a sum of floats
        ("0.01", "0.0095525", True),  # rounded to cents
        ("0.0096", "0.0095525", True),
        ("0.0095", "0.0095525", False),
        ("0.02", "0.0095525", False),
        ("0", "0.0095525", False),
        ("0.00", "0.0000168", False),
        ("0.0095525", "0", False),
        ("0.0", "0", True),
        ("1e-2", "0.0095525", True),
        ("191050", "191050.4", True),
    ],
)
def test_a_cost_agrees_as_exactly_as_it_was_printed(printed: str, counted: str, do: bool) -> None:
    assert agree(Decimal(printed), Decimal(counted)) is do


def test_the_cost_is_the_first_that_stdout_tells_and_secrets_stay_out(tmp_path: Path) -> None:
    output = Output(tmp_path, Secrets(["very-secret-value"]))
    output.write("stderr", b"EXAMPLE_COST: 1\n")
    output.write("stdout", b"the EXAMPLE_COST: 2\n")
    output.write("stdout", b"EXAMPLE_COST: 0.5 very-secret-value\n")
    output.write("stdout", b"EXAMPLE_COST: 3\n")
    output.write("stderr", b"Traceback: very-secret-value\n\n")
    output.close()
    assert output.cost == "0.5 [hidden]"
    assert output.last_word() == "Traceback: [hidden]"
    assert "very-secret-value" not in (tmp_path / "script.log").read_text()


def test_the_last_lines_are_without_a_secret_that_became_known_afterwards(tmp_path: Path) -> None:
    secrets = Secrets()
    output = Output(tmp_path, secrets)
    output.write("stdout", b"my key is s3cret-of-the-session\n")
    secrets.add("s3cret-of-the-session")
    assert output.last_lines() == output.last_word() == "my key is [hidden]"
    output.close()


def test_of_a_traceback_the_last_word_is_the_exception_and_not_more_of_it(
    tmp_path: Path,
) -> None:
    output = Output(tmp_path, Secrets())
    output.write("stderr", b"some warning\n")
    output.write(
        "stderr",
        b'Traceback (most recent call last):\n  File "s.py", line 3, in <module>\n    raise_for_status()\n'
        b"httpx.HTTPStatusError: Client error '404 Not Found'\nFor more information check: the web\n",
    )
    output.close()
    assert output.last_word() == "httpx.HTTPStatusError: Client error '404 Not Found'"
