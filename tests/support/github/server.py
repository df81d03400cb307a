"""A small GitHub with a memory, on a port of 127.0.0.1, and the faults that a test asks of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from support.github.description import (
    Answer,
    Request,
    filled,
    template_of,
    wrong_with_answer,
    wrong_with_request,
)

TOKEN = "ghp_sesame0123456789opensesame"
REPO = "octo/matrix"
SHA = "c0ffee" * 6 + "c0ff"
PULL = 7
_FORBIDDEN = {"message": "Resource not accessible by integration", "documentation_url": "x", "status": "403"}
_REPO = "/repos/{owner}/{repo}"


@dataclass
class Who:
    """Whose token it is, and what it may."""

    login: str = "octocat"
    kind: str = "User"
    has_user: bool = True  # the token of an App has none
    writes: bool = True
    checks: bool = True


@dataclass
class Fault:
    """What happens to the next ``times`` requests of a method whose path matches.

    ``answer`` is given instead of doing anything; ``lost``: it is done, and ``answer`` is given all the same,
    or the connection ends without one; ``before`` is called first, as somebody else who is quicker;
    ``stalls`` until the test is over.
    """

    method: str
    path: str
    times: int = 1
    answer: Answer | None = None
    lost: bool = False
    before: Callable[[], object] | None = None
    stalls: bool = False


class _Gone(Exception):
    """The connection ends without an answer."""


@dataclass
class GitHub:
    """Everything that is there. ``seen`` are the requests, ``wrong`` what did not fit the description."""

    who: Who = field(default_factory=Who)
    graphql: bool = True
    prefix: str = ""
    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    issues: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    annotations: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    pulls: list[dict[str, Any]] = field(default_factory=list)
    renamed: str | None = None  # the repository's earlier name
    faults: list[Fault] = field(default_factory=list)
    seen: list[Request] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        self._over = threading.Event()
        self._ids = 1000
        handler = type("Handler", (_Handler,), {"github": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The API's address."""
        return self.root + self.prefix

    # What a test prepares and looks at

    def comment(self, body: str, login: str = "octocat", number: int = PULL, **values: Any) -> dict[str, Any]:
        """A comment that is there already."""
        with self._lock:
            made = filled(
                "issue-comment",
                id=self._next(),
                body=body,
                user=_user(login),
                html_url=f"https://github.com/{REPO}/pull/{number}#issuecomment-{self._ids}",
                **values,
            )
            self.comments.setdefault(number, []).append(made)
            return made

    def issue(self, body: str, login: str = "octocat", **values: Any) -> dict[str, Any]:
        with self._lock:
            number = len(self.issues) + 100
            made = filled(
                "issue",
                id=self._next(),
                number=number,
                body=body,
                user=_user(login),
                html_url=f"https://github.com/{REPO}/issues/{number}",
                **({"state": "open", "title": "x"} | values),
            )
            self.issues.append(made)
            return made

    def pull(self, number: int, head: str, sha: str) -> None:
        """An open pull request from ``owner:branch``."""
        made = filled("pull-request-simple", number=number, state="open")
        made["head"] |= {"label": head, "sha": sha, "user": _user(head.partition(":")[0])}
        self.pulls.append(made)

    def writes(self) -> list[str]:
        """The requests that changed something, or would have: their methods and paths."""
        return [
            f"{one.method} {one.path.removeprefix(f'/repos/{REPO}')}"
            for one in self.seen
            if one.method != "GET" and one.path != "/graphql"
        ]

    def wait_for(self, what: Callable[[], bool]) -> None:
        """Until a request has made ``what`` true."""
        with self.changed:
            assert self.changed.wait_for(what, timeout=20), "it did not come to that"

    # What answers

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.seen.append(request)
            fault = self._fault(request)
        if fault and fault.before:
            fault.before()
        if fault and fault.stalls:
            self._over.wait(60)
            raise _Gone
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer(401, {"message": "Bad credentials", "documentation_url": "x"})
        if request.path == "/graphql":
            return fault.answer if fault and fault.answer else self._viewer()
        if self.renamed and request.path.startswith(f"/repos/{self.renamed}/"):
            target = self.url + request.path.replace(self.renamed, REPO, 1)
            query = f"?{urlencode(request.query)}" if request.query else ""
            return Answer(307, {"message": "Temporary Redirect", "url": target}, {"Location": target + query})
        with self.changed:
            wrong = list(wrong_with_request(request))
            if fault and fault.answer and not fault.lost:
                answer = fault.answer
            else:
                answer = Answer(400, {"message": "; ".join(wrong)}) if wrong else self._act(request)
                wrong += wrong_with_answer(request, answer)
            self.wrong += wrong
            self.changed.notify_all()
        if fault and fault.lost:
            if fault.answer is None:
                raise _Gone
            return fault.answer
        return answer

    def _fault(self, request: Request) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == request.method and re.search(fault.path, request.path):
                fault.times -= 1
                return fault
        return None

    def _act(self, request: Request) -> Answer:
        found = template_of(request)
        assert found is not None
        template, values = found
        if request.method != "GET" and not self.who.writes:
            return Answer(403, _FORBIDDEN)
        if "check-runs" in template and not self.who.checks:
            return Answer(403, _FORBIDDEN)
        if values and f"{values[0]}/{values[1]}" != REPO:
            return Answer(404, {"message": "Not Found", "documentation_url": "x", "status": "404"})
        act: Callable[..., Answer] = getattr(self, _ACTIONS[request.method, template])
        return act(request, *values[2:])

    def _user(self, request: Request) -> Answer:
        if not self.who.has_user:
            return Answer(403, _FORBIDDEN)
        return Answer(200, filled("public-user", login=self.who.login, user_view_type="public"))

    def _viewer(self) -> Answer:
        if not self.graphql:
            return Answer(404, {"message": "Not Found"})
        return Answer(200, {"data": {"viewer": {"login": self.who.login}}})

    def _comments_of(self, request: Request, number: str) -> Answer:
        return self._page(request, self.comments.get(int(number), []))

    def _new_comment(self, request: Request, number: str) -> Answer:
        if len(request.json["body"]) > 65_536:
            return _invalid("body is too long (maximum is 65536 characters)")
        return Answer(201, self.comment(request.json["body"], self.who.login, int(number)))

    def _change_comment(self, request: Request, identifier: str) -> Answer:
        comment = next((one for one in self._all_comments() if one["id"] == int(identifier)), None)
        if comment is None:
            return Answer(404, {"message": "Not Found"})
        if len(request.json["body"]) > 65_536:
            return _invalid("body is too long (maximum is 65536 characters)")
        comment["body"] = request.json["body"]
        return Answer(200, comment)

    def _delete_comment(self, request: Request, identifier: str) -> Answer:
        for comments in self.comments.values():
            for comment in comments:
                if comment["id"] == int(identifier):
                    comments.remove(comment)
                    return Answer(204)
        return Answer(404, {"message": "Not Found"})

    def _all_comments(self) -> Iterator[dict[str, Any]]:
        for comments in self.comments.values():
            yield from comments

    def _issues_of(self, request: Request) -> Answer:
        state = request.query.get("state", "open")
        return self._page(request, [one for one in self.issues if state in ("all", one["state"])])

    def _new_issue(self, request: Request) -> Answer:
        if len(request.json["title"]) > 256:
            return _invalid("title is too long (maximum is 256 characters)")
        labels = request.json.get("labels", [])
        made = self.issue(request.json["body"], self.who.login, title=request.json["title"], labels=labels)
        return Answer(201, made)

    def _change_issue(self, request: Request, number: str) -> Answer:
        issue = next(one for one in self.issues if one["number"] == int(number))
        issue |= request.json
        return Answer(200, issue)

    def _pulls_of(self, request: Request) -> Answer:
        head = request.query.get("head")
        return self._page(request, [one for one in self.pulls if one["head"]["label"] == head])

    def _new_check(self, request: Request) -> Answer:
        identifier = self._next()
        made = filled(
            "check-run",
            id=identifier,
            name=request.json["name"],
            head_sha=request.json["head_sha"],
            external_id=request.json.get("external_id"),
            html_url=f"https://github.com/{REPO}/runs/{identifier}",
            status="queued",
        )
        self.checks.insert(0, made)
        return self._set_check(made, request, 201)

    def _change_check(self, request: Request, identifier: str) -> Answer:
        return self._set_check(self._check(identifier), request, 200)

    def _set_check(self, check: dict[str, Any], request: Request, status: int) -> Answer:
        asked = request.json
        output = asked.get("output", {})
        if len(output.get("summary", "").encode()) > 65_535:
            return _invalid("summary is too long (maximum is 65535 bytes)")
        kept = self.annotations.setdefault(check["id"], [])
        kept += output.get("annotations", [])
        check["output"] |= {name: output[name] for name in ("title", "summary") if name in output}
        check["output"]["annotations_count"] = len(kept)
        check |= {name: asked[name] for name in ("status", "conclusion", "details_url") if name in asked}
        return Answer(status, check)

    def _one_check(self, request: Request, identifier: str) -> Answer:
        return Answer(200, self._check(identifier))

    def _check(self, identifier: str) -> dict[str, Any]:
        return next(one for one in self.checks if one["id"] == int(identifier))

    def _checks_of(self, request: Request, sha: str) -> Answer:
        name = request.query.get("check_name")
        found = [one for one in self.checks if one["head_sha"] == sha and name in (None, one["name"])]
        page = self._page(request, found)
        return Answer(200, {"total_count": len(found), "check_runs": page.json}, page.headers)

    def _statuses_of(self, request: Request, sha: str) -> Answer:
        return self._page(request, self.statuses)

    def _new_status(self, request: Request, sha: str) -> Answer:
        if len(request.json.get("description") or "") > 140:
            return _invalid("description is too long (maximum is 140 characters)")
        values = {"description": None, "target_url": None} | request.json
        made = filled("status", id=self._next(), creator=_user(self.who.login), **values)
        self.statuses.insert(0, made)  # the newest first
        return Answer(201, made)

    def _page(self, request: Request, items: list[dict[str, Any]]) -> Answer:
        size, page = int(request.query.get("per_page", "30")), int(request.query.get("page", "1"))
        size = min(size, 100)
        shown = items[(page - 1) * size : page * size]
        headers = {}
        if page * size < len(items):
            query = urlencode({**request.query, "page": page + 1})
            # As GitHub does it: by the repository's number, not by its name.
            target = f"{self.url}/repositories/1{request.path.removeprefix(f'/repos/{REPO}')}?{query}"
            headers["Link"] = f'<{target}>; rel="next", <{target}>; rel="last"'
        return Answer(200, shown, headers)

    def _next(self) -> int:
        self._ids += 1
        return self._ids


