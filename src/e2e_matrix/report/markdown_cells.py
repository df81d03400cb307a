"""Single cells in Markdown: in full what broke, in a line what else a reader should know of."""

from __future__ import annotations

from collections.abc import Sequence

from e2e_matrix.advice import resume_command
from e2e_matrix.report.cell_view import CellView, left_out
from e2e_matrix.report.escape import code, excerpt, fence, prose
from e2e_matrix.report.markdown_blocks import MARKS, folded, words
from e2e_matrix.report.view import Broken, Fault, NotTested
from e2e_matrix.results import Run, ScriptRun
from e2e_matrix.script_words import call_rows, counted, output_left_out
from e2e_matrix.text import block, format_seconds, one_line

# Characters of a label before what it labels, and of a moment before a call.
_LABEL, _MOMENT = 10, 8
_LOG_WIDTH = 200
_MOST_NAMES = 20


def broken_in_full(group: Sequence[Broken], run: Run, log_lines: int) -> str:
    """Where cells broke alike, what they said, what to do; folded, what came with the first of them.

    ``log_lines`` is the most of each log and output; 0: none of it.
    """
    item = group[0]
    script = item.view.script
    parts = [f"#### {_where(item)}", fence(_said(item))]
    if group[1:]:
        parts.append(f"**The same in** {_others(group)}.")
    if since := Fault(list(group)).since:
        parts.append(f"{prose(since[:1].upper() + since[1:])}.")
    if item.do:
        parts.append(f"**What to do:** {_advice(item.do, run)}")
    if log_lines:
        parts += [
            folded(title, fence(excerpt(text, log_lines, _LOG_WIDTH)))
            for title, text in (
                ("What came with it", item.detail),
                ("The end of the script's output", item.output),
                ("The script's API calls", _calls(script) if script else None),
                ("The log around it", item.log),
            )
            if text
        ]
        if item.log and (said_of_log := left_out(item.view.last)):
            parts.append(f"In server.log, {said_of_log}.")
        if item.output and script and (said_of_output := output_left_out(script)):
            parts.append(f"In script.log, {said_of_output}.")
    parts.append(folded("Run just this again", fence(one_line(item.view.again, 1000), "sh")))
    return "\n\n".join(parts)


def broken_in_a_line(group: Sequence[Broken]) -> str:
    others = f" The same in {_others(group)}." if group[1:] else ""
    return f"{_where(group[0])}: {prose(group[0].message)}{others}"


def flaky(view: CellView) -> str:
    before = view.failed_before
    why = f" Before: {prose(before.message)}" if before and before.message else ""
    return f"🔁 {code(view.cell.id)} is **flaky**: it passed only at attempt {_tries(view)}.{why}"


def retried(view: CellView) -> str:
    why = view.retried.message if view.retried else None
    before = f": {prose(why)}" if why else "."
    return (
        f"{code(view.cell.id)} passed at attempt {_tries(view)}, after trouble of the infrastructure{before}"
    )


def remarked(view: CellView) -> str:
    said = "; ".join(prose(note) for note in view.notes)
    return f"{code(view.cell.id)} {words(view.cell.outcome)}, but {said}."


def not_tested(group: NotTested, run: Run) -> str:
    do = f" {_advice(group.do, run)}" if group.do else ""
    kind = f"{MARKS[group.outcome]} **{words(group.outcome)}:**"
    return f"{kind} {_names(group.cells)}: {prose(group.message)}.{do}"


def _others(group: Sequence[Broken]) -> str:
    others = [item.view for item in group[1:]]
    return f"{counted(len(others), 'cell')}: {_names(others)}"


def _names(views: Sequence[CellView]) -> str:
    names = ", ".join(code(view.cell.id) for view in views[:_MOST_NAMES])
    left = len(views) - _MOST_NAMES
    return f"{names} and {left:,} more" if left > 0 else names


def _tries(view: CellView) -> int:
    return view.cell.attempt or len(view.cell.attempts)


def _where(item: Broken) -> str:
    cell = item.view.cell
    step = f" at step {code(item.step.name)}" if item.step else ""
    emulated = ", emulated" if cell.emulated else ""
    tried = f", {item.view.tried}" if item.view.tried else ""
    return f"{MARKS[cell.outcome]} {code(cell.id)} {words(cell.outcome)}{step}{emulated}{tried}"


def _said(item: Broken) -> str:
    said = [block(item.message, 1200, 6)]
    if item.expected is not None:
        said.append(_labelled("expected:", block(item.expected, 600, 4)))
    if item.got is not None:
        said.append(_labelled("got:", block(item.got, 600, 4)))
    if told := item.of_script:
        said.append(_labelled("script:", "\n".join(one_line(line, 300) for line in told)))
    said += [one_line(f"also at {step.name}: {step.message or step.title}", 400) for step in item.also[:10]]
    return "\n".join(said)


def _labelled(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}" + text.replace("\n", "\n" + " " * _LABEL)


def _advice(text: str, run: Run) -> str:
    """What failures.py says to do, with its code spans; the command in them names a folder of somebody's."""
    command = resume_command(run)
    return text.replace(command, one_line(command, 1000).replace("`", "'"))


def _calls(script: ScriptRun) -> str:
    """The calls as lines, those that followed the conversation's end told apart."""
    rows, ended_at = call_rows(script), format_seconds(script.terminal_seconds)
    moments = [format_seconds(row.starts_seconds) for row in rows]
    width = max([_MOMENT, *map(len, moments)])
    indent = " " * (width + 2)
    lines = []
    for number, (row, moment) in enumerate(zip(rows, moments, strict=True)):
        if row.before:
            lines.append(f"{indent}… {row.before:,} calls in between")
        if row.late and not (number and rows[number - 1].late):
            lines.append(f"{indent}-- the conversation had ended at {ended_at} --")
        lines.append(f"{moment:>{width}}  {row.words}")
    return "\n".join(lines)
