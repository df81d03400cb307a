"""What the server's price list asks for the stand-in's model."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Price:
    """US dollars per token."""

    prompt: Decimal
    completion: Decimal


# litellm's model_prices_and_context_window, "gpt-4o", in the locked server.
GPT_4O = Price(prompt=Decimal("0.0000025"), completion=Decimal("0.00001"))
GPT_5_5 = Price(prompt=Decimal("0.000005"), completion=Decimal("0.00003"))
