"""The main promise: six real images, three native and three emulated, each held to the whole contract."""

import json
import re
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

from e2e_matrix.local.demo import Served
from e2e_matrix.report import write_reports
from e2e_matrix.scenarios.deferred_init import GATED_ROUTES
from support.price import GPT_4O
from support.real_runs import ROOT, Ran, Runner

# Emulated boots take about a minute each, on two cores.
pytestmark = pytest.mark.timeout(900)

NATIVE = ["python-amd64", "java-amd64", "golang-amd64"]
EMULATED = ["python-arm64", "java-arm64", "golang-arm64"]
STEPS = [
    "pull", "start", "machine", "dormant", "server-info", "gate", "refusals", "init", "init-again",
    "session-keys", "conversation", "finished", "events", "answer", "cost", "delete",
    "openapi", "stop", "log",
]  # fmt: skip


def test_all_six_pass(six: Ran) -> None:
    assert {cell["id"]: cell["outcome"] for cell in six.results["cells"]} == dict.fromkeys(
        [*NATIVE, *EMULATED], "passed"
    ), six.output
    assert six.exit_code == 0
    assert "PASSED: All 6 cells passed." in six.output


def test_each_ran_on_its_own_platform_as_the_container_itself_says(six: Ran) -> None:
    machines = {
        cell["id"]: (cell["attempts"][0]["machine"], cell["emulated"]) for cell in six.results["cells"]
    }
    assert machines == dict.fromkeys(NATIVE, ("x86_64", False)) | dict.fromkeys(EMULATED, ("aarch64", True))


def test_every_step_of_the_contract_was_taken_and_timed(six: Ran) -> None:
    for cell in six.results["cells"]:
        assert [step["name"] for step in cell["steps"]] == STEPS, cell["id"]
        missing = [name for name, seconds in cell["phases"].items() if seconds is None]
        assert missing == [], cell["id"]
        assert six.step(cell["id"], "gate")["facts"]["gated_routes"] == len(GATED_ROUTES)
        assert six.step(cell["id"], "finished")["facts"]["learned_from"] == "websocket"


def test_the_gate_can_be_held_to_every_route_that_the_server_lists(runner: Runner, tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.yaml"
    matrix.write_text((ROOT / "matrix.yaml").read_text().replace("# gate: all ", "gate: all  #"))
    ran = runner.run("--only", "python-amd64", "--matrix", str(matrix))
    assert ran.cell("python-amd64")["outcome"] == "passed", ran.output
    assert ran.step("python-amd64", "gate")["facts"]["gated_routes"] > 3 * len(GATED_ROUTES)


def test_the_cost_is_the_servers_own_and_exactly_the_price_of_what_was_served(six: Ran) -> None:
    for cell in six.results["cells"]:
        [call] = cell["attempts"][0]["llm_calls"]
        price = call["prompt_tokens"] * GPT_4O.prompt + call["completion_tokens"] * GPT_4O.completion
        assert Decimal(cell["cost_usd"]) == price > 0, cell["id"]
        assert cell["tokens"] == {
            "prompt": call["prompt_tokens"],
            "completion": call["completion_tokens"],
            "total": call["prompt_tokens"] + call["completion_tokens"],
        }
    total = sum(Decimal(cell["cost_usd"]) for cell in six.results["cells"])
    assert Decimal(six.results["run"]["totals"]["cost_usd"]) == total


def test_what_ran_is_the_child_of_the_index_that_the_tag_names(six: Ran, served: Served) -> None:
    for cell in six.results["cells"]:
        variant, arch = cell["axes"]["variant"], cell["axes"]["arch"]
        index = json.loads(served.result.indexes[variant].content)
        [child] = [entry for entry in index["manifests"] if entry["platform"]["architecture"] == arch]
        image = cell["image"]
        assert image["digest"] == child["digest"]
        assert image["index_digest"] == served.result.indexes[variant].digest
        assert image["reference"] == f"{served.repository}:{served.ref}-{variant}"
        assert image["arch_tag_matches"] is True
        assert image["size_bytes"] > 100_000_000
        assert cell["server"]["build_git_sha"] == served.result.sha
        assert cell["server"]["version"] == served.result.server_version


def test_the_results_are_valid_by_the_committed_schema(six: Ran) -> None:
    schema = json.loads((ROOT / "docs" / "results.schema.json").read_text())
    jsonschema.validate(six.results, schema)


def test_both_reports_render_again_byte_for_byte(six: Ran) -> None:
    names = ("report.html", "report.md")
    before = {name: (six.folder / name).read_bytes() for name in names}
    for name in names:
        (six.folder / name).unlink()
    write_reports(six.folder)
    assert {name: (six.folder / name).read_bytes() for name in names} == before


def test_every_attempt_keeps_its_log_and_its_calls_and_no_key(six: Ran) -> None:
    for cell in six.results["cells"]:
        folder = six.folder / cell["attempts"][0]["folder"]
        assert "ready" in (folder / "server.log").read_text()
        assert json.loads((folder / "llm-calls.json").read_text()) == cell["attempts"][0]["llm_calls"]
        assert json.loads((folder / "attempt.json").read_text())["outcome"] == "passed"
    written = [path for path in six.folder.rglob("*") if path.is_file()]
    assert [path for path in written if b"sk-standin-" in path.read_bytes()] == []


def test_the_terminal_and_the_reports_say_the_same(six: Ran) -> None:
    page, comment = (six.folder / "report.html").read_text(), (six.folder / "report.md").read_text()
    for cell in six.results["cells"]:
        assert re.search(rf"^{cell['id']} +✓ passed .*\${cell['cost_usd']} ", six.output, re.MULTILINE)
        assert f'id="cell-{cell["id"]}"' in page
        assert cell["image"]["digest"] in page
        assert cell["image"]["digest"] in comment
    for text in (page, comment):
        assert "Good to ship" in text
        assert six.results["run"]["subject"] in text
        assert "stand-in" in text.lower()
