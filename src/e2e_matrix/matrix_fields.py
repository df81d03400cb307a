"""What one value of matrix.yaml may be: annotated types, each with its messages and its JSON Schema.

A value comes as a ``Scalar``, which knows its source text, or plain where a matrix is made in code.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from e2e_matrix.matrix_yaml import Scalar
from e2e_matrix.templates import Template, is_http_url
from e2e_matrix.units import (
    DURATION_PATTERN,
    MONEY_PATTERN,
    PRICE_PATTERN,
    SHARE_PATTERN,
    SIZE_PATTERN,
    parse_age,
    parse_duration,
    parse_money,
    parse_price,
    parse_share,
    parse_size,
)

_SMALLEST_MEMORY = 64 << 20
_LARGEST_COUNT = 1_000_000
_LARGEST_NUMBER = 1000
_MOST_RETRIES = 20
MOST_REPEATS = 1000
KEEPING = ("keep", "remove")
# A value is repeated in every cell that has it.
_LONGEST_TEXT = 4096

Measure = TypeVar("Measure", int, float)


class Section(BaseModel):
    """A mapping of matrix.yaml with keys of its own: kebab-case, and no others."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )


def kind_of(value: object) -> str:
    """How a message calls a value: as it was written where it is short, else by its kind."""
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case None:
            return "nothing"
        case Scalar():
            return repr(value.written)
    return repr(value)


def wrong(message: str, hint: str = "") -> PydanticCustomError:
    """What a validator raises: matrix_load.py puts the place before ``message``, and ``hint`` below it."""
    # As a context and not as the template: pydantic would take braces in the message for its own.
    return PydanticCustomError("unusable", "{message}", {"message": message, "hint": hint})


def _plain(value: object) -> object:
    return value.value if isinstance(value, Scalar) else value


def text_of(value: object) -> str:
    """Any scalar, as it was written: a ref of 1.10 is not 1.1, and a variant called on is not true."""
    if isinstance(value, Scalar):
        return value.text
    if isinstance(value, str):
        return value
    hint = (
        "put quotes around text with braces" if isinstance(value, dict) else "write a value, or leave it out"
    )
    raise wrong(f"must be text, not {kind_of(value)}", hint)


def _filled(value: object) -> str:
    text = text_of(value)
    if not text.strip():
        raise wrong("must not be empty", "write a value, or leave it out")
    if len(text) > _LONGEST_TEXT:
        raise wrong(f"must be at most {_LONGEST_TEXT} characters long", "shorten it")
    return text


def _braces(value: object) -> str:
    text = text_of(value)
    try:
        Template.parse(text)
    except ValueError as error:
        raise wrong(str(error)) from None
    return text


def _template(value: object) -> str:
    _filled(value)
    return _braces(value)


def _flag(value: object) -> bool:
    plain = _plain(value)
    if isinstance(plain, bool):
        return plain
    raise wrong(f"must be true or false, not {kind_of(value)}")


def between(least: int, most: int) -> BeforeValidator:
    """A whole number within these."""

    def check(value: object) -> int:
        plain = _plain(value)
        if isinstance(plain, int) and not isinstance(plain, bool) and least <= plain <= most:
            return plain
        raise wrong(f"must be a whole number from {least} to {most}, not {kind_of(value)}")

    return BeforeValidator(check)


def _money(value: object) -> Decimal:
    try:
        return parse_money(text_of(value))
    except ValueError as error:
        raise wrong(f"cannot be {kind_of(value)}", str(error)) from None


def _price(value: object) -> Decimal:
    try:
        return parse_price(text_of(value))
    except ValueError as error:
        raise wrong(f"cannot be {kind_of(value)}", str(error)) from None


def _positive(value: object) -> float:
    plain = _plain(value)
    if isinstance(plain, int | float) and not isinstance(plain, bool) and 0 < plain <= _LARGEST_NUMBER:
        return float(plain)
    raise wrong(f"must be a number above 0, {_LARGEST_NUMBER} at the most, not {kind_of(value)}")


def _factor(value: object) -> float:
    if (number := _positive(value)) >= 1:
        return number
    raise wrong(f"must be at least 1, not {kind_of(value)}", "emulation is never faster than native")


def _share(value: object) -> float:
    return _measured(value, parse_share)


def _duration(value: object) -> float:
    return _measured(value, parse_duration)


def _age(value: object) -> float:
    return _measured(value, parse_age)


