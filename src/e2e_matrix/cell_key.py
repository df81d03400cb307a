"""A cell's key: a hash of everything that can change how the cell ends.

Two cells of one key would end alike, so that a pass of the one may stand for the other. What cannot be known
beforehand has no key: an image whose digest the registry did not tell, a script whose packages or files may
be others the next time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from e2e_matrix.engine.base import EngineInfo
from e2e_matrix.errors import InfrastructureError
from e2e_matrix.facts import PlannedFacts, answers_digest, answers_of, digest_of, facts_of
from e2e_matrix.record import Prepared
from e2e_matrix.redaction import names_a_secret
from e2e_matrix.results import Attempt, Llm, Model, plain_decimal
from e2e_matrix.scenarios import container
from e2e_matrix.script import checkout
from e2e_matrix.script.settings import is_release
from e2e_matrix.settings import Settings
from e2e_matrix.templates import expected_sha, expected_version

#: The modules and folders of this program that take part in judging a cell: a change of one of them runs
#: every cell again, also where nobody thought of raising a scenario's VERSION.
JUDGES = (
    *("agent_server.py", "api", "bounded_http.py", "cell.py", "engine", "failures.py", "limits.py", "llm"),
    *("local/recipe.py", "log_file.py", "log_signs.py", "prices.py", "redaction.py", "scenarios", "script"),
    "usage.py",
)
#: What is known of a cell and is no part of its key (fields of PlannedFacts and CellTask), and why.
LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "image": "the digest says what runs; where it is pulled from is another place each time",
        "build": "only shares among the images of a ref what each would say itself",
        "run_id": "another one each time",
        "attempt": "which try it is changes nothing of what is tried",
        "repetition": "the same",
        "folder": "where the record goes",
        "owner": "who may remove the containers, and when",
        "deadline": "the same",
        "worker": "which thread runs it",
        "run_offset_seconds": "when it started",
    }
)


class KeyParts(Model):
    """What a key is made of. Durations are seconds.

    Of variables whose names look secret only the names are part of it: a hash of a short secret tells it to
    whoever tries them all. Nor is the model's API key, and an endpoint's login.
    """

    cell: str  # a recording is asked for a cell's calls by its id
    facts: PlannedFacts  # but for what is in LEFT_OUT
    axes: dict[str, str]
    code: str  # a digest of JUDGES
    engine: str  # its kind and its own platform
    emulated_cpu: str | None  # None: native
    server_arguments: tuple[str, ...]
    environment_values: dict[str, str]
    script_environment_values: dict[str, str]
    script_files: str | None  # what lies around a script; None: there is none
    timeout: float
    slowness: float  # by how much limits are stretched
    step_timeouts: dict[str, float]
    max_cost: str | None  # of the cell, US dollars
    expected_sha: str | None
    expected_version: str | None

    def fits(self, attempts: Sequence[Attempt]) -> bool:
        """Whether attempts ran what the key was made of: a script may be changed while others run."""
        scripts = [attempt.script for attempt in attempts if attempt.script]
        wanted = self.facts.script_digest
        return all(
            (wanted is None or one.sha256 is None or f"sha256:{one.sha256}" == wanted)
            and (one.commit is None or one.commit == self.script_files)
            for one in scripts
        )

    def digest(self) -> str:
        """The key, as hexadecimal digits."""
        parts = self.model_dump(mode="json", exclude={"facts": set(LEFT_OUT)})
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def parts_by_cell(
    cells: Sequence[Prepared], settings: Settings, llm: Llm, engine: EngineInfo
) -> dict[str, KeyParts]:
    """What the keys of a run's cells are made of, by their ids, of those that have one."""
    answers = answers_digest(settings, llm)
    if answers is None and answers_of(settings, llm):
        return {}  # the file that answers is gone
    files = _ScriptFiles()
    found: dict[str, KeyParts] = {}
    for cell in cells:
        facts = facts_of(cell, settings, llm, answers)
        if cell.failure is None and (parts := parts_of(cell, facts, settings, engine, files)):
            found[cell.planned.id] = parts
    return found


def parts_of(
    cell: Prepared, facts: PlannedFacts, settings: Settings, engine: EngineInfo, files: _ScriptFiles
) -> KeyParts | None:
    """The parts of a cell's key; None where one of them is not known."""
    planned, script_files = cell.planned, None
    if facts.digest is None:
        return None
    scenario = dict(facts.scenario_settings)
    if planned.script is not None:
        path = Path(scenario.pop("script"))  # in full: `path` says it as matrix.yaml does
        script_files = files.around(path, scenario["at"])
        if script_files is None or not _is_fixed(scenario["sdk"]):
            return None
        if scenario["at"] is None and facts.script_digest is None:
            return None
    ref = planned.ref or ""
    return KeyParts(
        cell=planned.id,
        facts=facts.model_copy(update={"scenario_settings": scenario}),
        axes=planned.axes,
        code=code_digest(),
        engine=f"{engine.name} {engine.platform}",
        emulated_cpu=container.EMULATED_CPU if cell.emulated else None,
        server_arguments=container.arguments(),
        environment_values=_without_secrets(planned.environment),
        script_environment_values=_without_secrets(_environment_of(planned.scenario_settings)),
        script_files=script_files,
        timeout=settings.timeout,
        slowness=settings.slowness(cell.emulated),
        step_timeouts=dict(settings.step_timeouts),
        max_cost=None if settings.max_cost_cell is None else plain_decimal(settings.max_cost_cell),
        expected_sha=expected_sha(ref),
        expected_version=expected_version(ref),
    )


@cache
def code_digest(package: Path = Path(__file__).parent) -> str:
    """Of the program's own files that JUDGES names, as they lie on the disk when it is first asked for."""
    named = (package / name for name in JUDGES)
    files = sorted(file for place in named for file in ([place] if place.is_file() else place.rglob("*.py")))
    return _digest_of_all(files, package)


class _ScriptFiles:
    """What lies around scripts, found once for each checkout."""

    def __init__(self) -> None:
        self._commit_of = cache(_commit_of)
        self._state_of = cache(checkout.state_of)

    def around(self, script: Path, revision: str | None) -> str | None:
        """The commit that the script's checkout has at ``revision`` (None: as it lies there).

        Of a script outside of every checkout a digest of the Python files beside it, which it may import.
        None where nobody can tell, or what lies there may be anything.
        """
        root = checkout.root_of(script)
        if revision is not None:
            return self._commit_of(root, revision)
        if checkout.is_checkout(root):
            state = self._state_of(root)
            return state.commit_but_for(script) if state else None
        return _digest_of_all(sorted(script.parent.glob("*.py")), script.parent)


def _commit_of(root: Path, revision: str) -> str | None:
    try:
        return checkout.commit_of(root, revision)
    except (InfrastructureError, ValueError):
        return None


def _is_fixed(sdk: str) -> bool:
    """Whether a script has the same SDK the next time: not so with the newest of several releases."""
    return sdk in ("server", "checkout") or is_release(sdk)


def _digest_of_all(files: Sequence[Path], below: Path) -> str:
    listed = {str(file.relative_to(below)): digest_of(file) for file in files}
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def _environment_of(scenario_settings: Mapping[str, Any]) -> Mapping[str, str]:
    """A script's own variables."""
    return scenario_settings["environment"] if "script" in scenario_settings else {}


def _without_secrets(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if not names_a_secret(name)}
