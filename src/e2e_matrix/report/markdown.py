"""GitHub-flavoured Markdown for a pull-request comment: the verdict, what broke, the table, the rest folded.

What does not fit is left out in stages, from the longest down; a table or a block is never cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.failures import Outcome
from e2e_matrix.report.cell_view import CellView, left_out
from e2e_matrix.report.escape import code, excerpt, fact, fence, prose
from e2e_matrix.report.grid import Grid
from e2e_matrix.report.view import Broken, NotTested, View, build
from e2e_matrix.results import Results, ScriptRun
from e2e_matrix.script_words import call_rows, described, ended, origin, output_left_out, wasted_words
from e2e_matrix.text import NO_VALUE, block, format_bytes, format_money, format_seconds, one_line

# GitHub takes 65,536 characters in a comment; bytes are never fewer than characters.
BUDGET_BYTES = 60_000

_SCRIPT_COLUMNS = [
    *("cell", "script", "SDK", "ended", "time", "wasted", "API calls"),
    *("printed cost", "server's cost"),
]
MARKS = {
    Outcome.PASSED: "✅",
    Outcome.FAILED: "❌",
    Outcome.ERROR: "⚠️",
    Outcome.UNSUPPORTED: "🚫",
    Outcome.CANCELLED: "⏹️",
    Outcome.NOT_RUN: "➖",
}


@dataclass(frozen=True)
class Stage:
    """How much is told: lines of each excerpt, how many broken cells, and which parts."""

    log_lines: int
    broken: int
    table: bool
    tested: bool


STAGES = (
    Stage(log_lines=40, broken=1000, table=True, tested=True),
    Stage(log_lines=0, broken=1000, table=True, tested=True),
    Stage(log_lines=0, broken=1000, table=True, tested=False),
    Stage(log_lines=0, broken=1000, table=False, tested=False),
    Stage(log_lines=0, broken=20, table=False, tested=False),
    Stage(log_lines=0, broken=0, table=False, tested=False),
)


def render(results: Results, folder: Path) -> str:
    """The run as one comment."""
    return compose(build(results), BUDGET_BYTES)


def compose(view: View, budget: int, link: str | None = None) -> str:
    """The fullest text of at most ``budget`` bytes; the last stage, of counts alone, where none fits.

    ``link`` is where the whole report lies, an address of ours.
    """
    text = ""
    for stage in STAGES:
        text = _write(view, stage, link)
        if len(text.encode()) <= budget:
            break
    return text


def _write(view: View, stage: Stage, link: str | None) -> str:
    parts = [_head(view)]
    if view.broken and stage.broken:
        parts.append("### What broke")
        parts += [_broken(item, stage) for item in view.broken[: stage.broken]]
        if len(view.broken) > stage.broken:
            parts.append(f"… and {len(view.broken) - stage.broken} more: see report.html.")
    parts += [_flaky(cell) for cell in view.flaky[: stage.broken]]
    parts += [_retried(cell) for cell in view.retried[: stage.broken]]
    parts += [_remarked(cell) for cell in view.remarkable[: stage.broken]]
    parts += [_not_tested(group) for group in view.not_tested[: stage.broken]]
    if stage.table:
        parts += [_table(grid) for grid in view.grids]
    if stage.tested and view.scripts:
        parts.append(_scripts(view))
    if stage.tested:
        parts.append(_tested(view))
    if stage != STAGES[0]:
        parts.append(f"*Shortened to fit; {f'[the run]({link})' if link else 'report.html'} has everything.*")
    return "\n\n".join(parts) + "\n"


def _head(view: View) -> str:
    run, verdict = view.run, view.verdict
    totals = run.totals
    counts = [
        f"{number} {outcome.value.replace('_', ' ')}"
        for outcome in Outcome
        if (number := getattr(totals, outcome.value))
    ]
    kinds = [f"{kind.cells} {'emulated' if kind.emulated else 'native'}" for kind in view.kinds]
    unknown = f" + unknown for {totals.cost_unknown_cells}" if totals.cost_unknown_cells else ""
    name = code(run.llm.model)
    models = {
        "stand-in": f"stand-in LLM, as {name}",
        "replay": f"replay of recorded calls to {name}: nothing was paid",
    }
    model = models.get(run.llm.kind, f"model {name}")
    facts = [
        ", ".join(counts) or "no cells",
        ", ".join(kinds),
        format_seconds(run.duration_seconds),
        f"cost {format_money(totals.cost_usd)}{unknown}",
        model,
    ]
    line = " · ".join(text for text in facts if text)
    title = f"## {MARKS[verdict.outcome]} {verdict.headline}"
    return f"{title}\n\n{code(one_line(run.subject, 200))}: {prose(verdict.reason)}\n\n{line}"


def _broken(item: Broken, stage: Stage) -> str:
    cell, script = item.view.cell, item.view.script
    where = f" at step {code(item.step.name)}" if item.step else ""
    emulated = ", emulated" if cell.emulated else ""
    tried = f", {item.view.tried}" if item.view.tried else ""
    said = [block(item.message, 1200, 6)]
    if item.expected is not None:
        said.append(f"expected: {block(item.expected, 600, 4)}")
    if item.got is not None:
        said.append(f"got:      {block(item.got, 600, 4)}")
    if script:
        said.append(f"script:   {one_line(described(script), 300)}")
        said += [f"          {one_line(remark, 300)}" for remark in item.view.remarks]
    said += [f"also at {step.name}: {one_line(step.message or step.title, 300)}" for step in item.also[:10]]
    parts = [
        f"#### {MARKS[cell.outcome]} {code(cell.id)} {cell.outcome.value}{where}{emulated}{tried}",
        fence("\n".join(said)),
    ]
    if item.do:
        parts.append(f"**What to do:** {item.do}")
    for title, text in (
        ("What came with it", item.detail),
        ("The end of the script's output", item.output),
        ("The script's API calls", _calls(script) if script else None),
        ("The log around it", item.log),
    ):
        if text and stage.log_lines:
            parts.append(folded(title, fence(excerpt(text, stage.log_lines, 200))))
    if item.log and stage.log_lines and (said_of_log := left_out(item.view.last)):
        parts.append(f"In server.log, {said_of_log}.")
    if item.output and stage.log_lines and script and (said_of_output := output_left_out(script)):
        parts.append(f"In script.log, {said_of_output}.")
    parts.append(f"Run just this again:\n\n{fence(one_line(item.view.again, 1000), 'sh')}")
    return "\n\n".join(parts)


def _flaky(view: CellView) -> str:
    tries = view.cell.attempt or len(view.cell.attempts)
    before = view.failed_before
    why = f" Before: {prose(before.message)}" if before and before.message else ""
    return f"🔁 {code(view.cell.id)} is **flaky**: it passed only at attempt {tries}.{why}"


def _retried(view: CellView) -> str:
    why = view.retried.message if view.retried else None
    before = f": {prose(why)}" if why else "."
    tries = view.cell.attempt or len(view.cell.attempts)
    return f"{code(view.cell.id)} passed at attempt {tries}, after trouble of the infrastructure{before}"


def _remarked(view: CellView) -> str:
    said = "; ".join(prose(note) for note in view.notes)
    return f"{code(view.cell.id)} {view.cell.outcome.value.replace('_', ' ')}, but {said}."


def _calls(script: ScriptRun) -> str:
    """The calls as lines, those that followed the conversation's end told apart."""
    rows, ended_at = call_rows(script), format_seconds(script.terminal_seconds)
    lines = []
    for number, row in enumerate(rows):
        if row.before:
            lines.append(f"          … {row.before:,} calls in between")
        if row.late and not (number and rows[number - 1].late):
            lines.append(f"          -- the conversation had ended at {ended_at} --")
        lines.append(f"{format_seconds(row.starts_seconds):>8}  {row.words}")
    return "\n".join(lines)


