"""Runs of the example scripts in tests/example_scripts, through the public command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from e2e_matrix.local.contract import ContractImages
from support.real_runs import ROOT, Ran, Runner

CHECKOUT = ROOT / "tests" / "example_scripts" / "checkout"
REMOTE = CHECKOUT / "examples" / "remote"
MISBEHAVING = CHECKOUT / "examples" / "misbehaving"
# Of the contract server there is no SDK; that of the local images is in the cache.
SDK = "1.58.0"


def write_matrix(
    folder: Path, scenarios: Mapping[str, Any], axes: Mapping[str, Sequence[str]], **more: Any
) -> Path:
    path = folder / "matrix.yaml"
    document = {"matrix": dict(axes), "scenarios": dict(scenarios), **more}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def on_contract(
    runner: Runner,
    images: ContractImages,
    folder: Path,
    scenarios: Mapping[str, Any],
    *options: str,
    axes: Mapping[str, Sequence[str]] = {"variant": ["x"]},
    **more: Any,
) -> Ran:
    """A run on the contract server, which boots at once."""
    return runner.run(
        *contract_options(images, folder, scenarios, axes, **more), *options, template=image_of(images)
    )


def contract_options(
    images: ContractImages,
    folder: Path,
    scenarios: Mapping[str, Any],
    axes: Mapping[str, Sequence[str]] = {"variant": ["x"]},
    **more: Any,
) -> list[str]:
    path = write_matrix(folder, scenarios, axes, platform="linux/amd64", **more)
    return ["--matrix", str(path)]


def image_of(images: ContractImages) -> str:
    return images.template.format(ref=images.ref)


def script(path: Path, **settings: Any) -> dict[str, Any]:
    return {"script": str(path), "sdk": SDK, **settings}


def facts(ran: Ran, cell: str) -> dict[str, Any]:
    """What results.json says of a cell's script."""
    return dict(ran.cell(cell)["attempts"][-1]["script"])
