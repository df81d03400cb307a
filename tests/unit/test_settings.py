"""Every setting has one value and one source: command line > environment > file > default."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from e2e_matrix.engine.base import Resources
from e2e_matrix.errors import BadInput
from e2e_matrix.prices import Price
from e2e_matrix.regression import Policy
from e2e_matrix.settings import (
    Overrides,
    Setting,
    Settings,
    Source,
    api_key,
    provider_to_record,
    resolve,
)
from support.matrix_files import load

MATRIX = "matrix: {variant: [python], arch: [amd64]}\n"


def settings_of(
    folder: Path, text: str = "", overrides: Overrides | None = None, environ: dict[str, str] | None = None
) -> Settings:
    return resolve(load(folder, MATRIX + text), overrides or Overrides(), environ or {})


def test_without_anything_the_defaults_stand(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert settings.resources == Resources(memory_bytes=4 << 30, cpus=2.0, pids=512)
    assert (settings.timeout, settings.max_parallel, settings.fail_fast) == (600.0, None, False)
    assert (settings.model, settings.reports) == (None, Path("reports"))
    assert {setting.source for setting in settings.sources().values()} == {"default"}


@pytest.mark.parametrize(
    ("overrides", "environ", "value", "source"),
    [
        (Overrides(), {}, "from-file", "file"),
        (Overrides(), {"LLM_MODEL": "from-environ"}, "from-environ", "environment"),
        (Overrides(), {"LLM_MODEL": ""}, "from-file", "file"),
        (Overrides(model=Setting("typed", Source.COMMAND_LINE)), {"LLM_MODEL": "e"}, "typed", "command line"),
        (Overrides(model=Setting(None, Source.DEFAULT)), {"LLM_MODEL": "e"}, None, "default"),
    ],
)
def test_the_nearest_word_wins_and_is_named(
    tmp_path: Path, overrides: Overrides, environ: dict[str, str], value: str | None, source: str
) -> None:
    settings = settings_of(tmp_path, "llm: {model: from-file}\n", overrides, environ)
    assert settings.model == value
    assert settings.sources()["llm.model"].model_dump() == {"value": value, "source": source}


def test_the_file_counts_where_it_repeats_the_default(tmp_path: Path) -> None:
    sources = settings_of(tmp_path, "timeout: 10m\nresources: {cpus: 2}\n").sources()
    assert (sources["timeout"].value, sources["timeout"].source) == ("10m", "file")
    assert sources["resources.cpus"].source == "file"
    assert sources["resources.memory"].model_dump() == {"value": "4g", "source": "default"}


def test_thresholds_are_kept_so_that_they_read_back(tmp_path: Path) -> None:
    text = "regression: {boot: 12.5%, size: 0%, cost: 1234.567 %, init: null}\nfail-on: [cost, size, cost]\n"
    settings = settings_of(tmp_path, text)
    recorded = settings.sources()
    told = {name: recorded["regression"].value[name] for name in ("boot", "size", "cost", "init", "memory")}
    assert told == {"boot": "12.5%", "size": "0%", "cost": "1234.567%", "init": None, "memory": "10%"}
    policy = Policy.recorded(recorded)
    assert policy.thresholds == settings.thresholds
    assert policy.fail_on == settings.fail_on == ("cost", "size")


def test_what_is_over_wins_and_the_rest_stays() -> None:
    typed = Overrides(
        ref=Setting("typed", Source.COMMAND_LINE), fail_fast=Setting(False, Source.COMMAND_LINE)
    )
    demo = Overrides(ref=Setting("demo", Source.DEFAULT), image=Setting("x:{ref}", Source.DEFAULT))
    both = typed.over(demo)
    assert both.ref == typed.ref
    assert both.fail_fast == typed.fail_fast
    assert both.image == demo.image


def test_no_secret_reaches_the_record(tmp_path: Path) -> None:
    text = """\
