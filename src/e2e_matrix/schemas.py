"""``python -m e2e_matrix.schemas`` writes the JSON Schemas in docs/ from the models; a test compares them."""

from __future__ import annotations

import json
from pathlib import Path

from e2e_matrix.matrix import Matrix
from e2e_matrix.results import Results

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, str]:
    """File name -> text, as committed in docs/."""
    documents = {
        "matrix.schema.json": Matrix.model_json_schema(),
        # As written, not as read: money is always a string, and every key is there.
        "results.schema.json": Results.model_json_schema(mode="serialization"),
    }
    return {
        name: json.dumps({"$schema": _DIALECT, **schema}, indent=2, ensure_ascii=False) + "\n"
        for name, schema in documents.items()
    }


def write(folder: Path) -> list[Path]:
    """Write them all; the paths that were written."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in schemas().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in write(Path(__file__).parents[2] / "docs"):
        print(written)
