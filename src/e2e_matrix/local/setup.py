"""Makes this machine ready: an engine, emulation, and what builds and serves the local images.

Whatever is already there is left alone; with nothing missing this takes a fraction of a second.
"""

from __future__ import annotations

from e2e_matrix.errors import EngineUnavailable, InfrastructureError
from e2e_matrix.local import emulation, engine_setup, packages
from e2e_matrix.local.machine import Machine
from e2e_matrix.local.packages import Apt, Need, Say

_CHROMIUMS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def ensure(say: Say, for_tests: bool = False, images: bool = True, machine: Machine | None = None) -> None:
    """Make sure of an engine and, as far as possible, of emulation; install what is missing where we may.

    ``images`` adds what the local images are built with and served by, ``for_tests`` what only tests use: a
    browser, a clock that can be set, the means of a second engine. ``say`` is told what is done and why, and
    of everything that stays missing without keeping a run from happening.

    Errors: EngineUnavailable or InfrastructureError (exit code 3) with the exact commands for a person.
    """
    machine = machine or Machine()
    engine = engine_setup.look()
    if engine.trouble and not engine.startable:
        raise engine.trouble
    required = _for_engine(machine, engine) + (_for_images(machine) if images else [])
    wished = _for_emulation(machine, engine) + (_for_tests(machine) if for_tests else [])
    if machine.is_root and machine.is_debian:
        apt = Apt(machine, say)
        apt.install(required)
        try:
            apt.install(wished)
        except InfrastructureError as error:
            say(f"going on without it: {error}")
    elif required or (engine.trouble and not machine.is_root):
        raise _by_hand(machine, engine, required + wished)
    if engine.trouble:
        engine_setup.start(machine, say)
        engine = engine_setup.look()
    _ensure_emulation(machine, engine, say)
    if for_tests and not _browser(machine):
        say(f"no browser: the browser tests need chromium or google-chrome. {_browser_by_hand(machine)}")


def _for_engine(machine: Machine, engine: engine_setup.Found) -> list[Need]:
    if engine.trouble is None or machine.which("dockerd"):
        return []
    return [Need((engine_setup.PACKAGE,), f"because no container engine answers at {engine.address}")]


def _for_images(machine: Machine) -> list[Need]:
    building = [
        name
        for name, there in (
            ("mmdebstrap", machine.which("mmdebstrap") is not None),
            ("debian-archive-keyring", machine.path(_KEYRING).exists()),
        )
        if not there
    ]
    needs = [Need(tuple(building), "to build the local images")] if building else []
    if machine.which("docker-registry") is None:
        needs.append(Need(("docker-registry",), "to serve the local images (its service stays off)"))
    return needs


def _for_emulation(machine: Machine, engine: engine_setup.Found) -> list[Need]:
    emulator = emulation.foreign(machine)
    if emulator is None or emulation.is_ready(machine, emulator) or _is_elsewhere(machine, engine):
        return []
    if emulation.is_installed(machine, emulator):
        return []
    return [Need(emulation.PACKAGES, f"to run the {emulator.platform} images under emulation")]


def _for_tests(machine: Machine) -> list[Need]:
    needs: list[Need] = []
    if not _browser(machine) and not machine.is_ubuntu:
        needs.append(Need(("chromium",), "to test the report in a real browser"))
    if machine.which("faketime") is None:
        needs.append(Need(("faketime",), "to test runs during which the clock is set"))
    if machine.which("ip") is None:
        needs.append(Need(("iproute2",), "to test runs on an engine that is restarted: a second one"))
    return needs


def _browser(machine: Machine) -> str | None:
    return next((found for name in _CHROMIUMS if (found := machine.which(name))), None)


def _browser_by_hand(machine: Machine) -> str:
    if machine.is_ubuntu:
        return "Ubuntu's package is a snap (`sudo snap install chromium`); Google's .deb will do as well."
    return f"Run: {packages.install_command(['chromium'])}" if machine.is_debian else ""


def _is_elsewhere(machine: Machine, engine: engine_setup.Found) -> bool:
    """Whether the engine runs on another kernel than ours: a remote one, or one in a virtual machine."""
    return engine.trouble is None and engine.kernel != machine.kernel


def _ensure_emulation(machine: Machine, engine: engine_setup.Found, say: Say) -> None:
    emulator = emulation.foreign(machine)
    if emulator is None or _is_elsewhere(machine, engine) or emulation.is_ready(machine, emulator):
        return
    if (
        machine.is_root
        and emulation.is_installed(machine, emulator)
        and emulation.enable(machine, emulator, say)
    ):
        return
    say(f"no emulation: the cells of {emulator.platform} will be reported `unsupported`")
    commands = emulation.by_hand(machine, emulator)
    for line in ["to add it, run these:", *commands] if commands else ["to add it, install QEMU's user mode"]:
        say(f"    {line}")


def _by_hand(machine: Machine, engine: engine_setup.Found, needs: list[Need]) -> InfrastructureError:
    """One message with every command: who has to type one of them can as well type all."""
    names = [package for need in needs for package in need.packages]
    if names and not machine.is_debian:
        return engine.trouble or InfrastructureError(
            f"missing: {', '.join(names)}, which build and serve the local images",
            "That takes Debian or Ubuntu. The published images need none of it: `e2e-matrix run --ref REF`.",
        )
    commands = [packages.install_command(names)] if names else []
    lacking = [f"{', '.join(need.packages)} {need.why}" for need in needs]
    if engine.trouble:
        commands += engine_setup.start_by_hand(machine)
        lacking = lacking or [f"a running container engine at {engine.address}"]
    message = "\n    ".join(["this machine lacks, and only root may add:", *lacking])
    fix = "\n    ".join(["Run these, then try again:", *commands])
    return (EngineUnavailable if engine.trouble else InfrastructureError)(message, fix)
