"""An issue for a matrix that fails night after night: opened, kept up to date, and closed when it passes.

Only an open issue of ours is taken up again. What fails after that was mended is another story, and gets an
issue of its own; so nobody has to read through all closed ones.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from e2e_matrix.failures import BROKEN, Outcome
from e2e_matrix.publish.body import is_marked, plain, written
from e2e_matrix.publish.client import Client, Item
from e2e_matrix.publish.comment import Comment
from e2e_matrix.publish.identity import User, login
from e2e_matrix.publish.news import News
from e2e_matrix.publish.surroundings import Surroundings
from e2e_matrix.report.escape import code, prose
from e2e_matrix.text import one_line

LABEL = "e2e-matrix"
LONGEST_TITLE = 256  # characters


class Issue(Item):
    number: int = Field(ge=1)
    title: str = ""
    body: str | None = None
    html_url: str = ""
    user: User | None = None
    pull_request: dict[str, object] | None = None


class IssuePlace:
    """Runs that failed, or that the infrastructure spoilt, open it; only one that passed closes it."""

    name = "github-issue"
    shows_progress = False

    def __init__(self, surroundings: Surroundings, key: str) -> None:
        self._around = surroundings
        self._key = key
        self._issues = f"/repos/{surroundings.repo}/issues"

    def tell(self, client: Client, news: News) -> str:
        if news.outcome is Outcome.PASSED:
            return self._close(client, news)
        if news.outcome not in BROKEN:
            return "nothing to say: the run came to no verdict"
        body = written(news, self._key, self._around.sha, self._around.run_url)
        title = one_line(f"e2e-matrix / {self._key}: {news.title}", LONGEST_TITLE)
        issue, created = self._issue(client, title, body)
        if issue.title == title and plain(issue.body or "") == plain(body):
            return f"{'created' if created else 'left as it was'}: {issue.html_url}"
        client.change(f"{self._issues}/{issue.number}", {"title": title, "body": body}, Issue)
        return f"{'created' if created else 'updated'}: {issue.html_url}"

    def _issue(self, client: Client, title: str, body: str) -> tuple[Issue, bool]:
        """The open one, and whether it was made now."""
        own = self._own(client)
        if created := not own:
            new = {"title": title, "body": body, "labels": [LABEL]}
            made = client.add(self._issues, new, Issue, lambda: next(iter(self._own(client)), None))
            own = self._own(client) or [made]  # another process may have made one at the same moment
        issue, *others = own
        for other in others:
            self._end(client, other, {"state_reason": "not_planned", "body": f"The same as #{issue.number}."})
        return issue, created

    def _close(self, client: Client, news: News) -> str:
        own = self._own(client)
        if not own:
            return "nothing to say: the run passed, and no issue is open"
        for issue in own:
            self._say_that_it_passed(client, issue, news)
            self._end(client, issue, {"state_reason": "completed"})
        return f"closed: {own[0].html_url}"

    def _say_that_it_passed(self, client: Client, issue: Issue, news: News) -> None:
        path = f"{self._issues}/{issue.number}/comments"
        run = f"[run]({self._around.run_url})" if self._around.run_url else "run"
        body = f"The {run} {code(news.run_id)} passed. {prose(news.title)}\n"

        # An issue that could not be closed after that is not told twice.
        def said() -> Comment | None:
            return next((one for one in client.pages(path, Comment) if plain(one.body) == plain(body)), None)

        if said() is None:
            client.add(path, {"body": body}, Comment, said)

    def _end(self, client: Client, issue: Issue, more: dict[str, Any]) -> None:
        client.change(f"{self._issues}/{issue.number}", {"state": "closed", **more}, Issue)

    def _own(self, client: Client) -> list[Issue]:
        """Ours that are open, the oldest first. Not by the label: a token without push access sets none."""
        found = client.pages(self._issues, Issue, {"state": "open"})
        marked = [one for one in found if one.pull_request is None and is_marked(one.body, self._key)]
        if not marked:
            return []
        author = login(client)
        return sorted(
            (one for one in marked if one.user and one.user.login == author), key=lambda one: one.number
        )
