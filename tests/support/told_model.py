"""A model that answers each call as its path tells it to: ``/429/v1/chat/completions`` with 429."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 10,
    "total_tokens": 1010,
    "prompt_tokens_details": {"cached_tokens": 400},
}


# As Azure and as OpenAI have them: message, code.
REFUSALS = {
    "filtered": ("The response was filtered by the content management policy.", "content_filter"),
    "policy": ("Your request was rejected by our safety system.", "content_policy_violation"),
}


class ToldModel:
    """See ``told_model``. ``calls`` are (what was told, when in monotonic seconds, the body)."""

    def __init__(self, host: str) -> None:
        self.calls: list[tuple[str, float, Any]] = []
        self.stopped = threading.Event()
        self.server = ThreadingHTTPServer((host, 0), _handler(self))

    def base_url(self, host: str, told: str) -> str:
        """What a client is given, ``host`` being how it reaches this machine. Told may be a status, ``hang``,
        ``cut`` (half an answer), ``filtered`` and ``policy`` (a content filter's 400), ``html``, ``empty``
        (no choices), ``no-usage`` and ``cached``."""
        return f"http://{host}:{self.server.server_address[1]}/{told}/v1"


@contextmanager
def told_model(host: str) -> Iterator[ToldModel]:
    """A model that listens on ``host`` while the block runs."""
    model = ToldModel(host)
    thread = threading.Thread(target=model.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield model
    finally:
        model.stopped.set()
        model.server.shutdown()
        model.server.server_close()
        thread.join(5)


def completion(**changes: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "42"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-told",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [choice],
        **changes,
    }


def _handler(model: ToldModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = self.path.split("/")[1]
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            model.calls.append((told, time.monotonic(), json.loads(body)))
            if told == "hang":
                model.stopped.wait(30)
            elif told == "cut":
                self._send(200, b'{"id":', length=1000)
            elif told == "html":
                self._send(200, b"<html>")
            elif told in REFUSALS:
                message, code = REFUSALS[told]
                error = {"message": message, "type": "invalid_request_error", "code": code}
                self._send(400, json.dumps({"error": error}).encode())
            elif told.isdecimal():
                error = {"message": f"told to {told}", "type": "told", "code": "told"}
                self._send(int(told), json.dumps({"error": error}).encode())
            else:
                special: dict[str, dict[str, Any]] = {"empty": {"choices": []}, "cached": {"usage": USAGE}}
                changes = special.get(told, {})
                self._send(200, json.dumps(completion(**changes)).encode())

        def _send(self, status: int, body: bytes, length: int | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(length or len(body)))
            if status == 429:
                self.send_header("Retry-After", "1")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """``calls`` says it better."""

    return Handler
