"""Can this engine run a platform's programs? Found by running one.

Nothing is pulled: the program is an ELF file of some 130 bytes made here, whose only act is to exit with 42
(https://refspecs.linuxfoundation.org/elf/elf.pdf; the numbers are Linux's system calls).
"""

from __future__ import annotations

import io
import struct
import tarfile
from dataclasses import dataclass

from e2e_matrix.engine.base import PlatformProbe, Support
from e2e_matrix.engine.platforms import normal

# How what a probe makes on an engine is named and labelled (LABEL_RUN): clean.py finds it so.
REPOSITORY = "e2e-matrix-probe"
RUN = "probe"

EXIT_CODE = 42
PROGRAM = "/exit-42"

_BASE = 0x10000  # where the only segment is loaded
_HEADERS = 64 + 56


@dataclass(frozen=True)
class _Target:
    machine: int  # e_machine
    code: bytes


_TARGETS = {
    "linux/amd64": _Target(
        62,
        b"\xbf\x2a\x00\x00\x00"  # mov edi, 42
        b"\xb8\x3c\x00\x00\x00"  # mov eax, 60 (exit)
        b"\x0f\x05",  # syscall
    ),
    "linux/arm64": _Target(
        183,
        b"\x40\x05\x80\xd2"  # mov x0, #42
        b"\xa8\x0b\x80\xd2"  # mov x8, #93 (exit)
        b"\x01\x00\x00\xd4",  # svc #0
    ),
}


def program(platform: str) -> bytes | None:
    """A static ELF that exits with 42; None for a platform that there is none for."""
    target = _TARGETS.get(normal(platform))
    if target is None:
        return None
    size = _HEADERS + len(target.code)
    ident = b"\x7fELF" + bytes((2, 1, 1))  # 64-bit, little endian, version 1
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, target.machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return header + segment + target.code


def image_tar(platform: str) -> bytes | None:
    """A file system with ``program(platform)`` at PROGRAM, as ``docker import`` takes it."""
    content = program(platform)
    if content is None:
        return None
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(PROGRAM.lstrip("/"))
        entry.size, entry.mode = len(content), 0o755
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def verdict(platform: str, engine_platform: str, exit_code: int | None, said: str) -> PlatformProbe:
    """What a run of the program means; ``exit_code`` None when it could not be started, ``said`` is why."""
    wanted, own = normal(platform), normal(engine_platform)
    if exit_code == EXIT_CODE:
        if wanted == own:
            return PlatformProbe(platform, Support.NATIVE, f"a {wanted} program ran on this {own} engine")
        return PlatformProbe(
            platform, Support.EMULATED, f"a {wanted} program ran on this {own} engine, through emulation"
        )
    came = said or f"it ended with {exit_code} instead of {EXIT_CODE}"
    return PlatformProbe(
        platform, Support.UNSUPPORTED, f"a {wanted} program did not run on this {own} engine: {came}"
    )


def unprobed(platform: str, engine_platform: str) -> PlatformProbe:
    """The answer by comparison, for a platform that there is no program for."""
    wanted, own = normal(platform), normal(engine_platform)
    if wanted == own:
        return PlatformProbe(platform, Support.NATIVE, f"the engine's own platform is {own}")
    return PlatformProbe(
        platform,
        Support.UNSUPPORTED,
        f"nothing was run: there is no probe program for {wanted}, and the engine's own platform is {own}",
    )


def tag(platform: str) -> str:
    """The platform as an image's tag: "linux-arm64"."""
    return normal(platform).replace("/", "-")
