"""The APIs that runs have kept: all of one ref the same, and one run's against another's."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from e2e_matrix.api import (
    ApiChange,
    ApiComparison,
    ApiDifference,
    ApiPair,
    Kind,
    Severity,
    canonical_digest,
    of_cells,
    of_runs,
    same_api,
)
from e2e_matrix.api.consistency import ref_of
from e2e_matrix.api.document import operations
from e2e_matrix.api.kept import Described, Told, described_by
from e2e_matrix.failures import Outcome
from e2e_matrix.results import Api, Attempt, Cell, Evidence, Image, Server
from support.openapi_samples import Json, an_object, received
from support.sample_run import START, a_cell, a_run

OLD = received(an_object(name={"type": "string"}))
NEW = received(an_object(name={"type": "integer"}, size={"type": "integer"}))
OTHER_WORDS = received(an_object(name={"type": "string", "description": "of the thing"}))
SHA = "a" * 40


def kept(folder: Path, name: str, document: Json, *, server: Server | None = None, **changed: Any) -> Cell:
    """A cell whose server described itself so, with its file in the run's folder."""
    file = f"cells/{name}/attempt-1/openapi.json"
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1))
    api = Api(digest=canonical_digest(document), file=file, operations=1)
    return a_cell(name, attempts=[attempt(name, api)], attempt=1, server=server or Server(), **changed)


def attempt(name: str, api: Api | None) -> Attempt:
    return Attempt(
        number=1,
        outcome=Outcome.PASSED,
        started_at=START,
        duration_seconds=1,
        worker=0,
        run_offset_seconds=0,
        folder=f"cells/{name}/attempt-1",
        api=api,
    )


def image(tag: str) -> Image:
    return Image(reference=f"localhost:5000/agent-server:{tag}", platform="linux/amd64")


def test_a_document_is_kept_in_another_run_under_a_name_of_our_own(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    described = described_by({"a": kept(source, "a", OLD)}, source)["a"]
    api = described.kept_in(folder)
    assert api is not None
    assert (api.digest, api.operations) == (canonical_digest(OLD), operations(OLD))
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.json")] == [api.file]
    assert api.file == f"api/{canonical_digest(OLD)[7:23]}.json"
    assert canonical_digest(Described(api, folder).document()) == api.digest
    (source / described.api.file).unlink()
    assert described.kept_in(tmp_path / "other") is None
    assert not (tmp_path / "other").exists()


def test_images_that_serve_the_same_are_no_finding(tmp_path: Path) -> None:
    cells = [kept(tmp_path, name, OLD) for name in ("python-amd64", "python-arm64", "java-amd64")]

    assert same_api(cells, folder=tmp_path) == []
    assert same_api([]) == []


def test_an_image_that_differs_is_a_finding_that_says_what_differs(tmp_path: Path) -> None:
    cells = [
        kept(tmp_path, "java-arm64", NEW),
        kept(tmp_path, "python-amd64", OLD),
        kept(tmp_path, "python-arm64", OLD),
    ]

    (finding,) = same_api(cells, folder=tmp_path)

    assert (finding.cells, finding.others) == (("java-arm64",), ("python-amd64", "python-arm64"))
    assert (finding.digest, finding.others_digest) == (canonical_digest(NEW), canonical_digest(OLD))
    assert finding.told.difference is not None
    assert [change.kind for change in finding.told.difference.breaking] == [Kind.TYPE_CHANGED]
    assert finding.words.startswith("java-arm64 describes another API than 2 cells of ")
    assert "1 breaking change, 1 compatible" in finding.words


def test_of_two_that_are_equally_common_the_first_is_the_reference(tmp_path: Path) -> None:
    cells = [kept(tmp_path, "a-amd64", NEW), kept(tmp_path, "b-amd64", OLD)]

    (finding,) = same_api(cells, folder=tmp_path)

    assert (finding.others, finding.cells) == (("a-amd64",), ("b-amd64",))
    assert "than a-amd64 of" in finding.words


def test_every_other_api_is_a_finding_of_its_own(tmp_path: Path) -> None:
    documents = {"a-amd64": OLD, "b-amd64": OLD, "c-amd64": NEW, "d-amd64": received({}), "e-amd64": NEW}

    found = same_api([kept(tmp_path, *one) for one in documents.items()], folder=tmp_path)

    assert [finding.cells for finding in found] == [("c-amd64", "e-amd64"), ("d-amd64",)]
    assert found[0].words.startswith("c-amd64, e-amd64 describe another API")


def test_other_words_alone_are_told_as_that(tmp_path: Path) -> None:
    cells = [kept(tmp_path, "a-amd64", OLD), kept(tmp_path, "b-amd64", OTHER_WORDS)]

    (finding,) = same_api(cells, folder=tmp_path)

    assert "only its documentation is different" in finding.words


def test_without_the_folder_the_digests_are_told(tmp_path: Path) -> None:
    cells = [kept(tmp_path, "a-amd64", OLD), kept(tmp_path, "b-amd64", NEW)]

    (finding,) = same_api(cells)

    assert finding.told.difference is None
    assert "not known" in finding.words
    assert canonical_digest(NEW)[:19] in finding.words


def test_cells_without_a_description_are_no_part_of_it(tmp_path: Path) -> None:
    silent = a_cell("b-amd64", attempts=[attempt("b-amd64", None)], attempt=1)

    assert same_api([kept(tmp_path, "a-amd64", OLD), silent, a_cell("c-amd64", attempts=[])]) == []


def test_only_the_attempt_that_counts_does(tmp_path: Path) -> None:
    cell = kept(tmp_path, "a-amd64", NEW)
    earlier = kept(tmp_path, "a-amd64", OLD).attempts[0]
    counts = cell.attempts[0].model_copy(update={"number": 2})
    cell = cell.model_copy(update={"attempts": [earlier, counts], "attempt": 2})

    (finding,) = same_api([kept(tmp_path, "b-amd64", OLD), cell])

    assert finding.digest == canonical_digest(NEW)


@pytest.mark.parametrize(
    ("one", "other", "compared"),
    [
        ({"axes": {"ref": "1.0"}}, {"axes": {"ref": "2.0"}}, False),
        ({"axes": {"ref": "1.0"}}, {"axes": {"ref": "1.0"}}, True),
        # The run's ref is in the tag: what was built from something else is to be found.
        (
            {"image": image("7.1-python"), "server": Server(build_git_sha=SHA, version="7.1")},
            {"image": image("7.1-java"), "server": Server(build_git_sha="b" * 40, version="7.2")},
            True,
        ),
        ({"image": image("7.1")}, {"image": image("7.1-java"), "server": Server(version="7.2")}, True),
        # It is in neither: several releases under names of their own.
        ({"image": image("7.10-x")}, {"image": image("old"), "server": Server(version="7.2")}, False),
        ({"server": Server(build_git_sha=SHA)}, {"server": Server(build_git_sha="b" * 40)}, False),
        ({"server": Server(build_git_sha=SHA)}, {"server": Server(build_git_sha=SHA)}, True),
        ({"server": Server(version="1.0")}, {"server": Server(version="2.0")}, False),
        (
            {"server": Server(build_git_sha="unknown", version="1.0")},
            {"server": Server(build_git_sha="unknown", version="2.0")},
            False,
        ),
        ({}, {}, True),
    ],
)
def test_only_cells_of_one_ref_are_compared(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], compared: bool
) -> None:
    cells = [kept(tmp_path, "a-amd64", OLD, **one), kept(tmp_path, "b-amd64", NEW, **other)]

    assert bool(same_api(cells, ref="7.1")) is compared


