"""A check run on a commit, with an annotation for each cell that broke.

Check runs need the token of an App, as that of GitHub Actions is: https://docs.github.com/rest/checks/runs
Where the token may not, a commit status says the same in a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from e2e_matrix.errors import PublishError
from e2e_matrix.failures import Outcome
from e2e_matrix.publish.client import Client, Item
from e2e_matrix.publish.news import News, State, Trouble
from e2e_matrix.publish.surroundings import Surroundings
from e2e_matrix.text import one_line

LARGEST_SUMMARY = 65_535  # bytes
MOST_ANNOTATIONS = 50  # in one request
LONGEST_DESCRIPTION = 140  # characters, of a status

_OURS = "e2e-matrix:"
# What is not good stops a merge, whoever is to blame.
_CONCLUSIONS = {Outcome.PASSED: "success", Outcome.CANCELLED: "cancelled", Outcome.NOT_RUN: "cancelled"}
_STATES = {Outcome.PASSED: "success", Outcome.FAILED: "failure"}


class _Output(Item):
    title: str | None = None
    summary: str | None = None
    annotations_count: int = 0


class CheckRun(Item):
    id: int
    status: str = ""
    conclusion: str | None = None
    external_id: str | None = None
    html_url: str | None = None
    output: _Output = _Output()


class Status(Item):
    state: str = ""
    context: str = ""
    description: str | None = None
    target_url: str | None = None


class CheckPlace:
    """The check `e2e-matrix / KEY` of a commit; every run has one of its own there, the newest is shown."""

    name = "github-check"
    shows_progress = True

    def __init__(self, surroundings: Surroundings, key: str) -> None:
        self._around = surroundings
        self._title = f"e2e-matrix / {key}"
        self._checks = f"/repos/{surroundings.repo}/check-runs"
        self._known: CheckRun | None = None
        self._may_not = False

    def tell(self, client: Client, news: News) -> str:
        if not self._may_not:
            try:
                return self._check(client, news)
            except PublishError as error:
                if not error.for_good:
                    raise
                self._may_not = True
        return f"{self._status(client, news)} (a status: the token may not make check runs)"

    def _check(self, client: Client, news: News) -> str:
        run = self._known if news.state is State.RUNNING else None
        run = run or self._find(client, news)
        body = self._body(news)
        annotations = list(_annotations(news, self._around.workspace))
        if run and _says(run, body, len(annotations)):
            self._known = run
            return f"left as it was: {run.html_url}"
        if run is None or (run.status == "completed" and not _says(run, body, 0)):
            # Of a resumed run there may be one that says otherwise: its annotations cannot be taken back.
            sent = min(len(annotations), MOST_ANNOTATIONS)
            run, done = self._create(client, news, body, annotations[:sent]), "created"
        else:
            run, sent = self._change(client, run, body, annotations, run.output.annotations_count)
            done = "updated"
        while sent < len(annotations):
            run, sent = self._change(client, run, body, annotations, sent)
        self._known = run
        return f"{done}: {run.html_url}"

    def _create(
        self, client: Client, news: News, body: dict[str, Any], annotations: Sequence[dict[str, Any]]
    ) -> CheckRun:
        def arrived() -> CheckRun | None:
            there = self._find(client, news)
            return there if there and _says(there, body, len(annotations)) else None

        new = {"head_sha": self._around.sha, "external_id": self._id(news), **_with(body, annotations)}
        return client.add(self._checks, new, CheckRun, arrived)

    def _change(
        self,
        client: Client,
        run: CheckRun,
        body: dict[str, Any],
        annotations: Sequence[dict[str, Any]],
        sent: int,
    ) -> tuple[CheckRun, int]:
        """Also send the annotations that follow the first ``sent``, as many as one request takes.

        GitHub adds them to those that are there: whether a request did whose answer was lost is looked up.
        """
        path = f"{self._checks}/{run.id}"
        batch = annotations[sent : sent + MOST_ANNOTATIONS]

        def arrived() -> CheckRun | None:
            there = client.read(path, CheckRun)
            return there if _says(there, body, sent + len(batch)) else None

        changed = client.add(path, _with(body, batch), CheckRun, arrived, method="PATCH")
        return changed, sent + len(batch)

    def _find(self, client: Client, news: News) -> CheckRun | None:
        """This run's; what another run left as if it still went on is ended on the way."""
        path = f"/repos/{self._around.repo}/commits/{self._around.sha}/check-runs"
        query = {"check_name": self._title, "filter": "all"}
        found = None
        for run in client.pages(path, CheckRun, query, key="check_runs"):
            if run.external_id == self._id(news):
                found = run if found is None else max(found, run, key=lambda one: one.id)
            elif run.status != "completed" and (run.external_id or "").startswith(_OURS):
                self._end(client, run)
        return found

    def _end(self, client: Client, run: CheckRun) -> None:
        output = {"title": "The run was killed", "summary": "It could not say any more how it ended."}
        body = {"status": "completed", "conclusion": "cancelled", "output": output}
        try:
            client.change(f"{self._checks}/{run.id}", body, CheckRun)
        except PublishError as error:
            if not error.for_good:  # another App made it, which alone may end it
                raise

    def _body(self, news: News) -> dict[str, Any]:
        body: dict[str, Any] = {
            "name": self._title,
            "status": "in_progress",
            "output": {
                "title": news.title,
                "summary": news.markdown(LARGEST_SUMMARY, self._around.run_url),
            },
        }
        if news.outcome is not None:
            body |= {"status": "completed", "conclusion": _CONCLUSIONS.get(news.outcome, "failure")}
        if self._around.run_url:
            body["details_url"] = self._around.run_url
        return body

    def _id(self, news: News) -> str:
        return f"{_OURS}{one_line(news.run_id, 100)}"

    def _status(self, client: Client, news: News) -> str:
        """While the run goes on it tells no counts: a commit may have 1,000 statuses of one name."""
        state = "pending" if news.outcome is None else _STATES.get(news.outcome, "error")
        told = "In progress" if news.outcome is None else one_line(news.title, LONGEST_DESCRIPTION)
        body = {"state": state, "description": told, "context": self._title}
        if self._around.run_url:
            body["target_url"] = self._around.run_url
        wanted = Status.model_validate(body)

        def newest() -> Status | None:
            path = f"/repos/{self._around.repo}/commits/{self._around.sha}/statuses"
            return next((one for one in client.pages(path, Status) if one.context == self._title), None)

        def arrived() -> Status | None:
            there = newest()
            return there if there == wanted else None

        if arrived():
            return "left as it was"
        client.add(f"/repos/{self._around.repo}/statuses/{self._around.sha}", body, Status, arrived)
        return "posted"