def _scripts(view: View) -> str:
    lines = [
        table_line(_SCRIPT_COLUMNS),
        table_line(["---"] * len(_SCRIPT_COLUMNS)),
    ]
    for item in view.scripts:
        script = item.script
        if script is None:
            continue
        commit = f" at {code(told, 60)}" if (told := origin(script)) else ""
        lines.append(
            table_line(
                [
                    code(item.cell.id),
                    code(script.path) + commit,
                    code(script.sdk_version) if script.sdk_version else "unknown",
                    ended(script),
                    format_seconds(script.duration_seconds),
                    format_seconds(script.wasted_seconds),
                    f"{script.calls_total:,}",
                    NO_VALUE if script.printed_cost_usd is None else format_money(script.printed_cost_usd),
                    NO_VALUE if script.server_cost_usd is None else format_money(script.server_cost_usd),
                ]
            )
        )
    return folded("The scripts", "\n".join(lines))


def _not_tested(group: NotTested) -> str:
    names = ", ".join(code(view.cell.id) for view in group.cells[:50])
    more = f" and {len(group.cells) - 50} more" if len(group.cells) > 50 else ""
    do = f" {group.do}" if group.do else ""
    word = group.outcome.value.replace("_", " ")
    return f"{MARKS[group.outcome]} **{word}:** {names}{more}: {prose(group.message)}.{do}"


