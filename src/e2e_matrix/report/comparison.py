"""A comparison for a pull-request comment and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from e2e_matrix.api import ApiPair
from e2e_matrix.assessment import Assessment, Standing
from e2e_matrix.compare import Change, Comparison, Pair, cost_of, first_message, remark, time_of
from e2e_matrix.failures import Outcome
from e2e_matrix.measures import Number
from e2e_matrix.regression import Difference, Judgement
from e2e_matrix.report.cell_view import command_for
from e2e_matrix.report.escape import code, excerpt, fence, prose
from e2e_matrix.report.markdown_blocks import COMMENT_BYTES, MARKS, folded, listed, some, table, table_of
from e2e_matrix.results import Cell, Run, ScriptRun, plain_decimal
from e2e_matrix.script_words import counted, ended, paid_words, script_of
from e2e_matrix.text import NO_VALUE, block, format_seconds, one_line

_COLUMNS = ["cell", "change", "outcome", "ended", "time", "wasted", "API calls", "cost", "image"]
# All else is told in full.
_NO_NEWS = (Change.UNSUPPORTED, Change.REMOVED, Change.ADDED, Change.SAME)
_TOLD = tuple(change for change in Change if change not in _NO_NEWS)


@dataclass(frozen=True)
class Stage:
    """How much is told: lines of each output, how many cells in full, which parts, and how many characters of
    what the head quotes."""

    lines: int
    told: int
    table: bool = True
    warnings: bool = True
    quoted: int = 600


STAGES = (
    Stage(lines=40, told=1000),
    Stage(lines=12, told=40),
    Stage(lines=0, told=40),
    Stage(lines=0, told=0),
    Stage(lines=0, told=0, table=False),
    Stage(lines=0, told=0, table=False, warnings=False, quoted=30),
)


@dataclass(frozen=True)
class Figures:
    """One side of a pair, in words; a dash where it has no such thing."""

    outcome: str
    ended: str = NO_VALUE
    time: str = NO_VALUE
    wasted: str = NO_VALUE
    calls: str = NO_VALUE
    cost: str = NO_VALUE


def figures(cell: Cell | None, run: Run) -> Figures:
    if cell is None:
        return Figures("not there")
    script = script_of(cell)
    flaky = ", flaky" if cell.flaky else ""
    return Figures(
        outcome=cell.outcome.value.replace("_", " ") + flaky,
        ended=ended(script) if script else NO_VALUE,
        time=format_seconds(time_of(cell)),
        wasted=format_seconds(script.wasted_seconds) if script else NO_VALUE,
        calls=f"{script.calls_total:,}" if script else NO_VALUE,
        cost=paid_words(cell, cost_of(cell), run.llm.kind) or NO_VALUE,
    )


def compared_figures(compared: Comparison, pair: Pair) -> tuple[Figures, Figures]:
    """Both sides of a pair."""
    return figures(pair.baseline, compared.baseline_run), figures(pair.candidate, compared.candidate_run)


def changes(compared: Comparison) -> list[Pair]:
    """The pairs that are news, in the order in which they are read."""
    return [pair for pair in compared.pairs if pair.change is not Change.SAME]


def table_of_changes(compared: Comparison, pairs: Sequence[Pair]) -> str:
    """In Markdown, a row for each of ``pairs``, of which there is one at least."""
    rows = [_row(compared, pair) for pair in pairs]
    return table_of(dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True)), nothing=NO_VALUE)


def table_of_measures(differences: Sequence[Difference]) -> str:
    """In Markdown, a row for each of ``differences``, of which there is one at least."""
    header = ["cell", "measure", "baseline", "candidate", "change", "runs", "judgement"]
    return table(header, [_measured(one) for one in differences])


def measured(difference: Difference) -> tuple[str, str]:
    """Both sides in words."""
    sides = (difference.before, difference.after)
    before, after = (NO_VALUE if value is None else difference.measure.show(value) for value in sides)
    return before, after


def _measured(difference: Difference) -> list[str]:
    runs = f"{difference.runs[0]} / {difference.runs[1]}" if difference.shift else NO_VALUE
    word = prose(difference.word)
    if difference.judgement is Judgement.WORSE:
        word = f"**{word}**"
    return [
        code(difference.pair.name),
        difference.measure.name,
        *map(prose, measured(difference)),
        difference.change or NO_VALUE,
        runs,
        f"{word}: {prose(difference.why)}" if difference.why else word,
    ]


def as_markdown(assessed: Assessment, budget: int = COMMENT_BYTES) -> str:
    """One comment of at most ``budget`` bytes, which has to be ``markdown.SMALLEST_BYTES`` at the least.

    What does not fit is left out from the longest down.
    """
    text = ""
    for stage in STAGES:
        text = _write(assessed, stage)
        if len(text.encode()) <= budget:
            break
    return text


def as_json(assessed: Assessment) -> str:
    """Everything that the other formats show, and no more of the cells than that."""
    compared = assessed.compared
    told = {
        "standing": assessed.standing.value,
        "reasons": [
            {"standing": reason.standing.value, "words": reason.words} for reason in assessed.reasons
        ],
        "verdict": compared.verdict,
        "baseline": _run_json(compared.baseline, compared.baseline_run),
        "candidate": _run_json(compared.candidate, compared.candidate_run),
        "axis": compared.axis,
        "images": compared.images,
        "warnings": compared.warnings,
        "counts": {change.value: len(compared.of(change)) for change in Change},
        "cells": [
            {
                "name": pair.name,
                "change": pair.change.value,
                "same_image": pair.same_image,
                "same_script": pair.same_script,
                "baseline": _cell_json(pair.baseline),
                "candidate": _cell_json(pair.candidate),
            }
            for pair in compared.pairs
        ],
        "measures": [_difference_json(one) for one in assessed.differences],
        "api": {
            "pairs": [_api_json(pair) for pair in assessed.api.pairs],
            "not_known": assessed.api.undescribed,
            "unlike": [finding.words for finding in assessed.findings],
        },
    }
    return json.dumps(told, indent=2, ensure_ascii=False)


def _difference_json(difference: Difference) -> dict[str, Any]:
    shift = difference.shift
    return {
        "cell": difference.pair.name,
        "measure": difference.measure.name,
        "judgement": difference.judgement.value,
        "why": difference.why or None,
        "baseline": _number(difference.before),
        "candidate": _number(difference.after),
        "baseline_runs": difference.runs[0],
        "candidate_runs": difference.runs[1],
        "share": difference.share,
        "share_low": shift and shift.low - 1,
        "share_high": shift and shift.high - 1,
        "p": shift and shift.p,
    }


def _api_json(pair: ApiPair) -> dict[str, Any]:
    difference = pair.told.difference
    return {
        "cells": list(pair.cells),
        "breaking": [change.words for change in difference.breaking] if difference else None,
        "compatible": [change.words for change in difference.compatible] if difference else None,
        "unknown": pair.told.unknown,
    }


def _number(value: Number | None) -> float | str | None:
    return plain_decimal(value) if isinstance(value, Decimal) else value


def _write(assessed: Assessment, stage: Stage) -> str:
    compared = assessed.compared
    parts = [_head(assessed, stage)]
    if stage.table and compared.pairs:
        parts.append(table_of_changes(compared, compared.pairs))
        parts.append("Time: of the cell without its pull. Of repetitions, time and cost are the median.")
        parts += [*_measures(assessed, stage), *_api(assessed, stage)]
    worth = [pair for pair in compared.pairs if pair.change in _TOLD]
    parts += [_told(compared, pair, stage.lines) for pair in worth[: stage.told]]
    if len(worth) > stage.told or not stage.lines or not stage.table:
        parts.append("*Shortened to fit; `e2e-matrix compare` has everything.*")
    return "\n\n".join(parts) + "\n"


def _measures(assessed: Assessment, stage: Stage) -> list[str]:
    """What is worse or better in the open, the rest folded where there is room for it."""
    news = [*assessed.of(Judgement.WORSE), *assessed.of(Judgement.BETTER)]
    same = assessed.of(Judgement.NO_DIFFERENCE)
    parts = [table_of_measures(news)] if news else []
    if same and stage.lines:
        parts.append(folded("No difference shown", table_of_measures(same)))
    if assessed.not_judged and stage.lines:
        lines = [prose(words, 400) for words in assessed.not_judged[:20]]
        parts.append(folded("Not judged", listed(lines)))
    return parts


def _api(assessed: Assessment, stage: Stage) -> list[str]:
    """What breaks a client of the baseline in the open, the rest folded where there is room for it."""
    parts = []
    if breaking := [change.words for change, _ in assessed.api.breaking]:
        parts.append(listed(some([prose(words, 600) for words in breaking], 20 if stage.lines else 5)))
    others = [
        change.words
        for pair in assessed.api.pairs
        for change in (pair.told.difference.compatible if pair.told.difference else ())
    ]
    if others and stage.lines:
        lines = some([prose(words, 600) for words in others], 40)
        parts.append(
            folded(
                counted(len(others), "compatible change of the API", "compatible changes of the API"),
                listed(lines),
            )
        )
    if parts or assessed.api_words:
        parts.insert(0, "<br>".join(prose(words, 600) for words in assessed.api_words))
    return parts


def _head(assessed: Assessment, stage: Stage) -> str:
    compared, warn = assessed.compared, MARKS[Outcome.ERROR]
    images, warnings = prose(compared.images, stage.quoted), compared.warnings
    lines = [
        *(
            f"- {word}: {code(name, stage.quoted)}, {_of(run, stage.quoted)}"
            for word, name, run in (
                ("baseline", compared.baseline, compared.baseline_run),
                ("candidate", compared.candidate, compared.candidate_run),
            )
        ),
        f"- {images}" if compared.same_images else f"- {warn} **{images}**",
    ]
    if stage.warnings:
        lines += [f"- {warn} {prose(warning)}" for warning in warnings]
    elif warnings:
        lines.append(f"- {warn} {counted(len(warnings), 'warning')}")
    if assessed.standing is not Standing.PASS:
        lines = [
            *(f"- **{one.standing}**: {prose(one.words, stage.quoted)}" for one in assessed.reasons[:10]),
            *lines,
        ]
    title = f"## {MARKS[assessed.outcome]} {assessed.standing}: {compared.verdict}"
    return f"{title}\n\n" + "\n".join(lines)


def _of(run: Run, quoted: int) -> str:
    return f"of {code(run.subject, quoted)}, {run.started_at:%Y-%m-%d %H:%M} UTC, run {code(run.id, quoted)}"


def _row(compared: Comparison, pair: Pair) -> list[str]:
    before, after = compared_figures(compared, pair)
    image = {True: "same", False: "**another**", None: "unknown"}[pair.same_image]
    values = [
        _side_by_side(getattr(before, name), getattr(after, name))
        for name in ("outcome", "ended", "time", "wasted", "calls", "cost")
    ]
    change = pair.change.value
    return [
        code(pair.name),
        f"**{change}**" if pair.change in _TOLD else change,
        *values,
        image if pair.baseline and pair.candidate else NO_VALUE,
    ]


def _side_by_side(before: str, after: str) -> str:
    return prose(after if before == after else f"{before} → {after}")


def _told(compared: Comparison, pair: Pair, lines: int) -> str:
    sides = [("baseline", pair.baseline), ("candidate", pair.candidate)]
    said = [
        f"{word + ':':<10} {block(_said(cell, told), 600, 6)}"
        for (word, cell), told in zip(sides, compared_figures(compared, pair), strict=True)
        if cell
    ]
    parts = [f"#### {code(pair.name)} {pair.change}", fence("\n".join(said))]
    outputs = [(word, script) for word, cell in sides if cell and (script := script_of(cell))]
    if lines and any(script.output_excerpt for _, script in outputs):
        ends = "\n\n".join(_output(word, script, lines) for word, script in outputs)
        parts.append(folded("The end of the script's output", ends))
    again = [
        one_line(command_for(run, cell.id), 1000)
        for run, (_, cell) in zip((compared.baseline_run, compared.candidate_run), sides, strict=True)
        if cell
    ]
    parts.append(folded("Run it again", fence("\n".join(dict.fromkeys(again)), "sh")))
    return "\n\n".join(parts)


def _said(cell: Cell, told: Figures) -> str:
    why = remark(cell)
    if why and cell.outcome is Outcome.PASSED:
        return f"{told.outcome}, but {why}"
    return why or told.outcome


def _output(word: str, script: ScriptRun, lines: int) -> str:
    if not script.output_excerpt:
        return f"{word.capitalize()}: {ended(script)}; its output is in its script.log."
    return f"{word.capitalize()}:\n\n{fence(excerpt(script.output_excerpt, lines, 200))}"


def _run_json(name: str, run: Run) -> dict[str, Any]:
    return {
        "name": name,
        "run": run.id,
        "subject": run.subject,
        "started_at": run.started_at.isoformat(),
        "verdict": run.verdict.value,
        "model": run.llm.model,
        "llm": run.llm.kind,
    }


def _cell_json(cell: Cell | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    script = script_of(cell)
    return {
        "id": cell.id,
        "outcome": cell.outcome.value,
        "flaky": cell.flaky,
        "emulated": cell.emulated,
        "digest": cell.image.digest,
        "message": first_message(cell),
        "time_seconds": time_of(cell),
        "cost_usd": _number(cost_of(cell)),
        "script": None
        if script is None
        else script.model_dump(
            mode="json",
            include={
                "revision",
                "commit",
                "changed",
                "sha256",
                "exit_code",
                "signal",
                "wasted_seconds",
                "calls_total",
                "calls_after_terminal",
                "output_excerpt",
            },
        ),
    }
