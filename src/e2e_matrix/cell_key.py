"""A cell's key: a hash of everything that can change how the cell ends.

Two cells of one key would end alike, so that a pass of the one may stand for the other. What cannot be known
beforehand has no key: an image whose digest the registry did not tell, a script whose packages or files may
be others the next time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from e2e_matrix.cache import cache_folder
from e2e_matrix.engine.base import EngineInfo
from e2e_matrix.facts import PlannedFacts, answers_digest, answers_of, facts_of
from e2e_matrix.judges import code_digest, runtime
from e2e_matrix.record import Prepared
from e2e_matrix.redaction import names_a_secret
from e2e_matrix.results import Attempt, Llm, Model, plain_decimal
from e2e_matrix.salt import salt_in
from e2e_matrix.scenarios import container
from e2e_matrix.script.settings import is_release
from e2e_matrix.script_files import ScriptFiles
from e2e_matrix.settings import Settings
from e2e_matrix.templates import expected_sha, expected_version

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
#: The same of an engine (fields of EngineInfo).
LEFT_OUT_OF_ENGINE: Mapping[str, str] = MappingProxyType(
    {
        "version": "of an emulated cell in the key; a native one's processes are the image's own",
        "kernel": "the same",
        "api_version": "how it is asked",
        "operating_system": "what it is called",
        "storage_driver": "where layers lie",
        "root_dir": "the same",
        "cpus": "what a container may use of them is a setting",
        "memory_bytes": "the same",
        "address": "where it is reached",
    }
)


class KeyParts(Model):
    """What a key is made of. Durations are seconds.

    Of variables whose names look secret it has a hash with this machine's salt (salt.py): a plain one of a
    short secret tells it to whoever tries them all. The model's API key is no part of it, and neither is an
    endpoint's login.
    """

    cell: str  # a recording is asked for a cell's calls by its id
    facts: PlannedFacts  # but for what is in LEFT_OUT
    axes: dict[str, str]
    code: str  # a digest of what judges: see judges.py
    runtime: dict[str, str]  # the versions of what that runs on
    engine: str  # its kind and its own platform
    emulated_cpu: str | None  # None: native
    emulated_on: str | None  # the engine's version and kernel
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
    files = ScriptFiles(settings.reports, settings.history)
    salt = cache(lambda: salt_in(cache_folder()))
    found: dict[str, KeyParts] = {}
    for cell in cells:
        facts = facts_of(cell, settings, llm, answers)
        if cell.failure is None and (parts := parts_of(cell, facts, settings, engine, files, salt)):
            found[cell.planned.id] = parts
    return found


def parts_of(
    cell: Prepared,
    facts: PlannedFacts,
    settings: Settings,
    engine: EngineInfo,
    files: ScriptFiles,
    salt: Callable[[], bytes | None],
) -> KeyParts | None:
    """The parts of a cell's key; None where one of them is not known."""
    planned, script_files = cell.planned, None
    if facts.digest is None:
        return None
    scenario = dict(facts.scenario_settings)
    if planned.script is not None:
        path = Path(scenario.pop("script"))  # in full: `path` says it as matrix.yaml does
        script_files = files.around(path, scenario["at"], in_root=scenario["cwd"] == "checkout")
        if script_files is None or not _is_fixed(scenario["sdk"]):
            return None
        if scenario["at"] is None and facts.script_digest is None:
            return None
    values = _values(planned.environment, salt)
    script_values = _values(_environment_of(planned.scenario_settings), salt)
    if values is None or script_values is None:
        return None
    ref = planned.ref or ""
    return KeyParts(
        cell=planned.id,
        facts=facts.model_copy(update={"scenario_settings": scenario}),
        axes=planned.axes,
        code=code_digest(),
        runtime=dict(runtime()),
        engine=f"{engine.name} {engine.platform}",
        emulated_cpu=container.EMULATED_CPU if cell.emulated else None,
        emulated_on=f"{engine.version} {engine.kernel}" if cell.emulated else None,
        server_arguments=container.arguments(),
        environment_values=values,
        script_environment_values=script_values,
        script_files=script_files,
        timeout=settings.timeout,
        slowness=settings.slowness(cell.emulated),
        step_timeouts=dict(settings.step_timeouts),
        max_cost=None if settings.max_cost_cell is None else plain_decimal(settings.max_cost_cell),
        expected_sha=expected_sha(ref),
        expected_version=expected_version(ref),
    )


def _is_fixed(sdk: str) -> bool:
    """Whether a script has the same SDK the next time: not so with the newest of several releases."""
    return sdk in ("server", "checkout") or is_release(sdk)


def _environment_of(scenario_settings: Mapping[str, Any]) -> Mapping[str, str]:
    """A script's own variables."""
    return scenario_settings["environment"] if "script" in scenario_settings else {}


def _values(variables: Mapping[str, str], salt: Callable[[], bytes | None]) -> dict[str, str] | None:
    """The variables, those whose names look secret by a salted hash; None where there is no salt for it."""
    values = dict(variables)
    for name in filter(names_a_secret, variables):
        if (secret := salt()) is None:
            return None
        values[name] = hmac.digest(secret, variables[name].encode("utf-8", "surrogateescape"), "sha256").hex()
    return values
