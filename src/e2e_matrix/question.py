"""What is asked of a run beside its own outcome, as its folder keeps it: a baseline, a claim, expectations.

``question.json`` lies beside ``baseline.json``, so that a report that is rendered again says the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from e2e_matrix import store
from e2e_matrix.api import Differences, of_run
from e2e_matrix.api.kept import carry
from e2e_matrix.assessment import Assessment, Expectation, Question, assess, expectations
from e2e_matrix.compare import compare_runs
from e2e_matrix.errors import (
    EXIT_FAILED,
    EXIT_INFRASTRUCTURE,
    EXIT_INTERRUPTED,
    EXIT_PASSED,
    BadInput,
    Problem,
)
from e2e_matrix.regression import FAILS
from e2e_matrix.results import Results
from e2e_matrix.store import load_baseline, write_atomically
from e2e_matrix.templates import did_you_mean

QUESTION = "question.json"
LONGEST_CLAIM = 2_000  # characters
_MEND = "Remove it; --claim and --expect write it again."


class _Kept(BaseModel):
    """The whole of question.json."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    claim: Annotated[str, Field(max_length=LONGEST_CLAIM)] | None = None
    expect: list[str] = []
    fail_on: list[str] | None = None


@dataclass(frozen=True)
class Asked:
    """What a person says of a run now; None: nothing new. An empty claim takes back the one that is kept."""

    claim: str | None = None
    expected: tuple[Expectation, ...] | None = None
    fail_on: tuple[str, ...] | None = None

    def over(self, kept: Question) -> Question:
        return Question(
            claim=kept.claim if self.claim is None else self.claim or None,
            expected=kept.expected if self.expected is None else self.expected,
            fail_on=kept.fail_on if self.fail_on is None else self.fail_on,
        )


def keep_baseline(folder: Path, baseline: Path) -> None:
    """Let the run in ``folder`` be compared with the one in ``baseline``, also where that is gone later.

    Raises ``BadInput`` where that has no results that can be read.
    """
    results = store.load(baseline)
    store.keep_baseline(folder, baseline)
    if baseline.resolve() != folder.resolve():
        carry(results, baseline, folder)


def keep_question(folder: Path, asked: Asked) -> None:
    """Let the run's folder know what is asked of it from now on. Raises ``BadInput`` as ``load_question``."""
    if asked == Asked():
        return
    question = asked.over(load_question(folder))
    kept = _Kept(
        claim=question.claim,
        expect=[str(one) for one in question.expected],
        fail_on=None if question.fail_on is None else list(question.fail_on),
    )
    write_atomically(folder / QUESTION, (kept.model_dump_json(indent=2) + "\n").encode())


def load_question(folder: Path) -> Question:
    """What is asked of the run in ``folder``. Raises ``BadInput`` where the file there is none of ours."""
    path = folder / QUESTION
    if not path.is_file():
        return Question()
    try:
        kept = _Kept.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}", _MEND)]) from error
    except ValidationError as error:
        raise BadInput(
            [
                Problem(
                    str(path), 0, 0, f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}", _MEND
                )
                for item in error.errors()[:10]
            ]
        ) from error
    if unknown := [word for word in kept.fail_on or () if word not in FAILS]:
        raise BadInput(
            [
                Problem(str(path), 0, 0, f"there is no {word!r} to fail on", did_you_mean(word, FAILS))
                for word in unknown
            ]
        )
    fail_on = None if kept.fail_on is None else tuple(kept.fail_on)
    return Question(kept.claim or None, expectations(kept.expect, str(path)), fail_on)


def assessed_in(folder: Path, results: Results) -> Assessment | None:
    """The run in ``folder`` against the baseline kept there, by what is asked of it; None without a baseline.

    Raises ``BadInput`` where what is kept cannot be read.
    """
    baseline = load_baseline(folder)
    if baseline is None:
        return None
    return assess(compare_runs(baseline, results), question=load_question(folder), folder=folder)


def keep_differences(folder: Path, results: Results) -> None:
    """Keep what differs between the APIs of the run in ``folder`` and its baseline's, and among its own.

    Raises ``BadInput`` as ``assessed_in``, ``InfrastructureError`` where the disk refuses.
    """
    differences = Differences.of(folder)
    of_run(results, folder, differences)
    if baseline := load_baseline(folder):
        assess(compare_runs(baseline, results), folder=folder, differences=differences)
    differences.keep(folder)


def exit_code_of(results: Results, assessed: Assessment | None) -> int:
    """How a command that made the run ends: with the worse of what the run and its comparison came to.

    That something is worse outweighs that something is not known.
    """
    run = results.run
    codes = {run.exit_code, assessed.exit_code if assessed else EXIT_PASSED}
    if assessed is None and run.beside and not run.for_comparison:
        codes.add(EXIT_INFRASTRUCTURE)  # what it was to be compared with is not there
    order = (EXIT_INTERRUPTED, EXIT_FAILED, EXIT_INFRASTRUCTURE)
    return next((code for code in order if code in codes), EXIT_PASSED)
