"""Example scripts as published, on the real images and against the contract server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix.engine.base import LABEL_RUN
from e2e_matrix.engine.docker import DockerEngine
from e2e_matrix.local.contract import ContractImages
from e2e_matrix.local.demo import Served
from e2e_matrix.owner import is_alive
from support.price import GPT_4O
from support.real_runs import PROGRAM, ROOT, Ran, Runner, environment
from support.script_runs import (
    CHECKOUT,
    MISBEHAVING,
    REMOTE,
    contract_options,
    facts,
    image_of,
    on_contract,
    script,
    write_matrix,
)

pytestmark = pytest.mark.timeout(900)

VARIANTS = ["python", "java", "golang"]
ALONE = {"conversations": "any"}  # of a script that needs no server
PATIENCE = 18  # seconds that the script with the bug waits, where upstream waited 120


@pytest.fixture(scope="module")
def six(served: Served, engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The script with the bug and the script without it, on all six images."""
    folder = tmp_path_factory.mktemp("scripts")
    scenarios = {
        "bug": {
            "script": str(REMOTE / "warm_pool_with_a_bug.py"),
            "environment": {"PATIENCE": str(PATIENCE)},
        },
        "fix": {"script": str(REMOTE / "warm_pool.py"), "timeout": "180s"},
    }
    matrix = write_matrix(folder, scenarios, {"variant": VARIANTS, "arch": ["amd64", "arm64"]})
    return Runner(served, engine, folder).run("--matrix", str(matrix))


def cells(ran: Ran, scenario: str) -> list[str]:
    found = [cell["id"] for cell in ran.results["cells"] if cell["scenario"] == scenario]
    assert len(found) == 6
    return found


def test_the_script_passes_on_six_images_and_its_cost_is_the_servers(six: Ran) -> None:
    for name in cells(six, "fix"):
        cell, seen = six.cell(name), facts(six, name)
        assert cell["outcome"] == "passed", six.output
        tokens = cell["tokens"]
        price = tokens["prompt"] * GPT_4O.prompt + tokens["completion"] * GPT_4O.completion
        told = [
            Decimal(seen["printed_cost_usd"]),
            Decimal(seen["server_cost_usd"]),
            Decimal(cell["cost_usd"]),
        ]
        assert told == [price] * 3
        assert (seen["terminal_status"], seen["exit_code"], seen["sdk_version"]) == ("finished", 0, "1.58.0")
        assert seen["wasted_seconds"] < PATIENCE / 2
        assert seen["calls_total"] == len(seen["calls"]) >= 5
        for phase in ("boot", "init", "conversation", "removal"):
            assert cell["phases"][phase] > 0, phase
        assert [step["name"] for step in cell["steps"] if step["outcome"] != "passed"] == []


def test_the_script_with_the_bug_fails_and_the_time_that_it_wasted_is_told(six: Ran) -> None:
    for name in cells(six, "bug"):
        cell, seen = six.cell(name), facts(six, name)
        assert (cell["outcome"], cell["cause"]) == ("failed", "script-failed"), six.output
        assert cell["message"] == "the script ended with exit code 1: AssertionError: it is finished"
        assert PATIENCE * 0.5 < seen["wasted_seconds"] < PATIENCE + 10
        assert seen["calls_after_terminal"] > 5
        assert seen["terminal_status"] == "finished"
        assert seen["server_cost_usd"] == cell["cost_usd"]  # paid all the same
        [after] = {
            (call["method"], call["status"])
            for call in seen["calls"]
            if call["start_seconds"] > seen["terminal_seconds"]
        }
        assert after == ("GET", 200)
    assert "the script went on for" in (six.folder / "report.md").read_text()
    assert "the script went on for" in six.output


def test_what_the_script_was_told_and_said_is_in_the_attempts_folder(six: Ran) -> None:
    [name] = [name for name in cells(six, "fix") if name.startswith("golang-amd64")]
    folder = six.folder / six.cell(name)["attempts"][0]["folder"]
    assert "status: finished\nEXAMPLE_COST: 0.0095525\n" in (folder / "script.log").read_text()
    assert "POST /api/init" in (folder / "server.log").read_text()


def test_compare_shows_the_fix(six: Ran) -> None:
    command = [str(PROGRAM), "compare", str(six.folder), "--axis", "scenario", "--format", "md"]
    told = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert told.returncode == 0, told.stderr
    assert "fixed: 6 cells" in told.stdout


