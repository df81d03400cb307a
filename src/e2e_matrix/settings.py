"""The effective settings of a run, and where each came from.

Command line > environment > profile > file > default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from e2e_matrix.engine.base import Resources
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.matrix import Matrix, Scenario
from e2e_matrix.prices import Price
from e2e_matrix.redaction import without_password
from e2e_matrix.results import SettingValue
from e2e_matrix.templates import is_http_url, is_tag, tag_of_ref
from e2e_matrix.units import format_duration, format_share, format_size

T = TypeVar("T")


class Source(StrEnum):
    """Who said so."""

    DEFAULT = "default"
    FILE = "file"
    PROFILE = "profile"  # of the file; shown with its name
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"
    RESUMED = "resumed run"


@dataclass(frozen=True)
class Setting(Generic[T]):
    """A value and its source; ``place`` names it for messages: ``--ref``, ``LLM_MODEL``; "" in the file."""

    value: T
    source: Source
    place: str = ""

    @property
    def in_file(self) -> bool:
        """Whether it is the file's word, or that of a profile in it."""
        return self.source in (Source.FILE, Source.PROFILE)


@dataclass(frozen=True)
class Overrides:
    """What takes the place of the file's settings; None: nothing does. Durations are seconds."""

    ref: Setting[str] | None = None
    image: Setting[str] | None = None
    arch_image: Setting[str | None] | None = None
    max_parallel: Setting[int | None] | None = None
    fail_fast: Setting[bool] | None = None
    timeout: Setting[float] | None = None
    run_timeout: Setting[float | None] | None = None
    max_cost_run: Setting[Decimal | None] | None = None
    repeat: Setting[int] | None = None
    reuse: Setting[float | None] | None = None
    images: Setting[str] | None = None
    model: Setting[str | None] | None = None
    base_url: Setting[str | None] | None = None
    reports: Setting[str] | None = None
    history: Setting[str | None] | None = None
    report_formats: Setting[tuple[str, ...]] | None = None
    fail_on: Setting[tuple[str, ...]] | None = None
    only: Setting[tuple[str, ...]] | None = None
    skip: Setting[tuple[str, ...]] | None = None
    profile: Setting[str] | None = None

    def over(self, other: Overrides) -> Overrides:
        """These where they are given, else the other's."""
        return Overrides(
            **{f.name: getattr(self, f.name) or getattr(other, f.name) for f in fields(Overrides)}
        )


@dataclass(frozen=True)
class Settings:
    """What a run goes by. ``image``, ``arch_image``, ``platform``, ``model`` and ``environment``'s values are
    templates here; each planned cell has them filled in."""

    matrix_file: str
    profile: str | None  # of the file, laid over it
    ref: str  # as upstream's tags write it: no v, branches slugged
    image: str
    arch_image: str | None
    platform: str
    repeat: int  # how often each cell is run
    reuse: float | None  # seconds: how old a pass may be that stands for a cell; None or 0: every cell is run
    max_parallel: int | None  # None: the engine's CPUs
    max_pulls: int
    max_starts: int
    fail_fast: bool
    timeout: float  # seconds, one native cell
    emulated_timeout_factor: float
    step_timeouts: Mapping[str, float]  # seconds by the step's name
    run_timeout: float | None  # seconds
    product_retries: int
    infrastructure_retries: int | None  # None: as failures.py says
    max_cost_cell: Decimal | None  # US dollars
    max_cost_run: Decimal | None
    resources: Resources
    images: str  # keep, or remove those that the run itself pulled
    model: str | None  # None: the stand-in
    base_url: str | None = field(repr=False)  # it may hold a password
    record: Path | None  # a recording of the model's calls to add to
    replay: Path | None  # or to answer from
    prices: Mapping[str, Price]  # by the model's name or a glob
    api_key_env: str  # the name of the variable
    replies: Path | None  # the file of what the stand-in answers
    environment: Mapping[str, str] = field(repr=False)  # values may come from secret variables
    scenarios: Mapping[str, Scenario] = field(repr=False)
    reports: Path
    named_history: str | None  # None: beside the runs
    report_formats: tuple[str, ...]
    grid_rows: str | None  # an axis, or scenario; None: the first
    grid_columns: str | None
    thresholds: Mapping[str, float | None]  # shares by measure; None: not judged
    fail_on: tuple[str, ...]
    only: tuple[str, ...]
    skip: tuple[str, ...]
    origins: Mapping[str, Setting[Any]] = field(repr=False)  # by field name, those with a source of their own

    @property
    def subject(self) -> str:
        """What is tested, for a headline: the image with its ref, the axes left open."""
        return self.image.replace("{ref}", self.ref)

    def slowness(self, emulated: bool) -> float:
        """By how much a cell's limits are stretched."""
        return self.emulated_timeout_factor if emulated else 1.0

    @property
    def history(self) -> Path:
        """The file that remembers runs."""
        return history_file(self.reports, self.named_history)

    def sources(self) -> dict[str, SettingValue]:
        """Every setting for the record, by its name in the file, without what could be a secret: of the
        environment and of scenarios only the names, and a URL without user, password and query."""
        shown: dict[str, Any] = {
            "profile": self.profile,
            "ref": self.ref,
            "image": self.image,
            "arch-image": self.arch_image,
            "platform": self.platform,
            "scenarios": list(self.scenarios),
            "repeat": self.repeat,
            "reuse": format_duration(self.reuse) if self.reuse else None,
            "max-parallel": self.max_parallel,
            "max-pulls": self.max_pulls,
            "max-starts": self.max_starts,
            "fail-fast": self.fail_fast,
            "timeout": format_duration(self.timeout),
            "emulated-timeout-factor": self.emulated_timeout_factor,
            "step-timeouts": {step: format_duration(limit) for step, limit in self.step_timeouts.items()},
            "run-timeout": self.run_timeout and format_duration(self.run_timeout),
            "retries.product": self.product_retries,
            "retries.infrastructure": self.infrastructure_retries,
            "max-cost.cell": self.max_cost_cell and format(self.max_cost_cell, "f"),
            "max-cost.run": self.max_cost_run and format(self.max_cost_run, "f"),
            "resources.memory": self.resources.memory_bytes and format_size(self.resources.memory_bytes),
            "resources.cpus": self.resources.cpus,
            "resources.pids": self.resources.pids,
            "images": self.images,
            "llm.model": self.model,
            "llm.base-url": self.base_url and without_password(self.base_url),
            "llm.record": self.record and str(self.record),
            "llm.replay": self.replay and str(self.replay),
            "llm.prices": {model: str(price) for model, price in self.prices.items()},
            "llm.api-key-env": self.api_key_env,
            "llm.replies": self.replies and str(self.replies),
            "environment": list(self.environment),
            "reports.folder": str(self.reports),
            "reports.history": str(self.history),
            "reports.formats": list(self.report_formats),
            "reports.rows": self.grid_rows,
            "reports.columns": self.grid_columns,
            "regression": {
                name: None if share is None else format_share(share)
                for name, share in self.thresholds.items()
            },
            "fail-on": list(self.fail_on),
            "only": list(self.only),
            "skip": list(self.skip),
        }
        return {name: SettingValue(value=value, source=self._said_by(name)) for name, value in shown.items()}

    def _said_by(self, name: str) -> str:
        source = self.origins[name].source
        return f"{source} {self.profile}" if source is Source.PROFILE else source


