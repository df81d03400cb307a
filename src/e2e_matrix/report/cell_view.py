"""A cell as every report shows it. Strings that came from outside are raw here."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.advice import program_of, words_of
from e2e_matrix.compare import SCENARIO
from e2e_matrix.failures import BROKEN, Outcome
from e2e_matrix.report.escape import relative_link
from e2e_matrix.report.past import Past, past_of
from e2e_matrix.results import Attempt, Cell, Image, Run, ScriptRun
from e2e_matrix.reused_words import reused_from
from e2e_matrix.script_words import cost_words, notes, remarks, script_of
from e2e_matrix.text import UNKNOWN, format_bytes, format_money, format_seconds
from e2e_matrix.trend import Trend

_PAGE = "report.html"
# Options of a run that make way for those which run one cell of it, and which of two runs that take turns.
_CHOOSING = ("--only", "--skip", "--reuse")
_REFS = ("--ref", "--baseline-ref")
_SPREAD = ("min", "median", "max")
# https://github.com/opencontainers/image-spec/blob/main/annotations.md
_BASE_LABEL = "org.opencontainers.image.base.name"


@dataclass(frozen=True)
class CellView:
    """A cell, with what several places of a report need to know about it."""

    cell: Cell
    anchor: str
    again: str
    llm: str  # the kind of the run's model
    past: Past | None = None  # None: the run was made without a history
    evidence: str | None = None  # where the pass of another run that stands for it is told of

    def value_of(self, axis: str) -> str:
        """The cell's value of an axis; "" where it has no such axis."""
        return self.cell.scenario if axis == SCENARIO else self.cell.axes.get(axis, "")

    @property
    def reused(self) -> str | None:
        """Where another run's pass stands for it, in words."""
        return reused_from(self.cell)

    @property
    def flaky(self) -> bool:
        return self.cell.flaky

    @property
    def failed_before(self) -> Attempt | None:
        """Of a flaky cell, the first attempt in which the product failed."""
        return next((one for one in self.cell.attempts if one.outcome is Outcome.FAILED), None)

    @property
    def retried(self) -> Attempt | None:
        """The first attempt that the infrastructure spoilt, where a later one passed."""
        if self.cell.outcome is not Outcome.PASSED or self.cell.flaky:
            return None
        return next((one for one in self.cell.attempts if one.outcome is Outcome.ERROR), None)

    @property
    def tried(self) -> str | None:
        """How often a cell that broke was tried, where it was more than once."""
        if self.cell.repeat:
            return f"{self.cell.repeat.passed} of {self.cell.repeat.runs} repetitions passed"
        return f"{len(self.cell.attempts)} attempts" if len(self.cell.attempts) > 1 else None

    @property
    def repeated(self) -> str | None:
        """The pass rate of a cell that was run several times, and the spread of what passed."""
        repeat = self.cell.repeat
        if repeat is None:
            return None
        of = f"{repeat.passed} of {repeat.runs} passed"
        if repeat.runs < repeat.planned:
            of += f" ({repeat.planned} planned)"
        spreads = []
        if repeat.duration:
            low, middle, high = (format_seconds(getattr(repeat.duration, name)) for name in _SPREAD)
            spreads.append(f"{middle} ({low} to {high})")
        if repeat.cost:
            low, middle, high = (format_money(getattr(repeat.cost, name)) for name in _SPREAD)
            spreads.append(middle if low == high else f"{middle} ({low} to {high})")
        return ", ".join([of, *spreads])

    @property
    def broken(self) -> bool:
        return self.cell.outcome in BROKEN

    @property
    def cost(self) -> str:
        """What the cell cost; one that never came to talk to a model has none, which is not unknown."""
        words = cost_words(self.cell, self.llm)
        return "cost unknown" if words == UNKNOWN else words or "no conversation"

    @property
    def last(self) -> Attempt | None:
        """The attempt that counts."""
        return self.cell.counted_attempt

    @property
    def script(self) -> ScriptRun | None:
        """What the example script did, in the attempt that counts."""
        return script_of(self.cell)

    @property
    def remarks(self) -> list[str]:
        """What a person should know about the script, beside what it came to."""
        return remarks(self.script) if self.script else []

    @property
    def notes(self) -> list[str]:
        """What a person should know about a script that passed."""
        return notes(self.script) if self.script else []


def base_of(image: Image) -> str | None:
    """The image that this one was built on, as its labels say."""
    return image.labels.get(_BASE_LABEL)


def left_out(attempt: Attempt | None) -> str | None:
    """What is not in the attempt's server.log, where anything is not."""
    if attempt is None or attempt.log_bytes is None:
        return None
    parts = []
    if attempt.log_dropped_bytes:
        dropped, whole = format_bytes(attempt.log_dropped_bytes), format_bytes(attempt.log_bytes)
        parts.append(f"{dropped} from the middle of its {whole} are left out")
    if not attempt.log_complete:
        parts.append("the engine may have lost some of it")
    return "; ".join(parts) or None


def cell_views(
    run: Run, cells: Sequence[Cell], folder: Path | None = None, trend: Trend | None = None
) -> list[CellView]:
    """The cells of a run, each with an anchor of its own; ``folder`` is the run's, for links out of it."""
    return [
        CellView(
            cell=cell,
            anchor=anchor,
            again=command_for(run, cell.id),
            llm=run.llm.kind,
            past=past_of(cell, trend),
            evidence=evidence_link(cell, folder),
        )
        for cell, anchor in zip(cells, _anchors(cells), strict=True)
    ]


def evidence_link(cell: Cell, folder: Path | None) -> str | None:
    """A link to the page of the run whose pass stands for the cell, where it lies beside ``folder``."""
    evidence = cell.reused_from
    if folder is None or evidence is None or evidence.folder != f"../{evidence.run}":
        return None
    page = relative_link(evidence.run, _PAGE)
    if page is None or not (folder / ".." / evidence.run / _PAGE).is_file():
        return None
    return f"../{page}#cell-{_slug(evidence.cell)}"


def command_for(run: Run, cell_id: str) -> str:
    """The command that runs just this cell again, with the options and the profile that the run had; of two
    runs side by side, in this one alone.
    """
    in_turns = run.beside or any(word.partition("=")[0] == "--baseline-ref" for word in run.command)
    ref = run.settings.get("ref") if in_turns else None
    dropped = (*_CHOOSING, *(_REFS if ref else ()))
    kept: list[str] = []
    skip_value = False
    for word in words_of(run.command):
        if skip_value:
            skip_value = False
        elif word in dropped:
            skip_value = True
        elif word.partition("=")[0] not in dropped:
            kept.append(word)
    kept = kept or ["run"]
    profile = run.settings.get("profile")  # which a variable may have chosen
    if profile and profile.value and not any(word.partition("=")[0] == "--profile" for word in kept):
        kept += ["--profile", str(profile.value)]
    reuse = run.settings.get("reuse")
    kept += ["--no-reuse"] if reuse and reuse.value else []
    kept += ["--ref", str(ref.value)] if ref else []
    return shlex.join([program_of(run), *kept, "--only", glob.escape(cell_id)])


def _slug(cell_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", cell_id)[:80].strip("-") or "cell"


def _anchors(cells: Sequence[Cell]) -> list[str]:
    taken: dict[str, int] = {}
    anchors = []
    for cell in cells:
        slug = _slug(cell.id)
        taken[slug] = taken.get(slug, 0) + 1
        # A tilde is in no slug, so that a numbered one meets no other.
        anchors.append(f"cell-{slug}" if taken[slug] == 1 else f"cell-{slug}~{taken[slug]}")
    return anchors
