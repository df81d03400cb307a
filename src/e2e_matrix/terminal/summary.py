"""What stands on the screen when a run has ended: a table, what to do, the verdict, the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from e2e_matrix.advice import for_run
from e2e_matrix.failures import POLICIES, Outcome
from e2e_matrix.report import files_of
from e2e_matrix.results import Cell, Results, Run, Step
from e2e_matrix.reused_words import evidence_by_run
from e2e_matrix.script_words import (
    cost_words,
    counted,
    described,
    detail_beside,
    own_seconds,
    remarks,
    script_of,
)
from e2e_matrix.store import RESULTS
from e2e_matrix.summary import WORST_FIRST
from e2e_matrix.terminal.screen import STYLES, Screen, outcome_words
from e2e_matrix.text import NO_VALUE, block, format_money, format_seconds, one_line

# As results.json calls them, and where there is little room.
_PHASES = {"pull": "pull", "boot": "boot", "init": "init", "conversation": "talk", "removal": "stop"}
_NAMES_SHOWN = 8
_DETAIL_LINES = 6
_INDENT = 11
_SHORTEST_ID = 14


def show_summary(screen: Screen, results: Results, folder: str) -> None:
    """Everything; the verdict and the files come last, where a person looks first."""
    cells = sorted(results.cells, key=lambda cell: WORST_FIRST.index(cell.outcome))
    screen.line("")
    _show_cells(screen, cells, results.run.llm.kind)
    _show_scripts(screen, cells)
    for group in _groups(cells):
        screen.line("")
        _show_failure(screen, group, results.run, folder)
    screen.line("")
    show_verdict(screen, results)
    run = results.run
    cost = format_money(run.totals.cost_usd)
    if run.totals.cost_unknown_cells:
        cost += f" (unknown for {counted(run.totals.cost_unknown_cells, 'cell')})"
    kind = "a replay: nothing was paid" if run.llm.kind == "replay" else run.llm.kind
    model = f"{one_line(run.llm.model, 80)} ({kind})"
    _show_field(screen, "tested", one_line(run.subject, 300), whole=True)
    _show_field(screen, "took", f"{format_seconds(run.duration_seconds)}, {counted(run.workers, 'worker')}")
    _show_field(screen, "cost", f"{cost}, {model}")
    files = [*files_of(results), RESULTS]
    paths = [one_line(str(Path(folder) / name), 1000) for name in files]
    for line in _evidence(results.cells, folder):
        _show_field(screen, "reused", line, whole=True)
    _show_field(screen, "report", "\n".join(paths), whole=True)


def _evidence(cells: Sequence[Cell], folder: str) -> Iterator[str]:
    """From which runs cells were reused, and where these lie."""
    for run, alike in evidence_by_run(cells).items():
        names = ", ".join(one_line(cell.id, 100) for cell in alike[:_NAMES_SHOWN])
        more = f" and {len(alike) - _NAMES_SHOWN} more" if len(alike) > _NAMES_SHOWN else ""
        evidence = alike[0].reused_from
        beside = evidence is not None and evidence.folder is not None
        where = str(Path(folder).parent / run) if beside else run
        yield f"{names}{more} from {one_line(where, 1000)}"


def show_verdict(screen: Screen, results: Results) -> None:
    """One line: PASSED, FAILED, ERROR or CANCELLED, and why."""
    run = results.run
    style = STYLES[run.verdict] + ("" if "bold" in STYLES[run.verdict] else " bold")
    words = outcome_words(run.verdict).upper()
    screen.line((words, style), (f": {one_line(run.reason, 500)}", STYLES[run.verdict]))


def _show_cells(screen: Screen, cells: Sequence[Cell], llm: str) -> None:
    # Only ids may be folded: in a table squeezed further numbers lose digits, and a list says it better.
    longest = max((cell_len(one_line(cell.id, 100)) for cell in cells), default=0)
    unbounded = screen.console.options.update(width=10_000)
    scripts = any(script_of(cell) for cell in cells)
    for roomy in (True, False):
        table = _table(screen, cells, llm, scripts, roomy=roomy)
        natural = Measurement.get(screen.console, unbounded, table).maximum
        room_for_ids = screen.width - natural + longest
        if room_for_ids >= min(longest, _SHORTEST_ID):
            table.columns[0].max_width = room_for_ids
            screen.console.print(table)
            return
    for cell in cells:
        *phases, total = _seconds(cell, scripts)
        words = [
            outcome_words(cell.outcome) + _marks(cell),
            f"{total} s",
            cost_words(cell, llm) or NO_VALUE,
            _kind(cell),
        ]
        screen.line(screen.mark(cell.outcome), f" {one_line(cell.id, 100)}")
        screen.line("  ", ", ".join(words))
        if cell.attempts:
            named = zip(_columns(scripts, roomy=True), phases, strict=False)
            screen.line("  ", ", ".join(f"{name} {text}" for name, text in named))


def _columns(scripts: bool, roomy: bool) -> list[str]:
    phases = list(_PHASES if roomy else _PHASES.values())
    return [*phases[:-1], *(["script"] if scripts else []), phases[-1], "total"]


def _table(screen: Screen, cells: Sequence[Cell], llm: str, scripts: bool, roomy: bool) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1 if roomy else 0, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
        caption="seconds; a dash: not reached"
        + ("; script: without the boot and stop of its servers" if scripts else ""),
        caption_justify="left",
    )
    table.add_column("cell", overflow="fold")
    table.add_column("outcome", no_wrap=True)
    for phase in _columns(scripts, roomy):
        table.add_column(phase, justify="right", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("run as", no_wrap=True)
    for cell in cells:
        table.add_row(
            Text(one_line(cell.id, 100)),
            Text.assemble(
                screen.mark(cell.outcome),
                " ",
                (outcome_words(cell.outcome), STYLES[cell.outcome]),
                _marks(cell),
            ),
            *(Text(text) for text in _seconds(cell, scripts)),
            Text(cost_words(cell, llm) or NO_VALUE),
            Text(_kind(cell)),
        )
    return table


def _marks(cell: Cell) -> str:
    """What is to be known beside the outcome, in a few words."""
    if cell.repeat:
        return f" {cell.repeat.passed} of {cell.repeat.runs}"
    if cell.flaky:
        return f" (flaky, {_ordinal(cell)})"
    if cell.reused:
        return " (reused)" if cell.reused_from else " (before)"
    return f" ({_ordinal(cell)})" if len(cell.attempts) > 1 else ""


def _ordinal(cell: Cell) -> str:
    return f"attempt {cell.attempt or len(cell.attempts)}"


def _seconds(cell: Cell, scripts: bool) -> list[str]:
    """In the order of _columns, without the unit."""
    *before, removal = (getattr(cell.phases, phase) for phase in _PHASES)
    counts = cell.counted_attempt
    script = [own_seconds(counts) if counts else None] if scripts else []
    values = [*before, *script, removal, cell.duration_seconds if counts else None]
    return [NO_VALUE if value is None else f"{value:.{2 if value < 9.995 else 1}f}" for value in values]


def _kind(cell: Cell) -> str:
    if cell.outcome is Outcome.UNSUPPORTED:
        return NO_VALUE
    return "emulated" if cell.emulated else "native"


def _show_scripts(screen: Screen, cells: Sequence[Cell]) -> None:
    """A line for each script, and one for each thing that a person should know about it."""
    told = [(cell, script) for cell in cells if (script := script_of(cell))]
    if told:
        screen.line("")
    for cell, script in told:
        words = f"{one_line(cell.id, 100)}: {one_line(described(script), 300)}"
        screen.line(screen.mark(cell.outcome), " ", words)
        for remark in remarks(script):
            screen.line("  ", (one_line(remark, 300), "yellow"))


def _groups(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Cells that did not pass: each failed one by itself, those that met the same trouble together."""
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        if cell.outcome is Outcome.FAILED:
            groups[(cell.outcome, cell.id)] = [cell]
        elif cell.outcome is not Outcome.PASSED:
            groups.setdefault((cell.outcome, cell.cause or "", cell.message or ""), []).append(cell)
    yield from groups.values()


