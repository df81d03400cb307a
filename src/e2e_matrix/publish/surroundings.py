"""Where a run is told: the repository, the pull request and the commit, and with which token.

In GitHub Actions all of it is in the environment and in the event's file
(https://docs.github.com/actions/reference/workflows-and-actions/variables); an option goes before either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from e2e_matrix.errors import Problem
from e2e_matrix.registry.reference import is_loopback
from e2e_matrix.text import one_line

GITHUB = "https://api.github.com"
TOKENS = ("GITHUB_TOKEN", "GH_TOKEN")
_REPO = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,99})/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PULL_REF = re.compile(r"refs/pull/([1-9][0-9]{0,9})/(?:merge|head)")
_URL = re.compile(r"https?://(?:(?![()<>\[\]\"'`\\])[!-~])+")  # as it can stand in Markdown
_HEAD = re.compile(r"[^\s:\ud800-\udfff]+:[^\s:\ud800-\udfff]+")
_LARGEST_EVENT = 32 * 1024 * 1024  # GitHub's own bound for what it delivers is 25 MB


@dataclass(frozen=True)
class Given:
    """The options, as they were typed."""

    repo: str | None = None
    pull: str | None = None
    sha: str | None = None
    api_url: str | None = None
    run_url: str | None = None


@dataclass(frozen=True)
class Surroundings:
    """What is known; None where it is not.

    ``head`` is a pull request's branch as ``owner:branch``, where its number is not told: a run of a workflow
    names no pull request of a fork. ``workspace`` is the checkout's root.
    """

    repo: str | None = None
    pull: int | None = None
    head: str | None = None
    sha: str | None = None
    run_url: str | None = None
    api_url: str = GITHUB
    workspace: Path | None = None
    token: str | None = field(default=None, repr=False)


@dataclass
class _Event:
    """What the event's file says."""

    pull: int | None = None
    head: str | None = None
    sha: str | None = None
    run_url: str | None = None
    about_a_pull: bool = False


def look_around(given: Given, environ: Mapping[str, str]) -> tuple[Surroundings, list[Problem]]:
    """What the options and the environment say, and what is wrong with it; what is missing is not, yet."""
    look = _Look(environ)
    repo = look.checked("--repo", given.repo, _REPO, "OpenHands/software-agent-sdk") or look.checked(
        "GITHUB_REPOSITORY", environ.get("GITHUB_REPOSITORY"), _REPO, "OpenHands/software-agent-sdk"
    )
    # Another repository's pull requests and commits are none of this event's.
    is_ours = repo is not None and repo.lower() == environ.get("GITHUB_REPOSITORY", "").lower()
    event = look.event() if is_ours else _Event()
    pull = look.number("--pr", given.pull)
    sha = look.checked("--sha", given.sha and given.sha.lower(), _SHA, "its 40 hexadecimal digits")
    if pull is None:
        pull = event.pull
    elif event.about_a_pull and pull != event.pull:
        event.sha = None
    surroundings = Surroundings(
        repo=repo,
        pull=pull,
        head=event.head if pull is None else None,
        sha=sha or event.sha,
        run_url=look.checked("--run-url", given.run_url, _URL, "https://host/path")
        or event.run_url
        or look.run(),
        api_url=look.api(given.api_url),
        workspace=Path(environ["GITHUB_WORKSPACE"]) if environ.get("GITHUB_WORKSPACE") else None,
        token=look.token(),
    )
    return surroundings, look.problems


