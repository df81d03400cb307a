import pytest

from e2e_matrix.units import (
    format_duration,
    format_share,
    format_size,
    parse_age,
    parse_duration,
    parse_share,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1h1m1s", 3661), (" 168h ", 604800), ("1d1h", 90000)],
)
def test_durations_are_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "0s", "-1m", "1.5m", "10 m", "30m1h", "169h", "8d", "1h1d", "ten"])
def test_what_is_no_duration_is_refused_with_an_example_or_a_limit(text: str) -> None:
    with pytest.raises(ValueError, match=r"10m|7d"):
        parse_duration(text)


def test_how_old_something_may_be_is_a_duration_of_up_to_a_year() -> None:
    assert parse_age("365d") == 365 * 86400
    with pytest.raises(ValueError, match="an age is longer than 0s and at most 365d"):
        parse_age("366d")
    for text in ("7", "7 days", "a week"):
        with pytest.raises(ValueError, match="write an age such as 7d or 12h") as caught:
            parse_age(text)
        assert str(caught.value).startswith("the unit is missing: ") is (text == "7")


@pytest.mark.parametrize("text", ["10", "1.5"])
def test_a_bare_number_is_refused_because_of_its_unit(text: str) -> None:
    with pytest.raises(ValueError, match="unit is missing"):
        parse_duration(text)
    with pytest.raises(ValueError, match="unit is missing"):
        parse_size(text)


@pytest.mark.parametrize("seconds", [1, 59, 60, 3600, 5400, 90000, 604800])
def test_a_duration_reads_back_as_it_was_written(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("4g", 4 << 30), ("512M", 512 << 20), ("1.5GiB", 3 << 29), ("64 kb", 64 << 10)]
)
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "g", "4x", "-1g", "1e3m", "four"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="512m or 4g"):
        parse_size(text)


@pytest.mark.parametrize("text", ["0%", "0.001%", "5%", "12.5%", "100%", "1234.567%", "9999.999%"])
def test_a_share_reads_back_as_it_was_written(text: str) -> None:
    assert format_share(parse_share(text)) == text
    assert parse_share(text) == pytest.approx(float(text.removesuffix("%")) / 100)


@pytest.mark.parametrize("text", ["", "%", "-5%", "20 percent", "1e1%", "0.2", "12345%", "0.0001%", "٣%"])
def test_what_is_no_share_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="20%") as refused:
        parse_share(text)
    assert ("with its sign" in str(refused.value)) is ("%" not in text)


def test_a_size_that_no_unit_divides_is_shown_in_bytes() -> None:
    assert format_size(1025) == "1025"
    assert format_size(0) == "0"