def test_a_script_of_the_sdk_works_with_the_agent_on_files_of_this_host(
    runner: Runner, tmp_path: Path
) -> None:
    scenarios = {
        "sdk": {"script": str(REMOTE / "remote_conversation.py")},
        "own-helper": {"script": str(REMOTE / "own_helper.py"), "arguments": ["a b", "{variant}"]},
    }
    matrix = write_matrix(tmp_path, scenarios, {"variant": ["python"], "arch": ["amd64"]})
    ran = runner.run("--matrix", str(matrix))
    assert ran.exit_code == 0, ran.output
    seen = facts(ran, "python-amd64-sdk")
    assert seen["printed_cost_usd"] == seen["server_cost_usd"]
    assert seen["conversations"] == 1
    log = ran.folder / ran.cell("python-amd64-own-helper")["attempts"][0]["folder"] / "script.log"
    assert "server 1.58.0 for ['a b', 'python']" in log.read_text()
    assert leftovers() == []


def leftovers() -> list[str]:
    """Processes of test scripts, and folders whose run is over; others may run on this machine."""
    listed = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, check=True).stdout
    # Command lines are bytes, also those of others.
    processes = [line for line in listed.decode(errors="replace").splitlines() if str(CHECKOUT) in line]
    owners = [path for path in Path("/tmp").glob("e2e-matrix-*/owner") if not is_alive(path.read_text())]
    return [*processes, *(str(path.parent) for path in owners)]


@pytest.fixture(scope="module")
def misbehaving(
    contract_images: ContractImages,
    served: Served,
    engine: DockerEngine,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ran:
    """Scripts that do what no script should, each in a cell of one run; and the one of the docs."""
    folder = tmp_path_factory.mktemp("misbehaving")
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "scripts.md").read_text(), re.DOTALL)
    (folder / "example.py").write_text(example)
    scenarios = {
        "docs": script(folder / "example.py"),
        "crashes": script(MISBEHAVING / "crashes.py"),
        "hangs": script(MISBEHAVING / "hangs.py", timeout="2s"),
        "leaves-children": script(MISBEHAVING / "leaves_children.py", expect=ALONE),
        "floods": script(MISBEHAVING / "floods.py", environment={"FLOOD_BYTES": str(10**9)}, expect=ALONE),
        "no-cost": script(MISBEHAVING / "prints_no_cost.py", expect=ALONE),
        "no-cost-is-fine": script(MISBEHAVING / "prints_no_cost.py", expect=ALONE | {"cost": "optional"}),
        "no-server": script(MISBEHAVING / "prints_nonsense.py", environment={"NONSENSE": "0"}),
        "nonsense": script(MISBEHAVING / "prints_nonsense.py", expect=ALONE),
        "nan": script(MISBEHAVING / "prints_nonsense.py", environment={"NONSENSE": "nan"}, expect=ALONE),
        "two-servers": script(MISBEHAVING / "two_servers.py"),
        "stdin": script(MISBEHAVING / "reads_stdin.py", stdin="empty"),
        "exit-3": script(MISBEHAVING / "exits_with_3.py", expect=ALONE | {"exit": 3, "cost": "optional"}),
        "address": script(
            REMOTE / "reads_an_address.py",
            environment={"AGENT_SERVER_URL": "{base-url}"},
            arguments=["{session-api-key}"],
        ),
    }
    return on_contract(Runner(served, engine, folder), contract_images, folder, scenarios)


@pytest.mark.parametrize(
    ("cell", "outcome", "cause", "message"),
    [
        ("docs", "passed", None, None),
        ("crashes", "failed", "script-failed", "the script ended with signal 6: about to crash"),
        ("hangs", "failed", "script-timeout", "the script took longer than 2 s"),
        ("leaves-children", "passed", None, None),
        ("floods", "passed", None, None),
        ("no-cost", "failed", "script-failed", "the script printed no cost"),
        ("no-cost-is-fine", "passed", None, None),
        ("no-server", "failed", "script-failed", "the script used no server of this image"),
        ("nonsense", "failed", "script-failed", "the script printed a cost that is none"),
        ("nan", "failed", "script-failed", "the script printed a cost that is none"),
        ("two-servers", "passed", None, None),
        ("stdin", "failed", "script-failed", "it read its standard input, which is empty (EOFError"),
        ("exit-3", "passed", None, None),
        ("address", "passed", None, None),
    ],
)
def test_a_script_that_misbehaves_is_called_by_what_it_did(
    misbehaving: Ran, cell: str, outcome: str, cause: str | None, message: str | None
) -> None:
    seen = misbehaving.cell(f"x-{cell}")
    assert (seen["outcome"], seen["cause"]) == (outcome, cause), misbehaving.output
    assert (message or "") in (seen["message"] or "")