def one_of(*words: str) -> BeforeValidator:
    """One of these, as it stands."""

    def check(value: object) -> str:
        text = text_of(value)
        if text in words:
            return text
        raise wrong(f"must be {', '.join(words[:-1])} or {words[-1]}, not {kind_of(value)}")

    return BeforeValidator(check)


def _memory(value: object) -> int:
    if (size := _measured(value, parse_size)) >= _SMALLEST_MEMORY:
        return size
    raise wrong(f"must be at least 64m, not {kind_of(value)}", "the server needs about 1g")


def _measured(value: object, parse: Callable[[str], Measure]) -> Measure:
    text = text_of(value)
    try:
        return parse(text)
    except ValueError as error:
        raise wrong(f"cannot be {kind_of(value)}", str(error)) from None


def _url(value: object) -> str:
    text = _filled(value)
    if not is_http_url(text):
        raise wrong("must be an http:// or https:// URL", "such as https://host/v1")
    return text


def _variable(value: object) -> str:
    text = _filled(value)
    if not text.isascii() or not text.isidentifier():
        hint = "such as LLM_API_KEY: letters, digits and _; the value itself stays in it"
        raise wrong("must be the NAME of an environment variable", hint)
    return text


def free(value: object) -> Any:
    """Whatever YAML says, without the wrapping."""
    if isinstance(value, dict):
        return {key: free(item) for key, item in value.items()}
    if isinstance(value, list):
        return [free(item) for item in value]
    return _plain(value)


_ANY_SCALAR = {"type": ["string", "number", "boolean"]}
_NAME = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}
_COUNT = {"type": "integer", "minimum": 1, "maximum": _LARGEST_COUNT}
_RETRIES = {"type": "integer", "minimum": 0, "maximum": _MOST_RETRIES}
_MONEY = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": MONEY_PATTERN}]}
_PRICE = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": PRICE_PATTERN}]}
_NUMBER = {"type": "number", "exclusiveMinimum": 0, "maximum": _LARGEST_NUMBER}
_FACTOR = {"type": "number", "minimum": 1, "maximum": _LARGEST_NUMBER}
_DURATION = {"type": "string", "pattern": DURATION_PATTERN}
_SHARE = {"type": "string", "pattern": SHARE_PATTERN}
_SIZE = {"type": "string", "pattern": SIZE_PATTERN}
_URL = {"type": "string", "pattern": "^https?://"}

Filled = Annotated[str, BeforeValidator(_filled), WithJsonSchema(_ANY_SCALAR)]
Braces = Annotated[str, BeforeValidator(_braces), WithJsonSchema(_ANY_SCALAR)]
TemplateText = Annotated[str, BeforeValidator(_template), WithJsonSchema({"type": "string", "minLength": 1})]
# The same, where a number or a commit of digits alone stands without quotes.
TemplateScalar = Annotated[str, BeforeValidator(_template), WithJsonSchema(_ANY_SCALAR)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Whole = Annotated[int, between(1, _LARGEST_COUNT), WithJsonSchema(_COUNT)]
Retries = Annotated[int, between(0, _MOST_RETRIES), WithJsonSchema(_RETRIES)]
Repeats = Annotated[int, between(1, MOST_REPEATS), WithJsonSchema({**_COUNT, "maximum": MOST_REPEATS})]
Dollars = Annotated[Decimal, BeforeValidator(_money), WithJsonSchema(_MONEY)]  # US dollars, exact
Price = Annotated[Decimal, BeforeValidator(_price), WithJsonSchema(_PRICE)]  # US dollars, exact, also 0
Positive = Annotated[float, BeforeValidator(_positive), WithJsonSchema(_NUMBER)]
Factor = Annotated[float, BeforeValidator(_factor), WithJsonSchema(_FACTOR)]
Duration = Annotated[float, BeforeValidator(_duration), WithJsonSchema(_DURATION)]  # seconds
Share = Annotated[float, BeforeValidator(_share), WithJsonSchema(_SHARE)]  # 0.2 for 20%
Age = Annotated[float, BeforeValidator(_age), WithJsonSchema(_DURATION)]  # seconds, up to a year
Keeping = Annotated[str, one_of(*KEEPING), WithJsonSchema({"enum": list(KEEPING)})]
Memory = Annotated[int, BeforeValidator(_memory), WithJsonSchema(_SIZE)]  # bytes
Url = Annotated[str, BeforeValidator(_url), WithJsonSchema(_URL)]
Variable = Annotated[str, BeforeValidator(_variable), WithJsonSchema(_NAME)]
