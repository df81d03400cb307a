"""What a server counts for a conversation: ``stats.usage_to_metrics``, added up. All of it hostile."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeGuard

from e2e_matrix.prices import Price
from e2e_matrix.results import Tokens

# US dollars; one question without tools that costs more is a slip in the server's arithmetic.
MOST_PLAUSIBLE_COST = Decimal(1000)
MOST_PLAUSIBLE_TOKENS = 10**12


@dataclass(frozen=True)
class Bill:
    """What the metrics of a conversation add up to. ``wrong``: a cost that none can be, as it came.

    ``cached`` of the prompt's tokens came from the provider's cache.
    """

    cost: Decimal | None
    tokens: Tokens
    wrong: str = ""
    cached: int = 0
    counted_by_server: Decimal | None = None  # the same as the cost where no price was given
    by_price: bool = False  # the cost is that of a price that was given

    @property
    def known_cost(self) -> Decimal | None:
        """The cost, where it is one: a server counts 0 for a model whose price it does not know."""
        return self.cost if self.cost or self.by_price else None


def read_bill(metrics: Any, price: Price | None = None) -> Bill:
    """Cost and tokens over all usages.

    The cost is the server's, None where it gave none that can be; with a ``price`` that of the tokens that
    the server counted, None where it counted none.
    """
    cost: Decimal | None = None
    wrong = ""
    prompt = completion = cached = 0
    for usage in metrics.values() if isinstance(metrics, dict) else ():
        if not isinstance(usage, dict):
            continue
        amount = usage.get("accumulated_cost")
        if _is_plausible(amount):
            cost = (cost or Decimal(0)) + amount
        elif amount is not None:
            wrong = wrong or (str(amount) if isinstance(amount, Decimal) else repr(amount))
        counted = usage.get("accumulated_token_usage")
        if isinstance(counted, dict):
            prompt += _count(counted.get("prompt_tokens"))
            completion += _count(counted.get("completion_tokens"))
            cached += _count(counted.get("cache_read_tokens"))
    tokens = Tokens.of(prompt, completion)
    counted_by_server = None if wrong else cost
    if price:
        cost = price.cost(prompt, completion, cached) if tokens.total else None
        return Bill(cost, tokens, wrong, cached, counted_by_server, by_price=True)
    return Bill(counted_by_server, tokens, wrong, cached, counted_by_server)


def _is_plausible(amount: object) -> TypeGuard[int | Decimal]:
    """Asked before anything is added up: 1e9999999 is JSON, and more than a Decimal can be added to."""
    if isinstance(amount, bool) or not isinstance(amount, int | Decimal):
        return False
    return 0 <= amount <= MOST_PLAUSIBLE_COST


def _count(value: Any) -> int:
    """Tokens; 0 for what can be no number of them, such as one that is too long to be written down."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if 0 <= value <= MOST_PLAUSIBLE_TOKENS else 0