def _table(grid: Grid) -> str:
    lines = []
    if grid.group:
        lines += [", ".join(f"**{prose(axis)}** {code(value)}" for axis, value in grid.group.items()), ""]
    corner = " / ".join(prose(axis) for axis in (grid.row_axis, grid.column_axis) if axis)
    lines.append(table_line([corner, *(code(column) if column else "" for column in grid.columns)]))
    lines.append(table_line(["---"] * (len(grid.columns) + 1)))
    for row in grid.rows:
        slots = ["<br>".join(map(_slot, slot)) for slot in row.slots]
        lines.append(table_line([code(row.label) if row.label else "", *slots]))
    return "\n".join(lines)


def _slot(view: CellView) -> str:
    cell = view.cell
    marks = ["flaky"] * view.flaky + ["*emulated*"] * (
        cell.emulated and cell.outcome is not Outcome.UNSUPPORTED
    )
    words = ", ".join([cell.outcome.value.replace("_", " "), *marks])
    if not cell.attempts:
        return f"{MARKS[cell.outcome]} {words}"
    if view.repeated:
        return f"{MARKS[cell.outcome]} {words}<br>{view.repeated}"
    wasted = wasted_words(view.cell)
    lost = f"<br>{wasted}" if wasted else ""
    return f"{MARKS[cell.outcome]} {words}<br>{format_seconds(cell.duration_seconds)} · {view.cost}{lost}"


def _tested(view: View) -> str:
    run, engine = view.run, view.run.engine
    images = [table_line(["cell", "image", "digest", "size", "platform", "server"]), table_line(["---"] * 6)]
    images += [
        table_line(
            [
                code(cell.id),
                code(cell.image.reference),
                code(cell.image.digest) if cell.image.digest else "unknown",
                format_bytes(cell.image.size_bytes),
                f"{code(cell.platform)} {'*emulated*' if cell.emulated else 'native'}",
                code(cell.server.version) if cell.server.version else "unknown",
            ]
        )
        for cell in (view.cell for view in view.cells)
    ]
    facts = [
        ("scenario", ", ".join(code(name) for name in view.scenarios)),
        ("model", f"{code(run.llm.model)} ({prose(run.llm.kind)})"),
        ("engine", code(f"{engine.name} {engine.version}, {engine.platform}, {engine.operating_system}")),
        ("machine", f"{engine.cpus} CPUs, {format_bytes(engine.memory_bytes)}; {run.workers} workers"),
        ("emulated CPU", code(run.emulated_cpu) if run.emulated_cpu else ""),
        (
            "settings",
            ", ".join(code(f"{n}={fact(n, s.value)} ({s.source})") for n, s in run.settings.items()),
        ),
        ("matrix", code(run.matrix_file)),
        (
            "run",
            f"{code(run.id)}, {run.started_at:%Y-%m-%d %H:%M:%S} UTC, e2e-matrix {code(run.program_version)}",
        ),
    ]
    listed = "\n".join(f"- {name}: {value}" for name, value in facts if value)
    return folded("What was tested", "\n".join(images) + "\n\n" + listed)


def folded(title: str, body: str) -> str:
    """``title`` is ours: nothing from outside may stand in a summary, where Markdown is not read."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def table_line(columns: list[str]) -> str:
    """A row of a table; the columns are Markdown already."""
    return f"| {' | '.join(columns)} |"
