"""What the server does to its process: how it boots, dies, eats memory and prints."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import NoReturn, Protocol
from urllib.parse import quote

from contract_server.faults import Fault, Told
from contract_server.server import Server

BOOT_SECONDS = 1.0
_CHUNK = 1 << 20
_LOG_BUFFER = 16 * 1024  # what Docker hands on at once of a line that is longer


class Machine(Protocol):
    """The process and what it runs on."""

    def write(self, data: bytes) -> None:
        """Print at once."""
        ...

    def end(self, code: int) -> NoReturn:
        """End the whole process, from whatever thread; raises ``Ended`` where that takes a moment."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait while booting."""
        ...

    def take_memory(self) -> NoReturn:
        """Take memory until the kernel ends the process; raises as ``end`` does."""
        ...


def at_boot(told: Told, machine: Machine) -> None:
    """What goes wrong before the server listens."""
    fault = told.fault
    if fault is Fault.EXITS_AT_ONCE:
        _end(machine, int(told.number()), "ImportError: no module named litellm")
    elif fault is Fault.EXITS_DURING_BOOT:
        machine.pause(BOOT_SECONDS)
        _end(machine, int(told.number()), "ImportError: the disk is on fire")
    elif fault is Fault.BOOTS_SLOWLY:
        machine.pause(told.number())
    elif fault is Fault.QEMU_SIGNAL and told.text() in ("boot", "at-once"):
        machine.pause(BOOT_SECONDS if told.text() == "boot" else 0)
        _crash_as_qemu(machine)
    elif fault is Fault.OUT_OF_MEMORY and told.text() == "boot":
        machine.take_memory()
    elif fault is Fault.LIBRARY_MISSING:
        machine.write(b"tmux: error while loading shared libraries: libevent.so.7: cannot open\n")


def at_work(server: Server, machine: Machine, secrets: Callable[[], list[str]]) -> None:
    """Start what goes on beside the answers, and say what happens when a conversation starts.

    ``secrets`` gives what the server was told besides the model's key.
    """
    told, fault = server.told, server.fault
    at_conversation: dict[Fault, Callable[[str], object]] = {
        Fault.LOG_SECRET: lambda key: _print_secrets([key, *secrets()], machine.write),
        Fault.LOG_GARBAGE: lambda key: _print_garbage(machine.write),
        Fault.DIES_IN_CONVERSATION: lambda key: _end(
            machine, int(told.number()), "RuntimeError: the event loop is closed"
        ),
        Fault.QEMU_SIGNAL: lambda key: _crash_as_qemu(machine),
        Fault.OUT_OF_MEMORY: lambda key: machine.take_memory(),
    }
    server.at_conversation = at_conversation.get(fault, server.at_conversation)
    if fault is Fault.LOG_GARBAGE:
        _print_garbage(machine.write)
    if fault is Fault.LOG_FLOOD:
        flood = threading.Thread(target=_flood, args=(int(told.number()), machine.write), daemon=True)
        flood.start()
        server.before_end = flood.join


def _end(machine: Machine, code: int, words: str) -> NoReturn:
    machine.write(f"{words}\n".encode())
    machine.end(code)


def _crash_as_qemu(machine: Machine) -> NoReturn:
    _end(machine, 139, "qemu: uncaught target signal 11 (Segmentation fault) - core dumped")


def _flood(size: int, write: Callable[[bytes], None]) -> None:
    line = b"the log of a server that has a lot to say, and says it again and again and again and on\n"
    block = line * (_CHUNK // len(line))
    while size > 0:
        write(block[:size])
        size -= len(block)


def _print_garbage(write: Callable[[bytes], None]) -> None:
    write(b"not UTF-8: \xff\xfe\xc3\x28 \x80\n")
    write(b"control: \x00\x07\x08\x1b[31mred\x1b[0m \x1b]0;a title\x07 \x1b[2J\r\n")
    write(b"half a character: \xe2\x82\n")


def _print_secrets(secrets: list[str], write: Callable[[bytes], None]) -> None:
    for secret in filter(None, secrets):
        print_secret(secret, write)


def print_secret(secret: str, write: Callable[[bytes], None]) -> None:
    """Print a secret in every form in which a log might have it."""
    forms = {
        "raw": secret,
        "url": quote(secret, safe=""),
        "base64": base64.b64encode(secret.encode()).decode(),
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
