"""What every report says, computed once from the results: formats only differ in how they write it.

The order is the reader's: is it good to ship, what broke, the grid, where the time went, what was tested.
Strings that came from outside are raw here; each format escapes them (see escape.py).
"""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from e2e_matrix.advice import for_run, program_of, words_of
from e2e_matrix.failures import BROKEN, POLICIES, Cause, Outcome
from e2e_matrix.report.timeline import PHASES, PhasePanel, Timeline, phase_panels, timeline
from e2e_matrix.results import Attempt, Cell, Results, Run, ScriptRun, Step
from e2e_matrix.script_words import cost_words, detail_beside, notes, remarks, script_of
from e2e_matrix.text import UNKNOWN, format_bytes, format_money, format_seconds

_SPREAD = ("min", "median", "max")
# No axis may be called so: it stands for the cell's scenario where a run has several.
_SCENARIO = "scenario"


@dataclass(frozen=True)
class Verdict:
    """One line and one colour (``outcome``), and why."""

    outcome: Outcome
    headline: str
    reason: str


@dataclass(frozen=True)
class CellView:
    """A cell, with what several places of a report need to know about it."""

    cell: Cell
    anchor: str
    again: str
    llm: str  # the kind of the run's model

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


@dataclass(frozen=True)
class Broken:
    """A cell that failed or met an error: where, what it said, and what to do about it.

    ``step`` is the first that broke; ``also`` are the later ones, where the scenario could go on.
    """

    view: CellView
    step: Step | None
    also: list[Step]
    message: str
    what: str | None
    do: str | None
    expected: str | None
    got: str | None
    detail: str | None
    log: str | None
    output: str | None  # of the script


@dataclass(frozen=True)
class NotTested:
    """Cells without a verdict of their own, for one and the same cause."""

    outcome: Outcome
    message: str
    do: str | None
    cells: list[CellView]


@dataclass(frozen=True)
class Row:
    label: str
    slots: list[list[CellView]]


@dataclass(frozen=True)
class Grid:
    """The first two axes; ``group`` names one point of the further ones. An empty slot was not planned.

    Where a run has several scenarios they are the first axis.
    """

    group: dict[str, str]
    row_axis: str
    column_axis: str
    columns: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Kind:
    """Native or emulated cells: counted apart, never compared."""

    emulated: bool
    cells: int
    passed: int


@dataclass(frozen=True)
class View:
    """Everything a format needs, in the order in which it is read."""

    run: Run
    verdict: Verdict
    kinds: list[Kind]
    broken: list[Broken]
    flaky: list[CellView]
    retried: list[CellView]
    remarkable: list[CellView]
    not_tested: list[NotTested]
    grids: list[Grid]
    timeline: Timeline
    panels: list[PhasePanel]
    cells: list[CellView]
    scenarios: list[str] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    scripts: list[CellView] = field(default_factory=list)

    @property
    def model(self) -> str:
        """Which model answered: nobody may take the stand-in or a replay for a real one."""
        llm = self.run.llm
        kinds = {"stand-in": f"stand-in, as {llm.model}", "replay": f"replay of {llm.model}"}
        return kinds.get(llm.kind, llm.model)


def build(results: Results) -> View:
    """The view of a run. The same results give the same view: no clock, no environment."""
    run = results.run
    anchors = _anchors(results.cells)
    cells = [
        CellView(
            cell=cell,
            anchor=anchor,
            again=command_for(run, cell.id),
            llm=run.llm.kind,
        )
        for cell, anchor in zip(results.cells, anchors, strict=True)
    ]
    anchored = [(view.cell, view.anchor) for view in cells]
    # What is wrong with the product comes before what is wrong with the machine.
    scripts = [view for view in cells if view.script]
    broken = sorted((view for view in cells if view.broken), key=lambda view: BROKEN.index(view.cell.outcome))
    return View(
        run=run,
        verdict=_verdict(run),
        kinds=_kinds(results.cells),
        broken=[_broken(view, run) for view in broken],
        flaky=[view for view in cells if view.flaky],
        retried=[view for view in cells if view.retried],
        remarkable=[view for view in scripts if view.notes and not view.broken],
        not_tested=_not_tested(cells, run),
        grids=_grids(run, cells),
        timeline=timeline(anchored, run.duration_seconds, run.workers),
        panels=phase_panels(anchored),
        cells=cells,
        scenarios=list(dict.fromkeys(cell.scenario for cell in results.cells)),
        phases=[phase for phase in PHASES if phase != "script" or scripts],
        scripts=scripts,
    )


def command_for(run: Run, cell_id: str) -> str:
    """The command that runs just this cell again, with the options that the run had."""
    words = words_of(run.command)
    kept: list[str] = []
    skip_value = False
    for word in words:
        if skip_value:
            skip_value = False
        elif word in {"--only", "--skip"}:
            skip_value = True
        elif not word.startswith(("--only=", "--skip=")):
            kept.append(word)
    return shlex.join([program_of(run), *(kept or ["run"]), "--only", glob.escape(cell_id)])


