"""What a matrix.yaml holds: the models. matrix_load.py reads a file into them.

Axes, include, exclude, max-parallel and fail-fast have GitHub Actions' names and meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, WithJsonSchema, model_validator
from pydantic_core import PydanticKnownError

from e2e_matrix.errors import Problem
from e2e_matrix.matrix_fields import (
    Age,
    Braces,
    Dollars,
    Duration,
    Factor,
    Filled,
    Flag,
    Keeping,
    Memory,
    Positive,
    Price,
    Repeats,
    Retries,
    Section,
    Share,
    TemplateText,
    Url,
    Variable,
    Whole,
    free,
    one_of,
)
from e2e_matrix.matrix_yaml import Document, Location, Said
from e2e_matrix.measures import MEASURES
from e2e_matrix.regression import DEFAULT_FAIL_ON, FAILS
from e2e_matrix.report import DEFAULT_FORMATS, FORMATS
from e2e_matrix.script.settings import ScriptSection
from e2e_matrix.units import format_share

Combination = Annotated[dict[str, Filled], Field(min_length=1)]
# Each is compared with the id of every cell.
Globs = Annotated[list[Filled], Field(max_length=100)]


class _ScenarioSchema:
    """Of a scenario with `script:` every key is known, of another the scenario knows them."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        script, _ = handler(core_schema)["anyOf"]
        return {
            "if": {"type": "object", "required": ["script"]},
            "then": script,
            "else": {"type": ["object", "null"]},
        }


def _scenario(value: object) -> object:
    """`deferred-init:` with nothing below it is the scenario as it comes."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PydanticKnownError("dict_type")
    return ScriptSection.model_validate(value) if "script" in value else free(value)


Scenario = Annotated[ScriptSection | dict[str, Any], BeforeValidator(_scenario), _ScenarioSchema()]


class Cells(Section):
    """``matrix:``: every key but include and exclude is an axis."""

    axes: dict[str, list[Filled]] = Field({})
    include: list[Combination] = Field([])
    exclude: list[Combination] = Field([])

    @model_validator(mode="before")
    @classmethod
    def _axes_beside(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        kept = {key: value[key] for key in ("include", "exclude") if key in value}
        return {"axes": {key: item for key, item in value.items() if key not in kept}, **kept}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema: dict[str, Any] = handler.resolve_ref_schema(handler(core_schema))
        axis = schema["properties"].pop("axes")["additionalProperties"]
        schema["additionalProperties"] = {
            **axis,
            "minItems": 1,
            "uniqueItems": True,
            "description": "An axis",
        }
        return schema


class ResourceLimits(Section):
    """What one container may use; null is no limit."""

    memory: Memory | None = Field(
        4 << 30,
        description="Such as 4g; beyond it the kernel kills the server",
        json_schema_extra={"default": "4g"},
    )
    cpus: Positive | None = Field(2.0, description="Cores, also fractions")
    pids: Whole | None = Field(512, description="Processes and threads")


class RetryLimits(Section):
    """How often a cell is tried again; docs/failures.md says for which causes."""

    product: Retries = Field(0, description="After the product failed: passing then is flaky")
    infrastructure: Retries | None = Field(
        None, description="After the infrastructure failed; null is as often as the table of failures says"
    )


class CostLimits(Section):
    """What may be spent, in US dollars; null is no limit."""

    cell: Dollars | None = Field(None, description="By one cell, over all of its attempts")
    run: Dollars | None = Field(None, description="By the whole run")


class ModelPrice(Section):
    """What a model costs, in US dollars per million tokens."""

    input: Price
    output: Price
    cached_input: Price | None = Field(
        None, description="Input that the provider's cache had; null: as other input"
    )


class LlmSection(Section):
    """The model that the conversation talks to. Without ``model`` the run's own stand-in answers."""

    model: TemplateText | None = Field(None, description="As litellm names it; may have {fields}")
    base_url: Url | None = Field(None, description="The model's endpoint, where it is not the provider's own")
    record: Filled | None = Field(
        None, description="A file that every call of a real model is kept in; relative to the matrix file"
    )
    replay: Filled | None = Field(
        None, description="Such a file to answer from, without a model; relative to the matrix file"
    )
    prices: dict[Filled, ModelPrice] = Field(
        {},
        description="Prices by the model's name or a glob; they take the place of what the server counts",
    )
    api_key_env: Variable = Field("LLM_API_KEY", description="The NAME of the variable that holds the key")
    replies: Filled | None = Field(
        None, description="What the stand-in answers: a file, relative to this one's folder; docs/llm.md"
    )


_FormatName = Annotated[str, one_of(*FORMATS), WithJsonSchema({"enum": list(FORMATS)})]


