"""What is known of a cell before it runs, and decides how it ends: runs go on by it, keys are made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2e_matrix.prices import price_of
from e2e_matrix.record import Prepared
from e2e_matrix.results import Llm, Model
from e2e_matrix.scenarios import find as find_scenario
from e2e_matrix.script.settings import recorded
from e2e_matrix.settings import Settings


class PlannedFacts(Model):
    """What of a cell must be the same when the run goes on. ``digest`` None: the registry did not tell."""

    image: str
    platform: str
    digest: str | None
    scenario: str
    scenario_version: str
    scenario_settings: dict[str, Any]  # of a script's environment only the names
    script_digest: str | None = None  # of what the file held; None: no script, or one at a revision
    answers_digest: str | None = None  # of llm.replies or llm.replay, where that is what answers
    model: str
    price: str | None = None  # by llm.prices
    endpoint: str | None = None  # of a real model, without login and query
    environment: list[str]  # the names: values may be secret
    resources: dict[str, float | int | None]


def facts_of(cell: Prepared, settings: Settings, llm: Llm, answers: str | None) -> PlannedFacts:
    """The facts of a cell; ``answers`` is what ``answers_digest`` says of the run."""
    planned = cell.planned
    model = planned.model or llm.model
    price = price_of(model, settings.prices)
    return PlannedFacts(
        image=planned.image,
        platform=planned.platform,
        digest=cell.image and cell.image.digest,
        scenario=planned.scenario,
        scenario_version=find_scenario(planned.scenario, planned.scenario_settings).VERSION,
        scenario_settings=recorded(planned.scenario_settings),
        script_digest=_script_digest(planned.scenario_settings),
        answers_digest=answers,
        model=f"{model} ({llm.kind})",
        price=None if price is None else str(price),
        endpoint=llm.base_url,
        environment=sorted(planned.environment),
        resources=vars(settings.resources),
    )


def answers_of(settings: Settings, llm: Llm) -> Path | None:
    """The file that answers in a model's place; None where none does."""
    return {"stand-in": settings.replies, "replay": settings.replay}.get(llm.kind)


def answers_digest(settings: Settings, llm: Llm) -> str | None:
    """Of that file; None where there is none, or it cannot be read any more."""
    answers = answers_of(settings, llm)
    return None if answers is None else digest_of(answers)


def _script_digest(settings: Mapping[str, Any]) -> str | None:
    """What a script's file holds; None where it is taken from a revision, or is not there any more."""
    if "script" not in settings or settings["at"] is not None:
        return None
    return digest_of(Path(settings["script"]))


def digest_of(path: Path) -> str | None:
    """``sha256:...`` of a file; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return None
