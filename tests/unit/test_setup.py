"""Setup on machines that lack one thing each: what it says, does and refuses to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e_matrix.errors import EXIT_INFRASTRUCTURE, EngineUnavailable, InfrastructureError
from e2e_matrix.local import engine_setup, setup
from e2e_matrix.local.machine import Completed, Machine
from support.fake_machine import DEBIAN, EMULATOR, FEDORA, READY, UBUNTU, FakeMachine
from support.unix_engine import serving


@pytest.fixture
def socket_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where this machine's engine should be: the usual socket, as far as setup can tell."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are too long for a socket's name
        path = Path(folder, "docker.sock")
        monkeypatch.setattr(engine_setup, "DEFAULT_SOCKET", str(path))
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield path


@pytest.fixture
def engine(socket_path: Path) -> Iterator[Path]:
    with serving(socket_path):
        yield socket_path


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[FakeMachine]:
    machine = FakeMachine(tmp_path)
    yield machine
    for daemon in machine.spawned:
        daemon.kill()
        daemon.wait()


def ensure(machine: FakeMachine, **options: bool) -> str:
    said: list[str] = []
    setup.ensure(said.append, machine=machine, **options)
    return "\n".join(said)


@pytest.mark.usefixtures("engine")
def test_nothing_missing_nothing_done(machine: FakeMachine) -> None:
    assert ensure(machine, for_tests=True) == ""
    assert machine.commands == []


@pytest.mark.usefixtures("engine")
def test_all_that_is_missing_is_named_with_its_reason_and_installed_after_one_update(
    machine: FakeMachine,
) -> None:
    machine.programs = {"apt-get", "dockerd"}
    machine.path(EMULATOR).unlink()
    machine.path("/usr/share/keyrings/debian-archive-keyring.gpg").unlink()
    said = ensure(machine, for_tests=True)
    assert machine.installed() == [
        *("mmdebstrap", "debian-archive-keyring", "docker-registry"),
        *("qemu-user-static", "binfmt-support", "chromium", "faketime", "iproute2"),
    ]
    assert [command[:2] for command in machine.commands].count(("apt-get", "update")) == 1
    assert "installing mmdebstrap, debian-archive-keyring to build the local images" in said
    assert "installing chromium to test the report in a real browser" in said


@pytest.mark.usefixtures("engine")
def test_without_images_their_tools_are_not_installed(machine: FakeMachine) -> None:
    machine.programs -= {"mmdebstrap", "docker-registry"}
    ensure(machine, images=False)
    assert machine.commands == []


@pytest.mark.usefixtures("engine")
def test_services_stay_off_while_packages_are_installed(machine: FakeMachine) -> None:
    machine.programs -= {"docker-registry"}
    policy = machine.path("/usr/sbin/policy-rc.d")
    seen: list[int] = []
    machine.effects["apt-get"] = lambda: seen.append(
        subprocess.run([policy], check=False).returncode if policy.exists() else 0
    )
    ensure(machine)
    assert seen == [0, 101]  # not yet at the update, then at the installation
    assert not policy.exists()


@pytest.mark.usefixtures("engine")
def test_a_policy_that_is_there_already_stays(machine: FakeMachine) -> None:
    machine.programs -= {"docker-registry"}
    policy = machine.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n")
    ensure(machine)
    assert policy.read_text() == "#!/bin/sh\nexit 101\n"


@pytest.mark.usefixtures("engine")
def test_the_registrys_own_service_is_switched_off_where_systemd_runs(machine: FakeMachine) -> None:
    machine.programs -= {"docker-registry"}
    machine.path("/run/systemd/system").mkdir(parents=True)
    ensure(machine)
    assert ("systemctl", "disable", "docker-registry.service") in machine.commands


@pytest.mark.usefixtures("engine")
def test_apts_own_words_are_shown_when_it_fails(machine: FakeMachine) -> None:
    machine.programs -= {"mmdebstrap"}
    machine.answers["apt-get"] = Completed(100, "E: Unable to locate package mmdebstrap")
    with pytest.raises(InfrastructureError, match="Unable to locate package mmdebstrap") as caught:
        ensure(machine)
    assert caught.value.exit_code == EXIT_INFRASTRUCTURE
    assert "sudo apt-get update && sudo apt-get install -y --no-install-recommends mmdebstrap" in str(
        caught.value
    )


@pytest.mark.usefixtures("engine")
def test_what_is_only_wished_for_may_fail(machine: FakeMachine) -> None:
    machine.programs -= {"chromium"}
    machine.answers["apt-get"] = Completed(100, "E: Unable to locate package chromium")
    said = ensure(machine, for_tests=True)
    assert "going on without it: apt-get could not install chromium" in said
    assert "no browser" in said


@pytest.mark.usefixtures("engine")
def test_somebody_else_than_root_gets_the_commands(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, as_root=False)
    machine.programs -= {"mmdebstrap", "docker-registry"}
    with pytest.raises(InfrastructureError) as caught:
        ensure(machine)
    assert caught.value.exit_code == EXIT_INFRASTRUCTURE
    assert "--no-install-recommends mmdebstrap docker-registry" in caught.value.fix
    assert machine.commands == []


@pytest.mark.usefixtures("engine")
def test_another_distribution_is_told_what_works_there(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, release=FEDORA)
    machine.programs = {"dockerd"}
    with pytest.raises(InfrastructureError, match="Debian or Ubuntu") as caught:
        ensure(machine)
    assert "apt-get" not in str(caught.value)


def test_a_missing_engine_is_installed_and_started_and_outlives_us(
    machine: FakeMachine, socket_path: Path
) -> None:
    machine.programs -= {"dockerd"}
    machine.effects["apt-get"] = lambda: machine.programs.add("dockerd")
    machine.will_start(socket_path)
    said = ensure(machine)
    assert machine.installed() == ["docker.io"]
    assert f"installing docker.io because no container engine answers at unix://{socket_path}" in said
    assert str(machine.path(engine_setup.LOG)) in said
    (daemon,) = machine.spawned
    assert os.getsid(daemon.pid) == daemon.pid
    assert ensure(machine) == ""


def test_an_installed_engine_is_only_started(machine: FakeMachine, socket_path: Path) -> None:
    machine.will_start(socket_path)
    ensure(machine)
    assert machine.installed() == []
    assert len(machine.spawned) == 1


def test_a_socket_that_nobody_listens_on_is_an_engine_that_does_not_run(
    machine: FakeMachine, socket_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(socket_path))
    machine.dockerd = (sys.executable, "-c", "print('no room for cgroups'); raise SystemExit(7)")
    with pytest.raises(EngineUnavailable, match="exit code 7") as caught:
        ensure(machine)
    assert "no room for cgroups" in str(caught.value)
    assert str(machine.path(engine_setup.LOG)) in caught.value.fix


def test_a_pid_file_without_its_daemon_is_removed_before_the_start(
    machine: FakeMachine, socket_path: Path
) -> None:
    left_over = machine.write("/var/run/docker.pid", "1")
    machine.write("/proc/1/comm", "init\n")
    machine.will_start(socket_path)
    ensure(machine)
    assert not left_over.exists()


def test_the_pid_file_of_a_daemon_that_runs_stays(machine: FakeMachine, socket_path: Path) -> None:
    kept = machine.write("/var/run/docker.pid", "1")
    machine.write("/proc/1/comm", "dockerd\n")
    machine.will_start(socket_path)
    ensure(machine)
    assert kept.exists()


def test_systemd_starts_the_engine_where_it_runs(machine: FakeMachine, socket_path: Path) -> None:
    machine.path("/run/systemd/system").mkdir(parents=True)
    machine.answers["systemctl"] = Completed(1, "Unit docker.service is masked.")
    with pytest.raises(EngineUnavailable, match=r"Unit docker\.service is masked") as caught:
        ensure(machine)
    assert machine.commands == [("systemctl", "start", "docker")]
    assert "journalctl -u docker" in caught.value.fix


@pytest.mark.parametrize(
    ("systemd", "command"),
    [(True, "sudo systemctl start docker"), (False, "setsid dockerd")],
    ids=["systemd", "no systemd"],
)
@pytest.mark.usefixtures("socket_path")
def test_without_root_a_missing_engine_is_a_list_of_commands(
    tmp_path: Path, systemd: bool, command: str
) -> None:
    machine = FakeMachine(tmp_path, release=UBUNTU, as_root=False)
    machine.programs -= {"dockerd", "mmdebstrap"}
    if systemd:
        machine.path("/run/systemd/system").mkdir(parents=True)
    with pytest.raises(EngineUnavailable) as caught:
        ensure(machine)
    assert caught.value.exit_code == EXIT_INFRASTRUCTURE
    for expected in ("docker.io mmdebstrap", command, "usermod -aG docker"):
        assert expected in caught.value.fix
    assert machine.commands == []


def test_a_socket_that_may_not_be_opened_says_so_and_installs_nothing(
    machine: FakeMachine, engine: Path
) -> None:
    engine.chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)  # root may open anything
    try:
        with pytest.raises(EngineUnavailable, match="permission denied") as caught:
            ensure(machine)
    finally:
        os.seteuid(before)
    assert "usermod -aG docker" in caught.value.fix
    assert machine.commands == []


def test_an_engine_that_is_too_old_says_so_and_installs_nothing(
    machine: FakeMachine, socket_path: Path
) -> None:
    with serving(socket_path, api="1.39"), pytest.raises(EngineUnavailable, match="too old"):
        ensure(machine)
    assert machine.commands == []


def test_an_address_of_a_persons_own_is_never_started(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    with pytest.raises(EngineUnavailable, match="/nonexistent"):
        ensure(machine)
    assert machine.commands == []
    assert machine.spawned == []


@pytest.mark.usefixtures("engine")
def test_an_emulator_that_is_not_registered_is(machine: FakeMachine) -> None:
    entry = machine.path(EMULATOR)
    entry.unlink()
    machine.effects["update-binfmts"] = lambda: entry.write_text(READY)
    assert "qemu-aarch64" in ensure(machine)
    assert machine.commands == [("update-binfmts", "--enable", "qemu-aarch64")]


@pytest.mark.usefixtures("engine")
def test_the_kernels_line_is_taken_from_the_package_where_it_has_one(machine: FakeMachine) -> None:
    machine.path(EMULATOR).unlink()
    line = ":qemu-aarch64:M::x:y:/usr/libexec/qemu-binfmt/aarch64-binfmt-P:OPF\n"
    machine.write("/usr/lib/binfmt.d/qemu-aarch64.conf", line)
    said = ensure(machine)
    assert machine.path("/proc/sys/fs/binfmt_misc/register").read_text() == line
    assert "the kernel did not take qemu-aarch64" in said  # this kernel is a folder


@pytest.mark.usefixtures("engine")
def test_binfmt_misc_is_mounted_first_where_it_is_not(machine: FakeMachine) -> None:
    entry, register = machine.path(EMULATOR), machine.path("/proc/sys/fs/binfmt_misc/register")
    entry.unlink()
    register.unlink()
    machine.effects["mount"] = lambda: entry.write_text(READY)
    ensure(machine)
    assert [command[0] for command in machine.commands] == ["modprobe", "mount"]


@pytest.mark.usefixtures("engine")
def test_an_entry_without_flag_f_is_registered_anew(machine: FakeMachine) -> None:
    entry = machine.write(EMULATOR, READY.replace("POF", "P"))
    seen: list[str] = []

    def update_binfmts() -> None:
        seen.append(entry.read_text())
        entry.write_text(READY)

    machine.effects["update-binfmts"] = update_binfmts
    ensure(machine)
    assert seen == ["-1"]  # the kernel's word for: remove this entry


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("release", [DEBIAN, FEDORA])
def test_without_root_missing_emulation_is_only_a_warning(tmp_path: Path, release: str) -> None:
    machine = FakeMachine(tmp_path, release=release, as_root=False)
    machine.path(EMULATOR).unlink()
    said = ensure(machine)
    assert "the cells of linux/arm64 will be reported `unsupported`" in said
    assert ("binfmt.d/qemu-aarch64.conf" in said) == (release == DEBIAN)
    assert machine.commands == []


def test_the_emulation_of_another_machines_engine_is_not_our_business(
    machine: FakeMachine, socket_path: Path
) -> None:
    machine.path(EMULATOR).unlink()
    with serving(socket_path, kernel="9.9.9-elsewhere"):
        assert ensure(machine) == ""
    assert machine.commands == []


@pytest.mark.usefixtures("engine")
def test_ubuntus_chromium_is_a_snap_and_left_to_the_person(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path, release=UBUNTU)
    machine.programs -= {"chromium"}
    assert "snap" in ensure(machine, for_tests=True)
    assert machine.commands == []
    machine.programs.add("google-chrome")
    assert ensure(machine, for_tests=True) == ""


def test_a_command_that_is_missing_or_hangs_has_a_shells_exit_code() -> None:
    assert Machine().run(["no-such-program-at-all"]).exit_code == 127
    hung = Machine().run([sys.executable, "-c", "print('so far', flush=True); input()"], timeout=30)
    assert hung.exit_code == 1  # there is nobody to answer: input ends at once
    slow = Machine().run(["sleep", "20"], timeout=0.2)
    assert slow.exit_code == 124
    assert "not finished after" in slow.output
