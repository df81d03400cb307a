"""What an attempt cost by the matrix's own prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from e2e_matrix.prices import Price, price_of
from e2e_matrix.units import parse_price
from e2e_matrix.usage import read_bill

PRICE = Price(Decimal("2.5"), Decimal("10"), Decimal("1.25"))


def metrics(cost: Any = 0, **counted: int) -> dict[str, Any]:
    return {"agent": {"accumulated_cost": cost, "accumulated_token_usage": counted}}


@pytest.mark.parametrize(
    ("price", "counted", "cost"),
    [
        (PRICE, (1000, 10, 400), "0.0021"),
        (Price(PRICE.input, PRICE.output), (1000, 10, 400), "0.0026"),
        (PRICE, (1, 0, 0), "0.0000025"),
        (PRICE, (10, 0, 400), "0.0000125"),  # a provider that counts its cache apart
        (Price(Decimal(0), Decimal(0)), (1000, 10, 0), "0"),
        (Price(Decimal("0.000000000001"), Decimal(0)), (1, 0, 0), "0.000000000000000001"),
    ],
)
def test_tokens_cost_their_share_of_a_million_exactly(
    price: Price, counted: tuple[int, int, int], cost: str
) -> None:
    assert price.cost(*counted) == Decimal(cost)


def test_a_models_own_price_comes_before_any_glob_and_globs_in_their_order() -> None:
    prices = {
        name: Price(Decimal(number), Decimal(1)) for number, name in enumerate(("openai/*", "*", "openai/m"))
    }
    assert [price_of(name, prices) for name in ("openai/m", "openai/n", "other")] == [
        prices["openai/m"], prices["openai/*"], prices["*"],
    ]  # fmt: skip
    assert price_of("other", {"openai/*": PRICE}) is None


def test_a_price_takes_the_place_of_what_the_server_counts() -> None:
    counted = metrics(Decimal("7"), prompt_tokens=1000, completion_tokens=10, cache_read_tokens=400)
    paid = read_bill(counted, PRICE)
    assert (paid.cost, paid.counted_by_server, paid.cached) == (Decimal("0.0021"), Decimal(7), 400)
    assert read_bill(counted).cost == 7
    # Over two usages, of which each has its own share of the cache.
    assert read_bill(counted | {"title": counted["agent"]}, PRICE).cost == Decimal("0.0042")


def test_without_tokens_the_cost_is_unknown_and_nonsense_stays_nonsense() -> None:
    assert read_bill(metrics(), PRICE).cost is None
    assert read_bill({}, PRICE).cost is None
    assert read_bill(metrics(-1, prompt_tokens=1), PRICE).wrong == "-1"


@pytest.mark.parametrize("text", ["-1", "1e3", "1.", "", "free", "NaN"])
def test_what_is_no_price(text: str) -> None:
    with pytest.raises(ValueError, match="write US dollars"):
        parse_price(text)
    assert parse_price(" 0 ") == 0
