"""The descriptions that runs have kept, and what they say of one another.

A file of a run's folder is as hostile as anything: it is read only where it lies inside the folder, is no
larger than a description may be, and is what the run wrote down that it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ValidationError

from e2e_matrix.api.changes import RULES, ApiDifference
from e2e_matrix.api.difference import difference
from e2e_matrix.api.document import MAX_BYTES, Json, canonical, canonical_digest, operations, read
from e2e_matrix.errors import BadInput, Problem
from e2e_matrix.results import Api, Cell, Results
from e2e_matrix.store import api_file, write_atomically
from e2e_matrix.text import one_line

KEPT = "api-differences.json"


class _File(BaseModel):
    """The whole of api-differences.json; by the two digests with a blank between them."""

    rules: int
    differences: dict[str, ApiDifference]


@dataclass(frozen=True)
class Described:
    """An API that a cell's server described, and the run's folder that the description lies in."""

    api: Api
    folder: Path | None

    def document(self) -> Json:
        """Raises ``BadInput`` where it is not there, or not what the run wrote down that it is."""
        name = self.api.file
        if self.folder is None:
            raise BadInput([Problem(name, 0, 0, "the run's folder is not at hand")])
        try:
            path = (self.folder / name).resolve(strict=True)
            if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
                raise BadInput([Problem(name, 0, 0, "is no file inside the run's folder")])
            with path.open("rb") as file:
                document = read(file.read(MAX_BYTES + 1), name)
        except OSError as error:
            raise BadInput([Problem(name, 0, 0, f"cannot be read: {error.strerror}")]) from error
        except ValueError as error:  # a path with a NUL
            raise BadInput([Problem(name, 0, 0, "is no name of a file")]) from error
        if canonical_digest(document) != self.api.digest:
            raise BadInput([Problem(name, 0, 0, f"is not what the run kept: that was {self.api.digest}")])
        return document

    def kept_in(self, folder: Path) -> Api | None:
        """The same, with its document in the ``folder`` of another run; None where it is not to be had.

        Raises ``InfrastructureError`` where the disk refuses.
        """
        try:
            document = self.document()
        except BadInput:
            return None
        file = api_file(self.api.digest)
        write_atomically(folder / file, canonical(document).encode())
        return Api(digest=self.api.digest, file=file, operations=operations(document))


@dataclass(frozen=True)
class Told:
    """What is different between two descriptions; of one of the two None."""

    difference: ApiDifference | None = None
    unknown: str | None = None

    @property
    def words(self) -> str:
        return self.difference.words if self.difference is not None else f"not known: {self.unknown}"


@dataclass
class Differences:
    """Compares each pair of digests once, over all the renderings of a run's folder.

    What was found is kept in ``api-differences.json``, so that a report can be rendered again where the
    descriptions themselves, half a megabyte each, were not carried along.
    """

    _told: dict[tuple[str, str], Told] = field(default_factory=dict)
    _kept: dict[str, ApiDifference] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path | None) -> Differences:
        """With what ``folder`` keeps; with nothing where that is not ours or was found by other rules."""
        if folder is None:
            return cls()
        try:
            kept = _File.model_validate_json((folder / KEPT).read_bytes())
        except (OSError, ValidationError):
            return cls()
        return cls(_kept=kept.differences if kept.rules == RULES else {})

    def keep(self, folder: Path) -> None:
        """Write down what was found, if anything was. Raises ``InfrastructureError``."""
        found = {
            _name(key): told.difference for key, told in self._told.items() if told.difference is not None
        }
        if found.keys() - self._kept.keys():
            file = _File(rules=RULES, differences={**self._kept, **found})
            write_atomically(folder / KEPT, (file.model_dump_json(indent=1) + "\n").encode())

    def between(self, baseline: Described, candidate: Described) -> Told:
        """Never raises: what cannot be compared is not known, with the reason."""
        key = (baseline.api.digest, candidate.api.digest)
        if key[0] == key[1]:
            return Told(ApiDifference())
        if (kept := self._kept.get(_name(key))) is not None:
            return Told(kept)
        if key not in self._told:
            try:
                self._told[key] = Told(difference(baseline.document(), candidate.document()))
            except BadInput as error:
                reasons = (f"{problem.file} {problem.message}".strip() for problem in error.problems)
                self._told[key] = Told(unknown=one_line("; ".join(reasons), 300))
        return self._told[key]


def carry(results: Results, source: Path, target: Path) -> None:
    """Take what the servers of the run in ``source`` described along into another run's folder.

    What cannot be read there is not known here either. Raises ``InfrastructureError`` where the disk refuses.
    """
    described = described_by({cell.id: cell for cell in results.cells}, source)
    for one in {one.api.digest: one for one in described.values()}.values():
        # By that name the results that are carried along ask for it.
        if one.api.file == api_file(one.api.digest) and not (target / one.api.file).exists():
            one.kept_in(target)


def _name(digests: tuple[str, str]) -> str:
    return " ".join(digests)


def described_by(cells: Mapping[str, Cell], folder: Path | None) -> dict[str, Described]:
    """By the names of the cells, those whose attempt that counts, or reused pass, has a description."""
    apis = {name: _api_of(cell) for name, cell in cells.items()}
    return {name: Described(api, folder) for name, api in apis.items() if api}


def _api_of(cell: Cell) -> Api | None:
    if cell.reused_from is not None:
        return cell.reused_from.api
    # Of repetitions only the first is asked; what counts may be another.
    return next((one.api for one in (cell.counted_attempt, *cell.attempts) if one and one.api), None)
