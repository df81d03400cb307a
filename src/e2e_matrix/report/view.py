"""What every report says, computed once from the results: formats only differ in how they write it.

The order is the reader's: is it good to ship, what broke, the grid, where the time went, what was tested.
Strings that came from outside are raw here; each format escapes them (see escape.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from e2e_matrix.advice import for_run
from e2e_matrix.api import of_run
from e2e_matrix.assessment import Assessment, Standing
from e2e_matrix.failures import BROKEN, POLICIES, Cause, Outcome
from e2e_matrix.question import assessed_in
from e2e_matrix.report.cell_view import CellView, cell_views
from e2e_matrix.report.grid import Axis, Grid, axes_of, grids
from e2e_matrix.report.phases import PHASES, PhasePanel, phase_panels
from e2e_matrix.report.timeline import Timeline, timeline
from e2e_matrix.results import Cell, Results, Run, SettingValue, Step
from e2e_matrix.script_words import described, detail_beside
from e2e_matrix.trend import Trend, load_trend


@dataclass(frozen=True)
class Verdict:
    """One line and one colour (``outcome``), and why."""

    outcome: Outcome
    headline: str
    reason: str


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

    @property
    def of_script(self) -> list[str]:
        """What the example script came to, and what to know of it; nothing where none ran."""
        script = self.view.script
        return [described(script), *self.view.remarks] if script else []

    @property
    def fault(self) -> tuple[object, ...]:
        """What makes cells the same news: all that is told of them but the logs."""
        step = self.step.name if self.step else None
        also = [(one.name, one.message) for one in self.also]
        said = (self.message, self.expected, self.got, self.do)
        return (self.view.cell.outcome, step, *said, *self.of_script, *also)


@dataclass(frozen=True)
class Fault:
    """One and the same failure, of one cell or of many; ``first`` speaks for them all."""

    broken: list[Broken]

    @property
    def first(self) -> Broken:
        return self.broken[0]

    @property
    def since(self) -> str:
        """Since when it fails, where that is known, and the same of all the cells."""
        known = {one.view.past.failing if one.view.past else "" for one in self.broken}
        return known.pop() if len(known) == 1 else ""


@dataclass(frozen=True)
class NotTested:
    """Cells without a verdict of their own, for one and the same cause."""

    outcome: Outcome
    message: str
    do: str | None
    cells: list[CellView]


@dataclass(frozen=True)
class Tested:
    """One image on one platform, with the cells that it ran in."""

    cells: list[CellView]

    @property
    def first(self) -> CellView:
        return self.cells[0]


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
    axes: list[Axis]
    grids: list[Grid]
    timeline: Timeline
    panels: list[PhasePanel]
    cells: list[CellView]
    changed: Assessment | None = None
    unlike: list[str] = field(default_factory=list)  # images of one ref that serve another API
    scenarios: list[str] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    scripts: list[CellView] = field(default_factory=list)

    @property
    def looks_back(self) -> bool:
        """Whether the history knows an earlier run of any cell."""
        return any(view.past and view.past.samples for view in self.cells)

    @property
    def faults(self) -> list[Fault]:
        """What broke, each fault once, natively or emulated: it often shows in every cell."""
        alike: dict[tuple[object, ...], list[Broken]] = {}
        for item in self.broken:
            alike.setdefault(item.fault, []).append(item)
        return [Fault(items) for items in alike.values()]

    @property
    def is_noteworthy(self) -> bool:
        """Whether there is anything to know beside what broke."""
        return bool(self.flaky or self.retried or self.remarkable or self.not_tested or self.unlike)

    def settings(self, default: bool) -> dict[str, SettingValue]:
        """Those of the run that stand as they come, or those that somebody chose."""
        return {name: one for name, one in self.run.settings.items() if (one.source == "default") is default}

    @property
    def images(self) -> list[Tested]:
        """What was tested, each image once."""
        alike: dict[tuple[object, ...], list[CellView]] = {}
        for view in self.cells:
            image, server = view.cell.image, view.cell.server.version
            alike.setdefault((image.reference, image.digest, view.cell.platform, server), []).append(view)
        return [Tested(cells) for cells in alike.values()]

    @property
    def model(self) -> str:
        """Which model answered: nobody may take the stand-in or a replay for a real one."""
        llm = self.run.llm
        kinds = {"stand-in": f"stand-in, as {llm.model}", "replay": f"replay of {llm.model}"}
        return kinds.get(llm.kind, llm.model)


def view_of(results: Results, folder: Path) -> View:
    """The view of a run in its folder: with what changed, where a baseline lies there, and with what its
    cells did before, where the history does.

    Raises ``BadInput`` where one of them, or what is asked of it, cannot be read.
    """
    return build(results, assessed_in(folder, results), folder, load_trend(folder))


def build(
    results: Results,
    changed: Assessment | None = None,
    folder: Path | None = None,
    trend: Trend | None = None,
) -> View:
    """The view of a run, and of what changed since its baseline.

    The same results give the same view: no clock, no environment.

    ``folder`` is the run's, with what lies beside it, which it links.
    """
    run = results.run
    cells = cell_views(run, results.cells, folder, trend)
    anchored = [(view.cell, view.anchor) for view in cells]
    # What is wrong with the product comes before what is wrong with the machine.
    scripts = [view for view in cells if view.script]
    broken = sorted((view for view in cells if view.broken), key=lambda view: BROKEN.index(view.cell.outcome))
    return View(
        run=run,
        verdict=_verdict(run, changed),
        kinds=_kinds(results.cells),
        broken=[_broken(view, run) for view in broken],
        flaky=[view for view in cells if view.flaky],
        retried=[view for view in cells if view.retried],
        remarkable=[view for view in scripts if view.notes and not view.broken],
        not_tested=_not_tested(cells, run),
        axes=axes_of(run, cells),
        grids=grids(run, cells),
        timeline=timeline(anchored, run.duration_seconds, run.workers, run.beside),
        panels=phase_panels(run, cells),
        cells=cells,
        changed=changed,
        unlike=[finding.words for finding in of_run(results, folder)],
        scenarios=list(dict.fromkeys(cell.scenario for cell in results.cells)),
        phases=[phase for phase in PHASES if phase != "script" or scripts],
        scripts=scripts,
    )


def _verdict(run: Run, changed: Assessment | None) -> Verdict:
    if changed and run.verdict is Outcome.PASSED and changed.standing is not Standing.PASS:
        # The command ended so, too: nobody may take it for a pass.
        worse = changed.standing is Standing.FAIL
        headline = "Not good to ship: worse than the baseline" if worse else "No verdict against the baseline"
        reason = f"{run.reason} {changed.standing} against the baseline: {changed.why}."
        return Verdict(Outcome.FAILED if worse else Outcome.ERROR, headline, reason)
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
