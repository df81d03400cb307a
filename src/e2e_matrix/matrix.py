"""matrix.yaml -> Matrix: the models, and every problem of a file at once.

``load_matrix`` reads in three passes, each working on what the one before could make sense of: YAML
(matrix_yaml.py), the shape (the pydantic models here), what the parts mean together (matrix_checks.py). Axes,
include, exclude, max-parallel and fail-fast have the names and the meaning of GitHub Actions' ``strategy``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.matrix_yaml import Document, Location, Scalar, read_document
from e2e_matrix.templates import Template, did_you_mean, is_http_url
from e2e_matrix.units import DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_size

_SECRET_KEYS = frozenset({"api-key", "api_key", "apikey", "apiKey", "key", "token", "secret", "password"})
_SMALLEST_MEMORY = 64 << 20


Measure = TypeVar("Measure", int, float)


def _wrong(message: str, hint: str = "") -> PydanticCustomError:
    return PydanticCustomError("unusable", "{message}", {"message": message, "hint": hint})


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    return repr(str(value)) if isinstance(value, Scalar) else repr(value)


def _text(value: object) -> str:
    """Any scalar, as it was written: a ref of 1.10 is not 1.1, and a variant called on is not true."""
    if isinstance(value, Scalar):
        return value.text
    if isinstance(value, str):
        return value
    raise _wrong(
        f"must be text, not {_kind(value)}", "write a value, or leave the key out" if value is None else ""
    )


def _filled(value: object) -> str:
    text = _text(value)
    if not text.strip():
        raise _wrong("must not be empty", "write a value, or leave the key out")
    return text


def _braces(value: object) -> str:
    text = _text(value)
    try:
        Template.parse(text)
    except ValueError as error:
        raise _wrong(str(error)) from None
    return text


def _template(value: object) -> str:
    return _braces(_filled(value))


def _plain(value: object) -> object:
    return value.value if isinstance(value, Scalar) else value


def _flag(value: object) -> bool:
    plain = _plain(value)
    if isinstance(plain, bool):
        return plain
    raise _wrong(f"must be true or false, not {_kind(value)}")


def _whole(value: object) -> int:
    plain = _plain(value)
    if isinstance(plain, int) and not isinstance(plain, bool) and plain >= 1:
        return plain
    raise _wrong(f"must be a whole number from 1, not {_kind(value)}")


def _positive(value: object) -> float:
    plain = _plain(value)
    if isinstance(plain, int | float) and not isinstance(plain, bool) and 0 < plain <= 1_000_000:
        return float(plain)
    raise _wrong(f"must be a number above 0, not {_kind(value)}")


def _factor(value: object) -> float:
    if (number := _positive(value)) >= 1:
        return number
    raise _wrong(f"must be at least 1, not {_kind(value)}", "emulation is never faster than native")


def _duration(value: object) -> float:
    return _measured(value, parse_duration)


def _memory(value: object) -> int:
    size = _measured(value, parse_size)
    if size < _SMALLEST_MEMORY:
        raise _wrong(f"must be at least 64m, not {_kind(value)}", "the server itself needs about 1g")
    return size


def _measured(value: object, parse: Callable[[str], Measure]) -> Measure:
    text = _text(value)
    try:
        return parse(text)
    except ValueError as error:
        raise _wrong(f"cannot be {_kind(value)}", str(error)) from None


def _url(value: object) -> str:
    text = _filled(value)
    if not is_http_url(text):
        raise _wrong("must be an http:// or https:// URL", "such as https://host/v1")
    return text


def _variable(value: object) -> str:
    text = _filled(value)
    if not text.isascii() or not text.isidentifier():
        raise _wrong(
            "must be the NAME of an environment variable", "such as LLM_API_KEY; the key itself stays in it"
        )
    return text


def _free(value: object) -> Any:
    """A scenario's own settings: whatever YAML says, without the wrapping."""
    if isinstance(value, dict):
        return {key: _free(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_free(item) for item in value]
    return _plain(value)


def _settings(value: object) -> object:
    return {} if value is None else value


_SCALAR_SCHEMA = {"type": ["string", "number", "boolean"]}

Filled = Annotated[str, BeforeValidator(_filled), WithJsonSchema(_SCALAR_SCHEMA)]
Braces = Annotated[str, BeforeValidator(_braces), WithJsonSchema(_SCALAR_SCHEMA)]
TemplateText = Annotated[str, BeforeValidator(_template), WithJsonSchema({"type": "string", "minLength": 1})]
Flag = Annotated[bool, BeforeValidator(_flag)]
Whole = Annotated[int, BeforeValidator(_whole), WithJsonSchema({"type": "integer", "minimum": 1})]
Positive = Annotated[
    float, BeforeValidator(_positive), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})
]
Factor = Annotated[float, BeforeValidator(_factor), WithJsonSchema({"type": "number", "minimum": 1})]
Duration = Annotated[
    float, BeforeValidator(_duration), WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN})
]
Memory = Annotated[int, BeforeValidator(_memory), WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN})]
Url = Annotated[str, BeforeValidator(_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]
Variable = Annotated[
    str, BeforeValidator(_variable), WithJsonSchema({"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"})
]
Free = Annotated[Any, BeforeValidator(_free)]
Combination = Annotated[dict[str, Filled], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        validate_default=False,
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

    memory: Memory | None = Field(4 << 30, description="Such as 4g; beyond it the kernel kills the server")
    cpus: Positive | None = Field(2.0, description="Cores, also fractions")
    pids: Whole | None = Field(512, description="Processes and threads")


class LlmSection(_Section):
    """The model that the conversation talks to. Without ``model`` the run's own stand-in answers."""

    model: TemplateText | None = Field(None, description="As litellm names it; {fields} are allowed")
    base_url: Url | None = None
    api_key_env: Variable = Field("LLM_API_KEY", description="The NAME of the variable that holds the key")


class Matrix(_Section):
    """The whole of matrix.yaml. Durations are seconds, sizes bytes."""

    image: TemplateText = Field(
        "ghcr.io/openhands/agent-server:{ref}-{variant}",
        description="The image of a cell: {ref}, and any axis or key of an include",
    )
    arch_image: TemplateText | None = Field(
        None,
        description="The tag of one platform, compared with the index where it exists; {image} is the image",
    )
    ref: Filled = Field("latest", description="A release, a commit, a branch, or latest")
    platform: TemplateText = Field("linux/{arch}", description="os/arch, as registries write it")
    matrix: Cells = Field(description="The axes, and include and exclude as in GitHub Actions")
    scenarios: dict[str, Annotated[dict[str, Free], BeforeValidator(_settings)]] = Field(
        {"deferred-init": {}}, description="What is done to each image, with the scenario's own settings"
    )
    max_parallel: Whole | None = Field(None, description="Cells at a time; null is one for each CPU")
    fail_fast: Flag = Field(False, description="Cancel the rest when a cell fails")
    timeout: Duration = Field(600.0, description="Limit of one cell, such as 10m")
    emulated_timeout_factor: Factor = Field(6.0, description="Stretches the limits of emulated cells")
    resources: ResourceLimits = Field(default_factory=ResourceLimits)
    llm: LlmSection = Field(default_factory=LlmSection)
    environment: dict[Variable, Braces] = Field(
        {}, description="More variables for the containers; {fields} are allowed"
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
        message = f"must be a mapping, not {_kind(document.tree)}"
        raise BadInput([document.problem((), message, "begin with `matrix:` and the axes below it")])
    problems = list(document.problems)
    broken = {str(where[0]) for where in document.broken if where}
    tree = {key: value for key, value in document.tree.items() if key not in broken}
    matrix, found = _shape(document, tree)
    broken |= {str(error["loc"][0]) for error in found}
    problems += [_explain(document, error) for error in found if not _is_known(document, error)]
    if found and "matrix" not in broken:  # what is left may still be wrong in itself
        matrix, _ = _shape(document, {key: value for key, value in tree.items() if key not in broken})
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


def _is_known(document: Document, error: ErrorDetails) -> bool:
    """Whether the reader already said what is wrong there: a broken ``matrix`` is then missing here."""
    return error["type"] == "missing" and error["loc"] in {where[:1] for where in document.broken}


def _explain(document: Document, error: ErrorDetails) -> Problem:
    """One of pydantic's errors in our words; never with pydantic's, which show the value."""
    where = tuple(part for part in error["loc"] if part != "[key]")
    on_key = len(where) < len(error["loc"])
    if where[:2] == ("matrix", "axes"):
        where = ("matrix", *where[2:])
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
            message = f"must be a mapping, not {_kind(error['input'])}"
            return document.problem(where, f"{name}: {message}", "write `key: value` lines below it")
        case "list_type":
            hint = _meant_exclude(where) or "write [one, two], or one `- ` line for each"
            return document.problem(where, f"{name}: must be a list, not {_kind(error['input'])}", hint)
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
