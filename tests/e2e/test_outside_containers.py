"""Somebody else removes, stops, pauses or cuts off the container of a cell that runs.

That is never the product's failure: the cell is tried again at once, and passes.
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.outside import Outside, attempts, evidence, sdk
from support.real_runs import Ran

pytestmark = pytest.mark.timeout(120)

SECONDS = 2.0  # that an undisturbed conversation takes


def _cut_off(client: Any, container: str) -> None:
    client.disconnect_container_from_network(container, "bridge")


DEEDS: dict[str, Callable[[Any, str], None]] = {
    "removed": lambda client, container: client.remove_container(container, force=True),
    "stopped": lambda client, container: client.stop(container, timeout=5),
    "killed": lambda client, container: client.kill(container),
    "paused": lambda client, container: client.pause(container),
    "cut-off": _cut_off,
}
CAUSES = {"removed": "container-gone"}
WORDS = {
    "removed": "No such container|marked for removal|is removing container",
    "stopped": "TERM",
    "killed": "KILL",
    "paused": "somebody paused the container",
    "cut-off": "somebody cut the container off from its network",
}


@pytest.fixture(scope="module")
def disturbed(module_outside: Outside) -> Ran:
    """One run of a cell for each deed, which is done in the middle of the cell's first conversation."""
    matrix = module_outside.matrix(
        matrix={"deed": list(DEEDS), "arch": ["amd64"]},
        environment={"CONTRACT_FAULT": f"runs-for:{SECONDS:g}"},
    )
    run = module_outside.start(matrix, "--max-parallel", str(len(DEEDS)))

    def disturb(deed: str) -> None:
        with sdk() as client:
            DEEDS[deed](client, run.talking(f"{deed}-amd64"))

    with ThreadPoolExecutor(len(DEEDS)) as pool:
        list(pool.map(disturb, DEEDS))
    return run.finish()


@pytest.mark.parametrize("deed", DEEDS)
def test_what_somebody_does_to_a_container_is_not_the_products_failure(disturbed: Ran, deed: str) -> None:
    name = f"{deed}-amd64"
    cause = CAUSES.get(deed, "container-disturbed")
    assert attempts(disturbed, name) == [("error", cause), ("passed", None)], disturbed.output
    first = disturbed.cell(name)["attempts"][0]
    assert re.search(WORDS[deed], first["message"])
    assert first["duration_seconds"] < 12  # nowhere near a limit: noticed, and not waited for
    evidence(disturbed, name, logs=deed != "removed")  # whose log went with it
    assert disturbed.cell(name)["outcome"] == "passed"
    assert disturbed.exit_code == 0
