"""``python -m e2e_matrix.schemas`` writes what docs/ says of the code, from the code; a test compares it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from e2e_matrix import failures
from e2e_matrix.matrix import Matrix
from e2e_matrix.matrix_profiles import MAX_PROFILES, NAME_PATTERN, PROFILES
from e2e_matrix.results import Results

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FAILURES = """# What a failure means

One table decides it: `src/e2e_matrix/failures.py`, from which this page is written. *failed* means that the
product is wrong, *error* that the infrastructure is, *cancelled* that something stopped it or kept it from
starting, *not run* that the run was over before. `retries` in matrix.yaml changes how often a cell is tried;
the pauses have a jitter of up to a half, and a Retry-After of up to 15 minutes is honoured. What has no row
is `internal`: an error of its own cell, with a diagnostic.txt for a bug report.

"""


def schemas() -> dict[str, str]:
    """File name -> text, as committed in docs/."""
    documents = {
        "matrix.schema.json": _with_profiles(Matrix.model_json_schema()),
        # As written, not as read: money is always a string, and every key is there.
        "results.schema.json": Results.model_json_schema(mode="serialization"),
    }
    return {
        name: json.dumps({"$schema": _DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"
        for name, schema in documents.items()
    }


def _with_profiles(schema: dict[str, Any]) -> dict[str, Any]:
    """Every key of the file may stand in a profile, and means there what it means in the file."""
    keys = schema["properties"]
    schema["$defs"]["Profile"] = {
        "description": "What is different with this profile.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {key: {"$ref": f"#/properties/{key}"} for key in keys},
    }
    keys[PROFILES] = {
        "description": "By name: what --profile NAME lays over this file",
        "type": "object",
        "maxProperties": MAX_PROFILES,
        "propertyNames": {"pattern": f"^{NAME_PATTERN}$"},
        "additionalProperties": {"$ref": "#/$defs/Profile"},
    }
    return schema


def documents() -> dict[str, str]:
    """File name -> text of everything in docs/ that is written by code."""
    header, *rows = failures.table()
    lines = (f"| {' | '.join(line)} |\n" for line in (header, ("---",) * len(header), *rows))
    return {**schemas(), "failures.md": _FAILURES + "".join(lines)}


def write(folder: Path) -> list[Path]:
    """Write them all; the paths that were written."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in documents().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in write(Path(__file__).parents[2] / "docs"):
        print(written)