def resolve(matrix: Matrix, overrides: Overrides, environ: Mapping[str, str]) -> Settings:
    """The file's settings with what overrides them; ``environ`` may hold LLM_MODEL and LLM_BASE_URL.

    Raises BadInput for a base URL that is none.
    """
    origins: dict[str, Setting[Any]] = {"profile": overrides.profile or Setting(None, Source.DEFAULT)}

    def pick(name: str, value: T, *overriding: Setting[T] | None) -> T:
        written = Setting(value, _said_in_file(matrix, name))
        origins[name] = next((setting for setting in overriding if setting), written)
        chosen: T = origins[name].value
        return chosen

    def beside_file(name: str, path: str | None) -> Path | None:
        written = pick(name, path)
        return matrix.beside(written) if written else None

    def chosen(*overriding: Setting[str | None] | None) -> list[Setting[str | None]]:
        """Variables that are set for another model's sake do not change what a recording is asked."""
        given = [setting for setting in overriding if setting]
        return [one for one in given if not (matrix.llm.replay and one.source is Source.ENVIRONMENT)]

    only, skip = overrides.only, overrides.skip
    if only and matrix.skip and not skip:  # whoever names cells means them, whatever the file leaves out
        skip = Setting((), only.source, only.place)
    resources, llm, reports = matrix.resources, matrix.llm, matrix.reports
    prices = {
        model: Price(price.input, price.output, price.cached_input) for model, price in llm.prices.items()
    }
    settings = Settings(
        matrix_file=matrix.file,
        profile=matrix.profile,
        ref=tag_of_ref(pick("ref", matrix.ref, overrides.ref)),
        image=pick("image", matrix.image, overrides.image),
        arch_image=pick("arch-image", matrix.arch_image, overrides.arch_image),
        platform=pick("platform", matrix.platform),
        repeat=pick("repeat", matrix.repeat, overrides.repeat),
        reuse=pick("reuse", matrix.reuse, overrides.reuse),
        max_parallel=pick("max-parallel", matrix.max_parallel, overrides.max_parallel),
        max_pulls=pick("max-pulls", matrix.max_pulls),
        max_starts=pick("max-starts", matrix.max_starts),
        fail_fast=pick("fail-fast", matrix.fail_fast, overrides.fail_fast),
        timeout=pick("timeout", matrix.timeout, overrides.timeout),
        emulated_timeout_factor=pick("emulated-timeout-factor", matrix.emulated_timeout_factor),
        step_timeouts=pick("step-timeouts", matrix.step_timeouts),
        run_timeout=pick("run-timeout", matrix.run_timeout, overrides.run_timeout),
        product_retries=pick("retries.product", matrix.retries.product),
        infrastructure_retries=pick("retries.infrastructure", matrix.retries.infrastructure),
        max_cost_cell=pick("max-cost.cell", matrix.max_cost.cell),
        max_cost_run=pick("max-cost.run", matrix.max_cost.run, overrides.max_cost_run),
        resources=Resources(
            memory_bytes=pick("resources.memory", resources.memory),
            cpus=pick("resources.cpus", resources.cpus),
            pids=pick("resources.pids", resources.pids),
        ),
        images=pick("images", matrix.images, overrides.images),
        model=pick("llm.model", llm.model, *chosen(overrides.model, _variable(environ, "LLM_MODEL"))),
        base_url=pick(
            "llm.base-url", llm.base_url, *chosen(overrides.base_url, _variable(environ, "LLM_BASE_URL"))
        ),
        record=beside_file("llm.record", llm.record),
        replay=beside_file("llm.replay", llm.replay),
        prices=pick("llm.prices", prices),
        api_key_env=pick("llm.api-key-env", llm.api_key_env),
        replies=beside_file("llm.replies", llm.replies),
        environment=pick("environment", matrix.environment),
        scenarios=pick("scenarios", matrix.scenarios),
        reports=Path(pick("reports.folder", reports.folder, overrides.reports)),
        named_history=pick("reports.history", reports.history, overrides.history),
        report_formats=pick(
            "reports.formats", tuple(dict.fromkeys(reports.formats)), overrides.report_formats
        ),
        grid_rows=pick("reports.rows", reports.rows),
        grid_columns=pick("reports.columns", reports.columns),
        thresholds=pick("regression", dict(matrix.regression)),
        fail_on=pick("fail-on", tuple(dict.fromkeys(matrix.fail_on)), overrides.fail_on),
        only=pick("only", tuple(matrix.only), only),
        skip=pick("skip", tuple(matrix.skip), skip),
        origins=origins,
    )
    if (place := origins["fail-on"].place) and (problems := _not_judged(settings, place)):
        raise BadInput(problems)
    if not is_tag(settings.ref):
        place = origins["ref"].place
        problem = f"{origins['ref'].value!r} is no release, commit or branch"
        hint = "such as 1.58.2, a commit's hash, main, or latest"
        if not place:
            raise BadInput([matrix.problem(("ref",), f"ref: {problem}", hint)])
        raise BadInput([Problem(place, 0, 0, problem, hint)])
    if settings.base_url and not is_http_url(settings.base_url):
        place = origins["llm.base-url"].place
        raise BadInput(
            [Problem(place, 0, 0, "must be an http:// or https:// URL", "such as https://host/v1")]
        )
    return settings


