"""One comment on a pull request, which is kept up to date: found by its marker and its author.

It is made once, changed after, and left alone where it says the same already. One that was hidden
("minimized") is done with: another takes its place.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from e2e_matrix.errors import PublishError
from e2e_matrix.failures import Outcome
from e2e_matrix.publish.body import is_marked, is_told, plain, written
from e2e_matrix.publish.client import Client, Item
from e2e_matrix.publish.identity import User, login
from e2e_matrix.publish.news import News, State
from e2e_matrix.publish.surroundings import Surroundings

Mode = Literal["on-change", "always", "failure"]


class Comment(Item):
    id: int
    body: str = ""
    html_url: str = ""
    user: User | None = None
    # Not in the answers of older GitHub Enterprise Servers: there, none counts as hidden.
    minimized: dict[str, object] | None = None


class _Head(Item):
    sha: str


class _Pull(Item):
    number: int = Field(ge=1)
    head: _Head


class CommentPlace:
    """``mode``: *on-change* leaves a comment alone that tells the same commit, verdict and outcomes; *always*
    brings times and costs up to date, too; *failure* begins with the first run that has not passed, and says
    nothing before a run's end."""

    name = "github-comment"

    def __init__(self, surroundings: Surroundings, key: str, mode: Mode) -> None:
        self._around = surroundings
        self._key = key
        self._mode = mode
        self.shows_progress = mode != "failure"
        self._pull = surroundings.pull
        self._known: Comment | None = None  # so that a picture every few seconds does not read all pages

    def tell(self, client: Client, news: News) -> str:
        body = written(news, self._key, self._around.sha, self._around.run_url)
        if news.state is State.RUNNING and self._known and self._was_changed(client, self._known, body):
            return f"updated: {self._known.html_url}"
        own = self._own(client)
        made = None
        if not own:
            if self._mode == "failure" and news.outcome is Outcome.PASSED:
                return "nothing to say: the run passed"
            made = self._create(client, body)
            own = self._own(client) or [made]  # another process may have made one at the same moment
        self._known, *others = own
        for other in others:
            client.delete(self._path(other))
        done = "created" if made and made.id == self._known.id else "left as it was"
        if not self._says(self._known, body, news):
            done = "updated"
            self._known = client.change(self._path(self._known), {"body": body}, Comment)
        return f"{done}: {self._known.html_url}"

    def _create(self, client: Client, body: str) -> Comment:
        path = f"/repos/{self._around.repo}/issues/{self._number(client)}/comments"
        return client.add(path, {"body": body}, Comment, lambda: next(iter(self._own(client)), None))

    def _was_changed(self, client: Client, comment: Comment, body: str) -> bool:
        """False where somebody has deleted it."""
        try:
            self._known = client.change(self._path(comment), {"body": body}, Comment)
        except PublishError as error:
            if error.status not in (404, 410):
                raise
            self._known = None
        return self._known is not None

    def _own(self, client: Client) -> list[Comment]:
        """Ours, the oldest first."""
        path = f"/repos/{self._around.repo}/issues/{self._number(client)}/comments"
        marked = [one for one in client.pages(path, Comment) if is_marked(one.body, self._key)]
        shown = [one for one in marked if one.minimized is None and one.user]
        if not shown:
            return []  # nobody need be asked whose token it is
        author = login(client)
        return sorted((one for one in shown if one.user and one.user.login == author), key=lambda one: one.id)

    def _says(self, there: Comment, body: str, news: News) -> bool:
        if plain(there.body) == plain(body):
            return True
        return self._mode != "always" and news.state is State.FINAL and is_told(there.body, body)

    def _path(self, comment: Comment) -> str:
        return f"/repos/{self._around.repo}/issues/comments/{comment.id}"

    def _number(self, client: Client) -> int:
        """The pull request's; one of a fork is known by its branch alone."""
        if self._pull is None:
            path, head = f"/repos/{self._around.repo}/pulls", self._around.head or ""
            found = client.pages(path, _Pull, {"head": head, "state": "open"})
            of_this = [pull.number for pull in found if pull.head.sha == self._around.sha]
            if not of_this:
                raise PublishError(
                    f"no open pull request has {head} at commit {self._around.sha}",
                    "It was closed, or has newer commits, whose own run will be told. Otherwise say --pr.",
                )
            self._pull = min(of_this)
        return self._pull
