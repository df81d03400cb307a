"""Text for people: nothing hostile survives, nothing true is rounded away."""

from __future__ import annotations

import unicodedata
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from e2e_matrix.text import block, format_bytes, format_money, format_seconds, one_line

NOISY = st.text(
    st.one_of(st.characters(), st.sampled_from("\x1b[]0;31mAB\x07\x9b\u202e\u2066\u200b\r\n\t\x00")),
    max_size=300,
)


def test_escape_sequences_vanish_whole() -> None:
    assert one_line("\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \x9b2Jgone") == "red link gone"


def test_an_unterminated_control_string_hides_nothing() -> None:
    assert "the error" in one_line("\x1b]0;the error")


def test_bidi_overrides_and_zero_width_characters_vanish() -> None:
    assert one_line("\u202egnp.\u2066exe\u2069\u200b\ufeff!") == "gnp.exe!"


def test_control_characters_leave_a_mark() -> None:
    assert one_line("a\x00b\x08c\ud800d") == "a\ufffdb\ufffdc\ufffdd"


def test_stacked_marks_cannot_climb_over_other_lines() -> None:
    assert one_line("e" + "\u0301" * 500) == "e" + "\u0301" * 3


def test_one_line_is_one_line_and_bounded() -> None:
    assert one_line(" a\r\n\tb\u2028c ") == "a b c"
    assert one_line("x" * 10_000_000, limit=10) == "x" * 9 + "…"
    assert one_line("x" * 10, limit=10) == "x" * 10


def test_block_keeps_lines_and_indentation() -> None:
    assert block("\n  def f():\r\n\treturn 1  \r\n\n") == "  def f():\n    return 1"


def test_block_is_bounded_both_ways() -> None:
    assert block("line\n" * 100, lines=3) == "line\nline\nline…"
    assert block("x" * 100, limit=10) == "x" * 10 + "…"


@given(NOISY)
def test_nothing_that_moves_the_cursor_is_left(text: str) -> None:
    for shown in (one_line(text), block(text)):
        kinds = {unicodedata.category(letter) for letter in shown.replace("\n", "")}
        assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert "\n" not in one_line(text)
    assert one_line(one_line(text)) == one_line(text)


def test_money_is_exact_and_never_in_exponents() -> None:
    cases = {
        "0.0000168": "$0.0000168",
        "1.68E-5": "$0.0000168",
        "0": "$0.00",
        "12.5": "$12.50",
        "1234567": "$1,234,567.00",
        "0.00012249999999999998": "$0.0001225",  # a sum of binary floats
    }
    assert {amount: format_money(Decimal(amount)) for amount in cases} == cases


def test_unknown_money_is_not_zero() -> None:
    assert format_money(None) == "unknown"
    assert format_money(Decimal("NaN")) == "unknown"


def test_seconds_never_round_into_a_wrong_unit() -> None:
    cases = {
        0.0: "0.00 s",
        0.001: "<0.01 s",
        0.08: "0.08 s",
        9.996: "10.0 s",
        42.11: "42.1 s",
        59.96: "1 min 00 s",
        185.0: "3 min 05 s",
        3599.6: "1 h 00 min",
        7620.0: "2 h 07 min",
        None: "–",
        float("nan"): "–",
    }
    assert {value: format_seconds(value) for value in cases} == cases


def test_bytes_never_round_into_a_wrong_unit() -> None:
    cases = {
        0: "0 B",
        999: "999 B",
        999_999: "1.00 MB",
        87_365_120: "87.4 MB",
        99_960_000: "100 MB",
        1_640_000_000: "1.64 GB",
        None: "–",
    }
    assert {value: format_bytes(value) for value in cases} == cases