def test_a_port_is_no_tag() -> None:
    cell = a_cell("a-amd64", image=Image(reference="localhost:5000/server", platform="linux/amd64"))

    assert ref_of(cell, "5000") == "an unknown version"


def test_two_runs_are_compared_cell_by_cell(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    names = ("a-amd64", "b-amd64", "c-amd64")
    baseline = a_run(*(kept(before, name, OLD) for name in names), kept(before, "gone-amd64", OLD))
    candidate = a_run(*(kept(after, name, NEW) for name in names[:2]), kept(after, "c-amd64", OLD))

    found = of_runs(before, baseline, after, candidate)

    assert [pair.cells for pair in found.pairs] == [("a-amd64", "b-amd64"), ("c-amd64",)]
    assert [pair.told.words for pair in found.pairs] == ["1 breaking change, 1 compatible", "the same API"]
    assert found.words == "2 cells: 1 breaking change, 1 compatible; 1 cell: the same API"
    ((change, cells),) = found.breaking
    assert (change.where, cells) == ("response 200: name", ("a-amd64", "b-amd64"))
    assert found.known


def test_runs_of_the_same_api_say_so_without_a_file(tmp_path: Path) -> None:
    run = a_run(kept(tmp_path, "a-amd64", OLD))

    found = of_runs(Path("/nowhere"), run, Path("/nowhere"), run)

    assert (found.words, found.known, found.breaking) == ("the same API", True, [])


def test_what_breaks_in_two_ways_of_going_is_told_once(tmp_path: Path) -> None:
    newer = received(an_object(name={"type": "integer"}))
    baseline = a_run(kept(tmp_path / "b", "a-amd64", OLD), kept(tmp_path / "b", "b-amd64", OLD))
    candidate = a_run(kept(tmp_path / "c", "a-amd64", NEW), kept(tmp_path / "c", "b-amd64", newer))

    found = of_runs(tmp_path / "b", baseline, tmp_path / "c", candidate)

    assert [cells for _, cells in found.breaking] == [("a-amd64", "b-amd64")]


def test_a_side_without_a_description_is_not_known(tmp_path: Path) -> None:
    evidence = Evidence(run="R1", cell="c-amd64", finished_at=datetime(2026, 1, 1, tzinfo=UTC))
    names = ("a-amd64", "b-amd64", "c-amd64")
    baseline = a_run(*(kept(tmp_path, name, OLD) for name in names))
    candidate = a_run(
        a_cell("a-amd64", attempts=[attempt("a-amd64", None)], attempt=1),
        a_cell("b-amd64", attempts=[]),
        a_cell("c-amd64", attempts=[], reused=True, reused_from=evidence),
    )

    found = of_runs(tmp_path, baseline, tmp_path, candidate)

    assert found.undescribed == {
        "a-amd64": "no description was kept in the candidate",
        "b-amd64": "it did not run in the candidate",
        "c-amd64": "its pass is one of run R1 in the candidate",
    }
    assert not found.known
    assert found.words == "not known of 3 cells"
    assert of_runs(tmp_path, candidate, tmp_path, baseline).undescribed.keys() == set(names)


def test_runs_without_a_common_cell(tmp_path: Path) -> None:
    one, other = a_run(kept(tmp_path, "a-amd64", OLD)), a_run(kept(tmp_path, "b-amd64", OLD))

    assert of_runs(tmp_path, one, tmp_path, other).words == "no cell is in both"


def gone(folder: Path, path: Path) -> None:
    path.unlink()


def another(folder: Path, path: Path) -> None:
    path.write_text(json.dumps(received({})))


def broken(folder: Path, path: Path) -> None:
    path.write_bytes(b"\xff[")


def flood(folder: Path, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**12)  # no memory holds it


def outside(folder: Path, path: Path) -> None:
    secret = folder.parent / "outside.json"
    secret.write_text(json.dumps(NEW))
    path.unlink()
    path.symlink_to(secret)


def is_folder(folder: Path, path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (gone, "cannot be read: No such file"),
        (another, "is not what the run kept"),
        (broken, "is no JSON"),
        (flood, "is larger than 16.0 MB"),
        (outside, "is no file inside the run's folder"),
        (is_folder, "is no file inside the run's folder"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_not_known(
    tmp_path: Path, harm: Callable[[Path, Path], None], says: str
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    baseline, candidate = a_run(kept(before, "a-amd64", OLD)), a_run(kept(after, "a-amd64", NEW))
    harm(after, after / "cells/a-amd64/attempt-1/openapi.json")

    (pair,) = of_runs(before, baseline, after, candidate).pairs

    assert pair.told.difference is None
    assert says in pair.told.words
    assert "openapi.json" in pair.told.words


@pytest.mark.parametrize("file", ["../after/openapi.json", "/etc/hostname", "a\0b", "", "\x1b[31mx" * 500])
def test_a_name_of_a_file_that_leads_elsewhere_is_not_known(tmp_path: Path, file: str) -> None:
    one = kept(tmp_path, "a-amd64", OLD)
    other = a_cell(
        "a-amd64",
        attempts=[attempt("a-amd64", Api(digest=canonical_digest(NEW), file=file, operations=1))],
        attempt=1,
    )

    found = of_cells({"a": one}, tmp_path, {"a": other}, tmp_path)

    assert found.pairs[0].told.difference is None
    assert not found.known
    assert found.words.isprintable()
    assert len(found.words) < 400


def test_what_is_too_intricate_is_not_known(tmp_path: Path) -> None:
    members = [an_object(**{f"a{number}": {}}) for number in range(3000)]
    one, other = kept(tmp_path, "a-amd64", received({"anyOf": members})), kept(tmp_path, "b-amd64", OLD)

    found = of_cells({"a": other}, tmp_path, {"a": one}, tmp_path)

    assert "is too intricate to compare" in found.words


def test_what_breaks_is_counted_over_all_pairs_with_what_is_not_listed() -> None:
    def pair(names: tuple[str, ...], *paths: str, omitted: int = 0) -> ApiPair:
        changes = [ApiChange(Kind.PATH_REMOVED, Severity.BREAKING, (path,), path) for path in paths]
        return ApiPair(names, "a", "b", Told(ApiDifference(changes, omitted_breaking=omitted)))

    one = pair(("python-amd64", "python-arm64"), "/a", "/b")
    assert ApiComparison([one], {}).breaks == "2 breaking changes in 2 cells"
    other = pair(("java-amd64",), "/b", omitted=3)
    assert ApiComparison([one, other], {}).breaks == "5 breaking changes in 3 cells"
    assert ApiComparison([pair(("python-amd64",))], {}).breaks == ""
    assert ApiComparison([pair(("python-amd64",), "/a"), pair(("java-amd64",))], {}).breaks == (
        "1 breaking change in 1 cell"
    )
