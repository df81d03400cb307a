"""What a run's folder keeps of the history, and what it refuses to read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from e2e_matrix.errors import BadInput
from e2e_matrix.failures import Outcome
from e2e_matrix.report import write_reports
from e2e_matrix.results import Evidence, Llm
from e2e_matrix.trend import LOOK_BACK, TREND, keep_trend, load_trend, seconds_of
from support import history_samples as history
from support import report_samples as samples

RUNS = range(3)


def test_what_is_kept_is_what_is_read_again(tmp_path: Path) -> None:
    kept = history.trend(samples.six_passed(), history.nightly(3, history.noise()))
    keep_trend(tmp_path, kept)
    assert load_trend(tmp_path) == kept
    assert [one.run for one in kept.cells["java-arm64"]] == [history.run_id(number) for number in RUNS]


def test_no_more_is_kept_than_a_report_looks_back_on_and_the_newest_of_it() -> None:
    kept = history.trend(samples.six_passed(), history.nightly(LOOK_BACK + 7))
    assert {len(runs) for runs in kept.cells.values()} == {LOOK_BACK}
    assert kept.cells["java-arm64"][-1].run == history.run_id(LOOK_BACK + 6)


def test_cells_that_the_run_does_not_have_are_left_out() -> None:
    gone = history.point(0, "python", "amd64", cell="gone")
    assert list(history.trend(samples.six_passed(), [gone]).cells) == []


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"emulated": True}, "it was emulated there"),
        ({"model": "openai/gpt-4o (provider)"}, "another model answered there"),
        ({"scenario": "boot"}, "the scenario was another there"),
        ({"scenario_version": "2"}, "the scenario was another there"),
        ({"reused": True}, "its pass is that of another run"),
        ({"duration_seconds": 0.0}, "it was not run there"),
    ],
)
def test_a_time_that_cannot_be_compared_is_not_kept(changed: dict[str, object], why: str) -> None:
    point = history.point(0, "python", "amd64")
    results = samples.six_passed()
    (alike,) = history.trend(results, [point]).cells["python-amd64"]
    (other,) = history.trend(results, [replace(point, **changed)]).cells["python-amd64"]  # type: ignore[arg-type]
    assert (alike.seconds, alike.apart) == (point.duration_seconds, None)
    assert (other.seconds, other.apart) == (None, why)


def test_an_image_is_the_same_by_its_digest_and_unknown_without_one() -> None:
    def same(digest: str | None) -> bool | None:
        point = history.point(0, "python", "amd64", digest=digest)
        return history.trend(samples.six_passed(), [point]).cells["python-amd64"][0].same_image

    mine = samples.image("python", "amd64").digest
    assert [same(mine), same("sha256:0"), same(None)] == [True, False, None]


def test_a_cell_s_own_time_is_that_of_the_attempt_that_counts_without_its_pull() -> None:
    cell = samples.six_passed().cells[0]
    counts = cell.counted_attempt
    assert counts is not None
    assert counts.phases.pull
    assert seconds_of(cell) == counts.duration_seconds - counts.phases.pull
    evidence = Evidence(run="r", cell=cell.id, finished_at=samples.START)
    assert seconds_of(cell.model_copy(update={"reused_from": evidence})) is None
    assert seconds_of(cell.model_copy(update={"attempts": []})) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file: Invalid JSON"),
        ('{"schema_version": 1, "cells": {"a": [{"run"', "the file: Invalid JSON"),
        ('{"schema_version": 1}', "cells: Field required"),
        ('{"schema_version": 1, "cells": {"a": [{"run": 7, "outcome": "passed"}]}}', "cells.a.0.run"),
        (
            '{"schema_version": 1, "cells": {"a": [{"run": "r", "outcome": "passed", "seconds": -1}]}}',
            "cells.a.0.seconds",
        ),
        ('{"schema_version": 99, "cells": {}}', "schema_version is 99; this program reads up to 1"),
        ("[]", "the file: Input should be an object"),
    ],
)
def test_a_broken_file_is_named_with_what_to_do(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / TREND).write_text(text, encoding="utf-8")
    with pytest.raises(BadInput) as refused:
        load_trend(tmp_path)
    assert f"{tmp_path / TREND}: {says}" in str(refused.value)
    assert "\n    " in str(refused.value)


def test_a_report_of_a_broken_one_says_so_and_one_without_is_as_before(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(samples.six_passed().model_dump_json(), encoding="utf-8")
    (report,) = write_reports(tmp_path, ["html"])
    before = report.read_text(encoding="utf-8")
    assert 'class="spark"' not in before
    (tmp_path / TREND).write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match=r"trend\.json"):
        write_reports(tmp_path, ["html"])


def test_a_file_says_nothing_twenty_thousand_times_over(tmp_path: Path) -> None:
    keep_trend(tmp_path, history.trend(samples.six_passed(), [history.point(0, "python", "amd64")]))
    (sample,) = json.loads((tmp_path / TREND).read_text())["cells"]["python-amd64"]
    assert set(sample) == {"run", "outcome", "seconds", "same_image"}


def test_the_model_is_that_of_the_run() -> None:
    results = samples.six_passed()
    run = results.run.model_copy(update={"llm": Llm(kind="provider", model="openai/gpt-4o")})
    point = history.point(0, "python", "amd64", model="openai/gpt-4o (provider)")
    kept = history.trend(results.model_copy(update={"run": run}), [point])
    assert kept.cells["python-amd64"][0].apart is None
    assert kept.cells["python-amd64"][0].outcome is Outcome.PASSED


def test_the_model_is_the_cells_own_where_it_has_one() -> None:
    results = samples.six_passed()
    cells = [cell.model_copy(update={"model": "openai/small"}) for cell in results.cells]
    points = [
        history.point(number, "python", "amd64", model=f"openai/{name} (stand-in)")
        for number, name in enumerate(("small", "gpt-4o"))
    ]
    kept = history.trend(results.model_copy(update={"cells": cells}), points).cells["python-amd64"]
    assert [(one.apart, one.other) for one in kept] == [
        (None, False),
        ("another model answered there", True),
    ]
