"""matrix.yaml -> Matrix: the models, and every problem of a file at once.

``load_matrix`` reads in three passes, each working on what the one before could make sense of: YAML
(matrix_yaml.py), the shape (below), what the parts mean together (matrix_checks.py). Axes, include, exclude,
max-parallel and fail-fast have the names and the meaning of GitHub Actions' ``strategy``.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.matrix_fields import (
    Braces,
    Duration,
    Factor,
    Filled,
    Flag,
    Memory,
    Positive,
    ScenarioSettings,
    TemplateText,
    Url,
    Variable,
    Whole,
    kind_of,
)
from e2e_matrix.matrix_yaml import Document, Location, read_document
from e2e_matrix.templates import did_you_mean

# Words under which people write a key into a file.
_SECRET_KEYS = frozenset({"api-key", "api_key", "apikey", "apiKey", "key", "token", "secret", "password"})

Combination = Annotated[dict[str, Filled], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )


class Cells(_Section):
    """``matrix:``: every key but include and exclude is an axis."""

    axes: dict[str, list[Filled]] = {}
    include: list[Combination] = []
    exclude: list[Combination] = []

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


class ResourceLimits(_Section):
    """What one container may use; null is no limit."""

    memory: Memory | None = Field(
        4 << 30,
        description="Such as 4g; beyond it the kernel kills the server",
        json_schema_extra={"default": "4g"},
    )
    cpus: Positive | None = Field(2.0, description="Cores, also fractions")
    pids: Whole | None = Field(512, description="Processes and threads")


class LlmSection(_Section):
    """The model that the conversation talks to. Without ``model`` the run's own stand-in answers."""

    model: TemplateText | None = Field(None, description="As litellm names it; may have {fields}")
    base_url: Url | None = Field(None, description="The model's endpoint, where it is not the provider's own")
    api_key_env: Variable = Field("LLM_API_KEY", description="The NAME of the variable that holds the key")