@contextmanager
def a_github() -> Iterator[GitHub]:
    """For a test, which fails where anything did not fit the description."""
    with GitHub() as github:
        yield github
        assert not github.wrong, "\n".join(github.wrong)


_ACTIONS = {
    ("GET", "/user"): "_user",
    ("GET", f"{_REPO}/issues/{{issue_number}}/comments"): "_comments_of",
    ("POST", f"{_REPO}/issues/{{issue_number}}/comments"): "_new_comment",
    ("PATCH", f"{_REPO}/issues/comments/{{comment_id}}"): "_change_comment",
    ("DELETE", f"{_REPO}/issues/comments/{{comment_id}}"): "_delete_comment",
    ("GET", f"{_REPO}/issues"): "_issues_of",
    ("POST", f"{_REPO}/issues"): "_new_issue",
    ("PATCH", f"{_REPO}/issues/{{issue_number}}"): "_change_issue",
    ("GET", f"{_REPO}/pulls"): "_pulls_of",
    ("POST", f"{_REPO}/check-runs"): "_new_check",
    ("GET", f"{_REPO}/check-runs/{{check_run_id}}"): "_one_check",
    ("PATCH", f"{_REPO}/check-runs/{{check_run_id}}"): "_change_check",
    ("GET", f"{_REPO}/commits/{{ref}}/check-runs"): "_checks_of",
    ("GET", f"{_REPO}/commits/{{ref}}/statuses"): "_statuses_of",
    ("POST", f"{_REPO}/statuses/{{sha}}"): "_new_status",
}


def _user(login: str) -> dict[str, Any]:
    return filled("simple-user", login=login, type="Bot" if login.endswith("[bot]") else "User")


def _invalid(message: str) -> Answer:
    error = {"resource": "X", "field": "body", "code": "custom", "message": message}
    return Answer(422, {"message": "Validation Failed", "documentation_url": "x", "errors": [error]})


class _Handler(BaseHTTPRequestHandler):
    github: GitHub
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        headers: Mapping[str, str] = {name.lower(): value for name, value in self.headers.items()}
        prefix = self.github.prefix
        graphql = f"{prefix.removesuffix('/v3')}/graphql"  # Enterprise Server: /api/v3, /api/graphql
        path = "/graphql" if parts.path == graphql else parts.path.removeprefix(prefix)
        if path == "/graphql" and parts.path != graphql:
            path = parts.path
        request = Request(self.command, path, dict(parse_qsl(parts.query)), headers, self.rfile.read(length))
        try:
            answer = self.github.answer(request)
        except _Gone:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test says what it expects."""
