"""What is done to a running image. A new scenario is a module and a line here."""

from __future__ import annotations

from e2e_matrix.scenarios import deferred_init, tools
from e2e_matrix.scenarios.base import Scenario

SCENARIOS: dict[str, Scenario] = {scenario.NAME: scenario for scenario in (deferred_init, tools)}
