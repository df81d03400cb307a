"""What the server knows and answers, without the transport."""

from __future__ import annotations

import json
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from contract_server import answers, routes, shell
from contract_server.answers import Answer, Invalid, NoAnswer
from contract_server.conversation import Conversation, tools_of
from contract_server.faults import Ended, Fault, Told

VERSION = "1.58.0"
OPEN = ("/", "/alive", "/health", "/ready", "/server_info", "/docs", "/redoc", "/openapi.json")
INIT_KEY, SESSION_KEY = "x-init-api-key", "x-session-api-key"

_CONVERSATIONS = "/api/conversations"
_BASH = "/api/bash/execute_bash_command"
_LAST_WITH_400 = (1, 43, 1)  # what it answers to a second DELETE; 1.58.0 answers 404
_SOCKET_GATED_SINCE = (1, 58, 0)


_INIT_FIELDS: dict[str, type | tuple[type, ...]] = {
    "session_api_keys": list,
    "secret_key": str,
    "previous_secret_keys": list,
    "conversations_path": str,
    "bash_events_dir": str,
    "conversation_worktree_root": str,
    "webhooks": list,
    "web_url": str,
    "allow_cors_origins": list,
    "max_concurrent_runs": int,
    "env": dict,
    "telemetry": dict,
}
_TEXT_LISTS = ("session_api_keys", "previous_secret_keys", "allow_cors_origins")