def test_nothing_of_misbehaving_scripts_is_left(misbehaving: Ran) -> None:
    assert leftovers() == []
    assert facts(misbehaving, "x-leaves-children")["left_behind"] == 1


def test_a_flood_of_a_script_is_kept_by_its_two_ends(misbehaving: Ran) -> None:
    seen = facts(misbehaving, "x-floods")
    folder = misbehaving.folder / misbehaving.cell("x-floods")["attempts"][0]["folder"]
    assert seen["output_bytes"] > 10**9
    assert (folder / "script.log").stat().st_size < 8 << 20
    assert seen["printed_cost_usd"] == "0"


def test_each_of_several_servers_has_its_log_and_its_end(misbehaving: Ran) -> None:
    cell = misbehaving.cell("x-two-servers")
    assert [step["name"] for step in cell["steps"]].count("stop") == 3
    folder = misbehaving.folder / cell["attempts"][0]["folder"]
    assert {path.name for path in folder.glob("server*.log")} == {
        "server.log",
        "server-2.log",
        "server-3.log",
    }


def test_a_server_that_counts_no_cost_is_found_also_where_the_script_prints_its_0(
    contract_images: ContractImages, runner: Runner, tmp_path: Path
) -> None:
    scenarios = {"example": script(REMOTE / "warm_pool.py")}
    faults = {"CONTRACT_FAULT": "cost-zero"}
    ran = on_contract(runner, contract_images, tmp_path, scenarios, environment=faults)
    [cell] = ran.results["cells"]
    assert (cell["outcome"], cell["cause"]) == ("failed", "assertion"), ran.output
    assert "the server counted no cost" in cell["message"]
    assert cell["attempts"][0]["script"]["printed_cost_usd"] == "0.0"


@pytest.mark.parametrize(
    ("fault", "expect", "cause", "message"),
    [
        ("error", {}, "conversation-error", "the script ended well, and a conversation of it as error"),
        ("none", {"wasted": "1s"}, "script-failed", "after its conversation had ended"),
    ],
)
def test_a_script_that_ends_well_may_have_missed_something(
    fault: str,
    expect: dict[str, str],
    cause: str,
    message: str,
    contract_images: ContractImages,
    runner: Runner,
    tmp_path: Path,
) -> None:
    scenarios = {
        "example": script(MISBEHAVING / "looks_away.py", expect={"cost": "optional", **expect}),
    }
    faults = {"CONTRACT_FAULT": fault}
    ran = on_contract(runner, contract_images, tmp_path, scenarios, environment=faults)
    [cell] = ran.results["cells"]
    assert (cell["outcome"], cell["cause"]) == ("failed", cause), ran.output
    assert message in cell["message"]
    assert cell["attempts"][0]["script"]["exit_code"] == 0


def test_a_script_before_and_after_its_fix_on_the_same_image(
    contract_images: ContractImages, runner: Runner, tmp_path: Path
) -> None:
    checkout = tmp_path / "checkout"
    place = checkout / "examples" / "warm_pool.py"
    place.parent.mkdir(parents=True)
    (checkout / "scripts").mkdir()
    (checkout / "scripts" / "utils.py").write_bytes((CHECKOUT / "scripts" / "utils.py").read_bytes())
    commits = []
    git(checkout, "init", "--quiet")
    hasty = (REMOTE / "warm_pool_with_a_bug.py").read_text()
    # As a script of upstream's does: it waits in vain, and goes on as if nothing were.
    patient = hasty.replace('    assert state["execution_status"] in DONE', "    # never")
    assert patient != hasty
    for text in (hasty, patient, (REMOTE / "warm_pool.py").read_text()):
        place.write_text(text.replace("parents[2]", "parents[1]"))
        git(checkout, "add", ".")
        git(checkout, "commit", "--quiet", "--message", "one more")
        commits.append(git(checkout, "rev-parse", "--short", "HEAD").strip())
    before = git(checkout, "status", "--porcelain", "--ignored")
    scenarios = {"example": script(place, at="{commit}", environment={"PATIENCE": "8"})}
    ran = on_contract(
        runner, contract_images, tmp_path, scenarios, axes={"variant": ["x"], "commit": commits}
    )
    outcomes = [cell["outcome"] for cell in ran.results["cells"]]
    assert outcomes == ["failed", "passed", "passed"], ran.output
    for commit in commits:
        seen = facts(ran, f"x-{commit}")
        assert (seen["revision"], seen["commit"][: len(commit)], seen["changed"]) == (commit, commit, False)
    assert git(checkout, "status", "--porcelain", "--ignored") == before == ""
    command = [str(PROGRAM), "compare", str(ran.folder), "--axis", "commit", "--format", "json"]
    changes = []
    for with_a_bug in commits[:2]:
        sides = ["--baseline", with_a_bug, "--candidate", commits[2]]
        told = subprocess.run(
            [*command, *sides], capture_output=True, text=True, env=environment(), check=False
        )
        assert told.returncode == 0, told.stderr
        [pair] = json.loads(told.stdout)["cells"]
        changes.append(pair["change"])
    assert changes == ["fixed", "wastes less time"]