def _show_failure(screen: Screen, group: Sequence[Cell], run: Run, folder: str) -> None:
    cell = group[0]
    style = STYLES[cell.outcome]
    names = ", ".join(one_line(one.id, 100) for one in group[:_NAMES_SHOWN])
    more = f" and {len(group) - _NAMES_SHOWN} more" if len(group) > _NAMES_SHOWN else ""
    words = outcome_words(cell.outcome) + (f" in {len(group)} cells" if len(group) > 1 else "")
    screen.line(screen.mark(cell.outcome), " ", (f"{words}: ", style), (names + more, "bold"))
    policy = POLICIES[cell.cause] if cell.cause else None
    if policy:
        _show_field(screen, "what", policy.what)
    step = next(iter(failing_steps(cell)), None)
    message = (step.message if step else None) or cell.message
    if step:
        _show_field(screen, "step", one_line(step.title))
    if message and not (policy and message == policy.what):
        _show_field(screen, "message", block(message, 600, _DETAIL_LINES))
    if step and step.expected is not None:
        _show_field(screen, "expected", one_line(step.expected, 300))
    if step and step.got is not None:
        _show_field(screen, "got", one_line(step.got, 300))
    script = script_of(cell)
    output = script.output_excerpt if script else None
    if step and (detail := detail_beside(step.detail, output)):
        _show_field(screen, "detail", block(detail, 600, _DETAIL_LINES))
    if output:
        _show_field(screen, "output", _end_of(output))
    for other in failing_steps(cell)[1:]:
        _show_field(screen, "also", one_line(f"{other.title}: {other.message or ''}", 300))
    if policy:
        _show_field(screen, "do", for_run(policy.do, run))
    if (counts := cell.counted_attempt) and cell.outcome is not Outcome.UNSUPPORTED:
        where = one_line(str(Path(folder) / counts.folder), 1000)
        _show_field(screen, "files", where, whole=True)


def _end_of(output: str) -> str:
    """Its last lines; the others are in script.log."""
    return block("\n".join(output.splitlines()[-_DETAIL_LINES:]), 1200, _DETAIL_LINES)


def failing_steps(cell: Cell) -> list[Step]:
    """The steps that did not pass; the first decided the outcome."""
    return [step for step in cell.steps if step.outcome in (Outcome.FAILED, Outcome.ERROR)]


def _show_field(screen: Screen, label: str, value: str, whole: bool = False) -> None:
    """A label and its text, wrapped beside it; ``whole`` is for paths, which are copied."""
    room = screen.width - _INDENT
    for line in value.split("\n"):
        wraps = screen.console.is_terminal and not whole and room > 20
        for part in Text(line).wrap(screen.console, room) if wraps else [Text(line)]:
            part.rstrip()
            screen.line((f"  {label:<{_INDENT - 2}}", "dim"), part)
            label = ""


def total_cost(costs: Sequence[Decimal | None]) -> Decimal | None:
    """The exact sum of the known costs; None when none is known."""
    known = [cost for cost in costs if cost is not None]
    return sum(known, Decimal(0)) if known else None
