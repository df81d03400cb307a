"""The tokens that a model's answer states."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Usage:
    """Tokens, as an answer's body states them; 0 where it states none."""

    prompt: int = 0
    completion: int = 0


def usage_of(body: bytes) -> Usage:
    """The tokens that an answer states, whole or as events; names are OpenAI's and Anthropic's.

    Events may state them more than once, as they grow.
    """
    prompt = completion = 0
    for document in _documents(body):
        inner = (document, document.get("response"), document.get("message"))
        for usage in (part.get("usage") for part in inner if isinstance(part, dict)):
            if isinstance(usage, Mapping):
                prompt = max(prompt, _count(usage, "prompt_tokens"), _count(usage, "input_tokens"))
                completion = max(
                    completion, _count(usage, "completion_tokens"), _count(usage, "output_tokens")
                )
    return Usage(prompt, completion)


def _documents(body: bytes) -> Iterable[dict[str, Any]]:
    texts = [
        body,
        *(line[5:] for line in body.splitlines() if line.startswith(b"data:") and b'"usage"' in line),
    ]
    for text in texts:
        with contextlib.suppress(ValueError, RecursionError):
            document = json.loads(text)
            if isinstance(document, dict):
                yield document


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12 else 0
