"""A server that spends, cell by cell and over the run: stopped while it does, and told with the sum."""

from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix.local.contract import ContractImages
from support.real_runs import Ran, Runner

MATRIX = """\
image: {template}
ref: {ref}
platform: linux/amd64
max-parallel: 1
matrix:
  fault: [{faults}]
environment: {{CONTRACT_FAULT: "{{fault}}"}}
max-cost: {{{limits}}}
"""


@pytest.fixture
def spend(contract_images: ContractImages, runner: Runner, tmp_path: Path):  # type: ignore[no-untyped-def]
    def run(faults: str, limits: str) -> Ran:
        path = tmp_path / "matrix.yaml"
        path.write_text(
            MATRIX.format(
                template=contract_images.template, ref=contract_images.ref, faults=faults, limits=limits
            )
        )
        image = contract_images.template.format(ref=contract_images.ref)
        return runner.run("--matrix", str(path), template=image)

    return run


def test_a_cell_past_its_budget_is_stopped_while_it_runs(spend) -> None:  # type: ignore[no-untyped-def]
    ran = spend('"spends:0.02", none', 'cell: "0.05"')
    cell = ran.cell("spends-0.02")
    assert (cell["outcome"], cell["cause"], ran.exit_code) == ("failed", "cell-budget", 1), ran.output
    assert "of $0.05 that one cell may cost" in cell["message"]
    assert "of $0.05 that one cell may cost" in ran.output
    assert Decimal(cell["cost_usd"]) > Decimal("0.05")
    # Long before the step's own limit of two minutes.
    assert cell["duration_seconds"] < 30
    assert ran.cell("none")["outcome"] == "passed"


def test_a_run_past_its_budget_stops_what_spends_and_starts_nothing(spend) -> None:  # type: ignore[no-untyped-def]
    ran = spend('"spends:0.02", none', 'run: "0.05"')
    cells = {cell["id"]: (cell["outcome"], cell["cause"]) for cell in ran.results["cells"]}
    assert cells == {
        "spends-0.02": ("cancelled", "run-budget"),
        "none": ("not_run", "budget-was-spent"),
    }, ran.output
    assert ran.exit_code == 3
    assert Decimal(ran.results["run"]["totals"]["cost_usd"]) > Decimal("0.05")
