"""GitHub-flavoured Markdown for a pull-request comment: the verdict, what broke, the table, the rest folded.

What does not fit is left out in stages, from the longest down; a table or a block is never cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.assessment import Standing
from e2e_matrix.failures import Outcome
from e2e_matrix.regression import Judgement
from e2e_matrix.report import markdown_cells as cells
from e2e_matrix.report import markdown_tables as tables
from e2e_matrix.report import markdown_tested as tested
from e2e_matrix.report.comparison import changes, table_of_changes, table_of_measures
from e2e_matrix.report.escape import code, prose
from e2e_matrix.report.markdown_blocks import COMMENT_BYTES, MARKS, folded, link_to, listed, some, words
from e2e_matrix.report.view import View, view_of
from e2e_matrix.results import Results
from e2e_matrix.text import format_money, format_seconds

# The last stage is no longer than this, whatever came from outside, with a link of up to 500 bytes.
SMALLEST_BYTES = 2_000
_ALL = 1_000_000


@dataclass(frozen=True)
class Stage:
    """How much is told: lines of each excerpt, how many faults in full, how many cells of each kind in a
    line, which parts, and how many characters of what the head quotes."""

    log_lines: int
    in_full: int
    in_a_line: int
    tables: bool = True
    tested: bool = True
    counts: bool = True
    quoted: int = 300


STAGES = (
    Stage(log_lines=40, in_full=_ALL, in_a_line=_ALL),
    Stage(log_lines=12, in_full=_ALL, in_a_line=_ALL),
    Stage(log_lines=12, in_full=20, in_a_line=_ALL),
    Stage(log_lines=0, in_full=20, in_a_line=_ALL),
    Stage(log_lines=0, in_full=20, in_a_line=_ALL, tested=False),
    # Where it is the table that does not fit, there is room for the rest again.
    Stage(log_lines=12, in_full=20, in_a_line=200, tables=False),
    Stage(log_lines=12, in_full=20, in_a_line=200, tested=False, tables=False),
    Stage(log_lines=0, in_full=20, in_a_line=200, tested=False, tables=False),
    Stage(log_lines=0, in_full=5, in_a_line=20, tested=False, tables=False),
    Stage(log_lines=0, in_full=0, in_a_line=0, tested=False, tables=False),
    Stage(log_lines=0, in_full=0, in_a_line=0, tested=False, tables=False, counts=False, quoted=40),
)


def render(results: Results, folder: Path) -> str:
    """The run as one comment."""
    return compose(view_of(results, folder), COMMENT_BYTES)


def compose(view: View, budget: int, link: str | None = None) -> str:
    """The text of the first stage that fits into ``budget`` bytes; it has to be ``SMALLEST_BYTES`` at least.

    ``link`` is where the whole report lies, an address of ours of at most 500 bytes.
    """
    text = ""
    for stage in STAGES:
        text = _write(view, stage, link)
        if len(text.encode()) <= budget:
            break
    return text


def _write(view: View, stage: Stage, link: str | None) -> str:
    parts = [_head(view, stage.quoted), *_broken(view, stage)]
    parts += [*_changed(view, stage), *_remarkable(view, stage)]
    cells_told = _cells(view, stage)
    # A short report needs no heading for its only table.
    parts += ["### All cells", *cells_told] if len(parts) > 1 and cells_told else cells_told
    if stage.tested:
        if view.scripts:
            parts.append(folded("The scripts", tables.scripts(view)))
        if view.cells:
            parts.append(tested.images(view))
        parts += [tested.environment(view), tested.reproducing(view)]
    parts.append(_more(stage, link))
    return "\n\n".join(part for part in parts if part) + "\n"


def _cells(view: View, stage: Stage) -> list[str]:
    if stage.tables:
        return [tables.cells_on_axes(grid) for grid in view.grids]
    counts = tables.counts_on_axes(view) if stage.counts else ""
    return [counts] if counts else []


def _more(stage: Stage, link: str | None) -> str:
    if stage is STAGES[0]:
        return ""
    return f"*Shortened to fit. {link_to('The run', link) if link else 'report.html'} has everything.*"


def _head(view: View, quoted: int) -> str:
    run, verdict = view.run, view.verdict
    totals = run.totals
    counts = [
        f"{number:,} {words(outcome)}" for outcome in Outcome if (number := getattr(totals, outcome.value))
    ]
    kinds = [f"{kind.cells:,} {'emulated' if kind.emulated else 'native'}" for kind in view.kinds]
    unknown = f" + unknown for {totals.cost_unknown_cells:,}" if totals.cost_unknown_cells else ""
    name = code(run.llm.model, quoted)
    models = {
        "stand-in": f"stand-in LLM, as {name}",
        "replay": f"replay of recorded calls to {name}: nothing was paid",
    }
    facts = [
        ", ".join(counts) or "no cells",
        ", ".join(kinds),
        format_seconds(run.duration_seconds),
        f"cost {format_money(totals.cost_usd)}{unknown}",
        models.get(run.llm.kind, f"model {name}"),
    ]
    title = f"## {MARKS[verdict.outcome]} {verdict.headline}"
    why = f"{code(run.subject, quoted)}: {prose(verdict.reason, quoted)}"
    return f"{title}\n\n{why}\n\n{' · '.join(text for text in facts if text)}"


def _broken(view: View, stage: Stage) -> list[str]:
    if not view.broken or not stage.in_full:
        return []
    faults = view.faults
    full, rest = faults[: stage.in_full], faults[stage.in_full :]
    told = [cells.broken_in_full(fault.broken, view.run, stage.log_lines) for fault in full]
    lines = some([cells.broken_in_a_line(fault.broken) for fault in rest], stage.in_a_line)
    return ["### What broke", *told, listed(lines)]


def _changed(view: View, stage: Stage) -> list[str]:
    """Since the baseline, where there is one: the verdict, and a row for each cell that is news."""
    assessed = view.changed
    if assessed is None or not stage.counts:
        return []
    compared = assessed.compared
    news = changes(compared)
    run = compared.baseline_run
    since = f"run {code(run.id, stage.quoted)} of {code(run.subject, stage.quoted)}"
    said = [f"**{assessed.standing}: {compared.verdict}**, since {since}."]
    if assessed.standing is not Standing.PASS:
        said.append(f"{prose(assessed.why, stage.quoted)}.")
    if stage.in_a_line:
        said += [prose(words, 600) for words in (*assessed.api_words, *compared.warnings)]
    told = [table_of_changes(compared, news)] if 0 < len(news) <= stage.in_a_line else []
    measures = [*assessed.of(Judgement.WORSE), *assessed.of(Judgement.BETTER)]
    if 0 < len(measures) <= stage.in_a_line:
        told.append(table_of_measures(measures))
    return ["### What changed", "<br>".join(said), *told]


def _remarkable(view: View, stage: Stage) -> list[str]:
    kinds = (
        [f"{MARKS[Outcome.ERROR]} {prose(finding, 600)}" for finding in view.unlike],
        [cells.flaky(one) for one in view.flaky],
        [cells.retried(one) for one in view.retried],
        [cells.remarked(one) for one in view.remarkable],
        [cells.not_tested(group, view.run) for group in view.not_tested],
    )
    lines = [line for kind in kinds for line in some(kind, stage.in_a_line)]
    return ["### What else to know", listed(lines)] if lines else []