def _verdict(run: Run) -> Verdict:
    totals = run.totals
    match run.verdict:
        case Outcome.PASSED if totals.passed == totals.cells + totals.left_out:
            headline = "Good to ship"
        case Outcome.PASSED:
            headline = "Good as far as it was tested"
        case Outcome.FAILED:
            headline = "Not good to ship"
        case Outcome.CANCELLED:
            headline = "No verdict: the run was stopped"
        case Outcome.NOT_RUN:
            headline = "No verdict: the run has not finished"
        case _ if not totals.error:
            headline = "No verdict: not everything was run"
        case _:
            headline = "No verdict: the infrastructure failed"
    return Verdict(run.verdict, headline, run.reason)


def _kinds(cells: Sequence[Cell]) -> list[Kind]:
    kinds = []
    for emulated in (False, True):
        # A platform that the engine cannot run is neither.
        alike = [
            cell for cell in cells if cell.emulated is emulated and cell.outcome is not Outcome.UNSUPPORTED
        ]
        if alike:
            kinds.append(Kind(emulated, len(alike), sum(cell.outcome is Outcome.PASSED for cell in alike)))
    return kinds


def _broken(view: CellView, run: Run) -> Broken:
    cell = view.cell
    steps = [step for step in cell.steps if step.outcome in BROKEN]
    step = steps[0] if steps else None
    cause = cell.cause or (step.cause if step else None)
    policy = POLICIES[cause] if cause else None
    message = (
        (step.message if step else None) or cell.message or (policy.what if policy else "no message was left")
    )
    log = view.last.log_excerpt if view.last else None
    output = view.script.output_excerpt if view.script else None
    detail = step.detail if step else None
    return Broken(
        view=view,
        step=step,
        also=steps[1:],
        message=message,
        what=policy.what if policy else None,
        do=for_run(policy.do, run) if policy else None,
        expected=step.expected if step else None,
        got=step.got if step else None,
        detail=detail_beside(detail, output) if detail != log else None,
        log=log,
        output=output,
    )


def _not_tested(cells: Sequence[CellView], run: Run) -> list[NotTested]:
    groups: dict[tuple[Outcome, Cause | None, str], list[CellView]] = {}
    for view in cells:
        cell = view.cell
        if cell.outcome is not Outcome.PASSED and not view.broken:
            what = POLICIES[cell.cause].what if cell.cause else cell.outcome.value
            groups.setdefault((cell.outcome, cell.cause, cell.message or what), []).append(view)
    return [
        NotTested(outcome, message, for_run(POLICIES[cause].do, run) if cause else None, alike)
        for (outcome, cause, message), alike in groups.items()
    ]


def _grids(run: Run, cells: Sequence[CellView]) -> list[Grid]:
    several = len({view.cell.scenario for view in cells}) > 1
    names = [*([_SCENARIO] if several else []), *run.axes]
    row_axis, column_axis = [*names[:2], "", ""][:2]
    further = names[2:]
    groups: dict[tuple[str, ...], list[CellView]] = {}
    for view in cells:
        groups.setdefault(tuple(_value(view, axis) for axis in further), []).append(view)
    rows, columns = _values(run, cells, row_axis), _values(run, cells, column_axis)
    return [
        Grid(
            group=dict(zip(further, point, strict=True)),
            row_axis=row_axis,
            column_axis=column_axis,
            columns=columns,
            rows=[
                Row(row, [_slot(alike, {row_axis: row, column_axis: column}) for column in columns])
                for row in rows
            ],
        )
        for point, alike in groups.items()
    ]


def _value(view: CellView, axis: str) -> str:
    """The cell's value of an axis; "" where it has no such axis."""
    return view.cell.scenario if axis == _SCENARIO else view.cell.axes.get(axis, "")


def _values(run: Run, cells: Sequence[CellView], axis: str) -> list[str]:
    """The axis's values in their order, then what `include` added."""
    used = dict.fromkeys(_value(view, axis) for view in cells)
    return [*run.axes.get(axis, []), *(value for value in used if value not in run.axes.get(axis, []))]


def _slot(cells: Sequence[CellView], point: dict[str, str]) -> list[CellView]:
    return [view for view in cells if all(_value(view, axis) == value for axis, value in point.items())]


def _anchors(cells: Sequence[Cell]) -> list[str]:
    taken: dict[str, int] = {}
    anchors = []
    for cell in cells:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", cell.id)[:80].strip("-") or "cell"
        taken[slug] = taken.get(slug, 0) + 1
        # A tilde is in no slug, so that a numbered one meets no other.
        anchors.append(f"cell-{slug}" if taken[slug] == 1 else f"cell-{slug}~{taken[slug]}")
    return anchors