class _Look:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[Problem] = []

    def checked(self, place: str, value: str | None, form: re.Pattern[str], such_as: str) -> str | None:
        if not value:
            if value is not None and place.startswith("--"):
                self._wrong(place, "must not be empty", "give it a value, or leave it out")
            return None
        if form.fullmatch(value):
            return value
        self._wrong(place, f"cannot be {one_line(value)!r}", f"such as {such_as}")
        return None

    def number(self, place: str, value: str | None) -> int | None:
        checked = self.checked(place, value, re.compile("[1-9][0-9]{0,9}"), "142, the number in its address")
        return int(checked) if checked else None

    def api(self, given: str | None) -> str:
        place = "GITHUB_API_URL" if given is None else "--api-url"
        url = self.checked(
            place, self._environ.get(place) if given is None else given, _URL, "https://host/api/v3"
        )
        if url is None:
            return GITHUB
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or "@" in parts.netloc or parts.query or parts.fragment:
            self._wrong(place, "must be an address without login and query", "such as https://host/api/v3")
        elif parts.scheme == "http" and not is_loopback(host):
            self._wrong(place, "would send the token unencrypted", "use https://")
        return url

    def token(self) -> str | None:
        for name in TOKENS:
            if value := self._environ.get(name, "").strip():
                if re.fullmatch(r"[\x21-\x7e]+", value):
                    return value
                # Not what it holds: part of it may be a token.
                self._wrong(name, "is no token: it has spaces or other signs inside", "export it again")
        return None

    def run(self) -> str | None:
        """The address of this run of a workflow."""
        server, repo, number, attempt = (
            self._environ.get(name)
            for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT")
        )
        if not (server and repo and number):
            return None
        url = f"{server.rstrip('/')}/{repo}/actions/runs/{number}" + (
            f"/attempts/{attempt}" if attempt else ""
        )
        return url if _URL.fullmatch(url) else None

    def event(self) -> _Event:
        found = _Event()
        if path := self._environ.get("GITHUB_EVENT_PATH"):
            try:
                found = _read(self._document(Path(path)))
            except OSError as error:
                self._broken(path, f"cannot be read: {error.strerror}")
            except (TypeError, KeyError, AttributeError):
                self._broken(path, "is not what GitHub writes there")
            except (ValueError, RecursionError) as error:
                self._broken(path, f"is no JSON: {one_line(str(error))}")
        ref = _PULL_REF.fullmatch(self._environ.get("GITHUB_REF", ""))
        if ref and not found.about_a_pull:
            found.pull, found.about_a_pull = int(ref[1]), True
        sha = self._environ.get("GITHUB_SHA", "")
        # Of an event about a pull request it is the merge commit, or the newest of the default branch.
        if not found.about_a_pull and not found.sha and _SHA.fullmatch(sha):
            found.sha = sha
        return found

    def _document(self, path: Path) -> dict[str, Any]:
        with path.open("rb") as file:
            document = json.loads(file.read(_LARGEST_EVENT))
        if not isinstance(document, dict):
            raise TypeError
        return document

    def _broken(self, path: str, what: str) -> None:
        self._wrong(f"GITHUB_EVENT_PATH={path}", what, "unset it, and say --pr and --sha")

    def _wrong(self, place: str, message: str, hint: str) -> None:
        self.problems.append(Problem(place, 0, 0, message, hint))


def _read(event: dict[str, Any]) -> _Event:
    """https://docs.github.com/webhooks/webhook-events-and-payloads; TypeError, KeyError for another shape."""
    if pull := event.get("pull_request"):
        return _Event(_number(pull["number"]), sha=_sha(pull["head"]["sha"]), about_a_pull=True)
    if (issue := event.get("issue")) and issue.get("pull_request"):
        return _Event(_number(issue["number"]), about_a_pull=True)
    if run := event.get("workflow_run"):
        return _of_a_run(run)
    return _Event()


def _of_a_run(run: dict[str, Any]) -> _Event:
    """The workflow that tested; the one that publishes runs on the default branch, whatever was tested."""
    pulls = run.get("pull_requests") or []
    owner = ((run.get("head_repository") or {}).get("owner") or {}).get("login")
    head = f"{owner or ''}:{run.get('head_branch') or ''}"  # the repository may be gone by now
    tells = str(run.get("event", "")).startswith("pull_request")
    url = run.get("html_url")
    return _Event(
        pull=_number(pulls[0]["number"]) if tells and pulls else None,
        head=head if tells and not pulls and _HEAD.fullmatch(head) else None,
        sha=_sha(run["head_sha"]),
        run_url=url if isinstance(url, str) and _URL.fullmatch(url) else None,
        about_a_pull=True,
    )


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TypeError
    return value


def _sha(value: object) -> str:
    if not isinstance(value, str) or not _SHA.fullmatch(value):
        raise TypeError
    return value


Need = Callable[[Surroundings], Problem | None]


def a_token(found: Surroundings) -> Problem | None:
    if found.token:
        return None
    hint = "export it, or let the workflow: env: GITHUB_TOKEN: ${{ github.token }}"
    return Problem(" or ".join(TOKENS), 0, 0, "not set: there is no token to publish with", hint)


def a_repository(found: Surroundings) -> Problem | None:
    return (
        None
        if found.repo
        else Problem("--repo", 0, 0, "not known: which repository?", "give it as OWNER/NAME")
    )


def a_pull_request(found: Surroundings) -> Problem | None:
    if found.pull or found.head:
        return None
    return Problem("--pr", 0, 0, "not known: this is no event of a pull request", "give the number")


def a_pull_number(found: Surroundings) -> Problem | None:
    """Where nobody may be asked which pull request a branch has."""
    if found.pull or not found.head:
        return None
    message = f"not known: a dry run does not look up the pull request of {one_line(found.head)}"
    return Problem("--pr", 0, 0, message, "give the number")


def a_commit(found: Surroundings) -> Problem | None:
    if found.sha:
        return None
    return Problem(
        "--sha", 0, 0, "not known: which commit is it about?", "give it in full, as git rev-parse does"
    )


def missing(found: Surroundings, needs: tuple[Need, ...]) -> list[Problem]:
    """What is needed and not known."""
    return [problem for need in dict.fromkeys(needs) if (problem := need(found))]
