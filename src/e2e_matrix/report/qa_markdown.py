"""The QA report for a pull-request comment: the verdict in one glance, then what it rests on.

What does not fit is left out in stages, from the longest down; a table or a block is never cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e_matrix.compare import Pair
from e2e_matrix.failures import Outcome
from e2e_matrix.regression import Judgement
from e2e_matrix.report.comparison import table_of_measures
from e2e_matrix.report.escape import code, excerpt, fence, prose
from e2e_matrix.report.markdown_blocks import (
    COMMENT_BYTES,
    MARKS,
    folded,
    link_to,
    listed,
    some,
    table,
    table_of,
)
from e2e_matrix.report.qa import QA, qa_of
from e2e_matrix.report.qa_evidence import COLUMNS, SIDES, Fault, StepPair, Told, medians_of, word_of
from e2e_matrix.results import Results, Step
from e2e_matrix.script_words import counted
from e2e_matrix.text import NO_VALUE, block, format_seconds, one_line

_ALL = 1_000_000
_LOG_WIDTH = 200
_MOST_NAMES = 20
_MOST_MEASURES = 200  # of which there is no news
_LABEL = 10  # characters of a label before what it labels
_NOTHING = "Nothing is known to be left unverified."


@dataclass(frozen=True)
class Stage:
    """How much is told: lines of each log, how much news in full, how many cells and measures in a table, how
    many lines of each list, which parts, and how many characters of what the head quotes."""

    log_lines: int
    in_full: int
    rows: int
    lines: int
    whole: bool = True  # with the steps that passed, and what did not change
    facts: bool = True
    quoted: int = 400


STAGES = (
    Stage(log_lines=40, in_full=_ALL, rows=_ALL, lines=_ALL),
    Stage(log_lines=12, in_full=_ALL, rows=_ALL, lines=_ALL),
    Stage(log_lines=12, in_full=20, rows=100, lines=40),
    Stage(log_lines=0, in_full=20, rows=100, lines=40),
    Stage(log_lines=0, in_full=20, rows=20, lines=20, whole=False),
    Stage(log_lines=0, in_full=3, rows=10, lines=10, whole=False, quoted=200),
    Stage(log_lines=0, in_full=0, rows=0, lines=3, whole=False, quoted=100),
    Stage(log_lines=0, in_full=0, rows=0, lines=0, whole=False, facts=False, quoted=30),
)


def render(results: Results, folder: Path) -> str:
    """The QA report as one comment."""
    return compose(qa_of(results, folder), COMMENT_BYTES)


def compose(qa: QA, budget: int, link: str | None = None) -> str:
    """The text of the first stage that fits into ``budget`` bytes; ``link`` is where the run lies.

    Both are as ``markdown.compose`` wants them.
    """
    text = ""
    for stage in STAGES:
        text = _write(qa, stage, link)
        if len(text.encode()) <= budget:
            break
    return text


def _write(qa: QA, stage: Stage, link: str | None) -> str:
    parts = [_head(qa, stage), *_phases(qa, stage), *_evidence(qa, stage)]
    parts += [*_measures(qa, stage), *_api(qa, stage), *_gaps(qa, stage)]
    if stage is not STAGES[0]:
        parts.append(f"*Shortened to fit. {link_to('The run', link) if link else 'qa.html'} has everything.*")
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(qa: QA, stage: Stage) -> str:
    title = f"## {MARKS[qa.outcome]} {qa.standing}: {prose(qa.title, stage.quoted)}"
    why = [f"**{one.standing}**: {prose(one.words, stage.quoted)}" for one in qa.reasons]
    parts = [title, listed(some(why, min(stage.lines, 10)))]
    if stage.facts:
        if qa.compared:
            parts.append(f"**{prose(qa.summary, stage.quoted)}**")
        parts.append(_facts(qa, stage))
    return "\n\n".join(part for part in parts if part)


def _facts(qa: QA, stage: Stage) -> str:
    if not qa.compared:
        return listed(f"{fact.name}: {code(fact.candidate, stage.quoted)}" for fact in qa.facts)
    rows = [
        [fact.name, code(fact.baseline or NO_VALUE, stage.quoted), code(fact.candidate, stage.quoted)]
        for fact in qa.facts
    ]
    return table(["", *SIDES], rows)


def _phases(qa: QA, stage: Stage) -> list[str]:
    if not stage.facts:
        return [" · ".join(f"{MARKS[phase.outcome]} {phase.name}" for phase in qa.phases)]
    rows = [[f"{MARKS[phase.outcome]} {phase.name}", prose(phase.found, stage.quoted)] for phase in qa.phases]
    return [table(["phase", "what was found"], rows)]


def _evidence(qa: QA, stage: Stage) -> list[str]:
    full, rest = qa.told[: stage.in_full], qa.told[stage.in_full :]
    parts = [_told(one, stage) for one in full]
    if rest and stage.rows:
        parts.append(listed(some([_where(one) for one in rest], stage.rows)))
    if qa.others and stage.whole:
        parts.append(_others(qa, stage))
    return ["### Evidence", *parts] if parts else []


def _told(told: Told, stage: Stage) -> str:
    broke = [step for step in told.steps if step.broke]
    rest = [step for step in told.steps if not step.broke]
    parts = [f"#### {_where(told)}"]
    if broke:
        parts.append(_steps(told, broke))
    if told.faults:
        parts.append(fence("\n".join(_said(told, fault) for fault in told.faults[:20])))
    parts.append(_cells(told, told.pairs[: stage.rows]))
    if len(told.pairs) > stage.rows:
        parts.append(f"… and {counted(len(told.pairs) - stage.rows, 'cell')} more.")
    if rest and stage.whole:
        title = f"The {'other ' if broke else ''}{counted(len(rest), 'step')}"
        parts.append(folded(title, _steps(told, rest)))
    if stage.log_lines:
        parts += [
            folded(
                f"{one.what[:1].upper()}{one.what[1:]}, {one.side}",
                fence(excerpt(one.text, stage.log_lines, _LOG_WIDTH)),
            )
            for one in told.excerpts
        ]
    parts.append(folded("Run it again", _again(told)))
    return "\n\n".join(parts)


def _where(told: Told) -> str:
    names = ", ".join(code(pair.name) for pair in told.pairs[:_MOST_NAMES])
    left = len(told.pairs) - _MOST_NAMES
    more = f" and {left:,} more" if left > 0 else ""
    return f"{MARKS[told.outcome]} {told.word}: {names}{more}"


def _steps(told: Told, steps: Sequence[StepPair]) -> str:
    """Of the first cell."""
    rows = [
        [
            f"{code(step.name)} {prose(step.title, 120)}",
            *(_step(step.sides[SIDES.index(side)]) or told.missing(side) for side in told.sides),
        ]
        for step in steps
    ]
    return table(["step", *told.sides], rows)


def _step(step: Step | None) -> str:
    if step is None:
        return ""
    word = "" if step.outcome is Outcome.PASSED else f" **{step.outcome.value.replace('_', ' ')}**"
    return f"{MARKS[step.outcome]}{word} {format_seconds(step.duration_seconds)}"


def _said(told: Told, fault: Fault) -> str:
    side = f"{fault.side}: " if len(told.sides) > 1 else ""
    where = f"{one_line(fault.step, 80)}: " if fault.step else ""
    said = [f"{side}{where}{block(fault.message, 1200, 6)}"]
    for label, text in (("expected:", fault.expected), ("got:", fault.got)):
        if text is not None:
            shown = block(text, 600, 4).replace("\n", "\n" + " " * (_LABEL + 2))
            said.append(f"  {label:<{_LABEL}}{shown}")
    return "\n".join(said)


def _cells(told: Told, pairs: Sequence[Pair]) -> str:
    rows = [(pair, told.figures(pair)) for pair in pairs]
    columns = {"cell": [code(pair.name) for pair, _ in rows]}
    for name, read in COLUMNS.items():
        columns[name] = [_beside([read(one) for one in figures]) for _, figures in rows]
    return "\n\n".join(filter(None, [table_of(columns, nothing=NO_VALUE), medians_of(pairs)]))


def _beside(values: Sequence[str]) -> str:
    return prose(" → ".join(dict.fromkeys(values)))


def _again(told: Told) -> str:
    several = len(told.commands) > 1
    lines = [(f"# {side}\n" if several else "") + one_line(command, 1000) for side, command in told.commands]
    return fence("\n".join(lines), "sh")


def _others(qa: QA, stage: Stage) -> str:
    """What is no news, as one table."""
    runs = (qa.assessed.compared.baseline_run if qa.assessed else None, qa.results.run)
    told = Told(runs, "", Outcome.PASSED, qa.others)
    shown = qa.others[: stage.rows]
    rows = [(pair, told.figures(pair)) for pair in shown]
    columns = {"cell": [code(pair.name) for pair in shown]}
    if qa.compared:
        columns["change"] = [word_of(pair, compared=True) for pair in shown]
    for name, read in COLUMNS.items():
        columns[name] = [_beside([read(one) for one in figures]) for _, figures in rows]
    parts = [*filter(None, [table_of(columns, nothing=NO_VALUE), medians_of(shown)])]
    if len(qa.others) > len(shown):
        parts.append(f"… and {counted(len(qa.others) - len(shown), 'cell')} more.")
    title = f"{'The other ' if qa.told else ''}{counted(len(qa.others), 'cell')}"
    return folded(title, "\n\n".join(parts))


def _measures(qa: QA, stage: Stage) -> list[str]:
    news = qa.measures(Judgement.WORSE, Judgement.BETTER)
    rest = qa.measures(Judgement.NO_DIFFERENCE, Judgement.NOT_ENOUGH, Judgement.NOT_COMPARABLE)
    if not stage.rows or not (news or rest):
        return []
    parts = (
        [table_of_measures(news[: stage.rows])] if news else ["No measure is shown to be worse or better."]
    )
    if len(news) > stage.rows:
        parts.append(f"… and {counted(len(news) - stage.rows, 'measure')} more.")
    if rest and stage.whole:
        title = f"{counted(len(rest), 'measure')} without a difference, or not judged"
        shown = rest[: min(stage.rows, _MOST_MEASURES)]
        more = [f"… and {len(rest) - len(shown):,} more."] if len(rest) > len(shown) else []
        parts.append(folded(title, "\n\n".join([table_of_measures(shown), *more])))
    return ["### Measures", *parts]


def _api(qa: QA, stage: Stage) -> list[str]:
    if qa.api is None or not stage.rows:
        return []
    parts = [
        f"**{title}**\n\n{listed(some([prose(line.words) for line in lines], stage.lines))}"
        for title, lines in (("Breaking", qa.api.breaking), ("Images that differ", qa.api.findings))
        if lines
    ]
    if qa.api.compatible and stage.whole:
        lines = some([prose(line.words) for line in qa.api.compatible], stage.lines)
        parts.append(folded(counted(len(qa.api.compatible), "compatible change"), listed(lines)))
    return ["### REST API", *(parts or ["The same on both sides."])]


def _gaps(qa: QA, stage: Stage) -> list[str]:
    if not stage.lines:
        return [f"Not verified: {counted(len(qa.gaps), 'point')}." if qa.gaps else _NOTHING]
    lines = some([f"{prose(gap, stage.quoted)}." for gap in qa.gaps], stage.lines)
    return ["### What was not verified", listed(lines) if lines else _NOTHING]