def test_an_image_of_another_sdk_than_the_rest_of_its_build_is_seen(
    contract_images: ContractImages, runner: Runner, tmp_path: Path
) -> None:
    scenarios = {"own-helper": {"script": str(REMOTE / "own_helper.py")}}
    faults = ["none", "other-version:1.57.0"]  # the first one is asked what SDK the build has
    ran = on_contract(
        runner,
        contract_images,
        tmp_path,
        scenarios,
        axes={"variant": ["x"], "fault": faults},
        environment={"CONTRACT_FAULT": "{fault}"},
        **{"max-parallel": 1},
    )
    right, wrong = ran.results["cells"]
    assert right["outcome"] == "passed", ran.output
    assert (wrong["outcome"], wrong["cause"]) == ("failed", "assertion"), ran.output
    step = ran.step(wrong["id"], "server-info")
    assert (step["expected"], step["got"]) == ("1.58.0", "1.57.0")


def test_a_server_that_tells_nothing_by_itself_is_asked_before_its_script_is_accounted_for(
    contract_images: ContractImages, runner: Runner, tmp_path: Path
) -> None:
    scenarios = {
        "asks": script(REMOTE / "asks_at_an_address.py", environment={"AGENT_SERVER_URL": "{base-url}"})
    }
    ran = on_contract(
        runner, contract_images, tmp_path, scenarios, environment={"CONTRACT_FAULT": "socket-refused"}
    )
    [cell] = ran.results["cells"]
    seen = facts(ran, cell["id"])
    assert seen["terminal_status"] == "finished", ran.output
    assert seen["server_cost_usd"] == seen["printed_cost_usd"] != "0"


def test_what_went_wrong_first_is_told_and_a_server_that_ends_badly_where_nothing_did(
    contract_images: ContractImages, runner: Runner, tmp_path: Path
) -> None:
    told = {
        "kills_its_server": ("container-disturbed", "the container was ended from outside, by KILL"),
        "crashes": ("script-failed", "the script ended with signal 6: about to crash"),
        "hangs_with_a_server": ("script-timeout", "the script took longer than 2 s"),
        "reads_an_address": ("assertion", "the server did not end cleanly"),
    }
    scenarios = {name: script(MISBEHAVING / f"{name}.py") for name in told}
    scenarios["hangs_with_a_server"]["timeout"] = "2s"
    scenarios["reads_an_address"] = script(
        REMOTE / "reads_an_address.py",
        environment={"AGENT_SERVER_URL": "{base-url}"},
        arguments=["{session-api-key}"],
    )
    ran = on_contract(
        runner,
        contract_images,
        tmp_path,
        scenarios,
        environment={"CONTRACT_FAULT": "ends-badly"},
        retries={"infrastructure": 0},
    )
    seen = {cell["scenario"]: (cell["cause"], cell["message"]) for cell in ran.results["cells"]}
    assert seen == told, ran.output


def git(checkout: Path, *command: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *command], cwd=checkout, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_runner_that_is_ended_takes_its_script_along(
    number: signal.Signals,
    contract_images: ContractImages,
    runner: Runner,
    engine: DockerEngine,
    tmp_path: Path,
) -> None:
    scenarios = {"hangs": script(MISBEHAVING / "hangs_with_a_server.py")}
    options = contract_options(contract_images, tmp_path, scenarios)
    process = runner.start(*options, template=image_of(contract_images))
    try:
        wait_for(lambda: "up" in printed(tmp_path))
        assert any("hangs_with_a_server" in line for line in leftovers())
        os.kill(process.pid, number)
        process.communicate(timeout=60)
    finally:
        process.kill()
    wait_for(lambda: not any("hangs_with_a_server" in line for line in leftovers()))
    if number is signal.SIGINT:
        assert process.returncode == 130
    else:
        subprocess.run([str(PROGRAM), "clean"], check=True, env=environment(), capture_output=True)
    assert leftovers() == []
    [run] = [path.name for path in tmp_path.iterdir() if path.is_dir() and not path.is_symlink()]
    assert list(engine.list({LABEL_RUN: run})) == []


def printed(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("*/cells/*/attempt-1/script.log"))


def wait_for(condition, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)