class ReportsSection(Section):
    """``reports:``, also as the folder alone."""

    folder: Filled = Field("reports", description="The folder that each run gets a folder in")
    formats: list[_FormatName] = Field(
        list(DEFAULT_FORMATS), min_length=1, description="What is rendered from results.json"
    )
    rows: Filled | None = Field(
        None, description="The axis, or `scenario`, of the grid's rows; null: the first"
    )
    columns: Filled | None = Field(None, description="Of its columns; null: the first that is left")
    history: Filled | None = Field(
        None, description="The file that remembers runs; null: history.sqlite in the folder"
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema: dict[str, Any] = handler.resolve_ref_schema(handler(core_schema))
        section = dict(schema)
        schema.clear()
        schema.update({"anyOf": [dict(section["properties"]["folder"]), section]})
        return schema


def _threshold(name: str) -> Any:
    measure = MEASURES[name]
    shown = format_share(measure.threshold)
    return Field(measure.threshold, description=measure.what, json_schema_extra={"default": shown})


class Thresholds(Section):
    """``regression:``: by how much a measure may grow; null: it is not judged. docs/verdicts.md says how."""

    boot: Share | None = _threshold("boot")
    init: Share | None = _threshold("init")
    conversation: Share | None = _threshold("conversation")
    script: Share | None = _threshold("script")
    removal: Share | None = _threshold("removal")
    total: Share | None = _threshold("total")
    cost: Share | None = _threshold("cost")
    tokens: Share | None = _threshold("tokens")
    memory: Share | None = _threshold("memory")
    size: Share | None = _threshold("size")


FailOn = Annotated[str, one_of(*FAILS), WithJsonSchema({"enum": list(FAILS)})]


class Matrix(Section):
    """The whole of matrix.yaml."""

    image: TemplateText = Field(
        "ghcr.io/openhands/agent-server:{ref}-{variant}",
        description="The image of a cell. Fields are {ref}, the axes, and keys of its include",
    )
    arch_image: TemplateText | None = Field(
        None,
        description="The tag of one platform, compared with the index where it exists; {image} is the image",
    )
    ref: Filled = Field("latest", description="A release, a commit, a branch, or latest")
    platform: TemplateText = Field("linux/{arch}", description="os/arch, as registries write it")
    matrix: Cells = Field(description="The axes; include and exclude as in GitHub Actions")
    scenarios: dict[str, Scenario] = Field(
        {"deferred-init": {}},
        description="What is done to each image: scenarios with their own settings, or scripts by any name",
    )
    repeat: Repeats = Field(1, description="How often each cell is run")
    reuse: Age | None = Field(
        None,
        description="How old a pass may be that stands for a cell of the same key, such as 7d; null: every "
        "cell is run",
    )
    max_parallel: Whole | None = Field(None, description="Cells at a time; null: one per CPU of the engine")
    max_pulls: Whole = Field(3, description="Images pulled at a time")
    max_starts: Whole = Field(4, description="Containers created and started at a time")
    fail_fast: Flag = Field(False, description="Cancel the rest when a cell fails")
    timeout: Duration = Field(
        600.0, description="Limit of one native cell, such as 10m", json_schema_extra={"default": "10m"}
    )
    emulated_timeout_factor: Factor = Field(6.0, description="How much longer an emulated cell may take")
    step_timeouts: dict[Filled, Duration] = Field(
        {},
        description="Limits of single steps by their names, such as `dormant: 3m`; natively, as timeout",
    )
    run_timeout: Duration | None = Field(
        None, description="Limit of the whole run: then what runs is stopped and the report is written"
    )
    retries: RetryLimits = Field(default_factory=RetryLimits)
    max_cost: CostLimits = Field(default_factory=CostLimits)
    resources: ResourceLimits = Field(default_factory=ResourceLimits)
    images: Keeping = Field(
        "keep", description="Whether the engine keeps the images that the run itself pulled: keep or remove"
    )
    llm: LlmSection = Field(default_factory=LlmSection)
    environment: dict[Variable, Braces] = Field(
        {},
        description="More variables for the containers; values may have {fields}",
        json_schema_extra={"additionalProperties": False},
    )
    reports: ReportsSection = Field(default_factory=ReportsSection)
    regression: Thresholds = Field(default_factory=Thresholds)
    fail_on: list[FailOn] = Field(
        list(DEFAULT_FAIL_ON), description="What of a comparison with a baseline ends a run with 1"
    )
    only: Globs = Field([], description="Ids of the cells to keep, as globs; none keeps them all")
    skip: Globs = Field([], description="Ids of the cells to leave out, as globs")

    _document: Document = PrivateAttr(default_factory=lambda: Document(""))

    @classmethod
    def of(cls, document: Document, tree: Mapping[str, Any]) -> Matrix:
        """What ``tree`` says, with its places in ``document``. Raises pydantic's ValidationError."""
        matrix = cls.model_validate(tree)
        matrix._document = document
        return matrix

    @property
    def file(self) -> str:
        """The path it was read from, as it was given."""
        return self._document.file

    @property
    def profile(self) -> str | None:
        """The profile that it was read with."""
        return self._document.profile or None

    @property
    def folder(self) -> Path:
        """Where the paths in the file begin."""
        return Path(self._document.file).parent

    def beside(self, path: str) -> Path:
        """A path that the file names, which is relative to the file's folder."""
        return self.folder / path

    def problem(self, where: Location, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A Problem at the place in the file where the value (or key) at ``where`` was written."""
        return self._document.problem(where, message, hint, key=key)

    def inherits(self, *where: str) -> bool:
        """Whether a profile leaves the file's own word standing, to which it may have left nothing to do."""
        said = self.said(*where)
        return bool(self.profile and said and not said[0].profile)

    def said(self, *where: str) -> tuple[Said, ...]:
        """What the file says there: the profile's word first, then what it took the place of; () for none."""
        return self._document.said(where)
