"""results.json from anybody: what the history takes of it, and what it refuses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.history.database import History
from e2e_matrix.history.reading import Unreadable, read
from e2e_matrix.history.writing import run_folders
from support import report_samples as samples
from support.history_runs import cell, put

Told = dict[str, Any]


def _set(*where: Any) -> Callable[[Told], None]:
    """``_set("run", "id", 7)``: what stands at the path is 7."""
    *path, last, value = where

    def change(told: Told) -> None:
        at: Any = told
        for part in path:
            at = at[part]
        at[last] = value

    return change


def _twice(told: Told) -> None:
    told["cells"].append(told["cells"][0])


def _without_end(told: Told) -> None:
    told["cells"] = [{**told["cells"][0], "attempts": [], "steps": []}] * 10_001


HOSTILE: dict[str, Callable[[Told], None]] = {
    "a version of the future": _set("schema_version", 99),
    "no version": lambda told: told.pop("schema_version"),
    "an endless id": _set("run", "id", "x" * 1_000_000),
    "an empty id": _set("run", "id", ""),
    "NUL in an id": _set("cells", 0, "id", "python\0amd64"),
    "no object": lambda told: told.update(run=[]),
    "a moment without a zone": _set("run", "started_at", "2026-11-22T08:13:07"),
    "a moment before computers": _set("run", "started_at", "0001-01-01T00:00:00+14:00"),
    "the end of time": _set("cells", 0, "attempts", 0, "started_at", "9999-12-31T23:59:59Z"),
    "a number beyond SQLite's": _set("cells", 0, "image", "size_bytes", 2**64),
    "negative time": _set("cells", 0, "attempts", 0, "duration_seconds", -1),
    "money beyond reason": _set("cells", 0, "cost_usd", "1E+999999"),
    "money of a thousand digits": _set("cells", 0, "cost_usd", "0." + "0" * 1000 + "1"),
    "money that is none": _set("run", "totals", "cost_usd", "NaN"),
    "an outcome of its own": _set("cells", 0, "outcome", "splendid"),
    "two cells of one id": _twice,
    "ten thousand axes": _set("cells", 0, "axes", {f"axis{number}": "x" for number in range(10_000)}),
    "cells without end": _without_end,
}
TEXTS = {
    "no JSON": b"<html>502 Bad Gateway</html>",
    "cut short": b'{"schema_version": 4, "run": {"id": "x',
    "nothing": b"",
    "no UTF-8": b'{"schema_version": 4, "run": {"id": "\xff\xfe"}}',
    "half a surrogate": b'{"schema_version": 4, "run": {"id": "\\ud800"}}',
    "a hundred thousand brackets": b"[" * 100_000,
    "a number of a million digits": b'{"schema_version": ' + b"9" * 1_000_000 + b"}",
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_shape_that_no_run_has_is_refused_with_a_reason(
    tmp_path: Path, change: Callable[[Told], None]
) -> None:
    folder = put(tmp_path, 0)
    told = json.loads((folder / "results.json").read_text())
    change(told)
    (folder / "results.json").write_text(json.dumps(told))
    _is_refused(folder)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_no_document_is_refused_with_a_reason(tmp_path: Path, text: bytes) -> None:
    folder = put(tmp_path, 0)
    (folder / "results.json").write_bytes(text)
    _is_refused(folder)


def _is_refused(folder: Path) -> None:
    good = put(folder.parent, 1)
    with History.open(folder.parent / "history.sqlite") as history:
        done = history.import_runs(run_folders(folder.parent))
        assert [point.run for point in history.points()] == [good.name]
    [(refused, why)] = done.unreadable
    assert refused == folder
    assert 0 < len(why) < 400
    assert why.isprintable()


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda file: file.symlink_to(file.name)])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    file = put(tmp_path, 0) / "results.json"
    file.unlink()
    make(file)
    with pytest.raises(Unreadable):
        read(file.parent)


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path, 0).rename(tmp_path / "\udcff\x1b[31m")
    with pytest.raises(Unreadable, match="name cannot be written down"):
        read(folder)


def test_hostile_words_are_kept_short_and_do_no_harm(tmp_path: Path) -> None:
    told = cell("failed", message=samples.HOSTILE * 100, server=samples.server(samples.HOSTILE))
    with History.open(tmp_path / "history.sqlite") as history:
        history.add(put(tmp_path, 0, told, subject="'); DROP TABLE runs; --" + "x" * 10_000))
        [point] = history.points()
    assert point.message is not None
    assert point.message == (samples.HOSTILE * 2).replace("\0", "\ufffd")[:500]
    assert max(len(point.message), len(point.subject), len(point.server_version or "")) <= 500


def test_what_the_history_does_not_keep_may_be_anything(tmp_path: Path) -> None:
    folder = put(tmp_path, 0)
    told = json.loads((folder / "results.json").read_text())
    told["run"]["settings"] = told["cells"][0]["steps"] = told["of the future"] = {"x": [1, 2]}
    (folder / "results.json").write_text(json.dumps(told))
    assert len(read(folder).cells) == 1


def test_an_attempt_does_not_end_after_its_run(tmp_path: Path) -> None:
    told = cell(key="k")
    late = told.attempts[0].model_copy(update={"duration_seconds": 1e8})
    folder = put(tmp_path, 0, told.model_copy(update={"attempts": [late]}))
    reading = read(folder)
    assert reading.cells[0]["finished_at"] == reading.run["finished_at"]