llm: {model: m, base-url: "https://user:sk-secret@host/v1?key=sk-secret"}
environment: {TOKEN: "${TOKEN}"}
scenarios: {other: {password: "${TOKEN}"}}
"""
    matrix = load(tmp_path, MATRIX + text, {"TOKEN": "sk-secret"})
    settings = resolve(matrix, Overrides(), {"LLM_API_KEY": "sk-secret"})
    assert settings.environment == {"TOKEN": "sk-secret"}
    record = json.dumps({name: value.model_dump() for name, value in settings.sources().items()})
    assert "sk-secret" not in record + repr(settings)
    assert settings.sources()["llm.base-url"].value == "https://host/v1"
    assert settings.sources()["environment"].value == ["TOKEN"]


def test_a_base_url_of_the_environment_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="LLM_BASE_URL: must be an http:// or https:// URL"):
        settings_of(tmp_path, environ={"LLM_BASE_URL": "localhost:8000"})


def test_a_real_model_needs_the_key_that_the_file_names(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "llm: {model: m, api-key-env: MY_KEY}\n")
    assert api_key(settings, {"MY_KEY": "sk-1"}) == "sk-1"
    with pytest.raises(BadInput, match=r"MY_KEY: not set, and the model m needs a key\n +export MY_KEY="):
        api_key(settings, {"LLM_API_KEY": "sk-1"})
    assert api_key(settings_of(tmp_path), {"LLM_API_KEY": "sk-1"}) is None


def test_recordings_lie_beside_the_matrix_file_and_prices_are_exact(tmp_path: Path) -> None:
    text = "llm: {record: sub/calls.jsonl, prices: {'openai/*': {input: 2.50, output: 0, cached-input: 1}}}\n"
    settings = settings_of(tmp_path, text)
    assert (settings.record, settings.replay) == (tmp_path / "sub" / "calls.jsonl", None)
    assert settings.prices == {"openai/*": Price(Decimal("2.50"), Decimal(0), Decimal(1))}
    assert settings.sources()["llm.prices"].value == {
        "openai/*": "input 2.50, output 0, cached input 1 US dollars per million tokens"
    }


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"LLM_MODEL": "m", "LLM_BASE_URL": "https://host/v1"}, None),
        ({"LLM_MODEL": "m"}, "needs the provider's address.*\n +set LLM_BASE_URL"),
        ({}, "the stand-in answers.*\n +name one: LLM_MODEL"),
    ],
)
def test_only_a_provider_with_an_address_can_be_recorded(
    tmp_path: Path, environ: dict[str, str], words: str | None
) -> None:
    settings = settings_of(tmp_path, "llm: {record: calls.jsonl}\n", environ=environ)
    if words is None:
        assert provider_to_record(settings) == "https://host/v1"
        return
    with pytest.raises(BadInput, match=words):
        provider_to_record(settings)


def test_a_replay_goes_by_the_recorded_models_whatever_the_environment_names(tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").touch()
    environ = {"LLM_MODEL": "other/model", "LLM_BASE_URL": "nonsense"}
    settings = settings_of(tmp_path, "llm: {replay: calls.jsonl}\n", environ=environ)
    assert (settings.model, settings.base_url, api_key(settings, {})) == (None, None, None)
    written = settings_of(tmp_path, "llm: {replay: calls.jsonl, model: m}\n", environ=environ)
    assert (written.model, api_key(written, {})) == ("m", None)


def test_a_ref_that_no_registry_takes_is_one_problem(tmp_path: Path) -> None:
    matrix = load(tmp_path, "matrix: {variant: [python, java], arch: [amd64]}\n")
    given = Overrides(ref=Setting(";rm", Source.COMMAND_LINE, "--ref"))
    with pytest.raises(BadInput) as caught:
        resolve(matrix, given, {})
    assert [str(problem) for problem in caught.value.problems] == [
        "--ref: ';rm' is no release, commit or branch\n    such as 1.58.2, a commit's hash, main, or latest"
    ]


def test_images_are_kept_unless_somebody_says_so(tmp_path: Path) -> None:
    assert settings_of(tmp_path).images == "keep"
    assert settings_of(tmp_path, "images: remove\n").sources()["images"].model_dump() == {
        "value": "remove",
        "source": "file",
    }
    typed = Overrides(images=Setting("keep", Source.COMMAND_LINE))
    assert settings_of(tmp_path, "images: remove\n", typed).images == "keep"


def test_reports_may_be_the_folder_alone(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "reports: elsewhere\n")
    assert (settings.reports, settings.report_formats) == (Path("elsewhere"), ("html", "md"))
    assert settings.sources()["reports.folder"].source == "file"
    assert settings.sources()["reports.formats"].source == "default"


def test_reports_may_say_formats_and_the_axes_of_the_grid(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "reports: {formats: [md, md], rows: arch, columns: scenario}\n")
    assert (settings.report_formats, settings.reports) == (("md",), Path("reports"))
    assert (settings.grid_rows, settings.grid_columns) == ("arch", "scenario")
    assert settings.sources()["reports.folder"].source == "default"
