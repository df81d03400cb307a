"""What matrix.yaml says of a script scenario, and what is left of it for one script in one cell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from e2e_matrix.matrix_fields import (
    Braces,
    Duration,
    Filled,
    Section,
    TemplateScalar,
    TemplateText,
    Variable,
    between,
    one_of,
    text_of,
    wrong,
)

#: Fields of `environment` and `arguments` that get their values when the script starts.
RUN_TIME_FIELDS = ("base-url", "session-api-key")

MOST_PATTERNS = 1000
_SDK_WORDS = ("server", "checkout")
#: PEP 440, without the epochs and local versions that no openhands-sdk has; 1.58 is a number to an editor.
VERSION = r"[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?"
_COSTS = ("required", "printed", "optional")
_CONVERSATIONS = ("finished", "any")
_FOLDERS = ("checkout", "scratch")
_STDIN = ("refuse", "empty")


def is_release(text: str) -> bool:
    """Whether a version names one release, and not the newest of several as 1.58 does."""
    return text.count(".") >= 2 and re.fullmatch(VERSION, text) is not None


def _sdk(value: object) -> str:
    text = text_of(value)
    if text in _SDK_WORDS or re.fullmatch(VERSION, text):
        return text
    raise wrong(
        f"must be server, checkout, or a version of openhands-sdk, not {text[:100]!r}", "such as 1.58.0"
    )


Sdk = Annotated[
    str,
    BeforeValidator(_sdk),
    WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^(server|checkout|{VERSION})$"}]}
    ),
]
ExitCode = Annotated[int, between(0, 255), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 255})]
CostRule = Annotated[str, one_of(*_COSTS), WithJsonSchema({"enum": list(_COSTS)})]
ConversationRule = Annotated[str, one_of(*_CONVERSATIONS), WithJsonSchema({"enum": list(_CONVERSATIONS)})]
Folder = Annotated[str, one_of(*_FOLDERS), WithJsonSchema({"enum": list(_FOLDERS)})]
Stdin = Annotated[str, one_of(*_STDIN), WithJsonSchema({"enum": list(_STDIN)})]
Variables = Annotated[dict[Variable, Braces], Field(json_schema_extra={"additionalProperties": False})]


class Expect(Section):
    """When a script has passed."""

    exit: ExitCode = Field(0, description="The exit code that it has to end with")
    cost: CostRule = Field(
        "required",
        description="required: it prints EXAMPLE_COST, and that agrees with the server's own figure. "
        "printed: it prints one, and a difference is only shown. optional: it need not",
    )
    conversations: ConversationRule = Field(
        "finished",
        description="finished: it uses a server of the image, and none of its conversations ends in error. "
        "any: that is not looked at",
    )
    wasted: Duration | None = Field(
        None, description="How long it may go on after its conversation has ended, natively; null is no limit"
    )


class PerScript(Section):
    """What is different for the scripts whose file names match; what is not said here stays."""

    sdk: Sdk | None = None
    timeout: Duration | None = None
    expect: Expect | None = Field(None, description="Only the keys that are written here are changed")
    environment: Variables = Field({}, description="Added to the scenario's own")
    arguments: list[Braces] | None = Field(None, description="In the place of the scenario's own")
    stdin: Stdin | None = None


class ScriptSection(Section):
    """A scenario that runs a script as it was published, beside the container of its cell."""

    script: TemplateText = Field(
        description="Path of a script, relative to this file; may have {fields}. Or a glob: then each file "
        "that ends in .py is a scenario of its own, with the file's name added"
    )
    sdk: Sdk = Field("server", description="The openhands-sdk that it runs with: server, a version, checkout")
    at: TemplateScalar | None = Field(
        None, description="The commit, tag or branch that its checkout is taken from; may have {fields}"
    )
    timeout: Duration = Field(
        600.0, description="Limit of the script, natively", json_schema_extra={"default": "10m"}
    )
    expect: Expect = Field(default_factory=Expect)
    environment: Variables = Field(
        {}, description="More variables for the script; values may have {fields}, {base-url} among them"
    )
    arguments: list[Braces] = Field([], description="Its arguments; each may have {fields}")
    cwd: Folder = Field("checkout", description="The folder that it runs in: its checkout's root, or scratch")
    stdin: Stdin = Field(
        "refuse", description="refuse: a script that reads its stdin. empty: run it with none"
    )
    exclude: list[Filled] = Field(
        [], max_length=MOST_PATTERNS, description="With a glob: names of files to leave out, also as globs"
    )
    per_script: dict[Filled, PerScript] = Field(
        {}, max_length=MOST_PATTERNS, description="By file name, also as a glob; the last wins"
    )

    def templates(self) -> Iterator[str]:
        """Every text that may have {fields}."""
        yield self.script
        yield from () if self.at is None else (self.at,)
        yield from (*self.environment.values(), *self.arguments)
        for words in self.per_script.values():
            yield from (*words.environment.values(), *(words.arguments or ()))


class Expected(Expect):
    """Planned: ``wasted`` is in seconds, as on a native engine."""

    wasted: float | None = None


class ScriptSettings(BaseModel):
    """One script in one cell, planned: every field has its value, but RUN_TIME_FIELDS stand as they are
    (``{base-url}``) in ``environment`` and ``arguments``.

    ``script`` is an absolute path, ``path`` the same as matrix.yaml says it. ``timeout`` is in seconds, as on
    a native engine. The values of ``environment`` may be secret.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
        populate_by_name=True,
    )

    script: str
    path: str
    sdk: Sdk = "server"
    at: str | None = None
    timeout: float = 600.0
    expect: Expected = Field(default_factory=Expected)
    environment: dict[str, str] = Field({}, repr=False)
    arguments: list[str] = []
    cwd: Folder = "checkout"
    stdin: Stdin = "refuse"


def recorded(settings: dict[str, Any]) -> dict[str, Any]:
    """A cell's settings for the record: of a script's environment only the names."""
    return {**settings, "environment": sorted(settings["environment"])} if "script" in settings else settings
