"""The program of the image: ``contract-server --host H --port P``."""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from urllib.parse import quote

from contract_server import faults
from contract_server.faults import Fault, Told
from contract_server.server import Server
from contract_server.transport import handler

_BOOT_SECONDS = 1.0
_CHUNK = 1 << 20
_LOG_BUFFER = 16 * 1024  # what Docker hands on at once of a line that is longer


def main() -> None:
    parser = argparse.ArgumentParser(prog="contract-server", description="An agent-server to test against.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    try:
        told = faults.parse(os.environ.get("CONTRACT_FAULT", ""))
    except ValueError as error:
        _end_with(64, f"CONTRACT_FAULT: {error}\n")
    _heed_term(told)
    server = Server(os.environ, told, write, os._exit)
    _at_boot(told)
    http = _HttpServer((arguments.host, arguments.port), handler(server))
    _at_work(server)
    write(f"contract-server {server.version}: listening, fault {told.fault.title}\n".encode())
    http.serve_forever()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self) -> None:
        # HTTPServer's own also looks the host's name up, which takes seconds where DNS does not answer.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "contract-server", self.server_address[1]


def write(data: bytes) -> None:
    """Print at once and whole; one call is one write(2) where the pipe takes it."""
    while data:
        data = data[os.write(1, data) :]


def _end_with(code: int, words: str) -> None:
    write(words.encode())
    os._exit(code)


def _heed_term(told: Told) -> None:
    if told.fault is Fault.IGNORES_TERM:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return
    code = int(told.number()) if told.fault is Fault.ENDS_BADLY else 128 + signal.SIGTERM
    # At once: nothing here is worth tidying up. A handler, as PID 1 has no default one.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(code))


def _at_boot(told: Told) -> None:
    fault = told.fault
    if fault is Fault.EXITS_AT_ONCE:
        _end_with(int(told.number()), "ImportError: no module named litellm\n")
    elif fault is Fault.EXITS_DURING_BOOT:
        write(b"booting\n")
        time.sleep(_BOOT_SECONDS)
        _end_with(int(told.number()), "RuntimeError: the disk is on fire\n")
    elif fault is Fault.BOOTS_SLOWLY:
        write(b"booting\n")
        time.sleep(told.number())
    elif fault is Fault.QEMU_SIGNAL and told.text() == "boot":
        _crash_as_qemu()
    elif fault is Fault.OUT_OF_MEMORY and told.text() == "boot":
        take_memory()
    elif fault is Fault.LIBRARY_MISSING:
        write(b"tmux: error while loading shared libraries: libevent.so.7: cannot open\n")


def _at_work(server: Server) -> None:
    """Start what goes on beside the answers, and say what happens when a conversation starts."""
    told, fault = server.told, server.fault
    at_conversation: dict[Fault, Callable[[str], object]] = {
        Fault.LOG_SECRET: lambda key: print_secrets(
            [key, os.environ.get("OH_SECRET_KEY", ""), *server.session_keys]
        ),
        Fault.LOG_GARBAGE: lambda key: _print_garbage(),
        Fault.DIES_IN_CONVERSATION: lambda key: _end_with(
            int(told.number()), "RuntimeError: the event loop is closed\n"
        ),
    }
    if fault in (Fault.QEMU_SIGNAL, Fault.OUT_OF_MEMORY):
        crash = _crash_as_qemu if fault is Fault.QEMU_SIGNAL else take_memory
        at_conversation[fault] = lambda key: crash()
    server.at_conversation = at_conversation.get(fault, server.at_conversation)
    if fault is Fault.LOG_GARBAGE:
        _print_garbage()
    if fault is Fault.LOG_FLOOD:
        flood = threading.Thread(target=_flood, args=(int(told.number()),), daemon=True)
        flood.start()
        server.before_end = flood.join


def _crash_as_qemu() -> None:
    _end_with(139, "qemu: uncaught target signal 11 (Segmentation fault) - core dumped\n")


def take_memory() -> None:
    """Take memory, and use it, until the kernel ends the process."""
    taken = []
    while True:
        taken.append(b"\xff" * _CHUNK * 16)


def _flood(size: int) -> None:
    line = b"the log of a server that has a lot to say, and says it again and again and again and on\n"
    block = line * (_CHUNK // len(line))
    while size > 0:
        write(block[:size])
        size -= len(block)


def _print_garbage() -> None:
    write(b"not UTF-8: \xff\xfe\xc3\x28 \x80\n")
    write(
        b"control: \x00\x07\x08\x1b[31mred\x1b[0m \x1b]0;a title\x07 \x1b[2J\r\nhalf a character: \xe2\x82\n"
    )


def print_secrets(secrets: list[str]) -> None:
    """Print each in every form in which a log might have it."""
    for secret in filter(None, secrets):
        print_secret(secret)


def print_secret(secret: str) -> None:
    encoded = base64.b64encode(secret.encode()).decode()
    forms = {
        "raw": secret,
        "url": quote(secret, safe=""),
        "base64": encoded,
        "basic": base64.b64encode(f"user:{secret}".encode()).decode(),
        "json": json.dumps({"authorization": f"Bearer {secret}"}),
    }
    for name, form in forms.items():
        write(f"{name}: {form}\n".encode())
    half = len(secret) // 2
    write(f"two writes: {secret[:half]}".encode())
    time.sleep(0.05)
    write(f"{secret[half:]}\n".encode())
    # A long line comes in pieces: the secret lies on the border of two.
    write(b"." * (_LOG_BUFFER - half) + secret.encode() + b"\n")


if __name__ == "__main__":
    main()
