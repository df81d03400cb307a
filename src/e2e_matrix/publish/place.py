"""A place where a run is told."""

from __future__ import annotations

from typing import Protocol

from e2e_matrix.publish.client import Client
from e2e_matrix.publish.news import News


class Place(Protocol):
    """A comment, a check or an issue; it finds what it has said before, and brings it up to date."""

    name: str  # of the command that tells it: github-comment
    shows_progress: bool  # whether it has something to say while the run goes on

    def tell(self, client: Client, news: News) -> str:
        """Bring it to say ``news``; what was done, for a person. Raises PublishError."""
        ...