def _says(run: CheckRun, body: dict[str, Any], annotations: int) -> bool:
    wanted = (
        body["status"],
        body.get("conclusion"),
        body["output"]["title"],
        body["output"]["summary"].strip(),
    )
    there = (run.status, run.conclusion, run.output.title, (run.output.summary or "").strip())
    return there == wanted and run.output.annotations_count >= annotations


def _with(body: dict[str, Any], annotations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {**body, "output": {**body["output"], "annotations": list(annotations)}} if annotations else body


def _annotations(news: News, workspace: Path | None) -> Iterator[dict[str, Any]]:
    path = path_in_repository(news.matrix_file, workspace)
    for trouble in news.troubles:
        yield _annotation(trouble, path)


def _annotation(trouble: Trouble, path: str) -> dict[str, Any]:
    details = {"raw_details": trouble.details} if trouble.details else {}
    return {
        "path": path,
        "start_line": 1,
        "end_line": 1,
        "annotation_level": "failure" if trouble.outcome is Outcome.FAILED else "warning",
        "title": one_line(f"{trouble.cell}: {trouble.outcome.value}", 255),
        "message": trouble.message,
        **details,
    }


def path_in_repository(matrix_file: str, workspace: Path | None) -> str:
    """Where the matrix lies, seen from the root of the checkout; its bare name where it lies elsewhere."""
    path = PurePosixPath(one_line(matrix_file, 500) or "matrix.yaml")
    if path.is_absolute() and workspace and path.is_relative_to(workspace):
        path = path.relative_to(workspace)
    return path.name if path.is_absolute() or ".." in path.parts else str(path)