def history_file(reports: Path, written: str | None) -> Path:
    """The file that remembers runs: as it is written somewhere, else in the reports' folder."""
    return Path(written) if written else reports / "history.sqlite"


def _not_judged(settings: Settings, place: str) -> list[Problem]:
    """What an option fails on though nothing judges it; what the file does, matrix_checks.py says."""
    return [
        Problem(place, 0, 0, f"{word} is not judged: regression.{word} is null", "give it a threshold there")
        for word in settings.fail_on
        if settings.thresholds.get(word, 0) is None
    ]


def api_key(settings: Settings, environ: Mapping[str, str]) -> str | None:
    """The key for the real model, None where none is called. Raises BadInput when the variable is not set."""
    if settings.model is None or settings.replay:
        return None
    if key := environ.get(settings.api_key_env):
        return key
    message = f"not set, and the model {settings.model} needs a key"
    hint = f"export {settings.api_key_env}=...; any text will do for an endpoint that wants none"
    raise BadInput([Problem(settings.api_key_env, 0, 0, message, hint)])


def provider_to_record(settings: Settings) -> str:
    """The base URL whose calls are recorded. Raises BadInput where there is none, or no real model at all."""
    if settings.model and settings.base_url:
        return settings.base_url
    if settings.model:
        message = "llm.record needs the provider's address: the recorder stands before it"
        hint = "set LLM_BASE_URL or llm.base-url, such as https://host/v1"
    else:
        message = "llm.record is for a real model, and the stand-in answers"
        hint = "name one: LLM_MODEL, LLM_BASE_URL, LLM_API_KEY; or leave record out"
    raise BadInput([Problem(settings.matrix_file, 0, 0, message, hint)])


def _said_in_file(matrix: Matrix, name: str) -> Source:
    said = matrix.said(*name.split("."))
    if not said:
        return Source.DEFAULT
    return Source.PROFILE if said[0].profile else Source.FILE


def _variable(environ: Mapping[str, str], name: str) -> Setting[str | None] | None:
    value = environ.get(name)
    return Setting(value, Source.ENVIRONMENT, name) if value else None
