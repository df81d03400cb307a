"""Emulation of the other architecture: what the kernel has registered, and registering it.

The kernel starts a binary of another architecture with the interpreter that is registered in binfmt_misc
(https://docs.kernel.org/admin-guide/binfmt-misc.html). Inside a container the interpreter's path does not
exist, so flag F is needed: it makes the kernel open the interpreter when it is registered.
"""

from __future__ import annotations

from dataclasses import dataclass

from e2e_matrix.local.machine import Machine
from e2e_matrix.local.packages import Say, install_command

PACKAGES = ("qemu-user-static", "binfmt-support")
_FOLDER = "/proc/sys/fs/binfmt_misc"


@dataclass(frozen=True)
class Emulator:
    """The platform that a machine can only emulate, and the name of its binfmt_misc entry."""

    platform: str
    entry: str


@dataclass(frozen=True)
class Registration:
    """One entry of binfmt_misc, as the kernel shows it."""

    interpreter: str
    flags: str
    enabled: bool

    @property
    def usable(self) -> bool:
        return self.enabled and "F" in self.flags


def foreign(machine: Machine) -> Emulator | None:
    """What has to be emulated on this machine, of the two platforms that the images are published for."""
    return {
        "x86_64": Emulator("linux/arm64", "qemu-aarch64"),
        "aarch64": Emulator("linux/amd64", "qemu-x86_64"),
    }.get(machine.architecture)


def registration(machine: Machine, emulator: Emulator) -> Registration | None:
    """The kernel's entry for an emulator; None when there is none, or binfmt_misc is not mounted."""
    try:
        text = machine.path(f"{_FOLDER}/{emulator.entry}").read_text()
    except OSError:
        return None
    lines = text.splitlines()
    values = dict(line.split(" ", 1) for line in lines if " " in line)
    return Registration(values.get("interpreter", ""), values.get("flags:", ""), lines[:1] == ["enabled"])


def is_ready(machine: Machine, emulator: Emulator) -> bool:
    found = registration(machine, emulator)
    return found is not None and found.usable


def is_installed(machine: Machine, emulator: Emulator) -> bool:
    """Whether the emulator and a way to register it are there."""
    return any(machine.which(f"{emulator.entry}{end}") for end in ("-static", "")) and (
        machine.path(_line_file(emulator)).exists() or machine.which("update-binfmts") is not None
    )


def enable(machine: Machine, emulator: Emulator, say: Say) -> bool:
    """Mount binfmt_misc where it is not, and register the emulator. As root, with the packages installed.

    Returns whether the kernel now has it; what kept it from happening is said.
    """
    say(f"registering {emulator.entry} with the kernel, so that containers of {emulator.platform} can run")
    complaints: list[str] = []

    def attempt(*command: str) -> None:
        ended = machine.run(command, timeout=30)
        if ended.exit_code != 0:
            complaints.append(f"{' '.join(command)}: {ended.output or f'exit code {ended.exit_code}'}")

    register = machine.path(f"{_FOLDER}/register")
    if not register.exists():
        attempt("modprobe", "binfmt_misc")
        attempt("mount", "-t", "binfmt_misc", "binfmt_misc", _FOLDER)
        if is_ready(machine, emulator):
            return True
    try:
        if registration(machine, emulator) is not None:
            # Something registered it without F or switched it off; an entry's flags never change, so drop it.
            machine.path(f"{_FOLDER}/{emulator.entry}").write_text("-1")
        line_file = machine.path(_line_file(emulator))
        if line_file.exists():
            register.write_text(line_file.read_text())
        else:
            attempt("update-binfmts", "--enable", emulator.entry)  # older packages know only this way
    except OSError as error:
        complaints.append(str(error))
    if is_ready(machine, emulator):
        return True
    say(f"the kernel did not take {emulator.entry}: {'; '.join(complaints) or 'no reason given'}")
    return False


def by_hand(machine: Machine, emulator: Emulator) -> list[str]:
    """The commands for a person; none where we do not know the machine's package manager."""
    if not machine.is_debian:
        return []
    commands = [] if is_installed(machine, emulator) else [install_command(PACKAGES)]
    if machine.has_systemd:
        return [*commands, "sudo systemctl restart systemd-binfmt"]
    if not machine.path(f"{_FOLDER}/register").exists():
        commands.append(f"sudo mount -t binfmt_misc binfmt_misc {_FOLDER}")
    return [*commands, f"sudo sh -c 'cat {_line_file(emulator)} >{_FOLDER}/register'"]


def _line_file(emulator: Emulator) -> str:
    """Where the package keeps the line for the kernel, in binfmt.d(5)'s format, which is the kernel's own."""
    return f"/usr/lib/binfmt.d/{emulator.entry}.conf"
