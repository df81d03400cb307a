"""Whose token it is: what others wrote is not ours to change, whatever it begins with."""

from __future__ import annotations

from e2e_matrix.errors import PublishError
from e2e_matrix.publish.client import Client, Item

ACTIONS = "github-actions[bot]"


class User(Item):
    login: str


def login(client: Client) -> str:
    """The name under which the token writes.

    An App's token has no user; GraphQL knows its bot. Where that does not answer either, it is taken for the
    token of GitHub Actions. Raises PublishError where the token is refused or nothing answers.
    """
    try:
        return client.read("/user", User).login
    except PublishError as error:
        if not error.for_good:  # what the token of an App, such as that of Actions, is told
            raise
    try:
        return client.viewer() or ACTIONS
    except PublishError as error:
        if not error.for_good:
            raise
        return ACTIONS
