"""What is done to a running image. A new scenario is a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from e2e_matrix.scenarios import deferred_init, script, tools
from e2e_matrix.scenarios.base import Scenario

SCENARIOS: dict[str, Scenario] = {scenario.NAME: scenario for scenario in (deferred_init, tools)}


def find(name: str, settings: Mapping[str, Any]) -> Scenario:
    """The scenario of a cell: with `script` among its settings the one that runs scripts, whatever its name.

    Raises KeyError for a name that is none.
    """
    return script if "script" in settings else SCENARIOS[name]
