"""What a model costs by the matrix's own table, for models whose price the server does not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase

_MILLIONTHS = -6


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens. ``cached_input`` None: what was cached costs what other input does."""

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None

    def cost(self, prompt: int, completion: int, cached: int = 0) -> Decimal:
        """US dollars, exact. ``cached`` of the ``prompt`` tokens came from the provider's cache."""
        cached = min(cached, prompt)
        cheap = self.input if self.cached_input is None else self.cached_input
        sum_of_all = self.input * (prompt - cached) + cheap * cached + self.output * completion
        return sum_of_all.scaleb(_MILLIONTHS)

    def __str__(self) -> str:
        cached = "" if self.cached_input is None else f", cached input {self.cached_input:f}"
        return f"input {self.input:f}, output {self.output:f}{cached} US dollars per million tokens"


def price_of(model: str, prices: Mapping[str, Price]) -> Price | None:
    """The price under the model's own name, else under the first glob that it matches."""
    if model in prices:
        return prices[model]
    return next((price for glob, price in prices.items() if fnmatchcase(model, glob)), None)
