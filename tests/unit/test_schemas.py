"""What code writes into docs/ is current, and the JSON Schemas say the same as the program."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from e2e_matrix.results import Results
from e2e_matrix.schemas import documents, schemas, write
from support import report_samples as samples
from support import script_samples

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", documents())
def test_what_code_writes_into_the_docs_is_current(name: str) -> None:
    hint = "run `python -m e2e_matrix.schemas` and commit docs/"
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == documents()[name], hint


def test_writing_makes_every_schema_valid(tmp_path: Path) -> None:
    paths = write(tmp_path / "docs")
    assert [path.name for path in paths] == list(documents())
    for path in paths[: len(schemas())]:
        jsonschema.Draft202012Validator.check_schema(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "results", [samples.six_passed(), samples.broken(), samples.hostile(), script_samples.with_scripts()]
)
def test_what_a_run_leaves_fits_the_schema(results: Results) -> None:
    schema = jsonschema.Draft202012Validator(json.loads(schemas()["results.schema.json"]))
    written = json.loads(results.model_dump_json())
    schema.validate(written)
    written["cells"][0]["cost_usd"] = 0.1
    assert not schema.is_valid(written)  # money is text


def matrix_schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(yaml.safe_load(schemas()["matrix.schema.json"]))


def test_the_committed_matrix_fits_the_schema() -> None:
    matrix_schema().validate(yaml.safe_load((ROOT / "matrix.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "text",
    [
        "ref: a",
        "matrix: {variant: []}",
        "matrix: {variant: [a]}\ntimout: 10m",
        "matrix: {variant: [a]}\ntimeout: 10",
        "matrix: {variant: [a]}\nresources: {memory: 4}",
        "matrix: {variant: [a]}\nenvironment: {A-B: c}",
        "matrix: {variant: [a]}\nllm: {api-key: x}",
        "matrix: {variant: [a], include: [{}]}",
        "matrix: {variant: [a]}\nscenarios: {x: {script: a.py, timout: 1m}}",
        "matrix: {variant: [a]}\nscenarios: {x: {script: a.py, sdk: newest}}",
        "matrix: {variant: [a]}\nscenarios: {x: {script: a.py, expect: {exit: 256}}}",
        "matrix: {variant: [a]}\nscenarios: {x: {script: '*.py', per-script: {a.py: {at: b}}}}",
    ],
)
def test_an_editor_sees_what_the_program_would_refuse(text: str) -> None:
    assert not matrix_schema().is_valid(yaml.safe_load(text))


def test_an_editor_takes_what_the_program_does_of_scripts() -> None:
    script = "{script: a.py, sdk: 1.58, at: 1234567, per-script: {a: {sdk: 1.58.0}}}"
    scenarios = f"scenarios: {{deferred-init: , x: {script}, other: {{gate: all}}}}"
    matrix_schema().validate(yaml.safe_load(f"matrix: {{variant: [a]}}\n{scenarios}"))
