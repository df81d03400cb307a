"""The registry goes wrong while the engine pulls: tried again, and never the product's failure."""

import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e_matrix.local.contract import ContractImages
from support import fresh_images
from support.outside import Outside, attempts, evidence
from support.registry_gate import RegistryGate, registry_gate

pytestmark = pytest.mark.timeout(120)

CUTS = 3
# fault -> the cause that it has, and what the engine says of it
FAULTS = {
    "cut": ("registry-unreachable", "EOF"),
    "refuse": ("registry-unreachable", "EOF"),
    "corrupt": ("registry-broken", "verification failed"),
    "busy": ("registry-busy", "429"),
}


@pytest.fixture
def gate(contract_images: ContractImages) -> Iterator[RegistryGate]:
    with registry_gate(contract_images.template.partition("/")[0]) as opened:
        yield opened


def test_what_a_registry_does_in_mid_pull_is_tried_again_and_passes(
    on_private: Outside, gate: RegistryGate, tmp_path: Path
) -> None:
    """A run with a cell for each fault, each on an image of its own, of which one thing fails once."""
    token = secrets.token_hex(4)
    for fault in FAULTS:
        fresh = fresh_images.push(on_private.images, tmp_path, name=f"{token}-{fault}")
        part = f"blobs/{fresh.layer}" if fault in ("cut", "corrupt") else "manifests/sha256"
        gate.fail(fault, f"{fresh.repository}/{part}", CUTS if fault == "cut" else 1)
    matrix = on_private.matrix(
        image=f"{gate.host}/fresh/{token}-{{registry}}:{{ref}}",
        matrix={"registry": list(FAULTS), "arch": ["amd64"]},
        environment={},
    )
    ran = on_private.run(matrix, "--max-parallel", str(len(FAULTS)))
    assert ran.exit_code == 0, ran.output
    for fault, (cause, words) in FAULTS.items():
        cell = f"{fault}-amd64"
        assert attempts(ran, cell) == [("error", cause), ("passed", None)], ran.output
        first = ran.cell(cell)["attempts"][0]
        assert words in first["message"]
        assert [step["name"] for step in first["steps"]] == ["pull"]
        evidence(ran, cell)


def test_a_registry_that_wants_fewer_requests_is_asked_again_when_it_said(
    on_private: Outside, gate: RegistryGate
) -> None:
    """Before the first cell: the image's digest is asked for."""
    gate.fail("busy", f"/manifests/{on_private.images.ref}", 1)
    template = f"{gate.host}/{on_private.images.build.repository}:{{ref}}"
    ran = on_private.run(on_private.matrix(image=template))
    assert len(gate.failed) == 1
    assert (ran.exit_code, attempts(ran, "none-amd64")) == (0, [("passed", None)]), ran.output
    [cell] = ran.results["cells"]
    assert cell["attempts"][0]["run_offset_seconds"] > 1.0  # Retry-After: 1


def test_a_registry_that_dies_in_mid_pull_and_stays_dead(
    on_private: Outside, gate: RegistryGate, tmp_path: Path
) -> None:
    fresh = fresh_images.push(on_private.images, tmp_path)
    gate.fail("hang", fresh.layer, 1)
    matrix = on_private.matrix(image=fresh.template(gate.host), retries={"infrastructure": 1})
    run = on_private.start(matrix)
    run.until("the layer's first half", lambda: gate.failed)
    gate.close()
    ran = run.finish()
    assert ran.exit_code == 3, ran.output
    assert attempts(ran, "none-amd64") == [("error", "registry-unreachable")] * 2, ran.output
    assert "connection refused" in ran.cell("none-amd64")["message"]
    assert "Check the network and the registry's address" in ran.output
    evidence(ran, "none-amd64")


def test_a_pull_has_a_limit_of_its_own_and_is_tried_again(
    on_private: Outside, gate: RegistryGate, tmp_path: Path
) -> None:
    fresh = fresh_images.push(on_private.images, tmp_path)
    gate.fail("silent", "/manifests/sha256", 1)
    ran = on_private.run(on_private.matrix(image=fresh.template(gate.host), step_timeouts={"pull": "4s"}))
    assert ran.exit_code == 0, ran.output
    assert attempts(ran, "none-amd64") == [("error", "pull-failed"), ("passed", None)], ran.output
    assert "took longer than 4 s" in ran.cell("none-amd64")["attempts"][0]["message"]


@pytest.mark.parametrize("fault", ["hang", "silent"])
def test_a_hanging_pull_ends_with_the_run(
    on_private: Outside, gate: RegistryGate, tmp_path: Path, fault: str
) -> None:
    """In the middle of a layer a Ctrl-C ends it; before the engine's first word, the run's time limit."""
    fresh = fresh_images.push(on_private.images, tmp_path)
    interrupted = fault == "hang"
    gate.fail(fault, fresh.layer if interrupted else "/manifests/sha256", 1)
    matrix = on_private.matrix(image=fresh.template(gate.host))
    run = on_private.start(matrix, *([] if interrupted else ["--run-timeout", "3s"]))
    run.until("the request that hangs", lambda: gate.failed)
    time.sleep(0.5)  # the engine has then told what it had got of the layer, and is as silent as the registry
    begin = time.monotonic()
    if interrupted:
        run.process.send_signal(signal.SIGINT)
    ran = run.finish(within=20)
    assert time.monotonic() - begin < 8
    assert ran.exit_code == (130 if interrupted else 3), ran.output
    assert attempts(ran, "none-amd64") == [("cancelled", "interrupted" if interrupted else "run-timeout")]
    assert (ran.folder / "report.html").is_file()
