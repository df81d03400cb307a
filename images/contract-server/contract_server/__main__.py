"""The program of the image: ``contract-server --host H --port P``."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import time
from http.server import ThreadingHTTPServer
from typing import NoReturn

from contract_server import boot, faults, shell
from contract_server.faults import Fault, Told
from contract_server.server import Server
from contract_server.transport import handler

_USAGE = 64  # EX_USAGE of sysexits.h
_PIECE = 16 << 20


def main() -> None:
    """Serve until TERM comes, or the fault ends it."""
    parser = argparse.ArgumentParser(prog="contract-server", description="An agent-server to test against.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    process = _Process()
    try:
        told = faults.parse(os.environ.get("CONTRACT_FAULT", ""))
    except ValueError as error:
        process.write(f"CONTRACT_FAULT: {error}\n".encode())
        process.end(_USAGE)
    _heed_term(told)
    if told.fault is Fault.WORKSPACE_READ_ONLY:
        shell.WORKSPACE.chmod(0o555)
    boot.at_boot(told, process)
    server = Server(os.environ, told, process.write, process.end)
    http = _HttpServer((arguments.host, arguments.port), handler(server))
    boot.at_work(server, process, lambda: [os.environ.get("OH_SECRET_KEY", ""), *server.session_keys])
    process.write(f"contract-server {server.version}: listening, fault {told.fault.title}\n".encode())
    http.serve_forever()


class _HttpServer(ThreadingHTTPServer):
    request_queue_size = 128

    def server_bind(self) -> None:
        # HTTPServer's own also looks the host's name up, which takes seconds where DNS does not answer.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "contract-server", self.server_address[1]


class _Process:
    """``boot.Machine``, as it is."""

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(1, data) :]

    def end(self, code: int) -> NoReturn:
        os._exit(code)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def take_memory(self) -> NoReturn:
        taken = []
        while True:
            taken.append(b"\xff" * _PIECE)  # written to: memory that is only promised is not counted


def _heed_term(told: Told) -> None:
    if told.fault is Fault.IGNORES_TERM:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return
    code = int(told.number()) if told.fault is Fault.ENDS_BADLY else 128 + signal.SIGTERM
    # At once: nothing here is worth tidying up. A handler, as PID 1 has no default one.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(code))


if __name__ == "__main__":
    main()
