"""A model's provider that refuses, hangs or breaks off: the infrastructure's fault, by its own name.

The contract server says of each what the real one says, and on two of them the real one is asked as well.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.contract import ContractImages
from e2e_matrix.local.demo import Served
from support.faulty_llm import MODEL, Fault, FaultyLlm
from support.real_runs import PROGRAM, ROOT, Ran, Runner, environment

MATRIX = """\
image: {image}
matrix:
  arch: [amd64]
step-timeouts: {{finished: 24s}}
retries: {{infrastructure: {retries}}}
llm: {{model: {model}}}
"""
KEY = "sk-of-a-provider/with+signs"

REFUSED = {"fault": [Fault.UNAUTHORIZED], "retries": 3}
BUSY = {"fault": [Fault.RATE_LIMITED]}
RUNS: dict[str, dict[str, Any]] = {
    "401": REFUSED,
    "401 real": {**REFUSED, "real": True},
    "429": BUSY,
    "429 real": {**BUSY, "real": True},
    "filtered": {"fault": [Fault.FILTERED], "retries": 3},
    "policy": {"fault": [Fault.POLICY], "retries": 3},
    "policy real": {"fault": [Fault.POLICY], "retries": 3, "real": True},
    # Both calls of the first attempt fail, the second attempt's does not.
    "comes back": {"fault": [Fault.SERVER_ERROR, Fault.SERVER_ERROR, Fault.NONE], "retries": 1},
    **{fault.value: {"fault": [fault]} for fault in (Fault.SERVER_ERROR, Fault.HANGS, Fault.HALF, Fault.CUT)},
}

Ask = Callable[[str], Ran]


@pytest.fixture(scope="module")
def ask(
    contract_images: ContractImages,
    served: Served,
    engine: DockerEngine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ask]:
    """The run of that name. All are started at once: what they do is mostly wait."""

    base = tmp_path_factory.mktemp("model")

    def run(name: str, fault: list[Fault], retries: int = 0, real: bool = False) -> Ran:
        image = contract_images.template.format(ref=contract_images.ref)
        if real:
            image = served.template.format(ref=served.ref, variant="python")
        folder = base / name
        folder.mkdir()
        (folder / "matrix.yaml").write_text(MATRIX.format(image=image, retries=retries, model=MODEL))
        runner = Runner(served, engine, folder / "reports")
        with FaultyLlm(engine.host_gateway(), *fault) as llm:
            url = llm.base_url("host.docker.internal")
            command = [str(PROGRAM), "run", "--matrix", str(folder / "matrix.yaml")]
            process = subprocess.Popen(
                [*command, "--reports", str(runner.reports)],
                cwd=ROOT,
                env={**environment(), "LLM_API_KEY": KEY, "LLM_BASE_URL": url},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            return runner.finish(process)

    with ThreadPoolExecutor(len(RUNS)) as pool:
        runs = {name: pool.submit(run, name, **what) for name, what in RUNS.items()}
        yield lambda name: runs[name].result()


def judged(ran: Ran) -> tuple[str, str, int, int]:
    cell = ran.cell("amd64")
    assert KEY not in ran.output
    for file in ran.folder.rglob("*"):
        assert not file.is_file() or KEY not in file.read_text(errors="replace"), file
    return cell["outcome"], cell["cause"], len(cell["attempts"]), ran.exit_code


@pytest.mark.parametrize("name", ["401", "401 real"])
def test_a_key_that_is_refused_is_not_tried_again(ask: Ask, name: str) -> None:
    ran = ask(name)
    assert judged(ran) == ("error", "llm-denied", 1, 3), ran.output
    assert "Check the key, the model's name" in ran.output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("filtered", "LLMBadRequestError"),
        # The server asks on, 500 times in all; nobody waits for that, or pays it.
        ("policy", "refused the content 3 times, and the server asks on"),
        ("policy real", "refused the content 3 times, and the server asks on"),
    ],
)
def test_a_content_filter_is_neither_the_products_fault_nor_asked_again(
    ask: Ask, name: str, words: str
) -> None:
    ran = ask(name)
    assert judged(ran) == ("error", "llm-refused", 1, 3), ran.output
    assert words in ran.cell("amd64")["message"]
    assert "Its content filter judged" in ran.output


@pytest.mark.parametrize("name", ["429", "429 real"])
def test_a_provider_that_wants_fewer_requests(ask: Ask, name: str) -> None:
    ran = ask(name)
    assert judged(ran) == ("error", "llm-busy", 1, 3), ran.output
    assert "LLMRateLimitError" in ran.cell("amd64")["message"]
    assert "Lower max-parallel" in ran.output


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault.SERVER_ERROR, "LLMServiceUnavailableError"),
        (Fault.HANGS, "LLMTimeoutError"),
        (Fault.HALF, "LLMServiceUnavailableError"),
        (Fault.CUT, "LLMServiceUnavailableError"),
    ],
)
def test_a_provider_that_breaks_is_never_the_products_failure(ask: Ask, fault: Fault, words: str) -> None:
    ran = ask(fault.value)
    assert judged(ran) == ("error", "llm-unavailable", 1, 3), ran.output
    assert words in ran.cell("amd64")["message"]


def test_a_provider_that_comes_back_is_asked_again(ask: Ask) -> None:
    ran = ask("comes back")
    cell = ran.cell("amd64")
    assert (cell["outcome"], len(cell["attempts"]), ran.exit_code) == ("passed", 2, 0), ran.output
    assert [attempt["cause"] for attempt in cell["attempts"]] == ["llm-unavailable", None]
    assert cell["flaky"] is False
