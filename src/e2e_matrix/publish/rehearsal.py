"""``--dry-run``: the same requests, printed instead of sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from e2e_matrix.publish.client import Client, T


class Rehearsal(Client):
    """Reads where there is a token, so that it knows what is there already; never writes.

    ``requests`` counts what would be sent. What would be created has the number 0 in addresses.
    """

    def __init__(self, api_url: str, token: str | None, say: Callable[[str], None]) -> None:
        super().__init__(api_url, token or "none")
        self._reads = token is not None
        self._say = say
        self.requests = 0

    def pages(
        self, path: str, model: type[T], query: Mapping[str, str] | None = None, *, key: str | None = None
    ) -> Iterator[T]:
        return super().pages(path, model, query, key=key) if self._reads else iter(())

    def change(self, path: str, body: Mapping[str, Any], model: type[T]) -> T:
        self._print("PATCH", path, body)
        return self._made(model, body)

    def delete(self, path: str) -> None:
        self._print("DELETE", path)

    def add(
        self,
        path: str,
        body: Mapping[str, Any],
        model: type[T],
        arrived: Callable[[], T | None],
        method: str = "POST",
    ) -> T:
        self._print(method, path, body)
        return self._made(model, body)

    def _print(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        self.requests += 1
        self._say(f"{method} {self._base}{path}")
        if body is not None:
            # In ASCII, escaped: no terminal takes anything in it for a command.
            self._say(json.dumps(body, indent=2))

    @staticmethod
    def _made(model: type[T], body: Mapping[str, Any]) -> T:
        """What GitHub would answer, as far as it follows from what was sent."""
        return model.model_validate({"id": 0, "number": 1, **body})