class Matrix(_Section):
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
    scenarios: dict[str, ScenarioSettings] = Field(
        {"deferred-init": {}}, description="What is done to each image, with the scenario's own settings"
    )
    max_parallel: Whole | None = Field(None, description="Cells at a time; null: one per CPU of the engine")
    fail_fast: Flag = Field(False, description="Cancel the rest when a cell fails")
    timeout: Duration = Field(
        600.0, description="Limit of one native cell, such as 10m", json_schema_extra={"default": "10m"}
    )
    emulated_timeout_factor: Factor = Field(6.0, description="How much longer an emulated cell may take")
    resources: ResourceLimits = Field(default_factory=ResourceLimits)
    llm: LlmSection = Field(default_factory=LlmSection)
    environment: dict[Variable, Braces] = Field(
        {},
        description="More variables for the containers; values may have {fields}",
        json_schema_extra={"additionalProperties": False},
    )
    reports: Filled = Field("reports", description="The folder that each run gets a folder in")

    _document: Document = PrivateAttr(default_factory=lambda: Document(""))

    @property
    def file(self) -> str:
        """The path it was read from, as it was given."""
        return self._document.file

    def problem(self, where: Location, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A Problem at the place in the file where the value (or key) at ``where`` was written."""
        return self._document.problem(where, message, hint, key=key)

    def wrote(self, *where: str) -> bool:
        """Whether the file says so itself, rather than leaving it to the default."""
        return where in self._document.values


def load_matrix(
    path: Path | str, environ: Mapping[str, str], scenarios: Collection[str] | None = None
) -> Matrix:
    """Read and check a file; ``scenarios`` are the names that exist (None: those of this program).

    Raises BadInput with every problem, in the order of the file.
    """
    from e2e_matrix.matrix_checks import check_matrix  # it needs the models above

    document = read_document(Path(path), environ)
    if not isinstance(document.tree, dict):
        message = f"must be a mapping, not {kind_of(document.tree)}"
        raise BadInput([document.problem((), message, "begin with `matrix:` and the axes below it")])
    problems = list(document.problems)
    matrix, errors = _shape(document, document.tree)
    broken = {str(where[0]) for where in document.broken if where} | {str(e["loc"][0]) for e in errors}
    problems += [_explain(document, error) for error in errors if not _reported(document, error)]
    if broken:  # what is left may be wrong in itself
        tree = {key: value for key, value in document.tree.items() if key not in broken}
        matrix, _ = _shape(document, tree)
    if matrix is not None:
        problems += check_matrix(matrix, _known_scenarios() if scenarios is None else scenarios, broken)
    if problems or matrix is None:
        raise BadInput(list(dict.fromkeys(problems)))
    return matrix


def _shape(document: Document, tree: Mapping[str, Any]) -> tuple[Matrix | None, list[ErrorDetails]]:
    try:
        matrix = Matrix.model_validate(tree)
    except ValidationError as error:
        return None, error.errors(include_url=False)
    matrix._document = document
    return matrix, []


def _place_of(error: ErrorDetails) -> Location:
    """Where the file has it: there the axes stand beside include and exclude."""
    where = tuple(part for part in error["loc"] if part != "[key]")
    return ("matrix", *where[2:]) if where[:2] == ("matrix", "axes") else where


def _reported(document: Document, error: ErrorDetails) -> bool:
    """Whether the reader already said what is wrong there."""
    where = _place_of(error)
    return any(where[: len(place)] == place for place in document.broken)


def _explain(document: Document, error: ErrorDetails) -> Problem:
    """One of pydantic's errors in our words; never with pydantic's, which show the value."""
    where = _place_of(error)
    on_key = "[key]" in error["loc"]
    context = error.get("ctx", {})
    name = where[-1] if isinstance(where[-1], str) else f"entry {where[-1] + 1}"
    match error["type"]:
        case "unusable":
            hint = context["hint"] or _meant_exclude(where)
            return document.problem(where, f"{name}: {context['message']}", hint, key=on_key)
        case "missing":
            return document.problem((), f"has no {name}", f"add `{name}:`; see docs/matrix.md")
        case "extra_forbidden":
            return _unknown_key(document, where)
        case "model_type" | "dict_type" | "model_attributes_type":
            message = f"must be a mapping, not {kind_of(error['input'])}"
            return document.problem(where, f"{name}: {message}", "write `key: value` lines below it")
        case "list_type":
            hint = _meant_exclude(where) or "write [one, two], or one `- ` line for each"
            return document.problem(where, f"{name}: must be a list, not {kind_of(error['input'])}", hint)
        case "too_short":
            return document.problem(where, f"{name}: must not be empty", "name at least one axis in it")
    return document.problem(where, f"{name}: cannot be used ({error['type']})", "see docs/matrix.md")


def _unknown_key(document: Document, where: Location) -> Problem:
    section: type[BaseModel] = {"llm": LlmSection, "resources": ResourceLimits}.get(str(where[0]), Matrix)
    known = [str(field.alias) for field in section.model_fields.values()]
    key = str(where[-1])
    if section is LlmSection and key in _SECRET_KEYS:
        hint = "name the variable that holds it: `api-key-env: LLM_API_KEY`, and take the key out of the file"
        return document.problem(where, "a secret is never written into the file", hint, key=True)
    return document.problem(where, f"unknown key {key!r}", did_you_mean(key, known), key=True)


def _meant_exclude(where: Location) -> str:
    """`exlude:` in the matrix is an axis by its syntax, and a slip by its looks."""
    if where[0] == "matrix" and (
        near := difflib.get_close_matches(str(where[1]), ("include", "exclude"), 1, 0.75)
    ):
        return f"did you mean {near[0]!r}?" if near[0] != where[1] else ""
    return ""


def _known_scenarios() -> Collection[str]:
    from e2e_matrix.scenarios import SCENARIOS  # loads the clients that scenarios drive a server with

    return SCENARIOS
