"""The real server's calls to a provider, which is the stand-in here: recorded, and replayed without it."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.llm import StandIn
from e2e_matrix.local.demo import Served
from support.real_runs import PROGRAM, ROOT, Ran, Runner, environment

MATRIX = """\
image: {image}
matrix:
  variant: [{variants}]
  arch: [amd64]
llm: {llm}
"""
# What the server's own list says of the model.
PRICES = "{'openai/gpt-*': {input: 2.5, output: 10}}"


@pytest.fixture(scope="module")
def runs(
    served: Served, engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Ran, str]]:
    """Each run, with the recording that it made or heard."""
    base = tmp_path_factory.mktemp("recorded")
    image = served.template.replace("{ref}", served.ref)

    def run(name: str, variants: str, llm: str, recording: Path, **variables: str) -> tuple[Ran, str]:
        matrix = base / f"{name}.yaml"
        matrix.write_text(MATRIX.format(image=image, variants=variants, llm=llm))
        runner = Runner(served, engine, base / name)
        process = subprocess.Popen(
            [str(PROGRAM), "run", "--matrix", str(matrix), "--reports", str(runner.reports)],
            cwd=ROOT,
            env={**environment(), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return runner.finish(process), recording.read_text()

    calls, changed = base / "calls.jsonl", base / "changed.jsonl"
    with StandIn("127.0.0.1") as provider:
        key = provider.issue_key("the provider's")
        where = {"LLM_MODEL": "openai/gpt-4o", "LLM_API_KEY": key, "LLM_BASE_URL": provider.base_url()}
        recorded = run("record", "python", f"{{record: calls.jsonl, prices: {PRICES}}}", calls, **where)
    for file in base.rglob("*"):
        assert not file.is_file() or key not in file.read_text(errors="replace"), file
    changed.write_text(recorded[1].replace("just the number", "only the number"))
    with ThreadPoolExecutor(2) as pool:
        replayed = pool.submit(
            run, "replay", "python, golang", "{replay: calls.jsonl}", calls, LLM_MODEL="other/model"
        )
        differs = pool.submit(run, "differs", "python", "{replay: changed.jsonl}", changed)
        return {"recorded": recorded, "replayed": replayed.result(), "differs": differs.result()}


def test_a_real_models_calls_are_recorded_and_cost_what_they_cost(runs: dict[str, tuple[Ran, str]]) -> None:
    ran, recording = runs["recorded"]
    assert ran.exit_code == 0, ran.output
    cell = ran.cell("python-amd64")
    [call] = map(json.loads, recording.splitlines())
    assert (call["cell"], call["scenario"], call["path"], call["status"]) == (
        "python-amd64", "deferred-init", "/v1/chat/completions", 200,
    )  # fmt: skip
    facts = ran.step("python-amd64", "cost")["facts"]
    assert facts["price"].startswith("llm.prices of the matrix: input 2.5, output 10 US dollars")
    assert Decimal(cell["cost_usd"]) == Decimal(facts["cost_by_server_usd"]) > 0
    [seen] = cell["attempts"][0]["llm_calls"]
    assert (seen["prompt_tokens"], seen["completion_tokens"]) == (
        cell["tokens"]["prompt"], cell["tokens"]["completion"],
    )  # fmt: skip


def test_a_recording_is_replayed_for_its_cell_and_others_at_the_same_cost(
    runs: dict[str, tuple[Ran, str]],
) -> None:
    recorded = runs["recorded"][0].cell("python-amd64")
    ran, _ = runs["replayed"]
    assert ran.exit_code == 0, ran.output
    assert ran.results["run"]["llm"] == {"kind": "replay", "model": "openai/gpt-4o", "base_url": None}
    assert "openai/gpt-4o (a replay: nothing was paid)" in ran.output
    for name in ("python-amd64", "golang-amd64"):
        cell = ran.cell(name)
        assert (cell["outcome"], cell["cost_usd"], cell["tokens"]) == (
            "passed", recorded["cost_usd"], recorded["tokens"],
        )  # fmt: skip


def test_another_question_than_the_recorded_one_fails_with_the_difference(
    runs: dict[str, tuple[Ran, str]],
) -> None:
    ran, _ = runs["differs"]
    cell = ran.cell("python-amd64")
    assert (ran.exit_code, cell["outcome"], cell["cause"]) == (1, "failed", "llm-replay-differs"), ran.output
    step = ran.step("python-amd64", "finished")
    changed = [line.split('"text": ')[1] for line in step["detail"].splitlines()[2:] if line[0] in "-+"]
    assert changed == ['"Reply with only the number 42.",', '"Reply with just the number 42.",']
    assert "is not the recorded one" in ran.output
    # The server gives up at once: it does not ask again.
    assert [call["status"] for call in cell["attempts"][0]["llm_calls"]] == [400]
    assert step["duration_seconds"] < 20
