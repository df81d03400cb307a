"""The engine goes away in mid-run: its socket, the daemon itself, and the room in its store."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.contract import ContractImages
from e2e_matrix.local.oci import Entry
from support import fresh_images
from support.engine_proxy import EngineProxy
from support.outside import Outside, attempts, evidence
from support.private_engine import POSSIBLE, WHY_NOT, PrivateEngine, private_engine

pytestmark = pytest.mark.timeout(120)


def test_a_socket_that_is_gone_for_a_moment(behind: Outside, proxy: EngineProxy) -> None:
    """The containers go on meanwhile. Whoever did not need the engine has not noticed."""
    run = behind.start(behind.matrix("runs-for:2"))
    run.talking("runs-for-2-amd64")
    proxy.cut()
    threading.Event().wait(1.0)
    proxy.listen()
    ran = run.finish()
    assert (ran.exit_code, attempts(ran, "runs-for-2-amd64")) == (0, [("passed", None)]), ran.output


def test_a_socket_that_is_gone_when_it_is_needed(behind: Outside, proxy: EngineProxy) -> None:
    """The container that could not be removed is, once the engine is back."""
    run = behind.start(behind.matrix("runs-for:1"))
    run.talking("runs-for-1-amd64")
    proxy.cut()
    run.until(
        "the end of the first attempt",
        lambda: run.folder and (run.folder / "cells/runs-for-1-amd64/attempt-1/attempt.json").is_file(),
    )
    proxy.listen()
    ran = run.finish()
    assert ran.exit_code == 0, ran.output
    assert attempts(ran, "runs-for-1-amd64") == [("error", "engine-lost"), ("passed", None)]
    assert "stopped answering" in ran.cell("runs-for-1-amd64")["attempts"][0]["message"]


def test_a_socket_that_is_gone_for_ever(behind: Outside, proxy: EngineProxy) -> None:
    matrix = behind.matrix("runs-for:1", "none", one_at_a_time=True, retries={"infrastructure": 1})
    run = behind.start(matrix)
    run.talking("runs-for-1-amd64")
    proxy.cut()
    ran = run.end()
    assert ran.exit_code == 3, ran.output
    assert attempts(ran, "runs-for-1-amd64") == [("error", "engine-lost")] * 2
    rest = ran.cell("none-amd64")
    assert (rest["outcome"], rest["cause"], rest["attempts"]) == ("not_run", "run-aborted", [])
    assert "Look at the engine's own log, start it again" in ran.output
    for report in ("report.html", "report.md"):
        assert "stopped answering" in (ran.folder / report).read_text()
    assert len(behind.left()) == 1  # out of reach for the run, and not for ever
    proxy.listen()
    cleaned = behind.call("clean")
    assert cleaned.returncode == 0, cleaned.stderr
    assert "the process that started it is gone" in cleaned.stdout
    assert behind.left() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_engine_that_is_restarted(
    on_private: Outside, private: PrivateEngine, number: signal.Signals
) -> None:
    run = on_private.start(on_private.matrix("runs-for:2"))
    run.talking("runs-for-2-amd64")
    private.end(number)
    private.start()
    ran = run.finish()
    assert ran.exit_code == 0, ran.output
    *lost, last = attempts(ran, "runs-for-2-amd64")
    assert last == ("passed", None)
    assert lost
    # A daemon that is told to end ends its containers first, and refuses what it is asked then.
    causes = {"engine-lost"} | (
        {"container-disturbed", "engine-refused"} if number == signal.SIGTERM else set()
    )
    assert {cause for _, cause in lost} <= causes, ran.output
    assert {outcome for outcome, _ in lost} == {"error"}


@pytest.fixture
def small(
    contract_images: ContractImages, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Outside]:
    """Runs on an engine whose store holds the contract server and little more."""
    if not POSSIBLE:
        pytest.skip(WHY_NOT)
    with (
        private_engine(tmp_path_factory.mktemp("small"), "450m") as private,
        closing(DockerEngine.connect(private.address)) as engine,
        closing(Outside(contract_images, engine, tmp_path, DOCKER_HOST=private.address)) as opened,
    ):
        yield opened


def test_an_engine_without_room(small: Outside, tmp_path: Path) -> None:
    """Asked for before the first pull where the sizes tell it; found out by the pull where they do not."""
    host = small.images.template.partition("/")[0]
    large = fresh_images.push(small.images, tmp_path, claimed=1_000_000_000)
    ran = small.call("run", "--matrix", str(small.matrix(image=large.template(host))))
    assert ran.returncode == 3, ran.stdout
    assert "the images need about" in ran.stderr
    assert "is free at" in ran.stderr
    assert list(small.engine.list_images({})) == []

    # Zeros are little to download.
    zeros = tmp_path / "zeros"
    with zeros.open("wb") as file:
        file.truncate(400_000_000)
    dense = fresh_images.push(small.images, tmp_path, [Entry("zeros", content=zeros)])
    full = small.run(small.matrix("none", "stuck", image=dense.template(host), one_at_a_time=True))
    assert full.exit_code == 3, full.output
    assert attempts(full, "none-amd64") == [("error", "disk-full")], full.output
    assert "no space left on device" in full.cell("none-amd64")["message"]
    rest = full.cell("stuck-amd64")
    assert (rest["outcome"], rest["cause"]) == ("not_run", "run-aborted")
    assert "`docker system df` shows what the engine keeps" in full.output
    evidence(full, "none-amd64")