class Server:
    """One server with one fault. ``log`` prints bytes as they are; ``end`` ends it with an exit code."""

    def __init__(
        self,
        environment: Mapping[str, str],
        told: Told,
        log: Callable[[bytes], None],
        end: Callable[[int], object],
        version: str = VERSION,
    ) -> None:
        self.told = told
        self.fault = told.fault
        self.log = log
        self.end = end
        self.version = told.text() if told.fault is Fault.OTHER_VERSION else version
        self.deferred = environment.get("OH_DEFERRED_INIT", "").lower() in ("1", "true", "yes", "on")
        if self.fault is Fault.NOT_DEFERRED:
            self.deferred = False
        self.state = "dormant" if self.deferred and self.fault is not Fault.BOOTS_READY else "ready"
        if self.fault is Fault.NEVER_DORMANT:
            self.state = "initializing"
        self.error: str | None = None
        self.session_keys: list[str] = []
        self.conversations: dict[str, Conversation] = {}
        #: Called with the model's key when a conversation starts, in its thread, and before its end.
        self.at_conversation: Callable[[str], object] = lambda key: None
        self.before_end: Callable[[], object] = lambda: None
        self.closed = threading.Event()
        self.at_close: list[Callable[[], object]] = []
        self._failed_inits = 0
        self._environment = environment
        self._init_key = environment.get("OH_SECRET_KEY")
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of everybody who waits; only where the process goes on without the server."""
        self.closed.set()
        for let_go in self.at_close:
            let_go()
        for conversation in list(self.conversations.values()):
            conversation.deleted.set()

    # --- HTTP -------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request; ``headers`` have lower-case names. Raises ``NoAnswer``."""
        try:
            if path == routes.INIT:
                return self._init(method, headers, body)
            if path in OPEN:
                return self._open(method, path)
            return self._gated(method, path, query, headers, body)
        except Invalid as problem:
            return Answer(422, {"detail": [problem.problem]})

    def _open(self, method: str, path: str) -> Answer:
        if method != "GET":
            return answers.not_allowed({"GET"})
        if path == "/openapi.json":
            if self.fault is Fault.API_NOT_DESCRIBED:
                return Answer(200, {"openapi": "3.1.0"})
            return Answer(200, routes.openapi(self.version, OPEN[:5]))
        if path in ("/docs", "/redoc"):
            return Answer(200, "<!DOCTYPE html><html><title>OpenHands Agent Server</title></html>")
        if path in ("/alive", "/health"):
            return Answer(200, {"status": "ok"})
        if path == "/ready":
            shut = self.fault is Fault.OPEN_ROUTE_SHUT and self.state != "ready"
            return answers.server_error(503, "not ready") if shut else Answer(200, {"status": "ready"})
        return Answer(
            200,
            {
                "uptime": 1.0,
                "idle_time": 1.0,
                "title": "OpenHands Agent Server",
                "version": self.version,
                "sdk_version": self.version,
                "tools_version": self.version,
                "workspace_version": "unknown",
                "build_git_sha": self._environment.get("OPENHANDS_BUILD_GIT_SHA", "unknown"),
                "build_git_ref": self._environment.get("OPENHANDS_BUILD_GIT_REF", "unknown"),
                "python_version": sys.version.replace("\n", " "),
            },
        )

    def _init(self, method: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if self.fault is Fault.INIT_NEVER_ANSWERS:
            raise NoAnswer
        if method == "GET":
            return self._status() if self.deferred else answers.not_deferred()
        if method != "POST":
            return answers.not_allowed({"GET"})
        parsed = answers.parse(body)  # before the key is looked at, as FastAPI does
        if not self._may_init(headers.get(INIT_KEY)):
            if self.fault is Fault.REFUSED_INIT_COUNTS:
                self.state = "ready"
            return answers.unauthorized()
        request = self._read_init(parsed)
        if not self.deferred:
            return answers.not_deferred()
        return self._initialise(request)

    def _status(self) -> Answer:
        return Answer(200, {"state": self.state, "error": self.error})

    def _may_init(self, key: str | None) -> bool:
        if self.fault is Fault.INIT_401:
            return False
        if self.fault is Fault.KEY_NOT_NEEDED and key is None:
            return True
        if self.fault is Fault.WRONG_KEY_ACCEPTED and key is not None:
            return True
        if self.fault is Fault.SECOND_INIT_NEEDS_NO_KEY and self.state == "ready":
            return True
        return self._init_key is None or key == self._init_key

    def _read_init(self, body: Any) -> dict[str, Any]:
        request = answers.the_object(body)
        for name, value in request.items():
            if name not in _INIT_FIELDS:
                if self.fault is Fault.UNKNOWN_FIELD_ACCEPTED:
                    continue
                raise Invalid("extra_forbidden", "Extra inputs are not permitted", "body", name)
            items = value if name in _TEXT_LISTS and isinstance(value, list) else ()
            if value is not None and not isinstance(value, _INIT_FIELDS[name]):
                raise Invalid("type", "Input should be of another type", "body", name)
            if not all(isinstance(item, str) for item in items):
                raise Invalid("string_type", "Input should be a valid string", "body", name)
        runs = request.get("max_concurrent_runs")
        if runs is not None and runs < 1:
            what = "Input should be greater than or equal to 1"
            raise Invalid("greater_than_equal", what, "body", "max_concurrent_runs")
        if self.fault is Fault.INIT_422:
            raise Invalid("missing", "Field required", "body", "a_field_that_nobody_knows")
        return request

    def _initialise(self, request: dict[str, Any]) -> Answer:
        fault = self.fault
        with self._lock:
            if self.state != "dormant" and fault is not Fault.SECOND_INIT_ACCEPTED:
                return Answer(400, {"detail": f"server already in state: {self.state}"})
            keys = request.get("session_api_keys")
            if keys is not None and not all(keys):
                return Answer(422, {"detail": "session_api_keys cannot contain empty keys"})
            self.error = None
            failed = self._failure(str(request.get("conversations_path") or ""))
            if failed:
                self.error = failed
                self._failed_inits += 1
                return answers.server_error(500, failed)
            if fault in (Fault.INIT_HANGS, Fault.STAYS_INITIALIZING):
                self.state = "initializing"
            elif fault is Fault.INIT_SAYS_DORMANT:
                return self._status()
            else:
                self.session_keys = list(keys) if keys is not None else self.session_keys
                if fault is not Fault.INIT_LIES:
                    self.state = "ready"
        if fault is Fault.INIT_HANGS:
            raise NoAnswer
        return Answer(200, {"state": "ready", "error": None}) if fault is Fault.INIT_LIES else self._status()

    def _failure(self, conversations_path: str) -> str | None:
        """What this init fails with, if it does."""
        if self.fault is Fault.INIT_500 or (self.fault is Fault.INIT_500_ONCE and not self._failed_inits):
            return "OSError: [Errno 28] No space left on device: '/workspace/conversations'"
        if conversations_path.startswith("/proc/"):  # where the real server cannot make a folder either
            return f"FileNotFoundError: [Errno 2] No such file or directory: '{conversations_path}'"
        return None

    def _gated(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answer:
        methods = routes.methods_of(path)
        if not methods:
            return answers.not_found()
        if method not in methods:
            return answers.not_allowed(methods)
        # Before the gate, as FastAPI parses what is sent before it asks anything else.
        parsed = answers.parse(body) if body else None
        if self.state != "ready":
            if self.fault is Fault.GATE_OPEN and self.told.argument in ("", path):
                return Answer(200, {})
            return answers.server_error(
                503, f"server is in deferred-init state '{self.state}'; call POST /api/init first"
            )
        if not self.knows(headers.get(SESSION_KEY)):
            return answers.unauthorized()
        if path == _CONVERSATIONS or path.startswith(f"{_CONVERSATIONS}/"):
            return self._conversation(method, path.removeprefix(_CONVERSATIONS).strip("/"), query, parsed)
        if path == _BASH:
            return Answer(200, shell.execute(answers.the_object(parsed), self.fault))
        return Answer(501, {"detail": "the contract server has no such part"})

    def knows(self, key: str | None) -> bool:
        """Whether a request with this session key is let in."""
        if self.fault is Fault.SESSION_KEY_REFUSED:
            return False
        if self.fault is Fault.SESSION_KEYS_NOT_ENFORCED or not self.session_keys:
            return True
        return key in self.session_keys

    def _conversation(self, method: str, rest: str, query: str, body: Any) -> Answer:
        identity, _, part = rest.partition("/")
        options = parse_qs(query)
        if (method, rest) == ("POST", ""):
            return self._create(body)
        if (method, rest) == ("GET", ""):
            ids = options.get("ids")
            if not ids:
                raise Invalid("missing", "Field required", "query", "ids")
            found = (self.conversations.get(answers.the_uuid(one, "query", "ids")) for one in ids)
            return Answer(200, [one and one.info() for one in found])
        if (method, rest) == ("GET", "search"):
            return answers.page([one.info() for one in self.conversations.values()], options)
        if (method, rest) == ("GET", "count"):
            return Answer(200, len(self.conversations))
        identity = answers.the_uuid(identity, "path", "conversation_id")
        if (method, part) == ("DELETE", ""):
            return self._delete(identity)
        conversation = self.conversations.get(identity)
        if conversation is None:
            if part.startswith("events"):
                return Answer(404, {"detail": f"Conversation not found: {identity}"})
            return answers.not_found()
        if (method, part) == ("GET", "") and conversation.flap():
            return answers.server_error(503, "try again")
        if (method, part) == ("GET", ""):
            return Answer(200, conversation.info())
        if (method, part) == ("GET", "agent_final_response"):
            return Answer(200, {"response": conversation.response})
        if (method, part) == ("GET", "events/search"):
            return answers.page(list(conversation.events), options)
        if (method, part) == ("POST", "events"):
            return self._hear(conversation, answers.the_object(body))
        if (method, part) == ("GET", "events/count"):
            return Answer(200, len(conversation.events))
        return Answer(501, {"detail": "the contract server has no such part"})

    def _create(self, body: Any) -> Answer:
        request = answers.the_object(body)
        workspace = request.get("workspace")
        if not isinstance(workspace, dict):
            raise Invalid("missing", "Field required", "body", "workspace")
        asked = str(request.get("conversation_id") or uuid.uuid4())
        identity = answers.the_uuid(asked, "body", "conversation_id")
        if self.fault is Fault.CONVERSATION_500:
            return answers.server_error(500, "RuntimeError: no such agent")
        for tool in tools_of(request):
            if tool != shell.TOOL or self.fault is Fault.TERMINAL_MISSING:
                return answers.server_error(500, f"\"ToolDefinition '{tool}' is not registered\"")
        with self._lock:
            known = self.conversations.get(identity)
            if known:
                return Answer(200, known.info())
            conversation = self.conversations[identity] = Conversation(identity, request, self.told)
        info = conversation.info()
        if conversation.wants_run:
            threading.Thread(target=self._run, args=(conversation,), daemon=True).start()
        if self.fault is Fault.CONVERSATION_WITHOUT_ID:
            del info["id"]
        return Answer(201, info)

    def _hear(self, conversation: Conversation, message: dict[str, Any]) -> Answer:
        conversation.hear(message)
        if message.get("run"):
            threading.Thread(target=self._run, args=(conversation,), daemon=True).start()
        return Answer(200, {"success": True})

    def _run(self, conversation: Conversation) -> None:
        try:
            self.at_conversation(conversation.api_key)
        except Ended:
            return
        conversation.run(self.before_end)

    def _delete(self, identity: str) -> Answer:
        conversation = self.conversations.get(identity)
        if conversation is None:
            if self.fault is Fault.DELETES_TWICE:
                return Answer(200, {"success": True})
            old = _numbers(self.version) <= _LAST_WITH_400
            return Answer(400, {"detail": "Bad Request"}) if old else answers.not_found()
        if self.fault is Fault.DELETE_FAILS:
            return answers.server_error(500, "OSError: [Errno 39] Directory not empty")
        if self.fault is Fault.LEAVES_BEHIND:
            shell.leave_behind()
        if self.fault is not Fault.DELETE_KEEPS:
            del self.conversations[identity]
            conversation.deleted.set()
        if self.fault is Fault.CRASH_AFTER_DELETE:
            return Answer(200, {"success": True}, then=lambda: self.end(int(self.told.number())))
        return Answer(200, {"success": True})

    # --- the events socket ------------------------------------------------------------------------------

    def refuses_socket(self, query: str, headers: Mapping[str, str], identity: str) -> bool:
        """Whether the handshake is answered 403."""
        if self.fault is Fault.SOCKET_REFUSED:
            return True
        if self.state != "ready":
            gated = _numbers(self.version) >= _SOCKET_GATED_SINCE
            return gated and self.fault is not Fault.SOCKET_OPEN_WHILE_DORMANT
        try:
            answers.the_uuid(identity, "path", "conversation_id")
        except Invalid:
            return True
        key = socket_key(query, headers)
        return bool(self.session_keys) and key is not None and not self.knows(key)

    def knows_frame(self, text: str) -> bool:
        """Whether the first frame of a socket without a key carries one."""
        try:
            frame = json.loads(text)
        except ValueError:
            return False
        if not isinstance(frame, dict) or frame.get("type") != "auth":
            return False
        key = frame.get("session_api_key")
        return isinstance(key, str) and self.knows(key)


def socket_key(query: str, headers: Mapping[str, str]) -> str | None:
    """The session key that a handshake brings, where it brings one."""
    given = parse_qs(query, keep_blank_values=True).get("session_api_key")
    return given[0] if given else headers.get(SESSION_KEY)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())
